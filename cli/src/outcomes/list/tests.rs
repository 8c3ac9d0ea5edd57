use jobwarden_common::notification::OutcomeKind;
use rstest::rstest;
use serde_json::Value;

use super::*;
use crate::outcomes::fake_api::{objects, outcome, outcomes};

/// Lists the outcomes of the fixture that `args` accept.
fn listed(args: FilterArgs, namespace: Option<&str>, output: Output) -> String {
    let now = "2026-03-05T08:00:00Z".parse().expect("a time");
    let filter = Filter { args, namespace: namespace.map(str::to_owned), now };
    let kept: Vec<_> = outcomes().into_iter().filter(|outcome| filter.accepts(outcome)).collect();
    print(&kept, output, &filter).expect("printed")
}

fn asked(change: impl FnOnce(&mut FilterArgs)) -> FilterArgs {
    let mut args = FilterArgs::default();
    change(&mut args);
    args
}

#[rstest]
#[case::all(asked(|_| ()), None, &["analyzer-7", "scanner-12", "report", "backup"])]
#[case::namespace(asked(|_| ()), Some("nightly"), &["report", "backup"])]
#[case::kind(asked(|it| it.kind = Some("lost".to_owned())), None, &["analyzer-7"])]
#[case::run(asked(|it| it.run = Some("42".to_owned())), None, &["scanner-12"])]
#[case::since(asked(|it| it.since = Some(Duration::from_hours(1))), None, &["report", "backup"])]
#[case::sink(asked(|it| it.sink = Some("archive".to_owned())), None, &["analyzer-7", "report"])]
#[case::state(asked(|it| it.state = Some(StateArg::Dead)), None, &["analyzer-7"])]
#[case::refused(asked(|it| it.state = Some(StateArg::Refused)), None, &["report"])]
#[case::state_of_another_sink(asked(|it| { it.state = Some(StateArg::Dead); it.sink = Some("archive".to_owned()) }), None, &[])]
#[case::untried(asked(|it| { it.state = Some(StateArg::Pending); it.sink = Some("audit".to_owned()) }), None, &["scanner-12"])]
fn a_filter_selects(#[case] args: FilterArgs, #[case] namespace: Option<&str>, #[case] expected: &[&str]) {
    let list: Value = serde_json::from_str(&listed(args, namespace, Output::Json)).expect("JSON");
    let jobs: Vec<_> =
        list["items"].as_array().into_iter().flatten().filter_map(|it| it["spec"]["jobName"].as_str()).collect();
    assert_eq!(jobs, expected);
}

/// To update the page, replace its block by what this test prints.
#[test]
fn the_page_shows_the_real_list() {
    let printed = listed(FilterArgs::default(), None, Output::Text);
    assert!(include_str!("../../../../docs/outcomes.md").contains(&printed), "{printed}");
}

#[test]
fn wide_adds_attempts_and_errors() {
    let printed = listed(asked(|it| it.kind = Some("failed".to_owned())), None, Output::Wide);
    assert!(
        printed.ends_with("  23h  audit pending (0 attempts), orchestrator pending (96 attempts: HTTP 503)\n"),
        "{printed}"
    );
}

#[test]
fn names_are_as_kubectl_prints_them() {
    let printed = listed(asked(|it| it.kind = Some("lost".to_owned())), None, Output::Name);
    assert_eq!(printed, "joboutcome.jobwarden.io/5d0c2f9e-6c0b-4a53-9d0a-0c7f0a1f7a11.final\n");
    printed.trim().parse::<crate::outcomes::name::OutcomeName>().expect("redeliver accepts it");
}

#[test]
fn json_and_yaml_are_the_objects_without_their_managers() {
    let printed = listed(asked(|it| it.kind = Some("lost".to_owned())), None, Output::Json);
    let list: Value = serde_json::from_str(&printed).expect("JSON");
    let mut expected = objects().remove(0);
    expected["metadata"].as_object_mut().expect("an object").remove("managedFields");
    assert_eq!(list["items"][0], expected);
    assert!(listed(FilterArgs::default(), None, Output::Yaml).contains("kind: List"));
}

#[test]
fn an_empty_list_says_where_else_to_look() {
    let nothing = || asked(|it| it.run = Some("no such run".to_owned()));
    assert!(
        listed(nothing(), Some("ort"), Output::Text)
            .contains("in the namespace ort matches. Look in all namespaces with -A")
    );
    assert!(listed(nothing(), None, Output::Wide).starts_with("No outcome matches."));
    assert_eq!(listed(nothing(), None, Output::Name), "");
}

#[test]
fn what_a_tenant_or_receiver_wrote_makes_no_line() {
    let mut object = objects().remove(0);
    object["spec"]["runId"] = "41\nother  lost".into();
    object["status"]["sinks"][1]["lastError"] = "\u{1b}[2J".into();
    let now = "2026-03-05T08:00:00Z".parse().expect("a time");
    let printed = table(&[outcome(object)], true, now);
    assert_eq!(printed.lines().count(), 2, "{printed}");
    assert!(printed.contains("41\\nother") && printed.contains("\\u{1b}[2J"), "{printed}");
}

#[test]
fn every_kind_can_be_asked_for() {
    for kind in KINDS {
        let parsed: OutcomeKind = serde_json::from_value(kind.into()).expect("a kind");
        assert_eq!(parsed.as_str(), kind);
    }
    let source = include_str!("../../../../common/src/notification/kind.rs");
    assert_eq!(source.matches("=> \"").count(), KINDS.len(), "a new kind is missing here");
}
