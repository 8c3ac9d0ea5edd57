//! What admission has to see of a Job or pod, borrowed from the request body.
//!
//! These are views, never the thing itself: fields that are not here, and fields newer than this program, are skipped while
//! reading and left alone while patching. A member that is `null` counts as absent, as it does for the API server.

use std::{borrow::Cow, fmt, marker::PhantomData, ops::Deref};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// A string of the request; it owns memory only where the JSON had escapes in it.
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

/// Labels or annotations. There are few, and few are looked for: a list is faster than a map.
#[derive(Clone, Debug, Default)]
pub struct Entries<'a>(Vec<(Text<'a>, Text<'a>)>);

impl Entries<'_> {
    /// The value of `key`; of a key that is there twice the last counts, as it does for the API server.
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

/// What is only looked at where a rule asks for it: until then it is text.
#[derive(Clone, Debug)]
pub struct Lazy<'a, T> {
    text: &'a RawValue,
    of: PhantomData<fn() -> T>,
}

impl<'a, T: Deserialize<'a>> Lazy<'a, T> {
    /// What the text says; `None` where it says something else, which the API server will not take either.
    pub fn read(&self) -> Option<T> {
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
    /// What it shall do.
    #[serde(borrow)]
    pub spec: Option<JobSpec<'a>>,
}

/// `spec` of a Job.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobSpec<'a> {
    /// The controller that is responsible; absent for the built-in one.
    #[serde(borrow)]
    pub managed_by: Option<Text<'a>>,
    /// What its pods are made from.
    #[serde(borrow)]
    pub template: Option<Pod<'a>>,
}

/// A pod, or a pod template, which looks the same.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Pod<'a> {
    /// Its metadata.
    #[serde(borrow)]
    pub metadata: Option<Metadata<'a>>,
    /// What it shall run.
    #[serde(borrow)]
    pub spec: Option<PodSpec<'a>>,
}

/// `metadata` of anything.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata<'a> {
    /// Absent while the API server is still to generate one.
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    /// The beginning of the generated name.
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

    /// The name, or what the generated name will begin with; for logs.
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
    /// Whether it is the one that manages the object.
    pub controller: Option<bool>,
}

/// `spec` of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec<'a> {
    /// Main containers.
    #[serde(borrow)]
    pub containers: Option<Vec<Container<'a>>>,
    /// Init containers, native sidecars among them.
    #[serde(borrow)]
    pub init_containers: Option<Vec<Container<'a>>>,
    /// Containers for debugging; none at creation, but who knows.
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
    /// The operating system it is for.
    #[serde(borrow)]
    pub os: Option<Os<'a>>,
}

/// A container of any list.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container<'a> {
    /// Its name.
    #[serde(borrow)]
    pub name: Text<'a>,
    /// `Always` makes an init container a native sidecar.
    #[serde(borrow)]
    pub restart_policy: Option<Text<'a>>,
    /// What it runs, instead of its image's entry point.
    #[serde(borrow)]
    pub command: Option<Lazy<'a, Vec<Text<'a>>>>,
    /// The arguments of that.
    #[serde(borrow)]
    pub args: Option<Lazy<'a, Vec<Text<'a>>>>,
    /// Its environment.
    #[serde(borrow)]
    pub env: Option<Lazy<'a, Vec<EnvVar<'a>>>>,
    /// What it mounts.
    #[serde(borrow)]
    pub volume_mounts: Option<Lazy<'a, Vec<VolumeMount<'a>>>>,
}

/// One environment variable.
#[derive(Clone, Debug, Deserialize)]
pub struct EnvVar<'a> {
    /// Its name.
    #[serde(borrow)]
    pub name: Text<'a>,
    /// Its value where it stands in the pod; absent for one taken from elsewhere.
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
    /// Where it is a projected one.
    #[serde(borrow)]
    pub projected: Option<Lazy<'a, Projected<'a>>>,
}

/// A projected volume.
#[derive(Clone, Debug, Deserialize)]
pub struct Projected<'a> {
    /// What it is made of.
    #[serde(borrow)]
    pub sources: Option<Vec<Projection<'a>>>,
}

/// One source of a projected volume.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Projection<'a> {
    /// Where it is a token.
    #[serde(borrow)]
    pub service_account_token: Option<TokenProjection<'a>>,
}

/// A token in a projected volume.
#[derive(Clone, Debug, Deserialize)]
pub struct TokenProjection<'a> {
    /// Whom it is meant for; absent for the API server.
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
    /// `Equal` unless it says otherwise.
    #[serde(borrow)]
    pub operator: Option<Text<'a>>,
    /// The taint's value.
    #[serde(borrow)]
    pub value: Option<Text<'a>>,
    /// The taint's effect; absent for every effect.
    #[serde(borrow)]
    pub effect: Option<Text<'a>>,
    /// For how long; absent for ever.
    pub toleration_seconds: Option<i64>,
}

/// The name of a pull secret.
#[derive(Clone, Debug, Deserialize)]
pub struct PullSecret<'a> {
    /// The Secret.
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
    fn of_a_key_that_is_there_twice_the_last_counts() {
        let labels: Entries<'_> = serde_json::from_str(r#"{"a": "1", "b": "2", "a": "3"}"#).expect("a map of strings");
        assert_eq!([labels.get("a"), labels.get("b"), labels.get("c")], [Some("3"), Some("2"), None]);
    }

    #[test]
    fn what_is_no_environment_is_none() {
        let read = |env: &str| {
            let text = format!(r#"{{"name": "work", "env": {env}}}"#);
            let container: Container<'_> = serde_json::from_str(&text).expect("a container");
            container.env.as_ref().and_then(Lazy::read).map(|env| env.len())
        };
        assert_eq!(["null", "7", r#"[{"name": "A"}]"#].map(read), [None, None, Some(1)]);
    }
}
