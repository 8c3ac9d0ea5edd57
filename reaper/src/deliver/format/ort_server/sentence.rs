//! The sentence that a user of ORT Server reads as an issue of the run.
//!
//! It consists of fixed words, names and numbers. No text that others wrote enters it, neither messages of the kubelet nor those of
//! containers or operators: they can quote the command line, the log and through these the environment of the worker, where ORT Server
//! puts its secrets. The notifications of other formats have them.

use jobwarden_common::{
    names::reason,
    notification::{Cause, CauseKind, OutcomeData, Usage},
};
use jobwarden_core::causes::SYSTEM_OOM;

/// The maximum length of a sentence in bytes: its words and the names in it, each of which is bounded.
#[cfg(test)]
pub(super) const MAX_BYTES: usize = 512;

/// The maximum length of the name of a container in bytes: a DNS label (RFC 1123). Reasons are shorter.
const MAX_WORD_BYTES: usize = 63;

/// The maximum length of the name of a node in bytes: a DNS subdomain (RFC 1123).
const MAX_NODE_BYTES: usize = 253;

/// Why the worker `name` failed, in one sentence on one line.
pub(super) fn about(data: &OutcomeData, name: &str) -> String {
    let worker = word(name).map_or_else(|| "The worker".to_owned(), |name| format!("The {name} worker"));
    format!("{worker} {}{}.", what(data), memory(data).unwrap_or_default())
}

/// What happened, as the predicate of the sentence: by the cause of the end, else by the verdict.
fn what(data: &OutcomeData) -> String {
    let cause = &data.cause;
    let by_reason = || by_reason(&data.reason, data).or_else(|| by_reason(cause.reason.as_deref()?, data));
    match cause.kind {
        // These say less than a verdict does.
        None | Some(CauseKind::NodeLost | CauseKind::Deleted) => {
            by_reason().or_else(|| cause.kind.map(|kind| by_kind(kind, data))).unwrap_or_else(|| by_exit(data))
        }
        Some(kind) => by_kind(kind, data),
    }
}

fn by_reason(reason: &str, data: &OutcomeData) -> Option<String> {
    let node = node(data);
    let what = match reason {
        reason::NODE_GONE => format!("was lost because its node{node} was removed, shut down or restarted"),
        reason::NODE_UNREACHABLE => format!("was lost because its node{node} stopped responding"),
        reason::OUTCOME_UNKNOWN => format!("ended on a node{node} that stopped responding before it could report how"),
        reason::PROCESS_GONE => {
            "was lost because its processes are gone and its node did not report how they ended".to_owned()
        }
        reason::HEARTBEAT_LOST => "was stopped because it gave no sign of life for too long".to_owned(),
        reason::STALLED => "was stopped because it used no CPU time for too long".to_owned(),
        reason::INIT_TIMEOUT => "was stopped because its preparation in an init container took too long".to_owned(),
        reason::START_TIMEOUT => "was stopped because it did not start in time".to_owned(),
        reason::UNSCHEDULABLE => by_kind(CauseKind::Unschedulable, data),
        reason::IMAGE_PULL_FAILED => by_kind(CauseKind::ImagePullFailed, data),
        reason::CREATE_FAILED => by_kind(CauseKind::CreateFailed, data),
        reason::NOT_STARTING => "was not started because the cluster created no pod for it in time".to_owned(),
        reason::DEADLINE_EXCEEDED => by_kind(CauseKind::DeadlineExceeded, data),
        reason::JOB_DELETED | reason::POD_DELETED => by_kind(CauseKind::Deleted, data),
        _ => return None,
    };
    Some(what)
}

fn by_kind(kind: CauseKind, data: &OutcomeData) -> String {
    let cause = &data.cause;
    let container = container(cause);
    let in_words = cause.reason.as_deref().and_then(word).map(|reason| format!(" ({reason})")).unwrap_or_default();
    match kind {
        CauseKind::OomKilled if cause.reason.as_deref() == Some(SYSTEM_OOM) => {
            format!("failed because {container} was killed when its node{} ran out of memory", node(data))
        }
        CauseKind::OomKilled => format!("failed because {container} reached its memory limit and was killed"),
        CauseKind::Evicted => {
            let resource = cause.resource.as_deref().and_then(word).unwrap_or("resources");
            format!("was evicted because its node{} ran short of {resource}", node(data))
        }
        CauseKind::Preempted => "was stopped to make room for work of higher priority".to_owned(),
        CauseKind::Drained => format!("was evicted from its node{}, as when a node is drained", node(data)),
        CauseKind::Tainted => format!("was evicted because of a taint of its node{}", node(data)),
        CauseKind::NodeShutdown => format!("was stopped because its node{} was shut down", node(data)),
        CauseKind::NodeLost => format!("was lost with its node{}", node(data)),
        CauseKind::Unschedulable => "was not started because the cluster has no node for it".to_owned(),
        CauseKind::NotAdmitted => format!("was not started because its node{} rejected it{in_words}", node(data)),
        CauseKind::ImagePullFailed => {
            format!("was not started because the image of {container} could not be pulled{in_words}")
        }
        CauseKind::CreateFailed => format!("was not started because {container} could not be created{in_words}"),
        CauseKind::DeadlineExceeded => "was stopped because it ran longer than it may".to_owned(),
        CauseKind::PodFailurePolicy => {
            format!("{}, which the failure policy of its Job does not retry", by_exit(data))
        }
        CauseKind::Deleted => {
            let by = cause.by.as_deref().and_then(word).map(|by| format!(" by {by}")).unwrap_or_default();
            format!("was deleted{by} before it finished")
        }
        CauseKind::ExitCode | CauseKind::Signal => by_exit(data),
    }
}

/// By the exit code, where nothing explains it.
fn by_exit(data: &OutcomeData) -> String {
    let cause = &data.cause;
    let container = container(cause);
    match (cause.signal.as_deref().and_then(word), cause.exit_code) {
        (Some(signal), Some(code)) => format!("failed because {container} was ended by {signal}, exit code {code}"),
        (Some(signal), None) => format!("failed because {container} was ended by {signal}"),
        (None, Some(code)) => format!("failed because {container} ended with exit code {code}"),
        (None, None) => {
            let reason = word(&data.reason).map(|reason| format!(", reason {reason}")).unwrap_or_default();
            format!("failed without a known cause{reason}")
        }
    }
}

/// The peak memory, where it may explain the end. Where the limit is not known, neither is what to compare it with.
fn memory(data: &OutcomeData) -> Option<String> {
    let cause = &data.cause;
    let explains = match cause.kind? {
        CauseKind::OomKilled => true,
        CauseKind::Evicted => cause.resource.as_deref() == Some("memory"),
        CauseKind::Signal => cause.signal.as_deref() == Some("SIGKILL"),
        _ => false,
    };
    let usage = data.usage.as_ref().filter(|_| explains)?;
    let Usage { peak_rss_bytes, peak_lower_bytes, memory_limit_bytes, censored, .. } = *usage;
    // Killed at its limit it would have used more.
    let (word, bytes) = if censored { ("at least", peak_lower_bytes) } else { ("about", peak_rss_bytes) };
    // A sum of resident sets counts shared pages twice, and a limit may have been changed: a peak above the limit explains nothing.
    let limit = memory_limit_bytes.filter(|limit| *limit >= bytes);
    let limit = limit.map(|limit| format!(" of its limit of {}", size(limit))).unwrap_or_default();
    (bytes > 0).then(|| format!("; its peak memory was {word} {}{limit}", size(bytes)))
}

/// A number of bytes, rounded down to a tenth of the unit.
fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    let tenths = |unit: u64| match (bytes / unit, bytes % unit) {
        (whole, 0) => whole.to_string(),
        (whole, rest) => format!("{whole}.{}", rest * 10 / unit),
    };
    match bytes {
        GIB.. => format!("{} GiB", tenths(GIB)),
        MIB.. => format!("{} MiB", tenths(MIB)),
        _ => format!("{bytes} bytes"),
    }
}

fn container(cause: &Cause) -> String {
    let name = cause.container.as_deref().and_then(word);
    name.map_or_else(|| "its container".to_owned(), |name| format!("container {name}"))
}

fn node(data: &OutcomeData) -> String {
    let node = data.attempt.as_ref().and_then(|attempt| attempt.node.as_ref());
    node.and_then(|node| bounded(node.as_str(), MAX_NODE_BYTES)).map(|node| format!(" {node}")).unwrap_or_default()
}

/// `text` if it is a short name or a reason; anything else is left out.
fn word(text: &str) -> Option<&str> {
    bounded(text, MAX_WORD_BYTES)
}

fn bounded(text: &str, max: usize) -> Option<&str> {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    let is_name =
        text.len() <= max && text.bytes().all(is_of_name) && text.ends_with(|last: char| last.is_ascii_alphanumeric());
    is_name.then_some(text)
}

#[cfg(test)]
mod tests;
