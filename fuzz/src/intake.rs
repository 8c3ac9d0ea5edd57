//! Bodies of beats and reports, one on a line, from a worker and from the agents of two nodes: what a node agent says changes nothing for the
//! pods of another node, and figures stay in order.

#![no_main]

use std::time::Duration;

use jiff::Timestamp;
use jobwarden_common::{
    beat::BeatRequest,
    identity::{JobUid, NodeName, PodUid},
    observation::Report,
};
use jobwarden_core::{
    builders::facts::{mk_job, mk_node, mk_pod},
    facts::{node::Health, pod::PodFacts},
    index::Index,
    moment::Moment,
    snapshot::JobSnapshot,
};
use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};

/// The pods, their Jobs and their nodes.
const PODS: [(&str, &str, &str); 3] = [("a1", "a", "node-1"), ("a2", "a", "node-1"), ("b1", "b", "node-2")];
/// The most events in the timeline of a Job: those kept, and the last signals of the pods.
const MAX_TIMELINE: usize = 64;
/// The largest figure, because numbers in the Kubernetes API are signed.
const MAX_FIGURE: u64 = i64::MAX as u64;
/// The most that is read of a body at once; what has more lines is not read.
const MAX_LINES: usize = 64;

fuzz_target!(|data: &[u8]| {
    let mut index = index();
    for (second, line) in (2..).zip(data.split(|byte| *byte == b'\n').take(MAX_LINES)) {
        let (Some((sender, body)), now) = (line.split_first(), at(second * 7)) else { continue };
        match sender {
            b'b' => beats(&mut index, body, now),
            b'1' => report(&mut index, "node-1", body, now),
            b'2' => report(&mut index, "node-2", body, now),
            _ => {}
        }
        for job in ["a", "b"] {
            check(&snapshot(&index, job, now));
        }
    }
});

fn index() -> Index {
    let mut index = Index::default();
    for node in ["node-1", "node-2"] {
        index.apply_node(&mk_node(node, Health::Ready), at(1));
    }
    for (pod, job, node) in PODS {
        index.apply_job(mk_job(job), at(1));
        index.apply_pod(PodFacts { node: Some(node.into()), ..mk_pod(pod, job) }, at(1));
    }
    index.pods_listed(&PODS.iter().map(|(pod, ..)| PodUid::from(*pod)).collect(), at(1));
    index.start_listening(at(1));
    index
}

fn at(second: u64) -> Moment {
    Moment::at(Duration::from_secs(second))
}

/// Parses a body, which has to mean the same when it is written again.
fn parse<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(body: &[u8]) -> Option<T> {
    let parsed: T = serde_json::from_slice(body).ok()?;
    let written = serde_json::to_vec(&parsed).expect("it was JSON");
    assert_eq!(serde_json::from_slice::<T>(&written).ok().as_ref(), Some(&parsed));
    Some(parsed)
}

/// Beats of the pod `a1`.
fn beats(index: &mut Index, body: &[u8], now: Moment) {
    let Some(BeatRequest { beats }) = parse(body) else { return };
    let before = snapshot(index, "b", now);
    for beat in beats {
        index.beat(&"a1".into(), Some(&"node-1".into()), beat.phase, now).expect("its own pod");
    }
    assert_eq!(snapshot(index, "b", now).evidence.pods, before.evidence.pods, "a beat of another Job");
}

fn report(index: &mut Index, node: &str, body: &[u8], now: Moment) {
    let Some(report) = parse::<Report>(body) else { return };
    let node: NodeName = node.into();
    let is_own = |(_, _, bound): &&(&str, &str, &str)| *bound == node.as_str();
    let other_job = if node.as_str() == "node-1" { "b" } else { "a" };
    let before = snapshot(index, other_job, now);
    match index.report(&node, &report, now) {
        Ok(wanted) => {
            let is_bound = |pod: &PodUid| PODS.iter().filter(is_own).any(|(own, ..)| *own == pod.as_str());
            assert!(wanted.iter().all(is_bound), "{wanted:?} are not all bound to {node}");
        }
        Err(foreign) => {
            let reported = |pod: &str| report.pods.iter().any(|entry| entry.pod_uid.as_str() == pod);
            assert!(PODS.iter().any(|pod| !is_own(&pod) && reported(pod.0)), "{foreign}");
        }
    }
    assert_eq!(snapshot(index, other_job, now), before, "a report of another node");
}

fn snapshot(index: &Index, job: &str, now: Moment) -> JobSnapshot {
    index.snapshot(&JobUid::from(job), now, |_| Timestamp::UNIX_EPOCH).expect("the Job is known")
}

fn check(snapshot: &JobSnapshot) {
    assert!(snapshot.timeline.len() <= MAX_TIMELINE, "{} events", snapshot.timeline.len());
    if let Some(usage) = &snapshot.usage {
        let upper = usage.peak_upper_bytes.unwrap_or(MAX_FIGURE);
        assert!(usage.peak_lower_bytes <= usage.peak_rss_bytes && usage.peak_rss_bytes <= upper, "{usage:?}");
        assert!(upper <= MAX_FIGURE && usage.cpu_ms <= MAX_FIGURE, "{usage:?}");
    }
}
