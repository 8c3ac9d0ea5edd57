//! The cause of the deletion of a Job that had not finished: by whom, as far as that can be found.
//!
//! Kubernetes does not record who deletes an object: a deletion leaves no entry in `managedFields`. What remains are controllers that
//! publish an Event when they delete a Job, and the last writer of the Job, which is reported as no more than that.

use std::time::Duration;

use jiff::Timestamp;
use jobwarden_common::notification::{Cause, CauseKind};

use super::{EventFact, attempt::unknown_deletion, by};

/// The kind of the only controller of Kubernetes that publishes an Event about each Job that it deletes.
const CRON_JOB: &str = "CronJob";

/// How far the clocks of the API server and of a node may differ.
const SKEW: Duration = Duration::from_secs(10);

/// What is known about the deletion of a Job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeletionFacts {
    /// The Job's name.
    pub job: String,
    /// `metadata.deletionTimestamp`, RFC 3339.
    pub at: Option<String>,
    /// Its namespace is being deleted.
    pub namespace_terminating: bool,
    /// The kind of the controller that owns it.
    pub owner_kind: Option<String>,
    /// Events about the controller that owns it.
    pub owner_events: Vec<EventFact>,
    /// The last writer other than the controllers of Kubernetes and jobwarden.
    pub last_writer: Option<Writer>,
}

/// An entry of `metadata.managedFields`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// `manager`: the name that the client gave itself, or what it calls itself in `User-Agent`.
    pub manager: String,
    /// `operation`: `Apply` or `Update`.
    pub operation: String,
    /// When, RFC 3339.
    pub at: Option<String>,
}

/// The cause of a Job's deletion.
pub fn of_deletion(facts: &DeletionFacts) -> Cause {
    let DeletionFacts { job, at, namespace_terminating, owner_kind: _, owner_events, last_writer } = facts;
    // `cronjob_controllerv2.go` publishes an Event for every Job that it deletes, for its history or for `concurrencyPolicy: Replace`.
    let deleted_it =
        |event: &&EventFact| event.reason == "SuccessfulDelete" && event.note.ends_with(&format!(" {job}"));
    let (by, message) = if *namespace_terminating {
        (Some(by::NAMESPACE.to_owned()), "its namespace is being deleted".to_owned())
    } else if let Some(event) = owner_events.iter().find(deleted_it) {
        let by = event.by.clone().unwrap_or_else(|| by::CRON_JOB.to_owned());
        (Some(by), format!("reported by its owner: {}", event.note))
    } else {
        let hint = last_writer.as_ref().map(|writer| {
            let at = writer.at.as_ref().map(|at| format!(" at {at}")).unwrap_or_default();
            format!("; its last writer was {}{at}", writer.manager)
        });
        (None, format!("it is unknown by whom, since Kubernetes does not record that{}", hint.unwrap_or_default()))
    };
    Cause {
        kind: Some(CauseKind::Deleted),
        reason: Some("Deleted".to_owned()),
        message: Some(message),
        by,
        finished_at: at.clone(),
        ..Cause::default()
    }
}

/// Whether the Events about the owner may say in a moment who deleted the Job: the controller publishes its Event after the deletion.
pub fn asks_owner_again(facts: &DeletionFacts) -> bool {
    facts.owner_kind.as_deref() == Some(CRON_JOB) && of_deletion(facts).by.is_none()
}

/// The cause of the end of a pod in a namespace that is being deleted since `since`, or is gone if that is `None`: nobody else is known to
/// have deleted the pod, unless it ended before.
#[must_use]
pub fn with_namespace(cause: Cause, since: Option<Timestamp>) -> Cause {
    let ended = cause.finished_at.as_deref().and_then(|at| at.parse::<Timestamp>().ok());
    let before = ended
        .zip(since)
        .is_some_and(|(ended, since)| since.duration_since(ended).unsigned_abs() > SKEW && ended < since);
    if before || !unknown_deletion(&cause) {
        return cause;
    }
    let message = match &cause.message {
        Some(message) => format!("{message}; its namespace is being deleted"),
        None => "its namespace is being deleted".to_owned(),
    };
    Cause { message: Some(message), by: Some(by::NAMESPACE.to_owned()), ..cause }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn facts() -> DeletionFacts {
        DeletionFacts { job: "analyzer-7".to_owned(), ..DeletionFacts::default() }
    }

    fn deleted_by(facts: &DeletionFacts) -> (Option<String>, String) {
        let cause = of_deletion(facts);
        assert_eq!(cause.kind, Some(CauseKind::Deleted));
        (cause.by, cause.message.expect("there always is one"))
    }

    fn event(note: &str) -> EventFact {
        EventFact { reason: "SuccessfulDelete".to_owned(), note: note.to_owned(), at: None, by: None }
    }

    #[test]
    fn a_terminating_namespace_deletes_its_jobs() {
        let (by, _) = deleted_by(&DeletionFacts { namespace_terminating: true, ..facts() });
        assert_eq!(by.as_deref(), Some("namespace-controller"));
    }

    #[test]
    fn an_event_of_the_cron_job_names_the_deleted_job() {
        let with = |note: &str| DeletionFacts { owner_events: vec![event(note)], ..facts() };
        assert_eq!(deleted_by(&with("Deleted job analyzer-7")).0.as_deref(), Some("cronjob-controller"));
        assert_eq!(deleted_by(&with("Deleted job other-analyzer-7")).0, None);
    }

    #[rstest]
    #[case::not_published_yet(Some("CronJob"), vec![], false, true)]
    #[case::published(Some("CronJob"), vec![event("Deleted job analyzer-7")], false, false)]
    #[case::of_another_job(Some("CronJob"), vec![event("Deleted job analyzer-6")], false, true)]
    #[case::the_namespace_is_being_deleted(Some("CronJob"), vec![], true, false)]
    #[case::a_controller_that_publishes_no_such_event(Some("JobSet"), vec![], false, false)]
    #[case::nobody_owns_it(None, vec![], false, false)]
    fn a_cron_job_is_asked_again(
        #[case] owner: Option<&str>,
        #[case] owner_events: Vec<EventFact>,
        #[case] namespace_terminating: bool,
        #[case] again: bool,
    ) {
        let owner_kind = owner.map(str::to_owned);
        assert_eq!(
            asks_owner_again(&DeletionFacts { namespace_terminating, owner_kind, owner_events, ..facts() }),
            again
        );
    }

    #[rstest]
    #[case::ended_after(Some(CauseKind::Deleted), None, Some("2026-01-02T03:04:35Z"), true)]
    #[case::by_a_clock_that_is_slow(Some(CauseKind::Deleted), None, Some("2026-01-02T03:03:56Z"), true)]
    #[case::never_ran(Some(CauseKind::Deleted), None, None, true)]
    #[case::ended_before(Some(CauseKind::Deleted), None, Some("2026-01-02T03:03:35Z"), false)]
    #[case::somebody_else_did(Some(CauseKind::Deleted), Some("job-controller"), Some("2026-01-02T03:04:35Z"), false)]
    #[case::evicted(Some(CauseKind::Evicted), None, Some("2026-01-02T03:04:35Z"), false)]
    fn a_pod_ends_with_its_namespace(
        #[case] kind: Option<CauseKind>,
        #[case] by: Option<&str>,
        #[case] finished_at: Option<&str>,
        #[case] by_namespace: bool,
    ) {
        let finished_at = finished_at.map(str::to_owned);
        let message = Some("the pod was deleted".to_owned());
        let before = Cause { kind, by: by.map(str::to_owned), finished_at, message, ..Cause::default() };
        let after = with_namespace(before.clone(), "2026-01-02T03:04:05Z".parse().ok());
        assert_eq!(after.by.as_deref() == Some("namespace-controller"), by_namespace);
        assert_eq!(after == before, !by_namespace);
        let gone = with_namespace(before, None);
        assert_eq!(
            gone.by.as_deref() == Some("namespace-controller"),
            kind == Some(CauseKind::Deleted) && by.is_none()
        );
    }

    #[test]
    fn the_last_writer_is_only_a_hint() {
        let last_writer = Some(Writer {
            manager: "kubectl-edit".to_owned(),
            operation: "Update".to_owned(),
            at: Some("2026-01-02T03:04:05Z".to_owned()),
        });
        let (by, message) = deleted_by(&DeletionFacts { last_writer, ..facts() });
        assert_eq!(by, None);
        assert!(message.ends_with("its last writer was kubectl-edit at 2026-01-02T03:04:05Z"), "{message}");
    }
}
