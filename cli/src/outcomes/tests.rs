//! Operations on outcomes against an API server in memory.

use std::cell::RefCell;

use clap::Parser as _;
use http::Method;
use rstest::rstest;
use serde_json::json;

use super::{
    act::Act,
    change::{Operation, Which},
    fake_api::ApiServer,
    name::OutcomeName,
    outbox::OutboxError,
    *,
};

const LOST: &str = "5d0c2f9e-6c0b-4a53-9d0a-0c7f0a1f7a11.final";
const FAILED: &str = "0e4e7a55-1be5-4c0c-b54b-3c1d6d7f0c52.final";
const REFUSED: &str = "7a1b0c9d-52f6-4f0e-9f0e-2f4be0a9c3d1.attempt-failed";
const NOW: &str = "2026-03-05T08:00:00Z";

fn redeliver(which: Which, sink: Option<&str>) -> Act {
    let operation = Operation::Redeliver { which, now: NOW.to_owned() };
    Act { operation, sink: sink.map(str::to_owned), dry_run: false }
}

fn cancel(sink: Option<&str>) -> Act {
    Act { operation: Operation::Cancel, sink: sink.map(str::to_owned), dry_run: false }
}

fn names(names: &[&str]) -> Vec<OutcomeName> {
    names.iter().map(|name| name.parse().expect("a name")).collect()
}

/// What is printed, and the result; without names for all dead ones.
async fn run(act: &Act, server: &ApiServer, asked: &[&str]) -> (String, Result<(), OutcomesError>) {
    let printed = RefCell::new(String::new());
    let print = |line: String| {
        printed.borrow_mut().push_str(&(line + "\n"));
        Ok(())
    };
    let outbox = server.outbox();
    let result = if asked.is_empty() {
        act.all_dead(&outbox, &print).await
    } else {
        act.named(&outbox, names(asked), &print).await
    };
    (printed.into_inner(), result)
}

#[tokio::test]
async fn what_is_dead_is_delivered_again_and_a_repetition_changes_nothing() {
    let server = ApiServer::filled();
    let (printed, result) = run(&redeliver(Which::Dead, None), &server, &[]).await;
    result.expect("done");
    let expected = format!(
        "{LOST}  orchestrator: pending again\n1 delivery of 1 outcome pending again. 'jobwarden sinks' shows how many are left.\n"
    );
    assert_eq!(printed, expected);
    assert!(include_str!("../../../docs/outcomes.md").contains(&expected), "the page shows it: {expected}");
    let status = server.status(LOST);
    assert_eq!(status["summary"], "archive acknowledged, orchestrator pending");
    let entry = json!({
        "name": "orchestrator", "state": "pending", "attempts": 0, "lastAttemptAt": "2026-03-05T05:09:01.700Z", "pendingSince": NOW,
    });
    assert_eq!(status["sinks"][1], entry);
    assert_eq!(status["sinks"][0]["acknowledgedAt"], "2026-03-04T05:08:42.301Z");
    let (printed, result) = run(&redeliver(Which::Dead, None), &server, &[]).await;
    result.expect("done");
    assert_eq!(printed, "No delivery is dead.\n");
    let patch = format!(
        "PATCH /apis/jobwarden.io/v1alpha1/namespaces/jobwarden/joboutcomes/{LOST}/status?&fieldManager=jobwarden"
    );
    assert_eq!(server.requests(&Method::PATCH), [patch]);
}

#[tokio::test]
async fn each_named_outcome_says_what_was_done_and_what_was_skipped() {
    let server = ApiServer::filled();
    let (printed, result) = run(&redeliver(Which::Unacknowledged, None), &server, &[LOST, FAILED, REFUSED]).await;
    result.expect("done");
    let expected = format!(
        "{LOST}  orchestrator: pending again
{LOST}  archive: skipped, acknowledged at 2026-03-04T05:08:42.301Z; to send it once more, add --again and name the sink
{FAILED}  audit: skipped, already pending
{FAILED}  orchestrator: skipped, already pending
{REFUSED}  archive: pending again
2 deliveries of 2 outcomes pending again. 'jobwarden sinks' shows how many are left.
"
    );
    assert_eq!(printed, expected);
}

#[tokio::test]
async fn what_was_acknowledged_is_delivered_again_on_request() {
    let server = ApiServer::filled();
    run(&redeliver(Which::Ended, Some("archive")), &server, &[LOST]).await.1.expect("done");
    let archive = json!({ "name": "archive", "state": "pending", "attempts": 0, "pendingSince": NOW });
    assert_eq!(server.status(LOST)["sinks"][0], archive);
    assert_eq!(server.status(LOST)["sinks"][1]["state"], "dead", "the other sink is not named");
}

#[tokio::test]
async fn a_dry_run_changes_nothing_but_asks_the_api_server() {
    let server = ApiServer::filled();
    let before = server.status(LOST);
    let (printed, result) = run(&Act { dry_run: true, ..redeliver(Which::Dead, None) }, &server, &[]).await;
    result.expect("done");
    assert!(printed.contains("orchestrator: would be pending again\n"), "{printed}");
    assert!(printed.ends_with("1 delivery of 1 outcome would be pending again; nothing was changed.\n"), "{printed}");
    assert_eq!((server.status(LOST), server.requests(&Method::PATCH).len()), (before, 1));
}

#[tokio::test]
async fn a_cancelled_delivery_is_dead_and_can_be_delivered_again() {
    let server = ApiServer::filled();
    let (printed, result) = run(&cancel(Some("audit")), &server, &[FAILED]).await;
    result.expect("done");
    let expected = format!(
        "{FAILED}  audit: cancelled
1 delivery of 1 outcome cancelled. To undo this: jobwarden outcomes redeliver, with the same names and --sink.
"
    );
    assert_eq!(printed, expected);
    assert!(include_str!("../../../docs/outcomes.md").contains(&expected), "the page shows it: {expected}");
    let status = server.status(FAILED);
    assert_eq!(status["summary"], "orchestrator pending, audit dead");
    assert_eq!(
        status["sinks"][1],
        json!({ "name": "audit", "state": "dead", "attempts": 0, "lastError": "cancelled by an operator" })
    );
    run(&redeliver(Which::Unacknowledged, Some("audit")), &server, &[FAILED]).await.1.expect("done");
    assert_eq!(server.status(FAILED)["summary"], "orchestrator pending, audit pending");
}

/// The reaper writes an acknowledgement between the read and the patch.
#[tokio::test]
async fn a_concurrent_change_is_not_lost() {
    let server = ApiServer::filled();
    server.before_the_first_patch(|objects| {
        let object = objects.get_mut(FAILED).expect("it exists");
        object["metadata"]["resourceVersion"] = json!("2000");
        object["status"]["sinks"][0] = json!({ "name": "orchestrator", "state": "acknowledged", "attempts": 97 });
    });
    let (printed, result) = run(&cancel(None), &server, &[FAILED]).await;
    result.expect("done");
    assert!(printed.contains("orchestrator: skipped, not pending but acknowledged"), "{printed}");
    assert_eq!(server.status(FAILED)["summary"], "orchestrator acknowledged, audit dead");
}

#[tokio::test]
async fn an_outcome_that_is_deleted_meanwhile_is_skipped() {
    let server = ApiServer::filled();
    server.before_the_first_patch(|objects| drop(objects.remove(LOST)));
    let (printed, result) = run(&redeliver(Which::Dead, None), &server, &[]).await;
    result.expect("done");
    assert!(printed.contains("skipped: it was deleted meanwhile"), "{printed}");
}

#[tokio::test]
async fn one_that_does_not_exist_does_not_keep_the_others_from_being_done() {
    let server = ApiServer::filled();
    let (printed, result) = run(&redeliver(Which::Unacknowledged, None), &server, &["nowhere.final", LOST]).await;
    assert_eq!(result.expect_err("one is missing").to_string(), "1 outcome could not be changed; see above");
    assert!(printed.contains(&format!("{LOST}  orchestrator: pending again")), "{printed}");
}

#[rstest]
#[case::name_of_the_job("analyzer-7", &format!("did you mean {LOST}?"))]
#[case::part_of_the_name("5d0c2f9e", &format!("did you mean {LOST}?"))]
#[case::several("final", " or ")]
#[case::unknown("nowhere", "'jobwarden outcomes list -A' shows all of them")]
#[tokio::test]
async fn a_name_that_does_not_exist_is_answered_with_similar_ones(#[case] name: &str, #[case] hint: &str) {
    let error = ApiServer::filled().outbox().get(&names(&[name])[0]).await.expect_err("no such outcome");
    let error = error.to_string();
    assert!(error.starts_with(&format!("there is no outcome {name} in the namespace jobwarden; ")), "{error}");
    assert!(error.contains(hint), "{error}");
}

#[rstest]
#[case::read(Method::GET, "grant 'list' on joboutcomes.jobwarden.io in the namespace jobwarden")]
#[case::write(Method::PATCH, "grant 'patch' on joboutcomes/status.jobwarden.io in the namespace jobwarden")]
#[tokio::test]
async fn a_missing_permission_is_named_with_the_role_that_has_it(#[case] method: Method, #[case] expected: &str) {
    let server = ApiServer::filled();
    server.forbid(method);
    let (_, result) = run(&redeliver(Which::Dead, None), &server, &[]).await;
    let error = result.expect_err("forbidden").to_string();
    assert!(error.contains(expected) && error.contains("--role=jobwarden-operator"), "{error}");
}

#[tokio::test]
async fn every_page_is_read_and_the_oldest_is_first() {
    let server = ApiServer::filled();
    let all = server.outbox().list(|_| true).await.expect("a list");
    let jobs: Vec<_> = all.iter().map(|outcome| outcome.spec.job_name.as_str()).collect();
    assert_eq!((jobs, server.requests(&Method::GET).len()), (vec!["analyzer-7", "scanner-12", "report", "backup"], 2));
}

#[tokio::test]
async fn a_cluster_without_the_custom_resource_is_told_from_one_without_outcomes() {
    let server = ApiServer::default();
    assert!(server.outbox().list(|_| true).await.expect("a list").is_empty());
    let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
        http::Response::builder().status(404).body(kube::client::Body::from(b"404 page not found".to_vec()))
    });
    let outbox = outbox::Outbox::new(kube::Client::new(service, "default"), "jobwarden");
    let error = outbox.list(|_| true).await.expect_err("not served");
    assert!(matches!(error, OutboxError::NotServed), "{error}");
}

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    _outcomes: OutcomesArgs,
}

#[rstest]
#[case(&["redeliver"], false)]
#[case(&["redeliver", "a"], true)]
#[case(&["redeliver", "--all-dead"], true)]
#[case(&["redeliver", "--all-dead", "--sink", "s", "--dry-run"], true)]
#[case(&["redeliver", "a", "--all-dead"], false)]
#[case::which_sink_has_acknowledged_it(&["redeliver", "a", "--again"], false)]
#[case(&["redeliver", "a", "b", "--again", "--sink", "s"], true)]
#[case(&["cancel"], false)]
#[case(&["cancel", "a"], true)]
#[case(&["list", "-A", "-n", "a"], false)]
#[case(&["list", "--kind", "attempt_failed", "--state", "dead", "--since", "1h", "--run", "4", "--sink", "s"], true)]
#[case(&["list", "--kind", "sad"], false)]
#[case(&["show"], false)]
fn what_makes_no_sense_is_rejected(#[case] arguments: &[&str], #[case] accepted: bool) {
    assert_eq!(Line::try_parse_from(["outcomes"].iter().chain(arguments)).is_ok(), accepted);
}
