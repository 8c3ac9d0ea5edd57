//! Usage: the peaks of what agents observed, joined with the containers the kubelet names.
//!
//! Agents see processes and container IDs; only the reaper knows which containers are main containers. The figures are monotone, so
//! that reports may arrive twice or late, and saturate, so that no agent can overflow them.

use std::time::Duration;

use jobwarden_common::{
    notification::Usage,
    observation::{ContainerObservation, PodObservation},
};

use crate::facts::pod::{MainFacts, PodFacts};

/// The largest figure that is reported: numbers in the Kubernetes API are signed.
const MAX_FIGURE: u64 = i64::MAX as u64;

/// What the main containers of one pod used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PodUsage {
    /// One entry for each main container that was observed.
    mains: Vec<MainUsage>,
}

/// What one main container used, over all its runs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct MainUsage {
    name: Box<str>,
    rss_sum_peak_bytes: u64,
    largest_hwm_bytes: u64,
    cgroup_peak_bytes: Option<u64>,
    cpu: CpuTime,
}

/// CPU time over the runs of one container. The two latest runs may still grow: a report of the earlier one may arrive after the
/// kubelet has reported the later one. The runs before them are summed up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct CpuTime {
    before_ms: u64,
    earlier: Option<Run>,
    latest: Option<Run>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    id: Box<str>,
    cpu_ms: u64,
}

impl PodUsage {
    /// Records what an agent saw of the pod. Containers other than main containers are left out.
    pub(super) fn observe(&mut self, pod: &PodFacts, seen: &PodObservation) {
        for main in &pod.mains {
            // The earlier run first, so that the later one becomes the latest.
            for id in [&main.earlier_id, &main.id].into_iter().flatten() {
                let container = seen.containers.iter().find(|container| *container.container_id == **id);
                if let Some(container) = container {
                    self.of(main).observe(container);
                }
            }
        }
    }

    fn of(&mut self, main: &MainFacts) -> &mut MainUsage {
        let at = self.mains.iter().position(|known| known.name == main.name).unwrap_or_else(|| {
            self.mains.push(MainUsage::new(&main.name));
            self.mains.len() - 1
        });
        &mut self.mains[at]
    }

    /// What the pod used, if anything was observed of it. `ran_for` is from the first start of a main container; `facts` say what limit
    /// the main containers have, and whether one was killed for lack of memory. The upper bound is unknown unless it is known of every
    /// main container.
    pub(super) fn total(&self, facts: &PodFacts, ran_for: Option<Duration>) -> Option<Usage> {
        let sum = |figure: fn(&MainUsage) -> u64| figures(self.mains.iter().map(figure).fold(0, u64::saturating_add));
        let cgroup: Option<Vec<_>> = self.mains.iter().map(|main| main.cgroup_peak_bytes).collect();
        let cgroup = cgroup.map(|peaks| peaks.into_iter().fold(0, u64::saturating_add));
        (!self.mains.is_empty()).then(|| {
            ordered(Usage {
                peak_rss_bytes: sum(|main| main.rss_sum_peak_bytes),
                peak_lower_bytes: figures(self.mains.iter().map(|main| main.largest_hwm_bytes).max().unwrap_or(0)),
                peak_upper_bytes: cgroup.map(figures),
                memory_limit_bytes: facts.memory_limit_bytes.map(|limit| figures(limit.get())),
                cpu_ms: sum(|main| main.cpu.total_ms()),
                wall_ms: ran_for.map(|ran| figures(ran.as_millis().try_into().unwrap_or(u64::MAX))),
                censored: facts.oom_killed,
            })
        })
    }
}

/// Puts the peaks in order: lower bound, estimate, upper bound.
///
/// They are measured apart, so each may contradict the others. A process that peaked between two samples has a larger high-water mark
/// than any sum that was sampled: the estimate is at least that. A page that processes share counts once for each of them in the sum,
/// and once in the cgroup: the estimate is at most the peak of the cgroup. But a page that another cgroup touched first is charged
/// there, so that the peak of the cgroup may be below what one process holds: the upper bound is at least the lower one.
fn ordered(mut usage: Usage) -> Usage {
    let lower = usage.peak_lower_bytes;
    let upper = usage.peak_upper_bytes.map(|upper| upper.max(lower));
    let estimate = usage.peak_rss_bytes.max(lower).min(upper.unwrap_or(u64::MAX));
    (usage.peak_rss_bytes, usage.peak_upper_bytes) = (estimate, upper);
    usage
}

fn figures(figure: u64) -> u64 {
    figure.min(MAX_FIGURE)
}

impl MainUsage {
    fn new(name: &str) -> Self {
        let (rss_sum_peak_bytes, largest_hwm_bytes, cgroup_peak_bytes, cpu) = (0, 0, None, CpuTime::default());
        Self { name: name.into(), rss_sum_peak_bytes, largest_hwm_bytes, cgroup_peak_bytes, cpu }
    }

    fn observe(&mut self, seen: &ContainerObservation) {
        // The peak is at least the present value, whatever the agent says.
        self.rss_sum_peak_bytes = self.rss_sum_peak_bytes.max(seen.rss_sum_peak_bytes).max(seen.rss_bytes);
        self.largest_hwm_bytes = self.largest_hwm_bytes.max(seen.largest_hwm_bytes);
        self.cgroup_peak_bytes = self.cgroup_peak_bytes.max(seen.cgroup_peak_bytes);
        self.cpu.observe(&seen.container_id, seen.cpu_ms);
    }
}

impl CpuTime {
    fn observe(&mut self, id: &str, cpu_ms: u64) {
        let known = [&mut self.latest, &mut self.earlier].into_iter().flatten().find(|run| *run.id == *id);
        if let Some(run) = known {
            run.cpu_ms = run.cpu_ms.max(cpu_ms);
            return;
        }
        let latest = self.latest.replace(Run { id: id.into(), cpu_ms });
        let ended = std::mem::replace(&mut self.earlier, latest);
        self.before_ms = self.before_ms.saturating_add(ended.map_or(0, |run| run.cpu_ms));
    }

    fn total_ms(&self) -> u64 {
        let runs = [&self.earlier, &self.latest].into_iter().flatten().map(|run| run.cpu_ms);
        runs.fold(self.before_ms, u64::saturating_add)
    }
}

/// The largest figures of two attempts of one job. The upper bound is unknown unless it is known of both, and so is the limit.
pub(super) fn max(a: &Usage, b: &Usage) -> Usage {
    ordered(Usage {
        peak_rss_bytes: a.peak_rss_bytes.max(b.peak_rss_bytes),
        peak_lower_bytes: a.peak_lower_bytes.max(b.peak_lower_bytes),
        peak_upper_bytes: a.peak_upper_bytes.zip(b.peak_upper_bytes).map(|(a, b)| a.max(b)),
        memory_limit_bytes: a.memory_limit_bytes.zip(b.memory_limit_bytes).map(|(a, b)| a.max(b)),
        cpu_ms: a.cpu_ms.max(b.cpu_ms),
        wall_ms: a.wall_ms.max(b.wall_ms),
        censored: a.censored || b.censored,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::num::NonZeroU64;

    use rstest::rstest;

    use super::*;
    use crate::{
        builders::facts::{mk_container, mk_main, mk_pod},
        evidence::ContainerState,
    };

    fn mk_seen(id: &str, rss: u64, hwm: u64, cpu_ms: u64) -> ContainerObservation {
        ContainerObservation {
            rss_bytes: rss / 2,
            rss_sum_peak_bytes: rss,
            largest_hwm_bytes: hwm,
            cpu_ms,
            ..mk_container(id, 1)
        }
    }

    fn observation(containers: Vec<ContainerObservation>) -> PodObservation {
        PodObservation { pod_uid: "pod".into(), containers }
    }

    /// A pod of two main containers, `a` and `b`.
    fn mk_pair() -> PodFacts {
        let mains = vec![
            mk_main("first", ContainerState::Running, Some("a")),
            mk_main("second", ContainerState::Running, Some("b")),
        ];
        PodFacts { mains, ..mk_pod("pod", "job") }
    }

    fn total(usage: &PodUsage) -> Usage {
        usage.total(&mk_pair(), None).expect("something was observed")
    }

    #[test]
    fn only_main_containers_count() {
        let mut usage = PodUsage::default();
        let all = vec![mk_seen("a", 10, 5, 1), mk_seen("b", 20, 7, 2), mk_seen("side", 99, 99, 99)];
        usage.observe(&mk_pair(), &observation(all));
        let expected = Usage { peak_rss_bytes: 30, peak_lower_bytes: 7, cpu_ms: 3, ..Usage::default() };
        assert_eq!(total(&usage), expected);
    }

    #[test]
    fn nothing_observed_is_no_usage() {
        let mut usage = PodUsage::default();
        usage.observe(&mk_pair(), &observation(vec![mk_seen("pause", 1, 1, 1)]));
        assert_eq!(usage.total(&PodFacts { oom_killed: true, ..mk_pair() }, None), None);
    }

    #[test]
    fn the_runs_of_a_restarted_container_share_a_peak_and_add_cpu_time() {
        let run = |id: &str, earlier: Option<&str>| {
            let main = MainFacts {
                earlier_id: earlier.map(Into::into),
                ..mk_main("first", ContainerState::Running, Some(id))
            };
            PodFacts { mains: vec![main], ..mk_pod("pod", "job") }
        };
        let mut usage = PodUsage::default();
        usage.observe(&run("r1", None), &observation(vec![mk_seen("r1", 40, 4, 100)]));
        usage.observe(&run("r2", Some("r1")), &observation(vec![mk_seen("r2", 10, 9, 5), mk_seen("r1", 50, 4, 110)]));
        usage.observe(&run("r3", Some("r2")), &observation(vec![mk_seen("r3", 20, 9, 7)]));
        let expected = Usage { peak_rss_bytes: 50, peak_lower_bytes: 9, cpu_ms: 122, ..Usage::default() };
        assert_eq!(total(&usage), expected);
    }

    #[test]
    fn an_absurd_agent_cannot_overflow() {
        let mut usage = PodUsage::default();
        let absurd = |id| ContainerObservation {
            cgroup_peak_bytes: Some(u64::MAX),
            ..mk_seen(id, u64::MAX, u64::MAX, u64::MAX)
        };
        usage.observe(&mk_pair(), &observation(vec![absurd("a"), absurd("b")]));
        let all = i64::MAX as u64;
        let expected = Usage {
            peak_rss_bytes: all,
            peak_lower_bytes: all,
            peak_upper_bytes: Some(all),
            memory_limit_bytes: Some(all),
            cpu_ms: all,
            wall_ms: Some(all),
            censored: false,
        };
        let facts = PodFacts { memory_limit_bytes: NonZeroU64::new(u64::MAX), ..mk_pair() };
        assert_eq!(usage.total(&facts, Some(Duration::MAX)), Some(expected));
    }

    #[test]
    fn a_job_has_the_largest_figures_of_its_attempts() {
        let first = Usage { peak_rss_bytes: 9, cpu_ms: 1, wall_ms: Some(5), censored: true, ..Usage::default() };
        let second = Usage { peak_rss_bytes: 3, cpu_ms: 2, ..Usage::default() };
        let expected = Usage { peak_rss_bytes: 9, cpu_ms: 2, wall_ms: Some(5), censored: true, ..Usage::default() };
        assert_eq!(max(&first, &second), expected);
        assert_eq!(max(&second, &first), expected);
    }

    /// Peaks of one container: sampled sum, largest high-water mark, peak of the cgroup.
    type Peaks = (u64, u64, Option<u64>);

    fn used(first: Peaks, second: Peaks) -> Usage {
        let seen = |id, (rss, hwm, cgroup_peak_bytes): Peaks| ContainerObservation {
            cgroup_peak_bytes,
            ..mk_seen(id, rss, hwm, 1)
        };
        let mut usage = PodUsage::default();
        usage.observe(&mk_pair(), &observation(vec![seen("a", first), seen("b", second)]));
        total(&usage)
    }

    fn bracket(usage: &Usage) -> Peaks {
        (usage.peak_lower_bytes, usage.peak_rss_bytes, usage.peak_upper_bytes)
    }

    #[rstest]
    #[case::in_order((30, 20, Some(50)), (20, 10, Some(10)), (20, 50, Some(60)))]
    #[case::a_peak_between_samples((5, 20, Some(50)), (5, 1, Some(10)), (20, 20, Some(60)))]
    #[case::shared_pages((50, 20, Some(30)), (20, 10, Some(20)), (20, 50, Some(50)))]
    #[case::many_shared_pages((90, 20, Some(30)), (20, 10, Some(20)), (20, 50, Some(50)))]
    #[case::pages_charged_elsewhere((90, 80, Some(30)), (20, 10, Some(20)), (80, 80, Some(80)))]
    #[case::one_cgroup_is_unknown((30, 20, None), (20, 10, Some(10)), (20, 50, None))]
    fn the_peaks_are_in_order(#[case] first: Peaks, #[case] second: Peaks, #[case] expected: Peaks) {
        assert_eq!(bracket(&used(first, second)), expected);
    }

    #[test]
    fn an_upper_bound_holds_for_every_attempt() {
        let bounded = used((30, 20, Some(40)), (1, 1, Some(1)));
        let unbounded = used((90, 20, None), (1, 1, Some(1)));
        assert_eq!(max(&bounded, &unbounded).peak_upper_bytes, None);
        assert_eq!(max(&bounded, &bounded).peak_upper_bytes, Some(41));
    }

    #[test]
    fn a_limit_is_known_if_every_attempt_has_one() {
        let limited = |bytes| Usage { memory_limit_bytes: bytes, ..Usage::default() };
        assert_eq!(max(&limited(Some(1)), &limited(Some(2))).memory_limit_bytes, Some(2));
        assert_eq!(max(&limited(Some(1)), &limited(None)).memory_limit_bytes, None);
    }

    fn peaks() -> impl Strategy<Value = Peaks> {
        let figure = || prop_oneof![0_u64..100, Just(u64::MAX), any::<u64>()];
        (figure(), figure(), prop::option::of(figure()))
    }

    proptest! {
        /// Whatever an agent reports of however many attempts.
        #[test]
        fn the_bracket_is_always_ordered(attempts in prop::collection::vec((peaks(), peaks()), 1..5)) {
            let attempts = attempts.into_iter().map(|(first, second)| used(first, second));
            let in_order = |usage: &Usage| {
                let (lower, estimate, upper) = bracket(usage);
                lower <= estimate && upper.is_none_or(|upper| estimate <= upper)
            };
            let attempts: Vec<_> = attempts.collect();
            prop_assert!(attempts.iter().all(in_order));
            let merged = attempts.into_iter().reduce(|a, b| max(&a, &b)).expect("one at least");
            prop_assert!(in_order(&merged), "{:?}", merged);
        }

        /// Reports may be lost from the middle, repeated and reordered: the peaks are those of all that came.
        #[test]
        fn the_order_of_reports_does_not_matter(mut reports in prop::collection::vec((0_u64..1000, 0_u64..1000, 0_u64..1000), 1..20)) {
            let take = |reports: &[(u64, u64, u64)]| {
                let mut usage = PodUsage::default();
                for &(rss, hwm, cpu) in reports {
                    usage.observe(&mk_pair(), &observation(vec![mk_seen("a", rss, hwm, cpu)]));
                }
                total(&usage)
            };
            let in_order = take(&reports);
            reports.reverse();
            reports.push(reports[0]);
            prop_assert_eq!(take(&reports), in_order);
        }
    }
}
