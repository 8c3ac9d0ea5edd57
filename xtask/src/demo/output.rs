//! The demo's output: headings, checks, and lines with the time since the crash.

use std::io::{Write as _, stdout};
use std::time::Duration;

/// Prints a line.
pub(super) fn line(text: impl AsRef<str>) {
    // A closed stdout does not matter: the exit status still has the result.
    let _ = writeln!(stdout().lock(), "{}", text.as_ref());
}

/// Prints a heading.
pub(super) fn heading(title: &str) {
    line(format!("\n── {title} {}", "─".repeat(76_usize.saturating_sub(title.chars().count()))));
}

/// Prints whether a check passed, and returns that.
pub(super) fn check(passed: bool, what: impl AsRef<str>) -> bool {
    line(format!("  {} {}", if passed { '✓' } else { '✗' }, what.as_ref()));
    passed
}

/// Prints what happened this long after the crash.
pub(super) fn after_crash(elapsed: Duration, what: impl AsRef<str>) {
    line(format!("  +{:>6.1} s  {}", elapsed.as_secs_f64(), what.as_ref()));
}

/// Prints a text, indented.
pub(super) fn indented(text: &str) {
    for text in text.lines() {
        line(format!("  {text}"));
    }
}
