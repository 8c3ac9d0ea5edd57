use rstest::rstest;
use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-03-05T08:00:00Z";

/// An entry that has every field, and one of a newer version.
fn entry(sink: &str, state: &str) -> Delivery {
    let entry = json!({
        "name": sink, "state": state, "attempts": 3, "lastError": "HTTP 503", "lastAttemptAt": "2026-03-04T05:08:42Z",
        "acknowledgedAt": "2026-03-04T05:08:43Z", "shard": 7,
    });
    serde_json::from_value(entry).expect("an entry")
}

fn redeliver(which: Which) -> Operation {
    Operation::Redeliver { which, now: NOW.to_owned() }
}

fn json_of(delivery: &Delivery) -> Value {
    serde_json::to_value(delivery).expect("plain data")
}

#[rstest]
#[case("dead", true, true, true, false)]
#[case("refused", false, true, true, false)]
#[case("acknowledged", false, false, true, false)]
#[case("pending", false, false, false, true)]
#[case::of_a_newer_version("parked", false, false, false, false)]
fn each_operation_changes_the_states_that_it_is_for(
    #[case] state: &str,
    #[case] dead: bool,
    #[case] unacknowledged: bool,
    #[case] ended: bool,
    #[case] cancel: bool,
) {
    let operations =
        [redeliver(Which::Dead), redeliver(Which::Unacknowledged), redeliver(Which::Ended), Operation::Cancel];
    for (operation, changes) in operations.iter().zip([dead, unacknowledged, ended, cancel]) {
        let written = [entry("ort", state)];
        let change = operation.change(&["ort".to_owned()], &written, None);
        assert_eq!(change.changed.len(), usize::from(changes), "{operation:?}");
        assert_eq!(change.skipped.len(), usize::from(!changes), "{operation:?}");
        assert_eq!(change.written == written, !changes, "what is skipped is not written otherwise: {operation:?}");
    }
}

#[test]
fn a_delivery_again_starts_anew_and_keeps_what_this_version_does_not_know() {
    let change = redeliver(Which::Unacknowledged).change(&[], &[entry("ort", "dead")], None);
    assert_eq!(
        json_of(&change.written[0]),
        json!({
            "name": "ort", "state": "pending", "attempts": 0, "lastAttemptAt": "2026-03-04T05:08:42Z", "pendingSince": NOW, "shard": 7,
        })
    );
}

#[test]
fn a_cancelled_delivery_is_dead_and_says_by_whom() {
    let change = Operation::Cancel.change(&[], &[entry("ort", "pending")], None);
    let written = json_of(&change.written[0]);
    assert_eq!((&written["state"], &written["lastError"]), (&json!("dead"), &json!("cancelled by an operator")));
    assert_eq!(written["attempts"], json!(3));
}

/// A sink without an entry is pending and untried.
#[test]
fn a_chosen_sink_without_an_entry_can_be_cancelled_but_needs_no_delivery_again() {
    let (chosen, written) = (["archive".to_owned(), "ort".to_owned()], [entry("ort", "dead")]);
    let cancelled = Operation::Cancel.change(&chosen, &written, None);
    assert_eq!(
        (cancelled.changed, summary(&cancelled.written)),
        (vec!["archive".to_owned()], "ort dead, archive dead".to_owned())
    );
    let again = redeliver(Which::Unacknowledged).change(&chosen, &written, None);
    assert_eq!((again.changed, summary(&again.written)), (vec!["ort".to_owned()], "ort pending".to_owned()));
    assert_eq!(again.skipped, [("archive".to_owned(), "already pending".to_owned())]);
}

#[test]
fn a_named_sink_is_the_only_one_that_changes() {
    let written = [entry("archive", "dead"), entry("ort", "dead")];
    let change = redeliver(Which::Unacknowledged).change(&[], &written, Some("ort"));
    assert_eq!((change.changed, change.skipped), (vec!["ort".to_owned()], Vec::new()));
    assert_eq!(change.written[0], written[0]);
    assert_eq!(summary(&change.written), "archive dead, ort pending");
}

#[rstest]
#[case(Some("nowhere"), &["ort"], "not for this sink")]
#[case(None, &[], "for no sink")]
fn an_outcome_that_is_not_for_the_sink_says_so(#[case] sink: Option<&str>, #[case] chosen: &[&str], #[case] why: &str) {
    let chosen: Vec<String> = chosen.iter().map(|&name| name.to_owned()).collect();
    let change = Operation::Cancel.change(&chosen, &[], sink);
    assert!(change.changed.is_empty() && change.skipped[0].1.contains(why), "{change:?}");
}

#[test]
fn a_summary_is_as_the_reaper_writes_it() {
    assert_eq!(summary(&[]), "none");
    assert_eq!(summary(&[entry("ort", "pending"), entry("b", "dead")]), "ort pending, b dead");
}
