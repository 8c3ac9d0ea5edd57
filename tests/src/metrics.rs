//! The metrics of jobwarden's processes, read through the API server.

use anyhow::Context as _;
use jobwarden_common::names::{label, label_value, port};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};

use crate::install::NAMESPACE;

/// The pod of the leading reaper.
pub async fn leader(client: &Client) -> anyhow::Result<Pod> {
    let selector = format!("{}={}", label::ROLE, label_value::LEADER);
    let pods = Api::<Pod>::namespaced(client.clone(), NAMESPACE)
        .list(&ListParams::default().labels(&selector))
        .await
        .context("looking for the leading reaper")?;
    let mut live = pods.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    live.next().with_context(|| format!("no reaper in namespace {NAMESPACE} is the leader"))
}

/// The metrics of one of jobwarden's pods, in the text format of Prometheus.
pub async fn read(client: &Client, pod: &str) -> anyhow::Result<String> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}:{}/proxy/metrics", port::METRICS);
    let request = http::Request::get(path).body(Vec::new()).context("building the request")?;
    client.request_text(request).await.with_context(|| format!("reading the metrics of {pod}"))
}

/// The sum of all series of one metric whose labels contain `labels`.
pub fn sum(text: &str, metric: &str, labels: &str) -> f64 {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (name, of) = series.split_once('{').unwrap_or((series, ""));
            (name == metric && of.contains(labels)).then(|| value.parse::<f64>().ok())?
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_of_a_metric_are_summed_by_label() {
        let text = "# TYPE a counter\na_total{reason=\"x\"} 2\na_total{reason=\"y\"} 3\nab_total 7\n# EOF";
        assert!((sum(text, "a_total", "") - 5.0).abs() < f64::EPSILON);
        assert!((sum(text, "a_total", "reason=\"y\"") - 3.0).abs() < f64::EPSILON);
        assert!((sum(text, "ab_total", "") - 7.0).abs() < f64::EPSILON);
    }
}
