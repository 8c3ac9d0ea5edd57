//! The least and most that namespaces and Jobs may set of each policy value: the administrator's bounds.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Deserializer, de::Error as _};

use super::setting::{Changes, PolicyField, Setting, by_file_name};

/// The longest lost-after that an annotation may set, unless the configuration says otherwise: as long as worker pods tolerate a node that
/// is away by default (`unreachableGrace`), after which the taint manager decides and not the reaper.
const LONGEST_LOST_AFTER: Duration = Duration::from_hours(1);
/// The longest retention of a finished Job, unless the configuration says otherwise: it occupies memory for as long.
const LONGEST_RETENTION: Duration = Duration::from_hours(24 * 30);
/// The longest start-timeout, unless the configuration says otherwise.
const LONGEST_START: Duration = Duration::from_hours(24);

/// The bounds of policy values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyLimits(BTreeMap<PolicyField, Bound>);

/// The bound of one value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Bound {
    /// The least duration.
    #[serde(default, deserialize_with = "duration")]
    least: Option<Duration>,
    /// The longest duration; it also holds for `never`.
    #[serde(default, deserialize_with = "duration")]
    most: Option<Duration>,
    /// The choices that are allowed.
    #[serde(default)]
    only: Option<Vec<String>>,
}

/// A value that is beyond its bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeyondLimit {
    /// What was set.
    pub given: Setting,
    /// What applies instead; `None` is the value of the layers before.
    pub applies: Option<Setting>,
}

impl fmt::Display for BeyondLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { given, applies } = self;
        write!(f, "{} {given} is beyond the limit of the administrator", given.field())?;
        match applies {
            Some(applies) => write!(f, "; {applies} applies"),
            None => f.write_str("; it does not apply"),
        }
    }
}

impl Default for PolicyLimits {
    fn default() -> Self {
        let most = |most| Bound { most: Some(most), ..Bound::default() };
        Self(BTreeMap::from([
            (PolicyField::LostAfter, most(LONGEST_LOST_AFTER)),
            (PolicyField::StartTimeout, most(LONGEST_START)),
            (PolicyField::Retention, most(LONGEST_RETENTION)),
            (PolicyField::RetentionSucceeded, most(LONGEST_RETENTION)),
            (PolicyField::RetentionFailed, most(LONGEST_RETENTION)),
            (PolicyField::RetentionLost, most(LONGEST_RETENTION)),
            (PolicyField::RetentionOrphaned, most(LONGEST_RETENTION)),
        ]))
    }
}

impl PolicyLimits {
    /// What applies where `given` is set, and how it is beyond its bound if it is.
    pub(super) fn apply(&self, given: Setting) -> Result<Setting, BeyondLimit> {
        let Some(Bound { least, most, only }) = self.0.get(&given.field()) else { return Ok(given) };
        if let Some(only) = only {
            let is_allowed = only.iter().any(|word| *word == given.to_string());
            return if is_allowed { Ok(given) } else { Err(BeyondLimit { given, applies: None }) };
        }
        let Some(value) = given.duration() else { return Ok(given) };
        let bounded = match (value, most) {
            (None, None) => None,
            (None, Some(most)) => Some(*most),
            (Some(value), most) => Some(value.max(least.unwrap_or_default()).min(most.unwrap_or(Duration::MAX))),
        };
        if bounded == value {
            return Ok(given);
        }
        let applies = bounded.and_then(|bounded| given.with_duration(bounded));
        Err(BeyondLimit { given, applies })
    }

    /// What of `changes` is beyond its bound.
    pub fn exceeded(&self, changes: &Changes) -> Vec<BeyondLimit> {
        changes.iter().filter_map(|given| self.apply(given).err()).collect()
    }
}

impl<'de> Deserialize<'de> for PolicyLimits {
    /// The bounds that are given replace those of the same values by default.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Self(mut bounds) = Self::default();
        for (name, bound) in BTreeMap::<String, Bound>::deserialize(deserializer)? {
            let field = by_file_name(&name).map_err(D::Error::custom)?;
            check(field, &bound).map_err(|problem| D::Error::custom(format!("{name}: {problem}")))?;
            bounds.insert(field, bound);
        }
        Ok(Self(bounds))
    }
}

/// Whether a bound is one of that value.
fn check(field: PolicyField, Bound { least, most, only }: &Bound) -> Result<(), String> {
    let is_duration = Setting::of(&super::Policy::default(), field).duration().is_some();
    match only {
        Some(_) if is_duration => Err("only is for choices; use least and most".to_owned()),
        None if !is_duration => Err("least and most are for durations; use only".to_owned()),
        Some(only) => only.iter().try_for_each(|word| Setting::parse(field, word).map(drop)),
        None if least.zip(*most).is_some_and(|(least, most)| least > most) => Err("least is above most".to_owned()),
        None => Ok(()),
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = humantime::parse_duration(&text);
    parsed.map(Some).map_err(|error| D::Error::custom(format!("{text:?}: {error}")))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::policy::OnLost;

    fn parse(text: &str) -> Result<PolicyLimits, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    const LIMITS: &str =
        "lostAfter: {least: 30s, most: 10m}\nactiveTimeout: {most: 2h}\nonLost: {only: [retry, report]}";

    #[rstest]
    #[case::within(PolicyField::LostAfter, "1m", Some("1m"))]
    #[case::at_the_bound(PolicyField::LostAfter, "10m", Some("10m"))]
    #[case::too_long(PolicyField::LostAfter, "3650d", Some("10m"))]
    #[case::too_short(PolicyField::LostAfter, "1s", Some("30s"))]
    #[case::never(PolicyField::ActiveTimeout, "never", Some("2h"))]
    #[case::no_least(PolicyField::ActiveTimeout, "1s", Some("1s"))]
    #[case::no_bound(PolicyField::StallAfter, "never", Some("never"))]
    #[case::default_bound(PolicyField::Retention, "3650d", Some("30days"))]
    #[case::default_bound_by_status(PolicyField::RetentionFailed, "3650d", Some("30days"))]
    #[case::allowed(PolicyField::OnLost, "report", Some("report"))]
    #[case::not_allowed(PolicyField::OnLost, "fail", None)]
    #[case::choice_without_bound(PolicyField::NotifyLate, "true", Some("true"))]
    fn beyond_its_bound_a_value_is_the_bound(
        #[case] field: PolicyField,
        #[case] given: &str,
        #[case] applies: Option<&str>,
    ) {
        let limits = parse(LIMITS).expect("valid");
        let applied = limits.apply(Setting::parse(field, given).expect("valid"));
        let is_within = applied.is_ok();
        let applied = applied.map_or_else(|beyond| beyond.applies, Some);
        assert_eq!(applied.map(|setting| setting.to_string()).as_deref(), applies);
        assert_eq!(is_within, applies == Some(given), "what is changed is reported");
    }

    #[rstest]
    #[case("{}", true)]
    #[case("lostAfter: {most: 5m}", true)]
    #[case("lostAfter: {least: 6m, most: 5m}", false)]
    #[case("lostAfter: {most: 5}", false)]
    #[case("lostAfter: {only: [5m]}", false)]
    #[case("lostAfter: {max: 5m}", false)]
    #[case("onLost: {most: 5m}", false)]
    #[case("onLost: {only: [explode]}", false)]
    #[case("colour: {most: 5m}", false)]
    fn a_bound_is_one_of_its_value(#[case] text: &str, #[case] accepted: bool) {
        assert_eq!(parse(text).is_ok(), accepted, "{text}: {:?}", parse(text));
    }

    #[test]
    fn what_is_beyond_is_said_in_words() {
        let changes = Changes::from_iter([
            Setting::LostAfter(Duration::from_hours(24)),
            Setting::OnLost(OnLost::Fail),
            Setting::NotifyLate(true),
        ]);
        let said: Vec<_> = parse(LIMITS).expect("valid").exceeded(&changes).iter().map(ToString::to_string).collect();
        let expected = [
            "lost-after 1day is beyond the limit of the administrator; 10m applies",
            "on-lost fail is beyond the limit of the administrator; it does not apply",
        ];
        assert_eq!(said, expected);
    }
}
