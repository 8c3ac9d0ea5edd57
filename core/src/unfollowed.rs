//! Jobs beyond the limit of their namespace ([`JobLimits`](crate::index::JobLimits)): what the orchestrator learns of them, and when their
//! finalizer is released.
//!
//! Nothing is kept of them, so each is decided about by the object alone, whenever its namespace is listed. One that runs is left alone: it
//! is taken up once there is room. One that has ended, or is being deleted, must not wait for that, because its finalizer would hold it.

use jiff::Timestamp;
use jobwarden_common::notification::OutcomeData;

use crate::{
    facts::job::{JobFacts, Progress},
    guard::Holds,
    index::Index,
    judge::judge,
    moment::Moment,
    outcome::Outcomes,
    plan::{
        plan,
        step::{Recorded, Step},
    },
    snapshot::JobSnapshot,
};

/// What is done about a Job that is not followed.
#[derive(Clone, Debug, PartialEq)]
pub enum Unfollowed {
    /// It has to be reported as not followed.
    Waits,
    /// Its finalizer is released, once the outcome is recorded, if it has one.
    Release(Option<Box<OutcomeData>>),
    /// It has been reported. Once it is taken up, it is deleted after its retention.
    Reported,
    /// Nothing: it is not ours to observe.
    LeftAlone,
}

/// What is done about a Job that is not followed, in a namespace that is enrolled or not.
pub fn decide(facts: JobFacts, is_enrolled: bool) -> Unfollowed {
    let ends = facts.deletion.is_some() || matches!(facts.progress, Progress::Finished(_));
    match facts.has_finalizer {
        held if !is_enrolled || facts.opted_out => {
            if held {
                Unfollowed::Release(None)
            } else {
                Unfollowed::LeftAlone
            }
        }
        true if ends => Unfollowed::Release(outcome(facts).map(Box::new)),
        false if ends => Unfollowed::Reported,
        _ => Unfollowed::Waits,
    }
}

/// The outcome that would be recorded of this Job if it were followed.
fn outcome(facts: JobFacts) -> Option<OutcomeData> {
    let (uid, now) = (facts.identity.uid.clone(), Moment::default());
    let mut index = Index::default();
    index.apply_job(facts, now);
    let snapshot = index.snapshot(&uid, now, |_| Timestamp::UNIX_EPOCH)?;
    let snapshot = JobSnapshot { outcomes: Outcomes::new(), timeline: Vec::new(), ..snapshot };
    let judgement = judge(&snapshot.evidence, &snapshot.policy, now);
    let steps = plan(&snapshot, &judgement, &Holds::default(), &Recorded::default(), now);
    steps.into_iter().find_map(|step| if let Step::Record(draft) = step { Some(draft.data) } else { None })
}

#[cfg(test)]
mod tests {
    use jobwarden_common::notification::OutcomeKind;
    use rstest::rstest;

    use super::*;
    use crate::{builders::facts::mk_job, evidence::Finish, facts::job::Deletion};

    fn held() -> JobFacts {
        JobFacts { has_finalizer: true, ..mk_job("job") }
    }

    fn free() -> JobFacts {
        JobFacts { has_finalizer: false, ..held() }
    }

    fn deleted(owned: bool) -> JobFacts {
        JobFacts { deletion: Some(Deletion { orphaning: false }), owned, ..held() }
    }

    fn finished(finish: Finish) -> JobFacts {
        JobFacts { progress: Progress::Finished(finish), ..held() }
    }

    fn failed() -> Finish {
        Finish::Failed { reason: "BackoffLimitExceeded".to_owned(), message: String::new() }
    }

    #[rstest]
    #[case::deleted(deleted(false), OutcomeKind::Lost, "JobDeleted")]
    #[case::replaced_by_its_owner(deleted(true), OutcomeKind::Deleted, "JobDeleted")]
    #[case::deleted_while_suspended(JobFacts { suspended: true, ..deleted(false) }, OutcomeKind::Lost, "JobDeleted")]
    #[case::failed(finished(failed()), OutcomeKind::Failed, "BackoffLimitExceeded")]
    #[case::failed_and_deleted(
        JobFacts { deletion: Some(Deletion { orphaning: false }), ..finished(failed()) },
        OutcomeKind::Failed,
        "BackoffLimitExceeded"
    )]
    fn one_that_ends_is_reported_as_if_it_were_followed(
        #[case] facts: JobFacts,
        #[case] kind: OutcomeKind,
        #[case] reason: &str,
    ) {
        let Unfollowed::Release(Some(data)) = decide(facts, true) else { panic!("its finalizer would stay") };
        assert_eq!((data.kind, data.reason.as_str()), (kind, reason));
    }

    #[rstest]
    #[case::runs(held(), true, &Unfollowed::Waits)]
    #[case::runs_without_a_sink(free(), true, &Unfollowed::Waits)]
    #[case::was_reported(JobFacts { has_finalizer: false, ..finished(failed()) }, true, &Unfollowed::Reported)]
    #[case::opted_out(JobFacts { opted_out: true, ..held() }, true, &Unfollowed::Release(None))]
    #[case::opted_out_and_deleted(JobFacts { opted_out: true, ..deleted(false) }, true, &Unfollowed::Release(None))]
    #[case::opted_out_and_released(JobFacts { opted_out: true, ..free() }, true, &Unfollowed::LeftAlone)]
    #[case::not_enrolled(held(), false, &Unfollowed::Release(None))]
    #[case::not_enrolled_and_failed(finished(failed()), false, &Unfollowed::Release(None))]
    #[case::not_enrolled_and_labelled_by_hand(free(), false, &Unfollowed::LeftAlone)]
    #[case::of_another_controller_and_deleted(
        JobFacts { managed_elsewhere: true, has_finalizer: false, ..deleted(false) }, true, &Unfollowed::Reported
    )]
    fn what_is_not_ours_is_released_and_what_runs_waits(
        #[case] facts: JobFacts,
        #[case] is_enrolled: bool,
        #[case] expected: &Unfollowed,
    ) {
        assert_eq!(decide(facts, is_enrolled), *expected);
    }

    #[test]
    fn a_finalizer_of_a_job_that_ends_is_always_released() {
        for managed_elsewhere in [false, true] {
            for suspended in [false, true] {
                for facts in [deleted(false), deleted(true), finished(Finish::Complete), finished(failed())] {
                    let facts = JobFacts { suspended, managed_elsewhere, ..facts };
                    assert!(matches!(decide(facts, true), Unfollowed::Release(_)));
                }
            }
        }
    }
}
