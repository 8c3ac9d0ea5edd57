//! What a job used, for people.

use std::time::Duration;

use jobwarden_common::notification::Usage;

/// What a job used, in words.
pub(crate) fn usage(usage: &Usage) -> String {
    let upper = usage.peak_upper_bytes.map(|bytes| format!(", at most {}", size(bytes))).unwrap_or_default();
    let limit = usage.memory_limit_bytes.map(|bytes| format!(", limit {}", size(bytes))).unwrap_or_default();
    let censored = if usage.censored { ", killed at its limit, so the demand is higher" } else { "" };
    let wall = usage.wall_ms.map(|ms| format!(", wall time {}", span(ms / 1000))).unwrap_or_default();
    format!(
        "peak memory {} (at least {}{upper}{limit}{censored}), CPU time {}{wall}",
        size(usage.peak_rss_bytes),
        size(usage.peak_lower_bytes),
        span(usage.cpu_ms / 1000)
    )
}

/// Whole mebibytes, rounded up.
fn size(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1024 * 1024))
}

/// A duration in words.
pub(crate) fn span(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_are_rounded_for_people() {
        assert_eq!((span(79), size(1), size(3 << 20)), ("1m 19s".to_owned(), "1 MiB".to_owned(), "3 MiB".to_owned()));
    }
}
