//! The breaker drill: many fall silent at once, and one of them is really dead.

use std::time::{Duration, Instant};

use anyhow::ensure;
use futures::future::try_join_all;
use jobwarden_common::names::reason;
use jobwarden_common::notification::OutcomeKind;
use jobwarden_tests::bed::Bed;
use jobwarden_tests::ground::{ENDLESS, LeasedNode, SOON};
use jobwarden_tests::install::HOME;
use jobwarden_tests::job::Worker;
use jobwarden_tests::{metrics, reaper, wait};
use k8s_openapi::api::batch::v1::Job;
use kube::{Api, ResourceExt as _};
use tokio::time::sleep;

use crate::scene::{LOST, Running, Scene};
use crate::{LOST_AFTER, Outcome};

/// Jobs on each of the nodes that fall silent; the last node has one only, which is the one that dies.
const SILENT: [usize; 3] = [15, 14, 1];
/// Jobs on the node that stays; the bystander is the tenth.
const HEARD: usize = 9;
/// The breaker lets go 30 s after the last has come back, which may take a quarter of a minute; the rest is room.
const SETTLING: Duration = Duration::from_mins(2);

pub(crate) async fn of_thirty_jobs_silent_at_once_only_the_one_that_is_dead_is_failed(bed: &Bed) -> Outcome {
    let mut scene = Scene::open(bed, "drill").await?;
    let nodes = try_join_all((0..3).map(|_| scene.ground.lease_node())).await?;
    let [.., last] = nodes.as_slice() else { unreachable!("three were leased") };
    let places = nodes.iter().zip(SILENT).flat_map(|(node, count)| vec![node.name(); count]);
    let places: Vec<_> = places.chain(vec![HOME; HEARD]).collect();
    let running = start(&scene, &places).await?;
    let dead = SILENT.iter().sum::<usize>() - 1;

    let silent_since = Instant::now();
    try_join_all(nodes.iter().map(|node| scene.ground.cluster.partition(node.name()))).await?;
    // Long enough for all to be lost, by every row.
    sleep(LOST_AFTER + LOST_AFTER / 2).await;
    is_held_for_all_to_see(&mut scene, dead).await?;
    scene.ground.cluster.crash(last.name()).await?;
    let back = nodes.iter().filter(|node| node.name() != last.name());
    try_join_all(back.map(|node| scene.ground.cluster.heal(node.name()))).await?;

    scene.told(&name(dead), LOST.0, LOST.1, SETTLING).await?;
    let took = silent_since.elapsed();
    jobwarden_tests::progress::note(format!("the one dead Job of thirty was failed after {took:.1?}"));
    for (number, worker) in running.iter().enumerate().filter(|(number, _)| *number != dead) {
        ensure!(worker.process.is_alive(), "{} was ended", name(number));
        let job = Api::<Job>::namespaced(scene.ground.client.clone(), scene.namespace()).get(&name(number)).await?;
        ensure!(wait::reason_of(Some(&job), "FailureTarget").is_none(), "{:?}", job.status);
    }
    recover(&scene, &nodes, last).await?;
    scene.close().await
}

fn name(number: usize) -> String {
    format!("job-{number}")
}

async fn start(scene: &Scene<'_>, places: &[&str]) -> anyhow::Result<Vec<Running>> {
    // All are submitted before the first is waited for.
    let workers: Vec<_> =
        places.iter().enumerate().map(|(number, node)| Worker::new(&name(number), 4, ENDLESS).on_node(node)).collect();
    try_join_all(workers.iter().map(|worker| scene.submit(worker))).await?;
    let mut running = Vec::new();
    for worker in &workers {
        let pod = wait::until_running(&scene.ground.client, scene.namespace(), worker.name(), &[], 3 * SOON).await?;
        let process = scene.process(&pod).await?;
        running.push(Running { pod, process });
    }
    for worker in &workers {
        reaper::until_heard(&scene.ground.client, scene.namespace(), worker.name(), SOON).await?;
    }
    Ok(running)
}

/// In metrics, Events and the API; and as a notice, which decides nothing.
async fn is_held_for_all_to_see(scene: &mut Scene<'_>, last: usize) -> Outcome {
    let guards = reaper::guards(&scene.ground.client).await?;
    ensure!(guards.breaker.holds && guards.breaker.lost == last + 1, "{guards:#?}");
    let held = guards.held.iter().filter(|job| job.namespace == scene.namespace() && job.guard == "breaker").count();
    ensure!(held == last + 1, "{held} are held: {guards:#?}");
    let leader = metrics::leader(&scene.ground.client).await?;
    let text = metrics::read(&scene.ground.client, &leader.name_any()).await?;
    let counted = metrics::sum(&text, "jobwarden_held_jobs", "guard=\"breaker\"");
    ensure!((counted - held as f64).abs() < f64::EPSILON, "the metric counts {counted}");
    for number in 0..=last {
        let explanation = reaper::explanation(&scene.ground.client, scene.namespace(), &name(number)).await?;
        ensure!(explanation["held"]["guard"] == "breaker", "{explanation:#}");
        scene.event(&name(number), reason::HELD, SOON).await?;
        scene.told(&name(number), OutcomeKind::Suspect, LOST.1, SOON).await?;
    }
    Ok(())
}

async fn recover(scene: &Scene<'_>, nodes: &[LeasedNode], crashed: &LeasedNode) -> Outcome {
    scene.ground.cluster.start_node(crashed.name()).await?;
    for node in nodes {
        scene.is_well_again(node).await?;
    }
    Ok(())
}
