//! Enrolled namespaces: what in them keeps worker pods from being created or from starting.

use std::collections::BTreeMap;

use jobwarden_common::names::{SIDECAR_CONTAINER, object};
use jobwarden_inject::{
    endpoint::Endpoint,
    patch::{self, Settings, limits::Bounds, quantity::Quantity},
    view,
};
use k8s_openapi::{
    api::core::v1::{LimitRange, Namespace, Pod, ResourceQuota},
    apimachinery::pkg::api::resource::Quantity as Amount,
};
use kube::ResourceExt;

use super::{
    finding::{Finding, Section, all, some_of},
    registration::{others_for_pods, settings},
    snapshot::Snapshot,
    trial::{self, strippers},
};
use crate::limits::bounds;

const SECTION: Section = Section::Namespaces;

pub(super) fn check(snapshot: &Snapshot) -> Vec<Finding> {
    let found = SECTION.seen("the namespaces", &snapshot.enrolled).map(|enrolled| {
        let names: Vec<String> = in_effect(snapshot, enrolled).map(ResourceExt::name_any).collect();
        let mut findings = vec![match names.len() {
            0 => SECTION.ok("no namespace is enrolled yet"),
            1 => SECTION.ok(format!("{} is enrolled", names[0])),
            several => SECTION.ok(format!("{several} namespaces are enrolled: {}", some_of(&names))),
        }];
        let in_vain = enrolled.iter().filter(|namespace| is_exempt(snapshot, namespace)).map(ResourceExt::name_any);
        let in_vain: Vec<String> = in_vain.collect();
        if !in_vain.is_empty() {
            let hint = "they hold what must start while the webhook is away; run Jobs that are to be guarded elsewhere";
            findings.push(SECTION.warning(format!("labelled in vain: {}", some_of(&in_vain)), hint));
        }
        if let Some(settings) = settings(snapshot) {
            findings.extend(limit_ranges(snapshot, &names, &settings));
            findings.extend(quotas(snapshot, &names, &settings));
        } else if snapshot.webhook.as_ref().is_ok_and(Option::is_some) {
            let hint = "check with the program of the version that is installed";
            findings.push(SECTION.warning("the webhook's flags are not understood, so no size was checked", hint));
        }
        findings
    });
    [all(found), stuck(snapshot)].concat()
}

/// Whether the webhook configuration leaves it out, labelled or not.
fn is_exempt(snapshot: &Snapshot, namespace: &Namespace) -> bool {
    [snapshot.namespace.as_str(), object::AGENT, "kube-system"].contains(&namespace.name_any().as_str())
}

/// Those of `enrolled` whose pods are admitted, now.
pub(super) fn in_effect<'a>(snapshot: &Snapshot, enrolled: &'a [Namespace]) -> impl Iterator<Item = &'a Namespace> {
    enrolled.iter().filter(|it| it.metadata.deletion_timestamp.is_none() && !is_exempt(snapshot, it))
}

/// Those that refuse the sidecar's size, by the very code that refuses it.
fn limit_ranges(snapshot: &Snapshot, namespaces: &[String], settings: &Settings) -> Vec<Finding> {
    let found = SECTION.seen("the LimitRanges", &snapshot.limit_ranges).map(|ranges| {
        let refusals = namespaces.iter().filter_map(|namespace| {
            let of = ranges.iter().filter(|range| range.namespace().as_ref() == Some(namespace));
            let refusal = refusal(namespace, of, settings)?;
            let hint = format!(
                "give its sidecars another size: helm upgrade with --set sidecar.namespaces.{namespace}.memory=… (or .cpu=…),\n\
                 or change the LimitRange: kubectl -n {namespace} describe limitranges"
            );
            Some(SECTION.failure(format!("the sidecar is refused in {namespace}: {refusal}"), hint))
        });
        match refusals.collect::<Vec<_>>() {
            none if none.is_empty() => vec![SECTION.ok("no LimitRange refuses the sidecar")],
            some => some,
        }
    });
    all(found)
}

fn refusal<'a>(
    namespace: &str,
    ranges: impl Iterator<Item = &'a LimitRange>,
    settings: &Settings,
) -> Option<patch::Denial> {
    let bounds: Bounds = ranges.flat_map(bounds).collect();
    let text = serde_json::to_string(&trial::pod("image", false)).expect("a pod is JSON");
    let pod: view::Pod<'_> = serde_json::from_str(&text).expect("it was just written");
    // It never gets there.
    let nowhere = Endpoint::from_parts(String::new(), String::new(), String::new());
    patch::pod::admit(&pod, namespace, settings, &nowhere, Some(&bounds)).err()
}

/// Those that have no room for one more sidecar.
fn quotas(snapshot: &Snapshot, namespaces: &[String], settings: &Settings) -> Vec<Finding> {
    let found = SECTION.seen("the ResourceQuotas", &snapshot.quotas).map(|quotas| {
        let of = quotas.iter().filter(|quota| quota.namespace().is_some_and(|it| namespaces.contains(&it)));
        let full = of.filter_map(|quota| {
            let namespace = quota.namespace()?;
            let short = short(quota, &namespace, settings);
            let hint = "new worker pods have to wait until others end; raise it, or ask for less";
            let what = format!(
                "the ResourceQuota {namespace}/{} has no room for a sidecar: {}",
                quota.name_any(),
                short.join(", ")
            );
            (!short.is_empty()).then(|| SECTION.warning(what, hint))
        });
        full.collect()
    });
    all(found)
}

/// Of what `quota` has less left than a sidecar needs.
fn short(quota: &ResourceQuota, namespace: &str, settings: &Settings) -> Vec<String> {
    let (cpu, memory) = settings.sidecar.size_in(namespace);
    let (cpu, memory) = (cpu.value(), memory.value());
    let needs = [
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
        // Ours knows no quantity of zero.
        Some(amount.0.parse::<Quantity>().map_or(0.0, |quantity| quantity.value()))
    };
    let left = |key: &str| Some(amount(&status.hard, key)? - amount(&status.used, key).unwrap_or(0.0));
    needs
        .into_iter()
        .filter(|(key, need)| left(key).is_some_and(|left| left < *need))
        .map(|(key, _)| key.to_owned())
        .collect()
}

/// Worker pods whose sidecar is an init container that never ends.
fn stuck(snapshot: &Snapshot) -> Vec<Finding> {
    let found = SECTION.seen("the worker pods that do not run yet", &snapshot.pending).map(|pending| {
        let stuck: Vec<_> = pending.iter().filter(|pod| is_stripped(pod)).collect();
        let Some(first) = stuck.first() else {
            return vec![SECTION.ok("no worker pod hangs in a sidecar without its restart policy")];
        };
        let names = stuck.iter().map(|pod| format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any()));
        let what = format!(
            "hanging for ever, for their sidecar lost its restartPolicy: {}",
            some_of(&names.collect::<Vec<_>>())
        );
        let delete = format!("kubectl -n {} delete pod {}", first.namespace().unwrap_or_default(), first.name_any());
        vec![SECTION.failure(
            what,
            format!("delete them, and their Jobs make others: {delete}\n{}", strippers(&others_for_pods(snapshot))),
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
    use crate::check::{finding::Status, sound};

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
    fn nothing_is_wrong_with_a_sound_one() {
        assert_eq!(bad(&sound::snapshot()), []);
    }

    #[rstest]
    #[case::too_little("work", json!({"type": "Container", "min": {"memory": "64Mi"}}), true)]
    #[case::enough("work", json!({"type": "Container", "min": {"memory": "16Mi"}}), false)]
    #[case::elsewhere("other", json!({"type": "Container", "min": {"memory": "64Mi"}}), false)]
    fn a_limit_range_that_refuses_the_sidecar_is_named(
        #[case] namespace: &str,
        #[case] item: Value,
        #[case] told: bool,
    ) {
        let mut snapshot = sound::snapshot();
        snapshot.limit_ranges = Ok(vec![range(namespace, &item)]);
        let found = bad(&snapshot);
        assert_eq!(found.len(), usize::from(told), "{found:?}");
        for finding in found {
            assert!(finding.what.contains("\"range\"") && finding.what.contains("64Mi"), "{finding:?}");
            assert!(finding.hint.is_some_and(|hint| hint.contains("sidecar.namespaces.work.memory")));
        }
    }

    #[test]
    fn a_namespace_with_sidecars_of_another_size_is_judged_by_that() {
        let mut snapshot = sound::snapshot();
        snapshot.limit_ranges = Ok(vec![range("work", &json!({"type": "Container", "min": {"memory": "64Mi"}}))]);
        let map = snapshot.config.as_mut().expect("seen").as_mut().expect("there");
        map.data =
            Some([("config.yaml".to_owned(), "sidecar: {namespaces: {work: {memory: 64Mi}}}".to_owned())].into());
        assert_eq!(bad(&snapshot), []);
    }

    #[rstest]
    #[case::no_memory(json!({"limits.memory": "1Gi"}), json!({"limits.memory": "1015Mi"}), Some("limits.memory"))]
    #[case::no_pod(json!({"pods": "4"}), json!({"pods": "4"}), Some("pods"))]
    #[case::just_enough(json!({"requests.cpu": "1"}), json!({"requests.cpu": "990m"}), None)]
    #[case::nothing_used(json!({"cpu": "1"}), json!({"cpu": "0"}), None)]
    fn a_quota_without_room_is_named(#[case] hard: Value, #[case] used: Value, #[case] named: Option<&str>) {
        let mut snapshot = sound::snapshot();
        let quota = json!({"metadata": {"name": "q", "namespace": "work"}, "status": {"hard": hard, "used": used}});
        snapshot.quotas = Ok(vec![serde_json::from_value(quota).expect("a quota")]);
        let found = bad(&snapshot);
        assert_eq!(found.len(), usize::from(named.is_some()), "{found:?}");
        assert!(found.iter().all(|it| it.what.ends_with(named.unwrap_or_default())), "{found:?}");
    }

    #[rstest]
    #[case::native(Some("Always"), false)]
    #[case::stripped(None, true)]
    fn a_pod_that_hangs_is_named(#[case] policy: Option<&str>, #[case] told: bool) {
        let mut snapshot = sound::snapshot();
        let pod = json!({"metadata": {"name": "p", "namespace": "work"}, "spec": {"containers": [], "initContainers": [
            {"name": SIDECAR_CONTAINER, "restartPolicy": policy},
        ]}});
        snapshot.pending = Ok(vec![serde_json::from_value(pod).expect("a pod")]);
        let found = bad(&snapshot);
        assert_eq!(found.len(), usize::from(told), "{found:?}");
        assert!(found.iter().all(|it| it.what.ends_with("work/p")), "{found:?}");
    }

    #[test]
    fn a_label_that_does_nothing_is_told() {
        let mut snapshot = sound::snapshot();
        snapshot.enrolled.as_mut().expect("seen")[0].metadata.name = Some("kube-system".to_owned());
        assert!(bad(&snapshot)[0].what.contains("in vain: kube-system"));
    }
}
