//! Jobs whose pods restart their containers in place (`restartPolicy: OnFailure`).
//!
//! The Job controller counts the restarts of all containers of such a pod against `backoffLimit`, native sidecars included
//! (`pastBackoffLimitOnFailure` of the Job controller; kubernetes/kubernetes#74848). A reboot of the node restarts worker and
//! sidecar and counts two instead of one; a sidecar that is killed counts as a retry of the worker. A Job with few retries would
//! fail for it, so by default its pods get no sidecar and the node agent alone watches them.

use std::str::FromStr;

use jobwarden_common::names::annotation;

use crate::view::{Metadata, PodSpec};

/// The fewest retries with which pods get the sidecar by default: one reboot leaves the Job some.
const MIN_RETRIES: i64 = 3;

/// `backoffLimit` of a Job that does not set it (`SetDefaults_Job`).
const DEFAULT_RETRIES: i64 = 6;

/// What watches the pods of Jobs whose `restartPolicy` is `OnFailure`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The sidecar where the Job has three retries or more, else the node agent alone.
    #[default]
    Auto,
    /// The sidecar.
    Sidecar,
    /// The node agent alone.
    Agent,
}

/// The text is not one of the allowed values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not one of auto, sidecar, agent")]
pub struct OnFailureError(String);

impl FromStr for OnFailure {
    type Err = OnFailureError;

    fn from_str(text: &str) -> Result<Self, OnFailureError> {
        match text {
            "auto" => Ok(Self::Auto),
            "sidecar" => Ok(Self::Sidecar),
            "agent" => Ok(Self::Agent),
            _ => Err(OnFailureError(text.to_owned())),
        }
    }
}

/// What watches a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watcher {
    Sidecar,
    Agent,
}

impl Watcher {
    /// The values of the annotation.
    pub(super) const WORDS: [&'static str; 2] = ["sidecar", "agent"];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Sidecar => Self::WORDS[0],
            Self::Agent => Self::WORDS[1],
        }
    }

    /// What `metadata` asks for.
    fn asked(metadata: Option<&Metadata<'_>>) -> Option<Self> {
        let word = metadata?.annotation(annotation::ON_FAILURE)?;
        [Self::Sidecar, Self::Agent].into_iter().find(|watcher| watcher.as_str() == word)
    }

    /// What watches the pods of a Job with these retries; `None` if they do not restart their containers in place. Of the
    /// annotations, the template's comes first: its pods have no other.
    pub(super) fn of_job(
        setting: OnFailure,
        spec: &PodSpec<'_>,
        retries: Option<i64>,
        template: Option<&Metadata<'_>>,
        job: Option<&Metadata<'_>>,
    ) -> Option<Self> {
        if !restarts(spec) {
            return None;
        }
        let by_default = || match setting {
            OnFailure::Auto if retries.unwrap_or(DEFAULT_RETRIES) >= MIN_RETRIES => Self::Sidecar,
            OnFailure::Sidecar => Self::Sidecar,
            OnFailure::Auto | OnFailure::Agent => Self::Agent,
        };
        Some(Self::asked(template).or_else(|| Self::asked(job)).unwrap_or_else(by_default))
    }

    /// What watches a pod. That of a Job carries what the admission of the Job decided; where it does not, the Job was created
    /// without admission and its retries are unknown.
    pub(super) fn of_pod(
        setting: OnFailure,
        spec: &PodSpec<'_>,
        metadata: Option<&Metadata<'_>>,
        has_job: bool,
    ) -> Self {
        if !has_job || !restarts(spec) {
            return Self::Sidecar;
        }
        Self::asked(metadata).unwrap_or(match setting {
            OnFailure::Sidecar => Self::Sidecar,
            OnFailure::Auto | OnFailure::Agent => Self::Agent,
        })
    }
}

fn restarts(spec: &PodSpec<'_>) -> bool {
    spec.restart_policy.as_deref() == Some("OnFailure")
}

/// The warning for the creator of a Job, at most 256 characters.
pub(super) fn warning() -> String {
    format!(
        "its pods get no jobwarden sidecar, only the node agent watches them: with restartPolicy OnFailure each restart of the \
         sidecar would use up a retry of backoffLimit; the annotation {}: sidecar adds it",
        annotation::ON_FAILURE
    )
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    const SIDECAR: Option<Watcher> = Some(Watcher::Sidecar);
    const AGENT: Option<Watcher> = Some(Watcher::Agent);

    #[rstest]
    #[case::no_retry("OnFailure", OnFailure::Auto, Some(0), AGENT)]
    #[case::two_retries("OnFailure", OnFailure::Auto, Some(2), AGENT)]
    #[case::three_retries("OnFailure", OnFailure::Auto, Some(3), SIDECAR)]
    #[case::default_retries("OnFailure", OnFailure::Auto, None, SIDECAR)]
    #[case::always_the_sidecar("OnFailure", OnFailure::Sidecar, Some(0), SIDECAR)]
    #[case::never_the_sidecar("OnFailure", OnFailure::Agent, Some(6), AGENT)]
    #[case::no_restarts("Never", OnFailure::Agent, Some(0), None)]
    fn jobs_with_few_retries_are_watched_by_the_agent_alone(
        #[case] restart_policy: &str,
        #[case] setting: OnFailure,
        #[case] retries: Option<i64>,
        #[case] expected: Option<Watcher>,
    ) {
        let text = json!({"restartPolicy": restart_policy}).to_string();
        let spec = serde_json::from_str(&text).expect("a spec");
        assert_eq!(Watcher::of_job(setting, &spec, retries, None, None), expected);
    }

    #[rstest]
    #[case::asked_for(true, Some("sidecar"), OnFailure::Agent, Watcher::Sidecar)]
    #[case::decided_for_its_job(true, Some("agent"), OnFailure::Sidecar, Watcher::Agent)]
    #[case::unknown_retries(true, None, OnFailure::Auto, Watcher::Agent)]
    #[case::unknown_retries_do_not_matter(true, None, OnFailure::Sidecar, Watcher::Sidecar)]
    #[case::another_word(true, Some("both"), OnFailure::Auto, Watcher::Agent)]
    #[case::no_job(false, None, OnFailure::Auto, Watcher::Sidecar)]
    fn a_pod_is_watched_as_its_job_was_admitted(
        #[case] has_job: bool,
        #[case] word: Option<&str>,
        #[case] setting: OnFailure,
        #[case] expected: Watcher,
    ) {
        let text = json!({
            "metadata": {"annotations": word.map(|word| json!({"jobwarden.io/on-failure": word}))},
            "spec": {"restartPolicy": "OnFailure"},
        })
        .to_string();
        let pod: crate::view::Pod<'_> = serde_json::from_str(&text).expect("a pod");
        let spec = pod.spec.as_ref().expect("it has a spec");
        assert_eq!(Watcher::of_pod(setting, spec, pod.metadata.as_ref(), has_job), expected);
    }

    #[test]
    fn the_warning_fits_the_length_limit_of_the_api_server() {
        assert!(warning().chars().count() <= 256, "{}", warning());
    }
}
