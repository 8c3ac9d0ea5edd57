//! The distribution of some latencies.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

/// Their median and 99th percentile, in milliseconds.
pub(crate) fn summary(mut latencies: Vec<Duration>) -> anyhow::Result<Value> {
    latencies.sort_unstable();
    let at = |percent: usize| latencies.get((latencies.len().max(1) - 1) * percent / 100);
    let ms = |percent| anyhow::Ok(at(percent).context("nothing was measured")?.as_secs_f64() * 1000.0);
    Ok(json!({ "p50_ms": ms(50)?, "p99_ms": ms(99)? }))
}
