//! One place to look for an ID.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};

use super::pointer::Pointer;
use crate::view::{Container, Job, Metadata, Pod, PodSpec};

/// One place to look for an ID. In the configuration file it is a map of one key, such as `label: run-id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Rule {
    /// The value of the label of this key.
    Label(String),
    /// The value of the annotation of this key.
    Annotation(String),
    /// The values of the labels whose key is this and a number, joined in the order of the numbers: how an ID too long for
    /// one label value is spread over several.
    NumberedLabels(String),
    /// An environment variable.
    Env(EnvRule),
}

/// An environment variable, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvRule {
    /// The variable's name.
    pub name: String,
    /// The container that has it; any, main containers first, if it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Where the ID is in a value that is JSON; the whole value if it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<Pointer>,
}

/// Where rules look: the metadata of an object and of its pod template, and its containers.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// In the order they are looked at.
    metadata: Vec<&'a Metadata<'a>>,
    spec: Option<&'a PodSpec<'a>>,
}

impl<'a> Subject<'a> {
    /// A Job: its own metadata comes before its pod template's.
    pub fn of_job(job: &'a Job<'a>) -> Self {
        let template = job.spec.as_ref().and_then(|spec| spec.template.as_ref());
        let metadata = [job.metadata.as_ref(), template.and_then(|template| template.metadata.as_ref())];
        Self {
            metadata: metadata.into_iter().flatten().collect(),
            spec: template.and_then(|template| template.spec.as_ref()),
        }
    }

    /// A pod.
    pub fn of_pod(pod: &'a Pod<'a>) -> Self {
        Self { metadata: pod.metadata.iter().collect(), spec: pod.spec.as_ref() }
    }

    fn containers(&self) -> impl Iterator<Item = &'a Container<'a>> {
        let lists = self.spec.map(|spec| [spec.containers.as_deref(), spec.init_containers.as_deref()]);
        lists.into_iter().flatten().flatten().flatten()
    }

    /// What `find` takes from the first metadata that has it.
    fn in_metadata<T>(&self, find: impl FnMut(&'a Metadata<'a>) -> Option<T>) -> Option<T> {
        self.metadata.iter().copied().find_map(find)
    }
}

impl Rule {
    /// What is at this place. It may be empty or of any length.
    pub fn find<'a>(&self, subject: &Subject<'a>) -> Option<Cow<'a, str>> {
        match self {
            Self::Label(key) => subject.in_metadata(|of| of.label(key)).map(Cow::Borrowed),
            Self::Annotation(key) => subject.in_metadata(|of| of.annotation(key)).map(Cow::Borrowed),
            Self::NumberedLabels(prefix) => subject.in_metadata(|of| joined(of, prefix)).map(Cow::Owned),
            Self::Env(rule) => rule.find(subject),
        }
    }
}

impl EnvRule {
    fn find<'a>(&self, subject: &Subject<'a>) -> Option<Cow<'a, str>> {
        let Self { name, container, pointer } = self;
        subject
            .containers()
            .filter(|candidate| container.as_ref().is_none_or(|container| candidate.name == **container))
            .flat_map(|container| container.env.iter().flatten())
            .filter(|variable| variable.name == **name)
            .filter_map(|variable| variable.value.as_deref())
            .find_map(|value| match pointer {
                None => Some(Cow::Borrowed(value)),
                Some(pointer) => pointer.find(value).map(Cow::Owned),
            })
    }
}

fn joined(metadata: &Metadata<'_>, prefix: &str) -> Option<String> {
    let labels = metadata.labels.as_ref()?.iter();
    let parts: BTreeMap<u32, &str> =
        labels.filter_map(|(key, value)| Some((key.strip_prefix(prefix)?.parse().ok()?, &**value))).collect();
    (!parts.is_empty()).then(|| parts.into_values().collect())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn pod() -> Value {
        json!({
            "metadata": {
                "labels": {"run": "r", "part-10": "c", "part-2": "b", "part-0": "a", "part-x": "no"},
                "annotations": {"note": "an"},
            },
            "spec": {
                "initContainers": [{"name": "setup", "env": [{"name": "ID", "value": "from setup"}]}],
                "containers": [
                    {"name": "a"},
                    {"name": "b", "env": [
                        {"name": "ID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
                        {"name": "ID", "value": "from b"},
                        {"name": "payload", "value": "{\"job\":{\"id\":7}}"},
                    ]},
                ],
            },
        })
    }

    fn env(name: &str, container: Option<&str>, pointer: Option<&str>) -> Rule {
        Rule::Env(EnvRule {
            name: name.to_owned(),
            container: container.map(str::to_owned),
            pointer: pointer.map(|pointer| pointer.parse().expect("the test's pointer is one")),
        })
    }

    #[rstest]
    #[case::label(Rule::Label("run".to_owned()), Some("r"))]
    #[case::no_label(Rule::Label("note".to_owned()), None)]
    #[case::annotation(Rule::Annotation("note".to_owned()), Some("an"))]
    #[case::in_numeric_order(Rule::NumberedLabels("part-".to_owned()), Some("abc"))]
    #[case::no_numbered_label(Rule::NumberedLabels("run".to_owned()), None)]
    #[case::main_container_first(env("ID", None, None), Some("from b"))]
    #[case::of_a_container(env("ID", Some("setup"), None), Some("from setup"))]
    #[case::of_another_container(env("ID", Some("a"), None), None)]
    #[case::part_of_a_value(env("payload", None, Some("/job/id")), Some("7"))]
    #[case::no_such_part(env("payload", None, Some("/id")), None)]
    fn a_rule_looks_at_one_place(#[case] rule: Rule, #[case] expected: Option<&str>) {
        let text = pod().to_string();
        let pod: Pod<'_> = serde_json::from_str(&text).expect("the test's pod is one");
        assert_eq!(rule.find(&Subject::of_pod(&pod)).as_deref(), expected);
    }

    #[test]
    fn a_job_is_looked_at_before_its_template() {
        let text = json!({
            "metadata": {"labels": {"both": "job"}},
            "spec": {"template": {"metadata": {"labels": {"both": "template", "one": "template"}}}},
        })
        .to_string();
        let job: Job<'_> = serde_json::from_str(&text).expect("the test's Job is one");
        let find = |key: &str| Rule::Label(key.to_owned()).find(&Subject::of_job(&job)).map(Cow::into_owned);
        assert_eq!(find("both").as_deref(), Some("job"));
        assert_eq!(find("one").as_deref(), Some("template"));
    }
}
