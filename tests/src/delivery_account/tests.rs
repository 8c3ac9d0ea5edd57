use serde_json::json;

use super::*;

const UID: &str = "u1";

fn mk_data(uid: &str, kind: &str, more: &serde_json::Value) -> OutcomeData {
    let mut data = json!({
        "kind": kind, "namespace": "storm", "jobName": "failed-1", "jobUid": uid, "reason": "BackoffLimitExceeded",
        "message": "The Job failed.", "decidedBy": {"row": "J2", "rule": "The Job is Failed."}, "evidence": [], "timeline": [],
    });
    let more = more.as_object().expect("an object").clone();
    data.as_object_mut().expect("an object").extend(more);
    serde_json::from_value(data).expect("the literal above is an outcome")
}

fn failed() -> OutcomeData {
    mk_data(UID, "failed", &json!({"cause": {"kind": "ExitCode", "exitCode": EXIT_CODE}}))
}

/// One Job that failed, recorded once and received once by the one living sink.
fn mk_account() -> Account {
    let id = format!("{UID}.final");
    let deliveries =
        [("good", "acknowledged"), ("dead", "dead")].map(|(sink, state)| (sink.to_owned(), state.to_owned()));
    let received = BTreeMap::from([(id.clone(), (failed(), 1))]);
    Account {
        jobs: BTreeMap::from([(UID.to_owned(), ("failed-1".to_owned(), End::Fails))]),
        recorded: vec![Recorded { id, data: failed(), deliveries: deliveries.into(), errors: BTreeMap::new() }],
        living: BTreeMap::from([("good".to_owned(), Inbox { received, ..Inbox::default() })]),
        dead: "dead".to_owned(),
        ..Account::default()
    }
}

fn good(account: &mut Account) -> &mut Inbox {
    account.living.get_mut("good").expect("the sink of mk_account")
}

/// The one finding after `change`.
fn finding(change: impl FnOnce(&mut Account)) -> String {
    let mut account = mk_account();
    assert_eq!(account.findings(), Vec::<String>::new());
    change(&mut account);
    let findings = account.findings();
    assert_eq!(findings.len(), 1, "{findings:?}");
    findings.concat()
}

#[test]
fn a_job_without_an_outcome_is_found() {
    let found = finding(|account| {
        account.jobs.insert("u2".to_owned(), ("deleted-2".to_owned(), End::IsDeleted));
    });
    assert!(found.contains("Job deleted-2") && found.contains("no outcome"), "{found}");
}

#[test]
fn an_outcome_that_says_something_else_is_found() {
    for end in [End::Succeeds, End::RunsOutOfMemory, End::IsDeleted] {
        let found = finding(|account| {
            account.jobs.insert(UID.to_owned(), ("failed-1".to_owned(), end));
        });
        assert!(found.contains("its outcome says failed"), "{found}");
    }
}

#[test]
fn a_second_final_outcome_is_found() {
    let mut account = mk_account();
    let second = Recorded { id: "other".to_owned(), ..account.recorded[0].clone() };
    account.recorded.push(second);
    let findings = account.findings();
    assert!(findings.iter().any(|finding| finding.contains("2 final outcomes")), "{findings:?}");
}

#[test]
fn an_outcome_that_a_living_sink_has_not_received_is_found() {
    let found = finding(|account| good(account).received.clear());
    assert!(found.contains("sink good has not received"), "{found}");
}

#[test]
fn another_content_is_found() {
    let found = finding(|account| {
        let received = good(account).received.values_mut().next().expect("one was received");
        received.0.message.push('!');
    });
    assert!(found.contains("other data"), "{found}");
    let found = finding(|account| good(account).ambiguous.push(format!("{UID}.final")));
    assert!(found.contains("two contents"), "{found}");
}

#[test]
fn a_delivery_that_has_not_ended_as_it_must_is_found() {
    for (sink, state, expected) in [
        ("good", "pending", "whose status says pending"),
        ("good", "dead", "whose status says dead"),
        ("dead", "pending", "cannot have received outcome"),
        ("dead", "acknowledged", "cannot have received outcome"),
    ] {
        let found = finding(|account| {
            account.recorded[0].deliveries.insert(sink.to_owned(), state.to_owned());
        });
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn what_is_recorded_or_received_about_nothing_is_found() {
    let found = finding(|account| {
        let outcome = Recorded { data: mk_data("u9", "suspect", &json!({})), ..account.recorded[0].clone() };
        let outcome = Recorded { id: "u9.suspect.unseen".to_owned(), ..outcome };
        good(account).received.insert(outcome.id.clone(), (outcome.data.clone(), 1));
        account.recorded.push(outcome);
    });
    assert!(found.contains("a Job that was not created"), "{found}");
    let found = finding(|account| {
        good(account).received.insert("u9.final".to_owned(), (failed(), 1));
    });
    assert!(found.contains("u9.final, which is not recorded"), "{found}");
    let found = finding(|account| good(account).rejected.push("the signature is invalid".to_owned()));
    assert!(found.contains("the signature is invalid"), "{found}");
}

#[test]
fn duplicates_with_the_same_content_are_counted_and_no_finding() {
    let mut account = mk_account();
    good(&mut account).received.values_mut().next().expect("one was received").1 = 3;
    assert_eq!(account.findings(), Vec::<String>::new());
    let text = account.to_string();
    assert!(
        text.contains("1 of them more than once (2 duplicates)") && text.contains("dead: 1 dead letters"),
        "{text}"
    );
}
