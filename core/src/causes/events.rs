//! What Events add to the status of a pod. Events are kept for an hour by default and may be missing: nothing depends on them.

use std::time::Duration;

use jiff::Timestamp;
use jobwarden_common::notification::{Cause, CauseKind};

use super::{attempt::unknown_deletion, by};

/// The kubelet's Event about a node that ran out of memory (`systemOOMEvent` in `pkg/kubelet/oom/oom_watcher_linux.go`).
pub const SYSTEM_OOM: &str = "SystemOOM";

/// How far the kill by the kernel and the end of a container may lie apart, both by the clock of one node.
const SAME_MOMENT: Duration = Duration::from_secs(10);

/// Exit code of a process that was killed: 128 + SIGKILL.
const KILLED: i32 = 137;

/// What is read of an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFact {
    /// `reason`.
    pub reason: String,
    /// `note`.
    pub note: String,
    /// When it last happened.
    pub at: Option<Timestamp>,
    /// `reportingController`, or the deprecated component.
    pub by: Option<String>,
}

/// Whether Events of the node could say more: a container was killed, and no reason is known. On cgroup v1 the
/// runtime does not notice when the whole node is out of memory.
pub fn asks_node(cause: &Cause) -> bool {
    cause.exit_code == Some(KILLED) && cause.kind == Some(CauseKind::Signal) && cause.finished_at.is_some()
}

/// Whether Events of the pod could say more: the pod was deleted, and its status does not say by whom.
pub fn asks_pod(cause: &Cause) -> bool {
    unknown_deletion(cause)
}

/// The cause, with what the Events of the node add: a kill while the node was out of memory is a kill for lack of memory.
#[must_use]
pub fn with_node_events(cause: Cause, events: &[EventFact]) -> Cause {
    let Some(ended) = cause.finished_at.as_deref().and_then(|at| at.parse::<Timestamp>().ok()) else { return cause };
    let near = |event: &&EventFact| event.at.is_some_and(|at| at.duration_since(ended).unsigned_abs() <= SAME_MOMENT);
    if !asks_node(&cause) || !events.iter().filter(|event| event.reason == SYSTEM_OOM).any(|event| near(&event)) {
        return cause;
    }
    Cause {
        kind: Some(CauseKind::OomKilled),
        reason: Some(SYSTEM_OOM.to_owned()),
        // Nothing of the Event's own text: it names the process that was killed, which may be another tenant's.
        message: Some("the node was out of memory".to_owned()),
        resource: Some("memory".to_owned()),
        by: Some(by::KUBELET.to_owned()),
        ..cause
    }
}

/// The cause, with what the Events of the pod add about who deleted it.
#[must_use]
pub fn with_pod_events(cause: Cause, events: &[EventFact]) -> Cause {
    if !unknown_deletion(&cause) {
        return cause;
    }
    let found = events.iter().find_map(|event| {
        let (kind, by) = match event.reason.as_str() {
            // Its other note is "Cancelling deletion of Pod".
            "TaintManagerEviction" if event.note.starts_with("Marking") => (CauseKind::Tainted, by::TAINT_EVICTION),
            "DeviceTaintManagerEviction" => (CauseKind::Tainted, by::DEVICE_TAINT_EVICTION),
            "Preempted" => (CauseKind::Preempted, by::SCHEDULER),
            "Preempting" => (CauseKind::Preempted, by::KUBELET),
            "Evicted" => (CauseKind::Evicted, by::KUBELET),
            _ => return None,
        };
        Some((kind, by, event))
    });
    let Some((kind, by, event)) = found else { return cause };
    Cause {
        kind: Some(kind),
        reason: Some(event.reason.clone()),
        message: Some(event.note.clone()),
        by: Some(by.to_owned()),
        ..cause
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn killed() -> Cause {
        Cause {
            kind: Some(CauseKind::Signal),
            exit_code: Some(137),
            reason: Some("Error".to_owned()),
            finished_at: Some("2026-01-02T03:05:35Z".to_owned()),
            ..Cause::default()
        }
    }

    fn event(reason: &str, note: &str, at: &str) -> EventFact {
        EventFact { reason: reason.to_owned(), note: note.to_owned(), at: at.parse().ok(), by: None }
    }

    #[rstest]
    #[case::a_little_before("2026-01-02T03:05:26Z", true)]
    #[case::a_little_after("2026-01-02T03:05:45Z", true)]
    #[case::another_time("2026-01-02T03:05:24Z", false)]
    #[case::no_time("", false)]
    fn a_kill_while_the_node_is_out_of_memory_is_for_lack_of_memory(#[case] at: &str, #[case] oom: bool) {
        let events = [event("SystemOOM", "System OOM encountered, victim process: python, pid: 7", at)];
        let cause = with_node_events(killed(), &events);
        assert_eq!(cause.kind == Some(CauseKind::OomKilled), oom);
        assert_eq!(cause.resource.is_some(), oom);
        assert!(!cause.message.unwrap_or_default().contains("python"), "the process may be another tenant's");
        assert_eq!(cause.exit_code, Some(137));
    }

    #[rstest]
    #[case::exited(Cause { exit_code: Some(3), kind: Some(CauseKind::ExitCode), ..killed() })]
    #[case::known_already(Cause { kind: Some(CauseKind::Evicted), ..killed() })]
    #[case::when_is_not_known(Cause { finished_at: None, ..killed() })]
    fn node_events_change_no_other_cause(#[case] cause: Cause) {
        assert!(!asks_node(&cause));
        let events = [event("SystemOOM", "System OOM encountered", "2026-01-02T03:05:35Z")];
        assert_eq!(with_node_events(cause.clone(), &events), cause);
    }

    #[rstest]
    #[case("TaintManagerEviction", "Marking for deletion Pod ort/w", Some(CauseKind::Tainted))]
    #[case("TaintManagerEviction", "Cancelling deletion of Pod ort/w", Some(CauseKind::Deleted))]
    #[case("Preempted", "Preempted by pod 4711 on node n1", Some(CauseKind::Preempted))]
    #[case("Killing", "Stopping container main", Some(CauseKind::Deleted))]
    fn the_pods_events_tell_who_deleted_it(#[case] reason: &str, #[case] note: &str, #[case] kind: Option<CauseKind>) {
        let deleted = Cause { kind: Some(CauseKind::Deleted), ..killed() };
        assert!(asks_pod(&deleted));
        assert_eq!(with_pod_events(deleted, &[event(reason, note, "2026-01-02T03:05:35Z")]).kind, kind);
    }
}
