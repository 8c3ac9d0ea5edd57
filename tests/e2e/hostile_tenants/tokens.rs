//! Tokens that a tenant can get, presented to every part of jobwarden that takes one.

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use jobwarden_common::beat::{Beat, BeatRequest, Phase};
use jobwarden_common::identity::PodUid;
use jobwarden_common::names::{
    API_AUDIENCE, OPERATOR_AUDIENCE, OPERATOR_TOKEN_HEADER, TOKEN_AUDIENCE, api_route, label, label_value, object,
    route,
};
use jobwarden_common::observation::{PodObservation, Report};
use jobwarden_tests::environment::{ENDLESS, SOON};
use jobwarden_tests::https_client::post;
use jobwarden_tests::install::HOME;
use jobwarden_tests::job::Worker;
use jobwarden_tests::wait;
use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use kube::ResourceExt as _;
use kube::api::DeleteParams;
use serde_json::json;

use super::attacker::{Attacker, EVIL, bound_to, pod, refused, short, until};
use super::ports::raw;
use crate::api_access::ReaperApi;
use crate::authentication::Reaper;

/// The audience of the API server itself.
const API_SERVER: &str = "https://kubernetes.default.svc.cluster.local";

async fn beat(reaper: &Reaper, token: &str) -> anyhow::Result<StatusCode> {
    let beat = BeatRequest { beats: vec![Beat { seq: 0, phase: Phase::Ending }] };
    Ok(post(&reaper.server(), route::BEATS, Some(token), serde_json::to_vec(&beat)?).await?.0)
}

/// A beat that says that the victim's pod ends would make a loss of the next silence of its node.
pub(super) async fn for_the_victims_pod(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let target = &attacker.target;
    let reaper = Reaper::find(attacker.environment).await?;
    for (what, bound) in [
        ("the victim's pod", bound_to("Pod", &target.pod, &target.pod_uid)),
        ("the victim's pod without its UID", bound_to("Pod", &target.pod, "")),
    ] {
        refused(
            &format!("a token bound to {what}"),
            &[404, 409],
            attacker.token("default", TOKEN_AUDIENCE, Some(bound)).await,
        )?;
    }
    // A pod of the same name is another pod.
    let changes = json!({"metadata": {"labels": {label::INJECT: label_value::TRUE}}});
    let namesake = Worker::new(&target.pod, 1, ENDLESS).on_node(HOME).grace(1);
    let namesake =
        attacker.create::<Pod>(pod(&namesake, &changes)?).await.context("creating a pod of the same name")?;
    let bound = bound_to("Pod", &target.pod, &target.pod_uid);
    refused("the victim's UID", &[409], attacker.token("default", TOKEN_AUDIENCE, Some(bound)).await)?;
    let token = attacker.pod_token(&namesake, TOKEN_AUDIENCE).await?;
    until("a beat for its own pod is accepted", async || Ok(beat(&reaper, &token).await? == StatusCode::OK)).await?;
    // Tokens that are bound to no pod speak for none.
    let secret: Secret = attacker.create(json!({"metadata": {"name": EVIL}})).await.context("creating a Secret")?;
    let bound = bound_to("Secret", EVIL, &secret.uid().unwrap_or_default());
    for (what, bound) in [("a Secret", Some(bound)), ("nothing", None)] {
        let token = attacker.token("default", TOKEN_AUDIENCE, bound).await.context("requesting a token")?;
        let status = beat(&reaper, &token).await?;
        ensure!(status == StatusCode::UNAUTHORIZED, "a beat with a token bound to {what} is answered with {status}");
    }
    Ok(())
}

pub(super) async fn old_and_tampered(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let reaper = Reaper::find(attacker.environment).await?;
    let base = attacker.pod_in_the_network().await?;
    let token = attacker.pod_token(&base, TOKEN_AUDIENCE).await?;
    until("a beat for its own pod is accepted", async || Ok(beat(&reaper, &token).await? == StatusCode::OK)).await?;

    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts[..] else { anyhow::bail!("the token has {} parts", parts.len()) };
    let decoded = String::from_utf8(URL_SAFE_NO_PAD.decode(claims)?)?;
    let target = &attacker.target;
    let changed =
        decoded.replace(&base.uid().unwrap_or_default(), &target.pod_uid).replace(&base.name_any(), &target.pod);
    ensure!(changed != decoded, "the claims do not name the pod");
    let (changed, none) = (URL_SAFE_NO_PAD.encode(changed), URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#));
    let invalid = [
        ("with the victim's UID", format!("{header}.{changed}.{signature}")),
        ("without a signature", format!("{none}.{changed}.")),
        ("for the API server", attacker.pod_token(&base, API_SERVER).await?),
        ("for the API", attacker.pod_token(&base, API_AUDIENCE).await?),
        ("of 100 kB", "a".repeat(100_000)),
        ("of 7 kB", "a".repeat(7_000)),
    ];
    for (what, token) in invalid {
        // A head that is too long is refused before its token is read, or the connection is closed.
        let status = beat(&reaper, &token).await;
        let is_refused = status.as_ref().map_or(true, StatusCode::is_client_error);
        ensure!(is_refused, "a beat with a token {what} is answered with {status:?}");
    }
    attacker.own::<Pod>().delete(&base.name_any(), &DeleteParams::default().grace_period(0)).await?;
    until("the token of a deleted pod is refused", async || Ok(beat(&reaper, &token).await? == StatusCode::FORBIDDEN))
        .await
}

/// The agents' service account is known by its namespace, too.
pub(super) async fn reports_of_no_agent(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let reaper = Reaper::find(attacker.environment).await?;
    let account = json!({"metadata": {"name": object::AGENT}});
    attacker.create::<ServiceAccount>(account).await.context("creating a service account")?;
    let name = format!("{EVIL}-agent");
    let changes = json!({"spec": {"serviceAccountName": object::AGENT}});
    let worker = Worker::new(&name, 1, ENDLESS).on_node(HOME).grace(1);
    let created = attacker.create::<Pod>(pod(&worker, &changes)?).await.context("creating a pod")?;
    let bound_to_a_node =
        |pod: Option<&Pod>| pod.is_some_and(|pod| pod.spec.as_ref().is_some_and(|it| it.node_name.is_some()));
    wait::until::<Pod>(&attacker.client, attacker.namespace(), &name, SOON, "bound", bound_to_a_node).await?;
    let token = attacker.pod_token(&created, TOKEN_AUDIENCE).await?;
    // It would say that the processes of the victim are gone.
    let gone = PodObservation { pod_uid: PodUid::from(attacker.target.pod_uid.clone()), containers: Vec::new() };
    for report in [Report::default(), Report { pods: vec![gone], ..Report::default() }] {
        for seq in 0..3 {
            let body = serde_json::to_vec(&Report { seq, ..report.clone() })?;
            let (status, answer) = post(&reaper.server(), route::OBSERVATIONS, Some(&token), body).await?;
            attacker.sees(&String::from_utf8_lossy(&answer));
            ensure!(status == StatusCode::FORBIDDEN, "a report is answered with {status}");
        }
    }
    Ok(())
}

pub(super) async fn the_api(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let api = ReaperApi::find(attacker.environment).await?;
    attacker.run_through().await?;
    let token = attacker.token("default", API_AUDIENCE, None).await.context("requesting a token")?;
    let target = &attacker.target;
    let jobs = api_route::JOBS;
    for path in [
        format!("{jobs}/{}/{}", target.namespace, target.job),
        format!("{jobs}/{}/absent", target.namespace),
        format!("{jobs}/{}/%2e%2e%2f{}%2f{}", attacker.namespace(), target.namespace, target.job),
        format!("{jobs}?namespace={}", target.namespace),
        format!("{jobs}?namespace={}&namespace={}", attacker.namespace(), target.namespace),
        format!("{jobs}?namespace={}&after={}/", target.namespace, target.namespace),
        api_route::GUARDS.to_owned(),
        api_route::BREAKER.to_owned(),
        api_route::ACCESS.to_owned(),
    ] {
        let (status, answer) = api.get(&path, Some(&token)).await?;
        attacker.sees(&answer.to_string());
        ensure!(status.is_client_error(), "GET {path} is answered with {status}: {answer:#}");
    }
    // Every page of what there is.
    let mut after = String::new();
    loop {
        let (status, page) = api.get(&format!("{jobs}?after={after}"), Some(&token)).await?;
        attacker.sees(&page.to_string());
        ensure!(status == StatusCode::OK, "the list is answered with {status}: {page:#}");
        let listed = page["jobs"].as_array().context("the page has no list")?;
        let foreign = listed.iter().find(|job| job["namespace"] != attacker.namespace());
        ensure!(foreign.is_none(), "the list shows {foreign:?}");
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => break,
        }
    }
    let of_a_sidecar = attacker.token("default", TOKEN_AUDIENCE, None).await.context("requesting a token")?;
    for token in [None, Some(of_a_sidecar.as_str()), Some("")] {
        let (status, answer) = api.get(jobs, token).await?;
        ensure!(status == StatusCode::UNAUTHORIZED, "the list is answered with {status}: {answer:#}");
    }
    Ok(())
}

pub(super) async fn the_operator(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let api = ReaperApi::find(attacker.environment).await?;
    let account = json!({"metadata": {"name": object::OPERATOR}});
    attacker.create::<ServiceAccount>(account).await.context("creating a service account")?;
    let own = attacker.token(object::OPERATOR, OPERATOR_AUDIENCE, None).await.context("requesting a token")?;
    let spec = json!({"spec": {"audiences": [OPERATOR_AUDIENCE]}});
    let request = serde_json::from_value(spec)?;
    let accounts = attacker.of::<ServiceAccount>(jobwarden_tests::install::NAMESPACE);
    let answer = accounts.create_token_request(object::OPERATOR, &kube::api::PostParams::default(), &request).await;
    refused("a token of the operator's account", &[403], answer)?;
    for headers in [
        String::new(),
        format!("{OPERATOR_TOKEN_HEADER}: {own}\r\n"),
        format!("authorization: Bearer {own}\r\n{OPERATOR_TOKEN_HEADER}: {own}\r\n"),
        format!("{OPERATOR_TOKEN_HEADER}: {own}\r\n{OPERATOR_TOKEN_HEADER}: {own}\r\n"),
    ] {
        let request =
            format!("POST {} HTTP/1.1\r\nhost: a\r\n{headers}content-length: 0\r\n\r\n", api_route::BREAKER_RELEASE);
        let answer = raw(&api.server(), &request).await?;
        attacker.sees(&answer);
        let is_refused = answer.starts_with("HTTP/1.1 401") || answer.starts_with("HTTP/1.1 403");
        ensure!(is_refused, "the release is answered with {answer:?}");
    }
    // A short Job that nobody disturbs: the leader still works.
    attacker.submit(&short(&format!("{EVIL}-after")), &json!({})).await?;
    attacker.told(&format!("{EVIL}-after")).await.map(drop)
}
