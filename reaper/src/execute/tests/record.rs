//! Recording outcomes and publishing Events.

use super::*;

#[tokio::test]
async fn an_existing_outcome_is_kept_with_its_recipients() {
    let api = mk_api();
    run(&api, &[record()]).await;
    let later = Draft {
        name: OutcomeName::job_final(&"job-uid".into()),
        data: jobwarden_common::notification::OutcomeData { kind: OutcomeKind::Succeeded, ..mk_data() },
        labels: Labels::default(),
        logs: LogPlan::default(),
    };
    let ran = run(&api, &[Step::Record(Box::new(later))]).await;
    assert!(ran.failure.is_none());
    let outcome = api.get(FINAL).expect("recorded");
    assert_eq!(outcome["spec"]["kind"], "lost");
    assert_eq!((&outcome["spec"]["sinks"], &outcome["status"]), (&json!(["ort"]), &json!(null)), "nothing to say yet");
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

/// Records the final outcome of a Job of which the namespace has used up its share; the outbox is that of the executor.
#[tokio::test(start_paused = true)]
async fn beyond_the_share_of_its_namespace_an_outcome_is_recorded_with_others() {
    let api = mk_api();
    let outbox = Outbox::new();
    outbox.set_limits(jobwarden_core::outcome::OutcomeLimits::each(1));
    let metrics = Metrics::default();
    let executor = Executor::new(
        api.client(),
        "jobwarden",
        "reaper-0".to_owned(),
        outbox.clone(),
        Routes::to_everyone(&["ort"]),
        FailWith::FailureTarget,
        metrics.clone(),
    );
    let final_of = |job: &str| {
        let data = jobwarden_common::notification::OutcomeData { job_uid: job.into(), ..mk_data() };
        Step::Record(Box::new(Draft {
            name: OutcomeName::job_final(&job.into()),
            data,
            labels: Labels::default(),
            logs: LogPlan::default(),
        }))
    };
    let of = |job: &str| JobIdentity { uid: job.into(), ..identity() };
    let outcomes = || api.paths("/joboutcomes/");
    let release = || vec![final_of("late"), Step::ReleaseFinalizer];
    assert!(executor.run_steps(&of("first"), vec![final_of("first")]).await.1.is_none());
    let (report, failure) = executor.run_steps(&of("late"), release()).await;
    assert!(matches!(failure, Some(ExecuteError::Waits(_))) && report.failed, "{failure:?}");
    assert_eq!(outcomes().len(), 1, "it waits");
    let finalizers = |api: &FakeApi| api.get(JOB).expect("the Job exists")["metadata"]["finalizers"].clone();
    assert_eq!(finalizers(&api), json!(["other", FINALIZER]), "the finalizer stays until the outcome is counted");
    let events = api.paths("/events/");
    let event = api.get(events.first().expect("published")).expect("the object exists");
    assert_eq!(event["reason"], "OutcomesCoalesced");

    // The first attempt to record them together fails.
    api.fail(0, Failure::Before);
    let coalescing = tokio::time::timeout(Duration::from_secs(12), executor.coalesce());
    assert!(coalescing.await.is_err(), "it never returns");
    assert_eq!(outcomes().len(), 1);
    assert!(executor.run_steps(&of("late"), release()).await.1.is_some(), "it is counted again");
    let coalescing = tokio::time::timeout(Duration::from_secs(12), executor.coalesce());
    assert!(coalescing.await.is_err(), "it never returns");
    let coalesced = outcomes().into_iter().find(|path| path.contains("/coalesced.ort.")).expect("recorded");
    let coalesced = api.get(&coalesced).expect("it exists");
    assert_eq!(
        (&coalesced["spec"]["kind"], &coalesced["spec"]["data"]["coalesced"]["count"]),
        (&json!("coalesced"), &json!(1))
    );
    assert_eq!(coalesced["spec"]["data"]["coalesced"]["jobs"][0]["jobUid"], "late");
    assert_eq!(coalesced["spec"]["sinks"], json!(["ort"]));

    assert!(executor.run_steps(&of("late"), vec![final_of("late")]).await.1.is_none(), "it counts as recorded");
    assert_eq!(outcomes().len(), 2);
}
