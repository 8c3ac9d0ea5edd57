//! What was seen of the cluster, once: plain objects. Each look stands for itself, so that what the caller may not see does not
//! hide the rest.

use jobwarden_common::names::object;
use jobwarden_serve::logs::with_causes;
use k8s_openapi::{
    api::{
        admissionregistration::v1::{
            MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
        },
        apps::v1::{DaemonSet, Deployment},
        coordination::v1::Lease,
        core::v1::{ConfigMap, LimitRange, Namespace, Node, Pod, ResourceQuota, Secret, Service},
        discovery::v1::EndpointSlice,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    jiff::{SignedDuration, Timestamp},
};
use kube::{ResourceExt as _, api::DynamicObject};

use super::{permissions::Answer, trial::Trial};

/// The version of the custom resource that this program's release reads and writes.
pub(super) const CRD_VERSION: &str = "v1alpha1";

/// The name of the `ValidatingAdmissionPolicy` and of its binding, as the chart has it.
pub(super) const POLICY: &str = "jobwarden-sidecar";

/// What a look brought, or why it brought nothing.
pub(super) type Look<T> = Result<T, Lack>;

/// Why a look brought nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Lack {
    /// The caller may not look.
    #[error("{0}")]
    Forbidden(String),
    /// Something went wrong.
    #[error("{0}")]
    Failed(String),
}

impl From<kube::Error> for Lack {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 403 => Self::Forbidden(status.message),
            kube::Error::Api(status) => Self::Failed(status.message),
            other => Self::Failed(with_causes(&other)),
        }
    }
}

/// The API server itself.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// Such as `v1.35.4`.
    pub(super) version: String,
    /// Its clock, when it was asked.
    pub(super) now: Timestamp,
    /// By how much the clock here is ahead of it.
    pub(super) ahead: SignedDuration,
}

/// The leader's Lease, and whether it was seen to be renewed.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) lease: Lease,
    /// Whether it has changed while it was looked at; only tried where it looks stale.
    pub(super) moved: bool,
}

impl Held {
    /// Who leads, if anybody says so.
    pub(super) fn holder(&self) -> Option<&str> {
        self.lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
    }

    /// How long ago it was renewed, by its holder's clock.
    pub(super) fn age(&self, now: Timestamp) -> Option<SignedDuration> {
        Some(now.duration_since(self.lease.spec.as_ref()?.renew_time.as_ref()?.0))
    }

    /// For how long it holds once renewed.
    pub(super) fn lasts(&self) -> SignedDuration {
        let seconds = self.lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
        SignedDuration::from_secs(seconds.unwrap_or_default().into())
    }

    /// Whether it was renewed in time, as far as that can be told by its holder's clock.
    pub(super) fn is_fresh(&self, now: Timestamp) -> bool {
        self.age(now).is_some_and(|age| age <= self.lasts())
    }
}

/// What a process said on `/readyz`.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    pub(super) pod: String,
    /// `Err` holds what is not ready, where it answered so.
    pub(super) answer: Look<Result<(), String>>,
}

/// Everything.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    /// That jobwarden is installed in.
    pub(super) namespace: String,
    pub(super) server: Server,
    pub(super) nodes: Look<Vec<Node>>,
    /// Of the namespace `kube-node-lease`.
    pub(super) node_leases: Look<Vec<Lease>>,
    pub(super) own_namespace: Look<Option<Namespace>>,
    pub(super) crd: Look<Option<CustomResourceDefinition>>,
    pub(super) webhook: Look<Option<Deployment>>,
    pub(super) reaper: Look<Option<Deployment>>,
    pub(super) agent: Look<Option<DaemonSet>>,
    /// Of jobwarden's namespace.
    pub(super) pods: Look<Vec<Pod>>,
    pub(super) agent_pods: Look<Vec<Pod>>,
    pub(super) lease: Look<Option<Held>>,
    pub(super) reaper_service: Look<Option<Service>>,
    /// Of jobwarden's namespace.
    pub(super) slices: Look<Vec<EndpointSlice>>,
    pub(super) authority: Look<Option<Secret>>,
    pub(super) webhook_tls: Look<Option<Secret>>,
    pub(super) reaper_tls: Look<Option<Secret>>,
    /// All of the cluster; ours is one of them.
    pub(super) configurations: Look<Vec<MutatingWebhookConfiguration>>,
    pub(super) policy: Look<Option<ValidatingAdmissionPolicy>>,
    pub(super) binding: Look<Option<ValidatingAdmissionPolicyBinding>>,
    pub(super) config: Look<Option<ConfigMap>>,
    pub(super) endpoint: Look<Option<ConfigMap>>,
    /// What the service accounts may do.
    pub(super) permissions: Look<Vec<Answer>>,
    /// Those that are enrolled.
    pub(super) enrolled: Look<Vec<Namespace>>,
    pub(super) limit_ranges: Look<Vec<LimitRange>>,
    pub(super) quotas: Look<Vec<ResourceQuota>>,
    /// Worker pods that do not run yet.
    pub(super) pending: Look<Vec<Pod>>,
    pub(super) outcomes: Look<Vec<DynamicObject>>,
    pub(super) ready: Vec<Ready>,
    /// The HTTP status of the leading reaper, asked through its Service.
    pub(super) reaper_answers: Look<u16>,
    /// Pods created for dry.
    pub(super) trials: Vec<Trial>,
}

impl Snapshot {
    /// Our webhook configuration.
    pub(super) fn configuration(&self) -> Look<Option<MutatingWebhookConfiguration>> {
        let ours = |all: &Vec<MutatingWebhookConfiguration>| {
            all.iter().find(|it| it.name_any() == object::WEBHOOK_CONFIGURATION).cloned()
        };
        self.configurations.as_ref().map(ours).map_err(Clone::clone)
    }

    /// The command that puts right what was installed.
    pub(super) fn reinstall(&self) -> String {
        let objects = [&self.webhook, &self.reaper].into_iter().filter_map(|it| it.as_ref().ok()?.as_ref());
        let agent = self.agent.as_ref().ok().and_then(Option::as_ref).map(|agent| &agent.metadata);
        let release = objects
            .map(|it| &it.metadata)
            .chain(agent)
            .find_map(|metadata| metadata.annotations.as_ref()?.get("meta.helm.sh/release-name"));
        match release {
            Some(release) => {
                format!("helm upgrade {release} manifests/chart --namespace {} --reuse-values", self.namespace)
            }
            None => "kubectl apply --server-side --force-conflicts -f manifests/install.yaml".to_owned(),
        }
    }

    /// The same, as a hint.
    pub(super) fn put_back(&self) -> String {
        format!("put it back: {}", self.reinstall())
    }
}

/// The arguments of the first container.
pub(super) fn arguments(deployment: &Deployment) -> &[String] {
    let spec = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let container = spec.and_then(|spec| spec.containers.first());
    container.and_then(|container| container.args.as_deref()).unwrap_or_default()
}
