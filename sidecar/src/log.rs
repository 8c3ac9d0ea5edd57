//! The log: lines on stderr, which `kubectl logs` shows.

use std::io::{self, Write as _};

/// Writes one line to stderr. A failed write has nowhere to be reported.
pub fn log_line(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
