//! What the program is told to do.

use std::str::FromStr;

use anyhow::{Context as _, bail};

/// An order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// So many sidecars shall be connected.
    Open(usize),
    /// Each shall beat so many times, one beat after the other.
    Beat(usize),
    /// They shall beat as sidecars do, for so many intervals.
    Pace(usize),
}

impl FromStr for Order {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (word, number) = text.split_once(' ').with_context(|| format!("{text:?} is no order"))?;
        let number = number.parse().with_context(|| format!("{number:?} is no number"))?;
        match word {
            "open" => Ok(Self::Open(number)),
            "beat" => Ok(Self::Beat(number)),
            "pace" => Ok(Self::Pace(number)),
            other => bail!("nobody knows how to {other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_word_and_a_number() {
        for (text, order) in [("open 7", Order::Open(7)), ("beat 2", Order::Beat(2)), ("pace 6", Order::Pace(6))] {
            assert_eq!(text.parse::<Order>().expect("an order"), order);
        }
        for text in ["open", "open many", "close 1", ""] {
            assert!(text.parse::<Order>().is_err(), "{text:?}");
        }
    }
}
