//! Kubernetes itself: versions and clocks.

use k8s_openapi::{
    api::core::v1::Node,
    jiff::{SignedDuration, Timestamp},
};
use kube::ResourceExt as _;

use super::{
    finding::{Finding, Section, all, some_of},
    snapshot::{Snapshot, arguments},
};

/// The oldest supported API server: the first with `ValidatingAdmissionPolicy`.
const REQUIRED: (u32, u32) = (1, 30);

/// The first Job controller that accepts the condition FailureTarget from other clients.
const FAILURE_TARGET: (u32, u32) = (1, 31);

/// The first kubelet with native sidecars enabled by default (KEP-753, beta).
const NATIVE_SIDECARS: (u32, u32) = (1, 29);

/// The tolerated clock skew.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(1);

/// The maximum age of the Lease of a ready node: with an older one, the node controller would have marked the node as not ready
/// (`node-monitor-grace-period`, 50 s at most by default, and a renewal every 10 s).
const MAX_LEASE_AGE: SignedDuration = SignedDuration::from_mins(1);

const SECTION: Section = Section::Kubernetes;

pub(super) fn check(snapshot: &Snapshot) -> Vec<Finding> {
    [vec![server(snapshot), clock(snapshot)], kubelets(snapshot), node_clocks(snapshot)].concat()
}

/// `(1, 30)` of `v1.30.4-gke.1`.
fn minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim_start_matches('v').split(['.', '-', '+']).map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

fn server(snapshot: &Snapshot) -> Finding {
    let version = &snapshot.server.version;
    let Some(is) = minor(version) else {
        let hint = "make sure that it is 1.30 or newer: kubectl version";
        return SECTION.warning(format!("cannot parse the version {version:?} of the API server"), hint);
    };
    if is < REQUIRED {
        let hint = "upgrade the cluster to Kubernetes 1.30 or newer";
        return SECTION.failure(format!("the API server is {version}, but jobwarden needs v1.30"), hint);
    }
    let reaper = snapshot.reaper.as_ref().ok().and_then(Option::as_ref);
    let by_deadline = reaper.is_some_and(|it| arguments(it).iter().any(|flag| flag == "--fail-with=active-deadline"));
    if is < FAILURE_TARGET && !by_deadline {
        let message = format!(
            "the API server is {version}, whose Job controller ignores the condition FailureTarget of other clients"
        );
        return SECTION
            .warning(message, "set the chart's value reaper.failWith to active-deadline, or upgrade to v1.31");
    }
    SECTION.ok(format!("the API server answers and is {version}"))
}

fn clock(snapshot: &Snapshot) -> Finding {
    let ahead = snapshot.server.ahead;
    if ahead.abs() <= TOLERANCE {
        return SECTION.ok("the local clock and that of the API server agree");
    }
    let off = offset(ahead);
    let hint = "synchronize them with NTP; all times below are by the clock of the API server";
    SECTION.warning(format!("the local clock is {off} the clock of the API server"), hint)
}

fn offset(ahead: SignedDuration) -> String {
    let seconds = SignedDuration::from_secs(ahead.abs().as_secs());
    format!("{seconds:#} {}", if ahead.is_negative() { "behind" } else { "ahead of" })
}

fn is_linux(node: &Node) -> bool {
    node.labels().get("kubernetes.io/os").is_none_or(|os| os == "linux")
}

/// The nodes with an operating system that worker pods can run on.
pub(super) fn linux(nodes: &[Node]) -> impl Iterator<Item = &Node> {
    nodes.iter().filter(|node| is_linux(node))
}

pub(super) fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn kubelets(snapshot: &Snapshot) -> Vec<Finding> {
    let found = SECTION.available("the nodes", &snapshot.nodes).map(|nodes| {
        let version = |node: &Node| Some(node.status.as_ref()?.node_info.as_ref()?.kubelet_version.clone());
        let old = linux(nodes).filter_map(|node| {
            let version = version(node)?;
            let old = minor(&version).is_some_and(|is| is < NATIVE_SIDECARS);
            old.then(|| format!("{} ({version})", node.name_any()))
        });
        let old: Vec<String> = old.collect();
        if old.is_empty() {
            return vec![SECTION.ok("every kubelet supports native sidecars")];
        }
        let message = format!("kubelets without native sidecars, which need v1.29: {}", some_of(&old));
        vec![SECTION.failure(message, "upgrade these nodes, or keep worker pods off them: kubectl cordon NODE")]
    });
    all(found)
}

/// The certain part of the skew of a node's clock, by the time at which it renewed its Lease.
fn node_ahead(renewed: Timestamp, now: Timestamp, ready: bool) -> Option<SignedDuration> {
    let ahead = renewed.duration_since(now);
    if ahead > TOLERANCE {
        return Some(ahead);
    }
    // A node that is not ready may have renewed long ago.
    let behind = ahead + MAX_LEASE_AGE;
    (ready && behind < -TOLERANCE).then_some(behind)
}

fn node_clocks(snapshot: &Snapshot) -> Vec<Finding> {
    let found = || {
        let nodes = SECTION.available("the nodes", &snapshot.nodes)?;
        let leases = SECTION.available("the Leases of the nodes", &snapshot.node_leases)?;
        let off = leases.iter().filter_map(|lease| {
            let node = nodes.iter().find(|node| node.name_any() == lease.name_any())?;
            let renewed = lease.spec.as_ref()?.renew_time.as_ref()?.0;
            let ahead = node_ahead(renewed, snapshot.server.now, is_ready(node))?;
            Some(format!("{} ({} the API server)", node.name_any(), offset(ahead)))
        });
        let off: Vec<String> = off.collect();
        if off.is_empty() {
            return Ok(vec![SECTION.ok("no clock of a node is off by more than a minute")]);
        }
        let hint = "synchronize it with NTP (chronyc tracking, timedatectl): certificates are verified by it";
        Ok(vec![SECTION.warning(format!("clocks of nodes are off: {}", some_of(&off)), hint)])
    };
    match found() {
        // The kubelets have reported it already.
        Err(_) if snapshot.nodes.is_err() => Vec::new(),
        found => all(found),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::check::{finding::Status, healthy};

    #[rstest]
    #[case("v1.29.9", Status::Failure)]
    #[case("v1.30.1-eks-1234", Status::Warning)]
    #[case("v1.31.0", Status::Ok)]
    #[case("v2.0.0", Status::Ok)]
    #[case("whatever", Status::Warning)]
    fn an_api_server_that_is_too_old_is_a_failure(#[case] version: &str, #[case] expected: Status) {
        let mut snapshot = healthy::snapshot();
        version.clone_into(&mut snapshot.server.version);
        let finding = server(&snapshot);
        assert_eq!(finding.status, expected);
        assert!(finding.message.contains(version), "{finding:?}");
    }

    #[test]
    fn active_deadline_needs_no_failure_target() {
        let mut snapshot = healthy::snapshot();
        "v1.30.0".clone_into(&mut snapshot.server.version);
        healthy::replace_argument(&mut snapshot.reaper, "--fail-with=", "active-deadline");
        assert_eq!(server(&snapshot).status, Status::Ok);
    }

    #[test]
    fn an_old_kubelet_is_named() {
        let mut snapshot = healthy::snapshot();
        let node = &mut snapshot.nodes.as_mut().expect("nodes")[0];
        let info = node.status.as_mut().and_then(|status| status.node_info.as_mut()).expect("a node info");
        "v1.28.3".clone_into(&mut info.kubelet_version);
        let findings = kubelets(&snapshot);
        assert_eq!(findings[0].status, Status::Failure);
        assert!(findings[0].message.contains("node-1 (v1.28.3)"), "{findings:?}");
    }

    #[rstest]
    #[case::in_sync(0, true, None)]
    #[case::within_the_tolerance(59, true, None)]
    #[case::ahead(61, true, Some(61))]
    #[case::ahead_and_not_ready(61, false, Some(61))]
    #[case::about_to_become_not_ready(-60, true, None)]
    #[case::behind(-121, true, Some(-61))]
    #[case::not_ready(-3600, false, None)]
    fn only_a_certain_skew_is_reported(#[case] renewed: i64, #[case] ready: bool, #[case] off: Option<i64>) {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24);
        let ahead = node_ahead(now + SignedDuration::from_secs(renewed), now, ready);
        assert_eq!(ahead.map(|ahead| ahead.as_secs()), off);
    }

    #[test]
    fn a_clock_skew_is_reported_with_its_direction() {
        let mut snapshot = healthy::snapshot();
        snapshot.server.ahead = SignedDuration::from_secs(-90);
        let finding = clock(&snapshot);
        assert_eq!(finding.status, Status::Warning);
        assert!(finding.message.contains("1m 30s behind the clock of the API server"), "{finding:?}");
    }
}
