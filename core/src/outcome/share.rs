//! The share of one namespace in the outcomes: what is beyond it is reported together, as one coalesced outcome.
//!
//! Nothing gets lost by that: the coalesced outcome says how many there are, of which kinds and reasons, and names some of them. A Job keeps
//! its finalizer until the object that counts it exists.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jobwarden_common::{
    identity::JobUid,
    names::reason,
    notification::{Cause, Coalesced, CoalescedJob, CoalescedKind, DecidedBy, OutcomeData, OutcomeKind},
};
use serde::{Deserialize, Deserializer, de::Error as _};

use super::OutcomeName;
use crate::evidence::JobIdentity;

/// The time over which outcomes are counted.
pub const WINDOW: Duration = Duration::from_hours(1);

/// The outcomes that a namespace may record in an hour, unless the configuration says otherwise.
const PER_HOUR: usize = 3000;

/// How long outcomes are gathered before the first coalesced one.
const GATHER: Duration = Duration::from_secs(10);
/// The shortest time between two coalesced outcomes of one namespace.
const APART: Duration = Duration::from_mins(1);

/// The most outcomes that a coalesced one names.
const MAX_JOBS: usize = 50;
/// The most pairs of kind and reason that it counts apart. Reasons are words of Kubernetes, but nothing ensures that.
const MAX_KINDS: usize = 32;
/// The longest ID and reason that it shows, in bytes.
const MAX_SHOWN_BYTES: usize = 128;
/// The reason under which rare reasons are counted.
const OTHER: &str = "Other";

/// How many outcomes a namespace may record in an hour.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutcomeLimits {
    /// For each namespace.
    #[serde(default = "per_hour", deserialize_with = "at_least_one")]
    per_hour: usize,
    /// For single namespaces instead.
    #[serde(default)]
    namespaces: BTreeMap<String, usize>,
}

impl Default for OutcomeLimits {
    fn default() -> Self {
        Self { per_hour: PER_HOUR, namespaces: BTreeMap::new() }
    }
}

impl OutcomeLimits {
    /// The same number for each namespace.
    pub fn each(per_hour: usize) -> Self {
        Self { per_hour, namespaces: BTreeMap::new() }
    }

    /// How many outcomes this namespace may record within [`WINDOW`].
    pub fn of(&self, namespace: &str) -> usize {
        self.namespaces.get(namespace).copied().unwrap_or(self.per_hour)
    }
}

fn per_hour() -> usize {
    PER_HOUR
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match usize::deserialize(deserializer)? {
        0 => Err(D::Error::custom("perHour must be at least 1")),
        number => Ok(number),
    }
}

/// When the outcomes that are gathered since `first` are to be recorded together, if those before were at `last`.
pub fn coalesce_at(first: Instant, last: Option<Instant>) -> Instant {
    let gathered = first + GATHER;
    last.map_or(gathered, |last| gathered.max(last + APART))
}

/// Why outcomes are recorded together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// The namespace has recorded so many within [`WINDOW`].
    Outcomes(usize),
    /// So many Jobs of the namespace are followed.
    Jobs(usize),
}

impl Beyond {
    fn row(self) -> &'static str {
        match self {
            Self::Outcomes(_) => "limits.outcomes",
            Self::Jobs(_) => "limits.jobs",
        }
    }

    fn rule(self) -> &'static str {
        match self {
            Self::Outcomes(_) => "a namespace records its share of outcomes one by one, and what is beyond it together",
            Self::Jobs(_) => {
                "of a namespace, as many Jobs are followed as its limit says; others wait for room, and are reported together"
            }
        }
    }

    fn message(self, count: usize, namespace: &str, kinds: &str) -> String {
        match self {
            Self::Outcomes(limit) => format!(
                "{count} outcomes of the namespace {namespace} are reported together, because it has more than {limit} in an hour: {kinds}. \
                 See the Events of each Job."
            ),
            Self::Jobs(limit) => format!(
                "The namespace {namespace} has more than {limit} Jobs, the most that are followed of it. Of those beyond: {kinds}. Those that \
                 wait are not judged, and are taken up when others are gone; limits.jobs of the configuration says how many are followed."
            ),
        }
    }
}

/// The outcomes of one namespace that wait to be recorded together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    count: usize,
    by: BTreeMap<(OutcomeKind, String), usize>,
    jobs: Vec<CoalescedJob>,
}

impl Tally {
    /// Counts an outcome.
    pub fn add(&mut self, data: &OutcomeData) {
        self.count(CoalescedJob {
            job_name: data.job_name.clone(),
            job_uid: data.job_uid.clone(),
            run_id: data.run_id.clone(),
            job_id: data.job_id.clone(),
            kind: data.kind,
            reason: data.reason.clone(),
        });
    }

    /// Counts a Job that is not followed.
    pub fn add_unfollowed(&mut self, job: &JobIdentity) {
        self.count(CoalescedJob {
            job_name: job.name.clone(),
            job_uid: job.uid.clone(),
            run_id: job.run_id.clone(),
            job_id: job.job_id.clone(),
            kind: OutcomeKind::Suspect,
            reason: reason::JOB_NOT_FOLLOWED.to_owned(),
        });
    }

    /// Counts as many more Jobs that are not followed, without their names.
    pub fn add_unnamed(&mut self, count: usize) {
        if count > 0 {
            self.count += count;
            *self.by.entry((OutcomeKind::Suspect, reason::JOB_NOT_FOLLOWED.to_owned())).or_default() += count;
        }
    }

    fn count(&mut self, mut job: CoalescedJob) {
        self.count += 1;
        let short = |id: &str| id.len() <= MAX_SHOWN_BYTES;
        let is_new = !self.by.contains_key(&(job.kind, job.reason.clone()));
        if !short(&job.reason) || (is_new && self.by.len() >= MAX_KINDS) {
            OTHER.clone_into(&mut job.reason);
        }
        *self.by.entry((job.kind, job.reason.clone())).or_default() += 1;
        if self.jobs.len() == MAX_JOBS {
            // A loss is worth more than the name of something that ended by itself.
            let replaced = self.jobs.iter().rposition(|job| job.kind != OutcomeKind::Lost);
            let Some(replaced) = replaced.filter(|_| job.kind == OutcomeKind::Lost) else { return };
            self.jobs.remove(replaced);
        }
        job.run_id = job.run_id.filter(|id| short(id.as_str()));
        job.job_id = job.job_id.filter(|id| short(id.as_str()));
        self.jobs.push(job);
    }

    /// How many outcomes it counts.
    pub fn total(&self) -> usize {
        self.count
    }

    /// The body of the coalesced outcome `name` of `namespace`, which is beyond that limit.
    pub fn data(&self, name: &OutcomeName, namespace: &str, beyond: Beyond) -> OutcomeData {
        let Self { count, by, jobs } = self;
        let mut by: Vec<_> = by
            .iter()
            .map(|((kind, reason), count)| CoalescedKind { kind: *kind, reason: reason.clone(), count: *count })
            .collect();
        by.sort_by_key(|kind| std::cmp::Reverse(kind.count));
        let mut jobs = jobs.clone();
        jobs.sort_by_key(|job| job.kind != OutcomeKind::Lost);
        let kinds: Vec<_> = by.iter().map(|it| format!("{} {} ({})", it.count, it.kind, it.reason)).collect();
        let message = beyond.message(*count, namespace, &kinds.join(", "));
        OutcomeData {
            kind: OutcomeKind::Coalesced,
            namespace: namespace.to_owned(),
            job_name: String::new(),
            // No Job has it: retention does not wait for any.
            job_uid: JobUid::from(name.as_str()),
            run_id: None,
            job_id: None,
            trace_id: None,
            attempt: None,
            reason: reason::OUTCOMES_COALESCED.to_owned(),
            message,
            work_may_be_done: false,
            cause: Cause::default(),
            decided_by: DecidedBy { row: beyond.row().to_owned(), rule: beyond.rule().to_owned() },
            evidence: Vec::new(),
            timeline: Vec::new(),
            usage: None,
            logs: None,
            coalesced: Some(Coalesced { count: *count, by, jobs }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mk_data(number: usize, kind: OutcomeKind, reason: &str) -> OutcomeData {
        let data = Tally::default().data(&OutcomeName::from_object("x"), "n", Beyond::Outcomes(1));
        OutcomeData {
            kind,
            reason: reason.to_owned(),
            job_name: format!("job-{number}"),
            run_id: Some("r".repeat(number % 300).into()),
            coalesced: None,
            ..data
        }
    }

    fn body(tally: &Tally) -> (Coalesced, String) {
        let data = tally.data(&OutcomeName::coalesced("n", 7), "n", Beyond::Outcomes(3));
        (data.coalesced.expect("it is coalesced"), data.message)
    }

    #[test]
    fn a_coalesced_outcome_says_how_many_of_which_kinds_and_names_some() {
        let mut tally = Tally::default();
        for number in 0..500 {
            tally.add(&mk_data(number, OutcomeKind::Deleted, "JobDeleted"));
        }
        tally.add(&mk_data(500, OutcomeKind::Lost, "NodeUnreachable"));
        let (coalesced, message) = body(&tally);
        assert_eq!((coalesced.count, coalesced.jobs.len()), (501, MAX_JOBS));
        assert_eq!(coalesced.jobs[0].job_name, "job-500", "the lost one, although it came last");
        let expected = "501 outcomes of the namespace n are reported together, because it has more than 3 in an hour: 500 deleted (JobDeleted), \
                        1 lost (NodeUnreachable). See the Events of each Job.";
        assert_eq!(message, expected);
    }

    #[test]
    fn jobs_that_are_not_followed_are_counted_and_named() {
        let mut tally = Tally::default();
        tally.add(&mk_data(1, OutcomeKind::Lost, "JobDeleted"));
        let job = crate::builders::facts::mk_job("job").identity;
        tally.add_unfollowed(&job);
        tally.add_unnamed(1);
        let data = tally.data(&OutcomeName::coalesced("n", 7), "n", Beyond::Jobs(9));
        let said = "has more than 9 Jobs, the most that are followed of it. Of those beyond: 2 suspect (JobNotFollowed), 1 lost (JobDeleted).";
        assert!(data.message.contains(said), "{}", data.message);
        assert_eq!(data.decided_by.row, "limits.jobs");
        assert_eq!(data.coalesced.map(|it| (it.count, it.jobs.len())), Some((3, 2)));
    }

    proptest! {
        #[test]
        fn every_outcome_is_counted_and_the_size_is_bounded(
            outcomes in prop::collection::vec((0_usize..1000, "[A-Z][a-z]{1,400}", any::<bool>()), 0..300),
        ) {
            let mut tally = Tally::default();
            for (number, reason, lost) in &outcomes {
                tally.add(&mk_data(*number, if *lost { OutcomeKind::Lost } else { OutcomeKind::Failed }, reason));
            }
            let (coalesced, _) = body(&tally);
            prop_assert_eq!(coalesced.count, outcomes.len());
            prop_assert_eq!(coalesced.by.iter().map(|it| it.count).sum::<usize>(), outcomes.len());
            let lost = outcomes.iter().filter(|(_, _, lost)| *lost).count();
            let counted = coalesced.by.iter().filter(|it| it.kind == OutcomeKind::Lost);
            prop_assert_eq!(counted.map(|it| it.count).sum::<usize>(), lost);
            let named = coalesced.jobs.iter().filter(|it| it.kind == OutcomeKind::Lost).count();
            prop_assert_eq!(named, lost.min(MAX_JOBS), "losses are named first");
            // Two kinds may each have its rare reasons.
            prop_assert!(coalesced.by.len() <= MAX_KINDS + 2);
            prop_assert!(serde_json::to_vec(&coalesced).expect("plain values").len() < 60_000);
        }
    }

    #[test]
    fn outcomes_are_gathered_and_coalesced_once_a_minute_at_most() {
        let start = Instant::now();
        assert_eq!(coalesce_at(start, None), start + GATHER);
        assert_eq!(coalesce_at(start + GATHER, Some(start)), start + APART);
        assert_eq!(coalesce_at(start + APART, Some(start)), start + APART + GATHER);
    }

    #[test]
    fn a_namespace_may_have_a_share_of_its_own() {
        let text = "perHour: 5\nnamespaces: {big: 9}";
        let limits: OutcomeLimits = serde_saphyr::from_str(text).expect("valid");
        assert_eq!((limits.of("small"), limits.of("big")), (5, 9));
        assert_eq!(OutcomeLimits::default().of("any"), PER_HOUR);
    }
}
