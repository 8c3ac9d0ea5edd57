//! Why a pod did not start, where its status does not say: the kubelet keeps the volumes and the sandbox of a pod out of its status,
//! in which every container just waits with the reason `ContainerCreating`. Only Events say more.

use jobwarden_common::{
    names::reason,
    notification::{Cause, CauseKind},
};

use super::{EventFact, by};

/// What keeps a pod from starting: a volume (`pkg/kubelet/events`, the attach/detach controller) or its sandbox.
const PROBLEMS: [&str; 4] = ["FailedMount", "FailedMapVolume", "FailedAttachVolume", "FailedCreatePodSandBox"];

/// What the kubelet does only after it has mounted all volumes and created the sandbox: `SyncPod` in
/// `pkg/kubelet/kubelet.go` waits for both. The container may be our sidecar.
const LATER: [&str; 4] = ["Pulling", "Pulled", "Created", "Started"];

/// Whether Events of the pod could say why it did not start: it was lost or ended because it took too long, and no container of it has
/// ended. `reason` is that of the outcome.
pub fn asks_start(reason: &str, cause: &Cause) -> bool {
    let too_long = reason == reason::START_TIMEOUT || cause.kind == Some(CauseKind::DeadlineExceeded);
    too_long && waited(cause)
}

/// The cause, with what the Events of the pod say about its start. A mount that failed once and then succeeded is no cause.
#[must_use]
pub fn with_start_events(cause: Cause, events: &[EventFact]) -> Cause {
    let named = |event: &EventFact, words: &[&str]| words.contains(&event.reason.as_str());
    if !waited(&cause) || events.iter().any(|event| named(event, &LATER)) {
        return cause;
    }
    let Some(last) = events.iter().filter(|event| named(event, &PROBLEMS)).max_by_key(|event| event.at) else {
        return cause;
    };
    Cause {
        kind: Some(CauseKind::CreateFailed),
        reason: Some(last.reason.clone()),
        message: Some(last.note.clone()).filter(|note| !note.is_empty()),
        by: Some(last.by.clone().unwrap_or_else(|| by::KUBELET.to_owned())),
        ..cause
    }
}

/// Whether the pod may have waited to start until it was ended: nothing says how a container ended, and nobody ended it for a reason of
/// its own.
fn waited(cause: &Cause) -> bool {
    let nothing_ended = cause.container.is_none() && cause.exit_code.is_none() && cause.finished_at.is_none();
    nothing_ended && matches!(cause.kind, None | Some(CauseKind::Deleted | CauseKind::DeadlineExceeded))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn of_kind(kind: Option<CauseKind>) -> Cause {
        Cause { kind, reason: Some("its own".to_owned()), ..Cause::default() }
    }

    fn event(reason: &str, second: u8) -> EventFact {
        let at = format!("2026-01-02T03:04:{second:02}Z").parse().ok();
        EventFact { reason: reason.to_owned(), note: format!("{reason} at {second}"), at, by: None }
    }

    #[rstest]
    #[case::lost("StartTimeout", of_kind(None), true)]
    #[case::of_a_deadline("DeadlineExceeded", of_kind(Some(CauseKind::DeadlineExceeded)), true)]
    #[case::the_image_is_missing("StartTimeout", of_kind(Some(CauseKind::ImagePullFailed)), false)]
    #[case::it_ran("DeadlineExceeded", Cause { exit_code: Some(143), ..of_kind(Some(CauseKind::DeadlineExceeded)) }, false)]
    #[case::lost_for_another_reason("HeartbeatLost", of_kind(None), false)]
    fn events_are_read_if_a_pod_took_too_long_to_start(
        #[case] reason: &str,
        #[case] cause: Cause,
        #[case] expected: bool,
    ) {
        assert_eq!(asks_start(reason, &cause), expected);
    }

    #[rstest]
    #[case::a_volume(&["FailedMount"], Some("FailedMount"))]
    #[case::the_sandbox(&["FailedCreatePodSandBox"], Some("FailedCreatePodSandBox"))]
    #[case::a_volume_on_another_node(&["Scheduled", "FailedAttachVolume"], Some("FailedAttachVolume"))]
    #[case::the_last_of_two(&["FailedMount", "FailedCreatePodSandBox", "Killing"], Some("FailedCreatePodSandBox"))]
    #[case::it_was_mounted_at_last(&["FailedMount", "Pulling"], None)]
    #[case::it_was_mounted_and_ran(&["FailedMount", "Pulled", "Created", "Started", "Killing"], None)]
    #[case::nothing_failed(&["Scheduled"], None)]
    #[case::no_events(&[], None)]
    fn the_last_problem_is_the_cause_unless_it_was_overcome(#[case] events: &[&str], #[case] reason: Option<&str>) {
        let events: Vec<_> = (0..).zip(events).map(|(second, reason)| event(reason, second)).collect();
        for kind in [None, Some(CauseKind::Deleted), Some(CauseKind::DeadlineExceeded)] {
            let cause = with_start_events(of_kind(kind), &events);
            assert_eq!(cause.reason.as_deref(), Some(reason.unwrap_or("its own")));
            assert_eq!(cause.kind, if reason.is_some() { Some(CauseKind::CreateFailed) } else { kind });
            assert_eq!(cause.by.as_deref(), reason.map(|_| "kubelet"));
        }
    }

    #[rstest]
    #[case(of_kind(Some(CauseKind::Evicted)))]
    #[case(Cause { exit_code: Some(1), ..of_kind(Some(CauseKind::Deleted)) })]
    fn a_pod_that_ended_for_another_reason_keeps_it(#[case] cause: Cause) {
        assert_eq!(with_start_events(cause.clone(), &[event("FailedMount", 1)]), cause);
    }
}
