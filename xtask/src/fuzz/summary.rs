//! What one run of libFuzzer did, from what it writes.

use std::fmt;

/// How many lines of the end of a log are shown: the panic, and libFuzzer's words about it.
const SHOWN_LINES: usize = 30;

/// What one run of a target did.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Summary {
    /// How many inputs were tried.
    runs: u64,
    seconds: u32,
    /// How many edges of the control flow were reached.
    coverage: u64,
    /// How to reproduce what was found.
    pub(super) finding: Option<String>,
}

impl Summary {
    /// Reads the log of a run without a finding.
    pub(super) fn of(log: &str, seconds: u32) -> Self {
        let runs = after(log, "stat::number_of_executed_units:").or_else(|| last_run(log)).unwrap_or(0);
        Self { runs, seconds, coverage: after(log, " cov:").unwrap_or(0), finding: None }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, seconds, coverage, finding } = self;
        let findings = if finding.is_some() { "A FINDING" } else { "no finding" };
        write!(f, "{runs:>9} runs  {seconds:>4} s  coverage {coverage:>6}  {findings}")
    }
}

/// The number after the last `word`.
fn after(log: &str, word: &str) -> Option<u64> {
    let (_, rest) = log.rsplit_once(word)?;
    rest.split_whitespace().next()?.parse().ok()
}

/// The number of the last input in a log that ends early, as in `#1024 NEW cov: 7`.
fn last_run(log: &str) -> Option<u64> {
    let mut numbers = log.lines().filter_map(|line| line.strip_prefix('#')?.split_whitespace().next()?.parse().ok());
    numbers.next_back()
}

/// The last lines of a log.
pub(super) fn end_of(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_the_last_figures_of_a_log() {
        let log = "INFO: Seed: 1\n#2\tINITED cov: 10 ft: 11 corp: 1/1b\n#8\tNEW    cov: 12 ft: 14 corp: 2/5b lim: 4\n\
                   Done 99 runs in 1 second(s)\nstat::number_of_executed_units: 99\nstat::average_exec_per_sec:     99\n";
        let expected = Summary { runs: 99, seconds: 1, coverage: 12, finding: None };
        assert_eq!(Summary::of(log, 1), expected);
        assert_eq!(expected.to_string(), "       99 runs     1 s  coverage     12  no finding");
    }

    #[test]
    fn a_run_that_ends_with_a_finding_has_figures_too() {
        let log =
            "#2\tINITED cov: 10 ft: 11\n#8\tNEW    cov: 12 ft: 14\nthread '<unnamed>' panicked at src/a.rs:1:1:\n";
        assert_eq!(Summary::of(log, 60), Summary { runs: 8, seconds: 60, coverage: 12, finding: None });
        assert_eq!(end_of("a\nb"), "a\nb");
    }

    #[test]
    fn a_run_that_did_not_start_has_done_nothing() {
        assert_eq!(Summary::of("", 60), Summary { runs: 0, seconds: 60, coverage: 0, finding: None });
    }
}
