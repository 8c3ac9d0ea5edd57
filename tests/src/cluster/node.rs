//! A node: containerd, kubelet and kube-proxy, each with the paths it has on any other machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use super::cgroup;
use super::command::{run, run_with_file};
use super::control_plane::proxy_flags;
use super::error::{ClusterError, Doing, Result, log_tail};
use super::layout::{DNS_SERVICE, Layout, Machine, pod_range};
use super::machine::{self, PROGRAMS};
use super::pki::{Authority, write_private};

/// Where the node sees the kubelet's files.
const KUBELET: &str = "/var/lib/kubelet";

/// The runtime's socket on the node.
const SOCKET: &str = "/run/containerd/containerd.sock";

/// How long containerd may take to answer.
const RUNTIME_START: Duration = Duration::from_secs(20);

/// Open files: as many as fit below the hard limit of small machines (20,000).
const OPEN_FILES: u32 = 16_384;

/// Writes all that the node's programs read.
pub(super) fn write_config(layout: &Layout, node: Machine, cni: &Path, authority: &Authority) -> Result<()> {
    let Machine::Node(number) = node else { return Ok(()) };
    let folder = layout.var(node).join("lib/kubelet");
    let networks = layout.var(node).join("lib/cni/net.d");
    for path in [&folder, &networks] {
        fs::create_dir_all(path).doing(|| format!("making {}", path.display()))?;
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

/// Starts the container runtime and gives it the images.
pub(super) fn start_runtime(layout: &Layout, node: Machine) -> Result<()> {
    cgroup::create(&layout.namespace(node))?;
    let arguments = ["containerd", "--config", &format!("{KUBELET}/containerd.toml")].map(str::to_owned);
    machine::start(layout, node, "containerd", &arguments)?;
    let begun = Instant::now();
    // `ctr version` asks the server too, so it fails until the server answers.
    while run(&mut ctr(layout, node, &["version"])?).is_err() {
        let runs = !machine::find(layout, node, &["containerd"]).is_empty();
        if begun.elapsed() > RUNTIME_START || (!runs && begun.elapsed() > Duration::from_secs(2)) {
            return Err(ClusterError::TimedOut {
                what: format!("containerd of {node} does not answer"),
                waited: begun.elapsed(),
                tail: log_tail(&layout.log(node, "containerd")),
            });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    import_images(layout, node)
}

/// Starts kubelet and kube-proxy.
pub(super) fn start_agents(layout: &Layout, node: Machine) -> Result<()> {
    start_kubelet(layout, node)?;
    let mut arguments = vec![format!("{PROGRAMS}/kubernetes"), "kube-proxy".to_owned()];
    arguments.extend(proxy_flags(&format!("{KUBELET}/proxy.kubeconfig"), node));
    machine::start(layout, node, "kube-proxy", &arguments)
}

/// Starts the kubelet, again and again if need be, as any init system does: it gives up where the runtime, which already answers,
/// has yet to recover what ran before a crash. One that is killed stays dead.
pub(super) fn start_kubelet(layout: &Layout, node: Machine) -> Result<()> {
    let arguments = [
        "sh",
        "-c",
        r#"while "$@"; [ $? -eq 1 ]; do sleep 0.5; done"#,
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

/// Kills the kubelet; containers run on.
pub(super) fn stop_kubelet(layout: &Layout, node: Machine) -> Result<()> {
    machine::stop(layout, node, &["kubernetes", "kubelet"])
}

/// Stops the container runtime; the shims, which are the parents of containers, go on.
pub(super) fn freeze_runtime(layout: &Layout, node: Machine) -> Result<()> {
    machine::find(layout, node, &["containerd"]).into_iter().try_for_each(|process| process.signal(Signal::SIGSTOP))
}

/// Lets a frozen runtime go on.
pub(super) fn thaw_runtime(layout: &Layout, node: Machine) -> Result<()> {
    machine::go_on(layout, node, &["containerd"])
}

/// Gives the node's runtime every image of the cluster that it has not had yet.
pub(super) fn import_images(layout: &Layout, node: Machine) -> Result<()> {
    let done = layout.machine_dir(node).join("imported");
    fs::create_dir_all(&done).doing(|| format!("making {}", done.display()))?;
    for archive in archives(layout)? {
        let mark = done.join(archive.file_name().unwrap_or_default());
        if !mark.exists() {
            run_with_file(&mut ctr(layout, node, &["images", "import", "-"])?, &archive)?;
            fs::write(&mark, "").doing(|| format!("writing {}", mark.display()))?;
        }
    }
    Ok(())
}

fn archives(layout: &Layout) -> Result<Vec<PathBuf>> {
    let folder = layout.images();
    let entries = fs::read_dir(&folder).doing(|| format!("reading {}", folder.display()))?;
    let mut archives: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    archives.retain(|path| path.extension().is_some_and(|extension| extension == "tar"));
    archives.sort();
    Ok(archives)
}

fn ctr(layout: &Layout, node: Machine, arguments: &[&str]) -> Result<Command> {
    let [program, enter @ ..] = machine::enter(machine::running_init_of(layout, node)?);
    let mut command = Command::new(program);
    command.args(enter).args(["ctr", "--address", SOCKET, "--namespace", "k8s.io"]).args(arguments);
    Ok(command)
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
        "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
        // The machine's disk and memory are not the cluster's: a full disk must not look like a lost worker.
        "evictionHard": {"memory.available": "32Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "failCgroupV1": false,
        "failSwapOn": false,
        // Images come from no registry: one that was collected could not be pulled again.
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

/// `restrict_oom_score_adj`: without `CAP_SYS_RESOURCE` nobody may lower the score, and every sandbox would fail.
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
  address = "{SOCKET}"

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
        pause = super::images::PAUSE,
        cni = cni.display(),
    )
}

/// `hairpinMode`: a pod reaches itself through its own Service.
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
