//! The findings of the check, with hints.

use std::fmt;

use serde::Serialize;

use super::lookup::{Lookup, LookupError};

/// The sections of the report, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Section {
    Kubernetes,
    Installation,
    Permissions,
    Certificates,
    Webhook,
    Reaper,
    Agent,
    Namespaces,
    Admission,
    Outcomes,
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// No problem.
    Ok,
    /// It works, but deserves attention.
    Warning,
    /// Something does not work.
    Failure,
    /// The caller lacks the permission to find out.
    Unknown,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) section: Section,
    pub(super) status: Status,
    /// One sentence without a full stop.
    pub(super) message: String,
    /// What to do about it, as lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hint: Option<String>,
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kubernetes => "kubernetes",
            Self::Installation => "installation",
            Self::Permissions => "permissions",
            Self::Certificates => "certificates",
            Self::Webhook => "webhook",
            Self::Reaper => "reaper",
            Self::Agent => "agent",
            Self::Namespaces => "namespaces",
            Self::Admission => "admission",
            Self::Outcomes => "outcomes",
        })
    }
}

impl Section {
    pub(super) fn ok(self, message: impl Into<String>) -> Finding {
        Finding { section: self, status: Status::Ok, message: message.into(), hint: None }
    }

    pub(super) fn warning(self, message: impl Into<String>, hint: impl Into<String>) -> Finding {
        Finding { section: self, status: Status::Warning, message: message.into(), hint: Some(hint.into()) }
    }

    pub(super) fn failure(self, message: impl Into<String>, hint: impl Into<String>) -> Finding {
        Finding { section: self, status: Status::Failure, message: message.into(), hint: Some(hint.into()) }
    }

    /// The lookup of `subject` failed. A missing permission of the caller is no failure of the installation.
    pub(super) fn unavailable(self, subject: &str, error: &LookupError) -> Finding {
        let message = format!("cannot get {subject}: {error}");
        match error {
            LookupError::Forbidden(_) => Finding {
                section: self,
                status: Status::Unknown,
                message,
                hint: Some("run the check with more permissions, by --context or --kubeconfig".to_owned()),
            },
            LookupError::Failed(_) => {
                self.failure(message, "check the health of the API server: kubectl get --raw='/readyz?verbose'")
            }
        }
    }

    /// The result of the lookup of `subject`.
    pub(super) fn available<'a, T>(self, subject: &str, lookup: &'a Lookup<T>) -> Result<&'a T, Finding> {
        lookup.as_ref().map_err(|error| self.unavailable(subject, error))
    }

    /// The object `subject`, such as "the Deployment jobwarden/jobwarden-reaper". If it does not exist, that is a failure with `hint`.
    pub(super) fn required<'a, T>(
        self,
        subject: &str,
        lookup: &'a Lookup<Option<T>>,
        hint: &str,
    ) -> Result<&'a T, Finding> {
        let found = self.available(subject, lookup)?;
        found.as_ref().ok_or_else(|| self.failure(format!("{} not found", subject.trim_start_matches("the ")), hint))
    }
}

/// The findings of a check that ends early with a single finding.
pub(super) fn all(findings: Result<Vec<Finding>, Finding>) -> Vec<Finding> {
    findings.unwrap_or_else(|finding| vec![finding])
}

/// The first of `names`, and how many more there are.
pub(super) fn some_of<S: AsRef<str>>(names: &[S]) -> String {
    /// As many as fit on a line.
    const SHOWN: usize = 5;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(AsRef::as_ref).collect();
    match names.len().checked_sub(SHOWN) {
        None | Some(0) => shown.join(", "),
        Some(more) => format!("{} and {more} more", shown.join(", ")),
    }
}
