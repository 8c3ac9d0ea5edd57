//! The layers of a policy, and how they are merged.

use std::collections::HashMap;

use super::{
    Policy,
    file::FilePolicy,
    labels::Labels,
    limits::{BeyondLimit, PolicyLimits},
    setting::{BadSetting, Changes, Origin, Origins, Setting},
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
    /// What somebody sets who has to keep within `limits`.
    fn take_within(&mut self, limits: &PolicyLimits, changes: &Changes, origin: &Origin, limited: &Origin) {
        // What a namespace keeps to itself, its Jobs do not publish.
        let is_firm = |setting: &Setting| *origin == Origin::Job && *setting == Setting::IncludeLogs(true);
        for setting in changes.iter().filter(|setting| !is_firm(setting)) {
            let (applies, origin) = match limits.apply(setting) {
                Ok(setting) => (Some(setting), origin),
                Err(beyond) => (beyond.applies, limited),
            };
            if let Some(setting) = applies {
                setting.apply(&mut self.policy);
                self.origins.set(setting.field(), origin.clone());
            }
        }
    }

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
    /// What the annotations of namespaces and Jobs may set.
    limits: PolicyLimits,
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

    /// Replaces the limits of what annotations set.
    pub fn set_limits(&mut self, limits: PolicyLimits) {
        self.limits = limits;
    }

    /// What of `changes`, which annotations set, is beyond the limits.
    pub fn exceeded(&self, changes: &Changes) -> Vec<BeyondLimit> {
        self.limits.exceeded(changes)
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
            effective.take_within(&self.limits, &layer.changes, &Origin::Namespace, &Origin::NamespaceLimited);
        }
        effective.take_within(&self.limits, own, &Origin::Job, &Origin::JobLimited);
        let policy = &mut effective.policy;
        policy.suspect_after = policy.suspect_after.min(policy.lost_after);
        effective
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::*;
    use crate::policy::{OnLost, PolicyField};

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
    fn annotations_keep_within_the_limits_and_the_administrator_need_not() {
        let mut policies = mk_policies("set: {lostAfter: 3h}");
        policies.set_limits(serde_saphyr::from_str("lostAfter: {most: 10m}\nonLost: {only: [retry]}").expect("valid"));
        let effective = |policies: &Policies, own: &Changes| policies.effective("n", &Labels::default(), own);
        assert_eq!(effective(&policies, &Changes::default()).policy.lost_after, Duration::from_hours(3));
        let far = Changes::from_iter([lost_after(999_999), Setting::OnLost(OnLost::Fail)]);
        let by_job = effective(&policies, &far);
        assert_eq!(by_job.policy.lost_after, Duration::from_mins(10));
        assert_eq!(by_job.policy.on_lost, OnLost::Retry, "a choice that is not allowed does not apply");
        assert_eq!(by_job.origins.of(PolicyField::LostAfter), Origin::JobLimited);
        assert_eq!(by_job.origins.of(PolicyField::OnLost), Origin::Default);
        assert_eq!(policies.exceeded(&far).len(), 2);
        policies.set_namespace("n", far, &[]);
        let by_namespace = effective(&policies, &Changes::default());
        assert_eq!(by_namespace.policy.lost_after, Duration::from_mins(10));
        assert_eq!(by_namespace.origins.of(PolicyField::LostAfter), Origin::NamespaceLimited);
    }

    #[test]
    fn a_job_keeps_its_log_lines_and_cannot_publish_those_that_its_namespace_keeps() {
        let on_or_off = |by_file: Option<bool>, by_namespace: Option<bool>, by_job: Option<bool>| {
            let changes = |set: Option<bool>| Changes::from_iter(set.map(Setting::IncludeLogs));
            let file = by_file.map_or("{}".to_owned(), |set| format!("set: {{includeLogs: {set}}}"));
            let mut policies = mk_policies(&file);
            policies.set_namespace("n", changes(by_namespace), &[]);
            policies.effective("n", &Labels::default(), &changes(by_job)).policy.include_logs
        };
        assert!(on_or_off(None, None, None) && on_or_off(None, None, Some(true)));
        assert!(!on_or_off(None, None, Some(false)) && !on_or_off(None, Some(false), None));
        assert!(!on_or_off(None, Some(false), Some(true)), "the namespace has turned them off");
        assert!(!on_or_off(Some(false), None, Some(true)), "the administrator has");
        assert!(on_or_off(Some(false), Some(true), None), "a namespace opts in where the file says no");
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
    fn labels_are_bounded() {
        let many: BTreeMap<_, _> = (0..12_000)
            .map(|number| (format!("a{number:05}"), "v".repeat(63)))
            .chain([("A".into(), "x".into())])
            .collect();
        let kept = Labels::keep(&many);
        assert_eq!((kept.get("A"), kept.get("a00062").is_some(), kept.get("a00063")), (Some("x"), true, None));
    }

    #[test]
    fn the_job_controllers_labels_are_not_kept() {
        let labels = mk_labels(&[("batch.kubernetes.io/job-name", "a"), ("controller-uid", "u"), ("size", "big")]);
        assert_eq!(labels, mk_labels(&[("size", "big")]));
    }
}
