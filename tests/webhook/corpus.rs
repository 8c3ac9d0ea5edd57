//! The law that no pod is worse off: whatever the API server accepts without jobwarden, it accepts with it.
//!
//! Each shape of the corpus is created as a dry run, as a Job and as a pod that opts in, in pairs of namespaces that differ only in
//! whether they are enrolled: without policy, with Pod Security `restricted`, with `LimitRanges` of each type, and with a
//! `ResourceQuota` that has room for the sidecar. A shape that fails is made smaller for as long as it fails. The seed is in
//! `JOBWARDEN_CORPUS_SEED`.

use std::env;
use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures::{StreamExt as _, stream};
use jobwarden_common::names::{SIDECAR_CONTAINER, label, label_value};
use jobwarden_testbed::{TempNamespace, progress};
use jobwarden_tests::corpus::{Base, Shape};
use jobwarden_tests::environment::{Environment, SOON};
use jobwarden_tests::shared_cluster::SharedCluster;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

/// The size of the whole corpus.
const ALL: usize = 260;

/// Every how manieth shape the sample has.
const STRIDE: usize = 8;

/// Used unless the environment sets another.
const SEED: u64 = 20_837;

/// Requests in flight at once.
const CONCURRENCY: usize = 8;

/// How long the webhook may take to learn of the objects of a new namespace.
const SETTLING: Duration = Duration::from_secs(10);

/// What a pair of namespaces has in common.
struct Rules {
    name: &'static str,
    base: Base,
    /// Objects in both.
    objects: fn() -> Vec<Value>,
    /// Pod Security that both enforce.
    enforce: Option<&'static str>,
}

const HARDENED: Base = Base { hardened: true, sized: false };
const SIZED: Base = Base { hardened: false, sized: true };
const PLAIN: Base = Base { hardened: false, sized: false };

const RULES: [Rules; 8] = [
    Rules { name: "open", base: PLAIN, objects: Vec::new, enforce: None },
    Rules { name: "restricted", base: HARDENED, objects: Vec::new, enforce: Some("restricted") },
    Rules {
        name: "containers",
        base: PLAIN,
        objects: || {
            vec![range(&json!({
                "type": "Container", "min": {"cpu": "20m", "memory": "32Mi"}, "max": {"cpu": "4", "memory": "4Gi"},
                "default": {"cpu": "500m", "memory": "512Mi"}, "defaultRequest": {"cpu": "500m", "memory": "512Mi"},
            }))]
        },
        enforce: None,
    },
    Rules {
        name: "tiny",
        base: PLAIN,
        objects: || vec![range(&json!({"type": "Container", "max": {"cpu": "5m", "memory": "8Mi"}}))],
        enforce: None,
    },
    Rules {
        name: "storage",
        base: PLAIN,
        objects: || {
            vec![range(&json!({
                "type": "Container", "min": {"ephemeral-storage": "32Mi"}, "max": {"ephemeral-storage": "1Gi"},
                "maxLimitRequestRatio": {"ephemeral-storage": "2"},
            }))]
        },
        enforce: None,
    },
    Rules {
        name: "pods",
        base: SIZED,
        objects: || {
            let least = json!({"cpu": "100m", "memory": "32Mi"});
            vec![
                range(&json!({"type": "Pod", "min": least, "max": {"cpu": "1", "memory": "1Gi"}})),
                range(&json!({"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}})),
            ]
        },
        enforce: None,
    },
    Rules {
        name: "ratio",
        base: SIZED,
        objects: || {
            let ratio = json!({"cpu": "2", "memory": "1"});
            vec![
                range(&json!({"type": "Container", "maxLimitRequestRatio": ratio})),
                range(&json!({"type": "Pod", "maxLimitRequestRatio": ratio})),
            ]
        },
        enforce: None,
    },
    Rules {
        name: "quota",
        base: SIZED,
        objects: || {
            let hard = json!({
                "pods": "100", "requests.cpu": "100", "limits.cpu": "100", "requests.memory": "100Gi", "limits.memory": "100Gi",
                "requests.ephemeral-storage": "100Gi", "limits.ephemeral-storage": "100Gi", "requests.hugepages-2Mi": "1Gi",
            });
            vec![
                json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "rule"}, "spec": {"hard": hard}}),
            ]
        },
        enforce: None,
    },
];

fn range(limit: &Value) -> Value {
    let name = limit["type"].as_str().unwrap_or_default().to_lowercase();
    json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": name}, "spec": {"limits": [limit]}})
}

pub(crate) async fn a_sample_of_pod_templates_is_accepted_with_jobwarden_if_without(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let (shapes, seed) = corpus()?;
    check(cluster, &shapes.into_iter().step_by(STRIDE).collect::<Vec<_>>(), seed).await
}

pub(crate) async fn every_pod_template_of_the_corpus_is_accepted_with_jobwarden_if_without(
    cluster: &SharedCluster,
) -> anyhow::Result<()> {
    let (shapes, seed) = corpus()?;
    check(cluster, &shapes, seed).await
}

fn corpus() -> anyhow::Result<(Vec<Shape>, u64)> {
    let seed = match env::var("JOBWARDEN_CORPUS_SEED") {
        Ok(seed) => seed.parse().context("JOBWARDEN_CORPUS_SEED is not a number")?,
        Err(_) => SEED,
    };
    Ok((Shape::corpus(ALL, seed), seed))
}

async fn check(cluster: &SharedCluster, shapes: &[Shape], seed: u64) -> anyhow::Result<()> {
    let environment = cluster.environment().await?;
    for rules in &RULES {
        let pair = Pair::create(environment, rules).await.with_context(|| format!("the namespaces {}", rules.name))?;
        let mut counts = Counts::default();
        let candidates = shapes.iter().flat_map(|shape| [(shape, Kind::Job), (shape, Kind::Pod)]);
        let mut checked = stream::iter(candidates)
            .map(|(shape, kind)| {
                let pair = &pair;
                async move { (shape, kind, pair.admitted(shape, kind).await) }
            })
            .buffer_unordered(CONCURRENCY);
        while let Some((shape, kind, admitted)) = checked.next().await {
            if let Err(violation) = counts.add(admitted?) {
                let (shape, violation) = pair.smallest(shape, kind, violation).await?;
                bail!(
                    "{kind:?} of the shape \"{shape}\" in the namespace {:?} (seed {seed}): {violation}\n{:#}",
                    rules.name,
                    kind.manifest(&shape, rules.base)
                );
            }
        }
        progress::note(format!("corpus, {}: {counts}", rules.name));
        ensure!(3 * counts.accepted > counts.rejected, "the API server rejects most of the corpus anyway: {counts}");
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Job,
    Pod,
}

impl Kind {
    fn manifest(self, shape: &Shape, base: Base) -> Value {
        match self {
            Self::Job => shape.job(base),
            Self::Pod => shape.pod(base),
        }
    }

    fn api(self, client: &Client, namespace: &str) -> Api<DynamicObject> {
        let resource = match self {
            Self::Job => ApiResource::erase::<Job>(&()),
            Self::Pod => ApiResource::erase::<Pod>(&()),
        };
        Api::namespaced_with(client.clone(), namespace, &resource)
    }
}

/// What the API server makes of an object.
enum Admitted {
    /// It rejects the object, with or without jobwarden.
    Rejected,
    /// It accepts the object with and without jobwarden.
    Accepted { with: Box<DynamicObject>, without: Box<DynamicObject> },
    /// It rejects the object only with jobwarden.
    OnlyWithout(String),
}

/// How many objects of the corpus were accepted.
#[derive(Default)]
struct Counts {
    accepted: usize,
    rejected: usize,
    injected: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, rejected, injected } = self;
        write!(
            f,
            "{accepted} accepted, {injected} of them with a sidecar, {rejected} rejected without jobwarden as well"
        )
    }
}

impl Counts {
    /// The error says how the object is worse off with jobwarden.
    fn add(&mut self, admitted: Admitted) -> Result<(), String> {
        match admitted {
            Admitted::Rejected => self.rejected += 1,
            Admitted::OnlyWithout(message) => return Err(format!("rejected only with jobwarden: {message}")),
            Admitted::Accepted { with, without } => {
                self.accepted += 1;
                self.injected += usize::from(has_sidecar(&with.data));
                return kept(&without.data, &with.data);
            }
        }
        Ok(())
    }
}

fn has_sidecar(object: &Value) -> bool {
    object["spec"]["initContainers"].as_array().is_some_and(|all| all.iter().any(|it| it["name"] == SIDECAR_CONTAINER))
}

/// The main containers keep what they have, and the pod keeps its `QoS` class. A pod without any requests becomes Burstable by those
/// of the sidecar.
fn kept(without: &Value, with: &Value) -> Result<(), String> {
    let class = |object: &Value| object["status"]["qosClass"].clone();
    if class(without) != class(with) && class(without) != "BestEffort" {
        return Err(format!("its QoS class is {} and not {}", class(with), class(without)));
    }
    for part in ["resources", "securityContext", "image", "env", "ports"] {
        let of = |object: &Value| {
            let containers = object["spec"]["containers"].as_array().into_iter().flatten();
            containers.map(|container| container[part].clone()).collect::<Vec<_>>()
        };
        if of(without) != of(with) {
            return Err(format!("{part} of its containers became {:?} from {:?}", of(with), of(without)));
        }
    }
    Ok(())
}

/// Two namespaces with the same rules.
struct Pair {
    enrolled: TempNamespace,
    other: TempNamespace,
    client: Client,
    base: Base,
}

impl Pair {
    async fn create(environment: &Environment, rules: &Rules) -> anyhow::Result<Self> {
        let client = environment.client.clone();
        let security = rules.enforce.map(|level| ("pod-security.kubernetes.io/enforce", level));
        let enrolling = Some((label::INJECT, label_value::ENABLED));
        let labels: Vec<_> = security.into_iter().chain(enrolling).collect();
        let enrolled = environment.cluster.temp_namespace(&format!("with-{}", rules.name), &labels).await?;
        let labels: Vec<_> = security.into_iter().collect();
        let other = environment.cluster.temp_namespace(&format!("without-{}", rules.name), &labels).await?;
        for namespace in [enrolled.name(), other.name()] {
            for mut object in (rules.objects)() {
                object["metadata"]["namespace"] = json!(namespace);
                environment.cluster.apply(&object.to_string()).await.context("creating its rules")?;
            }
            until_quotas_are_computed(&client, namespace).await?;
        }
        Ok(Self { enrolled, other, client, base: rules.base })
    }

    async fn admitted(&self, shape: &Shape, kind: Kind) -> anyhow::Result<Admitted> {
        let object: DynamicObject = serde_json::from_value(kind.manifest(shape, self.base)).context("a manifest")?;
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let without = match kind.api(&self.client, self.other.name()).create(&dry_run, &object).await {
            Ok(without) => Box::new(without),
            Err(kube::Error::Api(_)) => return Ok(Admitted::Rejected),
            Err(error) => return Err(error).context("creating an object as a dry run"),
        };
        let enrolled = kind.api(&self.client, self.enrolled.name());
        let give_up = tokio::time::Instant::now() + SETTLING;
        loop {
            match enrolled.create(&dry_run, &object).await {
                Ok(with) => return Ok(Admitted::Accepted { with: Box::new(with), without }),
                Err(kube::Error::Api(status)) if tokio::time::Instant::now() >= give_up => {
                    return Ok(Admitted::OnlyWithout(status.message.clone()));
                }
                // The webhook may not have seen the LimitRange yet.
                Err(kube::Error::Api(_)) => tokio::time::sleep(Duration::from_millis(500)).await,
                Err(error) => return Err(error).context("creating an object as a dry run"),
            }
        }
    }

    /// The smallest shape that fails like `shape`.
    async fn smallest(&self, shape: &Shape, kind: Kind, violation: String) -> anyhow::Result<(Shape, String)> {
        let mut found = (shape.clone(), violation);
        loop {
            let mut smaller = None;
            for candidate in found.0.smaller() {
                if let Err(violation) = Counts::default().add(self.admitted(&candidate, kind).await?) {
                    smaller = Some((candidate, violation));
                    break;
                }
            }
            match smaller {
                Some(smaller) => found = smaller,
                None => return Ok(found),
            }
        }
    }
}

/// The API server rejects pods until the quotas of their namespace have a status.
async fn until_quotas_are_computed(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let quotas = Api::<ResourceQuota>::namespaced(client.clone(), namespace);
    let computed = async {
        loop {
            let all = quotas.list(&kube::api::ListParams::default()).await?;
            let has_status = |quota: &ResourceQuota| quota.status.as_ref().is_some_and(|status| status.used.is_some());
            if all.iter().all(has_status) {
                return Ok::<_, kube::Error>(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(SOON, computed).await.context("the quota has no status")??;
    Ok(())
}
