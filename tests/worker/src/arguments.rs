//! The command line.

use std::time::Duration;

/// What `--help` says.
pub(crate) const HELP: &str = "\
Plays a batch worker: touches memory, says so, lasts, ends as told.

Usage: worker [--touch BYTES] [--for TIME] [--exit CODE] [--ignore-term] [--children COUNT]

  --touch BYTES     memory to touch and keep, such as 4096, 64Ki, 96Mi, 1Gi (default 0)
  --for TIME        how long to last, such as 500ms, 90s, 10m, 1h, 1d (default 0s); SIGUSR1 ends the work before that
  --exit CODE       exit code, 0 to 255 (default 0)
  --ignore-term     go on after SIGTERM instead of exiting with 143 at once
  --children COUNT  child processes, each of which touches as much as its parent (default 0)

Example: worker --touch 96Mi --for 10m --exit 3";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) touch_bytes: usize,
    pub(crate) lasting: Duration,
    pub(crate) exit: u8,
    pub(crate) ignore_term: bool,
    pub(crate) children: u32,
}

impl Arguments {
    /// Reads the arguments after the program's name; a flag's value follows it or stands behind a `=`.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Self { touch_bytes: 0, lasting: Duration::ZERO, exit: 0, ignore_term: false, children: 0 };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let (flag, inline) = match argument.split_once('=') {
                Some((flag, value)) => (flag, Some(value.to_owned())),
                None => (&*argument, None),
            };
            if flag == "--ignore-term" && inline.is_none() {
                parsed.ignore_term = true;
                continue;
            }
            let mut value = || inline.clone().or_else(|| arguments.next()).ok_or(format!("{flag} needs a value"));
            match flag {
                "--touch" => {
                    parsed.touch_bytes = scaled(&value()?, &BYTES)?.try_into().map_err(|_| "too many bytes")?;
                }
                "--for" => parsed.lasting = Duration::from_millis(scaled(&value()?, &MILLISECONDS)?),
                "--exit" => parsed.exit = number(&value()?)?,
                "--children" => parsed.children = number(&value()?)?,
                _ => return Err(format!("{argument:?} is not understood; --help tells what is")),
            }
        }
        Ok(parsed)
    }
}

/// Suffixes of amounts of memory, as Kubernetes has them.
const BYTES: [(&str, u64); 4] = [("", 1), ("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30)];

/// Suffixes of times.
const MILLISECONDS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

fn scaled(text: &str, units: &[(&str, u64)]) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (figure, unit) = text.split_at(digits);
    let (_, scale) = units.iter().find(|(name, _)| *name == unit).ok_or_else(|| {
        let known: Vec<_> = units.iter().map(|(name, _)| *name).filter(|name| !name.is_empty()).collect();
        format!("{text:?} must end in one of {known:?}")
    })?;
    number::<u64>(figure)?.checked_mul(*scale).ok_or_else(|| format!("{text:?} is too much"))
}

fn number<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{text:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn both_ways_to_write_a_value_are_understood() {
        let expected = Arguments {
            touch_bytes: 96 << 20,
            lasting: Duration::from_mins(10),
            exit: 3,
            ignore_term: true,
            children: 2,
        };
        assert_eq!(parse("--touch 96Mi --for 600s --exit 3 --ignore-term --children 2"), Ok(expected));
        assert_eq!(
            parse("--touch=96Mi --for=10m --exit=3 --ignore-term --children=2"),
            parse("--touch 96Mi --for 600s --exit 3 --ignore-term --children 2"),
        );
    }

    #[test]
    fn without_arguments_it_ends_well_at_once() {
        let arguments = parse("").expect("nothing is needed");
        assert_eq!((arguments.lasting, arguments.exit), (Duration::ZERO, 0));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for line in ["--touch", "--touch 96MB", "--touch -1", "--for 10", "--exit 256", "--ignore-term=no", "stay"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
