//! The `JobOutcome` objects: what jobwarden has recorded, and how its delivery to each sink stands.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use jobwarden_common::names::GROUP;
use jobwarden_common::notification::OutcomeData;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, ResourceExt as _};
use serde::Deserialize;

use crate::install::NAMESPACE;

/// An outcome as it is recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Its name, which is the ID of its notification.
    pub id: String,
    /// The notification's data.
    pub data: OutcomeData,
    /// The state of the delivery to each sink: `pending`, `acknowledged`, `refused` or `dead`.
    pub deliveries: BTreeMap<String, String>,
    /// The error of the last attempt of each delivery that has one.
    pub errors: BTreeMap<String, String>,
}

impl Recorded {
    /// Whether every delivery has ended, one way or the other.
    pub fn is_settled(&self) -> bool {
        self.deliveries.values().all(|state| state != PENDING)
    }

    /// The state of the delivery to a sink; empty if it is no recipient.
    pub fn delivery(&self, sink: &str) -> &str {
        self.deliveries.get(sink).map_or("", String::as_str)
    }

    /// The error of the last attempt to deliver to a sink; empty if it has not failed.
    pub fn error(&self, sink: &str) -> &str {
        self.errors.get(sink).map_or("", String::as_str)
    }
}

/// The state of a delivery that is still attempted.
const PENDING: &str = "pending";

/// The API of the objects.
pub fn api(client: &Client) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, "v1alpha1", "JobOutcome"));
    Api::namespaced_with(client.clone(), NAMESPACE, &resource)
}

/// All outcomes of Jobs in this namespace.
pub async fn about(client: &Client, namespace: &str) -> anyhow::Result<Vec<Recorded>> {
    let all = api(client).list(&ListParams::default()).await.context("listing the outcomes")?;
    let all = all.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(all.into_iter().filter(|outcome| outcome.data.namespace == namespace).collect())
}

/// The name of the final outcome of the Job with this UID.
pub fn final_name(uid: &str) -> String {
    format!("{uid}.final")
}

/// Waits until the final outcome of the Job with this UID satisfies `wanted`, which `state` names.
pub async fn until_final(
    client: &Client,
    uid: &str,
    timeout: Duration,
    state: &str,
    wanted: impl Fn(&Recorded) -> bool,
) -> anyhow::Result<Recorded> {
    let (api, name) = (api(client), final_name(uid));
    let found = |object: Option<&DynamicObject>| {
        object.is_some_and(|object| read(object).is_ok_and(|outcome| wanted(&outcome)))
    };
    let Ok(object) = tokio::time::timeout(timeout, await_condition(api.clone(), &name, found)).await else {
        let now = api.get_opt(&name).await.with_context(|| format!("reading JobOutcome {name}"))?;
        bail!("JobOutcome {name} is not {state} after {timeout:?}: {now:#?}");
    };
    let object = object.with_context(|| format!("waiting until JobOutcome {name} is {state}"))?;
    read(&object.with_context(|| format!("JobOutcome {name} was deleted"))?)
}

/// What an object says.
pub fn read(object: &DynamicObject) -> anyhow::Result<Recorded> {
    #[derive(Deserialize)]
    struct Spec {
        data: OutcomeData,
        #[serde(default)]
        sinks: Vec<String>,
    }
    #[derive(Deserialize)]
    struct Sink {
        name: String,
        state: String,
        #[serde(rename = "lastError")]
        last_error: Option<String>,
    }

    let id = object.name_any();
    let parsing = || format!("parsing JobOutcome {id}");
    let Spec { data, sinks } = Deserialize::deserialize(&object.data["spec"]).with_context(parsing)?;
    // A recipient without an entry has not been attempted.
    let untried = sinks.into_iter().map(|name| (name, PENDING.to_owned()));
    let written: Option<Vec<Sink>> = Deserialize::deserialize(&object.data["status"]["sinks"]).with_context(parsing)?;
    let written = written.unwrap_or_default();
    let errors = written.iter().filter_map(|sink| Some((sink.name.clone(), sink.last_error.clone()?))).collect();
    let states = written.into_iter().map(|sink| (sink.name, sink.state));
    Ok(Recorded { deliveries: untried.chain(states).collect(), errors, id, data })
}
