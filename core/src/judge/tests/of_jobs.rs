//! Rows about Jobs.

use super::*;

fn judge_job_of(change: impl FnOnce(&mut JobEvidence)) -> JobVerdict {
    let mut job = mk_job();
    change(&mut job);
    judge(&Evidence { job, pods: vec![], listening_since: ago(7000) }, &Policy::default(), NOW).job
}

#[test]
fn j1_a_complete_or_failed_job_is_finished_even_while_it_is_deleted() {
    let failed = Finish::Failed { reason: "BackoffLimitExceeded".to_owned(), message: String::new() };
    for finish in [Finish::Complete, failed] {
        let verdict = judge_job_of(|job| job.stage = JobStage::Finished { since: ago(1), finish });
        assert_eq!(verdict, JobVerdict::Finished);
    }
}

#[rstest]
#[case(JobStage::Vanished)]
#[case(JobStage::Deleting { orphaning: false })]
#[case(JobStage::Deleting { orphaning: true })]
fn j2_a_job_that_is_deleted_before_it_finished_is_deleted(#[case] stage: JobStage) {
    assert_eq!(judge_job_of(|job| job.stage = stage), JobVerdict::Deleted);
}

#[rstest]
#[case(JobStage::Open)]
#[case(JobStage::Finished { since: ago(1), finish: Finish::Complete })]
#[case(JobStage::Vanished)]
#[case(JobStage::Deleting { orphaning: false })]
fn j9_a_job_out_of_enrolment_comes_before_every_other_row(#[case] stage: JobStage) {
    let verdict = judge_job_of(|job| (job.stage, job.unenrolled_since) = (stage, Some(ago(1))));
    assert_eq!(verdict, JobVerdict::NotEnrolled);
}

#[test]
fn j3_the_job_of_another_controller_is_ignored_unless_it_is_gone() {
    assert_eq!(judge_job_of(|job| job.managed_elsewhere = true), JobVerdict::Ignored);
    let gone = judge_job_of(|job| {
        job.managed_elsewhere = true;
        job.stage = JobStage::Vanished;
    });
    assert_eq!(gone, JobVerdict::Deleted);
}

#[rstest]
#[case(JobStage::Failing { reason: "NodeUnreachable".to_owned(), message: String::new() })]
#[case(JobStage::Succeeding)]
fn j4_a_job_that_its_controller_ends_is_ending_even_if_suspended(#[case] stage: JobStage) {
    let verdict = judge_job_of(|job| {
        job.stage = stage;
        job.suspended = true;
    });
    assert_eq!(verdict, JobVerdict::Ending);
}

#[test]
fn j5_a_suspended_job_is_paused_however_long_it_has_no_pod() {
    let verdict = judge_job_of(|job| {
        job.suspended = true;
        job.podless_since = Some(ago(7000));
    });
    assert_eq!(verdict, JobVerdict::Paused);
}

#[rstest]
#[case(600, JobVerdict::NotStarting)]
#[case(599, JobVerdict::Open)]
fn j6_an_open_job_without_a_pod_is_not_starting_after_start_timeout(
    #[case] podless: u64,
    #[case] expected: JobVerdict,
) {
    assert_eq!(judge_job_of(|job| job.podless_since = Some(ago(podless))), expected);
}

fn active(since: u64, before: u64) -> Active {
    Active { start: jiff::Timestamp::UNIX_EPOCH, since: ago(since), before: Duration::from_secs(before) }
}

#[rstest]
#[case::not_yet(Some(active(599, 0)), Some(600), JobVerdict::Open)]
#[case::overdue(Some(active(600, 0)), Some(600), JobVerdict::Overdue)]
#[case::partly_before_the_reaper_started(Some(active(100, 500)), Some(600), JobVerdict::Overdue)]
#[case::long_before_the_reaper_started(Some(active(0, 7000)), Some(600), JobVerdict::Overdue)]
#[case::not_yet_with_both(Some(active(100, 499)), Some(600), JobVerdict::Open)]
#[case::never_by_default(Some(active(7000, 7000)), None, JobVerdict::Open)]
#[case::not_started(None, Some(600), JobVerdict::Open)]
fn j7_a_job_may_run_for_active_timeout(
    #[case] active: Option<Active>,
    #[case] timeout: Option<u64>,
    #[case] expected: JobVerdict,
) {
    let policy = Policy { active_timeout: timeout.map(Duration::from_secs), ..Policy::default() };
    let job = JobEvidence { active, ..mk_job() };
    assert_eq!(judge(&Evidence { job, pods: vec![], listening_since: ago(7000) }, &policy, NOW).job, expected);
}

#[test]
fn j7_comes_before_a_missing_pod_and_after_suspension_and_ending() {
    let policy = Policy { active_timeout: Some(Duration::from_mins(10)), ..Policy::default() };
    let verdict = |change: fn(&mut JobEvidence)| {
        let mut job = JobEvidence { active: Some(active(900, 0)), podless_since: Some(ago(900)), ..mk_job() };
        change(&mut job);
        judge(&Evidence { job, pods: vec![], listening_since: ago(7000) }, &policy, NOW).job
    };
    assert_eq!(verdict(|_| {}), JobVerdict::Overdue);
    assert_eq!(verdict(|job| job.suspended = true), JobVerdict::Paused);
    assert_eq!(verdict(|job| job.stage = JobStage::Succeeding), JobVerdict::Ending);
    assert_eq!(verdict(|job| job.managed_elsewhere = true), JobVerdict::Ignored);
}

#[test]
fn j7_is_judged_again_when_it_is_due() {
    let policy = Policy { active_timeout: Some(Duration::from_mins(10)), ..Policy::default() };
    let job = JobEvidence { active: Some(active(100, 470)), ..mk_job() };
    let judgement = judge(&Evidence { job, pods: vec![], listening_since: ago(7000) }, &policy, NOW);
    assert_eq!(judgement.recheck_at, Some(NOW + Duration::from_secs(30)));
}
