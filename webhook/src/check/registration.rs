//! How the API server is told of the webhook, and what the webhook is told to do.

use std::ffi::OsString;

use jobwarden_common::names::{admission_route, label, label_value, object};
use jobwarden_inject::{config::Config, patch::Settings};
use k8s_openapi::{
    api::admissionregistration::v1::{MutatingWebhook, ServiceReference},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::ResourceExt;

use super::{
    finding::{Finding, Section, all},
    snapshot::{POLICY, Snapshot, arguments},
};
use crate::args::WebhookArgs;

/// The most that the API server may wait for an answer; longer, and an outage stalls what it should refuse.
const LONGEST_SECONDS: i32 = 10;

/// Key of the configuration file in its `ConfigMap`, as the chart has it.
const FILE: &str = "config.yaml";

const SECTION: Section = Section::Webhook;

/// What a webhook of the configuration has to be like.
struct Expected {
    name: &'static str,
    group: &'static str,
    resource: &'static str,
    path: &'static str,
    /// Whether it is to be called for some objects alone.
    conditions: bool,
}

const EXPECTED: [Expected; 2] = [
    Expected {
        name: "jobs.jobwarden.io",
        group: "batch",
        resource: "jobs",
        path: admission_route::JOBS,
        conditions: false,
    },
    Expected { name: "pods.jobwarden.io", group: "", resource: "pods", path: admission_route::PODS, conditions: true },
];

pub(super) fn check(snapshot: &Snapshot) -> Vec<Finding> {
    [configuration(snapshot), vec![policy(snapshot)], vec![file(snapshot)]].concat()
}

fn configuration(snapshot: &Snapshot) -> Vec<Finding> {
    let name = object::WEBHOOK_CONFIGURATION;
    let look = snapshot.configuration();
    let at = format!("the MutatingWebhookConfiguration {name}");
    let found = SECTION.there(&at, &look, &format!("nothing is admitted without it; {}", snapshot.put_back()));
    let found = found.map(|configuration| {
        let mut webhooks = configuration.webhooks.iter().flatten();
        let each = EXPECTED.iter().map(|expected| match webhooks.clone().find(|it| it.name == expected.name) {
            None => Err(format!("{name} has no webhook {}", expected.name)),
            Some(webhook) => match expected.deviations(webhook, &snapshot.namespace) {
                wrong if wrong.is_empty() => Ok(()),
                wrong => Err(format!("{} is registered wrongly: {}", expected.name, wrong.join("; "))),
            },
        });
        let wrong: Vec<_> = each.filter_map(Result::err).map(|it| SECTION.failure(it, snapshot.put_back())).collect();
        if !wrong.is_empty() {
            return wrong;
        }
        let policies = webhooks.by_ref().map(|webhook| {
            let on_failure = webhook.failure_policy.as_deref().unwrap_or("Fail");
            format!("{} {on_failure}", webhook.name)
        });
        let policies: Vec<_> = policies.collect();
        vec![
            SECTION.ok(format!(
                "the webhook configuration is as it should be (failure policies: {})",
                policies.join(", ")
            )),
        ]
    });
    all(found)
}

impl Expected {
    /// In what `webhook` is otherwise.
    fn deviations(&self, webhook: &MutatingWebhook, namespace: &str) -> Vec<String> {
        let Self { name: _, group, resource, path, conditions } = self;
        let mut wrong = Vec::new();
        let mut unless = |good: bool, text: String| {
            if !good {
                wrong.push(text);
            }
        };
        let rules: Vec<_> = webhook.rules.iter().flatten().collect();
        let holds = |list: &Option<Vec<String>>, wanted: &str| list.iter().flatten().any(|it| it == wanted);
        let covered = rules.iter().any(|rule| {
            holds(&rule.api_groups, group) && holds(&rule.resources, resource) && holds(&rule.operations, "CREATE")
        });
        unless(covered, format!("no rule is for CREATE of {resource}"));
        let mut operations = rules.iter().flat_map(|rule| rule.operations.iter().flatten());
        let other = operations.find(|operation| *operation != "CREATE");
        unless(
            other.is_none(),
            format!("a rule is for {}, and only CREATE is answered", other.map_or("", String::as_str)),
        );
        let wide = rules.iter().any(|rule| rule.scope.as_deref() != Some("Namespaced"));
        unless(!wide, "the scope of a rule is not Namespaced".to_owned());
        unless(
            enrols(webhook.namespace_selector.as_ref()),
            format!("its namespaceSelector does not ask for {}={}", label::INJECT, label_value::ENABLED),
        );
        let service = webhook.client_config.service.as_ref();
        let ours = service.is_some_and(|service| is_ours(service, namespace, path));
        unless(ours, format!("it does not call {path} of the Service {namespace}/{}", object::WEBHOOK_SERVICE));
        let timeout = webhook.timeout_seconds.unwrap_or(LONGEST_SECONDS);
        unless(timeout <= LONGEST_SECONDS, format!("its timeout is {timeout} s, more than {LONGEST_SECONDS}"));
        unless(
            webhook.reinvocation_policy.as_deref() == Some("IfNeeded"),
            "its reinvocationPolicy is not IfNeeded".to_owned(),
        );
        unless(webhook.side_effects == "None", "its sideEffects are not None".to_owned());
        let has = webhook.match_conditions.as_ref().is_some_and(|them| !them.is_empty());
        unless(has || !conditions, "it has no matchConditions, and so is called for every pod".to_owned());
        wrong
    }
}

fn is_ours(service: &ServiceReference, namespace: &str, path: &str) -> bool {
    let named = (service.namespace.as_str(), service.name.as_str()) == (namespace, object::WEBHOOK_SERVICE);
    named && service.path.as_deref() == Some(path) && service.port.unwrap_or(443) == 443
}

fn enrols(selector: Option<&LabelSelector>) -> bool {
    let labels = selector.and_then(|selector| selector.match_labels.as_ref());
    labels.and_then(|labels| labels.get(label::INJECT)).is_some_and(|value| value == label_value::ENABLED)
}

/// The backstop against sidecars that have lost their restart policy.
fn policy(snapshot: &Snapshot) -> Finding {
    let hint =
        format!("a sidecar that another webhook has spoilt would hang its pod for ever; {}", snapshot.put_back());
    let found = || {
        SECTION.there(&format!("the ValidatingAdmissionPolicy {POLICY}"), &snapshot.policy, &hint)?;
        let at = format!("the ValidatingAdmissionPolicyBinding {POLICY}");
        let binding = SECTION.there(&at, &snapshot.binding, &hint)?;
        let spec = binding.spec.clone().unwrap_or_default();
        let denies = spec.validation_actions.iter().flatten().any(|action| action == "Deny");
        if denies && spec.policy_name.as_deref() == Some(POLICY) {
            return Ok(SECTION.ok("sidecars without their restart policy are refused"));
        }
        Err(SECTION.failure(format!("{at} does not deny by the policy {POLICY}"), &hint))
    };
    found().unwrap_or_else(|finding| finding)
}

/// Whether the webhook's configuration file is understood.
fn file(snapshot: &Snapshot) -> Finding {
    let at = format!("the ConfigMap {}/{}", snapshot.namespace, object::CONFIG);
    let found = SECTION.there(&at, &snapshot.config, &snapshot.put_back()).map(|map| {
        let Some(text) = map.data.as_ref().and_then(|data| data.get(FILE)) else {
            return SECTION.failure(format!("{at} has no {FILE}"), snapshot.put_back());
        };
        match Config::parse(text) {
            Ok(_) => SECTION.ok("the configuration file is understood"),
            Err(error) => {
                let error = error.to_string();
                let line = error.lines().next().unwrap_or_default();
                let hint = format!(
                    "the one before still applies, but no replica can start with it; put it right:\n\
                     kubectl -n {} edit configmap {}",
                    snapshot.namespace,
                    object::CONFIG
                );
                SECTION.failure(format!("the configuration file in {at} is refused: {line}"), hint)
            }
        }
    });
    found.unwrap_or_else(|finding| finding)
}

/// What admission does, as the webhook's own flags and configuration file say it; `None` where they cannot be read.
pub(super) fn settings(snapshot: &Snapshot) -> Option<Settings> {
    let deployment = snapshot.webhook.as_ref().ok()?.as_ref()?;
    let flags = arguments(deployment).iter().map(OsString::from);
    // The namespace comes by the environment there.
    let flags = flags.chain([OsString::from("--namespace"), OsString::from(&snapshot.namespace)]);
    let args = WebhookArgs::settings_of([OsString::from("jobwarden-webhook")].into_iter().chain(flags))?;
    let map = snapshot.config.as_ref().ok()?.as_ref()?;
    let config = Config::parse(map.data.as_ref()?.get(FILE)?).unwrap_or_default();
    Some(args.settings(config))
}

/// The webhook configurations of others that are called for pods; suspects where a sidecar is spoilt.
pub(super) fn others_for_pods(snapshot: &Snapshot) -> Vec<String> {
    let all = snapshot.configurations.iter().flatten();
    let others = all.filter(|it| it.name_any() != object::WEBHOOK_CONFIGURATION);
    let called = others.filter(|configuration| {
        let rules = configuration.webhooks.iter().flatten().flat_map(|webhook| webhook.rules.iter().flatten());
        let mut resources = rules.flat_map(|rule| rule.resources.iter().flatten());
        resources.any(|resource| ["pods", "*", "*/*", "pods/*"].contains(&resource.as_str()))
    });
    called.map(ResourceExt::name_any).collect()
}

#[cfg(test)]
mod tests;
