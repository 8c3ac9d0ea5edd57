//! The workers of ORT Server.

/// The kinds of workers that have a timeout, as they are written in the label `ort-worker`.
pub(super) const WORKERS: [&str; 7] = ["config", "analyzer", "advisor", "scanner", "evaluator", "reporter", "notifier"];

/// The worker whose timeout a variable sets.
pub(super) fn worker(endpoint: &str) -> Option<&'static str> {
    WORKERS.into_iter().find(|worker| worker.eq_ignore_ascii_case(endpoint))
}
