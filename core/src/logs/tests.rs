//! Claims about log lines: which container, what is removed, what is cut.

use jobwarden_common::notification::{Cause, NoLogs};
use k8s_openapi::api::core::v1::Pod;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;

fn redactor() -> Redactor {
    Redactor::new(&[], true).expect("the built-in patterns are valid")
}

fn limits(lines: usize, bytes: usize) -> LogLimits {
    LogLimits { lines, bytes }
}

fn lines_of(log: &str, known: &[String]) -> Vec<String> {
    limits(20, 4096).excerpt(log.as_bytes(), &redactor(), known).lines
}

fn redacted(line: &str) -> String {
    lines_of(line, &[]).concat()
}

#[rstest]
#[case("password=hunter2", "password=[redacted]")]
#[case("DB_PASSWORD: hunter2 user=app", "DB_PASSWORD: [redacted] user=app")]
#[case(r#"{"level":"error","api_key": "a b\"c","msg":"no"}"#, r#"{"level":"error","api_key": [redacted],"msg":"no"}"#)]
#[case(r#"{"body":"{\"token\":\"abc\"}"}"#, r#"{"body":"{\"token\":[redacted]"#)]
#[case("secret => 'two words', next", "secret => [redacted], next")]
#[case("<password>hunter2</password>", "<password>[redacted]")]
#[case("curl --token hunter2 -v", "curl --token [redacted] -v")]
#[case("curl -H 'Authorization: Digest username=a, response=b'", "curl -H 'Authorization: [redacted]")]
#[case("got Bearer abc.def back", "got Bearer [redacted] back")]
#[case("invalid bearer token: hunter2", "invalid bearer [redacted]")]
#[case("token: Bearer hunter2", "token: [redacted]")]
#[case("token='a token => 'hunter2'", "token=[redacted]")]
#[case("token= \"client_secret\": \"hunter2\"", "token= [redacted]")]
#[case("password=\"token of my\" next", "password=[redacted] next")]
#[case("cloning https://me:hun/ter@2@example.com/a.git", "cloning https://me:[redacted]@example.com/a.git")]
#[case("key AKIAIOSFODNN7EXAMPLE used", "key [redacted] used")]
#[case("jwt eyJhbGciOiJub25lIn0.eyJzdWIiOiJtZSJ9. end", "jwt [redacted] end")]
#[case("remote: ghp_0123456789abcdefghijABCDEFGHIJ456789", "remote: [redacted]")]
// What is no secret stays.
#[case("connecting to https://example.com:8080/path", "connecting to https://example.com:8080/path")]
#[case("java.lang.OutOfMemoryError: Java heap space", "java.lang.OutOfMemoryError: Java heap space")]
#[case("3 tokens read, 0 errors", "3 tokens read, 0 errors")]
fn what_looks_like_a_secret_is_removed(#[case] line: &str, #[case] expected: &str) {
    assert_eq!(redacted(line), expected);
}

#[rstest]
#[case::whole("a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabcd\n-----END RSA PRIVATE KEY-----\nb", 4)]
#[case::without_its_beginning("MIIE\nabcd\n-----END PRIVATE KEY-----\nb", 3)]
#[case::without_its_end("a\n-----BEGIN PRIVATE KEY-----\nMIIE", 2)]
#[case::none("-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----", 0)]
fn a_private_key_is_removed_line_by_line(#[case] log: &str, #[case] removed: usize) {
    let lines = lines_of(log, &[]);
    assert_eq!(lines.iter().filter(|line| *line == "[redacted]").count(), removed, "{lines:?}");
    assert_eq!(lines.len(), log.lines().count());
}

#[test]
fn own_patterns_apply_beside_the_built_in_ones_or_alone() {
    let own = [r"ticket (?<secret>\d+)".to_owned(), "inner.circle".to_owned()];
    let line = b"ticket 4711 of the inner circle, token=abc";
    let kept = |defaults| {
        let redactor = Redactor::new(&own, defaults).expect("valid");
        limits(1, 99).excerpt(line, &redactor, &[]).lines.concat()
    };
    assert_eq!(kept(true), "ticket [redacted] of the [redacted], token=[redacted]");
    assert_eq!(kept(false), "ticket [redacted] of the [redacted], token=abc");
}

#[rstest]
#[case::syntax("redact: ['(']")]
#[case::empty_match("redact: ['a*']")]
#[case::too_large(r"redact: ['\w{900}\w{900}\w{900}']")]
#[case::too_many_lines("lines: 201")]
#[case::too_many_bytes("bytes: 1000000")]
fn invalid_settings_are_an_error(#[case] yaml: &str) {
    let settings: LogSettings = serde_saphyr::from_str(yaml).expect("the shape is right");
    assert!(settings.rules().is_err());
}

#[test]
fn the_pattern_itself_is_not_in_the_error() {
    let settings = LogSettings { redact: vec!["fine".to_owned(), "hunter2(".to_owned()], ..LogSettings::default() };
    let error = settings.rules().expect_err("not valid");
    assert_eq!(error.to_string(), "logs.redact: pattern number 2 is not valid");
}

#[test]
fn zero_lines_turn_it_off() {
    let rules = |yaml| serde_saphyr::from_str::<LogSettings>(yaml).expect("the shape is right").rules().expect("valid");
    assert!(rules("lines: 0").is_none() && rules("bytes: 0").is_none());
    let rules = rules("{}").expect("on");
    assert_eq!(rules.limits, limits(20, 4096));
    assert!(serde_saphyr::from_str::<LogSettings>("colour: red").is_err());
}

#[test]
fn the_last_lines_are_kept_within_lines_and_bytes() {
    let log = "one\ntwo\n\nthree\n";
    let kept = |lines, bytes| {
        let Excerpt { lines, truncated } = limits(lines, bytes).excerpt(log.as_bytes(), &redactor(), &[]);
        (lines.join("|"), truncated)
    };
    assert_eq!(kept(9, 99), ("one|two|three".to_owned(), false));
    assert_eq!(kept(9, 14), ("one|two|three".to_owned(), false));
    assert_eq!(kept(9, 13), ("two|three".to_owned(), true));
    assert_eq!(kept(2, 99), ("two|three".to_owned(), true));
    // A line that is too long is cut at its end.
    assert_eq!(kept(9, 5), ("t…".to_owned(), true));
}

#[test]
fn a_line_that_may_lack_its_beginning_or_end_is_dropped() {
    let excerpt = |log: &str| limits(2, 4096).excerpt(log.as_bytes(), &redactor(), &[]);
    // Of three lines that were asked for, the first may be the rest of a longer one.
    assert_eq!(excerpt("hunter2\nb\nc\n").lines, ["b", "c"]);
    assert_eq!(excerpt("b\nc\n").lines, ["b", "c"]);
    // One long line takes several entries of the log file, and may lack others before.
    let long = format!("{}\nc\n", "x".repeat(17_000));
    assert_eq!(excerpt(&long).lines, ["c"]);
    // At the limit of what is read, neither end is known.
    let full = format!("a\nb\n{}", "x".repeat(limits(2, 4096).read_bytes()));
    assert_eq!(excerpt(&full).lines, ["b"]);
    assert!(excerpt(&full).truncated);
}

#[test]
fn a_word_that_is_too_long_to_be_searched_is_left_out() {
    let log = |rest: &str| format!("password={} https://me:hun{rest}", "x".repeat(4_074));
    assert_eq!(lines_of(&log("ter2@host"), &[]), ["password=[redacted] …"]);
    assert_eq!(lines_of(&"y".repeat(9_000), &[]), ["…"]);
}

#[test]
fn of_very_many_secrets_in_a_line_none_is_left() {
    let line: Vec<_> = (0..100).map(|n| format!("pwd={n}x")).collect();
    let kept = redacted(&line.join(" "));
    assert!(kept.ends_with("[redacted]") && !kept.contains('x'), "{kept}");
    assert_eq!(kept.matches("[redacted]").count(), 32);
}

#[test]
fn what_the_workers_environment_keeps_secret_is_removed() {
    let known = ["s3cr3t value".to_owned(), "s3cr3t".to_owned()];
    assert_eq!(lines_of("it is s3cr3t value, or s3cr3t", &known), ["it is [redacted], or [redacted]"]);
}

#[rstest]
#[case(b"\x1b[31mred\x1b[0m \x1b]0;title\x07end", "red end")]
#[case(b"50%\r100%\tdone\x00\x08", "50% 100% done")]
#[case(b"caf\xe9 \xff", "caf\u{fffd} \u{fffd}")]
#[case("a\u{202e}b\u{200b}c\u{85}".as_bytes(), "abc")]
#[case(b"pass\x1b[1mword\x1b[0m=hunter2", "password=[redacted]")]
#[case(b"\x1b", "")]
fn a_line_is_made_printable_before_it_is_searched(#[case] line: &[u8], #[case] expected: &str) {
    assert_eq!(limits(1, 99).excerpt(line, &redactor(), &[]).lines.concat(), expected);
}

fn ended(code: i32, at: &str) -> Value {
    json!({"terminated": {"exitCode": code, "finishedAt": at}})
}

fn mk_pod(inits: &[Value], mains: &[Value]) -> Pod {
    let spec = |status: &Value| json!({"name": status["name"], "restartPolicy": status["spec"]});
    let status = |status: &Value| {
        let mut status = status.clone();
        for (key, value) in
            [("image", json!("")), ("imageID", json!("")), ("ready", json!(false)), ("restartCount", json!(0))]
        {
            status[key] = value;
        }
        status
    };
    let all = |from: &[Value], of: &dyn Fn(&Value) -> Value| from.iter().map(of).collect::<Vec<_>>();
    serde_json::from_value(json!({
        "spec": {"initContainers": all(inits, &spec), "containers": all(mains, &spec)},
        "status": {"initContainerStatuses": all(inits, &status), "containerStatuses": all(mains, &status)},
    }))
    .expect("a pod")
}

fn named(container: &str, code: i32, at: &str) -> Cause {
    Cause {
        container: Some(container.to_owned()),
        exit_code: Some(code),
        finished_at: Some(at.to_owned()),
        ..Cause::default()
    }
}

const THEN: &str = "2026-01-02T03:04:05Z";
const LATER: &str = "2026-01-02T03:05:05Z";

#[rstest]
#[case::its_end(vec![json!({"name": "a", "state": ended(1, THEN)})], named("a", 1, THEN), Ok(("a", false)))]
#[case::of_two_the_one_that_the_cause_names(
    vec![json!({"name": "a", "state": ended(1, THEN)}), json!({"name": "b", "state": ended(1, THEN)})],
    named("b", 1, THEN),
    Ok(("b", false))
)]
#[case::it_was_restarted_since(
    vec![json!({"name": "a", "state": {"running": {}}, "lastState": ended(1, THEN)})],
    named("a", 1, THEN),
    Ok(("a", true))
)]
#[case::it_waits_to_be_restarted(
    vec![json!({"name": "a", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": ended(1, THEN)})],
    named("a", 1, THEN),
    Ok(("a", true))
)]
#[case::the_present_run_decided_and_an_earlier_one_did_not(
    vec![json!({"name": "a", "state": ended(1, LATER), "lastState": ended(1, THEN)})],
    named("a", 1, LATER),
    Ok(("a", false))
)]
#[case::it_runs_and_stalls(
    vec![json!({"name": "a", "state": {"running": {}}, "lastState": ended(1, THEN)})],
    Cause::default(),
    Ok(("a", false))
)]
#[case::the_cause_names_none(
    vec![json!({"name": "a", "state": {"running": {}}}), json!({"name": "b", "state": ended(2, THEN)})],
    Cause::default(),
    Ok(("b", false))
)]
#[case::it_never_started(
    vec![json!({"name": "a", "state": {"waiting": {"reason": "ErrImagePull"}}})],
    Cause { container: Some("a".to_owned()), ..Cause::default() },
    Err(NoLogs::NotStarted)
)]
#[case::no_container(vec![], Cause::default(), Err(NoLogs::NotStarted))]
fn the_log_is_that_of_the_run_that_decided(
    #[case] mains: Vec<Value>,
    #[case] cause: Cause,
    #[case] expected: Result<(&str, bool), NoLogs>,
) {
    // The heartbeat sidecar runs and decides nothing.
    let sidecar = json!({"name": "jobwarden-heartbeat", "spec": "Always", "state": {"running": {}}});
    let found = source(&mk_pod(&[sidecar], &mains), &cause);
    let expected = expected.map(|(name, previous)| LogSource { container: name.to_owned(), previous });
    assert_eq!(found, expected);
}

#[test]
fn while_an_init_container_runs_the_log_is_its() {
    let main = json!({"name": "a", "state": {"waiting": {"reason": "PodInitializing"}}});
    let init = json!({"name": "fetch", "state": {"running": {}}});
    let found = source(&mk_pod(&[init], &[main]), &Cause::default());
    assert_eq!(found, Ok(LogSource { container: "fetch".to_owned(), previous: false }));
}

#[test]
fn the_values_of_secret_variables_are_known_and_no_others() {
    let env = json!([
        {"name": "DB_PASSWORD", "value": "first line\nsecond line"},
        {"name": "GITHUB_TOKEN", "value": "0123456789"},
        {"name": "SHORT_TOKEN", "value": "true"},
        {"name": "HOME", "value": "/home/worker"},
        {"name": "FROM_SECRET", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}},
    ]);
    let other = json!({"name": "b", "env": [{"name": "PASSWORD", "value": "of another"}]});
    let pod =
        serde_json::from_value(json!({"spec": {"containers": [{"name": "a", "env": env}, other]}})).expect("a pod");
    assert_eq!(secret_values(&pod, "a"), ["second line", "0123456789", "first line"]);
}

/// A secret, and how it is written in a line.
fn secrets() -> impl Strategy<Value = (String, String)> {
    let secret = "[A-Za-z0-9]{12,40}";
    let forms = prop::sample::select(vec![
        "password=@",
        "PGPASSWORD: @",
        "Authorization: Bearer @",
        "authorization=Basic @",
        "\"client_secret\": \"@\"",
        "--api-key @",
        "https://user:@@host/path",
        "token => '@'",
        "bearer @",
        "access_key = @",
    ]);
    (secret, forms).prop_map(|(secret, form)| (secret.clone(), form.replacen('@', &secret, 1)))
}

proptest! {
    #[test]
    fn an_excerpt_is_within_its_limits_and_printable(
        log in prop::collection::vec(any::<u8>(), 0..6000),
        lines in 1_usize..30,
        bytes in 1_usize..3000,
    ) {
        let kept = limits(lines, bytes).excerpt(&log, &redactor(), &[]);
        prop_assert!(kept.lines.len() <= lines);
        prop_assert!(kept.lines.iter().map(|line| line.len() + 1).sum::<usize>() <= bytes, "{:?}", kept);
        prop_assert!(kept.lines.iter().all(|line| !line.contains(char::is_control)), "{:?}", kept);
    }

    /// Whatever stands around it and however it is cut.
    #[test]
    fn a_secret_never_appears(
        (secret, text) in secrets(),
        before in "[ -~]{0,60}",
        after in "([ ,;\"'}].{0,60})?",
        others in prop::collection::vec(".{0,80}", 0..6),
        at in 0_usize..6,
        bytes in 20_usize..500,
    ) {
        let mut lines = others;
        lines.insert(at.min(lines.len()), format!("{before} {text}{after}"));
        let kept = limits(4, bytes).excerpt(lines.join("\n").as_bytes(), &redactor(), &[]);
        prop_assert!(kept.lines.iter().all(|line| !line.contains(&secret)), "{:?}", kept);
    }

    #[test]
    fn a_known_secret_never_appears(secret in "[!-~]{6,20}", log in ".{0,300}", at in 0_usize..300) {
        prop_assume!(!"[redacted]".contains(&secret));
        let at = log.floor_char_boundary(at.min(log.len()));
        let log = format!("{}{secret}{}", &log[..at], &log[at..]);
        let kept = limits(9, 4096).excerpt(log.as_bytes(), &redactor(), std::slice::from_ref(&secret));
        prop_assert!(kept.lines.iter().all(|line| !line.contains(&secret)), "{:?}", kept);
    }

    #[test]
    fn the_last_line_is_kept_if_it_is_short(log in "[a-z\n]{0,400}", last in "[a-z]{1,10}") {
        let kept = limits(5, 100).excerpt(format!("{log}\n{last}\n").as_bytes(), &redactor(), &[]);
        prop_assert_eq!(kept.lines.last(), Some(&last));
    }
}
