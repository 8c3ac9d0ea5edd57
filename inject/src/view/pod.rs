//! The fields of a pod's spec.

use serde::Deserialize;

use super::{
    json::{Entries, Lazy, Text},
    placement::Affinity,
    resources::Requirements,
};

/// `spec` of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec<'a> {
    /// Main containers.
    #[serde(borrow)]
    pub containers: Option<Vec<Container<'a>>>,
    /// Init containers, including native sidecars.
    #[serde(borrow)]
    pub init_containers: Option<Vec<Container<'a>>>,
    /// Ephemeral containers; normally none at creation.
    #[serde(borrow)]
    pub ephemeral_containers: Option<Vec<Container<'a>>>,
    /// Volumes.
    #[serde(borrow)]
    pub volumes: Option<Vec<Volume<'a>>>,
    /// Tolerations.
    #[serde(borrow)]
    pub tolerations: Option<Vec<Toleration<'a>>>,
    /// Pull secrets.
    #[serde(borrow)]
    pub image_pull_secrets: Option<Vec<PullSecret<'a>>>,
    /// Its operating system.
    #[serde(borrow)]
    pub os: Option<Os<'a>>,
    /// What happens when a container ends: `Always`, `OnFailure` or `Never`.
    #[serde(borrow)]
    pub restart_policy: Option<Text<'a>>,
    /// Labels that its node must have.
    #[serde(borrow)]
    pub node_selector: Option<Entries<'a>>,
    /// Its affinity.
    #[serde(borrow)]
    pub affinity: Option<Lazy<'a, Affinity<'a>>>,
    /// Defaults of the security contexts of its containers.
    #[serde(borrow)]
    pub security_context: Option<Lazy<'a, SecurityContext<'a>>>,
    /// What all containers together request and may use (KEP-2837).
    #[serde(borrow)]
    pub resources: Option<Lazy<'a, Requirements<'a>>>,
}

/// A container of any kind.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container<'a> {
    /// Its name.
    #[serde(borrow)]
    pub name: Text<'a>,
    /// `Always` makes an init container a native sidecar.
    #[serde(borrow)]
    pub restart_policy: Option<Text<'a>>,
    /// Its entry point, if not the image's.
    #[serde(borrow)]
    pub command: Option<Lazy<'a, Vec<Text<'a>>>>,
    /// Arguments of the entry point.
    #[serde(borrow)]
    pub args: Option<Lazy<'a, Vec<Text<'a>>>>,
    /// Its environment.
    #[serde(borrow)]
    pub env: Option<Lazy<'a, Vec<EnvVar<'a>>>>,
    /// Its volume mounts.
    #[serde(borrow)]
    pub volume_mounts: Option<Lazy<'a, Vec<VolumeMount<'a>>>>,
    /// Its security context.
    #[serde(borrow)]
    pub security_context: Option<Lazy<'a, SecurityContext<'a>>>,
    /// What it requests and may use.
    #[serde(borrow)]
    pub resources: Option<Lazy<'a, Requirements<'a>>>,
}

/// The fields that the security contexts of pods and of containers share.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityContext<'a> {
    /// UID of the processes.
    pub run_as_user: Option<i64>,
    /// Primary GID of the processes.
    pub run_as_group: Option<i64>,
    /// Settings that have an effect on Windows only.
    #[serde(borrow)]
    pub windows_options: Option<WindowsOptions<'a>>,
}

/// Settings that have an effect on Windows only.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WindowsOptions<'a> {
    /// The user.
    #[serde(borrow)]
    pub run_as_user_name: Option<Text<'a>>,
    /// Name of a group managed service account.
    #[serde(borrow)]
    pub gmsa_credential_spec_name: Option<Text<'a>>,
    /// A group managed service account.
    #[serde(borrow)]
    pub gmsa_credential_spec: Option<Text<'a>>,
    /// Whether the container runs as a process of the host.
    pub host_process: Option<bool>,
}

/// One environment variable.
#[derive(Clone, Debug, Deserialize)]
pub struct EnvVar<'a> {
    /// Its name.
    #[serde(borrow)]
    pub name: Text<'a>,
    /// Its literal value; absent for `valueFrom`.
    #[serde(borrow)]
    pub value: Option<Text<'a>>,
}

/// One mount of a volume.
#[derive(Clone, Debug, Deserialize)]
pub struct VolumeMount<'a> {
    /// The volume's name.
    #[serde(borrow)]
    pub name: Text<'a>,
}

/// A volume.
#[derive(Clone, Debug, Deserialize)]
pub struct Volume<'a> {
    /// Its name.
    #[serde(borrow)]
    pub name: Text<'a>,
    /// Its sources, if it is a projected volume.
    #[serde(borrow)]
    pub projected: Option<Lazy<'a, Projected<'a>>>,
}

/// A projected volume.
#[derive(Clone, Debug, Deserialize)]
pub struct Projected<'a> {
    /// Its sources.
    #[serde(borrow)]
    pub sources: Option<Vec<Projection<'a>>>,
}

/// One source of a projected volume.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Projection<'a> {
    /// The token, if this source is one.
    #[serde(borrow)]
    pub service_account_token: Option<TokenProjection<'a>>,
}

/// A token in a projected volume.
#[derive(Clone, Debug, Deserialize)]
pub struct TokenProjection<'a> {
    /// Its audience; absent for the API server.
    #[serde(borrow)]
    pub audience: Option<Text<'a>>,
}

/// A toleration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Toleration<'a> {
    /// The taint's key; absent for every taint.
    #[serde(borrow)]
    pub key: Option<Text<'a>>,
    /// The operator; `Equal` by default.
    #[serde(borrow)]
    pub operator: Option<Text<'a>>,
    /// The taint's value.
    #[serde(borrow)]
    pub value: Option<Text<'a>>,
    /// The taint's effect; absent for every effect.
    #[serde(borrow)]
    pub effect: Option<Text<'a>>,
    /// How long the pod tolerates the taint; absent means forever.
    pub toleration_seconds: Option<i64>,
}

/// The name of a pull secret.
#[derive(Clone, Debug, Deserialize)]
pub struct PullSecret<'a> {
    /// Name of the Secret.
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
}

/// An operating system.
#[derive(Clone, Debug, Deserialize)]
pub struct Os<'a> {
    /// `linux` or `windows`.
    #[serde(borrow)]
    pub name: Text<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_of_another_type_parses_to_none() {
        let read = |env: &str| {
            let text = format!(r#"{{"name": "work", "env": {env}}}"#);
            let container: Container<'_> = serde_json::from_str(&text).expect("a container");
            container.env.as_ref().and_then(Lazy::parse).map(|env| env.len())
        };
        assert_eq!(["null", "7", r#"[{"name": "A"}]"#].map(read), [None, None, Some(1)]);
    }
}
