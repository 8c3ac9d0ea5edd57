//! How many Jobs of one namespace are followed. Of a Job beyond that nothing is kept, so that no namespace uses up the memory of all.
//!
//! What was left out is not remembered one by one: that would be memory again. The index remembers in which namespaces it was, and the
//! reaper lists those again for as long as there are any: see [`crate::unfollowed`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Deserializer, de::Error as _};

/// The Jobs that are followed in each namespace, unless the configuration says otherwise. A Job with a pod takes about 2 KiB
/// (`docs/benchmarks.md`): a namespace takes 40 MiB at most.
const FOLLOWED: usize = 20_000;

/// The same where a namespace is not enrolled, or not known yet to be: its Jobs are there to be released. Anybody may write the label by
/// which they are watched.
pub(super) const FOLLOWED_OUTSIDE: usize = 100;

/// How many Jobs of a namespace are followed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobLimits {
    /// In each namespace.
    #[serde(default = "followed", deserialize_with = "at_least_one")]
    followed: usize,
    /// In single namespaces instead.
    #[serde(default)]
    namespaces: BTreeMap<String, usize>,
}

impl Default for JobLimits {
    fn default() -> Self {
        Self::each(FOLLOWED)
    }
}

impl JobLimits {
    /// The same number for each namespace.
    pub fn each(followed: usize) -> Self {
        Self { followed, namespaces: BTreeMap::new() }
    }

    /// How many Jobs of this namespace are followed.
    pub fn of(&self, namespace: &str) -> usize {
        self.namespaces.get(namespace).copied().unwrap_or(self.followed)
    }
}

fn followed() -> usize {
    FOLLOWED
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match usize::deserialize(deserializer)? {
        0 => Err(D::Error::custom("followed must be at least 1")),
        number => Ok(number),
    }
}

/// Which namespaces have how many Jobs in the index.
#[derive(Debug, Default)]
pub(super) struct Followed {
    pub(super) limits: JobLimits,
    /// None is 0.
    pub(super) counts: HashMap<String, usize>,
    /// The namespaces in which something was left out.
    pub(super) beyond: BTreeSet<String>,
    /// The unknown Jobs and pods that went away while a page of a list was on its way.
    pub(super) gone: Option<HashSet<String>>,
}

impl Followed {
    pub(super) fn add(&mut self, namespace: &str) {
        if let Some(count) = self.counts.get_mut(namespace) {
            *count += 1;
        } else {
            self.counts.insert(namespace.to_owned(), 1);
        }
    }

    pub(super) fn remove(&mut self, namespace: &str) {
        if let Some(count) = self.counts.get_mut(namespace) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(namespace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_may_have_a_limit_of_its_own() {
        let limits: JobLimits = serde_saphyr::from_str("followed: 5\nnamespaces: {big: 9}").expect("valid");
        assert_eq!((limits.of("small"), limits.of("big")), (5, 9));
        assert_eq!(JobLimits::default().of("any"), FOLLOWED);
        assert!(serde_saphyr::from_str::<JobLimits>("followed: 0").is_err());
    }
}
