//! What the service accounts need, and whether they may.

use jobwarden_common::names::{GROUP, object};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};

use super::{
    finding::{Finding, Section, all, some_of},
    snapshot::{Snapshot, arguments},
};

/// Where the kubelets' Leases are.
const NODE_LEASES: &str = "kube-node-lease";

/// Whose rights they are; the name of the service account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Account {
    Webhook,
    Reaper,
    Agent,
}

/// Where a right is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// In jobwarden's namespace.
    Own,
    /// In [`NODE_LEASES`].
    NodeLeases,
    /// In all namespaces, or of objects without one.
    Cluster,
    /// Of a path; the resource is it.
    Path,
}

/// Rights that a part needs.
struct Need {
    account: Account,
    scope: Scope,
    group: &'static str,
    /// With a subresource behind a slash.
    resource: &'static str,
    /// Of these objects alone; of any where there are none.
    names: &'static [&'static str],
    verbs: &'static [&'static str],
    /// Whether it is for writing to Jobs and pods, which an installation that only observes does not do.
    enforcing: bool,
}

/// Rights of `account` on a resource of a group, in a scope.
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

/// All of them, as the chart's `*-rbac.yaml` give them; a test compares.
const NEEDS: &[Need] = {
    use Account::{Agent, Reaper, Webhook};
    use Scope::{Cluster, NodeLeases, Own, Path};
    &[
        need(Webhook, Own, ("", "secrets"), CERTIFICATES, &["get", "update"]),
        need(Webhook, Own, ("", "secrets"), &[], &["create"]),
        need(Webhook, Own, ("", "configmaps"), &[object::REAPER_ENDPOINT], &["get", "update"]),
        need(Webhook, Own, ("", "configmaps"), &[], &["create"]),
        need(Webhook, Own, EVENTS, &[], &["create", "patch"]),
        need(Webhook, Own, ("", "services"), &[object::REAPER_SERVICE], &["get"]),
        need(Webhook, Cluster, CONFIGURATIONS, &[object::WEBHOOK_CONFIGURATION], &["get", "list", "watch", "patch"]),
        need(Webhook, Cluster, ("", "limitranges"), &[], READ),
        need(Reaper, Cluster, ("batch", "jobs"), &[], READ),
        need(Reaper, Cluster, ("", "pods"), &[], READ),
        need(Reaper, Cluster, ("", "nodes"), &[], READ),
        need(Reaper, Cluster, ("", "namespaces"), &[], READ),
        need(Reaper, Path, ("", KEYS), &[], &["get"]),
        need(Reaper, Path, ("", DISCOVERY), &[], &["get"]),
        need(Reaper, Cluster, ("authentication.k8s.io", "tokenreviews"), &[], &["create"]),
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

/// One right: an account, and what it does to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Right {
    account: Account,
    scope: Scope,
    group: &'static str,
    resource: &'static str,
    name: Option<&'static str>,
    verb: &'static str,
    enforcing: bool,
}

/// Whether an account has a right.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) right: Right,
    pub(super) allowed: bool,
}

impl Account {
    const ALL: [Self; 3] = [Self::Webhook, Self::Reaper, Self::Agent];

    const fn name(self) -> &'static str {
        match self {
            Self::Webhook => object::WEBHOOK_SERVICE,
            Self::Reaper => object::REAPER_SERVICE,
            Self::Agent => object::AGENT,
        }
    }

    /// Where the service account is, of an installation in `own`.
    fn namespace(self, own: &str) -> &str {
        match self {
            Self::Webhook | Self::Reaper => own,
            Self::Agent => object::AGENT,
        }
    }
}

impl Right {
    /// All that the parts need.
    pub(super) fn all() -> Vec<Self> {
        let rights = NEEDS.iter().flat_map(|need| {
            let Need { account, scope, group, resource, names, verbs, enforcing } = *need;
            let names: Vec<_> = if names.is_empty() { vec![None] } else { names.iter().copied().map(Some).collect() };
            let of = move |name, verb| Self { account, scope, group, resource, name, verb, enforcing };
            names.into_iter().flat_map(move |name| verbs.iter().map(move |&verb| of(name, verb)))
        });
        rights.collect()
    }

    fn namespace<'a>(&self, own: &'a str) -> Option<&'a str> {
        match self.scope {
            Scope::Own => Some(own),
            Scope::NodeLeases => Some(NODE_LEASES),
            Scope::Cluster | Scope::Path => None,
        }
    }

    /// The question to the API server, of an installation in `own`.
    pub(super) fn review(&self, own: &str) -> SubjectAccessReview {
        let text = |text: &str| Some(text.to_owned());
        let account = [self.account.namespace(own), self.account.name()].join(":");
        let (resource, subresource) = self.resource.split_once('/').unwrap_or((self.resource, ""));
        let mut spec =
            SubjectAccessReviewSpec { user: Some(["system:serviceaccount:", &account].concat()), ..Default::default() };
        // What every service account is, and what a cluster may have granted to all of them.
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

    /// Such as `update secrets/jobwarden-ca in jobwarden`.
    fn describe(&self, own: &str) -> String {
        let name = self.name.map(|name| format!(" {name}")).unwrap_or_default();
        let place = match (self.scope, self.namespace(own)) {
            (_, Some(namespace)) => format!(" in {namespace}"),
            (Scope::Path, None) => String::new(),
            (_, None) => " anywhere".to_owned(),
        };
        format!("{} {}{name}{place}", self.verb, self.resource)
    }
}

/// Whether each part may do what it has to do.
pub(super) fn check(snapshot: &Snapshot) -> Vec<Finding> {
    let section = Section::Permissions;
    let found = section.seen("what the service accounts may do", &snapshot.permissions).map(|answers| {
        let observes = snapshot.reaper.as_ref().is_ok_and(|reaper| {
            reaper.as_ref().is_some_and(|reaper| arguments(reaper).iter().any(|flag| flag == "--observe-only"))
        });
        let of = |account: Account| {
            let needed = answers.iter().filter(|it| it.right.account == account);
            let needed = needed.filter(|it| !(observes && it.right.enforcing));
            let missing: Vec<String> =
                needed.filter(|it| !it.allowed).map(|it| it.right.describe(&snapshot.namespace)).collect();
            let name = account.name();
            if missing.is_empty() {
                return section.ok(format!("the service account {name} may do what it needs"));
            }
            let what = format!("the service account {name} may not {}", some_of(&missing));
            let namespace = account.namespace(&snapshot.namespace);
            let look = format!(
                "look what it may: kubectl auth can-i --list --as=system:serviceaccount:{namespace}:{name} --namespace {}",
                snapshot.namespace
            );
            let roles = "its Roles, ClusterRoles or their bindings are missing or have been changed";
            section.failure(what, format!("{roles}; {}\n{look}", snapshot.put_back()))
        };
        Account::ALL.into_iter().map(of).collect()
    });
    all(found)
}

#[cfg(test)]
mod tests;
