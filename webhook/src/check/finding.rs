//! What is found, and what to do about it.

use std::fmt;

use serde::Serialize;

use super::snapshot::{Lack, Look};

/// What a finding is about, in the order of the report.
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

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// As it should be.
    Ok,
    /// It works, but somebody should know.
    Warning,
    /// Something does not work.
    Failure,
    /// The caller may not look.
    Unknown,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) section: Section,
    pub(super) status: Status,
    /// One sentence that says what is so, without a full stop.
    pub(super) what: String,
    /// What to do about it; lines.
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
    pub(super) fn ok(self, what: impl Into<String>) -> Finding {
        Finding { section: self, status: Status::Ok, what: what.into(), hint: None }
    }

    pub(super) fn warning(self, what: impl Into<String>, hint: impl Into<String>) -> Finding {
        Finding { section: self, status: Status::Warning, what: what.into(), hint: Some(hint.into()) }
    }

    pub(super) fn failure(self, what: impl Into<String>, hint: impl Into<String>) -> Finding {
        Finding { section: self, status: Status::Failure, what: what.into(), hint: Some(hint.into()) }
    }

    /// That `at` could not be looked at. Where the caller is not allowed to, that is no fault of the installation.
    pub(super) fn lacking(self, at: &str, lack: &Lack) -> Finding {
        let what = format!("cannot look at {at}: {lack}");
        match lack {
            Lack::Forbidden(_) => Finding {
                section: self,
                status: Status::Unknown,
                what,
                hint: Some("run the check as somebody who may, by --context or KUBECONFIG".to_owned()),
            },
            Lack::Failed(_) => {
                self.failure(what, "see whether the API server is well: kubectl get --raw='/readyz?verbose'")
            }
        }
    }

    /// What was seen of `at`, or that it could not be looked at.
    pub(super) fn seen<'a, T>(self, at: &str, look: &'a Look<T>) -> Result<&'a T, Finding> {
        look.as_ref().map_err(|lack| self.lacking(at, lack))
    }

    /// The object `at`, such as "the Deployment jobwarden/jobwarden-reaper"; that there is none is a failure, which `hint` ends.
    pub(super) fn there<'a, T>(self, at: &str, look: &'a Look<Option<T>>, hint: &str) -> Result<&'a T, Finding> {
        let seen = self.seen(at, look)?;
        seen.as_ref().ok_or_else(|| self.failure(format!("there is no {}", at.trim_start_matches("the ")), hint))
    }
}

/// The findings of a check that may end early with the one that keeps it from going on.
pub(super) fn all(findings: Result<Vec<Finding>, Finding>) -> Vec<Finding> {
    findings.unwrap_or_else(|finding| vec![finding])
}

/// `names`, of which there may be many.
pub(super) fn some_of<S: AsRef<str>>(names: &[S]) -> String {
    /// As many as a line holds.
    const SHOWN: usize = 5;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(AsRef::as_ref).collect();
    match names.len().checked_sub(SHOWN) {
        None | Some(0) => shown.join(", "),
        Some(more) => format!("{} and {more} more", shown.join(", ")),
    }
}
