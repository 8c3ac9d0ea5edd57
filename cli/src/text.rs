//! Text for people: lines, sections and ages.

use std::fmt::Write as _;

use k8s_openapi::jiff::Timestamp;

use crate::output::printable;

/// Adds a blank line, the title and the indented lines, if there are any.
pub(crate) fn section(text: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        line(text, format!("\n{title}:"));
        for entry in lines {
            line(text, format!("  {}", entry.trim_end()));
        }
    }
}

/// Adds a line, or two if it begins with a line feed of our own.
pub(crate) fn line(text: &mut String, line: impl AsRef<str>) {
    let line = line.as_ref();
    let blank = line.strip_prefix('\n');
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}{}", if blank.is_some() { "\n" } else { "" }, printable(blank.unwrap_or(line)));
}

/// The age of an RFC 3339 time in one unit, as kubectl shows it: `95s`, `26h`. A text that is no time is returned as it is.
pub(crate) fn age(at: &str, now: Timestamp) -> String {
    let Ok(time) = at.parse::<Timestamp>() else { return at.to_owned() };
    let seconds = now.duration_since(time).as_secs().max(0);
    match seconds {
        ..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("2026-03-04T05:08:50Z", "0s")]
    #[case("2026-03-04T05:07:00Z", "110s")]
    #[case("2026-03-04T05:06:00.5Z", "2m")]
    #[case("2026-03-04T03:00:00Z", "2h")]
    #[case("2026-03-01T00:00:00Z", "3d")]
    #[case::by_a_clock_that_is_ahead("2026-03-04T05:09:10Z", "0s")]
    #[case::no_time("yesterday", "yesterday")]
    fn an_age_has_one_unit(#[case] at: &str, #[case] expected: &str) {
        assert_eq!(age(at, "2026-03-04T05:08:50Z".parse().expect("a time")), expected);
    }
}
