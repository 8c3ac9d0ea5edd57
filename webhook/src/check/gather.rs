//! Looks at everything that the checks need, through the API server alone.

mod raw;

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jobwarden_common::names::{GROUP, label, label_value, object, port, route};
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
    namespaces,
    permissions::{Answer, Right},
    snapshot::{CRD_VERSION, Held, Lack, Look, POLICY, Ready, Server, Snapshot},
    trial::{self, Said, Trial},
};

/// As many objects of a kind as are looked at, where there may be any number.
const MANY: u32 = 500;

/// Requests under way at once.
const AT_ONCE: usize = 16;

/// In as many enrolled namespaces a pod is created for dry.
const TRIALS: usize = 50;

/// Dry runs under way at once; each may wait for webhooks.
const TRIALS_AT_ONCE: usize = 4;

/// How often a Lease is looked at again that has not been renewed for long.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The longest that is waited for a renewal.
const LONGEST_LEASE: Duration = Duration::from_mins(1);

/// The image of the pods that are created for dry, where the webhook's own is not known.
const SOME_IMAGE: &str = "jobwarden.io/jobwarden";

/// Who looks.
pub(super) struct Gatherer {
    client: Client,
    namespace: String,
}

impl Gatherer {
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        Self { client, namespace: namespace.to_owned() }
    }

    fn raw(&self) -> Raw<'_> {
        Raw(&self.client)
    }

    /// The API server itself; without it there is nothing to look at.
    pub(super) async fn server(&self) -> Look<Server> {
        let reply = self.raw().get("/version").await?;
        let here = Timestamp::now();
        let version: Value = serde_json::from_str(&reply.body).unwrap_or_default();
        let date = reply
            .header(&http::header::DATE)
            .and_then(|date| rfc2822::DateTimeParser::new().parse_timestamp(date).ok());
        let now = date.unwrap_or(here);
        let version = version["gitVersion"].as_str().unwrap_or_default().to_owned();
        Ok(Server { version, now, ahead: here.duration_since(now) })
    }

    /// Everything, of which parts may be lacking.
    pub(super) async fn snapshot(&self, server: Server) -> Snapshot {
        let mut snapshot = Box::pin(self.objects(server)).await;
        let (lease, ready, trials) = tokio::join!(
            self.second_look(snapshot.lease.clone(), snapshot.server.now),
            self.ready(&snapshot),
            self.trials(&snapshot)
        );
        snapshot.lease = lease;
        snapshot.ready = ready;
        snapshot.trials = trials;
        snapshot
    }

    async fn objects(&self, server: Server) -> Snapshot {
        let Self { client, namespace } = self;
        let enrolled = format!("{}={}", label::INJECT, label_value::ENABLED);
        let workers = ListParams::default().limit(MANY).labels(&format!("{}={}", label::ENROLLED, label_value::TRUE));
        let outcomes = ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, CRD_VERSION, "JobOutcome"));
        let crd = format!("joboutcomes.{GROUP}");
        let list = ListParams::default;
        let leases = async {
            self.get::<Lease>(object::REAPER_LEASE).await.map(|it| it.map(|lease| Held { lease, moved: false }))
        };
        macro_rules! join {
            ($($field:ident: $look:expr),* $(,)?) => {{
                // Each on the heap: together they would be a large future.
                let ($($field),*,) = tokio::join!($(Box::pin($look)),*);
                Snapshot { namespace: namespace.clone(), server, ready: Vec::new(), trials: Vec::new(), $($field),* }
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
            pods: all(Api::namespaced(client.clone(), namespace), list().limit(MANY)),
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
            outcomes: all(Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &outcomes), list().limit(MANY)),
            reaper_answers: self.reaper_answers(),
        }
    }

    /// An object of jobwarden's namespace.
    async fn get<K>(&self, name: &str) -> Look<Option<K>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        one(Api::namespaced(self.client.clone(), &self.namespace), name).await
    }

    async fn permissions(&self) -> Look<Vec<Answer>> {
        let reviews = Api::<SubjectAccessReview>::all(self.client.clone());
        let answers = stream::iter(Right::all()).map(|right| {
            let reviews = reviews.clone();
            async move {
                let answer = reviews.create(&PostParams::default(), &right.review(&self.namespace)).await?;
                Ok::<_, kube::Error>(Answer { allowed: answer.status.is_some_and(|status| status.allowed), right })
            }
        });
        Ok(answers.buffered(AT_ONCE).try_collect().await?)
    }

    /// Asks the leading reaper through its Service, as sidecars do, but by way of the API server. It has nothing to say to one
    /// without a token: any word of its own will do.
    async fn reaper_answers(&self) -> Look<u16> {
        let path = format!(
            "/api/v1/namespaces/{}/services/https:{}:{}/proxy{}",
            self.namespace,
            object::REAPER_SERVICE,
            port::REAPER,
            route::BEATS
        );
        Ok(self.raw().get(&path).await?.status.as_u16())
    }

    /// The Lease; where it looks stale, whether it is renewed nevertheless. Who renews it may have a clock that is behind.
    async fn second_look(&self, lease: Look<Option<Held>>, now: Timestamp) -> Look<Option<Held>> {
        let Ok(Some(mut held)) = lease else { return lease };
        let renew_time = |lease: Lease| lease.spec?.renew_time;
        let Some(renewed) = renew_time(held.lease.clone()) else { return Ok(Some(held)) };
        if held.holder().is_none() || held.is_fresh(now) {
            return Ok(Some(held));
        }
        let renewal = async {
            loop {
                tokio::time::sleep(LOOK_AGAIN).await;
                let again = self.get::<Lease>(object::REAPER_LEASE).await.ok().flatten();
                if again.and_then(renew_time).is_some_and(|again| again != renewed) {
                    return;
                }
            }
        };
        let lasts = held.lasts().unsigned_abs().min(LONGEST_LEASE);
        held.moved = tokio::time::timeout(lasts, renewal).await.is_ok();
        Ok(Some(held))
    }

    /// What the webhook's and the reaper's processes say of themselves.
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
        answers.buffered(AT_ONCE).collect().await
    }

    async fn trials(&self, snapshot: &Snapshot) -> Vec<Trial> {
        let enrolled = snapshot.enrolled.as_deref().unwrap_or_default();
        let namespaces: Vec<String> =
            namespaces::in_effect(snapshot, enrolled).map(ResourceExt::name_any).take(TRIALS).collect();
        let webhook = snapshot.webhook.as_ref().ok().and_then(Option::as_ref);
        let template = webhook.and_then(|webhook| webhook.spec.as_ref()?.template.spec.as_ref());
        let image = template.and_then(|spec| spec.containers.first()?.image.as_deref()).unwrap_or(SOME_IMAGE);
        let trials = stream::iter(namespaces).map(async |namespace| {
            let said = self.try_in(&namespace, image).await;
            Trial { namespace, said }
        });
        trials.buffered(TRIALS_AT_ONCE).collect().await
    }

    /// Creates a pod for dry; where that is refused, one that says what it needs.
    async fn try_in(&self, namespace: &str, image: &str) -> Look<Said> {
        let plain = self.raw().create_dry(namespace, &trial::pod(image, false)).await?;
        if let Said::Refused(_) = plain
            && let admitted @ Said::Admitted { .. } = self.raw().create_dry(namespace, &trial::pod(image, true)).await?
        {
            return Ok(admitted);
        }
        Ok(plain)
    }
}

async fn one<K: Clone + std::fmt::Debug + DeserializeOwned>(api: Api<K>, name: &str) -> Look<Option<K>> {
    Ok(api.get_opt(name).await?)
}

async fn all<K: Clone + std::fmt::Debug + DeserializeOwned>(api: Api<K>, params: ListParams) -> Look<Vec<K>> {
    Ok(api.list(&params).await.map_err(Lack::from)?.items)
}
