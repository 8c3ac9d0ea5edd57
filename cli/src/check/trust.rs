//! Certificates: whether they are valid, and whether their clients trust them. All times are by the clock of the API server.

use std::time::SystemTime;

use jobwarden_common::names::{endpoint_key, object};
use jobwarden_inject::endpoint::{Endpoint, service_name};
use jobwarden_webhook::certificates::{Serving, Signing};
use k8s_openapi::{
    api::{
        admissionregistration::v1::MutatingWebhookConfiguration,
        core::v1::{ConfigMap, Secret, Service},
    },
    jiff::{SignedDuration, Timestamp},
};

use super::{
    finding::{Finding, Section, all},
    lookup::Lookup,
    snapshot::{Snapshot, arguments},
};

const SECTION: Section = Section::Certificates;

pub(super) fn check(snapshot: &Snapshot) -> Vec<Finding> {
    let (mut findings, webhooks) =
        leaf(snapshot, object::WEBHOOK_SERVICE, object::WEBHOOK_TLS_SECRET, &snapshot.webhook_tls);
    let (more, reapers) = leaf(snapshot, object::REAPER_SERVICE, object::REAPER_TLS_SECRET, &snapshot.reaper_tls);
    findings.extend(more);
    if !is_external(snapshot) {
        let bundles = [(object::WEBHOOK_TLS_SECRET, &webhooks), (object::REAPER_TLS_SECRET, &reapers)];
        findings.extend(authority(snapshot, bundles.map(|(name, serving)| (name, serving.as_ref()))));
    }
    findings.extend(webhooks.map(|serving| ca_bundles(snapshot, &serving)).unwrap_or_default());
    findings.extend(endpoint(snapshot, reapers.as_ref()));
    findings
}

/// Whether another tool makes the certificates.
fn is_external(snapshot: &Snapshot) -> bool {
    let webhook = snapshot.webhook.as_ref().ok().and_then(Option::as_ref);
    webhook.is_some_and(|webhook| arguments(webhook).iter().any(|flag| flag == "--certificates=external"))
}

fn now(snapshot: &Snapshot) -> SystemTime {
    snapshot.server.now.into()
}

fn instant(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(Timestamp::MAX)
}

/// Such as `1h 2m 3s ago`, `in 5 h` or `in 2 days`.
fn distance(snapshot: &Snapshot, time: SystemTime) -> String {
    let left = instant(time).duration_since(snapshot.server.now);
    let seconds = left.abs().as_secs();
    let text = match seconds {
        0..7200 => format!("{:#}", SignedDuration::from_secs(seconds)),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86400),
    };
    if left.is_negative() { format!("{text} ago") } else { format!("in {text}") }
}

/// How a certificate is renewed.
fn renewal(snapshot: &Snapshot, secret: &str) -> String {
    let namespace = &snapshot.namespace;
    if is_external(snapshot) {
        let certificate = secret.trim_end_matches("-tls");
        return format!(
            "another tool manages it (--certificates=external); for cert-manager see\n\
             kubectl -n {namespace} describe certificate {certificate}"
        );
    }
    format!(
        "a running webhook renews it in time; if none does, see\n\
         kubectl -n {namespace} logs deployment/{} --all-pods --tail=20\n\
         to renew it immediately: kubectl -n {namespace} patch secret {secret} --type=merge --patch='{{\"data\":{{\"tls.crt\":\"\"}}}}'",
        object::WEBHOOK_SERVICE
    )
}

/// How to restore an object that the chart creates and the webhook fills. `kind` is what `kubectl create` calls it.
fn recreation(snapshot: &Snapshot, kind: &str, name: &str) -> String {
    let namespace = &snapshot.namespace;
    format!(
        "the webhook fills it, and may not create it; create it empty:\n\
         kubectl -n {namespace} create {kind} {name}"
    )
}

/// How to restore a Secret that was deleted.
fn secret_recreation(snapshot: &Snapshot, secret: &str) -> String {
    if is_external(snapshot) { renewal(snapshot, secret) } else { recreation(snapshot, "secret generic", secret) }
}

/// The serving certificate of the Service `service`, with the findings about it.
fn leaf(
    snapshot: &Snapshot,
    service: &str,
    secret: &str,
    lookup: &Lookup<Option<Secret>>,
) -> (Vec<Finding>, Option<Serving>) {
    let at = format!("the Secret {}/{secret}", snapshot.namespace);
    let hint = renewal(snapshot, secret);
    let read = || {
        let found = SECTION.required(&at, lookup, &secret_recreation(snapshot, secret))?;
        Serving::read(found).map_err(|reason| SECTION.failure(format!("{at} is unusable: {reason}"), &hint))
    };
    match read() {
        Err(finding) => (vec![finding], None),
        Ok(serving) => {
            let name = service_name(service, &snapshot.namespace);
            let state = (serving.not_after(), serving.is_overdue(now(snapshot)));
            let mut findings = vec![expiry(snapshot, &format!("the certificate in {at}"), &hint, state)];
            if let Err(reason) = serving.is_trusted(serving.bundle(), &name, now(snapshot)) {
                let message = format!("the certificate in {at} does not verify with the ca.crt beside it: {reason}");
                findings.push(SECTION.failure(message, hint));
            }
            (findings, Some(serving))
        }
    }
}

fn expiry(snapshot: &Snapshot, what: &str, hint: &str, (not_after, overdue): (SystemTime, bool)) -> Finding {
    let when = distance(snapshot, not_after);
    if not_after <= now(snapshot) {
        return SECTION.failure(format!("{what} expired {when}"), hint);
    }
    if overdue {
        return SECTION.warning(format!("{what} expires {when} and has not been renewed"), hint);
    }
    SECTION.ok(format!("{what} is valid; it expires {when}"))
}

fn authority(snapshot: &Snapshot, bundles: [(&str, Option<&Serving>); 2]) -> Vec<Finding> {
    let at = format!("the Secret {}/{}", snapshot.namespace, object::CA_SECRET);
    let hint = renewal(snapshot, object::CA_SECRET);
    let found = || {
        let missing = secret_recreation(snapshot, object::CA_SECRET);
        let secret = SECTION.required(&at, &snapshot.authority, &missing)?;
        let signing = Signing::read(secret);
        let signing = signing.map_err(|reason| SECTION.failure(format!("{at} is unusable: {reason}"), &hint))?;
        let state = (signing.not_after(), signing.is_overdue(now(snapshot)));
        let mut findings = vec![expiry(snapshot, &format!("the authority in {at}"), &hint, state)];
        for (secret, serving) in bundles {
            if serving.is_some_and(|serving| !signing.is_in(serving.bundle())) {
                let message =
                    format!("the ca.crt of the Secret {}/{secret} lacks the current authority", snapshot.namespace);
                findings.push(SECTION.failure(message, renewal(snapshot, secret)));
            }
        }
        Ok(findings)
    };
    all(found())
}

/// Whether the API server trusts the certificate of the webhook.
fn ca_bundles(snapshot: &Snapshot, serving: &Serving) -> Vec<Finding> {
    let name = object::WEBHOOK_CONFIGURATION;
    let Ok(Some(configuration)) = snapshot.configuration() else {
        // Reported by the section webhook.
        return Vec::new();
    };
    let host = service_name(object::WEBHOOK_SERVICE, &snapshot.namespace);
    let mismatches = mismatches(&configuration, |bundle| serving.is_trusted(bundle, &host, now(snapshot)));
    if mismatches.is_empty() {
        return vec![SECTION.ok("every caBundle of the webhook configuration verifies the webhook's certificate")];
    }
    let hint = if is_external(snapshot) {
        format!(
            "copy the ca.crt of the Secret {} into it, as cert-manager's cainjector does",
            object::WEBHOOK_TLS_SECRET
        )
    } else {
        format!(
            "a running webhook writes it immediately; find out why none does:\n\
             kubectl -n {namespace} get pods --selector=app.kubernetes.io/name={service}\n\
             kubectl -n {namespace} logs deployment/{service} --all-pods --tail=20",
            namespace = snapshot.namespace,
            service = object::WEBHOOK_SERVICE,
        )
    };
    let failure = |(webhook, reason)| {
        let message = format!(
            "the caBundle of {webhook} in the webhook configuration {name} does not verify the webhook's certificate: {reason}"
        );
        SECTION.failure(message, &hint)
    };
    mismatches.into_iter().map(failure).collect()
}

fn mismatches(
    configuration: &MutatingWebhookConfiguration,
    trusts: impl Fn(&str) -> Result<(), String>,
) -> Vec<(String, String)> {
    let reason = |bundle: &[u8]| {
        if bundle.is_empty() { Err("it is empty".to_owned()) } else { trusts(&String::from_utf8_lossy(bundle)) }
    };
    let webhooks = configuration.webhooks.iter().flatten();
    let reasons = webhooks.filter_map(|webhook| {
        let bundle = webhook.client_config.ca_bundle.as_ref().map_or(&[][..], |bundle| &bundle.0);
        Some((webhook.name.clone(), reason(bundle).err()?))
    });
    reasons.collect()
}

/// Whether the agents have the address of the reaper and trust its certificate.
fn endpoint(snapshot: &Snapshot, reapers: Option<&Serving>) -> Vec<Finding> {
    let at = format!("the ConfigMap {}/{}", snapshot.namespace, object::REAPER_ENDPOINT);
    let hint = format!(
        "a running webhook writes it within a minute; if none does, see\n\
         kubectl -n {} logs deployment/{} --all-pods --tail=20",
        snapshot.namespace,
        object::WEBHOOK_SERVICE
    );
    let missing = recreation(snapshot, "configmap", object::REAPER_ENDPOINT);
    let found = || {
        let map = SECTION.required(&at, &snapshot.endpoint, &missing)?;
        let service = snapshot.reaper_service.as_ref().ok().and_then(Option::as_ref);
        let mut wrong = Vec::new();
        if let Some(service) = service
            && let Some(address) = address(service, &snapshot.namespace)
            && value(map, endpoint_key::ADDRESS) != address
        {
            wrong.push(format!(
                "its address is {:?}, but that of the Service is {address}",
                value(map, endpoint_key::ADDRESS)
            ));
        }
        let name = service_name(object::REAPER_SERVICE, &snapshot.namespace);
        let trusted = reapers.map(|it| it.is_trusted(value(map, endpoint_key::CA), &name, now(snapshot)));
        if let Some(Err(reason)) = trusted {
            wrong.push(format!("its ca.crt does not verify the reaper's certificate: {reason}"));
        }
        if wrong.is_empty() {
            return Ok(vec![SECTION.ok("the agents have the reaper's address and trust its certificate")]);
        }
        Ok(vec![SECTION.failure(format!("{at} is wrong: {}", wrong.join("; ")), &hint)])
    };
    all(found())
}

fn value<'a>(map: &'a ConfigMap, key: &str) -> &'a str {
    map.data.as_ref().and_then(|data| data.get(key)).map_or("", String::as_str)
}

fn address(service: &Service, namespace: &str) -> Option<String> {
    let ip = service.spec.as_ref()?.cluster_ip.as_ref()?.parse().ok()?;
    Some(Endpoint::new(ip, namespace, String::new()).address().to_owned())
}

#[cfg(test)]
mod tests;
