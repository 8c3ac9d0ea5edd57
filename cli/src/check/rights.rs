//! The permissions that the service accounts need.

use jobwarden_common::names::{GROUP, object};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};

/// The namespace of the kubelets' Leases.
const NODE_LEASES: &str = "kube-node-lease";

/// A service account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Account {
    Webhook,
    Reaper,
    Agent,
}

/// Where a permission is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// In jobwarden's namespace.
    Own,
    /// In [`NODE_LEASES`].
    NodeLeases,
    /// In all namespaces, or on cluster-scoped objects.
    Cluster,
    /// On a URL path, which is in the place of the resource.
    Path,
}

/// Permissions that a component needs.
struct Need {
    account: Account,
    scope: Scope,
    group: &'static str,
    /// With the subresource after a slash.
    resource: &'static str,
    /// Only on objects with these names; if empty, on all.
    names: &'static [&'static str],
    verbs: &'static [&'static str],
    /// Whether it is for writing to Jobs and pods, which is not needed with `--observe-only`.
    enforcing: bool,
}

/// Permissions of `account` on a resource of a group, in a scope.
const fn need(
    account: Account,
    scope: Scope,
    (group, resource): (&'static str, &'static str),
    names: &'static [&'static str],
    verbs: &'static [&'static str],
) -> Need {
    Need { account, scope, group, resource, names, verbs, enforcing: false }
}

const fn enforcing(resource: (&'static str, &'static str), verbs: &'static [&'static str]) -> Need {
    Need { enforcing: true, ..need(Account::Reaper, Scope::Cluster, resource, &[], verbs) }
}

const READ: &[&str] = &["get", "list", "watch"];
const CERTIFICATES: &[&str] = &[object::CA_SECRET, object::WEBHOOK_TLS_SECRET, object::REAPER_TLS_SECRET];
const LEASES: (&str, &str) = ("coordination.k8s.io", "leases");
const EVENTS: (&str, &str) = ("events.k8s.io", "events");
const CONFIGURATIONS: (&str, &str) = ("admissionregistration.k8s.io", "mutatingwebhookconfigurations");
const KEYS: &str = "/openid/v1/jwks";
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// All permissions, as the chart's `*-rbac.yaml` grant them; a test compares the two.
const NEEDS: &[Need] = {
    use Account::{Agent, Reaper, Webhook};
    use Scope::{Cluster, NodeLeases, Own, Path};
    &[
        need(Webhook, Own, ("", "secrets"), CERTIFICATES, &["get", "update"]),
        need(Webhook, Own, ("", "configmaps"), &[object::REAPER_ENDPOINT], &["get", "update"]),
        need(Webhook, Own, EVENTS, &[], &["create", "patch"]),
        need(Webhook, Own, ("", "services"), &[object::REAPER_SERVICE], &["get"]),
        need(Webhook, Cluster, CONFIGURATIONS, &[object::WEBHOOK_CONFIGURATION], &["get", "list", "watch", "patch"]),
        need(Webhook, Cluster, ("", "limitranges"), &[], READ),
        need(Webhook, Cluster, ("", "resourcequotas"), &[], READ),
        need(Reaper, Cluster, ("batch", "jobs"), &[], READ),
        need(Reaper, Cluster, ("", "pods"), &[], READ),
        need(Reaper, Cluster, ("", "nodes"), &[], READ),
        need(Reaper, Cluster, ("", "namespaces"), &[], READ),
        need(Reaper, Path, ("", KEYS), &[], &["get"]),
        need(Reaper, Path, ("", DISCOVERY), &[], &["get"]),
        need(Reaper, Cluster, ("authentication.k8s.io", "tokenreviews"), &[], &["create"]),
        need(Reaper, Cluster, ("authorization.k8s.io", "subjectaccessreviews"), &[], &["create"]),
        need(Reaper, Cluster, EVENTS, &[], &["create", "patch", "list"]),
        enforcing(("batch", "jobs"), &["patch", "delete"]),
        enforcing(("batch", "jobs/status"), &["patch"]),
        enforcing(("", "pods"), &["delete", "patch"]),
        enforcing(("", "pods/status"), &["patch"]),
        need(Reaper, Own, (GROUP, "joboutcomes"), &[], &["get", "list", "watch", "create", "delete"]),
        need(Reaper, Own, (GROUP, "joboutcomes/status"), &[], &["patch"]),
        need(Reaper, Own, LEASES, &[object::REAPER_LEASE], &["get", "update"]),
        need(Reaper, Own, LEASES, &[], &["create"]),
        need(Reaper, Own, ("", "pods"), &[], &["patch"]),
        need(Reaper, Own, ("", "secrets"), &[object::REAPER_TLS_SECRET], READ),
        need(Reaper, NodeLeases, LEASES, &[], READ),
        need(Agent, Own, ("", "configmaps"), &[object::REAPER_ENDPOINT], &["get"]),
    ]
};

/// One permission: a verb on a resource, for a service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Right {
    pub(super) account: Account,
    scope: Scope,
    pub(super) group: &'static str,
    pub(super) resource: &'static str,
    pub(super) name: Option<&'static str>,
    pub(super) verb: &'static str,
    pub(super) enforcing: bool,
}

/// Whether a service account has a permission.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) right: Right,
    pub(super) allowed: bool,
}

impl Account {
    pub(super) const ALL: [Self; 3] = [Self::Webhook, Self::Reaper, Self::Agent];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Webhook => object::WEBHOOK_SERVICE,
            Self::Reaper => object::REAPER_SERVICE,
            Self::Agent => object::AGENT,
        }
    }

    /// The namespace of the service account, with jobwarden installed in `own`.
    pub(super) fn namespace(self, own: &str) -> &str {
        match self {
            Self::Webhook | Self::Reaper => own,
            Self::Agent => object::AGENT,
        }
    }
}

impl Right {
    /// All that the components need.
    pub(super) fn all() -> Vec<Self> {
        let rights = NEEDS.iter().flat_map(|need| {
            let Need { account, scope, group, resource, names, verbs, enforcing } = *need;
            let names: Vec<_> = if names.is_empty() { vec![None] } else { names.iter().copied().map(Some).collect() };
            let of = move |name, verb| Self { account, scope, group, resource, name, verb, enforcing };
            names.into_iter().flat_map(move |name| verbs.iter().map(move |&verb| of(name, verb)))
        });
        rights.collect()
    }

    /// The namespace that the permission is for, with jobwarden installed in `own`.
    pub(super) fn namespace<'a>(&self, own: &'a str) -> Option<&'a str> {
        match self.scope {
            Scope::Own => Some(own),
            Scope::NodeLeases => Some(NODE_LEASES),
            Scope::Cluster | Scope::Path => None,
        }
    }

    /// The request to the API server, with jobwarden installed in `own`.
    pub(super) fn review(&self, own: &str) -> SubjectAccessReview {
        let text = |text: &str| Some(text.to_owned());
        let account = [self.account.namespace(own), self.account.name()].join(":");
        let (resource, subresource) = self.resource.split_once('/').unwrap_or((self.resource, ""));
        let mut spec =
            SubjectAccessReviewSpec { user: Some(["system:serviceaccount:", &account].concat()), ..Default::default() };
        // The groups of every service account, to which a cluster may grant permissions.
        let group = ["system:serviceaccounts:", self.account.namespace(own)].concat();
        spec.groups = Some(vec!["system:serviceaccounts".to_owned(), group, "system:authenticated".to_owned()]);
        if self.scope == Scope::Path {
            spec.non_resource_attributes =
                Some(NonResourceAttributes { path: text(self.resource), verb: text(self.verb) });
        } else {
            spec.resource_attributes = Some(ResourceAttributes {
                group: text(self.group),
                resource: text(resource),
                subresource: text(subresource),
                name: self.name.map(str::to_owned),
                namespace: self.namespace(own).map(str::to_owned),
                verb: text(self.verb),
                ..ResourceAttributes::default()
            });
        }
        SubjectAccessReview { spec, ..SubjectAccessReview::default() }
    }

    /// Such as `update secrets jobwarden-ca in jobwarden`.
    pub(super) fn describe(&self, own: &str) -> String {
        let name = self.name.map(|name| format!(" {name}")).unwrap_or_default();
        let place = match (self.scope, self.namespace(own)) {
            (_, Some(namespace)) => format!(" in {namespace}"),
            (Scope::Path, None) => String::new(),
            (_, None) => " in all namespaces".to_owned(),
        };
        format!("{} {}{name}{place}", self.verb, self.resource)
    }
}
