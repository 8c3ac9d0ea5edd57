//! The label, the finalizer and the names that are jobwarden's own.

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{
    FINALIZER, SIDECAR_CONTAINER, TOKEN_AUDIENCE, TOKEN_VOLUME, annotation, label, label_value, sidecar_env,
};
use jobwarden_common::notification::OutcomeKind;
use jobwarden_tests::environment::{ENDLESS, SOON};
use jobwarden_tests::install::HOME;
use jobwarden_tests::job::{WORKER_IMAGE, Worker};
use jobwarden_tests::wait;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::attacker::{Attacker, EVIL, job, pod, refused, short, until};

/// An address to which the attacker would like sidecars to connect.
const ELSEWHERE: &str = "evil.example.com:443";

fn is_held(job: &Job) -> bool {
    job.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
}

async fn gone(attacker: &Attacker<'_>, name: &str) -> anyhow::Result<()> {
    wait::until_gone::<Job>(&attacker.environment.client, attacker.namespace(), name, SOON).await
}

pub(super) async fn label_by_hand(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let (quiet, loud) = (format!("{EVIL}-quiet"), format!("{EVIL}-loud"));
    let created = attacker.submit(&short(&quiet).label(label::ENROLLED, label_value::FALSE), &json!({})).await?;
    let labelled = created.labels().get(label::ENROLLED);
    ensure!(labelled.is_some_and(|value| value == label_value::TRUE), "admission left the label as {labelled:?}");
    // One that opts out has no word of jobwarden.
    let worker = short(&loud).label(label::ENROLLED, label_value::TRUE).label(label::INJECT, label_value::FALSE);
    let changes = json!({"metadata": {"finalizers": [FINALIZER]}});
    let created = attacker.submit(&worker.suspended(), &changes).await?;
    ensure!(!created.labels().contains_key(label::ENROLLED), "a Job that opts out is labelled: {:?}", created.labels());
    ensure!(!is_held(&created), "a Job that opts out carries the finalizer");
    for value in [json!(label_value::TRUE), json!(label_value::FALSE)] {
        let labelled = attacker.patch::<Job>(&loud, &json!({"metadata": {"labels": {label::ENROLLED: value}}})).await;
        refused(&format!("the label {value}"), &[403], labelled)?;
    }
    attacker.own::<Job>().delete(&loud, &DeleteParams::background()).await.context("deleting its own Job")?;
    gone(attacker, &loud).await?;
    attacker.told(&quiet).await?;
    let told = attacker.environment.receiver.about(attacker.namespace(), &loud);
    ensure!(told.is_empty(), "a Job that opted out was reported: {told:#?}");
    Ok(())
}

pub(super) async fn finalizer_by_hand(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let (held, free, bare) = (format!("{EVIL}-held"), format!("{EVIL}-free"), format!("{EVIL}-bare"));
    attacker.submit(&short(&held).suspended(), &json!({})).await?;
    attacker.submit(&short(&free).suspended().label(label::INJECT, label_value::FALSE), &json!({})).await?;
    let without = json!({"metadata": {"finalizers": null}});
    let with = json!({"metadata": {"finalizers": [FINALIZER]}});
    refused("the removal of the finalizer", &[403], attacker.patch::<Job>(&held, &without).await)?;
    refused("the addition of the finalizer", &[403], attacker.patch::<Job>(&free, &with).await)?;
    for name in [&held, &free] {
        attacker.own::<Job>().delete(name, &DeleteParams::background()).await.context("deleting its own Job")?;
        gone(attacker, name).await?;
    }
    // On a pod it means nothing, so whoever wrote it takes it away.
    attacker.create::<Pod>(pod(&short(&bare), &with)?).await.context("creating a pod with the finalizer")?;
    attacker.own::<Pod>().delete(&bare, &DeleteParams::default()).await.context("deleting its own pod")?;
    attacker.patch::<Pod>(&bare, &without).await.context("removing the finalizer from its own pod")?;
    wait::until_gone::<Pod>(&attacker.client, attacker.namespace(), &bare, SOON).await
}

pub(super) async fn deleted_namespace(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    for number in 0..3 {
        let running = Worker::new(&format!("{EVIL}-running-{number}"), 1, ENDLESS).on_node(HOME).grace(1);
        attacker.submit(&running, &json!({})).await?;
        attacker.submit(&short(&format!("{EVIL}-suspended-{number}")).suspended(), &json!({})).await?;
    }
    // By the administrator: a tenant may not.
    let namespaces = Api::<Namespace>::all(attacker.environment.client.clone());
    namespaces.delete(attacker.namespace(), &DeleteParams::background()).await.context("deleting the namespace")?;
    until("the namespace is gone", async || Ok(namespaces.get_opt(attacker.namespace()).await?.is_none())).await?;
    let is_own = |namespace: &str, is_final: bool| (namespace == attacker.namespace() && is_final).then_some(());
    let told = || {
        attacker.environment.receiver.picked(|it| is_own(&it.event.data.namespace, it.event.data.kind.is_final())).len()
    };
    until("each of its 6 Jobs is reported", async || Ok(told() >= 6)).await?;
    ensure!(told() == 6, "{} outcomes of its 6 Jobs were reported", told());
    Ok(())
}

pub(super) async fn opt_out_before_the_end(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let (deleted, ending) = (format!("{EVIL}-deleted"), format!("{EVIL}-ending"));
    let out = json!({"metadata": {"labels": {label::INJECT: label_value::FALSE}}});
    attacker.submit(&Worker::new(&deleted, 1, ENDLESS).on_node(HOME).grace(1), &json!({})).await?;
    attacker.submit(&short(&ending), &json!({})).await?;
    for name in [&deleted, &ending] {
        attacker.patch::<Job>(name, &out).await.context("opting out")?;
    }
    attacker.own::<Job>().delete(&deleted, &DeleteParams::background()).await.context("deleting its own Job")?;
    gone(attacker, &deleted).await?;
    let released = |job: Option<&Job>| job.is_none_or(|job| !is_held(job));
    let name = attacker.namespace();
    wait::until::<Job>(&attacker.environment.client, name, &ending, SOON, "released", released).await?;
    // It comes back to be judged: one that has opted in again is reported.
    let again = json!({"metadata": {"labels": {label::INJECT: null}}});
    if attacker.patch::<Job>(&ending, &again).await.is_ok() {
        attacker.told(&ending).await?;
    }
    Ok(())
}

pub(super) async fn names_of_the_sidecar(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let mut main = job(&short(&format!("{EVIL}-main")), &json!({}))?;
    main["spec"]["template"]["spec"]["containers"][0]["name"] = json!(SIDECAR_CONTAINER);
    let mut init = job(&short(&format!("{EVIL}-init")), &json!({}))?;
    let container = init["spec"]["template"]["spec"]["containers"][0].clone();
    init["spec"]["template"]["spec"]["initContainers"] = json!([container]);
    init["spec"]["template"]["spec"]["initContainers"][0]["name"] = json!(SIDECAR_CONTAINER);
    let volume = json!({"spec": {"template": {"spec": {"volumes": [{"name": TOKEN_VOLUME, "emptyDir": {}}]}}}});
    let volume = job(&short(&format!("{EVIL}-volume")), &volume)?;
    for (what, job) in [("a main container", main), ("an init container", init), ("a volume", volume)] {
        let answer = attacker.create::<Job>(job).await;
        let said = answer.as_ref().err().map(ToString::to_string).unwrap_or_default();
        ensure!(said.contains("reserved"), "{what} with the name of the sidecar's was not refused for it: {answer:?}");
    }
    // Beside a sidecar that runs, an ephemeral container could read its memory.
    let base = attacker.pod_in_the_network().await?.name_any();
    let ephemeral = json!({"spec": {"ephemeralContainers": [
        {"name": EVIL, "image": WORKER_IMAGE, "targetContainerName": SIDECAR_CONTAINER}
    ]}});
    let pods = attacker.own::<Pod>();
    let answer = pods.patch_ephemeral_containers(&base, &PatchParams::default(), &Patch::Strategic(&ephemeral)).await;
    refused("an ephemeral container beside the sidecar", &[403], answer)
}

/// It gets the address of this installation, and its token is one for its own pod.
pub(super) async fn sidecar_of_its_own(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let name = format!("{EVIL}-sidecar");
    let sidecar = json!({
        "name": SIDECAR_CONTAINER,
        "image": WORKER_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "restartPolicy": "Always",
        "args": ["--for=1h"],
        "env": [
            {"name": sidecar_env::REAPER_ADDRESS, "value": ELSEWHERE},
            {"name": sidecar_env::REAPER_NAME, "value": "evil.example.com"},
            {"name": sidecar_env::CA, "value": "none"}
        ],
        "volumeMounts": [{"name": TOKEN_VOLUME, "mountPath": "/var/run/evil", "readOnly": true}],
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}
    });
    let token = json!({"serviceAccountToken": {"audience": TOKEN_AUDIENCE, "path": "token"}});
    let changes = json!({
        "metadata": {"labels": {label::INJECT: label_value::TRUE}},
        "spec": {"initContainers": [sidecar], "volumes": [{"name": TOKEN_VOLUME, "projected": {"sources": [token]}}]}
    });
    let created = attacker.create::<Pod>(pod(&short(&name), &changes)?).await.context("creating the pod")?;
    let created = serde_json::to_value(&created)?;
    let containers = created["spec"]["initContainers"].as_array().context("the pod has no init container")?;
    let of_ours: Vec<&Value> = containers.iter().filter(|container| container["name"] == SIDECAR_CONTAINER).collect();
    ensure!(of_ours.len() == 1, "the pod has {} sidecars", of_ours.len());
    let environment = of_ours[0]["env"].as_array().into_iter().flatten();
    let address =
        environment.filter(|it| it["name"] == sidecar_env::REAPER_ADDRESS).map(|it| &it["value"]).collect::<Vec<_>>();
    ensure!(address.len() == 1 && address[0] != ELSEWHERE, "its sidecar connects to {address:?}");
    let data = attacker.told(&name).await?.event.data;
    ensure!(data.is_of_bare_pod() && data.kind == OutcomeKind::Succeeded, "its own outcome is {data:#?}");
    Ok(())
}

/// The kubelet's copies of static pods have no token, and whoever runs a kubelet answers for them.
pub(super) async fn mirror_pod(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let name = format!("{EVIL}-mirror");
    let changes = json!({
        "metadata": {
            "labels": {label::INJECT: label_value::TRUE, label::ENROLLED: label_value::TRUE},
            "annotations": {annotation::MIRROR: "x", "kubernetes.io/config.source": "file"}
        },
        // The API server wants it of mirror pods.
        "spec": {"nodeName": HOME}
    });
    match attacker.create::<Pod>(pod(&short(&name), &changes)?).await {
        Ok(created) => {
            let containers = created.spec.and_then(|spec| spec.init_containers).unwrap_or_default();
            ensure!(containers.is_empty(), "a mirror pod got a sidecar");
        }
        // The API server may refuse it by itself.
        answer @ Err(_) => refused("a mirror pod", &[400, 403, 422], answer)?,
    }
    attacker.run_through().await?;
    let told = attacker.environment.receiver.about(attacker.namespace(), &name);
    ensure!(told.is_empty(), "a mirror pod was reported: {told:#?}");
    Ok(())
}

pub(super) async fn managed_by_nobody(attacker: &Attacker<'_>) -> anyhow::Result<()> {
    let name = format!("{EVIL}-managed");
    let changes = json!({"metadata": {"finalizers": [FINALIZER]}, "spec": {"managedBy": "example.com/nobody"}});
    let created = attacker.submit(&short(&name), &changes).await?;
    ensure!(!is_held(&created), "a Job of another controller carries the finalizer");
    attacker.own::<Job>().delete(&name, &DeleteParams::background()).await.context("deleting its own Job")?;
    gone(attacker, &name).await
}
