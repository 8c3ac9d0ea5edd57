//! The commands that the program reads from stdin.

use std::str::FromStr;

use anyhow::{Context as _, bail};

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Connect sidecars until this many are connected.
    Open(usize),
    /// Make each connected sidecar beat this many times, one beat after the other.
    Beat(usize),
    /// Make the sidecars beat at the normal interval, for this many intervals.
    Pace(usize),
}

impl FromStr for Command {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (word, number) =
            text.split_once(' ').with_context(|| format!("{text:?} is not a command: expected a word and a number"))?;
        let number = number.parse().with_context(|| format!("{number:?} is not a number"))?;
        match word {
            "open" => Ok(Self::Open(number)),
            "beat" => Ok(Self::Beat(number)),
            "pace" => Ok(Self::Pace(number)),
            other => bail!("unknown command {other:?}: expected open, beat or pace"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_a_word_and_a_number() {
        for (text, command) in
            [("open 7", Command::Open(7)), ("beat 2", Command::Beat(2)), ("pace 6", Command::Pace(6))]
        {
            assert_eq!(text.parse::<Command>().expect("a valid command"), command);
        }
        for text in ["open", "open many", "close 1", ""] {
            assert!(text.parse::<Command>().is_err(), "{text:?}");
        }
    }
}
