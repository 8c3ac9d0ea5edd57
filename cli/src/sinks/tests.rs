//! What is printed of the API's responses.

use clap::Parser as _;
use http::{Method, Request, Response};
use jobwarden_common::names::OPERATOR_TOKEN_HEADER;
use kube::{Client, client::Body};
use rstest::rstest;

use super::*;

const PAGE: &str = include_str!("../../../docs/outcomes.md");

fn sinks() -> SinkList {
    serde_json::from_str(include_str!("../../tests/fixtures/sinks.json")).expect("a response of the API")
}

fn tested() -> SinkTest {
    serde_json::from_str(include_str!("../../tests/fixtures/sink-test.json")).expect("a response of the API")
}

fn now() -> Timestamp {
    "2026-03-05T08:00:00Z".parse().expect("a time")
}

/// To update the page, replace its block by what this test prints.
#[test]
fn the_page_shows_the_real_list_and_test() {
    let printed = report::list(&sinks(), Detail::Brief, now());
    assert!(PAGE.contains(&printed), "{printed}");
    let printed = report::test("orchestrator", &tested());
    assert!(PAGE.contains(&printed), "{printed}");
}

#[test]
fn a_list_fits_a_terminal_unless_whole_errors_are_asked_for() {
    let brief = report::list(&sinks(), Detail::Brief, now());
    assert!(brief.lines().all(|line| line.chars().count() <= 100), "{brief}");
    assert!(brief.contains('…') && !brief.contains("os error 111"), "{brief}");
    let wide = report::list(&sinks(), Detail::Wide, now());
    assert!(wide.contains("SENDING  LAST ERROR") && wide.contains("connection refused (os error 111)\n"), "{wide}");
}

#[test]
fn sinks_without_trouble_are_listed_without_advice() {
    let mut list = sinks();
    list.sinks.truncate(2);
    assert_eq!(report::list(&list, Detail::Brief, now()).lines().count(), 3);
}

#[test]
fn no_sink_at_all_is_said_with_what_to_do() {
    let text = report::list(&SinkList { sinks: Vec::new() }, Detail::Brief, now());
    assert!(text.starts_with("No sink is configured") && text.contains("set reaper.sinks"), "{text}");
}

#[test]
fn what_a_receiver_answered_does_not_control_the_terminal() {
    let mut list = sinks();
    list.sinks[0].last_error = Some("x\nforged  http  ok\u{1b}[2J".to_owned());
    let mut test = tested();
    test.samples[0].error = Some("x\nSink forged\u{1b}[2J".to_owned());
    for text in [report::list(&list, Detail::Wide, now()), report::test("a", &test)] {
        assert!(text.chars().all(|letter| letter == '\n' || !letter.is_control()), "{text}");
        assert!(!text.lines().any(|line| line.starts_with("forged") || line.starts_with("Sink forged")), "{text}");
    }
}

#[rstest]
#[case::all(&["acknowledged", "skipped"], false, "1 acknowledged, 0 failed, 1 skipped")]
#[case::one(&["acknowledged", "failed"], true, "1 acknowledged, 1 failed, 0 skipped")]
#[case::of_a_newer_version(&["returned"], true, "0 acknowledged, 1 failed, 0 skipped")]
#[case::none(&["skipped"], false, "Nothing was sent")]
fn a_test_fails_if_a_sample_does(#[case] results: &[&str], #[case] failed: bool, #[case] said: &str) {
    let mut test = tested();
    test.samples.truncate(results.len());
    for (sample, result) in test.samples.iter_mut().zip(results) {
        *sample = jobwarden_common::api::SinkTestSample { result: (*result).to_owned(), error: None, ..sample.clone() };
    }
    let text = report::test("a", &test);
    assert_eq!(report::failed(&test), failed);
    assert!(text.contains(said), "{text}");
}

#[test]
fn one_sink_is_listed_alone_and_an_unknown_one_is_answered_with_the_others() {
    let one = only(sinks(), Some("audit".to_owned())).expect("it exists");
    assert_eq!(one.sinks.len(), 1);
    let error = only(sinks(), Some("nowhere".to_owned())).expect_err("no such sink").to_string();
    assert_eq!(error, "there is no sink nowhere; configured: archive, audit, orchestrator");
}

/// The API of a leader that answers every request with this status and body, if it has an operator's token.
fn leader(status: u16, body: &'static str) -> Source {
    let service = tower::service_fn(move |request: Request<Body>| async move {
        assert_eq!((request.method(), request.uri().path()), (&Method::POST, "/v1/sinks/orchestrator/test"));
        assert_eq!(request.headers()[OPERATOR_TOKEN_HEADER], "an operator's token");
        Response::builder().status(status).body(Body::from(body.as_bytes().to_vec()))
    });
    Source::Url { client: Client::new(service, "default"), url: "http://127.0.0.1:8082".to_owned() }
}

#[tokio::test]
async fn samples_are_sent_by_the_leader_on_behalf_of_an_operator() {
    let body = include_str!("../../tests/fixtures/sink-test.json");
    let answer = send_samples(&leader(200, body), "orchestrator", "an operator's token").await;
    assert_eq!(answer.expect("a test"), tested());
    let problem = r#"{"error": "there is no sink orchestrator", "hint": "`jobwarden sinks` shows the names of the configured sinks"}"#;
    let error =
        send_samples(&leader(404, problem), "orchestrator", "an operator's token").await.expect_err("no such sink");
    assert!(error.to_string().starts_with("there is no sink orchestrator\n`jobwarden sinks` shows"), "{error}");
}

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    sinks: SinksArgs,
}

#[rstest]
#[case(&[], Some((Action::List, None)))]
#[case(&["list", "a"], Some((Action::List, Some("a"))))]
#[case(&["test", "a"], Some((Action::Test, Some("a"))))]
#[case::test_of_nothing(&["test"], None)]
#[case::of_another_path(&["test", "../breaker"], None)]
fn a_list_is_the_default_and_a_test_takes_a_name(
    #[case] arguments: &[&str],
    #[case] expected: Option<(Action, Option<&str>)>,
) {
    let parsed = Line::try_parse_from(["sinks"].iter().chain(arguments)).ok().map(|line| line.sinks);
    let parsed = parsed.map(|SinksArgs { action, name, .. }| (action, name));
    assert_eq!(parsed, expected.map(|(action, name)| (action, name.map(str::to_owned))));
}
