use jobwarden_common::notification::Attempt;
use rstest::rstest;

use super::*;
use crate::outbox::object::tests::mk_data;

fn mk_cause(kind: CauseKind, code: Option<i32>, signal: Option<&str>, reason: Option<&str>) -> Cause {
    Cause {
        kind: Some(kind),
        container: Some("main".to_owned()),
        exit_code: code,
        signal: signal.map(str::to_owned),
        reason: reason.map(str::to_owned),
        message: Some("as others wrote it".to_owned()),
        ..Cause::default()
    }
}

fn mk_failed(cause: Cause) -> OutcomeData {
    OutcomeData { reason: "BackoffLimitExceeded".to_owned(), cause, ..mk_data() }
}

fn mk_usage(peak: u64, censored: bool) -> Usage {
    Usage { peak_rss_bytes: peak, peak_lower_bytes: peak / 2, censored, ..Usage::default() }
}

#[rstest]
#[case("NodeGone", "was lost because its node n1 was removed, shut down or restarted")]
#[case("NodeUnreachable", "was lost because its node n1 stopped responding")]
#[case("OutcomeUnknown", "ended on a node n1 that stopped responding before it could report how")]
#[case("ProcessGone", "was lost because its processes are gone and its node did not report how they ended")]
#[case("HeartbeatLost", "was stopped because it gave no sign of life for too long")]
#[case("Stalled", "was stopped because it used no CPU time for too long")]
#[case("InitTimeout", "was stopped because its preparation in an init container took too long")]
#[case("StartTimeout", "was stopped because it did not start in time")]
#[case("Unschedulable", "was not started because the cluster has no node for it")]
#[case("ImagePullFailed", "was not started because the image of its container could not be pulled")]
#[case("CreateFailed", "was not started because its container could not be created")]
#[case("NotStarting", "was not started because the cluster created no pod for it in time")]
#[case("DeadlineExceeded", "was stopped because it ran longer than it may")]
#[case("JobDeleted", "was deleted before it finished")]
#[case("PodDeleted", "was deleted before it finished")]
#[case("BackoffLimitExceeded", "failed without a known cause, reason BackoffLimitExceeded")]
fn a_verdict_without_a_cause_has_a_sentence(#[case] reason: &str, #[case] expected: &str) {
    let data = OutcomeData { reason: reason.to_owned(), ..mk_data() };
    assert_eq!(about(&data, "analyzer"), format!("The analyzer worker {expected}."));
}

#[rstest]
#[case(
    mk_cause(CauseKind::OomKilled, Some(137), Some("SIGKILL"), Some("OOMKilled")),
    "failed because container main reached its memory limit and was killed"
)]
#[case(
    mk_cause(CauseKind::OomKilled, Some(137), Some("SIGKILL"), Some("SystemOOM")),
    "failed because container main was killed when its node n1 ran out of memory"
)]
#[case(Cause { resource: Some("ephemeral-storage".to_owned()), ..mk_cause(CauseKind::Evicted, None, None, Some("Evicted")) }, "was evicted because its node n1 ran short of ephemeral-storage")]
#[case(mk_cause(CauseKind::Evicted, None, None, None), "was evicted because its node n1 ran short of resources")]
#[case(mk_cause(CauseKind::Preempted, None, None, None), "was stopped to make room for work of higher priority")]
#[case(mk_cause(CauseKind::Drained, None, None, None), "was evicted from its node n1, as when a node is drained")]
#[case(mk_cause(CauseKind::Tainted, None, None, None), "was evicted because of a taint of its node n1")]
#[case(mk_cause(CauseKind::NodeShutdown, None, None, None), "was stopped because its node n1 was shut down")]
#[case(mk_cause(CauseKind::NodeLost, None, None, Some("DeletionByPodGC")), "was lost with its node n1")]
#[case(
    mk_cause(CauseKind::NodeLost, None, None, Some("NodeGone")),
    "was lost because its node n1 was removed, shut down or restarted"
)]
#[case(
    mk_cause(CauseKind::Unschedulable, None, None, Some("Unschedulable")),
    "was not started because the cluster has no node for it"
)]
#[case(
    mk_cause(CauseKind::NotAdmitted, None, None, Some("OutOfcpu")),
    "was not started because its node n1 rejected it (OutOfcpu)"
)]
#[case(
    mk_cause(CauseKind::ImagePullFailed, None, None, Some("ImagePullBackOff")),
    "was not started because the image of container main could not be pulled (ImagePullBackOff)"
)]
#[case(
    mk_cause(CauseKind::CreateFailed, None, None, Some("CreateContainerConfigError")),
    "was not started because container main could not be created (CreateContainerConfigError)"
)]
#[case(
    mk_cause(CauseKind::ExitCode, Some(3), None, Some("Error")),
    "failed because container main ended with exit code 3"
)]
#[case(
    mk_cause(CauseKind::Signal, Some(139), Some("SIGSEGV"), Some("Error")),
    "failed because container main was ended by SIGSEGV, exit code 139"
)]
#[case(mk_cause(CauseKind::DeadlineExceeded, Some(143), None, None), "was stopped because it ran longer than it may")]
#[case(
    mk_cause(CauseKind::PodFailurePolicy, Some(3), None, None),
    "failed because container main ended with exit code 3, which the failure policy of its Job does not retry"
)]
#[case(Cause { by: Some("namespace-controller".to_owned()), ..mk_cause(CauseKind::Deleted, None, None, Some("Deleted")) }, "was deleted by namespace-controller before it finished")]
#[case(Cause { by: Some("eviction API".to_owned()), ..mk_cause(CauseKind::Deleted, None, None, None) }, "was deleted before it finished")]
fn every_cause_has_a_sentence(#[case] cause: Cause, #[case] expected: &str) {
    assert_eq!(about(&mk_failed(cause), "scanner"), format!("The scanner worker {expected}."));
}

#[rstest]
#[case(CauseKind::OomKilled, Some(mk_usage(3 << 30, true)), "; its peak memory was at least 1.5 GiB")]
#[case(CauseKind::OomKilled, Some(mk_usage(1_023 << 20, false)), "; its peak memory was about 1023 MiB")]
#[case(CauseKind::Signal, Some(mk_usage(1_000, false)), "; its peak memory was about 1000 bytes")]
#[case(
    CauseKind::OomKilled,
    Some(Usage { peak_lower_bytes: 8_500_000_000, memory_limit_bytes: Some(8 << 30), ..mk_usage(9_000_000_000, true) }),
    "; its peak memory was at least 7.9 GiB of its limit of 8 GiB"
)]
#[case(
    CauseKind::OomKilled,
    Some(Usage { memory_limit_bytes: Some(1 << 30), ..mk_usage(3 << 30, false) }),
    "; its peak memory was about 3 GiB"
)]
#[case(CauseKind::OomKilled, Some(mk_usage(0, true)), "")]
#[case(CauseKind::OomKilled, None, "")]
#[case(CauseKind::ExitCode, Some(mk_usage(3 << 30, false)), "")]
fn the_peak_is_said_where_memory_may_explain_the_end(
    #[case] kind: CauseKind,
    #[case] usage: Option<Usage>,
    #[case] expected: &str,
) {
    let cause = mk_cause(kind, Some(137), Some("SIGKILL"), Some("OOMKilled"));
    let sentence = about(&OutcomeData { usage, ..mk_failed(cause) }, "scanner");
    let said = sentence.find(';').map_or("", |at| &sentence[at..sentence.len() - 1]);
    assert_eq!(said, expected, "{sentence}");
}

#[test]
fn a_cause_outweighs_a_deadline_that_it_ran_into() {
    let cause = mk_cause(CauseKind::ImagePullFailed, None, None, Some("ErrImagePull"));
    let data = OutcomeData { reason: reason::DEADLINE_EXCEEDED.to_owned(), ..mk_failed(cause) };
    let expected =
        "The advisor worker was not started because the image of container main could not be pulled (ErrImagePull).";
    assert_eq!(about(&data, "advisor"), expected);
}

#[test]
fn texts_of_others_are_left_out() {
    let secret = "PASSWORD=s3cr3t\nnext";
    let cause = Cause {
        kind: Some(CauseKind::CreateFailed),
        container: Some(secret.to_owned()),
        reason: Some(secret.to_owned()),
        message: Some(secret.to_owned()),
        by: Some(secret.to_owned()),
        ..Cause::default()
    };
    let attempt = Attempt { pod_uid: "2222".into(), pod_name: secret.to_owned(), node: Some(secret.into()) };
    let data = OutcomeData { message: secret.to_owned(), attempt: Some(attempt), ..mk_failed(cause) };
    assert_eq!(about(&data, secret), "The worker was not started because its container could not be created.");
}

#[test]
fn the_longest_names_make_a_bounded_sentence() {
    let attempt = Attempt { pod_uid: "2222".into(), pod_name: "w".to_owned(), node: Some("n".repeat(253).into()) };
    let kinds = [CauseKind::OomKilled, CauseKind::NotAdmitted, CauseKind::ImagePullFailed, CauseKind::Signal];
    for (kind, word) in kinds.into_iter().zip(["SystemOOM", &"R".repeat(63), &"R".repeat(63), "Error"]) {
        let container = Some("c".repeat(63));
        let cause = Cause { container, ..mk_cause(kind, Some(i32::MIN), Some("SIGKILL"), Some(word)) };
        let usage = Some(Usage { memory_limit_bytes: Some(u64::MAX), ..mk_usage(u64::MAX, true) });
        let sentence = about(&OutcomeData { attempt: Some(attempt.clone()), usage, ..mk_failed(cause) }, "evaluator");
        assert!(sentence.len() <= MAX_BYTES, "{} bytes: {sentence}", sentence.len());
    }
    let too_long = Some("n".repeat(254).into());
    let data = OutcomeData { attempt: Some(Attempt { node: too_long, ..attempt }), ..mk_data() };
    assert_eq!(about(&data, "scanner"), "The scanner worker was lost because its node stopped responding.");
}
