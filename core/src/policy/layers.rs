//! The layers of a policy, and how they are merged.

use std::collections::HashMap;

use super::{
    Policy,
    file::FilePolicy,
    labels::Labels,
    setting::{BadSetting, Changes, Origin, Origins},
};

/// The policy that applies to a Job, and the layer that each value comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effective {
    /// The policy.
    pub policy: Policy,
    /// The layer that each value comes from.
    pub origins: Origins,
}

impl Effective {
    fn take(&mut self, changes: &Changes, origin: &Origin) {
        for setting in changes.iter() {
            setting.apply(&mut self.policy);
            self.origins.set(setting.field(), origin.clone());
        }
    }
}

/// All layers except those of the Jobs.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    defaults: Policy,
    file: FilePolicy,
    namespaces: HashMap<String, OfNamespace>,
}

/// What the annotations of a namespace set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct OfNamespace {
    changes: Changes,
    /// What of them could not be read.
    bad: Vec<BadSetting>,
}

impl Policies {
    /// Those of the command line alone.
    pub fn new(defaults: Policy) -> Self {
        Self { defaults, ..Self::default() }
    }

    /// Replaces the layer of the configuration file.
    pub fn set_file(&mut self, file: FilePolicy) {
        self.file = file.expanded();
    }

    /// Replaces the layer of a namespace; `bad` are the annotations that could not be read. Returns whether that is
    /// something new.
    pub fn set_namespace(&mut self, name: &str, changes: Changes, bad: &[BadSetting]) -> bool {
        let layer = OfNamespace { changes, bad: bad.to_vec() };
        if self.namespaces.get(name).unwrap_or(&OfNamespace::default()) == &layer {
            return false;
        }
        if layer == OfNamespace::default() {
            self.namespaces.remove(name);
        } else {
            self.namespaces.insert(name.to_owned(), layer);
        }
        true
    }

    /// Only these namespaces exist. Whether anything is new by that.
    pub fn retain_namespaces(&mut self, exists: impl Fn(&str) -> bool) -> bool {
        let before = self.namespaces.len();
        self.namespaces.retain(|name, _| exists(name));
        self.namespaces.len() != before
    }

    /// The policy of a Job with these labels, whose own annotations set `own`.
    ///
    /// A pod is never suspected after it is lost: suspect-after is at most lost-after.
    pub fn effective(&self, namespace: &str, labels: &Labels, own: &Changes) -> Effective {
        let mut effective = Effective { policy: self.defaults.clone(), origins: Origins::default() };
        effective.take(&self.file.set, &Origin::File);
        for rule in self.file.rules.iter().filter(|rule| rule.matches(labels)) {
            effective.take(rule.set(), &Origin::Rule(rule.name()));
        }
        if let Some(layer) = self.namespaces.get(namespace) {
            effective.take(&layer.changes, &Origin::Namespace);
        }
        effective.take(own, &Origin::Job);
        let policy = &mut effective.policy;
        policy.suspect_after = policy.suspect_after.min(policy.lost_after);
        effective
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::*;
    use crate::policy::{OnLost, PolicyField, Setting};

    fn lost_after(seconds: u64) -> Setting {
        Setting::LostAfter(Duration::from_secs(seconds))
    }

    fn mk_policies(file: &str) -> Policies {
        let mut policies = Policies::new(Policy::default());
        policies.set_file(serde_saphyr::from_str(file).expect("valid"));
        policies
    }

    fn mk_labels(pairs: &[(&str, &str)]) -> Labels {
        let labels: BTreeMap<_, _> =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Labels::keep(&labels)
    }

    #[test]
    fn each_layer_overrides_single_values_of_those_before_and_is_told_as_their_origin() {
        let file = "set: {lostAfter: 100s, onLost: fail, retention: 2h}\n\
                    rules: [{match: {size: big}, set: {lostAfter: 90s, onLost: report, startTimeout: 1h}}]";
        let mut policies = mk_policies(file);
        assert!(policies.set_namespace(
            "ort",
            Changes::from_iter([lost_after(80), Setting::OnLost(OnLost::Retry)]),
            &[]
        ));
        let own = Changes::from_iter([lost_after(70)]);
        let effective = policies.effective("ort", &mk_labels(&[("size", "big")]), &own);
        let expected = Policy {
            lost_after: Duration::from_secs(70),
            on_lost: OnLost::Retry,
            start_timeout: Duration::from_hours(1),
            retention: Duration::from_hours(2),
            ..Policy::default()
        };
        assert_eq!(effective.policy, expected);
        let origins = [
            PolicyField::LostAfter,
            PolicyField::OnLost,
            PolicyField::StartTimeout,
            PolicyField::Retention,
            PolicyField::Unseen,
        ];
        let shown = origins.map(|field| effective.origins.of(field).to_string());
        let expected = [
            "annotation of the Job",
            "annotation of the namespace",
            "rule size=big of the configuration file",
            "configuration file",
            "default",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_layer_is_for_whom_it_is_meant() {
        let mut policies = mk_policies("preset: ort-server");
        policies.set_namespace("ort", Changes::from_iter([lost_after(80)]), &[]);
        let effective = |namespace: &str, worker: &str| {
            policies.effective(namespace, &mk_labels(&[("ort-worker", worker)]), &Changes::default()).policy
        };
        assert_eq!(effective("other", "none"), Policy::default());
        assert_eq!(effective("other", "advisor").active_timeout, Some(Duration::from_mins(2)));
        assert_eq!(effective("ort", "none").lost_after, Duration::from_secs(80));
    }

    #[test]
    fn of_rules_that_match_the_last_one_wins() {
        let file = "rules: [{match: {a: x}, set: {lostAfter: 1m}}, {match: {b: y}, set: {lostAfter: 2m}}, \
                    {match: {a: x, b: z}, set: {lostAfter: 3m}}]";
        let labels = mk_labels(&[("a", "x"), ("b", "y")]);
        let effective = mk_policies(file).effective("n", &labels, &Changes::default());
        assert_eq!(effective.policy.lost_after, Duration::from_mins(2));
    }

    #[test]
    fn a_suspicion_never_comes_after_the_loss() {
        let policies = Policies::new(Policy::default());
        let policy = policies.effective("n", &Labels::default(), &Changes::from_iter([lost_after(20)])).policy;
        assert_eq!(policy.suspect_after, Duration::from_secs(20));
    }

    #[test]
    fn a_namespace_is_news_only_when_it_says_something_else() {
        let mut policies = Policies::new(Policy::default());
        let changes = Changes::from_iter([lost_after(80)]);
        assert!(!policies.set_namespace("a", Changes::default(), &[]));
        assert!(policies.set_namespace("a", changes.clone(), &[]));
        assert!(!policies.set_namespace("a", changes.clone(), &[]));
        assert!(!policies.retain_namespaces(|name| name == "a"));
        assert!(policies.retain_namespaces(|_| false));
        assert!(policies.set_namespace("a", changes, &[]));
        assert!(policies.set_namespace("a", Changes::default(), &[]));
    }

    #[test]
    fn the_job_controllers_labels_are_not_kept() {
        let labels = mk_labels(&[("batch.kubernetes.io/job-name", "a"), ("controller-uid", "u"), ("size", "big")]);
        assert_eq!(labels, mk_labels(&[("size", "big")]));
    }
}
