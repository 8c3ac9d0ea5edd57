//! Events: each is recorded once for every time that it becomes true.

use super::*;

/// The reasons of the Events recorded in each of these evaluations: a pod, and the guard that holds its loss.
fn notified(evaluations: &[(PodEvidence, Option<Hold>)]) -> Vec<Vec<String>> {
    let mut recorded = Recorded::default();
    let evaluate = |(pod, hold): &(PodEvidence, Option<Hold>)| {
        let snapshot = mk_snapshot(retrying(Retries::Left), vec![pod.clone()]);
        let mut notified = Vec::new();
        for step in plan(&snapshot, &judged(&snapshot), *hold, &recorded, at(NOW)) {
            match step {
                Step::RecordEvent(notice) => {
                    recorded.notified.insert(notice.key());
                    notified.push(notice.reason.to_owned());
                }
                Step::ClearNotice(key) => {
                    recorded.notified.remove(&key);
                }
                _ => {}
            }
        }
        notified
    };
    evaluations.iter().map(evaluate).collect()
}

fn healthy() -> (PodEvidence, Option<Hold>) {
    (mk_pod("w"), None)
}

fn late() -> (PodEvidence, Option<Hold>) {
    (PodEvidence { beat: LastBeat::Running { last: at(NOW - 40) }, agent: AgentObservation::None, ..mk_pod("w") }, None)
}

fn unseen() -> (PodEvidence, Option<Hold>) {
    (PodEvidence { beat: LastBeat::Running { last: at(1) }, agent: AgentObservation::None, ..mk_pod("w") }, None)
}

fn held() -> (PodEvidence, Option<Hold>) {
    (unreachable("w", 100), Some(Hold::SelfBeat))
}

#[test]
fn every_late_beat_and_its_recovery_are_events() {
    let evaluations = [late(), late(), healthy(), healthy(), late(), healthy()];
    let expected: [&[&str]; 6] = [&["Suspect"], &[], &["HeartbeatResumed"], &[], &["Suspect"], &["HeartbeatResumed"]];
    assert_eq!(notified(&evaluations), expected);
}

#[test]
fn a_held_loss_and_its_end_are_events() {
    let evaluations = [held(), held(), healthy(), held(), (unreachable("w", 100), None)];
    let expected: [&[&str]; 5] = [&["Held"], &[], &["HeartbeatResumed"], &["Held"], &["NodeUnreachable"]];
    assert_eq!(notified(&evaluations), expected);
}

#[test]
fn a_pod_that_was_never_suspected_has_no_event_that_signals_resumed() {
    assert_eq!(notified(&[healthy(), healthy()]), [Vec::<String>::new(), Vec::new()]);
}

#[test]
fn the_event_about_an_unseen_worker_gives_advice() {
    for (beat, advice) in [(LastBeat::None, "may block egress"), (LastBeat::Running { last: at(1) }, "is new")] {
        let pod = PodEvidence { beat, ..unseen().0 };
        let snapshot = mk_snapshot(open(), vec![pod]);
        let notice = steps(&snapshot, &Recorded::default()).into_iter().find_map(|step| match step {
            Step::RecordEvent(notice) => Some(notice),
            _ => None,
        });
        let notice = notice.expect("an Event");
        assert_eq!(notice.reason, reason::UNSEEN);
        assert!(notice.message.contains("NetworkPolicy") && notice.message.contains(advice), "{}", notice.message);
    }
}
