//! Which clusters this process has to tear down, and tearing them down on a termination signal.

use std::collections::BTreeSet;
use std::fs;
use std::sync::{Mutex, Once, PoisonError, RwLock};

use nix::fcntl::Flock;
use tokio::signal::unix::{SignalKind, signal};

use crate::error::Result;
use crate::progress;
use crate::teardown::tear_down;

/// The names of the clusters that end with this process.
static OWNED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Read-locked while a cluster is changed, write-locked from a signal to the end of the process. So the teardown misses
/// nothing that is being started, and the process does not end before the teardown is complete.
static TERMINATING: RwLock<()> = RwLock::new(());

/// The exit status that a shell reports for a program ended by SIGINT: 128 + 2.
const INTERRUPTED: i32 = 130;

/// A cluster that ends with this process, and the lock that keeps other processes from using its name. Dropping it tears
/// the cluster down.
pub(crate) struct Ownership {
    name: String,
    _lock: Flock<fs::File>,
}

impl Ownership {
    /// Makes this process responsible for the cluster.
    pub(crate) fn take(name: String, lock: Flock<fs::File>) -> Self {
        own(&name);
        Self { name, _lock: lock }
    }

    /// Leaves the cluster running when this process ends.
    pub(crate) fn give_up(self) {
        OWNED.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

impl Drop for Ownership {
    fn drop(&mut self) {
        if let Err(error) = tear_down_owned(&self.name) {
            progress::note(format!("cannot tear down cluster {}: {error}", self.name));
        }
    }
}

/// From now on SIGINT, SIGTERM and SIGHUP tear down every cluster of this process and end it with status 130.
pub fn tear_down_on_signals() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        std::thread::spawn(|| {
            if let Err(error) = wait_for_signal() {
                progress::note(format!(
                    "cannot install signal handlers ({error}): an interrupted run will leave its cluster behind"
                ));
                return;
            }
            let _terminating = TERMINATING.write().unwrap_or_else(PoisonError::into_inner);
            let names = std::mem::take(&mut *OWNED.lock().unwrap_or_else(PoisonError::into_inner));
            for name in names {
                if let Err(error) = tear_down(&name) {
                    progress::note(format!("cannot tear down cluster {name}: {error}"));
                }
            }
            std::process::exit(INTERRUPTED);
        });
    });
}

fn wait_for_signal() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::select! {
            _ = interrupt.recv() => {},
            _ = terminate.recv() => {},
            _ = hangup.recv() => {},
        }
        Ok(())
    })
}

/// Runs `work`. If the process is terminating, this blocks until the process has ended instead.
pub(crate) fn unless_terminating<T>(work: impl FnOnce() -> T) -> T {
    let _running = TERMINATING.read().unwrap_or_else(PoisonError::into_inner);
    work()
}

/// Records that the cluster ends with this process.
pub(crate) fn own(name: &str) {
    OWNED.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
}

/// Tears the cluster down if this process still owns it.
pub(crate) fn tear_down_owned(name: &str) -> Result<()> {
    unless_terminating(|| {
        let owned = OWNED.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        if owned { tear_down(name) } else { Ok(()) }
    })
}
