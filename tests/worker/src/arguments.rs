//! The command line.

use std::time::Duration;

/// What `--help` says.
pub(crate) const HELP: &str = "\
A batch worker for tests: touches memory, prints how much, runs for a while and exits.

Usage: worker [--touch BYTES] [--for TIME] [--grow BYTES] [--exit CODE] [--ignore-term] [--children COUNT]

  --touch BYTES     memory to touch and keep, such as 4096, 64Ki, 96Mi, 1Gi (default 0)
  --for TIME        how long to run, such as 500ms, 90s, 10m, 1h, 1d (default 0s); SIGUSR1 ends it earlier
  --grow BYTES      memory to touch besides when that time is over, such as more than the container may have (default 0)
  --exit CODE       exit code, 0 to 255 (default 0)
  --ignore-term     keep running after SIGTERM instead of exiting with 143
  --children COUNT  child processes, each of which touches as much memory as its parent (default 0)

Example: worker --touch 96Mi --for 10m --exit 3";

/// The parsed arguments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) touch_bytes: usize,
    pub(crate) duration: Duration,
    pub(crate) grow_bytes: usize,
    pub(crate) exit: u8,
    pub(crate) ignore_term: bool,
    pub(crate) children: u32,
}

impl Arguments {
    /// Parses the arguments after the program's name. A flag's value is the next argument or follows a `=`.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut parsed =
            Self { touch_bytes: 0, duration: Duration::ZERO, grow_bytes: 0, exit: 0, ignore_term: false, children: 0 };
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
                "--touch" => parsed.touch_bytes = bytes(&value()?)?,
                "--grow" => parsed.grow_bytes = bytes(&value()?)?,
                "--for" => parsed.duration = Duration::from_millis(scaled(&value()?, &MILLISECONDS)?),
                "--exit" => parsed.exit = number(&value()?)?,
                "--children" => parsed.children = number(&value()?)?,
                _ => return Err(format!("unknown argument {argument:?}; see --help")),
            }
        }
        Ok(parsed)
    }
}

/// Suffixes of amounts of memory, as in Kubernetes.
const BYTES: [(&str, u64); 4] = [("", 1), ("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30)];

/// Suffixes of times.
const MILLISECONDS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

fn bytes(text: &str) -> Result<usize, String> {
    scaled(text, &BYTES)?.try_into().map_err(|_| format!("{text:?} is more than this machine can address"))
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (figure, unit) = text.split_at(digits);
    let (_, scale) = units.iter().find(|(name, _)| *name == unit).ok_or_else(|| {
        let known: Vec<_> = units.iter().map(|(name, _)| *name).filter(|name| !name.is_empty()).collect();
        format!("{text:?} must end in one of {known:?}")
    })?;
    number::<u64>(figure)?.checked_mul(*scale).ok_or_else(|| format!("{text:?} is too large"))
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
    fn a_value_is_the_next_argument_or_follows_an_equals_sign() {
        let expected = Arguments {
            touch_bytes: 96 << 20,
            duration: Duration::from_mins(10),
            grow_bytes: 1 << 30,
            exit: 3,
            ignore_term: true,
            children: 2,
        };
        assert_eq!(parse("--touch 96Mi --for 600s --grow 1Gi --exit 3 --ignore-term --children 2"), Ok(expected));
        assert_eq!(
            parse("--touch=96Mi --for=10m --grow=1Gi --exit=3 --ignore-term --children=2"),
            parse("--touch 96Mi --for 600s --grow 1Gi --exit 3 --ignore-term --children 2"),
        );
    }

    #[test]
    fn without_arguments_it_exits_with_0_immediately() {
        let arguments = parse("").expect("no argument is required");
        assert_eq!((arguments.duration, arguments.exit), (Duration::ZERO, 0));
    }

    #[test]
    fn invalid_arguments_are_rejected() {
        for line in [
            "--touch",
            "--grow 1TB",
            "--touch 96MB",
            "--touch -1",
            "--for 10",
            "--exit 256",
            "--ignore-term=no",
            "stay",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
