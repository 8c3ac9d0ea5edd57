use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use rstest::rstest;

use super::*;
use crate::check::{finding::Status, healthy, lookup::Lookup};

fn failures(findings: &[Finding]) -> Vec<&Finding> {
    findings.iter().filter(|finding| finding.status == Status::Failure).collect()
}

fn the_failure(findings: &[Finding]) -> &Finding {
    let [failure] = failures(findings)[..] else { panic!("{findings:?}") };
    failure
}

#[test]
fn a_missing_custom_resource_is_named() {
    let mut snapshot = healthy::snapshot();
    snapshot.crd = Ok(None);
    let findings = installation(&snapshot);
    let failure = the_failure(&findings);
    assert!(failure.message.contains("CustomResourceDefinition joboutcomes.jobwarden.io not found"), "{failure:?}");
}

#[test]
fn a_custom_resource_of_another_version_is_named() {
    let mut snapshot = healthy::snapshot();
    let crd = snapshot.crd.as_mut().expect("available").as_mut().expect("exists");
    "v2".clone_into(&mut crd.spec.versions[0].name);
    assert!(the_failure(&installation(&snapshot)).message.contains("not served as v1alpha1"));
}

#[rstest]
#[case::renewed(1, false, true)]
#[case::stale(16, false, false)]
#[case::by_a_clock_that_is_behind(3600, true, true)]
fn a_leader_renews_its_lease(#[case] seconds: i64, #[case] watched: bool, #[case] leads: bool) {
    let mut snapshot = healthy::snapshot();
    let renewed = snapshot.server.now - SignedDuration::from_secs(seconds);
    let held = snapshot.lease.as_mut().expect("available").as_mut().expect("exists");
    held.renewed = watched;
    held.lease.spec.as_mut().expect("a spec").renew_time = Some(MicroTime(renewed));
    assert_eq!(leader(&snapshot).status == Status::Ok, leads);
}

#[test]
fn a_lease_without_holder_has_no_leader() {
    let mut snapshot = healthy::snapshot();
    let held = snapshot.lease.as_mut().expect("available").as_mut().expect("exists");
    held.lease.spec.as_mut().expect("a spec").holder_identity = Some(String::new());
    assert_eq!(leader(&snapshot).status, Status::Failure);
}

#[test]
fn an_unreachable_reaper_is_a_failure() {
    let mut snapshot = healthy::snapshot();
    snapshot.slices.as_mut().expect("slices").clear();
    snapshot.reaper_answers = Err(LookupError::Failed("no endpoints available for service".to_owned()));
    let findings = reaper(&snapshot);
    let texts: Vec<_> = failures(&findings).iter().map(|finding| finding.message.as_str()).collect();
    assert!(texts.iter().any(|text| text.contains("has no ready pod")), "{texts:?}");
    assert!(texts.iter().any(|text| text.contains("cannot be reached through its Service")), "{texts:?}");
}

#[test]
fn a_missing_permission_is_unknown() {
    let mut snapshot = healthy::snapshot();
    snapshot.reaper_answers = Err(LookupError::Forbidden("User \"eve\" cannot get services/proxy".to_owned()));
    let finding = answers(&snapshot);
    assert_eq!(finding.status, Status::Unknown);
    assert!(finding.message.starts_with("cannot get") && finding.message.contains("eve"), "{finding:?}");
}

#[test]
fn a_node_without_an_agent_is_named() {
    let mut snapshot = healthy::snapshot();
    snapshot
        .agent_pods
        .as_mut()
        .expect("pods")
        .retain(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.as_deref() != Some("node-2")));
    assert_eq!(the_failure(&agent(&snapshot)).message, "no ready agent on node-2 (no pod)");
}

#[test]
fn an_agent_that_is_not_ready_is_named() {
    let mut snapshot = healthy::snapshot();
    snapshot.agent_pods.as_mut().expect("pods")[0].status = None;
    assert_eq!(the_failure(&agent(&snapshot)).message, "no ready agent on node-1 (not ready)");
}

#[test]
fn the_agent_of_a_node_that_is_down_is_no_failure() {
    let mut snapshot = healthy::snapshot();
    snapshot.agent_pods.as_mut().expect("pods")[0].status = None;
    snapshot.nodes.as_mut().expect("nodes")[0].status = None;
    let findings = agent(&snapshot);
    assert!(failures(&findings).is_empty(), "{findings:?}");
    assert!(findings.iter().any(|it| it.status == Status::Warning && it.message.contains("node-1")), "{findings:?}");
}

#[rstest]
#[case::some("kubernetes.io/hostname", "node-1", Status::Warning, "node-2")]
#[case::all("nowhere", "true", Status::Failure, "node-1, node-2")]
fn nodes_that_the_node_selector_excludes_are_named(
    #[case] key: &str,
    #[case] value: &str,
    #[case] status: Status,
    #[case] named: &str,
) {
    let mut snapshot = healthy::snapshot();
    let daemon_set = snapshot.agent.as_mut().expect("available").as_mut().expect("exists");
    let spec = daemon_set.spec.as_mut().and_then(|spec| spec.template.spec.as_mut()).expect("a spec");
    spec.node_selector = Some([(key.to_owned(), value.to_owned())].into());
    let findings = agent(&snapshot);
    let found = findings.iter().find(|finding| finding.status != Status::Ok).expect("a finding");
    assert_eq!(found.status, status, "{findings:?}");
    assert!(found.message.ends_with(named), "{found:?}");
}

#[rstest]
#[case::healthy(Ok(AccessHealth { tls: true, ..AccessHealth::default() }), Status::Ok, "authenticates")]
#[case::loopback_only(Ok(AccessHealth::default()), Status::Ok, "port-forwards alone")]
#[case::no_reviews(
    Ok(AccessHealth { tls: true, authorization_error: Some("forbidden".to_owned()), ..AccessHealth::default() }),
    Status::Failure,
    "SubjectAccessReview: forbidden"
)]
#[case::not_reached(Err(LookupError::Failed("no route".to_owned())), Status::Warning, "no route")]
#[case::not_allowed(Err(LookupError::Forbidden("no".to_owned())), Status::Unknown, "pods/portforward")]
fn the_health_of_the_authentication_is_shown(
    #[case] health: Lookup<AccessHealth>,
    #[case] status: Status,
    #[case] said: &str,
) {
    let finding = access(&Snapshot { access: health, ..healthy::snapshot() });
    assert_eq!(finding.status, status, "{finding:?}");
    assert!(finding.message.contains(said), "{finding:?}");
}
