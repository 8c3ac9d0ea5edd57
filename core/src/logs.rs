//! The last log lines of the container that decided an outcome: which container that is, and what of its log is kept.
//!
//! ```text
//!  pod, cause ──► source ──► (reaper reads pods/log) ──► excerpt: whole lines ─► printable ─► redacted ─► cut
//! ```
//!
//! Laws, which property tests hold: an excerpt is never longer than its limits, it has no control characters, and what a pattern matches
//! does not appear in it. Nothing here ever returns the value of an environment variable.

mod excerpt;
mod pattern;
mod printable;
mod redact;
mod settings;
mod source;

#[cfg(test)]
mod tests;

pub use self::{
    excerpt::{Excerpt, LogLimits},
    pattern::PatternError,
    redact::Redactor,
    settings::{LogRules, LogSettings, LogSettingsError},
    source::{LogSource, secret_values, source},
};
