//! The identity rules of an installation, in the order in which they are tried.

use jobwarden_common::{
    identity::{JobId, RunId},
    names::{annotation, label},
};
use serde::Deserialize;

use super::{
    explanation::Explanation,
    preset::{Preset, PresetRules},
    rule::{self, Place, Rule, Subject},
};

/// Where to find IDs. The rules given here are tried before those of the preset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct IdentityConfig {
    /// The rules for a well-known orchestrator.
    pub preset: Preset,
    /// Rules for the run ID.
    pub run_id: Vec<Rule>,
    /// Rules for the job ID.
    pub job_id: Vec<Rule>,
    /// Rules for the trace ID.
    pub trace_id: Vec<Rule>,
}

/// The IDs that the rules found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The orchestrator's run.
    pub run_id: Option<RunId>,
    /// The orchestrator's job.
    pub job_id: Option<JobId>,
    /// The orchestrator's trace.
    pub trace_id: Option<String>,
}

/// The rules for each ID, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    run: Vec<Rule>,
    job: Vec<Rule>,
    trace: Vec<Rule>,
}

impl Rules {
    /// Jobwarden's own annotations and labels, then the rules of the configuration file, then those of its preset.
    pub fn new(config: IdentityConfig) -> Self {
        let IdentityConfig { preset, run_id, job_id, trace_id } = config;
        let PresetRules { run, job, trace } = preset.rules();
        let annotation = |key: &str| Rule::whole(Place::Annotation(key.to_owned()));
        let label = |key: &str| Rule::whole(Place::Label(key.to_owned()));
        let own_run = [annotation(annotation::RUN_ID), label(label::RUN_ID)];
        let own_job = [annotation(annotation::JOB_ID), label(label::JOB_ID)];
        Self {
            run: own_run.into_iter().chain(run_id).chain(run).collect(),
            job: own_job.into_iter().chain(job_id).chain(job).collect(),
            trace: [annotation(annotation::TRACE_ID)].into_iter().chain(trace_id).chain(trace).collect(),
        }
    }

    /// The IDs of `subject`; an ID that no rule finds is absent.
    pub fn identify(&self, subject: &Subject<'_>) -> Identity {
        let Self { run, job, trace } = self;
        let first = |rules| rule::first_match(rules, subject, |_, _| ());
        Identity {
            run_id: first(run).map(|(_, id)| RunId::from(id)),
            job_id: first(job).map(|(_, id)| JobId::from(id)),
            trace_id: first(trace).map(|(_, id)| id.into_owned()),
        }
    }

    /// The IDs of `subject`, with the rule that found each and the rules that were tried before it.
    pub fn explain(&self, subject: &Subject<'_>) -> Explanation {
        let Self { run, job, trace } = self;
        Explanation::new([("run ID", run), ("job ID", job), ("trace ID", trace)], subject)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        identity::{preset::Preset, rule::MAX_ID_BYTES},
        view::Job,
    };

    fn identify(config: IdentityConfig, job: &Value) -> Identity {
        let text = job.to_string();
        let job: Job<'_> = serde_json::from_str(&text).expect("the test's Job is valid");
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
    fn the_ort_server_preset_reads_labels_and_the_payload() {
        let found = identify(preset(Preset::OrtServer), &ort_job());
        assert_eq!(found, ids(Some("42"), Some("7"), Some("0af76519")));
    }

    #[test]
    fn the_generic_preset_finds_nothing_in_foreign_labels() {
        assert_eq!(identify(preset(Preset::Generic), &ort_job()), Identity::default());
    }

    #[rstest]
    #[case::label(json!({"labels": {"jobwarden.io/run-id": "own"}}), "own")]
    #[case::annotation_before_label(
        json!({"labels": {"jobwarden.io/run-id": "h-0"}, "annotations": {"jobwarden.io/run-id": "the truth"}}), "the truth"
    )]
    #[case::an_empty_label_is_skipped(json!({"labels": {"jobwarden.io/run-id": ""}}), "42")]
    fn our_own_annotations_and_labels_come_before_every_rule(#[case] metadata: Value, #[case] expected: &str) {
        let mut job = ort_job();
        job["metadata"] = metadata;
        job["metadata"]["labels"]["run-id"] = json!("42");
        assert_eq!(identify(preset(Preset::OrtServer), &job).run_id, Some(RunId::from(expected)));
    }

    #[test]
    fn configured_rules_come_before_those_of_the_preset() {
        let config = IdentityConfig {
            run_id: vec![Rule::whole(Place::Label("ort-worker".to_owned()))],
            ..preset(Preset::OrtServer)
        };
        assert_eq!(identify(config, &ort_job()).run_id, Some(RunId::from("analyzer")));
    }

    #[test]
    fn a_value_longer_than_the_limit_is_not_an_id() {
        let mut job = ort_job();
        job["metadata"]["labels"]["run-id"] = json!("x".repeat(MAX_ID_BYTES + 1));
        assert_eq!(identify(preset(Preset::OrtServer), &job).run_id, None);
    }

    #[test]
    fn the_jobmon_preset_finds_the_task_in_a_shell_command() {
        let job = json!({"spec": {"template": {"spec": {"containers": [{
            "name": "task",
            "command": ["/bin/sh", "-c", "worker_node_job --task_instance_id 31 --cluster_name k8s"],
        }]}}}});
        assert_eq!(identify(preset(Preset::Jobmon), &job), ids(None, Some("31"), None));
    }

    #[test]
    fn an_explanation_names_the_matching_rule_and_those_tried_before_it() {
        let text = ort_job().to_string();
        let job: Job<'_> = serde_json::from_str(&text).expect("the test's Job is valid");
        let explanation = Rules::new(preset(Preset::OrtServer)).explain(&Subject::of_job(&job)).to_string();
        assert_eq!(
            explanation,
            "run ID: \"42\" from `label: run-id`\n  \
             - `annotation: jobwarden.io/run-id`: not found\n  \
             - `label: jobwarden.io/run-id`: not found\n\
             job ID: \"7\" from `env: {name: payload, pointer: /*JobId}`\n  \
             - `annotation: jobwarden.io/job-id`: not found\n  \
             - `label: jobwarden.io/job-id`: not found\n\
             trace ID: \"0af76519\" from `numberedLabels: trace-id-`\n  \
             - `annotation: jobwarden.io/trace-id`: not found\n"
        );
    }
}
