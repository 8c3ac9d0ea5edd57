//! The account of many deliveries under faults: what had to be reported, what was recorded, and what each sink received. Pure.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use jobwarden_common::names::reason;
use jobwarden_common::notification::{CauseKind, OutcomeData, OutcomeKind};

use crate::job_outcomes::Recorded;

/// The exit code of workers that fail.
pub const EXIT_CODE: i32 = 3;

/// How a Job ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// Its worker exits with 0.
    Succeeds,
    /// Its worker exits with [`EXIT_CODE`].
    Fails,
    /// Its worker is killed at its memory limit.
    RunsOutOfMemory,
    /// It is deleted while its worker runs.
    IsDeleted,
}

impl End {
    /// A word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeds => "succeeded",
            Self::Fails => "failed",
            Self::RunsOutOfMemory => "out-of-memory",
            Self::IsDeleted => "deleted",
        }
    }

    /// Whether the outcome says that the Job ended so.
    fn is_reported_by(self, data: &OutcomeData) -> bool {
        match self {
            Self::Succeeds => data.kind == OutcomeKind::Succeeded,
            Self::Fails => data.kind == OutcomeKind::Failed && data.cause.exit_code == Some(EXIT_CODE),
            Self::RunsOutOfMemory => data.kind == OutcomeKind::Failed && data.cause.kind == Some(CauseKind::OomKilled),
            // Nothing owns the Job, so nobody else reports its deletion.
            Self::IsDeleted => data.kind == OutcomeKind::Lost && data.reason == reason::JOB_DELETED,
        }
    }
}

/// What a sink received.
#[derive(Clone, Debug, Default)]
pub struct Inbox {
    /// By ID, what was acknowledged and how often.
    pub received: BTreeMap<String, (OutcomeData, u32)>,
    /// IDs that came with more than one body.
    pub ambiguous: Vec<String>,
    /// Why requests were rejected for their form or signature.
    pub rejected: Vec<String>,
    /// The number of deliveries that the receiver read and did not acknowledge.
    pub unacknowledged: u32,
}

/// Everything that is known when the storm is over.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// The Jobs by UID, with their names and how they end.
    pub jobs: BTreeMap<String, (String, End)>,
    /// What was recorded about them.
    pub recorded: Vec<Recorded>,
    /// The sinks that have to receive everything.
    pub living: BTreeMap<String, Inbox>,
    /// The sink that nothing listens for.
    pub dead: String,
    /// How many leaders were killed.
    pub leaders_killed: u32,
    /// From the first Job to the end of the last delivery.
    pub took: Duration,
}

impl Account {
    /// Everything that is wrong, one sentence each.
    pub fn findings(&self) -> Vec<String> {
        let mut findings = self.of_jobs();
        findings.extend(self.recorded.iter().flat_map(|outcome| self.of_outcome(outcome)));
        findings.extend(self.living.iter().flat_map(|(sink, inbox)| self.of_inbox(sink, inbox)));
        findings
    }

    /// Each Job has one final outcome, which says how it ended.
    fn of_jobs(&self) -> Vec<String> {
        let mut finals: BTreeMap<&str, Vec<&OutcomeData>> = BTreeMap::new();
        for Recorded { data, .. } in self.recorded.iter().filter(|outcome| outcome.data.kind.is_final()) {
            finals.entry(data.job_uid.as_str()).or_default().push(data);
        }
        let about = |(uid, (name, end)): (&String, &(String, End))| match finals.get(uid.as_str()).map(Vec::as_slice) {
            Some([data]) if end.is_reported_by(data) => None,
            Some([data]) => Some(format!(
                "Job {name} {}, and its outcome says {} {}: {:?}",
                end.as_str(),
                data.kind,
                data.reason,
                data.cause
            )),
            Some(several) => Some(format!("Job {name} has {} final outcomes", several.len())),
            None => Some(format!("Job {name} ({}) has no outcome", end.as_str())),
        };
        self.jobs.iter().filter_map(about).collect()
    }

    /// The outcome is about one of the Jobs, and has arrived unchanged at each living sink and nowhere else.
    fn of_outcome(&self, Recorded { id, data, deliveries, errors: _ }: &Recorded) -> Vec<String> {
        let mut findings = Vec::new();
        if !self.jobs.contains_key(data.job_uid.as_str()) {
            findings.push(format!("outcome {id} is about a Job that was not created: {}", data.job_name));
        }
        let state = |sink: &str| deliveries.get(sink).map_or("not a recipient", String::as_str);
        for (sink, inbox) in &self.living {
            match inbox.received.get(id) {
                None => findings.push(format!("sink {sink} has not received outcome {id} ({})", state(sink))),
                Some((received, _)) if received != data => {
                    findings.push(format!("sink {sink} has received other data of outcome {id} than is recorded"));
                }
                Some(_) if state(sink) != "acknowledged" => {
                    findings.push(format!("sink {sink} has received outcome {id}, whose status says {}", state(sink)));
                }
                Some(_) => {}
            }
        }
        if state(&self.dead) != "dead" {
            findings.push(format!("sink {} cannot have received outcome {id} ({})", self.dead, state(&self.dead)));
        }
        findings
    }

    /// The sink received only what is recorded, always with the same content.
    fn of_inbox(&self, sink: &str, inbox: &Inbox) -> Vec<String> {
        let recorded: BTreeSet<&String> = self.recorded.iter().map(|outcome| &outcome.id).collect();
        let unknown = inbox.received.keys().filter(|id| !recorded.contains(id));
        let unknown = unknown.map(|id| format!("sink {sink} has received {id}, which is not recorded"));
        let ambiguous = inbox.ambiguous.iter().map(|id| format!("sink {sink} has received two contents of {id}"));
        let rejected = inbox.rejected.iter().map(|why| format!("sink {sink} has rejected a request: {why}"));
        unknown.chain(ambiguous).chain(rejected).collect()
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { jobs, recorded, living, dead, leaders_killed, took } = self;
        let ends = counts(jobs.values().map(|(_, end)| end.as_str()));
        writeln!(f, "{} Jobs in {} s: {ends}; {leaders_killed} leaders were killed", jobs.len(), took.as_secs())?;
        writeln!(f, "outcomes recorded: {}", counts(recorded.iter().map(|outcome| outcome.data.kind.as_str())))?;
        for (sink, Inbox { received, unacknowledged, .. }) in living {
            let kinds = counts(received.values().map(|(data, _)| data.kind.as_str()));
            let repeated = received.values().filter(|(_, deliveries)| *deliveries > 1).count();
            let too_many: u32 = received.values().map(|(_, deliveries)| deliveries - 1).sum();
            writeln!(
                f,
                "sink {sink}: {} received ({kinds}), {repeated} of them more than once ({too_many} duplicates), \
                 {unacknowledged} read and not acknowledged",
                received.len()
            )?;
        }
        let given_up = recorded.iter().filter(|outcome| outcome.deliveries.get(dead).is_some_and(|it| it == "dead"));
        write!(f, "sink {dead}: {} dead letters", given_up.count())
    }
}

/// `failed 3, lost 2`.
fn counts<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    words.for_each(|word| *counts.entry(word).or_default() += 1);
    let counts: Vec<_> = counts.iter().map(|(word, count)| format!("{word} {count}")).collect();
    counts.join(", ")
}
