//! How the demo speaks: headings, facts with a tick, lines with the time since the crash.

use std::io::{Write as _, stdout};
use std::time::Duration;

/// Writes a line to stdout.
pub(super) fn say(line: impl AsRef<str>) {
    // Whoever closed stdout does not want the story; the exit status still tells.
    let _ = writeln!(stdout().lock(), "{}", line.as_ref());
}

/// Begins a chapter.
pub(super) fn chapter(title: &str) {
    say(format!("\n── {title} {}", "─".repeat(76_usize.saturating_sub(title.chars().count()))));
}

/// Says whether a claim held, and returns that.
pub(super) fn claim(holds: bool, what: impl AsRef<str>) -> bool {
    say(format!("  {} {}", if holds { '✓' } else { '✗' }, what.as_ref()));
    holds
}

/// Says what happened so long after the crash.
pub(super) fn after_crash(elapsed: Duration, what: impl AsRef<str>) {
    say(format!("  +{:>6.1} s  {}", elapsed.as_secs_f64(), what.as_ref()));
}

/// Writes a text indented by two.
pub(super) fn quote(text: &str) {
    for line in text.lines() {
        say(format!("  {line}"));
    }
}
