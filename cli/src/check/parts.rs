//! The components of an installation: whether they exist, run and can be reached.

use jobwarden_common::{
    api::AccessHealth,
    names::{GROUP, label, label_value, object, port},
};
use k8s_openapi::{
    api::{
        apps::v1::DaemonSet,
        core::v1::{Node, Pod},
    },
    jiff::SignedDuration,
};
use kube::ResourceExt as _;

use super::{
    finding::{Finding, Section, all, some_of},
    kubernetes,
    lookup::LookupError,
    snapshot::{CRD_VERSION, Snapshot},
    workloads::{self, Component, is_ready, ready_addresses, waiting_reason},
};

/// The namespace and the custom resource.
pub(super) fn installation(snapshot: &Snapshot) -> Vec<Finding> {
    let section = Section::Installation;
    let namespace = &snapshot.namespace;
    let install = "install jobwarden, or set its namespace with --system-namespace:\n\
                   helm install jobwarden manifests/chart --namespace jobwarden --create-namespace";
    let own = section.required(&format!("the namespace {namespace}"), &snapshot.own_namespace, install);
    let own = own.map(|_| section.ok(format!("the namespace {namespace} exists")));
    let name = format!("joboutcomes.{GROUP}");
    let crd = section.required(
        &format!("the CustomResourceDefinition {name}"),
        &snapshot.crd,
        &format!("no outcome can be recorded without it; {}", snapshot.restore()),
    );
    let crd = crd.map(|crd| {
        let served = crd.spec.versions.iter().any(|version| version.name == CRD_VERSION && version.served);
        let conditions = crd.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let established = conditions.into_iter().any(|it| it.type_ == "Established" && it.status == "True");
        if served && established {
            return section.ok(format!("the custom resource {name} is served as {CRD_VERSION}"));
        }
        let missing = if served { "established".to_owned() } else { format!("served as {CRD_VERSION}") };
        section.failure(format!("the custom resource {name} is not {missing}"), snapshot.restore())
    });
    [own, crd].map(|found| found.unwrap_or_else(|finding| finding)).into()
}

/// The webhook's replicas and Service.
pub(super) fn webhook(snapshot: &Snapshot) -> Vec<Finding> {
    let (section, name) = (Section::Webhook, object::WEBHOOK_SERVICE);
    let at = format!("the Deployment {}/{name}", snapshot.namespace);
    let found = section.required(&at, &snapshot.webhook, &snapshot.restore());
    let found = found.map(|deployment| {
        let mut findings = Component { section, name, deployment }.check(snapshot);
        findings.push(service(section, name, snapshot, "its pods are not ready, or its selector does not match them"));
        findings.extend(workloads::unreachable(section, name, snapshot));
        findings
    });
    all(found)
}

/// Whether the Service `name` has a ready pod.
fn service(section: Section, name: &str, snapshot: &Snapshot, possible_cause: &str) -> Finding {
    let found = section.available("the EndpointSlices", &snapshot.slices).map(|slices| match ready_addresses(slices, name) {
        0 => {
            let hint = format!(
                "{possible_cause}; compare\nkubectl -n {0} get service {name} -o wide\nkubectl -n {0} get pods --show-labels",
                snapshot.namespace
            );
            section.failure(format!("the Service {name} has no ready pod"), hint)
        }
        1 => section.ok(format!("the Service {name} has a ready pod")),
        several => section.ok(format!("the Service {name} has {several} ready pods")),
    });
    found.unwrap_or_else(|finding| finding)
}

/// The reaper's replicas, leader and Service.
pub(super) fn reaper(snapshot: &Snapshot) -> Vec<Finding> {
    let (section, name) = (Section::Reaper, object::REAPER_SERVICE);
    let at = format!("the Deployment {}/{name}", snapshot.namespace);
    let found = section.required(&at, &snapshot.reaper, &snapshot.restore());
    let found = found.map(|deployment| {
        let mut findings = Component { section, name, deployment }.check(snapshot);
        findings.push(leader(snapshot));
        let selector = format!("no ready pod has the label {}={}", label::ROLE, label_value::LEADER);
        findings.push(service(section, name, snapshot, &selector));
        findings.push(answers(snapshot));
        findings.push(access(snapshot));
        findings.extend(workloads::unreachable(section, name, snapshot));
        findings
    });
    all(found)
}

fn leader(snapshot: &Snapshot) -> Finding {
    let section = Section::Reaper;
    let namespace = &snapshot.namespace;
    let hint = format!(
        "see the logs of the leader election: kubectl -n {namespace} logs deployment/{} --all-pods | grep -i lease",
        object::REAPER_SERVICE
    );
    let held = section.required(&format!("the Lease {namespace}/{}", object::REAPER_LEASE), &snapshot.lease, &hint);
    let found = held.map(|held| {
        let Some(holder) = held.holder() else {
            return section.failure("no reaper is the leader: the Lease has no holder", &hint);
        };
        let now = snapshot.server.now;
        if held.is_fresh(now) || held.renewed {
            return section.ok(format!("{holder} is the leader and renews its Lease"));
        }
        let ago = held.age(now).map(|age| format!("{:#}", SignedDuration::from_secs(age.as_secs())));
        let ago = ago.map_or_else(|| "ever".to_owned(), |ago| format!("for {ago}"));
        section.failure(format!("no reaper is the leader: {holder} has not renewed its Lease {ago}"), &hint)
    });
    found.unwrap_or_else(|finding| finding)
}

/// Whether the leader can be reached through its Service.
fn answers(snapshot: &Snapshot) -> Finding {
    let section = Section::Reaper;
    match &snapshot.reaper_answers {
        Ok(_) => section.ok("the leading reaper answers through its Service"),
        Err(error @ LookupError::Forbidden(_)) => {
            section.unavailable("a response of the reaper through its Service (services/proxy)", error)
        }
        Err(error) => {
            let hint = format!(
                "sidecars and agents use the same Service; check its pods and the NetworkPolicies in {0}, and try\n\
                 kubectl get --raw /api/v1/namespaces/{0}/services/https:{1}:{2}/proxy/",
                snapshot.namespace,
                object::REAPER_SERVICE,
                port::REAPER,
            );
            section.failure(format!("the reaper cannot be reached through its Service: {error}"), hint)
        }
    }
}

/// Whether the reaper can authenticate and authorize the callers of its API.
fn access(snapshot: &Snapshot) -> Finding {
    let section = Section::Reaper;
    let health = match &snapshot.access {
        Ok(health) => health,
        Err(error @ LookupError::Forbidden(_)) => {
            return section.unavailable("a response of the reaper's API (pods/portforward)", error);
        }
        Err(error) => {
            let hint = "explain and breaker use the same port-forward; try: jobwarden breaker status";
            return section.warning(format!("the reaper's API cannot be reached by a port-forward: {error}"), hint);
        }
    };
    let AccessHealth { tls, authentication_error, authorization_error } = health;
    let failing = [("TokenReview", authentication_error), ("SubjectAccessReview", authorization_error)];
    let failing: Vec<_> =
        failing.iter().filter_map(|(what, error)| Some(format!("{what}: {}", error.as_ref()?))).collect();
    match (failing.is_empty(), tls) {
        (true, true) => section.ok("the API authenticates and authorizes its callers"),
        (true, false) => section.ok("the API is served to port-forwards alone (reaper.api.enabled: false)"),
        (false, _) => section.failure(
            format!("the API cannot authenticate or authorize its callers: {}", failing.join("; ")),
            format!(
                "it answers them with 503 meanwhile; check that the ClusterRole {} may create tokenreviews and subjectaccessreviews, and \
                 the health of the API server",
                object::REAPER_SERVICE
            ),
        ),
    }
}

/// Whether each node that can run worker pods has an agent.
pub(super) fn agent(snapshot: &Snapshot) -> Vec<Finding> {
    let (section, name) = (Section::Agent, object::AGENT);
    let found = || {
        let at = format!("the DaemonSet {name}/{name}");
        let daemon_set = section.required(&at, &snapshot.agent, &snapshot.restore())?;
        let nodes = section.available("the nodes", &snapshot.nodes)?;
        let pods = section.available("the pods of the agent", &snapshot.agent_pods)?;
        let mut findings = on_nodes(daemon_set, nodes, pods);
        let spec = daemon_set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        findings.extend(workloads::version(section, name, spec));
        Ok(findings)
    };
    all(found())
}

/// Why a node has no ready agent; `None` if it has one.
fn missing_agent(node: &Node, pods: &[Pod]) -> Option<String> {
    let is_here =
        |pod: &&Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == node.metadata.name.as_deref();
    let here: Vec<&Pod> = pods.iter().filter(is_here).collect();
    if here.iter().any(|pod| is_ready(pod)) {
        return None;
    }
    let waiting = here.iter().find_map(|pod| waiting_reason(pod));
    let why = waiting.unwrap_or_else(|| if here.is_empty() { "no pod" } else { "not ready" }.to_owned());
    Some(format!("{} ({why})", node.name_any()))
}

fn on_nodes(daemon_set: &DaemonSet, nodes: &[Node], pods: &[Pod]) -> Vec<Finding> {
    let (section, name) = (Section::Agent, object::AGENT);
    let template = daemon_set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let selector = template.and_then(|spec| spec.node_selector.clone()).unwrap_or_default();
    let is_selected = |node: &Node| selector.iter().all(|(key, value)| node.labels().get(key) == Some(value));
    let (selected, excluded): (Vec<_>, Vec<_>) = kubernetes::linux(nodes).partition(|node| is_selected(node));
    let none_selected = selected.is_empty();
    let (ready, not_ready): (Vec<_>, Vec<_>) = selected.into_iter().partition(|node| kubernetes::is_ready(node));

    let without: Vec<String> = ready.iter().filter_map(|node| missing_agent(node, pods)).collect();
    let mut findings = Vec::new();
    let names = |nodes: &[&Node]| some_of(&nodes.iter().map(|node| node.name_any()).collect::<Vec<_>>());
    if !without.is_empty() {
        let hint = format!(
            "worker pods there are observed by heartbeats only; find out why it is not ready:\n\
             kubectl -n {name} describe pods --selector=app.kubernetes.io/name={name}\n\
             kubectl -n {name} describe daemonset/{name}"
        );
        findings.push(section.failure(format!("no ready agent on {}", some_of(&without)), hint));
    } else if none_selected && !excluded.is_empty() {
        let hint = format!(
            "its nodeSelector matches none of them; set the chart's value agent.nodeSelector, and see\n\
             kubectl -n {name} get daemonset/{name} -o jsonpath='{{.spec.template.spec.nodeSelector}}'"
        );
        return vec![section.failure(
            format!("the agent is scheduled on no node: its nodeSelector excludes {}", names(&excluded)),
            hint,
        )];
    } else {
        findings.push(section.ok(format!("a ready agent on each of {} nodes", ready.len())));
    }
    if !excluded.is_empty() {
        let hint = "no problem if no worker pods run there; else set the chart's value agent.nodeSelector";
        findings.push(section.warning(format!("the nodeSelector of the agent excludes {}", names(&excluded)), hint));
    }
    if !not_ready.is_empty() {
        let hint = "the node itself is down, so its agent cannot be checked: kubectl describe node NODE";
        findings.push(section.warning(format!("nodes that are not ready: {}", names(&not_ready)), hint));
    }
    findings
}

#[cfg(test)]
mod tests;
