//! The fields of a Job or pod that admission reads, borrowed from the request body.
//!
//! These are views and not complete types: other fields, and fields newer than this program, are skipped while reading and
//! unchanged while patching. A member that is `null` counts as absent, as for the API server.

use std::{borrow::Cow, fmt, marker::PhantomData, ops::Deref};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// A string of the request. It allocates only if the JSON string contains escapes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'a> From<Text<'a>> for Cow<'a, str> {
    fn from(text: Text<'a>) -> Self {
        text.0
    }
}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Labels or annotations. An object has few and admission looks up few, so a list is faster than a map.
#[derive(Clone, Debug, Default)]
pub struct Entries<'a>(Vec<(Text<'a>, Text<'a>)>);

impl Entries<'_> {
    /// The value of `key`. If a key occurs twice, the last value counts, as for the API server.
    pub fn get(&self, key: &str) -> Option<&str> {
        let mut entries = self.0.iter().rev();
        entries.find(|(its_key, _)| its_key == key).map(|(_, value)| &**value)
    }

    /// All keys with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Vec<(Text<'de>, Text<'de>)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::with_capacity(8);
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(entries)
            }
        }

        deserializer.deserialize_map(List).map(Self)
    }
}

/// A value that is parsed only when a rule needs it. Until then it is raw JSON.
#[derive(Clone, Debug)]
pub struct Lazy<'a, T> {
    text: &'a RawValue,
    of: PhantomData<fn() -> T>,
}

impl<'a, T: Deserialize<'a>> Lazy<'a, T> {
    /// Parses the value. `None` if it has another type, which the API server rejects as well.
    pub fn parse(&self) -> Option<T> {
        serde_json::from_str(self.text.get()).ok()
    }
}

impl<'de: 'a, 'a, T> Deserialize<'de> for Lazy<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { text: Deserialize::deserialize(deserializer)?, of: PhantomData })
    }
}

/// A Job.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Job<'a> {
    /// Its metadata.
    #[serde(borrow)]
    pub metadata: Option<Metadata<'a>>,
    /// Its spec.
    #[serde(borrow)]
    pub spec: Option<JobSpec<'a>>,
}

/// `spec` of a Job.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobSpec<'a> {
    /// The responsible controller; absent for the built-in one.
    #[serde(borrow)]
    pub managed_by: Option<Text<'a>>,
    /// The template of its pods.
    #[serde(borrow)]
    pub template: Option<Pod<'a>>,
}

/// A pod, or a pod template, which has the same fields.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Pod<'a> {
    /// Its metadata.
    #[serde(borrow)]
    pub metadata: Option<Metadata<'a>>,
    /// Its spec.
    #[serde(borrow)]
    pub spec: Option<PodSpec<'a>>,
}

/// `metadata` of any object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata<'a> {
    /// Its name; absent until the API server has generated it.
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    /// The prefix of the generated name.
    #[serde(borrow)]
    pub generate_name: Option<Text<'a>>,
    /// Labels.
    #[serde(borrow)]
    pub labels: Option<Entries<'a>>,
    /// Annotations.
    #[serde(borrow)]
    pub annotations: Option<Entries<'a>>,
    /// Finalizers.
    #[serde(borrow)]
    pub finalizers: Option<Vec<Text<'a>>>,
    /// Owners; at most one of them is the controller.
    #[serde(borrow)]
    pub owner_references: Option<Vec<OwnerReference<'a>>>,
}

impl Metadata<'_> {
    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.as_ref()?.get(key)
    }

    /// The name, or the prefix of the name to be generated; for logs.
    pub fn name_or_prefix(&self) -> Option<&str> {
        self.name.as_deref().or(self.generate_name.as_deref())
    }

    /// The value of an annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key)
    }
}

/// One owner of an object.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReference<'a> {
    /// Group and version of the owner.
    #[serde(borrow)]
    pub api_version: Text<'a>,
    /// Kind of the owner.
    #[serde(borrow)]
    pub kind: Text<'a>,
    /// UID of the owner.
    #[serde(borrow)]
    pub uid: Text<'a>,
    /// Whether this owner is the managing controller.
    pub controller: Option<bool>,
}

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
    fn the_last_value_of_a_duplicate_key_counts() {
        let labels: Entries<'_> = serde_json::from_str(r#"{"a": "1", "b": "2", "a": "3"}"#).expect("a map of strings");
        assert_eq!([labels.get("a"), labels.get("b"), labels.get("c")], [Some("3"), Some("2"), None]);
    }

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
