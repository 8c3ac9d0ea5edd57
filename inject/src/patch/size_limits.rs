//! The least and most CPU and memory that annotations may ask for the sidecar: the administrator's bounds.

use std::fmt;

use serde::{Deserialize, Deserializer, de::Error as _};

use super::quantity::Quantity;

/// The sizes that annotations may ask for. Beyond them the default applies, as for any value that cannot be used: the bound itself might
/// be more than the pod has room for.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SizeLimits {
    /// CPU.
    pub cpu: Range,
    /// Memory.
    pub memory: Range,
}

impl Default for SizeLimits {
    /// A hundred times what a sidecar needs. A slip such as `10M` for `10m` asks for ten million cores.
    fn default() -> Self {
        let most = |text: &str| Range { least: None, most: text.parse().ok() };
        Self { cpu: most("1"), memory: most("1Gi") }
    }
}

/// The least and most of one resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Range {
    least: Option<Quantity>,
    most: Option<Quantity>,
}

/// How an amount is beyond a range. Displayed as the rest of a sentence that begins with the amount.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Beyond<'a> {
    /// It is less than this.
    Less(&'a Quantity),
    /// It is more than this.
    More(&'a Quantity),
}

impl fmt::Display for Beyond<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Less(least) => write!(f, "is less than a sidecar may ask for, which is {}", least.as_str()),
            Self::More(most) => write!(f, "is more than a sidecar may ask for, which is {}", most.as_str()),
        }
    }
}

impl Range {
    /// How this amount is beyond the range; `None` if it is within.
    pub(super) fn exceeded(&self, amount: &Quantity) -> Option<Beyond<'_>> {
        let less = self.least.as_ref().filter(|least| amount.value() < least.value()).map(Beyond::Less);
        less.or_else(|| self.most.as_ref().filter(|most| amount.value() > most.value()).map(Beyond::More))
    }
}

impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Bounds {
            least: Option<Quantity>,
            most: Option<Quantity>,
        }
        let Bounds { least, most } = Bounds::deserialize(deserializer)?;
        match least.as_ref().zip(most.as_ref()) {
            Some((least, most)) if least.value() > most.value() => Err(D::Error::custom("least is above most")),
            _ => Ok(Self { least, most }),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::within("{least: 20m, most: 100m}", "50m", None)]
    #[case::at_the_least("{least: 20m, most: 100m}", "0.02", None)]
    #[case::at_the_most("{least: 20m, most: 100m}", "0.1", None)]
    #[case::too_little("{least: 20m, most: 100m}", "19m", Some("is less than a sidecar may ask for, which is 20m"))]
    #[case::too_much("{least: 20m, most: 100m}", "10M", Some("is more than a sidecar may ask for, which is 100m"))]
    #[case::no_least("{most: 100m}", "1n", None)]
    #[case::no_most("{least: 20m}", "10M", None)]
    fn an_amount_is_within_its_range_or_beyond_a_bound(
        #[case] range: &str,
        #[case] amount: &str,
        #[case] expected: Option<&str>,
    ) {
        let range: Range = serde_saphyr::from_str(range).expect("valid");
        let beyond = range.exceeded(&amount.parse().expect("a quantity")).map(|beyond| beyond.to_string());
        assert_eq!(beyond.as_deref(), expected);
    }

    #[test]
    fn what_is_not_set_keeps_its_default() {
        let limits: SizeLimits = serde_saphyr::from_str("cpu: {most: 50m}").expect("valid");
        assert_eq!(limits.memory, SizeLimits::default().memory);
        assert!(SizeLimits::default().memory.most.is_some() && SizeLimits::default().cpu.most.is_some());
    }
}
