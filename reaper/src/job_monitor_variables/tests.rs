//! What becomes of each variable, and of each value that cannot be read.

use std::path::Path;

use jobwarden_core::policy::{Changes, Labels, Policies, Policy};
use rstest::rstest;

use super::*;
use crate::deliver::{BodySection, BrokerSettings, Config, Format, Transport};

const SENDER: [(&str, &str); 2] = [
    ("ORCHESTRATOR_SENDER_TRANSPORT_TYPE", "rabbitMQ"),
    ("ORCHESTRATOR_SENDER_TRANSPORT_SERVER_URI", "amqp://rabbitmq:5672"),
];

fn translate(variables: &[(&str, &str)]) -> Result<JobMonitorVariables, String> {
    JobMonitorVariables::translate(variables.iter().copied()).map_err(|error| error.to_string())
}

fn valid(variables: &[(&str, &str)]) -> JobMonitorVariables {
    translate(variables).expect("valid")
}

fn error(variables: &[(&str, &str)]) -> String {
    translate(variables).expect_err("invalid")
}

fn file(text: &str) -> Config {
    Config::parse(text, Path::new("reaper.yaml")).expect("valid")
}

/// The policy of a Job with this label `ort-worker`, under the variables and the file.
fn policy(variables: &[(&str, &str)], text: &str, worker: &str) -> Policy {
    let (config, _) = valid(variables).below(file(text));
    let mut policies = Policies::new(Policy::default());
    policies.set_file(config.policy);
    let labels = Labels::keep(&BTreeMap::from([("ort-worker".to_owned(), worker.to_owned())]));
    policies.effective("ort", &labels, &Changes::default()).policy
}

fn active_minutes(variables: &[(&str, &str)], text: &str, worker: &str) -> Option<u64> {
    policy(variables, text, worker).active_timeout.map(|timeout| timeout.as_secs() / 60)
}

fn sink(more: &[(&str, &str)]) -> SinkConfig {
    let all: Vec<_> = SENDER.iter().chain(more).copied().collect();
    valid(&all).sink.expect("a sink")
}

fn broker(sink: &SinkConfig) -> &BrokerSettings {
    match &sink.transport {
        Transport::RabbitMq(settings) | Transport::Amqp(settings) => settings,
        Transport::Http(_) => panic!("a broker"),
    }
}

#[test]
fn nothing_set_changes_nothing_but_the_preset() {
    let nothing = valid(&[("PATH", "/bin"), ("ANALYZER_SENDER_TRANSPORT_TYPE", "SQS"), ("DB_HOST", "db")]);
    assert_eq!(nothing, JobMonitorVariables::default());
    let (config, warnings) = nothing.below(Config::default());
    assert!(config.sinks.is_empty() && warnings.is_empty());
    assert_eq!(active_minutes(&[], "", "scanner"), Some(1440), "the defaults of the job monitor");
}

#[test]
fn timeouts_are_minutes_and_ages_are_seconds() {
    let variables = [("MONITOR_TIMEOUT_SCANNER", "60"), ("MONITOR_REAPER_MAX_AGE", "600")];
    assert_eq!(active_minutes(&variables, "", "scanner"), Some(60));
    assert_eq!(active_minutes(&variables, "", "analyzer"), Some(120), "the others keep their defaults");
    assert_eq!(policy(&variables, "", "scanner").retention, Duration::from_mins(10));
    let on_exit = policy(&variables, "", "scanner").on_container_exit;
    assert_eq!(on_exit, jobwarden_core::policy::OnContainerExit::Fail, "a failed container fails its Job");
}

#[rstest]
#[case::config("CONFIG", "config")]
#[case::analyzer("ANALYZER", "analyzer")]
#[case::advisor("ADVISOR", "advisor")]
#[case::scanner("SCANNER", "scanner")]
#[case::evaluator("EVALUATOR", "evaluator")]
#[case::reporter("REPORTER", "reporter")]
#[case::notifier("NOTIFIER", "notifier")]
fn each_worker_has_a_timeout(#[case] endpoint: &str, #[case] worker: &str) {
    assert_eq!(active_minutes(&[(format!("MONITOR_TIMEOUT_{endpoint}").as_str(), "7")], "", worker), Some(7));
}

#[rstest]
#[case::switched_off(&[("MONITOR_LONG_RUNNING_JOBS_ENABLED", "false"), ("MONITOR_TIMEOUT_SCANNER", "60")])]
#[case::not_among_the_tasks(&[("TASKS", "kubernetes-reaper"), ("MONITOR_TIMEOUT_SCANNER", "60")])]
fn without_the_task_no_timeout_is_enforced(#[case] variables: &[(&str, &str)]) {
    assert_eq!(active_minutes(variables, "", "scanner"), None);
    assert_eq!(active_minutes(variables, "", "analyzer"), None);
}

#[test]
fn the_switch_of_the_old_module_wins_over_the_list_of_tasks() {
    let both = [("TASKS", "kubernetes-reaper"), ("MONITOR_LONG_RUNNING_JOBS_ENABLED", "true")];
    assert_eq!(active_minutes(&both, "", "advisor"), Some(2));
}

#[test]
fn watch_and_lists_are_switched_and_timed() {
    let said = valid(&[("MONITOR_WATCHING_ENABLED", "false"), ("MONITOR_REAPER_INTERVAL", "120")]).follow_by;
    assert_eq!(said, FollowBy { watch: Some(false), list: None, interval: Some(Duration::from_mins(2)) });
    let neither = error(&[("MONITOR_WATCHING_ENABLED", "false"), ("MONITOR_REAPER_ENABLED", "false")]);
    assert!(neither.contains("MONITOR_WATCHING_ENABLED and MONITOR_REAPER_ENABLED"), "{neither}");
}

/// What is wrong names the variable, the value and what is expected.
#[rstest]
#[case("MONITOR_TIMEOUT_SCANNER", "2h", "a whole number from 1 to 527040 of minutes")]
#[case("MONITOR_TIMEOUT_SCANNER", "0", "a whole number from 1")]
#[case("MONITOR_TIMEOUT_SCANNER", "-5", "a whole number from 1")]
#[case("MONITOR_TIMEOUT_SCANNER", "18446744073709551615", "a whole number from 1")]
#[case("MONITOR_REAPER_MAX_AGE", "ten", "of seconds")]
#[case("MONITOR_REAPER_INTERVAL", "5", "from 10 to 3600 seconds")]
#[case("MONITOR_WATCHING_ENABLED", "maybe", "true or false")]
#[case("MONITOR_LOST_JOBS_MIN_AGE", "soon", "of seconds")]
#[case("TASKS_SECRET_PROVIDER", "vault", "secret-file")]
#[case("TASKS_SECRET_FILES", "/a,/b", "the path of one file")]
#[case(
    "ORCHESTRATOR_SENDER_TRANSPORT_TYPE",
    "SQS",
    "rabbitMQ, activeMQ or azure-servicebus; jobwarden sends to no queue of Amazon SQS"
)]
#[case("ORCHESTRATOR_SENDER_TRANSPORT_TYPE", "kubernetes", "the orchestrator has to read a queue")]
#[case("ORCHESTRATOR_SENDER_TRANSPORT_TYPE", "rabbitmq", "rabbitMQ, activeMQ or azure-servicebus")]
fn a_value_that_cannot_be_read_is_an_error(#[case] name: &str, #[case] value: &str, #[case] expected: &str) {
    let error = error(&[(name, value)]);
    assert!(error.contains(name) && error.contains(value) && error.contains(expected), "{error}");
}

#[test]
fn an_empty_value_is_none() {
    assert!(error(&[("MONITOR_REAPER_MAX_AGE", " ")]).contains("MONITOR_REAPER_MAX_AGE=\"\""));
    assert_eq!(valid(&[("MONITOR_NAMESPACE", "")]).selection(), None);
}

#[rstest]
#[case("MONITOR_LOST_JOBS_ENABLED", "true", "does not read ORT Server's database")]
#[case("MONITOR_LOST_JOBS_INTERVAL", "120", "does not read ORT Server's database")]
#[case("MONITOR_LOST_JOBS_MIN_AGE", "30", "kubernetes-lost-jobs-finder")]
#[case("MONITOR_RECENTLY_PROCESSED_INTERVAL", "60", "one final outcome")]
#[case("MONITOR_LONG_RUNNING_JOBS_INTERVAL", "600", "when its timeout ends")]
#[case("MONITOR_TIMEOUT_ORCHESTRATOR", "5", "there is no such worker")]
#[case("MONITOR_COLOUR", "red", "no variable of this name")]
#[case("TASKS_KEEP_JVM", "true", "runs all the time")]
#[case("ORCHESTRATOR_SENDER_TRANSPORT_COLOUR", "red", "no such setting")]
fn what_has_no_counterpart_is_accepted_with_a_warning_that_says_why(
    #[case] name: &str,
    #[case] value: &str,
    #[case] why: &str,
) {
    let warnings = valid(&[(name, value)]).warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains(name) && warnings[0].contains(why), "{warnings:?}");
}

#[test]
fn tasks_are_remarked_on_where_they_differ() {
    let all = "kubernetes-reaper, kubernetes-lost-jobs-finder,kubernetes-long-running-jobs-finder,delete-old-ort-runs";
    let warnings = valid(&[("TASKS", all)]).warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("kubernetes-lost-jobs-finder") && warnings[1].contains("delete-old-ort-runs"));
    assert!(valid(&[("TASKS", "delete-old-ort-runs")]).warnings[0].contains("does not name kubernetes-reaper"));
}

#[test]
fn the_queue_of_the_orchestrator_is_a_sink() {
    let sink = sink(&[("MONITOR_NAMESPACE", "ortserver")]);
    let expected = file(
        "sinks: [{name: ort-orchestrator, type: rabbitmq, url: 'amqp://rabbitmq:5672', queue: orchestrator_queue, format: ort-server,
           filter: {namespaces: [ortserver], selector: {matchExpressions: [{key: ort-worker, operator: In, values:
             [orchestrator, config, analyzer, advisor, scanner, evaluator, notifier, reporter]}]}}}]",
    );
    assert_eq!(sink, expected.sinks[0], "as it would be written in the file");
}

#[test]
fn the_namespace_is_followed_by_the_selector_of_the_job_monitor() {
    let selection = valid(&[("MONITOR_NAMESPACE", "ortserver")]).selection().expect("a namespace");
    let labels = |worker: &str| Labels::keep(&BTreeMap::from([("ort-worker".to_owned(), worker.to_owned())]));
    assert!(
        selection.selects("ortserver", &labels("scanner")) && selection.selects("ortserver", &labels("orchestrator"))
    );
    assert!(!selection.selects("ortserver", &labels("cron")) && !selection.selects("other", &labels("scanner")));
}

#[test]
fn each_transport_has_its_protocol() {
    let activemq = [
        ("ORCHESTRATOR_SENDER_TRANSPORT_SERVER_URI", "amqp://artemis:61616"),
        ("ORCHESTRATOR_SENDER_TRANSPORT_QUEUE_NAME", "q"),
    ];
    let of_default = valid(&activemq).sink.expect("activeMQ is ORT Server's default");
    assert!(matches!(of_default.transport, Transport::Amqp(_)) && matches!(of_default.format, Format::OrtServer(_)));
    assert_eq!((broker(&of_default).queue.as_str(), broker(&of_default).body), ("q", None));
    let azure = sink(&[
        ("ORCHESTRATOR_SENDER_TRANSPORT_TYPE", "azure-servicebus"),
        ("ORCHESTRATOR_SENDER_TRANSPORT_NAMESPACE", "my-bus"),
        ("ORCHESTRATOR_SENDER_TRANSPORT_USERNAME", "policy"),
        ("ORCHESTRATOR_SENDER_TRANSPORT_PASSWORD", "key"),
    ]);
    assert_eq!(broker(&azure).url, "amqps://my-bus.servicebus.windows.net");
    assert_eq!(broker(&azure).body, Some(BodySection::Data));
}

#[rstest]
#[case::no_address(&[("ORCHESTRATOR_SENDER_TRANSPORT_TYPE", "rabbitMQ")], "ORCHESTRATOR_SENDER_TRANSPORT_SERVER_URI is not set")]
#[case::no_namespace(&[("ORCHESTRATOR_SENDER_TRANSPORT_TYPE", "azure-servicebus")], "TRANSPORT_NAMESPACE is not set")]
#[case::workload_identity(
    &[("ORCHESTRATOR_SENDER_TRANSPORT_TYPE", "azure-servicebus"), ("ORCHESTRATOR_SENDER_TRANSPORT_NAMESPACE", "b")],
    "a workload identity is not supported"
)]
#[case::failover(
    &[("ORCHESTRATOR_SENDER_TRANSPORT_SERVER_URI", "failover:(amqp://a:1,amqp://b:1)")],
    "without credentials, query and failover"
)]
#[case::half_a_login(&[SENDER[0], SENDER[1], ("ORCHESTRATOR_SENDER_TRANSPORT_USERNAME", "ort")], "PASSWORD is not set")]
#[case::the_other_half(&[SENDER[0], SENDER[1], ("ORCHESTRATOR_SENDER_TRANSPORT_PASSWORD", "x")], "USERNAME is not set")]
fn an_incomplete_transport_is_an_error(#[case] variables: &[(&str, &str)], #[case] expected: &str) {
    let error = error(variables);
    assert!(error.contains(expected), "{error}");
}

#[test]
fn secrets_come_from_the_file_or_from_the_environment_and_are_never_shown() {
    let login =
        [("ORCHESTRATOR_SENDER_TRANSPORT_USERNAME", "ort"), ("ORCHESTRATOR_SENDER_TRANSPORT_PASSWORD", "topsecret")];
    let by_environment = sink(&login);
    let credentials = broker(&by_environment).credentials.as_ref().expect("credentials");
    assert_eq!((credentials.username.as_str(), credentials.password.as_str()), ("ort", "topsecret"));
    let file = [("TASKS_SECRET_PROVIDER", "secret-file"), ("TASKS_SECRET_FILES", "/mnt/secrets.properties")];
    let all: Vec<_> = SENDER.iter().chain(&login).chain(&file).copied().collect();
    let both = valid(&all);
    let settings = broker(both.sink.as_ref().expect("a sink"));
    assert_eq!(settings.credentials_file.as_deref(), Some(Path::new("/mnt/secrets.properties")));
    assert_eq!((settings.credentials.as_ref(), both.warnings.len()), (None, 2));
    assert!(!format!("{both:?} {by_environment:?}").contains("topsecret"));
    let in_url = [SENDER[0], ("ORCHESTRATOR_SENDER_TRANSPORT_SERVER_URI", "amqp://ort:topsecret@rabbitmq:5672")];
    let error = error(&in_url);
    assert!(!error.contains("topsecret") && error.contains("ORCHESTRATOR_SENDER_TRANSPORT_SERVER_URI"), "{error}");
}

#[rstest]
#[case::retention(&[("MONITOR_REAPER_MAX_AGE", "600")], "policy: {set: {retention: 2h}}", "MONITOR_REAPER_MAX_AGE")]
#[case::timeout_for_all(&[("MONITOR_TIMEOUT_SCANNER", "60")], "policy: {set: {activeTimeout: 3h}}", "MONITOR_TIMEOUT_SCANNER")]
#[case::timeout_by_rule(
    &[("MONITOR_TIMEOUT_SCANNER", "60")],
    "policy: {rules: [{match: {ort-worker: scanner}, set: {activeTimeout: 3h}}]}",
    "MONITOR_TIMEOUT_SCANNER"
)]
#[case::sink(
    &SENDER,
    "sinks: [{name: mine, type: amqp, url: 'amqp://b', queue: q, format: ort-server}]",
    "ORCHESTRATOR_SENDER_TRANSPORT_*"
)]
#[case::name_of_the_sink(&SENDER, "sinks: [{name: ort-orchestrator, url: 'http://b'}]", "ORCHESTRATOR_SENDER_TRANSPORT_*")]
fn the_file_wins_with_a_warning(#[case] variables: &[(&str, &str)], #[case] text: &str, #[case] variable: &str) {
    let (config, warnings) = valid(variables).below(file(text));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains(variable), "{warnings:?}");
    assert!(config.sinks.len() <= 1);
    let of_file = |worker| policy(variables, text, worker);
    if text.contains("retention") {
        assert_eq!(of_file("scanner").retention, Duration::from_hours(2));
    }
    if text.contains("activeTimeout") {
        assert_eq!(of_file("scanner").active_timeout, Some(Duration::from_hours(3)));
    }
}

#[test]
fn what_the_file_does_not_say_is_that_of_the_variables() {
    let variables = [SENDER[0], SENDER[1], ("MONITOR_TIMEOUT_SCANNER", "60")];
    let text = "sinks: [{name: mine, url: 'http://b'}]\npolicy: {preset: ort-server, rules: [{match: {a: b}, set: {onLost: fail}}]}";
    let (config, warnings) = valid(&variables).below(file(text));
    assert_eq!(config.sinks.iter().map(|sink| sink.name.as_str()).collect::<Vec<_>>(), ["mine", "ort-orchestrator"]);
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(active_minutes(&variables, text, "scanner"), Some(60), "over the preset, which has the defaults");
}
