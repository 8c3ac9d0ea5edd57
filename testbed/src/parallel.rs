//! Doing the same work on several machines at once.

use crate::error::{ClusterError, Result};
use crate::layout::Machine;

/// Runs `work` for all machines at the same time, and returns the first error in their order.
pub(crate) fn for_each(
    machines: impl Iterator<Item = Machine>,
    work: impl Fn(Machine) -> Result<()> + Sync,
) -> Result<()> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = machines.map(|machine| scope.spawn(move || work(machine))).collect();
        let results: Vec<Result<()>> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or(Err(ClusterError::Panicked("work on a machine"))))
            .collect();
        results.into_iter().collect()
    })
}
