//! Kubernetes quantities, as far as CPU and memory of a container need them.

use std::{fmt, str::FromStr};

use serde::Deserialize;

/// A quantity greater than zero, such as `10m` or `16Mi`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Quantity {
    text: String,
    value: f64,
}

/// A text that is not a valid quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a positive quantity such as 10m, 0.5 or 16Mi")]
pub struct QuantityError(String);

/// Suffixes and their factors, from `resource.Quantity` of k8s.io/apimachinery.
const SUFFIXES: [(&str, f64); 16] = [
    ("Ki", 1024.0),
    ("Mi", 1024.0 * 1024.0),
    ("Gi", 1024.0 * 1024.0 * 1024.0),
    ("Ti", 1024.0 * 1024.0 * 1024.0 * 1024.0),
    ("Pi", 1024.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0),
    ("Ei", 1024.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
    ("", 1.0),
];

impl Quantity {
    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The value in cores or bytes.
    pub fn value(&self) -> f64 {
        self.value
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let value = parse(text).filter(|value| *value > 0.0 && value.is_finite());
        value.map(|value| Self { text: text.to_owned(), value }).ok_or_else(|| QuantityError(text.to_owned()))
    }
}

impl TryFrom<String> for Quantity {
    type Error = QuantityError;

    fn try_from(text: String) -> Result<Self, QuantityError> {
        text.parse()
    }
}

fn parse(text: &str) -> Option<f64> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    // Rust would parse more than Kubernetes does, but "inf", "1e3" and the like never get here.
    let number: f64 = number.parse().ok()?;
    let suffixed = SUFFIXES.iter().find(|(name, _)| *name == suffix).map(|(_, factor)| number * factor);
    suffixed.or_else(|| {
        let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
        Some(number * 10f64.powi(exponent))
    })
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("10m", 0.01)]
    #[case("1", 1.0)]
    #[case(".5", 0.5)]
    #[case("16Mi", 16_777_216.0)]
    #[case("16777216", 16_777_216.0)]
    #[case("1E", 1e18)]
    #[case("1e3", 1000.0)]
    #[case("12E-1", 1.2)]
    fn a_quantity_parses_to_its_value(#[case] text: &str, #[case] value: f64) {
        let quantity: Quantity = text.parse().expect("a quantity");
        assert!((quantity.value() - value).abs() <= value * 1e-12, "{text} is {}", quantity.value());
        assert_eq!(quantity.as_str(), text);
    }

    #[rstest]
    #[case("")]
    #[case("0")]
    #[case("-1")]
    #[case("much")]
    #[case("16 Mi")]
    #[case("16MB")]
    #[case("1.2.3")]
    #[case("inf")]
    #[case("1e")]
    #[case("1e999")]
    #[case("Mi")]
    fn an_invalid_or_non_positive_quantity_is_rejected(#[case] text: &str) {
        assert_eq!(text.parse::<Quantity>(), Err(QuantityError(text.to_owned())));
    }
}
