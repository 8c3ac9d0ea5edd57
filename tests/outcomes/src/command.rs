//! The commands, as text.

use std::str::FromStr;

use anyhow::{Context as _, bail};

/// What the benchmark wants.
#[derive(Debug)]
pub(crate) enum Command {
    /// `record COUNT SINKS`
    Record { count: usize, sinks: Vec<String> },
    /// `flow COUNT SINKS`
    Flow { count: usize, sinks: Vec<String> },
    /// `pace COUNT RATE SINKS`
    Pace { count: usize, rate: u32, sinks: Vec<String> },
    /// `write COUNT`
    Write { count: usize },
    /// `count`
    Count,
    /// `acknowledged SINK`
    Acknowledged { sink: String },
    /// `clear`
    Clear,
}

impl FromStr for Command {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let number = |word: &str| word.parse::<usize>().with_context(|| format!("{word:?} is not a number"));
        let names = |word: &str| match word {
            "-" => Vec::new(),
            names => names.split(',').map(str::to_owned).collect(),
        };
        Ok(match text.split_whitespace().collect::<Vec<_>>()[..] {
            ["record", count, sinks] => Self::Record { count: number(count)?, sinks: names(sinks) },
            ["flow", count, sinks] => Self::Flow { count: number(count)?, sinks: names(sinks) },
            ["pace", count, rate, sinks] => {
                Self::Pace { count: number(count)?, rate: number(rate)?.try_into()?, sinks: names(sinks) }
            }
            ["write", count] => Self::Write { count: number(count)? },
            ["count"] => Self::Count,
            ["acknowledged", sink] => Self::Acknowledged { sink: sink.to_owned() },
            ["clear"] => Self::Clear,
            _ => bail!("unknown command {text:?}"),
        })
    }
}
