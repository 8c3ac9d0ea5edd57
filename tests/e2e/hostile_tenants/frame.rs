//! The frame of every attack: a victim each and a bystander of all run beside it, and are checked while it lasts and when they end.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::future::{LocalBoxFuture, join_all, try_join};
use jobwarden_common::names::object;
use jobwarden_tests::environment::Environment;
use jobwarden_tests::install::{HOME, NAMESPACE};
use jobwarden_tests::metrics;
use jobwarden_tests::shared_cluster::SharedCluster;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use tokio::sync::OnceCell;

use super::attacker::Attacker;
use super::subject::{Ending, LOSS_DUE, Subject};

/// How much later than usual an outcome may arrive.
const DELAY: Duration = Duration::from_secs(5);

/// How long an attack may take.
const ATTACK: Duration = Duration::from_mins(2);

/// One attack.
pub(super) struct Attack {
    /// What it does, for people.
    pub(super) what: &'static str,
    /// Does it, and checks what the attacker is answered.
    pub(super) run: for<'a> fn(&'a Attacker<'a>) -> LocalBoxFuture<'a, anyhow::Result<()>>,
    /// How the victim's Job ends during it.
    pub(super) ending: Ending,
}

/// A table of attacks: `"what it does" => function, how the victim's Job ends;`.
macro_rules! attacks {
    ($($what:literal => $run:path, $ending:expr;)+) => {
        [$($crate::hostile_tenants::frame::Attack { what: $what, run: |attacker| Box::pin($run(attacker)), ending: $ending }),+]
    };
}
pub(super) use attacks;

/// Runs the attacks at the same time. The error has one paragraph for each attack that has succeeded.
pub(super) fn during<'a>(cluster: &'a SharedCluster, attacks: &'a [Attack]) -> LocalBoxFuture<'a, anyhow::Result<()>> {
    Box::pin(run_all(cluster, attacks))
}

async fn run_all(cluster: &SharedCluster, attacks: &[Attack]) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    let usual = Box::pin(usual(environment)).await?;
    let before = Installation::read(environment).await?;
    let bystander = Subject::start(environment, "bystander", HOME).await?;
    let outcomes = join_all(attacks.iter().map(|attack| carry_out(environment, attack, &bystander, usual))).await;
    let mut failures = Vec::new();
    let mut attackers = Vec::new();
    for (attack, outcome) in attacks.iter().zip(outcomes) {
        match outcome {
            Ok(attacker) => attackers.push(attacker),
            Err(error) => failures.push(format!("during {:?}: {error:?}", attack.what)),
        }
    }
    let of_all = async {
        bystander.is_untouched().await?;
        in_time("bystander", bystander.end(Ending::Succeeds, None).await?, usual)?;
        // What goes on of the attacks has gone on until now.
        for attacker in &attackers {
            bystander.is_hidden_in(&attacker.shown().await?)?;
            attacker.clean_up().await?;
        }
        before.is_unharmed(environment).await
    };
    if let Err(error) = of_all.await {
        failures.push(format!("after all attacks of this kind: {error:?}"));
    }
    ensure!(failures.is_empty(), "{} of {} attacks:\n\n{}", failures.len(), attacks.len(), failures.join("\n\n"));
    Ok(())
}

/// One attack, with a victim of its own.
async fn carry_out<'a>(
    environment: &'a Environment,
    attack: &Attack,
    bystander: &Subject<'_>,
    usual: Duration,
) -> anyhow::Result<Attacker<'a>> {
    let node = if attack.ending == Ending::LosesItsNode {
        environment.wait_for_warm_up().await?;
        Some(environment.lease_node().await?)
    } else {
        None
    };
    let on = node.as_ref().map_or(HOME, |node| node.name());
    let victim = Subject::start(environment, "victim", on).await?;
    let attacker = Attacker::new(environment, victim.target()).await?;
    let attacked = tokio::time::timeout(ATTACK, (attack.run)(&attacker)).await;
    let defended = async {
        attacked
            .with_context(|| format!("it took longer than {ATTACK:?}"))?
            .context("what the attacker was answered")?;
        victim.is_untouched().await?;
        bystander.is_untouched().await?;
        let took = victim.end(attack.ending, node.as_ref()).await?;
        in_time("victim", took, if node.is_some() { LOSS_DUE.max(usual) } else { usual })?;
        victim.is_hidden_in(&attacker.shown().await?)
    };
    if let Err(error) = defended.await {
        attacker.clean_up().await?;
        if let Some(node) = &node {
            environment.cluster.start_node(node.name()).await?;
        }
        return Err(error);
    }
    Ok(attacker)
}

fn in_time(role: &str, took: Duration, usual: Duration) -> anyhow::Result<()> {
    ensure!(took <= usual + DELAY, "the outcome of the {role} took {took:?}, and {usual:?} without an attack");
    Ok(())
}

/// How long the outcome of a Job takes while nobody attacks: of two that end together, the later.
async fn usual(environment: &Environment) -> anyhow::Result<Duration> {
    static USUAL: OnceCell<Duration> = OnceCell::const_new();
    let measure = async || {
        let start = || Box::pin(Subject::start(environment, "undisturbed", HOME));
        let (first, second) = try_join(start(), start()).await?;
        let [first, second] = [&first, &second].map(|subject| Box::pin(subject.end(Ending::Succeeds, None)));
        let (first, second) = try_join(first, second).await?;
        anyhow::Ok(first.max(second))
    };
    Box::pin(USUAL.get_or_try_init(measure)).await.copied()
}

/// What of jobwarden's own pods must not change: an attack that kills one of them has hit everybody.
struct Installation {
    /// The pods by UID, with the restarts of all their containers. Of the agents, those where jobwarden runs itself: other nodes may crash.
    pods: Vec<(String, String, i32)>,
    leader: String,
    /// Notifications that the receiver could not read or verify.
    rejected: usize,
}

impl Installation {
    async fn read(environment: &Environment) -> anyhow::Result<Self> {
        let leader = metrics::leader(&environment.client).await?.name_any();
        let mut pods = Vec::new();
        for namespace in [NAMESPACE, object::AGENT] {
            let listed =
                Api::<Pod>::namespaced(environment.client.clone(), namespace).list(&ListParams::default()).await?;
            let at_home = |pod: &&Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(HOME);
            pods.extend(listed.items.iter().filter(at_home).map(|pod| {
                let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
                let restarts = statuses.into_iter().flatten().map(|container| container.restart_count).sum();
                (pod.name_any(), pod.uid().unwrap_or_default(), restarts)
            }));
        }
        pods.sort();
        Ok(Self { pods, leader, rejected: environment.receiver.rejected().len() })
    }

    async fn is_unharmed(&self, environment: &Environment) -> anyhow::Result<()> {
        let now = Self::read(environment).await?;
        ensure!(now.pods == self.pods, "jobwarden's pods were {:?}, and are {:?}", self.pods, now.pods);
        ensure!(now.leader == self.leader, "the leader was {}, and is {}", self.leader, now.leader);
        let rejected = environment.receiver.rejected().split_off(self.rejected);
        ensure!(rejected.is_empty(), "the receiver rejected notifications: {rejected:?}");
        Ok(())
    }
}
