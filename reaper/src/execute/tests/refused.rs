//! Writes that the API server refuses for good.

use jobwarden_core::guard::Holds;

use super::*;

#[tokio::test]
async fn a_refused_write_is_reported_to_the_planner_and_a_failed_one_is_not() {
    for (failure, reported) in [(Failure::Refused, true), (Failure::Before, false)] {
        let api = mk_api();
        api.fail(0, failure);
        let ran = run(&api, &[fail_job(), record()]).await;
        assert!(ran.report.failed);
        assert!(api.get(FINAL).is_none(), "the outcome waits for the next plan");
        let expected = reported.then(|| (None, "cannot fail Job ort/analyzer-7: Forbidden".to_owned()));
        assert_eq!(ran.report.refused, expected.into_iter().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn an_outcome_is_recorded_before_a_write_that_is_refused_again() {
    let api = mk_api();
    let refused = [(None, "cannot fail Job ort/analyzer-7: Forbidden".to_owned())].into();
    let recorded = Recorded { refused, ..Recorded::default() };
    let snapshot = mk_snapshot(retrying(Retries::Exhausted), vec![unreachable("w", 100)]);
    let steps = plan(&snapshot, &judged(&snapshot), &Holds::default(), &recorded, at(NOW));
    // The outcome comes first.
    api.fail(1, Failure::Refused);
    let ran = run(&api, &steps).await;
    assert!(ran.report.failed && ran.report.refused.len() == 1);
    let outcome = api.get(FINAL).expect("recorded");
    let message = outcome["spec"]["data"]["message"].as_str().expect("a message");
    assert!(message.contains("cannot fail Job ort/analyzer-7: Forbidden"), "{message}");
}
