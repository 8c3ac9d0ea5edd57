//! Each message names the pod, states what is wrong, and gives the signals or advice.

use std::time::Duration;

use super::*;
use crate::{
    builders::evidence::{NOW, at, judged, mk_job, mk_pod, mk_snapshot},
    evidence::JobStage,
};

const FACTS: &str = "(beat: fresh, last 1s ago; agent: alive, 1s ago; lease: fresh, last change 1s ago; \
                     node: n1 is ready according to the API server; pod: Running, container main running)";

fn with_messages<T>(kind: JobKind, policy: &Policy, write: impl FnOnce(Messages<'_>, JudgedPod<'_>) -> T) -> T {
    let snapshot = mk_snapshot(mk_job(JobStage::Open), vec![mk_pod("w")]);
    let judgement = judged(&snapshot);
    let pod = judgement.judged_pods(&snapshot.evidence, &snapshot.policy).next().expect("the Job has a pod");
    write(Messages { kind, policy, now: at(NOW) }, pod)
}

fn message(write: impl FnOnce(Messages<'_>, JudgedPod<'_>) -> String) -> String {
    with_messages(JobKind::Job, &Policy::default(), write)
}

#[test]
fn messages_about_a_pod_name_it_and_give_its_signals() {
    let lost = message(|messages, pod| messages.lost(pod, LostReason::NodeUnreachable));
    let rule = PodVerdict::Lost(LostReason::NodeUnreachable).row().rule();
    assert_eq!(lost, format!("Pod w on node n1 is lost: {rule} {FACTS}."));
    assert_eq!(message(|messages, pod| messages.late(pod)), format!("The beat of pod w is late {FACTS}."));
    let signals = &FACTS[1..FACTS.len() - 1];
    assert_eq!(message(|messages, pod| messages.sidecar_fault(pod)), format!("Pod w: {signals}."));
    assert_eq!(message(|messages, pod| messages.stuck(pod)), format!("Pod w does not terminate: {signals}."));
}

#[test]
fn a_missing_sidecar_is_explained() {
    let expected = "Pod w has no sidecar because none was injected at admission; only the agent on its node can report that \
                    it is alive.";
    assert_eq!(message(|_, pod| Messages::sidecar_missing(pod.pod)), expected);
}

#[test]
fn signals_that_resume_after_a_recorded_loss_do_not_undo_it() {
    let resumed = format!("Signals from pod w have resumed {FACTS}.");
    assert_eq!(message(|messages, pod| messages.signals_resumed(pod, false)), resumed);
    let stands = format!("{resumed} Its loss has been reported and stands; its sidecar is told to stop.");
    assert_eq!(message(|messages, pod| messages.signals_resumed(pod, true)), stands);
}

#[test]
fn messages_about_a_job_name_the_timeout() {
    let policy = Policy { active_timeout: Some(Duration::from_hours(2)), ..Policy::default() };
    assert_eq!(
        with_messages(JobKind::Job, &policy, |messages, _| messages.not_starting()),
        "The Job has had no pod for 10m; check its Events for quota or admission errors."
    );
    assert_eq!(
        with_messages(JobKind::Job, &policy, |messages, _| messages.overdue()),
        "The Job has run longer than its active-timeout of 2h."
    );
    assert_eq!(
        with_messages(JobKind::BarePod, &policy, |messages, _| messages.overdue()),
        "The pod has run longer than its active-timeout of 2h."
    );
}
