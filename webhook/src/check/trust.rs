//! Certificates: whether they last, and whether those who have to trust them do. All by the API server's clock.

use std::time::SystemTime;

use jobwarden_common::names::{endpoint_key, object};
use jobwarden_inject::endpoint::{Endpoint, service_name};
use k8s_openapi::{
    api::{
        admissionregistration::v1::MutatingWebhookConfiguration,
        core::v1::{ConfigMap, Secret, Service},
    },
    jiff::{SignedDuration, Timestamp},
};

use super::{
    finding::{Finding, Section, all},
    snapshot::{Look, Snapshot, arguments},
};
use crate::certificates::{Serving, Signing};

const SECTION: Section = Section::Certificates;

pub(super) fn check(snapshot: &Snapshot) -> Vec<Finding> {
    let (mut findings, webhooks) =
        leaf(snapshot, object::WEBHOOK_SERVICE, object::WEBHOOK_TLS_SECRET, &snapshot.webhook_tls);
    let (more, reapers) = leaf(snapshot, object::REAPER_SERVICE, object::REAPER_TLS_SECRET, &snapshot.reaper_tls);
    findings.extend(more);
    if !is_external(snapshot) {
        let told = [(object::WEBHOOK_TLS_SECRET, &webhooks), (object::REAPER_TLS_SECRET, &reapers)];
        findings.extend(authority(snapshot, told.map(|(name, serving)| (name, serving.as_ref()))));
    }
    findings.extend(webhooks.map(|serving| bundles(snapshot, &serving)).unwrap_or_default());
    findings.extend(endpoint(snapshot, reapers.as_ref()));
    findings
}

/// Whether somebody else makes the certificates.
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

/// `2h ago` or `in 2h`, to the second or, where it is long, to the hour.
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

/// What makes a certificate anew.
fn renew(snapshot: &Snapshot, secret: &str) -> String {
    let namespace = &snapshot.namespace;
    if is_external(snapshot) {
        let certificate = secret.trim_end_matches("-tls");
        return format!(
            "--certificates=external leaves it to others; where that is cert-manager, see\n\
             kubectl -n {namespace} describe certificate {certificate}"
        );
    }
    format!(
        "a webhook that runs makes it anew in time: see that one does, and why not by\n\
         kubectl -n {namespace} logs deployment/{} --all-pods --tail=20\n\
         to have it made anew at once: kubectl -n {namespace} delete secret {secret}",
        object::WEBHOOK_SERVICE
    )
}

/// The serving certificate of the Service `service`, and what was found of it.
fn leaf(
    snapshot: &Snapshot,
    service: &str,
    secret: &str,
    look: &Look<Option<Secret>>,
) -> (Vec<Finding>, Option<Serving>) {
    let at = format!("the Secret {}/{secret}", snapshot.namespace);
    let renew = renew(snapshot, secret);
    let read = || {
        let found = SECTION.there(&at, look, &renew)?;
        Serving::read(found).map_err(|reason| SECTION.failure(format!("{at} is of no use: {reason}"), &renew))
    };
    match read() {
        Err(finding) => (vec![finding], None),
        Ok(serving) => {
            let name = service_name(service, &snapshot.namespace);
            let mut findings = vec![lasts(snapshot, &format!("the certificate in {at}"), &renew, {
                (serving.not_after(), serving.is_overdue(now(snapshot)))
            })];
            if let Err(reason) = serving.is_trusted(&serving.bundle, &name, now(snapshot)) {
                findings.push(
                    SECTION.failure(format!("who trusts the ca.crt of {at} refuses its certificate: {reason}"), renew),
                );
            }
            (findings, Some(serving))
        }
    }
}

fn lasts(snapshot: &Snapshot, what: &str, renew: &str, (not_after, overdue): (SystemTime, bool)) -> Finding {
    let when = distance(snapshot, not_after);
    if not_after <= now(snapshot) {
        return SECTION.failure(format!("{what} expired {when}"), renew);
    }
    if overdue {
        return SECTION.warning(format!("{what} expires {when}, and should have been renewed"), renew);
    }
    SECTION.ok(format!("{what} is good; it expires {when}"))
}

fn authority(snapshot: &Snapshot, told: [(&str, Option<&Serving>); 2]) -> Vec<Finding> {
    let at = format!("the Secret {}/{}", snapshot.namespace, object::CA_SECRET);
    let renew = renew(snapshot, object::CA_SECRET);
    let found = || {
        let secret = SECTION.there(&at, &snapshot.authority, &renew)?;
        let signing = Signing::read(secret);
        let signing = signing.map_err(|reason| SECTION.failure(format!("{at} is of no use: {reason}"), &renew))?;
        let state = (signing.not_after(), signing.is_overdue(now(snapshot)));
        let mut findings = vec![lasts(snapshot, &format!("the authority in {at}"), &renew, state)];
        for (secret, serving) in told {
            if serving.is_some_and(|serving| !signing.is_in(&serving.bundle)) {
                let what =
                    format!("the ca.crt of the Secret {}/{secret} lacks the authority that signs", snapshot.namespace);
                findings.push(SECTION.failure(what, self::renew(snapshot, secret)));
            }
        }
        Ok(findings)
    };
    all(found())
}

/// Whether the API server trusts what the webhook serves.
fn bundles(snapshot: &Snapshot, serving: &Serving) -> Vec<Finding> {
    let name = object::WEBHOOK_CONFIGURATION;
    let Ok(Some(configuration)) = snapshot.configuration() else {
        // That it is missing is told of beside what else it has to say.
        return Vec::new();
    };
    let host = service_name(object::WEBHOOK_SERVICE, &snapshot.namespace);
    let distrusting = distrusting(&configuration, |bundle| serving.is_trusted(bundle, &host, now(snapshot)));
    if distrusting.is_empty() {
        return vec![SECTION.ok("every caBundle of the webhook configuration trusts the webhook's certificate")];
    }
    let hint = if is_external(snapshot) {
        format!(
            "put the ca.crt of the Secret {} into it; cert-manager's cainjector does so",
            object::WEBHOOK_TLS_SECRET
        )
    } else {
        format!(
            "a webhook that runs writes it at once; see why none does:\n\
             kubectl -n {namespace} get pods --selector=app.kubernetes.io/name={service}\n\
             kubectl -n {namespace} logs deployment/{service} --all-pods --tail=20",
            namespace = snapshot.namespace,
            service = object::WEBHOOK_SERVICE,
        )
    };
    let told = |(webhook, reason)| {
        let what = format!(
            "the caBundle of {webhook} in the webhook configuration {name} does not trust the webhook: {reason}"
        );
        SECTION.failure(what, &hint)
    };
    distrusting.into_iter().map(told).collect()
}

fn distrusting(
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

/// Whether agents are told where the reaper is, and trust it.
fn endpoint(snapshot: &Snapshot, reapers: Option<&Serving>) -> Vec<Finding> {
    let at = format!("the ConfigMap {}/{}", snapshot.namespace, object::REAPER_ENDPOINT);
    let hint = format!(
        "a webhook that runs writes it; to have it written anew: kubectl -n {} delete configmap {}",
        snapshot.namespace,
        object::REAPER_ENDPOINT
    );
    let found = || {
        let map = SECTION.there(&at, &snapshot.endpoint, &hint)?;
        let service = snapshot.reaper_service.as_ref().ok().and_then(Option::as_ref);
        let mut wrong = Vec::new();
        if let Some(service) = service
            && let Some(address) = address(service, &snapshot.namespace)
            && said(map, endpoint_key::ADDRESS) != address
        {
            wrong.push(format!("it says {:?} and the Service is at {address}", said(map, endpoint_key::ADDRESS)));
        }
        let name = service_name(object::REAPER_SERVICE, &snapshot.namespace);
        let trusted = reapers.map(|it| it.is_trusted(said(map, endpoint_key::CA), &name, now(snapshot)));
        if let Some(Err(reason)) = trusted {
            wrong.push(format!("its ca.crt does not trust the reaper: {reason}"));
        }
        if wrong.is_empty() {
            return Ok(vec![SECTION.ok("agents are told where the reaper is, and trust its certificate")]);
        }
        Ok(vec![SECTION.failure(format!("{at} misleads the agents: {}", wrong.join("; ")), &hint)])
    };
    all(found())
}

fn said<'a>(map: &'a ConfigMap, key: &str) -> &'a str {
    map.data.as_ref().and_then(|data| data.get(key)).map_or("", String::as_str)
}

fn address(service: &Service, namespace: &str) -> Option<String> {
    let ip = service.spec.as_ref()?.cluster_ip.as_ref()?.parse().ok()?;
    Some(Endpoint::new(ip, namespace, String::new()).address().to_owned())
}

#[cfg(test)]
mod tests;
