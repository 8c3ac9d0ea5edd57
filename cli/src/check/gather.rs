//! Gets everything that the checks need from the API server.

mod raw;

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jobwarden_common::{
    api::AccessHealth,
    names::{GROUP, api_route, label, label_value, object, port, route},
};
use jobwarden_serve::logs::with_causes;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        authorization::v1::SubjectAccessReview,
        coordination::v1::Lease,
        core::v1::{Namespace, Pod},
    },
    jiff::{Timestamp, fmt::rfc2822},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::raw::Raw;
use super::{
    dry_run::{self, DryRun, Response},
    enrolment,
    lookup::{Lookup, LookupError},
    rights::{Answer, Right},
    snapshot::{CRD_VERSION, Held, POLICY, Ready, Server, Snapshot},
};
use crate::leader::{LeaderError, Source};

/// The most objects of a kind that are read, where there can be any number.
const LIMIT: u32 = 500;

/// Concurrent requests.
const CONCURRENCY: usize = 16;

/// The most enrolled namespaces in which a pod is created as a dry run.
const DRY_RUNS: usize = 50;

/// Concurrent dry runs; each may wait for webhooks.
const DRY_RUN_CONCURRENCY: usize = 4;

/// Interval at which a stale Lease is read again.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The longest wait for a renewal.
const MAX_WAIT: Duration = Duration::from_mins(1);

/// How long a request by a port-forward may take; the reaper itself waits for the API server.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(15);

/// The image of the pods in dry runs, if the webhook's own image is unknown.
const DEFAULT_IMAGE: &str = "jobwarden.io/jobwarden";

/// Reads from the API server.
pub(super) struct Gatherer {
    client: Client,
    namespace: String,
    only: Option<String>,
}

impl Gatherer {
    /// For the installation in `namespace`. Of the enrolled namespaces, those other than `only` are left out.
    pub(super) fn new(client: Client, namespace: &str, only: Option<String>) -> Self {
        Self { client, namespace: namespace.to_owned(), only }
    }

    fn raw(&self) -> Raw<'_> {
        Raw(&self.client)
    }

    /// The API server itself.
    pub(super) async fn server(&self) -> Lookup<Server> {
        let reply = self.raw().get("/version").await?;
        let local = Timestamp::now();
        let version: Value = serde_json::from_str(&reply.body).unwrap_or_default();
        let date = reply
            .header(&http::header::DATE)
            .and_then(|date| rfc2822::DateTimeParser::new().parse_timestamp(date).ok());
        let now = date.unwrap_or(local);
        let version = version["gitVersion"].as_str().unwrap_or_default().to_owned();
        Ok(Server { version, now, ahead: local.duration_since(now) })
    }

    /// Everything; each lookup may have failed.
    pub(super) async fn snapshot(&self, server: Server) -> Snapshot {
        let mut snapshot = Box::pin(self.objects(server)).await;
        let (lease, ready, dry_runs) = tokio::join!(
            self.watch_lease(snapshot.lease.clone(), snapshot.server.now),
            self.ready(&snapshot),
            self.dry_runs(&snapshot)
        );
        snapshot.lease = lease;
        snapshot.ready = ready;
        snapshot.dry_runs = dry_runs;
        snapshot
    }

    async fn objects(&self, server: Server) -> Snapshot {
        let Self { client, namespace, only } = self;
        let enrolled = format!("{}={}", label::INJECT, label_value::ENABLED);
        let workers = ListParams::default().limit(LIMIT).labels(&format!("{}={}", label::ENROLLED, label_value::TRUE));
        let outcomes = ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, CRD_VERSION, "JobOutcome"));
        let crd = format!("joboutcomes.{GROUP}");
        let list = ListParams::default;
        let leases = async {
            self.get::<Lease>(object::REAPER_LEASE).await.map(|it| it.map(|lease| Held { lease, renewed: false }))
        };
        macro_rules! join {
            ($($field:ident: $lookup:expr),* $(,)?) => {{
                // Each on the heap, because together they are a large future.
                let ($($field),*,) = tokio::join!($(Box::pin($lookup)),*);
                Snapshot { namespace: namespace.clone(), only: only.clone(), server, ready: Vec::new(), dry_runs: Vec::new(), $($field),* }
            }};
        }
        join! {
            webhook_tls: self.get(object::WEBHOOK_TLS_SECRET),
            reaper_tls: self.get(object::REAPER_TLS_SECRET),
            authority: self.get(object::CA_SECRET),
            nodes: all(Api::all(client.clone()), list()),
            node_leases: all(Api::namespaced(client.clone(), "kube-node-lease"), list()),
            own_namespace: one(Api::<Namespace>::all(client.clone()), namespace),
            crd: one(Api::all(client.clone()), &crd),
            webhook: self.get(object::WEBHOOK_SERVICE),
            reaper: self.get(object::REAPER_SERVICE),
            agent: one(Api::namespaced(client.clone(), object::AGENT), object::AGENT),
            pods: all(Api::namespaced(client.clone(), namespace), list().limit(LIMIT)),
            agent_pods: all(Api::namespaced(client.clone(), object::AGENT), list()),
            lease: leases,
            reaper_service: self.get(object::REAPER_SERVICE),
            slices: all(Api::namespaced(client.clone(), namespace), list()),
            configurations: all(Api::all(client.clone()), list()),
            policy: one(Api::all(client.clone()), POLICY),
            binding: one(Api::all(client.clone()), POLICY),
            config: self.get(object::CONFIG),
            endpoint: self.get(object::REAPER_ENDPOINT),
            permissions: self.permissions(),
            enrolled: all(Api::all(client.clone()), list().labels(&enrolled)),
            limit_ranges: all(Api::all(client.clone()), list()),
            quotas: all(Api::all(client.clone()), list()),
            pending: all(Api::<Pod>::all(client.clone()), workers.fields("status.phase=Pending")),
            outcomes: all(Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &outcomes), list().limit(LIMIT)),
            reaper_answers: self.reaper_answers(),
            access: self.access(),
        }
    }

    /// An object in jobwarden's namespace.
    async fn get<K>(&self, name: &str) -> Lookup<Option<K>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        one(Api::namespaced(self.client.clone(), &self.namespace), name).await
    }

    async fn permissions(&self) -> Lookup<Vec<Answer>> {
        let reviews = Api::<SubjectAccessReview>::all(self.client.clone());
        let answers = stream::iter(Right::all()).map(|right| {
            let reviews = reviews.clone();
            async move {
                let answer = reviews.create(&PostParams::default(), &right.review(&self.namespace)).await?;
                Ok::<_, kube::Error>(Answer { allowed: answer.status.is_some_and(|status| status.allowed), right })
            }
        });
        Ok(answers.buffered(CONCURRENCY).try_collect().await?)
    }

    /// Calls the leading reaper through its Service, as sidecars do, but through the API server's proxy. Without a token the reaper
    /// rejects the request; any status of its own shows that it is reachable.
    async fn reaper_answers(&self) -> Lookup<u16> {
        let path = format!(
            "/api/v1/namespaces/{}/services/https:{}:{}/proxy{}",
            self.namespace,
            object::REAPER_SERVICE,
            port::REAPER,
            route::BEATS
        );
        Ok(self.raw().get(&path).await?.status.as_u16())
    }

    /// Asks the leading reaper by a port-forward, as `explain` does.
    async fn access(&self) -> Lookup<AccessHealth> {
        let source = Source::Leader { client: self.client.clone(), namespace: self.namespace.clone(), port: port::API };
        match tokio::time::timeout(FORWARD_TIMEOUT, source.get(api_route::ACCESS)).await {
            Ok(Ok(health)) => Ok(health),
            Ok(Err(error @ LeaderError::Forbidden { .. })) => Err(LookupError::Forbidden(error.to_string())),
            Ok(Err(LeaderError::Lease { source, .. })) => Err(source.into()),
            Ok(Err(error)) => Err(LookupError::Failed(with_causes(&error))),
            Err(_) => Err(LookupError::Failed(format!("no answer within {} s", FORWARD_TIMEOUT.as_secs()))),
        }
    }

    /// Watches a Lease that looks stale for a renewal: the clock of its holder may be behind.
    async fn watch_lease(&self, lease: Lookup<Option<Held>>, now: Timestamp) -> Lookup<Option<Held>> {
        let Ok(Some(mut held)) = lease else { return lease };
        let renew_time = |lease: Lease| lease.spec?.renew_time;
        let Some(before) = renew_time(held.lease.clone()) else { return Ok(Some(held)) };
        if held.holder().is_none() || held.is_fresh(now) {
            return Ok(Some(held));
        }
        let renewal = async {
            loop {
                tokio::time::sleep(POLL_INTERVAL).await;
                let current = self.get::<Lease>(object::REAPER_LEASE).await.ok().flatten();
                if current.and_then(renew_time).is_some_and(|now| now != before) {
                    return;
                }
            }
        };
        let wait = held.duration().unsigned_abs().min(MAX_WAIT);
        held.renewed = tokio::time::timeout(wait, renewal).await.is_ok();
        Ok(Some(held))
    }

    /// The readiness of the webhook's and the reaper's processes.
    async fn ready(&self, snapshot: &Snapshot) -> Vec<Ready> {
        let names = [object::WEBHOOK_SERVICE, object::REAPER_SERVICE];
        let is_ours = |pod: &&Pod| {
            let name = pod.labels().get("app.kubernetes.io/name");
            let runs = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
            runs && pod.metadata.deletion_timestamp.is_none() && name.is_some_and(|it| names.contains(&it.as_str()))
        };
        let pods: Vec<String> = snapshot.pods.iter().flatten().filter(is_ours).map(ResourceExt::name_any).collect();
        let answers = stream::iter(pods).map(async |pod| {
            let path = format!("/api/v1/namespaces/{}/pods/{pod}:{}/proxy/readyz", self.namespace, port::ADMIN);
            let answer = self
                .raw()
                .get(&path)
                .await
                .map(|reply| if reply.status.is_success() { Ok(()) } else { Err(reply.body.trim().to_owned()) });
            Ready { pod, answer }
        });
        answers.buffered(CONCURRENCY).collect().await
    }

    async fn dry_runs(&self, snapshot: &Snapshot) -> Vec<DryRun> {
        let enrolled = snapshot.enrolled.as_deref().unwrap_or_default();
        let namespaces: Vec<String> =
            enrolment::effective(snapshot, enrolled).map(ResourceExt::name_any).take(DRY_RUNS).collect();
        let webhook = snapshot.webhook.as_ref().ok().and_then(Option::as_ref);
        let template = webhook.and_then(|webhook| webhook.spec.as_ref()?.template.spec.as_ref());
        let image = template.and_then(|spec| spec.containers.first()?.image.as_deref()).unwrap_or(DEFAULT_IMAGE);
        let dry_runs = stream::iter(namespaces).map(async |namespace| {
            let response = self.dry_run(&namespace, image).await;
            DryRun { namespace, response }
        });
        dry_runs.buffered(DRY_RUN_CONCURRENCY).collect().await
    }

    /// Creates a pod as a dry run; if it is rejected, one with requests and limits.
    async fn dry_run(&self, namespace: &str, image: &str) -> Lookup<Response> {
        let plain = self.raw().dry_run(namespace, &dry_run::pod(image, false)).await?;
        if let Response::Rejected(_) = plain
            && let admitted @ Response::Admitted { .. } =
                self.raw().dry_run(namespace, &dry_run::pod(image, true)).await?
        {
            return Ok(admitted);
        }
        Ok(plain)
    }
}

async fn one<K: Clone + std::fmt::Debug + DeserializeOwned>(api: Api<K>, name: &str) -> Lookup<Option<K>> {
    Ok(api.get_opt(name).await?)
}

async fn all<K: Clone + std::fmt::Debug + DeserializeOwned>(api: Api<K>, params: ListParams) -> Lookup<Vec<K>> {
    Ok(api.list(&params).await.map_err(LookupError::from)?.items)
}
