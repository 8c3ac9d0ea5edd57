//! The state of the cluster at one moment: plain objects.

use jobwarden_common::{api::AccessHealth, names::object};
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

use super::{dry_run::DryRun, lookup::Lookup, rights::Answer};

/// The version of the custom resource in this release.
pub(super) const CRD_VERSION: &str = "v1alpha1";

/// The name of the `ValidatingAdmissionPolicy` and of its binding in the chart.
pub(super) const POLICY: &str = "jobwarden-sidecar";

/// The API server itself.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// Such as `v1.35.4`.
    pub(super) version: String,
    /// The time by its clock.
    pub(super) now: Timestamp,
    /// By how much the local clock is ahead of it.
    pub(super) ahead: SignedDuration,
}

/// The leader's Lease.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) lease: Lease,
    /// Whether it was renewed while the check watched it; tried only if it looks stale.
    pub(super) renewed: bool,
}

impl Held {
    /// The leader, if there is one.
    pub(super) fn holder(&self) -> Option<&str> {
        self.lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
    }

    /// The time since the last renewal, by the holder's clock.
    pub(super) fn age(&self, now: Timestamp) -> Option<SignedDuration> {
        Some(now.duration_since(self.lease.spec.as_ref()?.renew_time.as_ref()?.0))
    }

    /// How long it is valid after a renewal.
    pub(super) fn duration(&self) -> SignedDuration {
        let seconds = self.lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
        SignedDuration::from_secs(seconds.unwrap_or_default().into())
    }

    /// Whether it is valid, by the holder's clock.
    pub(super) fn is_fresh(&self, now: Timestamp) -> bool {
        self.age(now).is_some_and(|age| age <= self.duration())
    }
}

/// The response of a process to `/readyz`.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    pub(super) pod: String,
    /// `Ok(Err(…))` is the text of a response that is not 200.
    pub(super) answer: Lookup<Result<(), String>>,
}

/// Everything that the checks read.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    /// The namespace that jobwarden is installed in.
    pub(super) namespace: String,
    /// The enrolled namespace that the user asks for; `None` for all of them.
    pub(super) only: Option<String>,
    pub(super) server: Server,
    pub(super) nodes: Lookup<Vec<Node>>,
    /// In the namespace `kube-node-lease`.
    pub(super) node_leases: Lookup<Vec<Lease>>,
    pub(super) own_namespace: Lookup<Option<Namespace>>,
    pub(super) crd: Lookup<Option<CustomResourceDefinition>>,
    pub(super) webhook: Lookup<Option<Deployment>>,
    pub(super) reaper: Lookup<Option<Deployment>>,
    pub(super) agent: Lookup<Option<DaemonSet>>,
    /// In jobwarden's namespace.
    pub(super) pods: Lookup<Vec<Pod>>,
    pub(super) agent_pods: Lookup<Vec<Pod>>,
    pub(super) lease: Lookup<Option<Held>>,
    pub(super) reaper_service: Lookup<Option<Service>>,
    /// In jobwarden's namespace.
    pub(super) slices: Lookup<Vec<EndpointSlice>>,
    pub(super) authority: Lookup<Option<Secret>>,
    pub(super) webhook_tls: Lookup<Option<Secret>>,
    pub(super) reaper_tls: Lookup<Option<Secret>>,
    /// All of the cluster, including jobwarden's own.
    pub(super) configurations: Lookup<Vec<MutatingWebhookConfiguration>>,
    pub(super) policy: Lookup<Option<ValidatingAdmissionPolicy>>,
    pub(super) binding: Lookup<Option<ValidatingAdmissionPolicyBinding>>,
    pub(super) config: Lookup<Option<ConfigMap>>,
    pub(super) endpoint: Lookup<Option<ConfigMap>>,
    /// The permissions of the service accounts.
    pub(super) permissions: Lookup<Vec<Answer>>,
    /// The namespaces with the label that enrols them.
    pub(super) enrolled: Lookup<Vec<Namespace>>,
    pub(super) limit_ranges: Lookup<Vec<LimitRange>>,
    pub(super) quotas: Lookup<Vec<ResourceQuota>>,
    /// Worker pods that are pending.
    pub(super) pending: Lookup<Vec<Pod>>,
    pub(super) outcomes: Lookup<Vec<DynamicObject>>,
    pub(super) ready: Vec<Ready>,
    /// The HTTP status of the leading reaper, through its Service.
    pub(super) reaper_answers: Lookup<u16>,
    /// Whether the leading reaper can authenticate and authorize the callers of its API.
    pub(super) access: Lookup<AccessHealth>,
    /// Pods created as a dry run.
    pub(super) dry_runs: Vec<DryRun>,
}

impl Snapshot {
    /// jobwarden's own webhook configuration.
    pub(super) fn configuration(&self) -> Lookup<Option<MutatingWebhookConfiguration>> {
        let ours = |all: &Vec<MutatingWebhookConfiguration>| {
            all.iter().find(|it| it.name_any() == object::WEBHOOK_CONFIGURATION).cloned()
        };
        self.configurations.as_ref().map(ours).map_err(Clone::clone)
    }

    /// The command that restores the installed objects.
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
    pub(super) fn restore(&self) -> String {
        format!("restore it: {}", self.reinstall())
    }
}

/// The arguments of the first container.
pub(super) fn arguments(deployment: &Deployment) -> &[String] {
    let spec = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let container = spec.and_then(|spec| spec.containers.first());
    container.and_then(|container| container.args.as_deref()).unwrap_or_default()
}
