//! The cause of the deletion of a Job that had not finished: by whom, as far as that can be found.
//!
//! Kubernetes does not record who deletes an object: a deletion leaves no entry in `managedFields`. What remains are controllers that
//! publish an Event when they delete a Job, and the last writer of the Job, which is reported as no more than that.

use jobwarden_common::notification::{Cause, CauseKind};

use super::{EventFact, by};

/// What is known about the deletion of a Job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeletionFacts {
    /// The Job's name.
    pub job: String,
    /// `metadata.deletionTimestamp`, RFC 3339.
    pub at: Option<String>,
    /// Its namespace is being deleted.
    pub namespace_terminating: bool,
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
    let DeletionFacts { job, at, namespace_terminating, owner_events, last_writer } = facts;
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

#[cfg(test)]
mod tests {
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
