//! The node agents: which pods they are and where they run, so that an agent is known to be one before its report is read.
//!
//! A token says which pod it was issued for. That this pod still exists, and is bound to that node, only the API server knows.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, PoisonError, RwLock},
};

use futures::{Stream, StreamExt as _};
use jobwarden_common::{
    identity::{NodeName, PodUid},
    names::object,
};
use jobwarden_serve::logs::with_causes;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};

use super::{bearer::Bearer, rejection::Rejection};

/// The pods of the agents. Clones share them.
#[derive(Clone, Debug)]
pub struct Agents(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    namespace: String,
    known: RwLock<Known>,
}

/// The pods, by UID, and the nodes that they are bound to.
#[derive(Debug, Default)]
struct Known {
    /// `None` until all of them have been listed once.
    pods: Option<HashMap<PodUid, NodeName>>,
    /// Those of a list that is not complete yet.
    listing: HashMap<PodUid, NodeName>,
}

impl Agents {
    /// The agents of `namespace`, of which none is known yet.
    pub fn new(namespace: String) -> Self {
        Self(Arc::new(Inner { namespace, known: RwLock::default() }))
    }

    /// Watches the agents' pods; never returns. Needs the verbs list and watch on pods.
    pub async fn follow(self, client: Client) {
        let pods = Api::<Pod>::namespaced(client, &self.0.namespace);
        let config = watcher::Config::default().fields(&format!("spec.serviceAccountName={}", object::AGENT));
        // `watcher` restarts after every error, with backoff.
        self.process(watcher(pods, config).default_backoff()).await;
    }

    async fn process(&self, events: impl Stream<Item = watcher::Result<Event<Pod>>>) {
        let mut events = pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.apply(event),
                Err(error) => tracing::warn!(error = with_causes(&error), "cannot watch the agents' pods; retrying"),
            }
        }
    }

    fn apply(&self, event: Event<Pod>) {
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        let Known { pods, listing } = &mut *known;
        match event {
            Event::Init => listing.clear(),
            Event::InitApply(pod) => listing.extend(bound(&pod)),
            Event::InitDone => *pods = Some(std::mem::take(listing)),
            Event::Apply(pod) => pods.iter_mut().for_each(|pods| pods.extend(bound(&pod))),
            Event::Delete(pod) => {
                if let (Some(pods), Some(uid)) = (pods, pod.metadata.uid) {
                    pods.remove(&PodUid::from(uid));
                }
            }
        }
    }

    /// The node of the agent that presents a token.
    ///
    /// # Errors
    ///
    /// The bearer is no agent, its token is not bound to a node, its pod does not exist on that node, or the agents are not known yet.
    pub fn node_of<'a>(&self, bearer: &'a Bearer) -> Result<&'a NodeName, Rejection> {
        let Bearer { pod, node, namespace, service_account } = bearer;
        if service_account != object::AGENT || *namespace != self.0.namespace {
            return Err(Rejection::NotAgent);
        }
        let node = node.as_ref().ok_or(Rejection::NoNode)?;
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        match known.pods.as_ref().ok_or(Rejection::AgentsUnknown)?.get(pod) {
            Some(bound) if bound == node => Ok(node),
            _ => Err(Rejection::UnknownAgent),
        }
    }
}

/// UID and node of a pod that is bound.
fn bound(pod: &Pod) -> Option<(PodUid, NodeName)> {
    let node = pod.spec.as_ref()?.node_name.clone()?;
    Some((pod.metadata.uid.clone()?.into(), node.into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    impl Agents {
        /// The agents of `namespace`: pods with these UIDs on these nodes.
        pub(crate) fn fixed<const N: usize>(namespace: &str, pods: [(&str, &str); N]) -> Self {
            let agents = Self::new(namespace.to_owned());
            agents.apply(Event::Init);
            for (uid, node) in pods {
                agents.apply(Event::InitApply(pod(uid, Some(node))));
            }
            agents.apply(Event::InitDone);
            agents
        }
    }

    fn pod(uid: &str, node: Option<&str>) -> Pod {
        let pod = json!({"metadata": {"uid": uid, "name": uid}, "spec": {"nodeName": node, "containers": []}});
        serde_json::from_value(pod).expect("a pod")
    }

    fn bearer(pod: &str, node: &str) -> Bearer {
        Bearer {
            pod: pod.into(),
            node: Some(node.into()),
            namespace: "agents".to_owned(),
            service_account: object::AGENT.to_owned(),
        }
    }

    fn reason(agents: &Agents, bearer: &Bearer) -> &'static str {
        agents.node_of(bearer).map_or_else(|rejection| rejection.as_str(), |_| "accepted")
    }

    #[test]
    fn an_agent_is_a_pod_that_exists_on_the_node_of_its_token() {
        let agents = Agents::new("agents".to_owned());
        assert_eq!(reason(&agents, &bearer("a", "node-1")), "agents_unknown");
        for event in [Event::Init, Event::InitApply(pod("a", Some("node-1"))), Event::InitApply(pod("pending", None))] {
            agents.apply(event);
            assert_eq!(reason(&agents, &bearer("a", "node-1")), "agents_unknown", "the list is not complete");
        }
        agents.apply(Event::InitDone);
        assert_eq!(reason(&agents, &bearer("a", "node-1")), "accepted");
        assert_eq!(reason(&agents, &bearer("a", "node-2")), "unknown_agent");
        assert_eq!(reason(&agents, &bearer("b", "node-1")), "unknown_agent");
        assert_eq!(reason(&agents, &bearer("pending", "node-1")), "unknown_agent");
        agents.apply(Event::Apply(pod("pending", Some("node-1"))));
        assert_eq!(reason(&agents, &bearer("pending", "node-1")), "accepted");
        agents.apply(Event::Delete(pod("a", Some("node-1"))));
        assert_eq!(reason(&agents, &bearer("a", "node-1")), "unknown_agent", "its token outlives the pod");
    }

    #[test]
    fn a_list_replaces_what_was_known_when_it_is_complete() {
        let agents = Agents::new("agents".to_owned());
        for event in [Event::Init, Event::InitApply(pod("a", Some("node-1"))), Event::InitDone, Event::Init] {
            agents.apply(event);
        }
        assert_eq!(reason(&agents, &bearer("a", "node-1")), "accepted", "as long as the next list is not complete");
        agents.apply(Event::InitDone);
        assert_eq!(reason(&agents, &bearer("a", "node-1")), "unknown_agent");
    }
}
