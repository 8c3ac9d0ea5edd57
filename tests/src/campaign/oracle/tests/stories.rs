//! The stories of the faults that Kubernetes or people cause on purpose, told to the oracle, with outcomes planted in them that are
//! wrong, missing or repeated.

use super::*;
use crate::campaign::history::{Deletion, Eviction, PodSeen, Stage, Storm};

/// The worker of [`mk_job`] ends by itself at this time.
const OVER: u64 = 1005;

fn succeeded(seconds: u64) -> Notification {
    mk_notification(seconds, OutcomeKind::Succeeded, "Completed")
}

fn failed(seconds: u64) -> Notification {
    mk_notification(seconds, OutcomeKind::Failed, "BackoffLimitExceeded")
}

fn gone(seconds: u64) -> Notification {
    mk_notification(seconds, OutcomeKind::Lost, reason::NODE_GONE)
}

fn pod(name: &str) -> PodSeen {
    let (name, job) = (name.to_owned(), "job".to_owned());
    PodSeen { name, job, stage: Stage::Running, deleting: false }
}

fn ending(name: &str) -> PodSeen {
    PodSeen { deleting: true, ..pod(name) }
}

/// A Job that wanted no pod from 50 to `until`.
fn paused(until: u64, conditions: &[(u64, Condition)]) -> History {
    let mut job = mk_job();
    job.pauses.push(Span { from: at(50), until: Some(at(until)) });
    (job.submitted, job.bound) = (at(until), None);
    mk_history(job, conditions)
}

fn job(history: &mut History) -> &mut JobHistory {
    history.job("job").expect("the history has this Job")
}

fn evict(history: &mut History, seconds: u64) {
    job(history).evicted = Some(Eviction { asked: at(seconds), confirmed: true });
}

#[test]
fn a_job_whose_pod_never_stopped_while_it_was_suspended_may_succeed_with_it() {
    let mut history = paused(52, &[]);
    // The Job controller lagged behind, and saw the Job after it was resumed.
    history.see_pods(&[pod("pod")], at(51));
    history.see_pods(&[pod("pod")], at(54));
    history.worker_ended("job", "pod", at(OVER));
    assert_eq!(violations(&history, &[succeeded(OVER + 2)], 2000), []);
    assert_eq!(violations(&history, &[], 2000), [Violation::Missed]);
    assert_eq!(violations(&history, &[failed(OVER + 2)], 2000), [Violation::Wrong]);
    assert_eq!(violations(&history, &[succeeded(300)], 300), [Violation::Wrong], "its worker still ran");
    assert_eq!(violations(&history, &[succeeded(OVER + 2), succeeded(OVER + 4)], 2000), [Violation::Duplicated]);
}

#[test]
fn a_worker_that_a_suspension_did_not_stop_can_be_killed_later() {
    let mut history = paused(52, &[]);
    history.see_pods(&[pod("pod")], at(54));
    job(&mut history).killed.push(at(300));
    history.worker_ended("job", "pod", at(300));
    assert_eq!(violations(&history, &[failed(302)], 600), []);
    assert_eq!(violations(&history, &[], 600), [Violation::Missed]);
    assert_eq!(violations(&history, &[succeeded(302)], 600), [Violation::Wrong]);
}

#[test]
fn a_pod_that_a_suspension_stops_late_is_no_failure() {
    let mut history = paused(52, &[]);
    history.see_pods(&[ending("pod")], at(54));
    // Its worker ends after the Job was resumed, and another pod follows.
    history.worker_ended("job", "pod", at(57));
    assert_eq!(violations(&history, &[], 500), [], "the Job goes on");
    assert_eq!(violations(&history, &[failed(60)], 500), [Violation::Wrong]);
    assert_eq!(violations(&history, &[lost(100)], 500), [Violation::Wrong]);
    history.see_pods(&[pod("next")], at(62));
    job(&mut history).worker_started("next", at(61));
    history.worker_ended("job", "next", at(61 + 1000));
    assert_eq!(violations(&history, &[succeeded(1063)], 2000), []);
    assert_eq!(violations(&history, &[], 2000), [Violation::Missed]);
}

#[test]
fn a_pod_that_stops_for_a_suspension_is_history_although_nobody_saw_its_deletion() {
    let mut history = paused(60, &[]);
    // The API server was away.
    history.worker_ended("job", "pod", at(55));
    assert_eq!(violations(&history, &[], 900), []);
    assert_eq!(violations(&history, &[failed(58)], 900), [Violation::Wrong]);
    assert_eq!(violations(&history, &[succeeded(58)], 900), [Violation::Wrong]);
}

#[test]
fn a_pod_that_stopped_for_a_suspension_is_not_lost_with_its_node() {
    let mut history = paused(60, &[(100, Condition::CutOff)]);
    history.worker_ended("job", "pod", at(55));
    assert_eq!(violations(&history, &[], 900), [], "the next pod has no node");
}

#[test]
fn an_eviction_that_finds_a_pod_on_its_way_out_is_not_due() {
    let mut history = paused(60, &[]);
    evict(&mut history, 58);
    history.worker_ended("job", "pod", at(59));
    assert_eq!(violations(&history, &[], 900), []);
    assert_eq!(violations(&history, &[failed(62)], 900), []);
}

#[test]
fn a_node_that_was_deleted_long_ago_is_not_gone() {
    let mut history = mk_history(dead(300), &[(300, Condition::CutOff)]);
    history.node("node").deleted.push(Span { from: at(100), until: None });
    assert_eq!(violations(&history, &[gone(310)], 310), [Violation::Wrong]);
}

#[test]
fn nothing_is_due_about_a_job_that_wants_no_pod_and_nothing_is_lost() {
    let mut history = paused(52, &[(60, Condition::CutOff)]);
    job(&mut history).pauses[0].until = None;
    history.see_pods(&[ending("pod")], at(54));
    assert_eq!(violations(&history, &[], 900), []);
    assert_eq!(violations(&history, &[lost(95)], 900), [Violation::Wrong]);
}

#[test]
fn a_worker_on_a_cut_node_whose_job_was_scaled_down_is_history() {
    let mut history = paused(60, &[(40, Condition::CutOff)]);
    history.see_pods(&[ending("pod")], at(54));
    // The next pod waits for a node.
    let waiting = PodSeen { stage: Stage::Unscheduled, ..pod("next") };
    history.see_pods(&[ending("pod"), waiting], at(62));
    assert_eq!(violations(&history, &[], 900), []);
    assert_eq!(violations(&history, &[lost(73)], 900), [Violation::Wrong]);
}

#[test]
fn a_loss_that_was_established_before_the_job_was_scaled_down_may_be_told() {
    let mut history = paused(90, &[(20, Condition::CutOff)]);
    history.see_pods(&[ending("pod")], at(54));
    assert_eq!(violations(&history, &[lost(52)], 900), []);
}

#[test]
fn a_resumed_job_is_lost_again_only_after_its_node_is_cut_off() {
    let mut history = paused(60, &[(100, Condition::CutOff)]);
    history.see_pods(&[ending("pod")], at(54));
    history.worker_ended("job", "pod", at(55));
    history.see_pods(&[pod("next")], at(64));
    job(&mut history).worker_started("next", at(63));
    assert_eq!(violations(&history, &[lost(131)], 200), []);
    assert_eq!(violations(&history, &[lost(110)], 200), [Violation::Wrong]);
    assert_eq!(violations(&history, &[], 200), [Violation::Missed]);
    assert_eq!(violations(&history, &[lost(131), lost(150)], 200), [Violation::Duplicated]);
}

#[test]
fn a_worker_that_dies_while_its_job_is_suspended_is_due_when_kubernetes_says_so() {
    let mut history = paused(60, &[]);
    job(&mut history).killed.push(at(51));
    history.worker_ended("job", "pod", at(51));
    assert_eq!(violations(&history, &[], 900), [], "it may have been dropped before");
    assert_eq!(violations(&history, &[failed(53)], 900), []);
    job(&mut history).finished = Some(at(70));
    assert_eq!(violations(&history, &[], 131), [Violation::Missed]);
    assert_eq!(violations(&history, &[succeeded(72)], 900), [Violation::Wrong]);
}

#[test]
fn a_drained_worker_has_failed_and_is_due() {
    let mut history = mk_history(mk_job(), &[]);
    evict(&mut history, 100);
    history.worker_ended("job", "pod", at(102));
    assert_eq!(violations(&history, &[failed(104)], 400), []);
    assert_eq!(violations(&history, &[], 400), [Violation::Missed]);
    assert_eq!(violations(&history, &[succeeded(104)], 400), [Violation::Wrong]);
    assert_eq!(violations(&history, &[gone(104)], 400), [Violation::Wrong], "its node is there");
}

#[test]
fn an_eviction_without_an_answer_is_allowed_and_not_due() {
    let mut history = mk_history(mk_job(), &[]);
    job(&mut history).evicted = Some(Eviction { asked: at(100), confirmed: false });
    assert_eq!(violations(&history, &[], 900), []);
    assert_eq!(violations(&history, &[failed(104)], 900), []);
}

#[test]
fn a_drained_worker_whose_node_goes_afterwards_is_reported_once() {
    let mut history = mk_history(mk_job(), &[(110, Condition::CutOff)]);
    history.node("node").crashes.push(at(110));
    history.node("node").deleted.push(Span::open(at(111)));
    evict(&mut history, 100);
    history.worker_ended("job", "pod", at(102));
    assert_eq!(violations(&history, &[failed(104)], 400), []);
    assert_eq!(violations(&history, &[failed(104), gone(136)], 400), [Violation::Duplicated]);
}

#[test]
fn a_worker_on_a_node_that_boots_again_has_ended() {
    let conditions = [(100, Condition::CutOff), (105, Condition::Recovering), (125, Condition::Healthy)];
    let mut history = mk_history(mk_job(), &conditions);
    history.node("node").crashes.push(at(100));
    history.node("node").boots.push(at(105));
    history.worker_ended("job", "pod", at(100));
    assert_eq!(job(&mut history).ended(), Some(End { at: at(100), how: How::Killed }));
    assert_eq!(violations(&history, &[gone(120)], 400), []);
    assert_eq!(violations(&history, &[failed(130)], 400), []);
    assert_eq!(violations(&history, &[gone(103)], 400), [Violation::Wrong], "it has not booted yet");
    assert_eq!(violations(&history, &[succeeded(130)], 400), [Violation::Wrong]);
    assert_eq!(violations(&history, &[], 400), [Violation::Missed]);
}

#[test]
fn a_worker_that_started_after_the_boot_lives() {
    let mut job = unstarted(126);
    job.worker_started("pod", at(128));
    let conditions = [(100, Condition::CutOff), (105, Condition::Recovering), (125, Condition::Healthy)];
    let mut history = mk_history(job, &conditions);
    history.node("node").crashes.push(at(100));
    history.node("node").boots.push(at(105));
    assert_eq!(violations(&history, &[gone(135)], 400), [Violation::Wrong]);
    assert_eq!(violations(&history, &[], 400), []);
}

#[test]
fn a_dense_node_that_crashes_is_due_in_time() {
    let mut history = History::default();
    history.node("node").set_condition(at(100), Condition::CutOff);
    history.node("node").crashes.push(at(100));
    history.jobs.extend((0..28).map(|number| JobHistory { name: format!("job-{number}"), ..dead(100) }));
    let lost = |seconds: u64, number: usize| Notification { job: format!("job-{number}"), ..lost(seconds) };
    let all: Vec<_> = (0..28).map(|number| lost(131 + u64::from(number > 20) * 4, number)).collect();
    assert_eq!(violations(&history, &all, 300), []);
    assert_eq!(violations(&history, &all[1..], 300), [Violation::Missed]);
    assert_eq!(violations(&history, &[], 300).len(), 28);
}

#[test]
fn a_live_worker_may_not_be_lost_in_a_storm_that_the_breaker_has_to_hold() {
    let mut history = mk_history(mk_job(), &[(100, Condition::CutOff)]);
    history.storms.push(Storm { span: Span::open(at(100)), silent: 3, carrying: 4 });
    assert_eq!(violations(&history, &[lost(131)], 131), [Violation::Wrong]);
    history.storms[0].silent = 2;
    assert_eq!(violations(&history, &[lost(131)], 131), [], "two nodes are acted upon");
}

#[test]
fn a_deleted_job_is_reported_as_deleted_whatever_becomes_of_its_pods() {
    let deleted = |seconds| mk_notification(seconds, OutcomeKind::Lost, reason::JOB_DELETED);
    for propagation in [Propagation::Background, Propagation::Foreground, Propagation::Orphan] {
        let mut history = mk_history(mk_job(), &[]);
        job(&mut history).deleted = Some(Deletion { asked: at(50), done: Some(at(51)), propagation });
        assert_eq!(violations(&history, &[deleted(51)], 200), [], "{propagation:?}");
        assert_eq!(violations(&history, &[deleted(49)], 200), [Violation::Wrong], "{propagation:?}");
        assert_eq!(violations(&history, &[], 200), [Violation::Missed], "{propagation:?}");
        assert_eq!(violations(&history, &[deleted(51), deleted(60)], 200), [Violation::Duplicated], "{propagation:?}");
        history.worker_ended("job", "pod", at(53));
        let accused = violations(&history, &[deleted(51)], 200);
        assert_eq!(accused.is_empty(), propagation != Propagation::Orphan, "its worker was stopped: {propagation:?}");
    }
    let history = mk_history(mk_job(), &[]);
    assert_eq!(violations(&history, &[deleted(51)], 52), [Violation::Wrong], "nobody deleted it");
}

#[test]
fn an_orphaned_worker_runs_to_its_end() {
    let mut history = mk_history(mk_job(), &[]);
    let propagation = Propagation::Orphan;
    job(&mut history).deleted = Some(Deletion { asked: at(50), done: Some(at(51)), propagation });
    history.worker_ended("job", "pod", at(OVER));
    assert_eq!(violations(&history, &[mk_notification(52, OutcomeKind::Lost, reason::JOB_DELETED)], 2000), []);
}

#[test]
fn a_deletion_without_an_answer_is_allowed_and_not_due() {
    let mut history = mk_history(mk_job(), &[]);
    let propagation = Propagation::Background;
    job(&mut history).deleted = Some(Deletion { asked: at(50), done: None, propagation });
    assert_eq!(violations(&history, &[], 900), []);
    assert_eq!(violations(&history, &[mk_notification(60, OutcomeKind::Lost, reason::JOB_DELETED)], 900), []);
}

#[test]
fn a_refused_write_delays_no_notification_and_allows_a_notice() {
    let mut history = mk_history(dead(100), &[(100, Condition::CutOff)]);
    history.refusals.push(Span { from: at(90), until: Some(at(170)) });
    assert_eq!(violations(&history, &[lost(131)], 300), []);
    assert_eq!(violations(&history, &[lost(175)], 300), [Violation::Missed]);
    assert_eq!(violations(&history, &[], 300), [Violation::Missed]);
    // When it may write again, Kubernetes finishes the Job, which has been reported already.
    assert_eq!(violations(&history, &[lost(131), failed(180)], 300), [Violation::Duplicated]);
    let notice = mk_notification(120, OutcomeKind::Suspect, reason::SUSPECT);
    let mut well = mk_history(mk_job(), &[]);
    assert_eq!(violations(&well, std::slice::from_ref(&notice), 300), [Violation::Wrong]);
    well.refusals.push(Span { from: at(90), until: Some(at(170)) });
    assert_eq!(violations(&well, &[notice], 300), []);
}

#[test]
fn a_live_worker_whose_loss_could_not_be_written_may_go_on_but_is_reported_once() {
    let conditions = [(100, Condition::CutOff), (140, Condition::Recovering), (150, Condition::Healthy)];
    let mut history = mk_history(mk_job(), &conditions);
    history.refusals.push(Span { from: at(90), until: Some(at(170)) });
    history.worker_ended("job", "pod", at(OVER));
    assert_eq!(violations(&history, &[lost(131)], 2000), []);
    assert_eq!(violations(&history, &[lost(131), succeeded(OVER + 2)], 2000), [Violation::Duplicated]);
}

/// Campaign 91305, job-948: its kubelet was away, the write of the loss was refused, and the worker started when the kubelet was back.
#[test]
fn a_pod_whose_loss_could_not_be_written_may_start_and_end_later() {
    let conditions = [(10, Condition::NoKubelet), (47, Condition::Recovering), (48, Condition::Healthy)];
    let mut history = mk_history(unstarted(8), &conditions);
    history.refusals.push(Span { from: at(0), until: Some(at(60)) });
    assert_eq!(violations(&history, &[lost(39)], 50), []);
    job(&mut history).worker_started("pod", at(53));
    history.worker_ended("job", "pod", at(115));
    assert_eq!(violations(&history, &[lost(39)], 118), []);
    assert_eq!(violations(&history, &[lost(20)], 118), [Violation::Wrong], "before lost-after has passed");
}

#[test]
fn a_worker_that_ends_before_its_time_without_a_fault_is_wrong() {
    let mut history = mk_history(mk_job(), &[]);
    history.worker_ended("job", "pod", at(100));
    assert_eq!(violations(&history, &[failed(103)], 103), [], "its cause may be seen a moment later");
    assert_eq!(violations(&history, &[failed(103)], 400), [Violation::Wrong]);
    evict(&mut history, 99);
    assert_eq!(violations(&history, &[failed(103)], 400), []);
}

#[test]
fn processes_under_a_hung_runtime_are_gone_after_the_kubelets_own_three_minutes() {
    let mut history = mk_history(dead(102), &[(100, Condition::Frozen)]);
    let process_gone = |seconds| [mk_notification(seconds, OutcomeKind::Lost, reason::PROCESS_GONE)];
    assert_eq!(violations(&history, &process_gone(285), 400), []);
    assert_eq!(violations(&history, &process_gone(200), 400), [Violation::Wrong]);
    assert_eq!(violations(&history, &process_gone(330), 400), [Violation::Missed]);
    history = mk_history(ended(102, How::Exited { succeeded: true }), &[(100, Condition::Frozen)]);
    history.node("node").set_condition(at(180), Condition::Recovering);
    history.node("node").set_condition(at(190), Condition::Healthy);
    assert_eq!(violations(&history, &[succeeded(195)], 600), [], "the kubelet learns of it in time");
}

#[test]
fn a_skewed_clock_changes_nothing() {
    // Only the replacement of the reapers is a disruption; in between, everything is due as ever.
    let mut history = mk_history(mk_job(), &[(100, Condition::CutOff)]);
    history.disruptions.push(Span { from: at(40), until: Some(at(60)) });
    history.terms.push(at(62));
    assert_eq!(violations(&history, &[lost(131)], 300), []);
    assert_eq!(violations(&history, &[lost(120)], 300), [Violation::Wrong]);
    assert_eq!(violations(&history, &[], 300), [Violation::Missed]);
}

#[test]
fn a_pod_that_has_no_node_waits_for_the_scheduler() {
    let mut history = mk_history(JobHistory { bound: None, ..unstarted(95) }, &[(100, Condition::CutOff)]);
    assert_eq!(violations(&history, &[], 900), []);
    job(&mut history).bound = Some(at(96));
    assert_eq!(violations(&history, &[], 900), [Violation::Missed]);
}

#[test]
fn a_notification_about_a_job_that_never_was_is_wrong() {
    let stray = Notification { job: "stray".to_owned(), ..succeeded(100) };
    assert_eq!(violations(&mk_history(mk_job(), &[]), &[stray], 200), [Violation::Wrong]);
}

fn recovered(seconds: u64) -> Notification {
    mk_notification(seconds, OutcomeKind::Recovered, reason::HEARTBEAT_RESUMED)
}

#[test]
fn a_pod_whose_worker_has_not_started_may_recover_with_its_node() {
    let away = [(100, Condition::CutOff), (150, Condition::Recovering), (160, Condition::Healthy)];
    let history = mk_history(unstarted(90), &away);
    assert_eq!(violations(&history, &[recovered(152)], 170), []);
    let cut_off = mk_history(unstarted(90), &[(91, Condition::CutOff)]);
    assert_eq!(violations(&cut_off, &[recovered(300)], 310), [Violation::Wrong, Violation::Missed]);
}
