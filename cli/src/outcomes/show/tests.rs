use rstest::rstest;

use super::*;
use crate::outcomes::fake_api::{objects, outcome, outcomes};

fn now() -> Timestamp {
    "2026-03-05T08:00:00Z".parse().expect("a time")
}

/// To update the page, replace its block by what this test prints.
#[test]
fn the_page_shows_the_real_output() {
    let printed = report(&outcomes()[0], now());
    assert!(include_str!("../../../../docs/outcomes.md").contains(&printed), "{printed}");
}

/// Neither its data nor an entry of one sink can be read.
#[test]
fn an_outcome_of_a_newer_version_is_shown_as_far_as_it_is_known() {
    let printed = report(&outcomes()[1], now());
    let expected = "Outcome 0e4e7a55-1be5-4c0c-b54b-3c1d6d7f0c52.final: failed, BackoffLimitExceeded
  job        ort/scanner-12
  run        42
  recorded   2026-03-04T08:00:11.020Z, 23h ago
  (its data are of another version of jobwarden; -o yaml shows them)

Deliveries:
  audit         pending since 2026-03-04T08:00:11.020Z, not attempted
  orchestrator  pending since 2026-03-04T08:00:11.020Z, 96 attempts, the last at 2026-03-05T07:52:10.114Z
                last error: HTTP 503
";
    assert_eq!(printed, expected);
}

#[test]
fn an_outcome_for_no_sink_says_so() {
    let printed = report(&outcomes()[3], now());
    assert!(
        printed.ends_with("\nNo sink receives it, by the sinks and filters at the time it was recorded.\n"),
        "{printed}"
    );
}

#[test]
fn outcomes_that_are_reported_together_are_counted_by_kind() {
    let mut object = objects().remove(0);
    object["spec"]["jobName"] = "".into();
    object["spec"]["data"]["coalesced"] = serde_json::json!({
        "count": 12, "by": [{ "kind": "lost", "reason": "NodeGone", "count": 12 }],
        "jobs": [{ "jobName": "analyzer-9", "jobUid": "u", "kind": "lost", "reason": "NodeGone" }],
    });
    let printed = report(&outcome(object), now());
    for part in [
        "  namespace  ort\n",
        "12 outcomes reported together:\n  12     lost, NodeGone\n",
        "  analyzer-9: lost, NodeGone\n",
    ] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
}

#[test]
fn what_a_tenant_or_receiver_wrote_does_not_control_the_terminal() {
    let mut object = objects().remove(0);
    object["spec"]["data"]["message"] = "\u{1b}[2J\nDeliveries:\r".into();
    object["spec"]["data"]["traceId"] = "x\nOutcome other".into();
    object["status"]["sinks"][1]["lastError"] = "HTTP 500: \u{9b}1m\nTo send it again: rm".into();
    let printed = report(&outcome(object), now());
    assert!(printed.chars().all(|letter| letter == '\n' || !letter.is_control()), "{printed}");
    let begins = |start: &str| printed.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!((begins("Deliveries"), begins("Outcome "), begins("To send it again")), (1, 1, 1), "{printed}");
}

#[rstest]
#[case(Output::Json, "\"kind\": \"JobOutcome\"")]
#[case(Output::Yaml, "kind: JobOutcome")]
fn the_object_itself_is_printed_for_scripts(#[case] output: Output, #[case] part: &str) {
    let printed = print(&outcomes()[0], output).expect("printed");
    assert!(printed.contains(part) && !printed.contains("managedFields"), "{printed}");
}
