use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::cgroup::container;

const MIB: u64 = 1024 * 1024;

fn uid(n: usize) -> String {
    format!("00000000-0000-0000-0000-{n:012}")
}

/// A process of container `of` in pod `pod`.
fn process_sample(pod: usize, of: usize, pid: i32, cpu_ms: u64, rss_bytes: u64) -> ProcessSample {
    let cgroup = format!("0::/kubepods/pod{}/{of:064}\n", uid(pod));
    ProcessSample {
        container: Arc::new(container(&cgroup).expect("a pod's")),
        process: ProcessKey { pid, started: 1 },
        alive: true,
        cpu_ms,
        rss_bytes,
        hwm_bytes: rss_bytes,
    }
}

fn listing(pods: &[usize]) -> Vec<PodUid> {
    pods.iter().map(|pod| uid(*pod).into()).collect()
}

/// A ledger after a reply that listed these worker pods.
fn ledger(listed: &[usize]) -> Ledger {
    let mut ledger = Ledger::default();
    ledger.acknowledged(listing(listed));
    ledger
}

/// The only container of the only reported pod.
fn only(ledger: &Ledger) -> ContainerObservation {
    let pods = ledger.observations();
    assert_eq!(pods.len(), 1, "{pods:?}");
    assert_eq!(pods[0].containers.len(), 1, "{pods:?}");
    pods[0].containers[0].clone()
}

#[test]
fn the_peak_of_the_sum_and_the_peak_of_one_process_are_separate_figures() {
    let mut ledger = ledger(&[1]);
    ledger.record(&[process_sample(1, 1, 10, 0, 5 * MIB), process_sample(1, 1, 11, 0, 7 * MIB)]);
    ledger.record(&[process_sample(1, 1, 10, 0, 9 * MIB)]);
    let seen = only(&ledger);
    assert_eq!((seen.processes, seen.rss_bytes), (1, 9 * MIB));
    assert_eq!((seen.rss_sum_peak_bytes, seen.largest_hwm_bytes), (12 * MIB, 9 * MIB));
}

#[test]
fn cpu_time_of_ended_processes_still_counts() {
    let mut ledger = ledger(&[1]);
    ledger.record(&[process_sample(1, 1, 10, 300, 0), process_sample(1, 1, 11, 50, 0)]);
    ledger.record(&[process_sample(1, 1, 11, 70, 0)]);
    ledger.record(&[process_sample(1, 1, 11, 90, 0), process_sample(1, 1, 12, 5, 0)]);
    assert_eq!(only(&ledger).cpu_ms, 300 + 90 + 5);
}

#[test]
fn a_process_with_a_reused_pid_is_another_process() {
    let mut ledger = ledger(&[1]);
    ledger.record(&[process_sample(1, 1, 10, 300, 0)]);
    let mut later = process_sample(1, 1, 10, 20, 0);
    later.process.started = 2;
    ledger.record(&[later]);
    assert_eq!(only(&ledger).cpu_ms, 320);
}

#[test]
fn a_zombie_does_not_count_as_a_process_but_its_cpu_time_does() {
    let mut ledger = ledger(&[1]);
    ledger.record(&[process_sample(1, 1, 10, 10, MIB)]);
    ledger.record(&[ProcessSample { alive: false, ..process_sample(1, 1, 10, 40, 0) }]);
    let seen = only(&ledger);
    assert_eq!((seen.processes, seen.rss_bytes, seen.cpu_ms), (0, 0, 40));
}

#[test]
fn before_the_first_reply_nothing_is_reported_and_nothing_is_lost() {
    let mut ledger = Ledger::default();
    ledger.record(&[process_sample(1, 1, 10, 0, MIB)]);
    ledger.record(&[]);
    assert_eq!(ledger.observations(), []);
    ledger.acknowledged(listing(&[1]));
    assert_eq!(only(&ledger).rss_sum_peak_bytes, MIB);
}

#[test]
fn an_ended_pod_is_reported_while_listed_and_later_forgotten() {
    let mut ledger = ledger(&[1]);
    ledger.record(&[process_sample(1, 1, 10, 0, MIB)]);
    ledger.record(&[]);
    for _ in 0..100 {
        ledger.acknowledged(listing(&[1]));
        assert_eq!(only(&ledger).processes, 0);
    }
    for _ in 0..UNLISTED_REPLIES {
        assert_eq!(ledger.pods(), 1, "a new leader may not know all pods yet");
        ledger.acknowledged([]);
        assert_eq!(ledger.observations(), []);
    }
    assert_eq!(ledger.pods(), 0);
}

#[test]
fn a_running_pod_is_never_forgotten() {
    let mut ledger = ledger(&[]);
    for _ in 0..50 {
        ledger.record(&[process_sample(1, 1, 10, 0, MIB)]);
        ledger.acknowledged([]);
    }
    ledger.acknowledged(listing(&[1]));
    assert_eq!(only(&ledger).processes, 1);
}

#[test]
fn ended_pods_are_bounded_and_those_that_ended_first_are_forgotten() {
    let mut ledger = Ledger::default();
    for pod in 0..MAX_ENDED_PODS + 10 {
        ledger.record(&[process_sample(pod, 1, 10, 0, 0)]);
    }
    ledger.record(&[]);
    assert_eq!(ledger.pods(), MAX_ENDED_PODS);
    ledger.acknowledged(listing(&[9, 10]));
    let left: Vec<_> = ledger.observations().into_iter().map(|pod| pod.pod_uid).collect();
    assert_eq!(left, listing(&[10]));
}

#[test]
fn ended_containers_of_a_pod_are_bounded() {
    let mut ledger = ledger(&[1]);
    for container in 0..MAX_ENDED_CONTAINERS + 10 {
        ledger.record(&[process_sample(1, 0, 1, 0, 0), process_sample(1, container + 1, 10, 0, 0)]);
    }
    let pods = ledger.observations();
    assert_eq!(pods[0].containers.len(), MAX_ENDED_CONTAINERS + 2, "two containers run");
    assert_eq!(pods[0].containers[0].processes, 1, "the oldest still runs, so it is kept");
}

proptest! {
    #[test]
    fn totals_and_peaks_never_fall(samples in prop::collection::vec(
        prop::collection::vec((0..3_i32, 0..1_000_u64, 0..64_u64), 0..4), 1..20)) {
        let mut ledger = ledger(&[1]);
        let mut before: Option<ContainerObservation> = None;
        for sample in samples {
            let processes: Vec<_> =
                sample.iter().map(|(pid, cpu_ms, mib)| process_sample(1, 1, *pid, *cpu_ms, mib * MIB)).collect();
            ledger.record(&processes);
            let Some(now) = ledger.observations().pop().and_then(|mut pod| pod.containers.pop()) else { continue };
            prop_assert_eq!(now.processes as usize, processes.len());
            prop_assert!(now.rss_sum_peak_bytes >= now.rss_bytes);
            if let Some(before) = before {
                prop_assert!(now.cpu_ms >= before.cpu_ms);
                prop_assert!(now.rss_sum_peak_bytes >= before.rss_sum_peak_bytes);
                prop_assert!(now.largest_hwm_bytes >= before.largest_hwm_bytes);
            }
            before = Some(now);
        }
    }
}
