//! The statistics of many histories: what occurred in them, and whether enough did.

use std::{collections::BTreeMap, fmt};

/// How often each row has to occur in a large number of histories.
const LEAST: u64 = 20;
/// From how many histories on that is checked.
const MANY: u64 = 2_000;
/// Rows that have to occur.
const ROWS: [&str; 26] = [
    "J1", "J2", "J3", "J4", "J5", "J6", "J7", "J8", "J9", "P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9", "P10",
    "P11", "P12", "P13", "P14", "S1", "S2", "S3",
];

/// Counts over many histories.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statistics {
    pub(crate) histories: u64,
    pub(crate) events: u64,
    pub(crate) evaluations: u64,
    /// Dead pods that were reported in time.
    pub(crate) dead_pods: u64,
    pub(crate) faults: BTreeMap<String, u64>,
    /// Evaluations by row, by reason of a loss, and by guard that held one.
    pub(crate) rows: BTreeMap<&'static str, u64>,
    pub(crate) lost: BTreeMap<&'static str, u64>,
    pub(crate) holds: BTreeMap<&'static str, u64>,
    pub(crate) outcomes: BTreeMap<&'static str, u64>,
    pub(crate) events_recorded: BTreeMap<&'static str, u64>,
}

impl Statistics {
    pub(crate) fn add(&mut self, other: Self) {
        let Self { histories, events, evaluations, dead_pods, faults, rows, lost, holds, outcomes, events_recorded } =
            other;
        self.histories += histories;
        self.events += events;
        self.evaluations += evaluations;
        self.dead_pods += dead_pods;
        add(&mut self.faults, faults);
        add(&mut self.rows, rows);
        add(&mut self.lost, lost);
        add(&mut self.holds, holds);
        add(&mut self.outcomes, outcomes);
        add(&mut self.events_recorded, events_recorded);
    }

    /// The rows that occurred too rarely, if there were histories enough for all to occur.
    pub(crate) fn too_rare(&self) -> Vec<&'static str> {
        let is_rare = |row: &&str| self.rows.get(*row).copied().unwrap_or(0) < LEAST;
        if self.histories < MANY { Vec::new() } else { ROWS.into_iter().filter(is_rare).collect() }
    }
}

fn add<K: Ord>(to: &mut BTreeMap<K, u64>, from: BTreeMap<K, u64>) {
    for (key, count) in from {
        *to.entry(key).or_default() += count;
    }
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<K: fmt::Display>(of: &BTreeMap<K, u64>) -> String {
            of.iter().map(|(key, count)| format!("{key} {count}")).collect::<Vec<_>>().join(", ")
        }
        let Self { histories, events, evaluations, dead_pods, faults, rows, lost, holds, outcomes, events_recorded } =
            self;
        writeln!(
            f,
            "{histories} histories, {events} events, {evaluations} evaluations, {dead_pods} dead pods reported in time"
        )?;
        writeln!(f, "faults: {}", list(faults))?;
        writeln!(f, "evaluations by row: {}", list(rows))?;
        writeln!(f, "lost: {}; held: {}", list(lost), list(holds))?;
        write!(f, "outcomes: {}; Events: {}", list(outcomes), list(events_recorded))
    }
}
