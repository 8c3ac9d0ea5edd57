//! A node: containerd, kubelet and kube-proxy, each with its usual paths.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::cgroup;
use crate::command::run;
use crate::control_plane::proxy_flags;
use crate::error::{ClusterError, Context, Result, log_tail};
use crate::layout::{DNS_SERVICE, Layout, Machine, pod_range};
use crate::machine::{self, PROGRAMS, RUNTIME_SOCKET, ctr};
use crate::node_images;
use crate::pki::{Authority, write_private};

/// Where the node sees the kubelet's files.
const KUBELET: &str = "/var/lib/kubelet";

/// How long containerd may take to answer.
const RUNTIME_START: Duration = Duration::from_secs(20);

/// Open files: as many as fit below the hard limit of small machines (20,000).
const OPEN_FILES: u32 = 16_384;

/// Writes the configuration of the node's programs.
pub(crate) fn write_config(layout: &Layout, node: Machine, cni: &Path, authority: &Authority) -> Result<()> {
    let Machine::Node(number) = node else { return Ok(()) };
    let folder = layout.var(node).join("lib/kubelet");
    let networks = layout.var(node).join("lib/cni/net.d");
    for path in [&folder, &networks] {
        fs::create_dir_all(path).context(|| format!("creating {}", path.display()))?;
    }
    write_private(&folder.join("ca.crt"), authority.certificate())?;
    let (user, group) = (format!("system:node:{node}"), Some("system:nodes"));
    authority.server(&user, group, &[node.to_string(), node.address().to_string()])?.write(&folder, "server")?;
    let kubeconfig = authority.kubeconfig(&authority.client(&user, group)?);
    write_private(&folder.join("kubeconfig"), &kubeconfig)?;
    let kubeconfig = authority.kubeconfig(&authority.client("system:kube-proxy", None)?);
    write_private(&folder.join("proxy.kubeconfig"), &kubeconfig)?;
    write_private(&folder.join("config.json"), &kubelet_config(&layout.namespace(node)).to_string())?;
    write_private(&folder.join("containerd.toml"), &containerd_config(cni))?;
    write_private(&networks.join("10-cluster.conflist"), &cni_config(number).to_string())
}

/// Starts the container runtime and imports the images.
pub(crate) fn start_runtime(layout: &Layout, node: Machine) -> Result<()> {
    cgroup::create(&layout.namespace(node))?;
    let arguments = ["containerd", "--config", &format!("{KUBELET}/containerd.toml")].map(str::to_owned);
    machine::start(layout, node, "containerd", &arguments)?;
    let start = Instant::now();
    // `ctr version` also asks the server for its version, so it fails until the server answers.
    while run(&mut ctr(layout, node, &["version"])?).is_err() {
        let runs = !machine::find(layout, node, &["containerd"]).is_empty();
        if start.elapsed() > RUNTIME_START || (!runs && start.elapsed() > Duration::from_secs(2)) {
            return Err(ClusterError::TimedOut {
                problem: format!("containerd of {node} does not answer"),
                waited: start.elapsed(),
                tail: log_tail(&layout.log(node, "containerd")),
            });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    node_images::import(layout, node)
}

/// Starts kubelet and kube-proxy.
pub(crate) fn start_agents(layout: &Layout, node: Machine) -> Result<()> {
    start_kubelet(layout, node)?;
    let mut arguments = vec![format!("{PROGRAMS}/kubernetes"), "kube-proxy".to_owned()];
    arguments.extend(proxy_flags(&format!("{KUBELET}/proxy.kubeconfig"), node));
    machine::start(layout, node, "kube-proxy", &arguments)
}

/// Starts the kubelet and restarts it when it exits with an error (status 1) or panics (status 2), as an init system
/// does. After a crash it exits if the runtime answers but has not yet recovered the containers; while it starts it can
/// panic, for it may ask for its own Node before it can describe it (`wipeResourceSlices` in Kubernetes 1.35). A killed
/// kubelet is not restarted.
pub(crate) fn start_kubelet(layout: &Layout, node: Machine) -> Result<()> {
    let arguments = [
        "sh",
        "-c",
        r#"while "$@"; case $? in 1 | 2) ;; *) false ;; esac; do sleep 0.5; done"#,
        "sh",
        &format!("{PROGRAMS}/kubernetes"),
        "kubelet",
        &format!("--config={KUBELET}/config.json"),
        &format!("--kubeconfig={KUBELET}/kubeconfig"),
        &format!("--hostname-override={node}"),
        &format!("--node-ip={}", node.address()),
    ]
    .map(str::to_owned);
    machine::start(layout, node, "kubelet", &arguments)
}

/// Kills the kubelet. Containers keep running.
pub(crate) fn stop_kubelet(layout: &Layout, node: Machine) -> Result<()> {
    machine::stop(layout, node, &["kubernetes", "kubelet"])
}

/// Suspends the container runtime. The shims, which are the parents of the containers, keep running.
pub(crate) fn freeze_runtime(layout: &Layout, node: Machine) -> Result<()> {
    machine::find(layout, node, &["containerd"]).into_iter().try_for_each(|process| process.signal(Signal::SIGSTOP))
}

/// Resumes a frozen runtime.
pub(crate) fn thaw_runtime(layout: &Layout, node: Machine) -> Result<()> {
    machine::resume(layout, node, &["containerd"])
}

fn kubelet_config(cgroup: &str) -> serde_json::Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": format!("{KUBELET}/ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{cgroup}"),
        "clusterDNS": [DNS_SERVICE.to_string()],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": format!("unix://{RUNTIME_SOCKET}"),
        // The machine's disk and memory belong to others too: a full disk must not look like a lost worker.
        "evictionHard": {"memory.available": "32Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "failCgroupV1": false,
        "failSwapOn": false,
        // There is no registry: an image that is garbage-collected could not be pulled again.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "maxOpenFiles": OPEN_FILES,
        "oomScoreAdj": 0,
        "resolvConf": "",
        "tlsCertFile": format!("{KUBELET}/server.crt"),
        "tlsPrivateKeyFile": format!("{KUBELET}/server.key"),
        "volumePluginDir": format!("{KUBELET}/volumeplugins"),
    })
}

/// `restrict_oom_score_adj`: without `CAP_SYS_RESOURCE` lowering the OOM score fails, and with it every sandbox.
fn containerd_config(cni: &Path) -> String {
    format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
  address = "{RUNTIME_SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  tolerate_missing_hugetlb_controller = true

[plugins."io.containerd.grpc.v1.cri".containerd]
  default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{cni}"
  conf_dir = "/var/lib/cni/net.d"
"#,
        pause = crate::images::PAUSE,
        cni = cni.display(),
    )
}

/// `hairpinMode`: a pod can reach itself through its own Service.
fn cni_config(number: u8) -> serde_json::Value {
    json!({
        "cniVersion": "0.4.0",
        "name": "cluster",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": pod_range(number)}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}
