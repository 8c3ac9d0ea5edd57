//! The parts of an installation: whether they are there, run and are reached.

use jobwarden_common::names::{GROUP, label, label_value, object, port};
use k8s_openapi::{
    api::{
        apps::v1::DaemonSet,
        core::v1::{Node, Pod},
    },
    jiff::SignedDuration,
};
use kube::ResourceExt as _;

use super::{
    cluster,
    finding::{Finding, Section, all, some_of},
    snapshot::{CRD_VERSION, Lack, Snapshot},
    workloads::{self, Part, addresses, is_ready, waiting},
};

/// The namespace and the custom resource.
pub(super) fn installation(snapshot: &Snapshot) -> Vec<Finding> {
    let section = Section::Installation;
    let namespace = &snapshot.namespace;
    let install = "install jobwarden, or name its namespace by --namespace:\n\
                   helm install jobwarden manifests/chart --namespace jobwarden --create-namespace";
    let own = section.there(&format!("the namespace {namespace}"), &snapshot.own_namespace, install);
    let own = own.map(|_| section.ok(format!("the namespace {namespace} is there")));
    let name = format!("joboutcomes.{GROUP}");
    let crd = section.there(
        &format!("the CustomResourceDefinition {name}"),
        &snapshot.crd,
        &format!("no outcome can be recorded; {}", snapshot.put_back()),
    );
    let crd = crd.map(|crd| {
        let served = crd.spec.versions.iter().any(|version| version.name == CRD_VERSION && version.served);
        let conditions = crd.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let established = conditions.into_iter().any(|it| it.type_ == "Established" && it.status == "True");
        if served && established {
            return section.ok(format!("the custom resource {name} is served as {CRD_VERSION}"));
        }
        let lacks = if served { "established".to_owned() } else { format!("served as {CRD_VERSION}") };
        section.failure(format!("the custom resource {name} is not {lacks}"), snapshot.put_back())
    });
    [own, crd].map(|found| found.unwrap_or_else(|finding| finding)).into()
}

/// The webhook's replicas and the way to them.
pub(super) fn webhook(snapshot: &Snapshot) -> Vec<Finding> {
    let (section, name) = (Section::Webhook, object::WEBHOOK_SERVICE);
    let at = format!("the Deployment {}/{name}", snapshot.namespace);
    let found = section.there(&at, &snapshot.webhook, &snapshot.put_back());
    let found = found.map(|deployment| {
        let mut findings = Part { section, name, deployment }.check(snapshot);
        findings.push(leads(section, name, snapshot, "its pods are not ready, or its selector is not theirs"));
        findings.extend(workloads::unreachable(section, name, snapshot));
        findings
    });
    all(found)
}

/// Whether the Service `name` leads to a pod.
fn leads(section: Section, name: &str, snapshot: &Snapshot, why_not: &str) -> Finding {
    let found = section.seen("the EndpointSlices", &snapshot.slices).map(|slices| match addresses(slices, name) {
        0 => {
            let hint = format!(
                "{why_not}; compare\nkubectl -n {0} get service {name} -o wide\nkubectl -n {0} get pods --show-labels",
                snapshot.namespace
            );
            section.failure(format!("the Service {name} leads to no pod"), hint)
        }
        1 => section.ok(format!("the Service {name} leads to a ready pod")),
        several => section.ok(format!("the Service {name} leads to {several} ready pods")),
    });
    found.unwrap_or_else(|finding| finding)
}

/// The reaper's replicas, its leader, and the way to that.
pub(super) fn reaper(snapshot: &Snapshot) -> Vec<Finding> {
    let (section, name) = (Section::Reaper, object::REAPER_SERVICE);
    let at = format!("the Deployment {}/{name}", snapshot.namespace);
    let found = section.there(&at, &snapshot.reaper, &snapshot.put_back());
    let found = found.map(|deployment| {
        let mut findings = Part { section, name, deployment }.check(snapshot);
        findings.push(leader(snapshot));
        let selector = format!("no ready pod has the label {}={}", label::ROLE, label_value::LEADER);
        findings.push(leads(section, name, snapshot, &selector));
        findings.push(answers(snapshot));
        findings.extend(workloads::unreachable(section, name, snapshot));
        findings
    });
    all(found)
}

fn leader(snapshot: &Snapshot) -> Finding {
    let section = Section::Reaper;
    let namespace = &snapshot.namespace;
    let hint = format!(
        "see what the replicas say of the election: kubectl -n {namespace} logs deployment/{} --all-pods | grep -i lease",
        object::REAPER_SERVICE
    );
    let held = section.there(&format!("the Lease {namespace}/{}", object::REAPER_LEASE), &snapshot.lease, &hint);
    let found = held.map(|held| {
        let Some(holder) = held.holder() else {
            return section.failure("no reaper leads: nobody holds the Lease", &hint);
        };
        let now = snapshot.server.now;
        if held.is_fresh(now) || held.moved {
            return section.ok(format!("{holder} leads and renews its Lease"));
        }
        let ago = held.age(now).map(|age| format!("{:#}", SignedDuration::from_secs(age.as_secs())));
        let ago = ago.map_or_else(|| "ever".to_owned(), |ago| format!("for {ago}"));
        section.failure(format!("no reaper leads: {holder} has not renewed its Lease {ago}"), &hint)
    });
    found.unwrap_or_else(|finding| finding)
}

/// Whether the leader is reached through its Service.
fn answers(snapshot: &Snapshot) -> Finding {
    let section = Section::Reaper;
    match &snapshot.reaper_answers {
        Ok(_) => section.ok("the leading reaper answers through its Service"),
        Err(lack @ Lack::Forbidden(_)) => section.lacking("whether the reaper can be reached (services/proxy)", lack),
        Err(lack) => {
            let hint = format!(
                "sidecars and agents reach it the same way; see its pods and the NetworkPolicies of {0}, and try\n\
                 kubectl get --raw /api/v1/namespaces/{0}/services/https:{1}:{2}/proxy/",
                snapshot.namespace,
                object::REAPER_SERVICE,
                port::REAPER,
            );
            section.failure(format!("the reaper cannot be reached through its Service: {lack}"), hint)
        }
    }
}

/// Whether each node that may run workers has an agent.
pub(super) fn agent(snapshot: &Snapshot) -> Vec<Finding> {
    let (section, name) = (Section::Agent, object::AGENT);
    let found = || {
        let at = format!("the DaemonSet {name}/{name}");
        let daemon_set = section.there(&at, &snapshot.agent, &snapshot.put_back())?;
        let nodes = section.seen("the nodes", &snapshot.nodes)?;
        let pods = section.seen("the pods of the agent", &snapshot.agent_pods)?;
        let mut findings = on_nodes(daemon_set, nodes, pods);
        let spec = daemon_set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        findings.extend(workloads::version(section, name, spec));
        Ok(findings)
    };
    all(found())
}

/// Why a node has no agent that is ready, if it has none.
fn lack(node: &Node, pods: &[Pod]) -> Option<String> {
    let is_here =
        |pod: &&Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == node.metadata.name.as_deref();
    let here: Vec<&Pod> = pods.iter().filter(is_here).collect();
    if here.iter().any(|pod| is_ready(pod)) {
        return None;
    }
    let waits = here.iter().find_map(|pod| waiting(pod));
    let why = waits.unwrap_or_else(|| if here.is_empty() { "no pod" } else { "not ready" }.to_owned());
    Some(format!("{} ({why})", node.name_any()))
}

fn on_nodes(daemon_set: &DaemonSet, nodes: &[Node], pods: &[Pod]) -> Vec<Finding> {
    let (section, name) = (Section::Agent, object::AGENT);
    let template = daemon_set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let selector = template.and_then(|spec| spec.node_selector.clone()).unwrap_or_default();
    let is_meant = |node: &Node| selector.iter().all(|(key, value)| node.labels().get(key) == Some(value));
    let (meant, left_out): (Vec<_>, Vec<_>) = cluster::linux(nodes).partition(|node| is_meant(node));
    let is_meant_for_none = meant.is_empty();
    let (ready, away): (Vec<_>, Vec<_>) = meant.into_iter().partition(|node| cluster::is_ready(node));

    let without: Vec<String> = ready.iter().filter_map(|node| lack(node, pods)).collect();
    let mut findings = Vec::new();
    let names = |nodes: &[&Node]| some_of(&nodes.iter().map(|node| node.name_any()).collect::<Vec<_>>());
    if !without.is_empty() {
        let hint = format!(
            "workers there are seen by their beats alone; see what keeps it:\n\
             kubectl -n {name} describe pods --selector=app.kubernetes.io/name={name}\n\
             kubectl -n {name} describe daemonset/{name}"
        );
        findings.push(section.failure(format!("no ready agent on {}", some_of(&without)), hint));
    } else if is_meant_for_none && !left_out.is_empty() {
        let hint = format!(
            "its nodeSelector fits none of them; set the chart's value agent.nodeSelector, and see\n\
             kubectl -n {name} get daemonset/{name} -o jsonpath='{{.spec.template.spec.nodeSelector}}'"
        );
        return vec![section.failure(format!("the agent is meant for no node: not for {}", names(&left_out)), hint)];
    } else {
        findings.push(section.ok(format!("a ready agent on each of {} nodes", ready.len())));
    }
    if !left_out.is_empty() {
        let hint = "fine where no worker runs there; else set the chart's value agent.nodeSelector";
        findings.push(section.warning(format!("the agent is not meant for {}", names(&left_out)), hint));
    }
    if !away.is_empty() {
        let hint = "the node itself is down; nothing is wrong with the agent: kubectl describe node NODE";
        findings.push(section.warning(format!("nodes that are not ready: {}", names(&away)), hint));
    }
    findings
}

#[cfg(test)]
mod tests;
