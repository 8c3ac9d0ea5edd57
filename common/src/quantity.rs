//! Kubernetes quantities, as far as CPU, memory and storage of a container need them.

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

    /// The value in whole bytes, rounded down.
    pub fn bytes(&self) -> u64 {
        nanos(&self.text).map_or(u64::MAX, |nanos| u64::try_from(nanos / NANO).unwrap_or(u64::MAX))
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

/// Billionths in a unit: the precision of quantities in Kubernetes.
const NANO: i128 = 1_000_000_000;

/// The exact sum of two quantities, written like Kubernetes would write it; `None` if one is not a quantity or is too large.
///
/// A sum of floating-point numbers could be a little less than what the API server computes, which it would then reject.
pub fn sum(a: &str, b: &str) -> Option<String> {
    let nanos = nanos(a)?.checked_add(nanos(b)?)?;
    let is_binary = [a, b].iter().any(|text| text.ends_with('i'));
    Some(if is_binary { binary(nanos) } else { decimal(nanos) })
}

/// The value in billionths, rounded up as Kubernetes does.
fn nanos(text: &str) -> Option<i128> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    let mantissa: i128 = digits.parse().ok()?;
    let places = i32::try_from(fraction.len()).ok()?;
    if let Some(power) = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].iter().position(|binary| *binary == suffix) {
        let factor = 1024_i128.pow(u32::try_from(power).ok()? + 1);
        return shifted(mantissa.checked_mul(factor)?, 9 - places);
    }
    let decimals =
        [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
    let exponent = match decimals.iter().find(|(name, _)| *name == suffix) {
        Some((_, exponent)) => *exponent,
        None => suffix.strip_prefix(['e', 'E'])?.parse::<i32>().ok().filter(|it| it.abs() <= 18)?,
    };
    shifted(mantissa, exponent + 9 - places)
}

/// `mantissa` times a power of ten, rounded up.
fn shifted(mantissa: i128, exponent: i32) -> Option<i128> {
    let factor = 10_i128.checked_pow(exponent.unsigned_abs())?;
    if exponent >= 0 {
        return mantissa.checked_mul(factor);
    }
    let rounding = i128::from(mantissa % factor > 0);
    Some(mantissa / factor + rounding)
}

fn decimal(nanos: i128) -> String {
    let units = [(NANO, ""), (NANO / 1_000, "m"), (NANO / 1_000_000, "u"), (1, "n")];
    let (unit, suffix) = units.into_iter().find(|(unit, _)| nanos % unit == 0).unwrap_or((1, "n"));
    format!("{}{suffix}", nanos / unit)
}

fn binary(nanos: i128) -> String {
    let bytes = nanos / NANO + i128::from(nanos % NANO > 0);
    let units = [(1 << 60, "Ei"), (1 << 50, "Pi"), (1 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")];
    let (unit, suffix) = units.into_iter().find(|(unit, _)| bytes % unit == 0).unwrap_or((1, ""));
    format!("{}{suffix}", bytes / unit)
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
    #[case("8Gi", 8 << 30)]
    #[case("1.5Gi", 3 << 29)]
    #[case("1G", 1_000_000_000)]
    #[case("1500m", 1)]
    #[case("9999E", u64::MAX)]
    #[case("1e99", u64::MAX)]
    fn the_bytes_of_a_quantity_are_whole(#[case] text: &str, #[case] bytes: u64) {
        assert_eq!(text.parse::<Quantity>().expect("a quantity").bytes(), bytes);
    }

    #[rstest]
    #[case("2", "10m", Some("2010m"))]
    #[case("990m", "10m", Some("1"))]
    #[case("0.5", "10m", Some("510m"))]
    #[case("1e0", "1u", Some("1000001u"))]
    #[case("1Gi", "16Mi", Some("1040Mi"))]
    #[case("1008Mi", "16Mi", Some("1Gi"))]
    #[case("1.5Gi", "16Mi", Some("1552Mi"))]
    #[case("1G", "16Mi", Some("1016777216"))]
    #[case("1000000000", "16M", Some("1016000000"))]
    #[case("0", "16Mi", Some("16Mi"))]
    #[case("16Mi", "0.1", Some("16777217"))]
    #[case("7Ei", "16Mi", Some("7696581394448Mi"))]
    #[case("much", "16Mi", None)]
    #[case("1", "1e99", None)]
    #[case("99999999999999999999999999999999999999", "1E", None)]
    fn a_sum_is_exact(#[case] a: &str, #[case] b: &str, #[case] expected: Option<&str>) {
        assert_eq!(sum(a, b).as_deref(), expected);
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
