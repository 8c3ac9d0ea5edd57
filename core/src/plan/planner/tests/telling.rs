//! Events: each once for every time that it comes to be so.

use super::*;

/// What is told, look by look, when a pod is as it is in each of `looks`, with the guard that then holds.
fn told(looks: &[(PodEvidence, Option<Hold>)]) -> Vec<Vec<String>> {
    let mut recorded = Recorded::default();
    let look = |(pod, hold): &(PodEvidence, Option<Hold>)| {
        let snapshot = mk_snapshot(retrying(Retries::Left), vec![pod.clone()]);
        let mut told = Vec::new();
        for step in plan(&snapshot, &judged(&snapshot), *hold, &recorded, at(NOW)) {
            match step {
                Step::RecordEvent(notice) => {
                    recorded.notified.insert(notice.key());
                    told.push(notice.reason.to_owned());
                }
                Step::ClearNotice(key) => {
                    recorded.notified.remove(&key);
                }
                _ => {}
            }
        }
        told
    };
    looks.iter().map(look).collect()
}

fn well() -> (PodEvidence, Option<Hold>) {
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
fn a_late_beat_is_told_whenever_it_comes_to_be_late_and_when_it_is_heard_again() {
    let looks = [late(), late(), well(), well(), late(), well()];
    let expected: [&[&str]; 6] = [&["Suspect"], &[], &["HeartbeatResumed"], &[], &["Suspect"], &["HeartbeatResumed"]];
    assert_eq!(told(&looks), expected);
}

#[test]
fn a_held_loss_is_told_and_so_is_its_end() {
    let looks = [held(), held(), well(), held(), (unreachable("w", 100), None)];
    let expected: [&[&str]; 5] = [&["Held"], &[], &["HeartbeatResumed"], &["Held"], &["NodeUnreachable"]];
    assert_eq!(told(&looks), expected);
}

#[test]
fn whoever_was_never_doubted_is_not_resurrected() {
    assert_eq!(told(&[well(), well()]), [Vec::<String>::new(), Vec::new()]);
}

#[test]
fn a_worker_that_nobody_sees_comes_with_advice() {
    for (beat, advice) in [(LastBeat::None, "may block egress"), (LastBeat::Running { last: at(1) }, "is new")] {
        let pod = PodEvidence { beat, ..unseen().0 };
        let snapshot = mk_snapshot(open(), vec![pod]);
        let told = steps(&snapshot, &Recorded::default()).into_iter().find_map(|step| match step {
            Step::RecordEvent(notice) => Some(notice),
            _ => None,
        });
        let told = told.expect("an Event");
        assert_eq!(told.reason, reason::UNSEEN);
        assert!(told.message.contains("NetworkPolicy") && told.message.contains(advice), "{}", told.message);
    }
}
