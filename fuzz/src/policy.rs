//! The reaper's configuration file and the annotations of a namespace and of a Job, split at lines `---`: what annotations set keeps within
//! the administrator's limits, and each value is read back as it is shown.

#![no_main]

use std::collections::BTreeMap;

use jobwarden_core::{
    outcome::OutcomeLimits,
    policy::{Changes, FilePolicy, Labels, Origin, Policies, Policy, PolicyField, PolicyLimits, Setting},
};
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;

/// What the reaper reads of its configuration file by these types.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    policy: FilePolicy,
    #[serde(default)]
    limits: Limits,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    #[serde(default)]
    policy: PolicyLimits,
    #[serde(default)]
    outcomes: OutcomeLimits,
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    let mut parts = text.splitn(3, "\n---\n");
    let file = parts.next().unwrap_or_default();
    let Config { policy, limits: Limits { policy: limits, outcomes } } = if file.is_empty() {
        Config::default()
    } else {
        let Ok(config) = serde_saphyr::from_str(file) else { return };
        config
    };
    assert!(outcomes.of("ort") > 0, "no outcome could ever be recorded");

    let [namespace, job] = [parts.next(), parts.next()].map(|text| annotations(text.unwrap_or_default()));
    let (by_namespace, bad) = Changes::by_annotations(&namespace);
    let (by_job, _) = Changes::by_annotations(&job);
    by_namespace.iter().chain(by_job.iter()).for_each(is_shown_as_it_is_read);

    let mut policies = Policies::new(Policy::default());
    policies.set_file(policy);
    policies.set_limits(limits.clone());
    policies.set_namespace("ort", by_namespace, &bad);
    let labels = Labels::keep(&job);
    let effective = policies.effective("ort", &labels, &by_job);
    assert!(effective.policy.suspect_after <= effective.policy.lost_after);
    for field in PolicyField::ALL {
        let applies = Setting::of(&effective.policy, field);
        is_shown_as_it_is_read(applies);
        let by_tenant = !matches!(effective.origins.of(field), Origin::Default | Origin::File | Origin::Rule(_));
        // A loss limits a suspicion, whatever the limit of suspicions is.
        if by_tenant && field != PolicyField::SuspectAfter {
            let beyond = limits.exceeded(&Changes::from_iter([applies]));
            assert!(beyond.is_empty(), "{field} {applies} applies: {beyond:?}");
        }
    }
});

/// One on each line, with its key up to the first colon.
fn annotations(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once(": "));
    pairs.map(|(key, value)| (format!("jobwarden.io/{key}"), value.to_owned())).collect()
}

fn is_shown_as_it_is_read(setting: Setting) {
    let shown = setting.to_string();
    assert_eq!(Setting::parse(setting.field(), &shown), Ok(setting), "{shown}");
}
