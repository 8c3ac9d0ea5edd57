//! What keeps worker pods in enrolled namespaces from being created or from starting.

use std::collections::BTreeMap;

use jobwarden_common::names::SIDECAR_CONTAINER;
use jobwarden_inject::{
    endpoint::Endpoint,
    patch::{self, Effect, Settings, limits::Bounds, quantity::Quantity},
    view,
};
use jobwarden_webhook::limits::bounds;
use k8s_openapi::{
    api::core::v1::{LimitRange, Pod, ResourceQuota},
    apimachinery::pkg::api::resource::Quantity as Amount,
};
use kube::ResourceExt;

use super::{
    dry_run,
    enrolment::{effective, is_exempt},
    finding::{Finding, Section, all, some_of},
    other_webhooks::{called_for_pods, fix_removal},
    registration::settings,
    snapshot::Snapshot,
};

const SECTION: Section = Section::Namespaces;

pub(super) fn check(snapshot: &Snapshot) -> Vec<Finding> {
    let found = SECTION.available("the namespaces", &snapshot.enrolled).map(|enrolled| {
        let names: Vec<String> = effective(snapshot, enrolled).map(ResourceExt::name_any).collect();
        let mut findings = vec![match (names.len(), &snapshot.only) {
            (0, Some(only)) => {
                let hint = format!("to enrol it: kubectl label namespace {only} jobwarden.io/inject=enabled");
                SECTION.warning(format!("{only} is not enrolled"), hint)
            }
            (0, None) => SECTION.ok("no namespace is enrolled yet"),
            (1, _) => SECTION.ok(format!("{} is enrolled", names[0])),
            (several, _) => SECTION.ok(format!("{several} namespaces are enrolled: {}", some_of(&names))),
        }];
        let exempt = enrolled.iter().filter(|namespace| is_exempt(snapshot, namespace)).map(ResourceExt::name_any);
        let exempt: Vec<String> = exempt.collect();
        if !exempt.is_empty() {
            let hint = "their pods must be able to start while the webhook is down; run Jobs in other namespaces";
            findings.push(SECTION.warning(format!("the label has no effect on {}", some_of(&exempt)), hint));
        }
        if let Some(settings) = settings(snapshot) {
            findings.extend(limit_ranges(snapshot, &names, &settings));
            findings.extend(quotas(snapshot, &names, &settings));
        } else if snapshot.webhook.as_ref().is_ok_and(Option::is_some) {
            let hint = "use the jobwarden command of the installed version";
            findings.push(
                SECTION.warning("cannot parse the webhook's flags, so the size of sidecars was not checked", hint),
            );
        }
        findings
    });
    [all(found), stuck(snapshot)].concat()
}

/// `LimitRanges` that leave no room for the sidecar, found by the code of admission.
fn limit_ranges(snapshot: &Snapshot, namespaces: &[String], settings: &Settings) -> Vec<Finding> {
    let found = SECTION.available("the LimitRanges", &snapshot.limit_ranges).map(|ranges| {
        let rejections = namespaces.iter().filter_map(|namespace| {
            let of = ranges.iter().filter(|range| range.namespace().as_ref() == Some(namespace));
            let rejection = rejection(namespace, of, settings)?;
            let hint = format!(
                "its worker pods run, and only the agent watches them; change the LimitRange: kubectl -n {namespace} describe limitranges"
            );
            Some(SECTION.failure(format!("sidecars do not fit in {namespace}: {rejection}"), hint))
        });
        match rejections.collect::<Vec<_>>() {
            none if none.is_empty() => vec![SECTION.ok("no LimitRange leaves the sidecar out")],
            some => some,
        }
    });
    all(found)
}

fn rejection<'a>(namespace: &str, ranges: impl Iterator<Item = &'a LimitRange>, settings: &Settings) -> Option<String> {
    let bounds: Bounds = ranges.flat_map(bounds).collect();
    let text = serde_json::to_string(&dry_run::pod("image", false)).expect("a pod serializes");
    let pod: view::Pod<'_> = serde_json::from_str(&text).expect("it was just serialized");
    // Not reached by a rejection.
    let endpoint = Endpoint::from_parts(String::new(), String::new(), String::new());
    let mutation = patch::pod::admit(&pod, namespace, settings, &endpoint, Some(&bounds)).ok()?;
    matches!(mutation.effect, Effect::WithoutSidecar(_)).then(|| mutation.warnings.join("; "))
}

/// `ResourceQuotas` without room for one more sidecar.
fn quotas(snapshot: &Snapshot, namespaces: &[String], settings: &Settings) -> Vec<Finding> {
    let found = SECTION.available("the ResourceQuotas", &snapshot.quotas).map(|quotas| {
        let of = quotas.iter().filter(|quota| quota.namespace().is_some_and(|it| namespaces.contains(&it)));
        let full = of.filter_map(|quota| {
            let namespace = quota.namespace()?;
            let exhausted = exhausted(quota, &namespace, settings);
            let hint = "new worker pods are not created until others end; raise the quota, or request less";
            let message = format!(
                "the ResourceQuota {namespace}/{} has no room for a sidecar: {}",
                quota.name_any(),
                exhausted.join(", ")
            );
            (!exhausted.is_empty()).then(|| SECTION.warning(message, hint))
        });
        full.collect()
    });
    all(found)
}

/// The resources of which `quota` has less left than a sidecar requests.
fn exhausted(quota: &ResourceQuota, namespace: &str, settings: &Settings) -> Vec<String> {
    let (cpu, memory) = settings.sidecar.size_in(namespace);
    let (cpu, memory) = (cpu.value(), memory.value());
    let requests = [
        ("cpu", cpu),
        ("requests.cpu", cpu),
        ("limits.cpu", cpu),
        ("memory", memory),
        ("requests.memory", memory),
        ("limits.memory", memory),
        ("pods", 1.0),
    ];
    let status = quota.status.clone().unwrap_or_default();
    let amount = |of: &Option<BTreeMap<String, Amount>>, key: &str| {
        let amount = of.as_ref()?.get(key)?;
        // The parser does not accept zero.
        Some(amount.0.parse::<Quantity>().map_or(0.0, |quantity| quantity.value()))
    };
    let left = |key: &str| Some(amount(&status.hard, key)? - amount(&status.used, key).unwrap_or(0.0));
    requests
        .into_iter()
        .filter(|(key, request)| left(key).is_some_and(|left| left < *request))
        .map(|(key, _)| key.to_owned())
        .collect()
}

/// Worker pods whose sidecar is a plain init container, which never ends.
fn stuck(snapshot: &Snapshot) -> Vec<Finding> {
    let found = SECTION.available("the pending worker pods", &snapshot.pending).map(|pending| {
        let is_asked_for = |pod: &Pod| snapshot.only.is_none() || pod.namespace() == snapshot.only;
        let stuck: Vec<_> = pending.iter().filter(|pod| is_stripped(pod) && is_asked_for(pod)).collect();
        let Some(first) = stuck.first() else {
            return vec![SECTION.ok("no worker pod is blocked by a sidecar without restartPolicy")];
        };
        let names = stuck.iter().map(|pod| format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any()));
        let message = format!(
            "blocked for ever, because their sidecar lost its restartPolicy: {}",
            some_of(&names.collect::<Vec<_>>())
        );
        let delete = format!("kubectl -n {} delete pod {}", first.namespace().unwrap_or_default(), first.name_any());
        vec![SECTION.failure(
            message,
            format!(
                "delete them, and their Jobs create new ones: {delete}\n{}",
                fix_removal(&called_for_pods(snapshot))
            ),
        )]
    });
    all(found)
}

fn is_stripped(pod: &Pod) -> bool {
    let mut containers = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    containers.any(|it| it.name == SIDECAR_CONTAINER && it.restart_policy.as_deref() != Some("Always"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::check::{finding::Status, healthy};

    fn bad(snapshot: &Snapshot) -> Vec<Finding> {
        check(snapshot).into_iter().filter(|finding| finding.status != Status::Ok).collect()
    }

    fn range(namespace: &str, item: &Value) -> LimitRange {
        serde_json::from_value(
            json!({"metadata": {"name": "range", "namespace": namespace}, "spec": {"limits": [item]}}),
        )
        .expect("a LimitRange")
    }

    #[test]
    fn a_healthy_installation_has_no_problem() {
        assert_eq!(bad(&healthy::snapshot()), []);
    }

    #[rstest]
    #[case::too_small("work", json!({"type": "Container", "max": {"memory": "8Mi"}}), true)]
    #[case::another_size("work", json!({"type": "Container", "min": {"memory": "64Mi"}}), false)]
    #[case::elsewhere("other", json!({"type": "Container", "max": {"memory": "8Mi"}}), false)]
    fn a_limit_range_that_leaves_no_room_for_the_sidecar_is_named(
        #[case] namespace: &str,
        #[case] item: Value,
        #[case] reported: bool,
    ) {
        let mut snapshot = healthy::snapshot();
        snapshot.limit_ranges = Ok(vec![range(namespace, &item)]);
        let found = bad(&snapshot);
        assert_eq!(found.len(), usize::from(reported), "{found:?}");
        for finding in found {
            assert!(finding.message.contains("\"range\"") && finding.message.contains("8Mi"), "{finding:?}");
            assert!(finding.hint.is_some_and(|hint| hint.contains("kubectl -n work describe limitranges")));
        }
    }

    #[rstest]
    #[case::no_memory(json!({"limits.memory": "1Gi"}), json!({"limits.memory": "1015Mi"}), Some("limits.memory"))]
    #[case::no_pod(json!({"pods": "4"}), json!({"pods": "4"}), Some("pods"))]
    #[case::just_enough(json!({"requests.cpu": "1"}), json!({"requests.cpu": "990m"}), None)]
    #[case::nothing_used(json!({"cpu": "1"}), json!({"cpu": "0"}), None)]
    fn a_quota_without_room_is_named(#[case] hard: Value, #[case] used: Value, #[case] named: Option<&str>) {
        let mut snapshot = healthy::snapshot();
        let quota = json!({"metadata": {"name": "q", "namespace": "work"}, "status": {"hard": hard, "used": used}});
        snapshot.quotas = Ok(vec![serde_json::from_value(quota).expect("a quota")]);
        let found = bad(&snapshot);
        assert_eq!(found.len(), usize::from(named.is_some()), "{found:?}");
        assert!(found.iter().all(|it| it.message.ends_with(named.unwrap_or_default())), "{found:?}");
    }

    #[rstest]
    #[case::native(Some("Always"), false)]
    #[case::stripped(None, true)]
    fn a_blocked_pod_is_named(#[case] policy: Option<&str>, #[case] reported: bool) {
        let mut snapshot = healthy::snapshot();
        let pod = json!({"metadata": {"name": "p", "namespace": "work"}, "spec": {"containers": [], "initContainers": [
            {"name": SIDECAR_CONTAINER, "restartPolicy": policy},
        ]}});
        snapshot.pending = Ok(vec![serde_json::from_value(pod).expect("a pod")]);
        let found = bad(&snapshot);
        assert_eq!(found.len(), usize::from(reported), "{found:?}");
        assert!(found.iter().all(|it| it.message.ends_with("work/p")), "{found:?}");
    }

    #[test]
    fn a_label_without_effect_is_a_warning() {
        let mut snapshot = healthy::snapshot();
        snapshot.enrolled.as_mut().expect("available")[0].metadata.name = Some("kube-system".to_owned());
        assert!(bad(&snapshot)[0].message.contains("no effect on kube-system"));
    }

    #[test]
    fn only_the_namespace_that_was_asked_for_is_checked() {
        let mut snapshot = healthy::snapshot();
        let mut another = snapshot.enrolled.as_ref().expect("available")[0].clone();
        another.metadata.name = Some("another".to_owned());
        snapshot.enrolled.as_mut().expect("available").push(another);
        assert_eq!(check(&snapshot)[0].message, "2 namespaces are enrolled: work, another");
        snapshot.only = Some("work".to_owned());
        assert_eq!(check(&snapshot)[0].message, "work is enrolled");
        snapshot.only = Some("mine".to_owned());
        let found = bad(&snapshot);
        assert_eq!(found[0].message, "mine is not enrolled");
        assert_eq!(found[0].status, Status::Warning);
    }
}
