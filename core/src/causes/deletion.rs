//! Of a Job that was deleted before it had finished: by whom, as far as anything tells.
//!
//! Kubernetes does not record who deletes: a deletion leaves no entry in `managedFields`. What remains is who deletes
//! Jobs by itself and says so, and who wrote to the Job last, which is told as no more than that.

use jobwarden_common::notification::{Cause, CauseKind};

use super::{EventFact, by};

/// What bears on the deletion of a Job.
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
    /// Who wrote to it last, but for Kubernetes' own controllers and us.
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
    // `cronjob_controllerv2.go` tells of every Job it deletes, for its history or for `concurrencyPolicy: Replace`.
    let deleted_it =
        |event: &&EventFact| event.reason == "SuccessfulDelete" && event.note.ends_with(&format!(" {job}"));
    let (by, message) = if *namespace_terminating {
        (Some(by::NAMESPACE.to_owned()), "its namespace is being deleted".to_owned())
    } else if let Some(event) = owner_events.iter().find(deleted_it) {
        let by = event.by.clone().unwrap_or_else(|| by::CRON_JOB.to_owned());
        (Some(by), format!("its owner says: {}", event.note))
    } else {
        let hint = last_writer.as_ref().map(|writer| {
            let at = writer.at.as_ref().map(|at| format!(" at {at}")).unwrap_or_default();
            format!("; the last to write to it was {}{at}", writer.manager)
        });
        (None, format!("by whom is unknown, for Kubernetes does not record it{}", hint.unwrap_or_default()))
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

    fn told(facts: &DeletionFacts) -> (Option<String>, String) {
        let cause = of_deletion(facts);
        assert_eq!(cause.kind, Some(CauseKind::Deleted));
        (cause.by, cause.message.expect("there always is one"))
    }

    fn event(note: &str) -> EventFact {
        EventFact { reason: "SuccessfulDelete".to_owned(), note: note.to_owned(), at: None, by: None }
    }

    #[test]
    fn a_namespace_takes_its_jobs_along() {
        let (by, _) = told(&DeletionFacts { namespace_terminating: true, ..facts() });
        assert_eq!(by.as_deref(), Some("namespace-controller"));
    }

    #[test]
    fn a_cron_job_says_which_job_it_deletes() {
        let with = |note: &str| DeletionFacts { owner_events: vec![event(note)], ..facts() };
        assert_eq!(told(&with("Deleted job analyzer-7")).0.as_deref(), Some("cronjob-controller"));
        assert_eq!(told(&with("Deleted job other-analyzer-7")).0, None);
    }

    #[test]
    fn the_last_writer_is_a_hint_and_not_a_culprit() {
        let last_writer = Some(Writer {
            manager: "kubectl-edit".to_owned(),
            operation: "Update".to_owned(),
            at: Some("2026-01-02T03:04:05Z".to_owned()),
        });
        let (by, message) = told(&DeletionFacts { last_writer, ..facts() });
        assert_eq!(by, None);
        assert!(message.ends_with("the last to write to it was kubectl-edit at 2026-01-02T03:04:05Z"), "{message}");
    }
}
