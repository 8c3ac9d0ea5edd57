use super::*;
use crate::chaos::history::{End, Span};

const LOST_AFTER: Duration = Duration::from_secs(30);

fn at(seconds: u64) -> At {
    Duration::from_secs(seconds)
}

fn mk_job() -> JobHistory {
    JobHistory {
        name: "job".to_owned(),
        node: "node".to_owned(),
        kind: Kind::Works(at(1000)),
        submitted: at(0),
        started: Some(at(5)),
        ended: None,
        reported: None,
        finished: None,
        deleted: None,
        evicted: None,
        muted: Vec::new(),
        suspended: Vec::new(),
        story: Vec::new(),
    }
}

/// A Job, and what became of its node when.
fn mk_history(job: JobHistory, conditions: &[(u64, Condition)]) -> History {
    let mut history = History { jobs: vec![job], ..History::default() };
    history.node("node");
    for (since, condition) in conditions {
        history.node("node").becomes(at(*since), *condition);
    }
    history
}

fn mk_told(seconds: u64, kind: OutcomeKind, reason: &str) -> Told {
    let (job, reason) = ("job".to_owned(), reason.to_owned());
    Told { job, at: at(seconds), kind, reason, deliveries: 1, because: String::new() }
}

fn dead(at_seconds: u64) -> JobHistory {
    JobHistory { ended: Some(End { at: at(at_seconds), well: false }), ..mk_job() }
}

fn lost(seconds: u64) -> Told {
    mk_told(seconds, OutcomeKind::Lost, reason::NODE_UNREACHABLE)
}

fn faults(history: &History, told: &[Told], now: u64) -> Vec<Fault> {
    account(history, told, LOST_AFTER, at(now)).findings.into_iter().map(|finding| finding.fault).collect()
}

#[test]
fn a_live_worker_on_a_well_node_that_is_called_lost_is_wrong() {
    assert_eq!(faults(&mk_history(mk_job(), &[]), &[lost(100)], 100), [Fault::Wrong]);
}

#[test]
fn a_live_worker_that_nobody_hears_for_lost_after_may_be_called_lost_and_no_earlier() {
    let history = mk_history(mk_job(), &[(100, Condition::Cut)]);
    assert_eq!(faults(&history, &[lost(131)], 200), []);
    assert_eq!(faults(&history, &[lost(120)], 200), [Fault::Wrong]);
}

#[test]
fn a_worker_is_heard_again_a_quarter_of_a_minute_after_its_node_is_back() {
    let history = mk_history(mk_job(), &[(100, Condition::Cut), (129, Condition::Recovering), (131, Condition::Well)]);
    assert_eq!(faults(&history, &[lost(140)], 200), []);
    assert_eq!(faults(&history, &[lost(150)], 200), [Fault::Wrong]);
}

#[test]
fn a_cut_off_worker_of_which_nobody_is_told_in_time_is_missed() {
    let history = mk_history(mk_job(), &[(100, Condition::Cut)]);
    assert_eq!(faults(&history, &[], 131), []);
    assert_eq!(faults(&history, &[], 133), [Fault::Missed]);
    assert_eq!(faults(&history, &[lost(133)], 140), [Fault::Missed]);
}

#[test]
fn time_in_which_the_reaper_rightly_held_does_not_count() {
    let mut history = mk_history(mk_job(), &[(100, Condition::Cut)]);
    history.pauses.push(Span { from: at(110), until: Some(at(150)) });
    assert_eq!(faults(&history, &[lost(170)], 200), []);
    history.pauses.push(Span::since(at(160)));
    assert_eq!(faults(&history, &[], 900), []);
}

#[test]
fn a_new_leader_has_its_time_anew() {
    let mut history = mk_history(mk_job(), &[(100, Condition::Cut)]);
    history.terms.push(at(125));
    assert_eq!(faults(&history, &[lost(158)], 200), []);
    assert_eq!(faults(&history, &[lost(161)], 200), [Fault::Missed]);
}

#[test]
fn a_node_whose_object_is_deleted_has_thirty_seconds_and_no_more() {
    let mut history = mk_history(mk_job(), &[(100, Condition::Cut)]);
    history.node("node").deleted.push(Span::since(at(101)));
    let gone = |seconds| mk_told(seconds, OutcomeKind::Lost, reason::NODE_GONE);
    assert_eq!(faults(&history, &[gone(131)], 200), []);
    assert_eq!(faults(&history, &[gone(132)], 200), [Fault::Missed]);
}

#[test]
fn what_has_not_begun_on_a_node_that_is_not_well_is_lost_with_it_after_as_long_as_the_reason_asks_for() {
    let unseen = JobHistory { started: None, submitted: at(95), ..mk_job() };
    let told = |seconds, reason| [mk_told(seconds, OutcomeKind::Lost, reason)];
    let mut history = mk_history(unseen, &[(100, Condition::NoKubelet)]);
    assert_eq!(faults(&history, &told(130, reason::OUTCOME_UNKNOWN), 130), []);
    assert_eq!(faults(&history, &told(105, reason::OUTCOME_UNKNOWN), 130), [Fault::Wrong]);
    assert_eq!(faults(&history, &told(130, reason::PROCESS_GONE), 130), [Fault::Wrong]);
    assert_eq!(faults(&history, &told(105, reason::NODE_GONE), 130), [Fault::Wrong], "the node's object is there");
    history.node("node").deleted.push(Span::since(at(101)));
    assert_eq!(faults(&history, &told(105, reason::NODE_GONE), 130), []);
}

#[test]
fn what_has_no_image_is_lost_once_it_was_given_the_time_to_start() {
    let imageless = JobHistory { started: None, submitted: at(95), kind: Kind::NoImage, ..mk_job() };
    let told = |seconds, reason| [mk_told(seconds, OutcomeKind::Lost, reason)];
    let mut history = mk_history(imageless, &[]);
    for reason in [reason::IMAGE_PULL_FAILED, reason::START_TIMEOUT] {
        assert_eq!(faults(&history, &told(113, reason), 130), []);
        assert_eq!(faults(&history, &told(112, reason), 130), [Fault::Wrong], "{reason} came early");
    }
    history.jobs[0].kind = Kind::Works(Duration::from_mins(5));
    assert_eq!(faults(&history, &told(116, reason::START_TIMEOUT), 130), [Fault::Wrong], "it was given longer");
}

#[test]
fn what_ends_without_a_kubelet_counts_from_the_last_lease_or_from_its_end() {
    let unknown = |seconds| mk_told(seconds, OutcomeKind::Lost, reason::OUTCOME_UNKNOWN);
    let history = mk_history(dead(102), &[(100, Condition::NoKubelet)]);
    assert_eq!(faults(&history, &[unknown(160)], 200), []);
    assert_eq!(faults(&history, &[unknown(161)], 200), [Fault::Missed]);
    let history = mk_history(dead(150), &[(100, Condition::NoKubelet)]);
    assert_eq!(faults(&history, &[unknown(180)], 200), []);
    assert_eq!(faults(&history, &[unknown(181)], 200), [Fault::Missed]);
}

#[test]
fn a_fault_that_is_over_before_it_can_be_found_leaves_it_to_kubernetes() {
    let history =
        mk_history(dead(102), &[(100, Condition::NoKubelet), (120, Condition::Recovering), (125, Condition::Well)]);
    assert_eq!(faults(&history, &[mk_told(180, OutcomeKind::Failed, "BackoffLimitExceeded")], 300), []);
    assert_eq!(faults(&history, &[], 305), []);
    assert_eq!(faults(&history, &[], 306), [Fault::Missed]);
}

#[test]
fn what_the_kubelet_has_reported_is_up_to_kubernetes_though_its_node_is_cut_off_later() {
    let cut = [(130, Condition::Cut)];
    let mut job = dead(100);
    let failed = [mk_told(210, OutcomeKind::Failed, "BackoffLimitExceeded")];
    assert_eq!(faults(&mk_history(job.clone(), &cut), &failed, 300), [Fault::Missed], "nobody knew of it");
    (job.reported, job.finished) = (Some(at(120)), Some(at(200)));
    assert_eq!(faults(&mk_history(job.clone(), &cut), &failed, 300), []);
    assert_eq!(faults(&mk_history(job.clone(), &cut), &[], 300), [Fault::Missed]);
    job.reported = Some(at(131));
    assert_eq!(faults(&mk_history(job, &cut), &failed, 300), [Fault::Missed], "it was cut off before");
}

#[test]
fn what_kubernetes_reports_late_has_to_be_told_shortly_afterwards() {
    let failed = |seconds| [mk_told(seconds, OutcomeKind::Failed, "BackoffLimitExceeded")];
    let finished = |seconds| mk_history(JobHistory { finished: Some(at(seconds)), ..dead(100) }, &[]);
    assert_eq!(faults(&finished(200), &failed(210), 300), []);
    assert_eq!(faults(&finished(200), &failed(211), 300), [Fault::Missed]);
    assert_eq!(faults(&finished(102), &failed(160), 300), []);
    assert_eq!(faults(&finished(102), &[], 161), [Fault::Missed]);
}

#[test]
fn a_worker_that_exits_0_has_not_failed() {
    let ended = Some(End { at: at(50), well: true });
    let history = mk_history(JobHistory { ended, ..mk_job() }, &[]);
    assert_eq!(faults(&history, &[mk_told(52, OutcomeKind::Succeeded, "Completed")], 200), []);
    assert_eq!(faults(&history, &[mk_told(52, OutcomeKind::Failed, "BackoffLimitExceeded")], 200), [Fault::Wrong]);
}

#[test]
fn a_worker_that_was_killed_has_not_succeeded() {
    let told = [mk_told(52, OutcomeKind::Succeeded, "Completed")];
    assert_eq!(faults(&mk_history(dead(50), &[]), &told, 200), [Fault::Wrong]);
}

#[test]
fn a_loss_for_a_reason_that_nothing_gave_is_wrong_even_of_a_dead_worker() {
    let told = [mk_told(52, OutcomeKind::Lost, reason::PROCESS_GONE)];
    assert_eq!(faults(&mk_history(dead(50), &[]), &told, 200), [Fault::Wrong]);
}

#[test]
fn two_ends_of_one_job_are_a_duplicate() {
    let failed = mk_told(52, OutcomeKind::Failed, "BackoffLimitExceeded");
    assert_eq!(faults(&mk_history(dead(50), &[]), &[failed.clone(), failed], 200), [Fault::Duplicated]);
}

#[test]
fn a_delivery_may_be_repeated_only_where_an_acknowledgement_may_have_been_lost() {
    let told = [Told { deliveries: 2, ..mk_told(52, OutcomeKind::Failed, "BackoffLimitExceeded") }];
    let mut history = mk_history(dead(50), &[]);
    assert_eq!(faults(&history, &told, 200), [Fault::Duplicated]);
    history.upheavals.push(Span { from: at(53), until: Some(at(60)) });
    assert_eq!(faults(&history, &told, 200), []);
}

#[test]
fn a_notice_about_a_worker_that_nothing_disturbs_is_wrong() {
    let told = [mk_told(100, OutcomeKind::Suspect, reason::UNSEEN)];
    assert_eq!(faults(&mk_history(mk_job(), &[]), &told, 200), [Fault::Wrong]);
    let muted = vec![Span::since(at(60))];
    assert_eq!(faults(&mk_history(JobHistory { muted, ..mk_job() }, &[]), &told, 200), []);
}

#[test]
fn a_deleted_job_is_told_as_such() {
    let history = mk_history(JobHistory { deleted: Some(at(50)), ..dead(52) }, &[]);
    assert_eq!(faults(&history, &[mk_told(51, OutcomeKind::Lost, reason::JOB_DELETED)], 200), []);
    assert_eq!(faults(&history, &[], 200), [Fault::Missed]);
    assert_eq!(
        faults(&mk_history(mk_job(), &[]), &[mk_told(51, OutcomeKind::Lost, reason::JOB_DELETED)], 52),
        [Fault::Wrong]
    );
}

#[test]
fn a_suspended_job_has_no_end() {
    let suspended = vec![Span::since(at(50))];
    assert_eq!(faults(&mk_history(JobHistory { suspended, ..mk_job() }, &[(60, Condition::Cut)]), &[], 900), []);
}

#[test]
fn what_a_loss_took_counts_from_the_fault() {
    let history = mk_history(mk_job(), &[(100, Condition::Cut)]);
    let detections = account(&history, &[lost(131)], LOST_AFTER, at(200)).detections;
    assert_eq!(detections.iter().map(|it| it.took).collect::<Vec<_>>(), [at(31)]);
}

#[test]
fn a_live_worker_that_is_heard_again_before_the_breaker_lets_go_has_no_end() {
    let mut history =
        mk_history(mk_job(), &[(100, Condition::Cut), (146, Condition::Recovering), (150, Condition::Well)]);
    history.pauses.push(Span { from: at(129), until: Some(at(190)) });
    assert_eq!(faults(&history, &[], 900), []);
}

#[test]
fn a_dead_worker_that_comes_back_with_its_node_is_left_to_kubernetes() {
    let mut history =
        mk_history(dead(110), &[(100, Condition::Cut), (146, Condition::Recovering), (150, Condition::Well)]);
    history.pauses.push(Span { from: at(129), until: Some(at(190)) });
    assert_eq!(faults(&history, &[], 900), [Fault::Missed]);
    assert_eq!(faults(&history, &[mk_told(200, OutcomeKind::Failed, "BackoffLimitExceeded")], 900), []);
}

#[test]
fn a_node_is_silent_while_it_is_cut_or_walled_off() {
    let mut history =
        mk_history(mk_job(), &[(100, Condition::Cut), (110, Condition::Well), (120, Condition::NoKubelet)]);
    history.node("node").walled.push(Span { from: at(130), until: Some(at(140)) });
    let silent = [99, 100, 110, 120, 130, 141].map(|seconds| history.node("node").is_silent(at(seconds)));
    assert_eq!(silent, [false, true, false, false, true, false]);
}
