//! Pods without a Job that opted in: each is watched, judged and told of as a Job of one pod would be.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{SIDECAR_CONTAINER, label, label_value, reason};
use jobwarden_common::notification::{CauseKind, CloudEvent, OutcomeKind};
use jobwarden_tests::bed::Bed;
use jobwarden_tests::ground::{ENDLESS, Ground, RECOVERY, SOON};
use jobwarden_tests::install::{HOME, Settings};
use jobwarden_tests::job::Worker;
use jobwarden_tests::receiver::Received;
use jobwarden_tests::{reaper, wait};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, ResourceExt as _};

use crate::Outcome;

pub(crate) async fn a_bare_pod_on_a_crashed_node_is_told_as_lost_and_removed(bed: &Bed) -> Outcome {
    let ground = bed.ground().await?;
    let node = ground.lease_node().await?;
    let namespace = ground.enrolled_namespace("bare-lost").await?;
    let pod = create(ground, namespace.name(), Worker::new("alone", 8, ENDLESS).on_node(node.name())).await?;
    reaper::until_heard(&ground.client, namespace.name(), "alone", SOON).await?;
    let crashed = Instant::now();
    ground.cluster.crash(node.name()).await?;

    let told = told(ground, namespace.name(), "alone", OutcomeKind::Lost).await?;
    let took = told.at - crashed;
    ensure!(took <= Settings::default().lost_after + Duration::from_secs(20), "told {took:?} after the crash");
    let data = &told.event.data;
    ensure!(data.reason == reason::NODE_UNREACHABLE && data.decided_by.row == "P8", "{data:#?}");
    ensure!(pod.uid().is_some_and(|uid| uid == data.job_uid.as_str()) && data.is_of_bare_pod(), "{data:#?}");
    // Its node cannot end it, and nobody makes another: it is called what it is.
    let given_up = |pod: Option<&Pod>| {
        let status = pod.and_then(|pod| pod.status.as_ref());
        status.is_some_and(|status| {
            status.phase.as_deref() == Some("Failed") && status.reason.as_deref() == Some(reason::NODE_UNREACHABLE)
        })
    };
    wait::until(&ground.client, namespace.name(), "alone", SOON, "given up", given_up).await?;
    ground.cluster.start_node(node.name()).await?;
    wait::until_gone::<Pod>(&ground.client, namespace.name(), "alone", RECOVERY).await?;
    let about = ground.receiver.about(namespace.name(), "alone");
    ensure!(about.len() == 1 && about[0].deliveries == 1, "there was more to hear: {about:#?}");
    ground.cluster.wait_for_node(node.name(), true, RECOVERY).await?;
    Ok(())
}

pub(crate) async fn a_bare_pod_is_told_of_by_how_it_ends(bed: &Bed) -> Outcome {
    let ground = bed.ground().await?;
    let namespace = ground.enrolled_namespace("bare").await?;
    let namespace = namespace.name();
    let worker = |name: &str, lasting| Worker::new(name, 4, lasting).on_node(HOME);
    create(ground, namespace, worker("well", Duration::from_secs(2))).await?;
    create(ground, namespace, worker("ill", Duration::from_secs(2)).argument("--exit=3")).await?;
    create(ground, namespace, worker("unwanted", ENDLESS)).await?;

    told(ground, namespace, "well", OutcomeKind::Succeeded).await?;
    let failed = told(ground, namespace, "ill", OutcomeKind::Failed).await?;
    let cause = &failed.event.data.cause;
    ensure!(cause.kind == Some(CauseKind::ExitCode) && cause.exit_code == Some(3), "{cause:#?}");
    reaper::until_heard(&ground.client, namespace, "unwanted", SOON).await?;
    let pods = Api::<Pod>::namespaced(ground.client.clone(), namespace);
    pods.delete("unwanted", &DeleteParams::default()).await.context("deleting the pod")?;
    let deleted = told(ground, namespace, "unwanted", OutcomeKind::Deleted).await?;
    ensure!(deleted.event.data.reason == reason::POD_DELETED, "{:#?}", deleted.event.data);
    wait::until_gone::<Pod>(&ground.client, namespace, "unwanted", SOON).await?;
    for name in ["well", "ill", "unwanted"] {
        let about = ground.receiver.about(namespace, name);
        ensure!(about.len() == 1 && about[0].deliveries == 1, "there was more to hear of {name}: {about:#?}");
    }
    // Whoever made them finds them.
    for name in ["well", "ill"] {
        pods.get(name).await.with_context(|| format!("{name} was taken away"))?;
    }
    Ok(())
}

/// Makes the worker a pod without a Job.
async fn create(ground: &Ground, namespace: &str, worker: Worker) -> anyhow::Result<Pod> {
    let worker = worker.label(label::INJECT, label_value::TRUE);
    let template = worker.job().spec.context("a Job has a spec")?.template;
    let metadata = ObjectMeta { name: Some(worker.name().to_owned()), ..template.metadata.unwrap_or_default() };
    let pod = Pod { metadata, spec: template.spec, status: None };
    let pods = Api::<Pod>::namespaced(ground.client.clone(), namespace);
    let pod = pods.create(&PostParams::default(), &pod).await.with_context(|| format!("creating {}", worker.name()))?;
    let mut containers = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    ensure!(containers.any(|it| it.name == SIDECAR_CONTAINER), "it was not enrolled: {:?}", pod.metadata);
    Ok(pod)
}

async fn told(ground: &Ground, namespace: &str, pod: &str, kind: OutcomeKind) -> anyhow::Result<Received> {
    ground.receiver.wait_for(namespace, pod, 2 * SOON, |event: &CloudEvent| event.data.kind == kind).await
}
