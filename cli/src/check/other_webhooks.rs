//! The webhooks of others, as suspects where a pod does not get its sidecar as it should.

use jobwarden_common::names::object;
use kube::ResourceExt;

use super::{finding::some_of, snapshot::Snapshot};

/// The webhook configurations, other than jobwarden's, that are called for pods.
pub(super) fn called_for_pods(snapshot: &Snapshot) -> Vec<String> {
    let all = snapshot.configurations.iter().flatten();
    let others = all.filter(|it| it.name_any() != object::WEBHOOK_CONFIGURATION);
    let called = others.filter(|configuration| {
        let rules = configuration.webhooks.iter().flatten().flat_map(|webhook| webhook.rules.iter().flatten());
        let mut resources = rules.flat_map(|rule| rule.resources.iter().flatten());
        resources.any(|resource| ["pods", "*", "*/*", "pods/*"].contains(&resource.as_str()))
    });
    called.map(ResourceExt::name_any).collect()
}

/// What to do about a webhook that removes the restart policy from the sidecar.
pub(super) fn fix_removal(others: &[String]) -> String {
    let suspects = if others.is_empty() { "none visible to this check".to_owned() } else { some_of(others) };
    format!(
        "it decodes containers into a type without the field restartPolicy: update it, or exclude the namespace from it\n\
         webhooks that are called for pods: {suspects}\n\
         kubectl get mutatingwebhookconfigurations"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::healthy;

    #[test]
    fn only_others_that_are_called_for_pods_are_suspects() {
        let mut snapshot = healthy::snapshot();
        let webhook = |name: &str, resource: &str| {
            serde_json::from_value(json!({"metadata": {"name": name}, "webhooks": [{
                "name": "a.b.c", "clientConfig": {}, "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "rules": [{"resources": [resource]}],
            }]}))
            .expect("a configuration")
        };
        let configurations = snapshot.configurations.as_mut().expect("found");
        configurations.extend([webhook("mesh", "pods"), webhook("quota", "services")]);
        assert_eq!(called_for_pods(&snapshot), ["mesh"]);
    }
}
