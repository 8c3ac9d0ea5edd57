mod stories;

use super::*;
use crate::campaign::history::{Condition, JobKind, Span};

const LOST_AFTER: Duration = Duration::from_secs(30);

fn at(seconds: u64) -> CampaignTime {
    Duration::from_secs(seconds)
}

/// A Job whose worker has run in `pod` since 5, for 1000 seconds.
fn mk_job() -> JobHistory {
    let mut job = unstarted(0);
    job.worker_started("pod", at(5));
    job
}

/// A Job whose pod has a node and no worker yet.
fn unstarted(submitted: u64) -> JobHistory {
    let job = JobHistory::new("job", "node", JobKind::Succeeds(at(1000)), at(submitted));
    JobHistory { bound: Some(at(submitted + 1)), ..job }
}

/// A Job, and the conditions of its node with the seconds when they began.
fn mk_history(job: JobHistory, conditions: &[(u64, Condition)]) -> History {
    let mut history = History { jobs: vec![job], ..History::default() };
    history.node("node");
    for (since, condition) in conditions {
        history.node("node").set_condition(at(*since), *condition);
    }
    history
}

fn mk_notification(seconds: u64, kind: OutcomeKind, reason: &str) -> Notification {
    let (job, reason) = ("job".to_owned(), reason.to_owned());
    Notification { job, at: at(seconds), kind, reason, deliveries: 1, explanation: String::new() }
}

fn dead(at_seconds: u64) -> JobHistory {
    ended(at_seconds, How::Killed)
}

fn ended(at_seconds: u64, how: How) -> JobHistory {
    let mut job = mk_job();
    job.attempts[0].ended = Some(End { at: at(at_seconds), how });
    job
}

fn lost(seconds: u64) -> Notification {
    mk_notification(seconds, OutcomeKind::Lost, reason::NODE_UNREACHABLE)
}

fn violations(history: &History, notifications: &[Notification], now: u64) -> Vec<Violation> {
    assess(history, notifications, LOST_AFTER, at(now)).findings.into_iter().map(|finding| finding.violation).collect()
}

#[test]
fn losing_a_live_worker_on_a_healthy_node_is_wrong() {
    assert_eq!(violations(&mk_history(mk_job(), &[]), &[lost(100)], 100), [Violation::Wrong]);
}

#[test]
fn a_live_worker_may_be_lost_after_lost_after_of_silence_and_no_earlier() {
    let history = mk_history(mk_job(), &[(100, Condition::CutOff)]);
    assert_eq!(violations(&history, &[lost(131)], 200), []);
    assert_eq!(violations(&history, &[lost(120)], 200), [Violation::Wrong]);
}

#[test]
fn signals_of_a_worker_resume_within_17_s_after_its_node_is_repaired() {
    let history =
        mk_history(mk_job(), &[(100, Condition::CutOff), (129, Condition::Recovering), (131, Condition::Healthy)]);
    assert_eq!(violations(&history, &[lost(140)], 200), []);
    assert_eq!(violations(&history, &[lost(150)], 200), [Violation::Wrong]);
}

#[test]
fn a_cut_off_worker_that_is_not_reported_in_time_is_missed() {
    let history = mk_history(mk_job(), &[(100, Condition::CutOff)]);
    assert_eq!(violations(&history, &[], 135), []);
    assert_eq!(violations(&history, &[], 136), [Violation::Missed]);
    assert_eq!(violations(&history, &[lost(135)], 140), []);
    assert_eq!(violations(&history, &[lost(136)], 140), [Violation::Missed]);
}

#[test]
fn time_in_which_the_reaper_rightly_held_does_not_count() {
    let mut history = mk_history(mk_job(), &[(100, Condition::CutOff)]);
    history.pauses.push(Span { from: at(110), until: Some(at(150)) });
    assert_eq!(violations(&history, &[lost(170)], 200), []);
    history.pauses.push(Span::open(at(160)));
    assert_eq!(violations(&history, &[], 900), []);
}

#[test]
fn the_time_of_what_was_silent_starts_again_after_an_outage_of_the_signals() {
    let mut history = mk_history(mk_job(), &[(100, Condition::CutOff)]);
    history.pauses.push(Span { from: at(125), until: Some(at(135)) });
    history.terms.push(at(135));
    assert_eq!(violations(&history, &[lost(172)], 300), []);
    assert_eq!(violations(&history, &[lost(173)], 300), [Violation::Missed]);
}

#[test]
fn the_time_starts_again_with_a_new_leader() {
    let mut history = mk_history(mk_job(), &[(100, Condition::CutOff)]);
    history.terms.push(at(125));
    assert_eq!(violations(&history, &[lost(162)], 200), []);
    assert_eq!(violations(&history, &[lost(163)], 200), [Violation::Missed]);
}

#[test]
fn a_deleted_node_is_reported_within_33_seconds() {
    let mut history = mk_history(mk_job(), &[(100, Condition::CutOff)]);
    history.node("node").deleted.push(Span::open(at(101)));
    let gone = |seconds| mk_notification(seconds, OutcomeKind::Lost, reason::NODE_GONE);
    assert_eq!(violations(&history, &[gone(134)], 200), []);
    assert_eq!(violations(&history, &[gone(135)], 200), [Violation::Missed]);
}

#[test]
fn a_worker_that_never_started_on_an_unhealthy_node_is_lost_after_the_time_its_reason_requires() {
    let unseen = unstarted(95);
    let notified = |seconds, reason| [mk_notification(seconds, OutcomeKind::Lost, reason)];
    let mut history = mk_history(unseen, &[(100, Condition::NoKubelet)]);
    assert_eq!(violations(&history, &notified(130, reason::OUTCOME_UNKNOWN), 130), []);
    assert_eq!(violations(&history, &notified(105, reason::OUTCOME_UNKNOWN), 130), [Violation::Wrong]);
    assert_eq!(violations(&history, &notified(130, reason::PROCESS_GONE), 130), [Violation::Wrong]);
    assert_eq!(
        violations(&history, &notified(105, reason::NODE_GONE), 130),
        [Violation::Wrong],
        "the node's object is there"
    );
    history.node("node").deleted.push(Span::open(at(101)));
    assert_eq!(violations(&history, &notified(105, reason::NODE_GONE), 130), []);
}

#[test]
fn a_job_without_image_is_lost_after_start_timeout_and_no_earlier() {
    let imageless = JobHistory { kind: JobKind::MissingImage, ..unstarted(95) };
    let notified = |seconds, reason| [mk_notification(seconds, OutcomeKind::Lost, reason)];
    let mut history = mk_history(imageless, &[]);
    for reason in [reason::IMAGE_PULL_FAILED, reason::START_TIMEOUT] {
        assert_eq!(violations(&history, &notified(113, reason), 130), []);
        assert_eq!(violations(&history, &notified(112, reason), 130), [Violation::Wrong], "{reason} is early");
    }
    history.jobs[0].kind = JobKind::Succeeds(Duration::from_mins(5));
    assert_eq!(
        violations(&history, &notified(116, reason::START_TIMEOUT), 130),
        [Violation::Wrong],
        "its start-timeout is longer"
    );
}

#[test]
fn without_a_kubelet_the_time_runs_from_the_last_lease_renewal_or_the_workers_end() {
    let unknown = |seconds| mk_notification(seconds, OutcomeKind::Lost, reason::OUTCOME_UNKNOWN);
    let history = mk_history(dead(102), &[(100, Condition::NoKubelet)]);
    assert_eq!(violations(&history, &[unknown(160)], 200), []);
    assert_eq!(violations(&history, &[unknown(161)], 200), [Violation::Missed]);
    let history = mk_history(dead(150), &[(100, Condition::NoKubelet)]);
    assert_eq!(violations(&history, &[unknown(180)], 200), []);
    assert_eq!(violations(&history, &[unknown(181)], 200), [Violation::Missed]);
}

#[test]
fn after_a_fault_too_short_to_detect_kubernetes_reports_the_end() {
    let history =
        mk_history(dead(102), &[(100, Condition::NoKubelet), (120, Condition::Recovering), (125, Condition::Healthy)]);
    assert_eq!(violations(&history, &[mk_notification(180, OutcomeKind::Failed, "BackoffLimitExceeded")], 300), []);
    assert_eq!(violations(&history, &[], 305), []);
    assert_eq!(violations(&history, &[], 306), [Violation::Missed]);
}

#[test]
fn an_end_that_the_kubelet_reported_is_left_to_kubernetes_even_if_the_node_is_cut_off_later() {
    let cut = [(130, Condition::CutOff)];
    let mut job = dead(100);
    let failed = [mk_notification(210, OutcomeKind::Failed, "BackoffLimitExceeded")];
    assert_eq!(
        violations(&mk_history(job.clone(), &cut), &failed, 300),
        [Violation::Missed],
        "nothing was reported before"
    );
    (job.attempts[0].reported, job.finished) = (Some(at(120)), Some(at(200)));
    assert_eq!(violations(&mk_history(job.clone(), &cut), &failed, 300), []);
    assert_eq!(violations(&mk_history(job.clone(), &cut), &[], 300), [Violation::Missed]);
    job.attempts[0].reported = Some(at(131));
    assert_eq!(violations(&mk_history(job, &cut), &failed, 300), [Violation::Missed], "it was cut off before");
}

#[test]
fn an_end_that_kubernetes_reports_late_is_due_ten_seconds_later() {
    let failed = |seconds| [mk_notification(seconds, OutcomeKind::Failed, "BackoffLimitExceeded")];
    let finished = |seconds| mk_history(JobHistory { finished: Some(at(seconds)), ..dead(100) }, &[]);
    assert_eq!(violations(&finished(200), &failed(210), 300), []);
    assert_eq!(violations(&finished(200), &failed(211), 300), [Violation::Missed]);
    assert_eq!(violations(&finished(102), &failed(160), 300), []);
    assert_eq!(violations(&finished(102), &[], 161), [Violation::Missed]);
}

#[test]
fn failed_is_wrong_for_a_worker_that_exited_0() {
    let history = mk_history(ended(50, How::Exited { succeeded: true }), &[]);
    assert_eq!(violations(&history, &[mk_notification(52, OutcomeKind::Succeeded, "Completed")], 200), []);
    assert_eq!(
        violations(&history, &[mk_notification(52, OutcomeKind::Failed, "BackoffLimitExceeded")], 200),
        [Violation::Wrong]
    );
}

#[test]
fn succeeded_is_wrong_for_a_killed_worker() {
    let notified = [mk_notification(52, OutcomeKind::Succeeded, "Completed")];
    assert_eq!(violations(&mk_history(dead(50), &[]), &notified, 200), [Violation::Wrong]);
}

#[test]
fn a_loss_for_an_unfounded_reason_is_wrong_even_for_a_dead_worker() {
    let notified = [mk_notification(52, OutcomeKind::Lost, reason::PROCESS_GONE)];
    assert_eq!(violations(&mk_history(dead(50), &[]), &notified, 200), [Violation::Wrong]);
}

#[test]
fn two_final_outcomes_of_one_job_are_a_duplicate() {
    let failed = mk_notification(52, OutcomeKind::Failed, "BackoffLimitExceeded");
    assert_eq!(violations(&mk_history(dead(50), &[]), &[failed.clone(), failed], 200), [Violation::Duplicated]);
}

#[test]
fn a_delivery_may_be_repeated_only_if_an_acknowledgement_may_have_been_lost() {
    let notified = [Notification { deliveries: 2, ..mk_notification(52, OutcomeKind::Failed, "BackoffLimitExceeded") }];
    let mut history = mk_history(dead(50), &[]);
    assert_eq!(violations(&history, &notified, 200), [Violation::Duplicated]);
    history.disruptions.push(Span { from: at(53), until: Some(at(60)) });
    assert_eq!(violations(&history, &notified, 200), []);
}

#[test]
fn a_notice_about_an_undisturbed_worker_is_wrong() {
    let notified = [mk_notification(100, OutcomeKind::Suspect, reason::UNSEEN)];
    assert_eq!(violations(&mk_history(mk_job(), &[]), &notified, 200), [Violation::Wrong]);
    let sidecar_blocked = vec![Span::open(at(60))];
    assert_eq!(violations(&mk_history(JobHistory { sidecar_blocked, ..mk_job() }, &[]), &notified, 200), []);
}

#[test]
fn detection_time_counts_from_the_fault() {
    let history = mk_history(mk_job(), &[(100, Condition::CutOff)]);
    let detections = assess(&history, &[lost(131)], LOST_AFTER, at(200)).detections;
    assert_eq!(detections.iter().map(|it| it.took).collect::<Vec<_>>(), [at(31)]);
}

#[test]
fn a_live_worker_whose_signals_resume_before_the_breaker_releases_has_no_deadline() {
    let mut history =
        mk_history(mk_job(), &[(100, Condition::CutOff), (146, Condition::Recovering), (150, Condition::Healthy)]);
    history.pauses.push(Span { from: at(129), until: Some(at(190)) });
    assert_eq!(violations(&history, &[], 900), []);
}

#[test]
fn a_dead_worker_on_a_recovered_node_is_left_to_kubernetes() {
    let mut history =
        mk_history(dead(110), &[(100, Condition::CutOff), (146, Condition::Recovering), (150, Condition::Healthy)]);
    history.pauses.push(Span { from: at(129), until: Some(at(190)) });
    assert_eq!(violations(&history, &[], 900), [Violation::Missed]);
    assert_eq!(violations(&history, &[mk_notification(200, OutcomeKind::Failed, "BackoffLimitExceeded")], 900), []);
}

#[test]
fn a_node_is_silent_while_it_is_cut_off_or_blocked() {
    let mut history =
        mk_history(mk_job(), &[(100, Condition::CutOff), (110, Condition::Healthy), (120, Condition::NoKubelet)]);
    history.node("node").blocked.push(Span { from: at(130), until: Some(at(140)) });
    let silent = [99, 100, 111, 120, 130, 141].map(|seconds| history.node("node").was_silent(at(seconds), at(seconds)));
    assert_eq!(silent, [false, true, false, false, true, false]);
}
