//! Timers that stand still while Kubernetes waits on purpose.

use super::*;
use crate::facts::{job::BackOff, node::NodeFacts};

fn starting(state: &mut Index, start: StartPhase, at: u64) {
    state.apply_pod(PodFacts { start, phase: PodPhase::Pending, ..mk_pod("pod", "job") }, moment(at));
}

#[test]
fn the_start_timer_stands_still_while_a_native_sidecar_warms_up() {
    let mut state = mk_state();
    starting(&mut state, StartPhase::Starting, 10);
    starting(&mut state, StartPhase::WarmingUp, 14);
    assert_eq!(pod(&state).starting_since, None);
    // Its startup probe failed, and the kubelet restarts it after a while.
    starting(&mut state, StartPhase::Starting, 100);
    assert_eq!(pod(&state).starting_since, Some(moment(96)));
    starting(&mut state, StartPhase::WarmingUp, 120);
    starting(&mut state, StartPhase::Starting, 200);
    assert_eq!(pod(&state).starting_since, Some(moment(176)));
}

#[test]
fn the_start_timer_begins_anew_after_an_init_container() {
    let mut state = mk_state();
    starting(&mut state, StartPhase::Starting, 10);
    starting(&mut state, StartPhase::Initializing, 20);
    assert_eq!(pod(&state).starting_since, None);
    starting(&mut state, StartPhase::Starting, 300);
    assert_eq!(pod(&state).starting_since, Some(moment(300)));
}

#[test]
fn the_start_timer_begins_anew_when_the_node_is_ready_again() {
    let mut state = mk_state();
    starting(&mut state, StartPhase::Starting, 10);
    state.apply_node(&mk_node("node-1", Health::NotReady), moment(20));
    state.apply_node(&mk_node("node-1", Health::Ready), moment(500));
    assert_eq!(pod(&state).starting_since, Some(moment(500)));
}

#[test]
fn a_node_that_was_not_ready_while_its_watch_was_down_is_found_by_its_condition() {
    let mut state = mk_state();
    let ready = |second| {
        let changed = jiff::Timestamp::from_second(second).expect("in range");
        NodeFacts { changed: Some(changed), ..mk_node("node-1", Health::Ready) }
    };
    state.apply_node(&ready(1), moment(5));
    starting(&mut state, StartPhase::Starting, 10);
    state.apply_node(&ready(1), moment(20));
    assert_eq!(pod(&state).starting_since, Some(moment(10)));
    assert!(changed(&mut state));
    state.apply_node(&ready(2), moment(30));
    assert_eq!(pod(&state).starting_since, Some(moment(30)));
    assert!(changed(&mut state));
}

#[test]
fn an_attempt_that_came_and_went_unseen_begins_the_back_off_anew() {
    let mut state = mk_state();
    let since = |state: &Index| evidence(state).job.podless_since;
    state.apply_pod(failed("pod", 0), moment(10));
    assert_eq!(since(&state), Some(moment(20)));
    state.apply_pod(failed("second", 0), moment(400));
    assert_eq!(since(&state), Some(moment(420)), "its pod is still there");
    state.apply_job(JobFacts { back_off: BackOff::AfterFailures(3), ..mk_job("job") }, moment(900));
    assert_eq!(since(&state), Some(moment(940)), "it is only counted");
}

fn failed(uid: &str, earlier_failures: u32) -> PodFacts {
    PodFacts { phase: PodPhase::Failed, earlier_failures, ..mk_pod(uid, "job") }
}

#[rstest]
#[case::before_any_failure(BackOff::AfterFailures(0), vec![], 5)]
#[case::after_the_first(BackOff::AfterFailures(1), vec![], 15)]
#[case::not_yet_counted(BackOff::AfterFailures(1), vec![failed("a", 0), failed("b", 0)], 25)]
#[case::after_many(BackOff::AfterFailures(20), vec![failed("a", 0)], 605)]
#[case::by_the_note_on_the_pod(BackOff::PerIndex, vec![failed("a", 0), failed("b", 2)], 45)]
#[case::no_index_has_failed(BackOff::PerIndex, vec![], 5)]
#[case::failures_that_nobody_counts(BackOff::Uncounted, vec![failed("a", 0)], 605)]
#[case::without_any_pod(BackOff::Uncounted, vec![], 5)]
fn a_job_is_podless_from_when_its_controller_should_have_created_a_pod(
    #[case] back_off: BackOff,
    #[case] pods: Vec<PodFacts>,
    #[case] since: u64,
) {
    let mut state = Index::default();
    for pod in pods {
        state.apply_pod(pod, moment(1));
    }
    state.apply_job(JobFacts { back_off, ..mk_job("job") }, moment(5));
    assert_eq!(evidence(&state).job.podless_since, Some(moment(since)));
}
