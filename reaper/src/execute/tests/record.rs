//! Recording outcomes and publishing Events.

use super::*;

#[tokio::test]
async fn an_existing_outcome_is_kept_and_every_sink_is_pending() {
    let api = mk_api();
    run(&api, &[record()]).await;
    let later = Draft {
        name: OutcomeName::job_final(&"job-uid".into()),
        data: jobwarden_common::notification::OutcomeData { kind: OutcomeKind::Succeeded, ..mk_data() },
    };
    let ran = run(&api, &[Step::Record(Box::new(later))]).await;
    assert!(ran.failure.is_none());
    let outcome = api.get(FINAL).expect("recorded");
    assert_eq!(outcome["spec"]["kind"], "lost");
    assert_eq!(outcome["status"]["sinks"], json!([{ "name": "ort", "state": "pending", "attempts": 0 }]));
    assert_eq!(outcome["metadata"]["labels"], json!({ "jobwarden.io/run-id": "41", "jobwarden.io/job-id": "7" }));
}

#[tokio::test]
async fn the_timeline_has_the_executed_steps() {
    let api = mk_api();
    run(&api, &[fail_job(), record()]).await;
    let outcome = api.get(FINAL).expect("recorded");
    let timeline = outcome["spec"]["data"]["timeline"].as_array().expect("a timeline");
    let events: Vec<_> = timeline.iter().map(|entry| entry["event"].as_str().expect("an event")).collect();
    assert_eq!(
        events,
        [
            "pod scheduled",
            "the Job was failed with reason NodeUnreachable",
            "outcome lost with reason NodeUnreachable, by P8"
        ]
    );
}

#[tokio::test]
async fn an_event_regards_the_job_and_relates_to_the_pod() {
    let api = mk_api();
    let notice = Notice { pod: Some(pod()), reason: "SidecarFault", message: "x".repeat(5000) };
    let ran = run(&api, &[Step::RecordEvent(notice.clone())]).await;
    assert_eq!(ran.report.notified, [notice.key()]);
    let paths = api.paths("/events/");
    let event = api.get(paths.first().expect("published")).expect("the object exists");
    assert_eq!((&event["regarding"]["name"], &event["related"]["name"]), (&json!("analyzer-7"), &json!("w")));
    assert_eq!((&event["reason"], &event["type"]), (&json!("SidecarFault"), &json!("Warning")));
    assert!(event["note"].as_str().expect("a note").len() <= 1024);
}

#[tokio::test]
async fn a_failed_event_does_not_prevent_other_steps() {
    let api = mk_api();
    api.fail(0, Failure::Before);
    let notice = Notice { pod: None, reason: "NotStarting", message: "no pod".to_owned() };
    let ran = run(&api, &[Step::RecordEvent(notice), record()]).await;
    assert!(ran.failure.is_none() && ran.report.notified.is_empty());
    assert!(api.get(FINAL).is_some());
}
