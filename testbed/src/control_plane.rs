//! etcd, the API server, the controller manager and the scheduler, with the defaults of Kubernetes wherever a test could
//! notice a difference.

use std::fs;
use std::path::PathBuf;

use crate::error::{Context, Result};
use crate::layout::{API_PORT, CONTROL_PLANE, Layout, Machine, POD_RANGE, SERVICE_RANGE};
use crate::machine::{self, PROGRAMS};
use crate::pki::{self, Authority, write_private};

/// Where the control plane sees its certificates and kubeconfigs.
const CONFIG: &str = "/var/lib/kubernetes";

/// The issuer of service account tokens, and the audience of tokens that name none.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// A program of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Component {
    Etcd,
    ApiServer,
    ControllerManager,
    Scheduler,
    Proxy,
}

impl Component {
    /// The argument that selects the program in the one binary that contains all of them, and the name of its log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Proxy => "kube-proxy",
        }
    }

    fn flags(self) -> Vec<String> {
        match self {
            Self::Etcd => owned(&[
                "--name=control-plane",
                "--data-dir=/var/lib/etcd",
                "--listen-client-urls=http://127.0.0.1:2379",
                "--advertise-client-urls=http://127.0.0.1:2379",
                "--listen-peer-urls=http://127.0.0.1:2380",
                "--initial-advertise-peer-urls=http://127.0.0.1:2380",
                "--initial-cluster=control-plane=http://127.0.0.1:2380",
                // The data is deleted with the cluster, so it does not have to survive a crash of the machine.
                "--unsafe-no-fsync",
                "--log-level=warn",
            ]),
            Self::ApiServer => api_server_flags(),
            Self::ControllerManager => with_kubeconfigs(
                "controller-manager",
                &[
                    "--bind-address=127.0.0.1".to_owned(),
                    "--controllers=*".to_owned(),
                    // The program creates this folder, and its default is outside of /var.
                    format!("--flex-volume-plugin-dir={CONFIG}/volumeplugins"),
                    "--leader-elect=false".to_owned(),
                    format!("--root-ca-file={CONFIG}/ca.crt"),
                    format!("--service-account-private-key-file={CONFIG}/service-account.key"),
                    "--use-service-account-credentials=true".to_owned(),
                ],
            ),
            Self::Scheduler => {
                with_kubeconfigs("scheduler", &owned(&["--bind-address=127.0.0.1", "--leader-elect=false"]))
            }
            // kube-proxy waits half a minute for a node of its name, and the control plane is not a node. It gets the first
            // node's name, which affects only node ports and Services with local traffic policies.
            Self::Proxy => proxy_flags(&format!("{CONFIG}/proxy.kubeconfig"), Machine::Node(1)),
        }
    }
}

/// The private key that signs service account tokens.
pub(crate) fn service_account_key(layout: &Layout) -> PathBuf {
    config_folder(layout).join("service-account.key")
}

/// Writes the configuration of the control plane's programs.
pub(crate) fn write_config(layout: &Layout, authority: &Authority) -> Result<()> {
    let folder = config_folder(layout);
    fs::create_dir_all(&folder).context(|| format!("creating {}", folder.display()))?;
    write_private(&folder.join("ca.crt"), authority.certificate())?;
    authority.api_server()?.write(&folder, "apiserver")?;
    authority.client("kube-apiserver-kubelet-client", Some("system:masters"))?.write(&folder, "kubelet-client")?;
    let (private, public) = pki::service_account_key()?;
    write_private(&folder.join("service-account.key"), &private)?;
    write_private(&folder.join("service-account.pub"), &public)?;
    for (file, user) in [
        ("controller-manager", "system:kube-controller-manager"),
        ("scheduler", "system:kube-scheduler"),
        ("proxy", "system:kube-proxy"),
    ] {
        let kubeconfig = authority.kubeconfig(&authority.client(user, None)?);
        write_private(&folder.join(format!("{file}.kubeconfig")), &kubeconfig)?;
    }
    let admin = authority.client("kubernetes-admin", Some("system:masters"))?;
    write_private(&layout.kubeconfig(), &authority.kubeconfig(&admin))
}

/// Starts a program of the control plane.
pub(crate) fn start(layout: &Layout, component: Component) -> Result<()> {
    let mut arguments = owned(&[&format!("{PROGRAMS}/kubernetes"), component.name()]);
    arguments.extend(component.flags());
    machine::start(layout, Machine::ControlPlane, component.name(), &arguments)
}

/// Kills a program of the control plane.
pub(crate) fn stop(layout: &Layout, component: Component) -> Result<()> {
    machine::stop(layout, Machine::ControlPlane, &["kubernetes", component.name()])
}

/// Whether a program of the control plane runs.
pub(crate) fn is_running(layout: &Layout, component: Component) -> bool {
    !machine::find(layout, Machine::ControlPlane, &["kubernetes", component.name()]).is_empty()
}

/// The flags of kube-proxy on any machine.
pub(crate) fn proxy_flags(kubeconfig: &str, node: Machine) -> Vec<String> {
    vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--hostname-override={node}"),
        format!("--cluster-cidr={POD_RANGE}"),
        "--proxy-mode=iptables".to_owned(),
        // Connection tracking limits apply to the whole machine, not to one network namespace.
        "--conntrack-max-per-core=0".to_owned(),
        "--conntrack-tcp-timeout-established=0".to_owned(),
        "--conntrack-tcp-timeout-close-wait=0".to_owned(),
        "--oom-score-adj=0".to_owned(),
    ]
}

fn config_folder(layout: &Layout) -> PathBuf {
    layout.var(Machine::ControlPlane).join("lib/kubernetes")
}

fn api_server_flags() -> Vec<String> {
    vec![
        format!("--advertise-address={CONTROL_PLANE}"),
        format!("--secure-port={API_PORT}"),
        "--allow-privileged=true".to_owned(),
        format!("--api-audiences={ISSUER}"),
        "--authorization-mode=Node,RBAC".to_owned(),
        format!("--client-ca-file={CONFIG}/ca.crt"),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--etcd-servers=http://127.0.0.1:2379".to_owned(),
        format!("--kubelet-certificate-authority={CONFIG}/ca.crt"),
        format!("--kubelet-client-certificate={CONFIG}/kubelet-client.crt"),
        format!("--kubelet-client-key={CONFIG}/kubelet-client.key"),
        // The default tries host names first, which DNS does not resolve.
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        format!("--requestheader-client-ca-file={CONFIG}/ca.crt"),
        "--requestheader-allowed-names=front-proxy-client".to_owned(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
        "--requestheader-group-headers=X-Remote-Group".to_owned(),
        "--requestheader-username-headers=X-Remote-User".to_owned(),
        format!("--service-account-issuer={ISSUER}"),
        format!("--service-account-key-file={CONFIG}/service-account.pub"),
        format!("--service-account-signing-key-file={CONFIG}/service-account.key"),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        format!("--tls-cert-file={CONFIG}/apiserver.crt"),
        format!("--tls-private-key-file={CONFIG}/apiserver.key"),
    ]
}

fn with_kubeconfigs(name: &str, flags: &[String]) -> Vec<String> {
    ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"]
        .map(|flag| format!("--{flag}={CONFIG}/{name}.kubeconfig"))
        .into_iter()
        .chain(flags.iter().cloned())
        .collect()
}

fn owned(flags: &[&str]) -> Vec<String> {
    flags.iter().map(|&flag| flag.to_owned()).collect()
}
