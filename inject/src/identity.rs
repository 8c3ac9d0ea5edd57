//! Who a Job or pod is to the orchestrator: which run, which job, which trace.
//!
//! ```text
//!  rule      one place to look at, and which part of what is there        explanation   which rule gave what, for people
//!  pointer   the way to a value inside JSON                               preset        the rules for well-known orchestrators
//! ```
//!
//! The first rule that yields a value wins. Before any rule stand our own annotations and labels: whoever sets them says
//! outright who the Job is.

mod explanation;
pub mod pointer;
pub mod preset;
pub mod rule;

use std::borrow::Cow;

use jobwarden_common::{
    identity::{JobId, RunId},
    names::{annotation, label},
};

pub use self::explanation::Explanation;
use self::rule::{Miss, Place, Rule, Subject};
use crate::config::IdentityConfig;

/// The longest ID that is believed, in bytes. It becomes an annotation several times over, and the API server refuses
/// objects with more than 256 KiB of those.
pub const MAX_ID_BYTES: usize = 1024;

/// What the rules found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The orchestrator's run.
    pub run_id: Option<RunId>,
    /// The orchestrator's job.
    pub job_id: Option<JobId>,
    /// The orchestrator's trace.
    pub trace_id: Option<String>,
}

/// Where to find identities, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    run: Vec<Rule>,
    job: Vec<Rule>,
    trace: Vec<Rule>,
}

impl Rules {
    /// Our own names first, then the rules of the configuration file, then those of its preset.
    pub fn new(config: IdentityConfig) -> Self {
        let IdentityConfig { preset, run_id, job_id, trace_id } = config;
        let given = preset.rules();
        let annotation = |key: &str| Rule::whole(Place::Annotation(key.to_owned()));
        let label = |key: &str| Rule::whole(Place::Label(key.to_owned()));
        let run = [annotation(annotation::RUN_ID), label(label::RUN_ID)];
        let job = [annotation(annotation::JOB_ID), label(label::JOB_ID)];
        Self {
            run: run.into_iter().chain(run_id).chain(given.run).collect(),
            job: job.into_iter().chain(job_id).chain(given.job).collect(),
            trace: [annotation(annotation::TRACE_ID)].into_iter().chain(trace_id).chain(given.trace).collect(),
        }
    }

    /// Who `subject` is, as far as the rules tell.
    pub fn identify(&self, subject: &Subject<'_>) -> Identity {
        let Self { run, job, trace } = self;
        let first = |rules| search(rules, subject, |_, _| ());
        Identity {
            run_id: first(run).map(|(_, id)| RunId::from(id)),
            job_id: first(job).map(|(_, id)| JobId::from(id)),
            trace_id: first(trace).map(|(_, id)| id.into_owned()),
        }
    }

    /// The same, with the rule that gave each ID and those that were asked in vain before it.
    pub fn explain(&self, subject: &Subject<'_>) -> Explanation {
        let Self { run, job, trace } = self;
        Explanation::new([("run ID", run), ("job ID", job), ("trace ID", trace)], subject)
    }
}

/// The first rule that finds an ID, and that ID; `missed` hears of those before it.
fn search<'r, 'a>(
    rules: &'r [Rule],
    subject: &Subject<'a>,
    mut missed: impl FnMut(&'r Rule, Miss),
) -> Option<(&'r Rule, Cow<'a, str>)> {
    rules.iter().find_map(|rule| match rule.find(subject) {
        Ok(id) => Some((rule, id)),
        Err(miss) => {
            missed(rule, miss);
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::preset::Preset;
    use super::*;
    use crate::view::Job;

    fn identify(config: IdentityConfig, job: &Value) -> Identity {
        let text = job.to_string();
        let job: Job<'_> = serde_json::from_str(&text).expect("the test's Job is one");
        Rules::new(config).identify(&Subject::of_job(&job))
    }

    fn preset(preset: Preset) -> IdentityConfig {
        IdentityConfig { preset, ..IdentityConfig::default() }
    }

    fn ids(run: Option<&str>, job: Option<&str>, trace: Option<&str>) -> Identity {
        Identity { run_id: run.map(RunId::from), job_id: job.map(JobId::from), trace_id: trace.map(str::to_owned) }
    }

    fn ort_job() -> Value {
        json!({
            "metadata": {"labels": {"ort-worker": "analyzer", "run-id": "42", "trace-id-0": "0af7", "trace-id-1": "6519"}},
            "spec": {"template": {"spec": {"containers": [{"name": "analyzer", "env": [
                {"name": "payload", "value": "{\"analyzerJobId\":7}"},
            ]}]}}},
        })
    }

    #[test]
    fn an_ort_job_is_found_by_its_labels_and_payload() {
        let found = identify(preset(Preset::OrtServer), &ort_job());
        assert_eq!(found, ids(Some("42"), Some("7"), Some("0af76519")));
    }

    #[test]
    fn the_generic_preset_does_not_guess() {
        assert_eq!(identify(preset(Preset::Generic), &ort_job()), Identity::default());
    }

    #[rstest]
    #[case::label(json!({"labels": {"jobwarden.io/run-id": "own"}}), "own")]
    #[case::annotation_before_label(
        json!({"labels": {"jobwarden.io/run-id": "h-0"}, "annotations": {"jobwarden.io/run-id": "the truth"}}), "the truth"
    )]
    #[case::empty_is_none(json!({"labels": {"jobwarden.io/run-id": ""}}), "42")]
    fn our_own_names_come_before_every_rule(#[case] metadata: Value, #[case] expected: &str) {
        let mut job = ort_job();
        job["metadata"] = metadata;
        job["metadata"]["labels"]["run-id"] = json!("42");
        assert_eq!(identify(preset(Preset::OrtServer), &job).run_id, Some(RunId::from(expected)));
    }

    #[test]
    fn the_installations_rules_come_before_the_preset() {
        let config = IdentityConfig {
            run_id: vec![Rule::whole(Place::Label("ort-worker".to_owned()))],
            ..preset(Preset::OrtServer)
        };
        assert_eq!(identify(config, &ort_job()).run_id, Some(RunId::from("analyzer")));
    }

    #[test]
    fn an_endless_value_is_no_id() {
        let mut job = ort_job();
        job["metadata"]["labels"]["run-id"] = json!("x".repeat(MAX_ID_BYTES + 1));
        assert_eq!(identify(preset(Preset::OrtServer), &job).run_id, None);
    }

    #[test]
    fn a_jobmon_task_is_found_in_a_shells_command() {
        let job = json!({"spec": {"template": {"spec": {"containers": [{
            "name": "task",
            "command": ["/bin/sh", "-c", "worker_node_job --task_instance_id 31 --cluster_name k8s"],
        }]}}}});
        assert_eq!(identify(preset(Preset::Jobmon), &job), ids(None, Some("31"), None));
    }

    #[test]
    fn an_explanation_names_the_rule_and_those_asked_in_vain() {
        let text = ort_job().to_string();
        let job: Job<'_> = serde_json::from_str(&text).expect("the test's Job is one");
        let explanation = Rules::new(preset(Preset::OrtServer)).explain(&Subject::of_job(&job)).to_string();
        assert_eq!(
            explanation,
            "run ID: \"42\" by `label: run-id`\n  \
             - `annotation: jobwarden.io/run-id`: not there\n  \
             - `label: jobwarden.io/run-id`: not there\n\
             job ID: \"7\" by `env: {name: payload, pointer: /*JobId}`\n  \
             - `annotation: jobwarden.io/job-id`: not there\n  \
             - `label: jobwarden.io/job-id`: not there\n\
             trace ID: \"0af76519\" by `numberedLabels: trace-id-`\n  \
             - `annotation: jobwarden.io/trace-id`: not there\n"
        );
    }
}
