use jobwarden_common::notification::{Attempt, Cause, CauseKind, Coalesced, Logs};
use jobwarden_core::plan::add_late_success;
use proptest::{option, prelude::*};
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::outbox::object::tests::mk_data;

mod strict;

fn id() -> OutcomeName {
    OutcomeName::job_final(&"1111".into())
}

fn mk_failed(reason: &str) -> OutcomeData {
    OutcomeData { kind: OutcomeKind::Failed, reason: reason.to_owned(), ..mk_data() }
}

fn mk_labels(worker: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("ort-worker".to_owned(), worker.to_owned())])
}

fn settings(yaml: &str) -> OrtServer {
    serde_saphyr::from_str(yaml).expect("valid settings")
}

fn message(data: &OutcomeData) -> Result<Message, Unsent> {
    OrtServer::default().message(&id(), data, &BTreeMap::new())
}

fn text(message: Result<Message, Unsent>) -> String {
    String::from_utf8(message.expect("a message").body.to_vec()).expect("UTF-8")
}

/// The class of a message without its package.
fn class(message: Result<Message, Unsent>) -> String {
    let body: Value = serde_json::from_str(&text(message)).expect("JSON");
    let class = body["type"]
        .as_str()
        .and_then(|class| class.strip_prefix("org.eclipse.apoapsis.ortserver.model.orchestrator."));
    class.expect("a class of ORT Server").to_owned()
}

#[test]
fn the_error_of_an_endpoint_on_the_wire() {
    let cause = Cause {
        kind: Some(CauseKind::ExitCode),
        container: Some("main".to_owned()),
        exit_code: Some(1),
        ..Cause::default()
    };
    let message = message(&OutcomeData { cause, ..mk_failed("BackoffLimitExceeded") }).expect("a message");
    let expected = Message {
        id: "1111.final".to_owned(),
        content_type: "application/json",
        event: vec![],
        properties: vec![("traceId", Property::Text("0af7".to_owned())), ("runId", Property::Long(41))],
        body: concat!(
            r#"{"type":"org.eclipse.apoapsis.ortserver.model.orchestrator.AnalyzerWorkerError","jobId":7,"#,
            r#""errorMessage":"The analyzer worker failed because container main ended with exit code 1."}"#
        )
        .into(),
    };
    assert_eq!(message, expected);
}

#[test]
fn a_config_worker_is_named_by_its_run() {
    let data = OutcomeData { job_name: "config-41-0af7".to_owned(), job_id: None, ..mk_failed("DeadlineExceeded") };
    let expected = concat!(
        r#"{"type":"org.eclipse.apoapsis.ortserver.model.orchestrator.ConfigWorkerError","ortRunId":41,"#,
        r#""errorMessage":"The config worker was stopped because it ran longer than it may."}"#
    );
    assert_eq!(text(message(&data)), expected);
}

/// They may quote the environment of the worker, and the sentence is shown to users who may not read the namespace.
#[test]
fn log_lines_never_reach_ort_server() {
    let line = "a line of the log";
    let logs = Logs { container: Some("main".to_owned()), lines: vec![line.to_owned()], ..Logs::default() };
    for reason in reason::LOST.into_iter().chain(["BackoffLimitExceeded", "JobDeleted", line]) {
        let without = mk_failed(reason);
        let with = OutcomeData { logs: Some(logs.clone()), ..without.clone() };
        let sent = text(message(&with));
        assert!(!sent.contains(line), "{sent}");
        assert_eq!(message(&with), message(&without));
    }
}

#[test]
fn a_worker_error_has_no_sentence_and_no_job() {
    let data = mk_failed("OutcomeUnknown");
    let expected =
        r#"{"type":"org.eclipse.apoapsis.ortserver.model.orchestrator.WorkerError","endpointName":"analyzer"}"#;
    assert_eq!(text(message(&data)), expected);
}

#[rstest]
#[case("config", "ConfigWorkerError")]
#[case("analyzer", "AnalyzerWorkerError")]
#[case("advisor", "AdvisorWorkerError")]
#[case("scanner", "ScannerWorkerError")]
#[case("evaluator", "EvaluatorWorkerError")]
#[case("reporter", "ReporterWorkerError")]
#[case("notifier", "NotifierWorkerError")]
// A worker of a newer ORT Server, and what has no error of its own.
#[case("summarizer", "WorkerError")]
#[case("orchestrator", "WorkerError")]
fn the_label_names_the_endpoint(#[case] worker: &str, #[case] expected: &str) {
    let data = OutcomeData { job_name: "some-job".to_owned(), ..mk_failed("BackoffLimitExceeded") };
    let message = OrtServer::default().message(&id(), &data, &mk_labels(worker));
    let body: Value = serde_json::from_str(&text(message.clone())).expect("JSON");
    assert_eq!(class(message), expected);
    assert!(body.get("endpointName").is_none_or(|name| name == worker), "{body}");
}

#[rstest]
#[case("scanner-41-0af7", "", Some("ScannerWorkerError"))]
#[case("scanner-41-0af7", "reporter", Some("ReporterWorkerError"))]
#[case("scanner", "", Some("ScannerWorkerError"))]
#[case("scanners-41", "", None)]
#[case("nightly-backup", "", None)]
fn a_guessed_endpoint_has_to_be_known(#[case] job_name: &str, #[case] worker: &str, #[case] expected: Option<&str>) {
    let data = OutcomeData { job_name: job_name.to_owned(), ..mk_failed("BackoffLimitExceeded") };
    let message = OrtServer::default().message(&id(), &data, &mk_labels(worker));
    match expected {
        Some(expected) => assert_eq!(class(message), expected),
        None => assert!(matches!(message, Err(Unsent::Impossible { reason: "UnknownEndpoint", .. })), "{message:?}"),
    }
}

#[rstest]
#[case("NodeUnreachable", "WorkerError")]
#[case("OutcomeUnknown", "WorkerError")]
#[case("ProcessGone", "WorkerError")]
#[case("NodeGone", "AnalyzerWorkerError")]
#[case("HeartbeatLost", "AnalyzerWorkerError")]
#[case("ImagePullFailed", "AnalyzerWorkerError")]
#[case("CreateFailed", "AnalyzerWorkerError")]
#[case("StartTimeout", "AnalyzerWorkerError")]
#[case("Unschedulable", "AnalyzerWorkerError")]
#[case("Stalled", "AnalyzerWorkerError")]
#[case("InitTimeout", "AnalyzerWorkerError")]
#[case("NotStarting", "AnalyzerWorkerError")]
#[case("DeadlineExceeded", "AnalyzerWorkerError")]
#[case("ContainerFailed", "AnalyzerWorkerError")]
#[case("JobDeleted", "AnalyzerWorkerError")]
#[case("BackoffLimitExceeded", "AnalyzerWorkerError")]
#[case("PodFailurePolicy", "AnalyzerWorkerError")]
fn a_worker_that_may_have_finished_is_reported_by_worker_error(#[case] reason: &str, #[case] expected: &str) {
    for kind in [OutcomeKind::Lost, OutcomeKind::Failed] {
        assert_eq!(class(message(&OutcomeData { kind, ..mk_failed(reason) })), expected);
    }
}

#[test]
fn every_reason_of_a_loss_is_in_the_table_above() {
    let unknown: Vec<_> = reason::LOST.into_iter().filter(|word| END_UNKNOWN.contains(word)).collect();
    assert_eq!((reason::LOST.len(), unknown.len()), (11, END_UNKNOWN.len()));
}

#[test]
fn the_last_attempt_may_be_what_is_not_known() {
    let cause =
        |word: &str| Cause { reason: Some(word.to_owned()), by: Some("jobwarden".to_owned()), ..Cause::default() };
    let failed = |word: &str| OutcomeData { cause: cause(word), ..mk_failed("BackoffLimitExceeded") };
    assert_eq!(class(message(&failed("NodeUnreachable"))), "WorkerError");
    assert_eq!(class(message(&failed("NodeGone"))), "AnalyzerWorkerError");
}

#[test]
fn a_worker_that_succeeded_beforehand_is_reported_by_worker_error() {
    let mut data = OutcomeData { kind: OutcomeKind::Lost, ..mk_failed("JobDeleted") };
    // What a message says in words does not count: a tenant may write the same.
    data.message.push_str(" its work may be done");
    assert_eq!(class(message(&data)), "AnalyzerWorkerError");
    add_late_success(&mut data, "analyzer-7-x");
    assert_eq!(class(message(&data)), "WorkerError");
}

#[rstest]
#[case(None)]
#[case(Some("8f3c1b9e-0000-4000-8000-000000000000"))]
#[case(Some("9223372036854775808"))]
#[case(Some("-7"))]
fn without_a_job_id_the_message_is_worker_error(#[case] job_id: Option<&str>) {
    let data = OutcomeData { job_id: job_id.map(Into::into), ..mk_failed("BackoffLimitExceeded") };
    assert_eq!(class(message(&data)), "WorkerError");
}

#[rstest]
#[case(None)]
#[case(Some(""))]
#[case(Some("run-41"))]
#[case(Some("+41"))]
#[case(Some("-41"))]
#[case(Some("4 1"))]
#[case(Some("٤١"))]
#[case(Some("9223372036854775808"))]
fn without_a_numeric_run_id_nothing_is_ever_sent(#[case] run_id: Option<&str>) {
    let data = OutcomeData { run_id: run_id.map(Into::into), ..mk_failed("BackoffLimitExceeded") };
    let Err(Unsent::Impossible { reason: "MissingRunId", message }) = message(&data) else {
        panic!("it is not impossible")
    };
    assert!(run_id.is_none_or(|id| id.is_empty() || !message.contains(id)), "{message}");
}

#[test]
fn a_run_id_is_a_long_and_a_missing_trace_is_empty() {
    let run_id = Some(i64::MAX.to_string().into());
    let message = message(&OutcomeData { run_id, trace_id: None, ..mk_failed("BackoffLimitExceeded") });
    let expected = vec![("traceId", Property::Text(String::new())), ("runId", Property::Long(i64::MAX))];
    assert_eq!(message.expect("a message").properties, expected);
}

#[rstest]
#[case(OutcomeKind::Succeeded)]
#[case(OutcomeKind::Suspect)]
#[case(OutcomeKind::AttemptFailed)]
#[case(OutcomeKind::Recovered)]
#[case(OutcomeKind::Coalesced)]
fn what_is_no_final_failure_is_not_wanted(#[case] kind: OutcomeKind) {
    // Whether or not it has a run ID, and whatever the settings say.
    let data = OutcomeData { kind, run_id: None, ..mk_failed("NodeUnreachable") };
    let insisting = settings("messages: {NodeUnreachable: endpointError}");
    for settings in [OrtServer::default(), insisting] {
        assert_eq!(settings.message(&id(), &data, &BTreeMap::new()), Err(Unsent::NotWanted));
    }
}

#[test]
fn outcomes_of_several_jobs_are_not_wanted() {
    let data = OutcomeData { coalesced: Some(Coalesced::default()), ..mk_failed("OutcomesCoalesced") };
    assert_eq!(message(&data), Err(Unsent::NotWanted));
}

#[test]
fn a_job_that_its_controller_deletes_is_not_wanted_and_a_deleted_bare_pod_is() {
    let owned = OutcomeData { kind: OutcomeKind::Deleted, ..mk_failed("JobDeleted") };
    assert_eq!(message(&owned), Err(Unsent::NotWanted));
    let attempt = Attempt { pod_uid: "1111".into(), pod_name: "analyzer-7".to_owned(), node: None };
    let bare = OutcomeData { attempt: Some(attempt), ..OutcomeData { reason: "PodDeleted".to_owned(), ..owned } };
    assert_eq!(class(message(&bare)), "AnalyzerWorkerError");
}

#[rstest]
#[case("{}", "NodeUnreachable", Some("WorkerError"))]
#[case("messages: {NodeUnreachable: endpointError}", "NodeUnreachable", Some("AnalyzerWorkerError"))]
#[case("messages: {NodeUnreachable: endpointError}", "OutcomeUnknown", Some("WorkerError"))]
#[case("messages: {BackoffLimitExceeded: workerError}", "BackoffLimitExceeded", Some("WorkerError"))]
#[case("messages: {JobDeleted: none}", "JobDeleted", None)]
fn the_settings_choose_by_reason(#[case] yaml: &str, #[case] reason: &str, #[case] expected: Option<&str>) {
    let message = settings(yaml).message(&id(), &mk_failed(reason), &BTreeMap::new());
    match expected {
        Some(expected) => assert_eq!(class(message), expected),
        None => assert_eq!(message, Err(Unsent::NotWanted)),
    }
}

#[rstest]
#[case("messages: {NodeUnreachable: silence}")]
#[case("messages: {node-unreachable: none}")]
#[case("messages: {nodeUnreachable: none}")]
#[case("colour: red")]
fn wrong_settings_are_an_error(#[case] yaml: &str) {
    assert!(serde_saphyr::from_str::<OrtServer>(yaml).is_err());
}

fn causes() -> impl Strategy<Value = Cause> {
    let word = || option::of(any::<String>());
    let kind = prop_oneof![
        Just(json!(null)),
        prop::sample::select(vec![
            "OOMKilled",
            "Evicted",
            "Preempted",
            "Drained",
            "Tainted",
            "NodeShutdown",
            "NodeLost",
            "Unschedulable",
            "NotAdmitted",
            "ImagePullFailed",
            "CreateFailed",
            "ExitCode",
            "Signal",
            "DeadlineExceeded",
            "PodFailurePolicy",
            "Deleted",
        ])
        .prop_map(|kind| json!(kind)),
    ];
    (kind, word(), word(), word(), option::of(any::<i32>()), word(), word()).prop_map(
        |(kind, container, reason, message, exit_code, signal, by)| Cause {
            kind: serde_json::from_value(kind).expect("a kind"),
            container,
            reason,
            message,
            exit_code,
            signal,
            by,
            ..Cause::default()
        },
    )
}

fn reasons() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        prop::sample::select(reason::LOST.to_vec()).prop_map(str::to_owned),
        "[A-Z][A-Za-z]{0,400}"
    ]
}

proptest! {
    #[test]
    fn every_message_is_read_strictly_and_its_sentence_is_one_bounded_line(
        cause in causes(),
        reason in reasons(),
        job_id in option::of(prop_oneof![any::<String>(), "[0-9]{1,19}"]),
        run_id in 0..=i64::MAX,
        trace_id in option::of(any::<String>()),
        node in any::<String>(),
        worker in any::<String>(),
        is_known in any::<bool>(),
    ) {
        let data = OutcomeData {
            cause,
            job_id: job_id.map(Into::into),
            run_id: Some(run_id.to_string().into()),
            trace_id,
            attempt: Some(Attempt { pod_uid: "2222".into(), pod_name: "x".to_owned(), node: Some(node.into()) }),
            ..mk_failed(&reason)
        };
        let labels = mk_labels(if is_known { "scanner" } else { &worker });
        let message = OrtServer::default().message(&id(), &data, &labels).expect("a final failure of a known job");
        let read = strict::read(&message.body).expect("strict JSON");
        if let Some(sentence) = read.sentence() {
            prop_assert!(sentence.len() <= sentence::MAX_BYTES, "{} bytes: {sentence}", sentence.len());
            prop_assert!(sentence.starts_with("The ") && sentence.ends_with('.') && !sentence.contains(". "), "{}", sentence);
            prop_assert!(sentence.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '), "{}", sentence);
        }
    }
}
