//! Who attacks: somebody with the role `edit` in one namespace, who knows of the victim whatever can be known or guessed.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use jobwarden_common::names::{label, label_value};
use jobwarden_testbed::{Forwarder, TempNamespace};
use jobwarden_tests::environment::{ENDLESS, Environment, SOON};
use jobwarden_tests::install::HOME;
use jobwarden_tests::job::Worker;
use jobwarden_tests::receiver::Received;
use jobwarden_tests::wait;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::sleep;

/// What everything of an attacker is called by, and no message about anybody else may contain.
pub(super) const EVIL: &str = "evil";

/// A finalizer that keeps a forged object from the garbage collector. It is taken away when the attack is over.
pub(super) const HOLD: &str = "example.com/hold";

/// Whom an attack is aimed at.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) namespace: String,
    pub(super) job: String,
    pub(super) job_uid: String,
    pub(super) run_id: String,
    pub(super) job_id: String,
    pub(super) pod: String,
    pub(super) pod_uid: String,
}

/// Somebody with the role `edit` in a namespace of his own.
pub(super) struct Attacker<'a> {
    /// For what happens on the attacked side, and for the network. An attack itself acts through [`Attacker::client`].
    pub(super) environment: &'a Environment,
    /// The attacker's rights.
    pub(super) client: Client,
    /// The victim.
    pub(super) target: Target,
    namespace: TempNamespace,
    /// What has been shown to the attacker besides the objects of the namespace.
    seen: Mutex<String>,
    /// What goes on until the victim's Job has ended, such as connections.
    held: Mutex<Vec<Box<dyn Any + Send>>>,
}

/// Waits until the API server knows of the binding: its authorizer follows it with a delay.
async fn has_rights(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let attributes = json!({"namespace": namespace, "verb": "create", "group": "batch", "resource": "jobs"});
    let review: SelfSubjectAccessReview = serde_json::from_value(json!({"spec": {"resourceAttributes": attributes}}))?;
    let reviews = Api::<SelfSubjectAccessReview>::all(client.clone());
    let deadline = Instant::now() + SOON;
    loop {
        let answer =
            reviews.create(&PostParams::default(), &review).await.context("asking for the attacker's rights")?;
        if answer.status.is_some_and(|status| status.allowed) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the attacker has no rights in {namespace} after {} s", SOON.as_secs());
        sleep(Duration::from_millis(100)).await;
    }
}

impl<'a> Attacker<'a> {
    pub(super) async fn new(environment: &'a Environment, target: Target) -> anyhow::Result<Self> {
        let enrolled = [(label::INJECT, label_value::ENABLED), ("pod-security.kubernetes.io/enforce", "restricted")];
        let namespace = environment.cluster.temp_namespace(EVIL, &enrolled).await?;
        let user = format!("tenant-of-{}", namespace.name());
        let binding: RoleBinding = serde_json::from_value(json!({
            "metadata": {"name": "tenant"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
            "subjects": [
                {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user},
                {"kind": "ServiceAccount", "name": "default", "namespace": namespace.name()},
            ]
        }))?;
        let bindings = Api::<RoleBinding>::namespaced(environment.client.clone(), namespace.name());
        bindings.create(&PostParams::default(), &binding).await.context("binding the attacker to the role edit")?;
        let mut config = environment.cluster.client_config();
        config.auth_info.impersonate = Some(user);
        let client = Client::try_from(config)?;
        has_rights(&client, namespace.name()).await?;
        Ok(Self { environment, client, target, namespace, seen: Mutex::default(), held: Mutex::default() })
    }

    /// The attacker's namespace.
    pub(super) fn namespace(&self) -> &str {
        self.namespace.name()
    }

    /// Objects of the attacker's namespace, with the attacker's rights.
    pub(super) fn own<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        self.of(self.namespace())
    }

    /// Objects of another namespace, with the attacker's rights.
    pub(super) fn of<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Creates an object in the attacker's namespace.
    pub(super) async fn create<K>(&self, object: Value) -> kube::Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + serde::Serialize + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let object: K = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
        self.own::<K>().create(&PostParams::default(), &object).await
    }

    /// A merge patch of an object in the attacker's namespace.
    pub(super) async fn patch<K>(&self, name: &str, patch: &Value) -> kube::Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
        K::DynamicType: Default,
    {
        self.own::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
    }

    /// Creates a Job in the attacker's namespace, changed by a JSON merge patch.
    pub(super) async fn submit(&self, worker: &Worker, changes: &Value) -> anyhow::Result<Job> {
        let created = self.create(job(worker, changes)?).await;
        created.with_context(|| format!("the API server refused the Job {}", worker.name()))
    }

    /// A running pod of an endless Job in the attacker's namespace, from which to reach the network.
    pub(super) async fn pod_in_the_network(&self) -> anyhow::Result<Pod> {
        let name = format!("{EVIL}-base");
        self.submit(&Worker::new(&name, 1, ENDLESS).on_node(HOME).grace(1), &json!({})).await?;
        wait::until_running(&self.client, self.namespace(), &name, &[], SOON).await
    }

    /// An address as a pod of the attacker reaches it.
    pub(super) async fn reach(&self, pod: &Pod, address: SocketAddr) -> anyhow::Result<Forwarder> {
        let cluster = &self.environment.cluster;
        Ok(cluster.forward_from(self.namespace(), &pod.name_any(), "worker", address).await?)
    }

    /// Waits for the last notification about a Job or bare pod of the attacker: what was done before has been judged by then.
    pub(super) async fn told(&self, name: &str) -> anyhow::Result<Received> {
        self.environment.receiver.wait_for(self.namespace(), name, SOON, |event| event.data.kind.is_final()).await
    }

    /// Runs a short Job of the attacker to its end. What was done before has been judged by then.
    pub(super) async fn run_through(&self) -> anyhow::Result<()> {
        let name = format!("{EVIL}-through");
        self.submit(&short(&name), &json!({})).await?;
        self.told(&name).await.map(drop)
    }

    /// A token of a service account of the attacker's namespace, bound to an object of the namespace.
    pub(super) async fn token(&self, account: &str, audience: &str, bound: Option<Value>) -> kube::Result<String> {
        let spec = json!({"audiences": [audience], "expirationSeconds": 3600, "boundObjectRef": bound});
        let request: TokenRequest = serde_json::from_value(json!({ "spec": spec })).map_err(kube::Error::SerdeError)?;
        let accounts = self.own::<ServiceAccount>();
        let granted = accounts.create_token_request(account, &PostParams::default(), &request).await?;
        Ok(granted.status.map(|status| status.token).unwrap_or_default())
    }

    /// A token bound to a pod of the attacker's namespace.
    pub(super) async fn pod_token(&self, pod: &Pod, audience: &str) -> anyhow::Result<String> {
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default");
        let bound = bound_to("Pod", &pod.name_any(), &pod.uid().unwrap_or_default());
        self.token(account, audience, Some(bound)).await.context("requesting a token for a pod of the attacker")
    }

    /// Records what was shown to the attacker.
    pub(super) fn sees(&self, text: &str) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push_str(text);
    }

    /// Keeps something until the victim's Job has ended.
    pub(super) fn hold(&self, value: impl Any + Send) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(value));
    }

    /// Everything that the attacker has been shown, and can read. A namespace that is gone shows nothing.
    pub(super) async fn shown(&self) -> anyhow::Result<String> {
        let mut shown = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let own = self
            .environment
            .receiver
            .picked(|it| (it.event.data.namespace == self.namespace()).then(|| it.event.clone()));
        shown.push_str(&serde_json::to_string(&own)?);
        self.list::<Job>(&mut shown).await?;
        self.list::<Pod>(&mut shown).await?;
        self.list::<Event>(&mut shown).await?;
        self.list::<ConfigMap>(&mut shown).await?;
        self.list::<Lease>(&mut shown).await?;
        Ok(shown)
    }

    async fn list<K>(&self, shown: &mut String) -> anyhow::Result<()>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + serde::Serialize + std::fmt::Debug,
        K::DynamicType: Default,
    {
        match self.own::<K>().list(&ListParams::default()).await {
            Ok(objects) => shown.push_str(&serde_json::to_string(&objects.items)?),
            // Its RoleBinding goes with the namespace.
            Err(kube::Error::Api(status)) if status.code == 403 || status.code == 404 => {}
            Err(error) => return Err(error).context("reading what the attacker can read"),
        }
        Ok(())
    }

    /// Removes what the attacker has put between an object and its deletion, so that the namespace can go.
    pub(super) async fn clean_up(&self) -> anyhow::Result<()> {
        let pods = Api::<Pod>::namespaced(self.environment.client.clone(), self.namespace());
        for pod in pods.list(&ListParams::default()).await?.items {
            if pod.finalizers().iter().any(|finalizer| finalizer == HOLD) {
                let released = Patch::Merge(json!({"metadata": {"finalizers": null}}));
                pods.patch(&pod.name_any(), &PatchParams::default(), &released).await?;
            }
        }
        Ok(())
    }
}

/// A worker that ends by itself.
pub(super) fn short(name: &str) -> Worker {
    Worker::new(name, 1, Duration::from_secs(1)).on_node(HOME).grace(1)
}

/// A Job, changed by a JSON merge patch.
pub(super) fn job(worker: &Worker, changes: &Value) -> anyhow::Result<Value> {
    let mut job = serde_json::to_value(worker.job())?;
    merge(&mut job, changes);
    Ok(job)
}

/// A pod as the Job of this worker would have it, changed by a JSON merge patch.
pub(super) fn pod(worker: &Worker, changes: &Value) -> anyhow::Result<Value> {
    let job = serde_json::to_value(worker.job())?;
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": job["spec"]["template"]["metadata"],
        "spec": job["spec"]["template"]["spec"]
    });
    merge(&mut pod, &json!({"metadata": {"name": worker.name()}}));
    merge(&mut pod, changes);
    Ok(pod)
}

/// JSON merge patch (RFC 7396).
pub(super) fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        value.clone_from(patch);
        return;
    };
    if !value.is_object() {
        *value = json!({});
    }
    for (key, change) in changes {
        if change.is_null() {
            if let Some(object) = value.as_object_mut() {
                object.remove(key);
            }
        } else {
            merge(&mut value[key], change);
        }
    }
}

/// The object that a token is bound to.
pub(super) fn bound_to(kind: &str, name: &str, uid: &str) -> Value {
    json!({"apiVersion": "v1", "kind": kind, "name": name, "uid": uid})
}

/// That the API server has answered with one of these status codes.
#[allow(clippy::needless_pass_by_value, reason = "reads well with a call")]
pub(super) fn refused<T: std::fmt::Debug>(what: &str, codes: &[u16], answer: kube::Result<T>) -> anyhow::Result<()> {
    let is_refused = matches!(&answer, Err(kube::Error::Api(status)) if codes.contains(&status.code));
    ensure!(is_refused, "{what} was not refused with {codes:?}: {answer:?}");
    Ok(())
}

/// Tries until it holds. The error is the last one.
pub(super) async fn until(what: &str, holds: impl AsyncFn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let give_up = Instant::now() + SOON;
    while !holds().await.with_context(|| format!("waiting until {what}"))? {
        ensure!(Instant::now() < give_up, "it is not so after {SOON:?} that {what}");
        sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}
