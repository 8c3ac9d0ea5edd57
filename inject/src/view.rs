//! The fields of a Job or pod that admission reads, borrowed from the request body.
//!
//! These are views and not complete types: other fields, and fields newer than this program, are skipped while reading and
//! unchanged while patching. A member that is `null` counts as absent, as for the API server.

mod json;
mod placement;
mod pod;
mod resources;

use serde::Deserialize;

pub use self::{
    json::{Entries, Lazy, Pairs, Text},
    placement::{Affinity, NodeAffinity, NodeRequirement, NodeSelector, NodeSelectorTerm},
    pod::{
        Container, EnvVar, Os, PodSpec, Projected, Projection, PullSecret, SecurityContext, TokenProjection,
        Toleration, Volume, VolumeMount, WindowsOptions,
    },
    resources::{Amount, Requirements},
};

/// A Job.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Job<'a> {
    /// Its metadata.
    #[serde(borrow)]
    pub metadata: Option<Metadata<'a>>,
    /// Its spec.
    #[serde(borrow)]
    pub spec: Option<JobSpec<'a>>,
}

/// `spec` of a Job.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobSpec<'a> {
    /// How many retries it has; the API server's default is 6.
    pub backoff_limit: Option<i64>,
    /// The responsible controller; absent for the built-in one.
    #[serde(borrow)]
    pub managed_by: Option<Text<'a>>,
    /// The template of its pods.
    #[serde(borrow)]
    pub template: Option<Pod<'a>>,
}

/// A pod, or a pod template, which has the same fields.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Pod<'a> {
    /// Its metadata.
    #[serde(borrow)]
    pub metadata: Option<Metadata<'a>>,
    /// Its spec.
    #[serde(borrow)]
    pub spec: Option<PodSpec<'a>>,
}

/// `metadata` of any object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata<'a> {
    /// Its name; absent until the API server has generated it.
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    /// The prefix of the generated name.
    #[serde(borrow)]
    pub generate_name: Option<Text<'a>>,
    /// Labels.
    #[serde(borrow)]
    pub labels: Option<Entries<'a>>,
    /// Annotations.
    #[serde(borrow)]
    pub annotations: Option<Entries<'a>>,
    /// Finalizers.
    #[serde(borrow)]
    pub finalizers: Option<Vec<Text<'a>>>,
    /// Owners; at most one of them is the controller.
    #[serde(borrow)]
    pub owner_references: Option<Vec<OwnerReference<'a>>>,
}

impl Metadata<'_> {
    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.as_ref()?.get(key)
    }

    /// The name, or the prefix of the name to be generated; for logs.
    pub fn name_or_prefix(&self) -> Option<&str> {
        self.name.as_deref().or(self.generate_name.as_deref())
    }

    /// The value of an annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key)
    }
}

/// One owner of an object.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReference<'a> {
    /// Group and version of the owner.
    #[serde(borrow)]
    pub api_version: Text<'a>,
    /// Kind of the owner.
    #[serde(borrow)]
    pub kind: Text<'a>,
    /// UID of the owner.
    #[serde(borrow)]
    pub uid: Text<'a>,
    /// Whether this owner is the managing controller.
    pub controller: Option<bool>,
}
