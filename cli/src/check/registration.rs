//! The registration of the webhook with the API server, and its configuration.

use std::ffi::OsString;

use super::{
    finding::{Finding, Section, all},
    snapshot::{POLICY, Snapshot, arguments},
};
use jobwarden_common::names::{admission_route, label, label_value, object};
use jobwarden_inject::{config::Config, patch::Settings};
use jobwarden_webhook::args::WebhookArgs;
use k8s_openapi::{
    api::admissionregistration::v1::{MutatingWebhook, ServiceReference},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

/// The longest timeout that is accepted: with a longer one, an outage of the webhook stalls the creation of pods.
const MAX_TIMEOUT_SECONDS: i32 = 10;

/// The key of the configuration file in the `ConfigMap` of the chart.
const FILE: &str = "config.yaml";

const SECTION: Section = Section::Webhook;

/// What a webhook of the configuration must look like.
struct Expected {
    name: &'static str,
    group: &'static str,
    resource: &'static str,
    path: &'static str,
    /// Whether it must have matchConditions.
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
    let found = SECTION.required(&at, &look, &format!("without it there is no admission; {}", snapshot.restore()));
    let found = found.map(|configuration| {
        let mut webhooks = configuration.webhooks.iter().flatten();
        let each = EXPECTED.iter().map(|expected| match webhooks.clone().find(|it| it.name == expected.name) {
            None => Err(format!("{name} has no webhook {}", expected.name)),
            Some(webhook) => match expected.deviations(webhook, &snapshot.namespace) {
                wrong if wrong.is_empty() => Ok(()),
                wrong => Err(format!("{} is misconfigured: {}", expected.name, wrong.join("; "))),
            },
        });
        let wrong: Vec<_> = each.filter_map(Result::err).map(|it| SECTION.failure(it, snapshot.restore())).collect();
        if !wrong.is_empty() {
            return wrong;
        }
        let policies = webhooks.by_ref().map(|webhook| {
            let on_failure = webhook.failure_policy.as_deref().unwrap_or("Fail");
            format!("{} {on_failure}", webhook.name)
        });
        let policies: Vec<_> = policies.collect();
        vec![SECTION.ok(format!("the webhook configuration is correct (failure policies: {})", policies.join(", ")))]
    });
    all(found)
}

impl Expected {
    /// How `webhook` deviates.
    fn deviations(&self, webhook: &MutatingWebhook, namespace: &str) -> Vec<String> {
        let Self { name: _, group, resource, path, conditions } = self;
        let mut wrong = Vec::new();
        let mut expect = |correct: bool, text: String| {
            if !correct {
                wrong.push(text);
            }
        };
        let rules: Vec<_> = webhook.rules.iter().flatten().collect();
        let holds = |list: &Option<Vec<String>>, wanted: &str| list.iter().flatten().any(|it| it == wanted);
        let covered = rules.iter().any(|rule| {
            holds(&rule.api_groups, group) && holds(&rule.resources, resource) && holds(&rule.operations, "CREATE")
        });
        expect(covered, format!("no rule matches CREATE of {resource}"));
        let mut operations = rules.iter().flat_map(|rule| rule.operations.iter().flatten());
        let other = operations.find(|operation| *operation != "CREATE");
        expect(
            other.is_none(),
            format!("a rule matches {}, but only CREATE is supported", other.map_or("", String::as_str)),
        );
        let wide = rules.iter().any(|rule| rule.scope.as_deref() != Some("Namespaced"));
        expect(!wide, "the scope of a rule is not Namespaced".to_owned());
        expect(
            enrols(webhook.namespace_selector.as_ref()),
            format!("its namespaceSelector does not require {}={}", label::INJECT, label_value::ENABLED),
        );
        let service = webhook.client_config.service.as_ref();
        let ours = service.is_some_and(|service| is_ours(service, namespace, path));
        expect(ours, format!("it does not call {path} of the Service {namespace}/{}", object::WEBHOOK_SERVICE));
        let timeout = webhook.timeout_seconds.unwrap_or(MAX_TIMEOUT_SECONDS);
        expect(timeout <= MAX_TIMEOUT_SECONDS, format!("its timeout is {timeout} s, more than {MAX_TIMEOUT_SECONDS}"));
        expect(
            webhook.reinvocation_policy.as_deref() == Some("IfNeeded"),
            "its reinvocationPolicy is not IfNeeded".to_owned(),
        );
        expect(webhook.side_effects == "None", "its sideEffects are not None".to_owned());
        let has = webhook.match_conditions.as_ref().is_some_and(|them| !them.is_empty());
        expect(has || !conditions, "it has no matchConditions, so it is called for every pod".to_owned());
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

/// The policy that rejects sidecars without their restart policy.
fn policy(snapshot: &Snapshot) -> Finding {
    let hint = format!(
        "a sidecar without restartPolicy, removed by another webhook, would block its pod for ever; {}",
        snapshot.restore()
    );
    let found = || {
        SECTION.required(&format!("the ValidatingAdmissionPolicy {POLICY}"), &snapshot.policy, &hint)?;
        let at = format!("the ValidatingAdmissionPolicyBinding {POLICY}");
        let binding = SECTION.required(&at, &snapshot.binding, &hint)?;
        let spec = binding.spec.clone().unwrap_or_default();
        let denies = spec.validation_actions.iter().flatten().any(|action| action == "Deny");
        if denies && spec.policy_name.as_deref() == Some(POLICY) {
            return Ok(SECTION.ok("sidecars without restartPolicy are rejected"));
        }
        Err(SECTION.failure(format!("{at} does not deny what violates the policy {POLICY}"), &hint))
    };
    found().unwrap_or_else(|finding| finding)
}

/// Whether the webhook's configuration file is valid.
fn file(snapshot: &Snapshot) -> Finding {
    let at = format!("the ConfigMap {}/{}", snapshot.namespace, object::CONFIG);
    let found = SECTION.required(&at, &snapshot.config, &snapshot.restore()).map(|map| {
        let Some(text) = map.data.as_ref().and_then(|data| data.get(FILE)) else {
            return SECTION.failure(format!("{at} has no {FILE}"), snapshot.restore());
        };
        match Config::parse(text) {
            Ok(_) => SECTION.ok("the configuration file is valid"),
            Err(error) => {
                let error = error.to_string();
                let line = error.lines().next().unwrap_or_default();
                let hint = format!(
                    "the previous configuration stays in effect, but no replica can start with this one; fix it:\n\
                     kubectl -n {} edit configmap {}",
                    snapshot.namespace,
                    object::CONFIG
                );
                SECTION.failure(format!("the configuration file in {at} is invalid: {line}"), hint)
            }
        }
    });
    found.unwrap_or_else(|finding| finding)
}

/// The settings of admission, from the webhook's flags and configuration file; `None` if they cannot be read.
pub(super) fn settings(snapshot: &Snapshot) -> Option<Settings> {
    let deployment = snapshot.webhook.as_ref().ok()?.as_ref()?;
    let flags = arguments(deployment).iter().map(OsString::from);
    // The Deployment sets the namespace through the environment.
    let flags = flags.chain([OsString::from("--namespace"), OsString::from(&snapshot.namespace)]);
    let args = WebhookArgs::settings_of(flags)?;
    let map = snapshot.config.as_ref().ok()?.as_ref()?;
    let config = Config::parse(map.data.as_ref()?.get(FILE)?).unwrap_or_default();
    Some(args.settings(config))
}

#[cfg(test)]
mod tests;
