//! Which clusters this process has to tear down, and doing so when it is told to end.

use std::collections::BTreeSet;
use std::sync::{Mutex, Once, PoisonError, RwLock};

use tokio::signal::unix::{SignalKind, signal};

use super::error::Result;
use super::teardown::tear_down;
use crate::progress;

/// The names of the clusters that end with this process.
static OWNED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Held for reading by whoever changes a cluster, for writing from the signal to the end of the process: so nothing is
/// started that the teardown would miss, and nobody ends the process before the teardown is through.
static ENDING: RwLock<()> = RwLock::new(());

/// What a shell reports of a program that ended by SIGINT: 128 + 2.
const INTERRUPTED: i32 = 130;

/// From now on SIGINT, SIGTERM and SIGHUP tear down every cluster of this process and end it with status 130.
pub fn tear_down_on_signals() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        std::thread::spawn(|| {
            if let Err(error) = wait_for_signal() {
                progress::note(format!(
                    "signals cannot be handled, an interrupted run will leave its cluster: {error}"
                ));
                return;
            }
            let _ending = ENDING.write().unwrap_or_else(PoisonError::into_inner);
            let names = std::mem::take(&mut *OWNED.lock().unwrap_or_else(PoisonError::into_inner));
            for name in names {
                if let Err(error) = tear_down(&name) {
                    progress::note(format!("tearing down cluster {name}: {error}"));
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

/// Runs `work` unless the process is ending, in which case this never returns.
pub(super) fn unless_ending<T>(work: impl FnOnce() -> T) -> T {
    let _running = ENDING.read().unwrap_or_else(PoisonError::into_inner);
    work()
}

/// Notes that the cluster ends with this process.
pub(super) fn own(name: &str) {
    OWNED.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
}

/// Notes that the cluster outlives this process.
pub(super) fn disown(name: &str) {
    OWNED.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
}

/// Tears the cluster down if it is still this process' to do.
pub(super) fn tear_down_owned(name: &str) -> Result<()> {
    unless_ending(|| {
        let owned = OWNED.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        if owned { tear_down(name) } else { Ok(()) }
    })
}
