//! Who reads logs: by which rules, how many at a time, and from which nodes not.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use jobwarden_common::identity::NodeName;
use jobwarden_core::logs::LogRules;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout},
};

/// Logs that are read at the same time: a quarter of the Jobs that are reconciled at the same time.
const MAX_CONCURRENT: usize = 4;
/// How long one waits for its turn. It holds up the reconciliation of other Jobs.
const TURN: Duration = Duration::from_millis(250);
/// For how long a node is not asked after a log did not arrive in time.
pub(super) const SILENT_FOR: Duration = Duration::from_mins(1);

/// What the readers of logs share.
#[derive(Debug)]
pub(super) struct LogReader {
    /// `None` if no logs are read.
    rules: ArcSwapOption<LogRules>,
    turns: Semaphore,
    /// Until when a node is not asked.
    silent: Mutex<HashMap<NodeName, Instant>>,
}

impl Default for LogReader {
    fn default() -> Self {
        let turns = Semaphore::new(MAX_CONCURRENT);
        Self { rules: ArcSwapOption::empty(), turns, silent: Mutex::default() }
    }
}

impl LogReader {
    /// Replaces the rules; `None` reads no logs.
    pub(super) fn set_rules(&self, rules: Option<LogRules>) {
        self.rules.store(rules.map(Arc::new));
    }

    /// The rules; `None` if no logs are read.
    pub(super) fn rules(&self) -> Option<Arc<LogRules>> {
        self.rules.load_full()
    }

    /// The right to read a log; `None` if too many are being read.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        timeout(TURN, self.turns.acquire()).await.ok().and_then(Result::ok)
    }

    /// Whether the node did not answer a moment ago.
    pub(super) fn is_silent(&self, node: &NodeName) -> bool {
        let now = Instant::now();
        let mut silent = self.silent();
        silent.retain(|_, until| *until > now);
        silent.contains_key(node)
    }

    /// Remembers that the node did not answer.
    pub(super) fn note_silent(&self, node: &NodeName) {
        self.silent().insert(node.clone(), Instant::now() + SILENT_FOR);
    }

    fn silent(&self) -> MutexGuard<'_, HashMap<NodeName, Instant>> {
        // No method panics while the map is inconsistent.
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
