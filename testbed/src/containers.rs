//! The containers of a pod, as processes of this machine.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::{Api, LogParams};
use nix::sys::signal::Signal;

use crate::cgroup;
use crate::cluster::Cluster;
use crate::error::{ClusterError, Context, Result};
use crate::process::Process;

impl Cluster {
    /// The process IDs of a running container in this machine's PID namespace, the container's first process first. They
    /// can be looked up in this machine's `/proc`.
    pub async fn processes_in(&self, namespace: &str, pod: &str, container: &str) -> Result<Vec<i32>> {
        let found = self.container_processes(namespace, pod, container).await?;
        Ok(found.into_iter().map(|process| process.pid).collect())
    }

    /// The first process of a running container.
    pub async fn process_of(&self, namespace: &str, pod: &str, container: &str) -> Result<Process> {
        let found = self.container_processes(namespace, pod, container).await?;
        Ok(*found.first().expect("a container without processes is an error"))
    }

    /// Sends a signal to the first process of a container.
    pub async fn kill_process_in(&self, namespace: &str, pod: &str, container: &str, signal: Signal) -> Result<()> {
        let found = self.container_processes(namespace, pod, container).await?;
        self.changing(move |_| found.first().map_or(Ok(()), |first| first.signal(signal))).await
    }

    /// The log of a container. Without a name: the pod's only or first container.
    pub async fn logs(&self, namespace: &str, pod: &str, container: Option<&str>) -> Result<String> {
        let parameters = LogParams { container: container.map(str::to_owned), ..LogParams::default() };
        Api::<Pod>::namespaced(self.client()?, namespace)
            .logs(pod, &parameters)
            .await
            .context(|| format!("reading the log of pod {namespace}/{pod}"))
    }

    async fn container_processes(&self, namespace: &str, pod: &str, container: &str) -> Result<Vec<Process>> {
        let missing = |why| ClusterError::NoSuchContainer {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            container: container.to_owned(),
            why,
        };
        let found = Api::<Pod>::namespaced(self.client()?, namespace)
            .get(pod)
            .await
            .context(|| format!("reading pod {namespace}/{pod}"))?;
        let node = found.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        let node = self.shared.layout.node(node.ok_or_else(|| missing("is not scheduled yet"))?)?;
        let id = container_id(&found, container).ok_or_else(|| missing("has not started"))?;
        let mut processes = self
            .blocking(move |shared| cgroup::processes_of_container(&shared.layout.namespace(node), &id))
            .await?
            .into_iter()
            .filter_map(Process::current)
            .collect::<Vec<_>>();
        processes.sort_by_key(|process| (process.started, process.pid));
        if processes.is_empty() { Err(missing("has no processes")) } else { Ok(processes) }
    }
}

/// The runtime's ID of a container, which may be an init container or a sidecar.
fn container_id(pod: &Pod, container: &str) -> Option<String> {
    let status = pod.status.as_ref()?;
    let of = |list: &Option<Vec<ContainerStatus>>| {
        list.iter().flatten().find(|status| status.name == container)?.container_id.clone()
    };
    let id = of(&status.container_statuses)
        .or_else(|| of(&status.init_container_statuses))
        .or_else(|| of(&status.ephemeral_container_statuses))?;
    Some(id.strip_prefix("containerd://").unwrap_or(&id).to_owned())
}
