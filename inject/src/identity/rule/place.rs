//! The places in a Job or pod where a rule can look.

use std::{borrow::Cow, collections::BTreeMap};

use crate::view::{Container, Job, Lazy, Metadata, Pod, PodSpec, Text};

/// A place in a Job or pod. It can have several values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The label with this key.
    Label(String),
    /// The annotation with this key.
    Annotation(String),
    /// The labels whose key is this prefix and a number. Their values are joined in the order of the numbers: an ID too long
    /// for one label value is split over several.
    NumberedLabels(String),
    /// The environment variables with this name.
    Env {
        /// The variable's name.
        name: String,
        /// The container to look in; if absent, all containers, main containers first.
        container: Option<String>,
    },
    /// The words of `command` and `args`.
    Arg {
        /// The name before the value, as in `--job-id=7` or `--job-id 7`; if absent, every word is a value.
        name: Option<String>,
        /// The container to look in; if absent, all containers, main containers first.
        container: Option<String>,
    },
}

/// The object that rules look at: its metadata, that of its pod template, and its containers.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// In the order in which rules look.
    metadata: [Option<&'a Metadata<'a>>; 2],
    spec: Option<&'a PodSpec<'a>>,
}

impl<'a> Subject<'a> {
    /// The subject for a Job: its own metadata comes before that of its pod template.
    pub fn of_job(job: &'a Job<'a>) -> Self {
        let template = job.spec.as_ref().and_then(|spec| spec.template.as_ref());
        let metadata = [job.metadata.as_ref(), template.and_then(|template| template.metadata.as_ref())];
        Self { metadata, spec: template.and_then(|template| template.spec.as_ref()) }
    }

    /// The subject for a pod.
    pub fn of_pod(pod: &'a Pod<'a>) -> Self {
        Self { metadata: [pod.metadata.as_ref(), None], spec: pod.spec.as_ref() }
    }

    /// The containers with this name, or all containers.
    fn containers(&self, name: Option<&str>) -> impl Iterator<Item = &'a Container<'a>> {
        let lists = self.spec.map(|spec| [spec.containers.as_deref(), spec.init_containers.as_deref()]);
        let containers = lists.into_iter().flatten().flatten().flatten();
        containers.filter(move |container| name.is_none_or(|name| container.name == *name))
    }
}

impl Place {
    /// Calls `take` with one value after the other until it returns `Some`, and returns that.
    pub(super) fn visit<'a, T>(
        &self,
        subject: &Subject<'a>,
        take: &mut dyn FnMut(Cow<'a, str>) -> Option<T>,
    ) -> Option<T> {
        let mut metadata = subject.metadata.iter().copied().flatten();
        match self {
            Self::Label(key) => metadata.find_map(|of| take(of.label(key)?.into())),
            Self::Annotation(key) => metadata.find_map(|of| take(of.annotation(key)?.into())),
            Self::NumberedLabels(prefix) => metadata.find_map(|of| take(joined(of, prefix)?.into())),
            Self::Env { name, container } => {
                let containers = subject.containers(container.as_deref());
                let mut variables = containers.filter_map(|it| it.env.as_ref()?.parse()).flatten();
                variables.find_map(|it| if it.name == **name { take(it.value?.into()) } else { None })
            }
            Self::Arg { name, container } => subject.containers(container.as_deref()).find_map(|container| {
                let lists = [&container.command, &container.args].into_iter().flatten();
                let words: Vec<Text<'a>> = lists.filter_map(Lazy::parse).flatten().collect();
                let Some(name) = name else { return words.into_iter().find_map(|word| take(word.into())) };
                let mut words = words.iter().map(|word| &**word);
                while let Some(word) = words.next() {
                    let Some(rest) = word.strip_prefix(&**name) else { continue };
                    // A word that begins with a dash is the next flag, not the value of this one.
                    let next = || words.clone().next().filter(|next| !next.starts_with('-'));
                    let value = if rest.is_empty() { next() } else { rest.strip_prefix('=') };
                    if let Some(taken) = value.and_then(|value| take(value.to_owned().into())) {
                        return Some(taken);
                    }
                }
                None
            }),
        }
    }

    /// The parts of the configuration file's syntax: the kind of rule, the key for its name, the name, and the container.
    pub(super) fn config_syntax(&self) -> (&'static str, &'static str, Option<&str>, Option<&str>) {
        match self {
            Self::Label(key) => ("label", "key", Some(key), None),
            Self::Annotation(key) => ("annotation", "key", Some(key), None),
            Self::NumberedLabels(key) => ("numberedLabels", "key", Some(key), None),
            Self::Env { name, container } => ("env", "name", Some(name), container.as_deref()),
            Self::Arg { name, container } => ("arg", "name", name.as_deref(), container.as_deref()),
        }
    }
}

fn joined(metadata: &Metadata<'_>, prefix: &str) -> Option<String> {
    let labels = metadata.labels.as_ref()?.iter();
    let parts: BTreeMap<u32, &str> =
        labels.filter_map(|(key, value)| Some((key.strip_prefix(prefix)?.parse().ok()?, value))).collect();
    (!parts.is_empty()).then(|| parts.into_values().collect())
}
