//! J9.

use super::*;

/// A Job that has been out of enrolment for this many seconds.
fn mk_unenrolled(stage: JobStage, seconds: u64, has_finalizer: bool) -> JobSnapshot {
    let job = JobEvidence { unenrolled_since: Some(at(NOW - seconds)), has_finalizer, ..mk_job(stage) };
    mk_snapshot(job, vec![])
}

#[rstest]
#[case::open(JobStage::Open)]
#[case::finished(finished(Some("BackoffLimitExceeded")))]
#[case::deleted(JobStage::Deleting { orphaning: false })]
fn j9_a_job_out_of_enrolment_is_released_and_not_reported(#[case] stage: JobStage) {
    assert_eq!(planned(&mk_unenrolled(stage.clone(), 10, true)), ["release-finalizer"]);
    assert_eq!(planned(&mk_unenrolled(stage.clone(), 10, false)), [""; 0]);
    assert_eq!(planned(&mk_unenrolled(stage.clone(), 9, true)), [""; 0], "its namespace may arrive later");
    let gone = JobSnapshot { gone: true, ..mk_unenrolled(stage, 0, true) };
    assert_eq!(planned(&gone), ["forget"]);
}

#[test]
fn j9_while_a_watch_is_down_nothing_is_released() {
    let snapshot = mk_unenrolled(JobStage::Open, 60, true);
    let down = held_by(Some(Hold::WatchDown));
    assert_eq!(brief(&plan(&snapshot, &judged(&snapshot), &down, &Recorded::default(), at(NOW))), [""; 0]);
}

#[test]
fn j9_the_release_is_planned_ahead() {
    let snapshot = mk_unenrolled(JobStage::Open, 4, true);
    assert_eq!(requeue_at(&snapshot, &judged(&snapshot), &Holds::default(), at(NOW)), Some(at(NOW + 6)));
}
