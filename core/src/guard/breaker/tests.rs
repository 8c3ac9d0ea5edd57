//! What the breaker counts, and drills: a cluster whose signals stop, second by second.

use std::{cell::Cell, time::Duration};

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::{
    builders::evidence::{NOW, at, mk_job, mk_pod},
    evidence::{AgentObservation, Evidence, JobEvidence, JobStage, LastBeat, NodeState, PodEvidence},
    judge::{judge, preview},
    policy::{NotStarting, Policy},
};

fn uid(job: usize) -> JobUid {
    format!("job-{job}").into()
}

/// A Job of one pod on this node, in this zone.
fn status(node: usize, zone: Option<&str>, lost: bool) -> JobStatus {
    let zone: Option<Arc<str>> = zone.map(Into::into);
    let location = Location { node: Some(format!("n{node}").into()), zone: zone.clone() };
    JobStatus { open: true, zones: zone.into_iter().collect(), loss: lost.then(|| vec![location]) }
}

/// A breaker with `jobs` open Jobs, `lost` of them lost, each on its own node.
fn mk_breaker(jobs: usize, lost: usize) -> Breaker {
    let mut breaker = Breaker::default();
    for job in (0..jobs).rev() {
        breaker.update(&uid(job), status(job, None, job < lost), at(0));
    }
    breaker
}

fn holds(breaker: &mut Breaker, now: u64) -> bool {
    breaker.hold(&uid(0), |_| 0, at(now)).is_some()
}

#[rstest]
#[case::twenty_of_forty(40, 20, false)]
#[case::more_than_twenty(40, 21, true)]
#[case::ten_percent(210, 21, false)]
#[case::more_than_ten_percent(209, 21, true)]
#[case::all_of_few(5, 5, false)]
#[case::a_node_of_fifteen(100, 15, false)]
fn it_trips_on_more_than_twenty_jobs_and_a_tenth(#[case] jobs: usize, #[case] lost: usize, #[case] trips: bool) {
    assert_eq!(holds(&mut mk_breaker(jobs, lost), 1), trips);
}

#[test]
fn a_hold_names_the_scope_and_the_counts() {
    let hold = mk_breaker(40, 30).hold(&uid(39), |_| 0, at(1));
    assert_eq!(hold, Some(Hold::Breaker { scope: Scope::Cluster, lost: 30, of: 40 }));
}

#[rstest]
#[case::most_of_a_zone(20, 11, 3, 11, true)]
#[case::fifty_five_percent(20, 11, 3, 2, true)]
#[case::less(20, 10, 3, 10, false)]
#[case::too_few_jobs_to_tell(6, 5, 3, 5, false)]
#[case::just_enough_jobs(6, 6, 3, 6, true)]
#[case::one_node_that_failed_with_all(8, 8, 3, 1, false)]
#[case::a_zone_of_two_nodes(20, 20, 2, 2, false)]
fn it_trips_on_most_of_a_zone(
    #[case] jobs: usize,
    #[case] lost: usize,
    #[case] nodes: usize,
    #[case] nodes_lost: usize,
    #[case] trips: bool,
) {
    let mut breaker = Breaker::default();
    for job in 100..400 {
        breaker.update(&uid(job), status(job, Some("b"), job == 100), at(0));
    }
    for job in (0..jobs).rev() {
        breaker.update(&uid(job), status(job % nodes_lost, Some("a"), job < lost), at(0));
    }
    let nodes_in = |zone: &str| if zone == "a" { nodes } else { 50 };
    let expected = trips.then_some(Hold::Breaker { scope: Scope::Zone, lost, of: jobs });
    assert_eq!(breaker.hold(&uid(0), nodes_in, at(1)), expected);
    assert_eq!(breaker.hold(&uid(100), nodes_in, at(1)), None, "another zone is not affected");
}

#[test]
fn losses_that_come_one_after_the_other_add_up_within_lost_after() {
    let mut breaker = mk_breaker(40, 0);
    for job in 0..20 {
        let now = at(job as u64);
        breaker.update(&uid(job), status(job, None, true), now);
        assert!(breaker.hold(&uid(job), |_| 0, now).is_none());
        breaker.record_acted_on(&uid(job), now, now + Duration::from_mins(2));
        // The Job has failed.
        breaker.update(&uid(job), JobStatus::default(), now);
    }
    breaker.update(&uid(20), status(20, None, true), at(20));
    assert!(holds(&mut breaker, 119));
    assert!(holds(&mut breaker, 149));
    assert!(!holds(&mut breaker, 150), "the first loss stopped counting 30 s ago");
    assert_eq!(breaker.counts(), (1, 20));
}

#[test]
fn a_loss_that_is_only_reported_counts_once_however_long_it_lasts() {
    let mut breaker = mk_breaker(40, 30);
    for job in 0..30 {
        breaker.record_acted_on(&uid(job), at(1), at(121));
        breaker.record_acted_on(&uid(job), at(100), at(220));
    }
    assert_eq!(breaker.counts(), (30, 40));
    assert!(holds(&mut breaker, 120));
    assert!(holds(&mut breaker, 121));
    assert_eq!(breaker.counts(), (0, 40));
    assert!(!holds(&mut breaker, 151));
    breaker.update(&uid(0), status(0, None, true), at(300));
    assert_eq!(breaker.counts(), (0, 40));
    // The Job recovers and is lost again.
    breaker.update(&uid(0), status(0, None, false), at(310));
    breaker.update(&uid(0), status(0, None, true), at(320));
    assert_eq!(breaker.counts(), (1, 40));
}

#[test]
fn the_loss_of_the_next_attempt_counts_after_the_first_has_expired() {
    let mut breaker = mk_breaker(40, 1);
    breaker.record_acted_on(&uid(0), at(1), at(121));
    breaker.update(&uid(0), status(0, None, false), at(2));
    breaker.update(&uid(0), status(1, None, true), at(119));
    assert_eq!(breaker.counts(), (1, 40));
    breaker.update(&uid(1), status(1, None, false), at(150));
    assert_eq!(breaker.counts(), (1, 40));
    breaker.update(&uid(0), status(1, None, false), at(151));
    assert_eq!(breaker.counts(), (0, 40));
}

#[test]
fn a_reported_loss_that_is_evaluated_again_is_no_second_loss() {
    let mut breaker = mk_breaker(40, 1);
    breaker.record_acted_on(&uid(0), at(1), at(121));
    breaker.update(&uid(0), status(0, None, true), at(60));
    breaker.record_acted_on(&uid(0), at(60), at(180));
    breaker.update(&uid(1), status(1, None, false), at(121));
    assert_eq!(breaker.counts(), (0, 40));
}

#[test]
fn the_loss_of_the_next_attempt_has_its_own_expiry() {
    let mut breaker = mk_breaker(40, 1);
    breaker.record_acted_on(&uid(0), at(1), at(121));
    breaker.update(&uid(0), status(0, None, false), at(2));
    breaker.update(&uid(0), status(1, None, true), at(60));
    breaker.record_acted_on(&uid(0), at(60), at(180));
    breaker.update(&uid(1), status(1, None, false), at(121));
    assert_eq!(breaker.counts(), (1, 40), "the expiry of the first loss does not end the second");
    breaker.update(&uid(1), status(1, None, false), at(180));
    assert_eq!(breaker.counts(), (0, 40));
}

#[test]
fn a_new_leader_starts_with_empty_counts() {
    let mut breaker = mk_breaker(40, 30);
    assert!(holds(&mut breaker, 1));
    breaker.clear();
    assert_eq!(breaker.counts(), (0, 0));
    assert!(!holds(&mut breaker, 1));
}

#[test]
fn finished_jobs_leave_nothing_behind() {
    let mut breaker = Breaker::default();
    for job in 0..50 {
        breaker.update(&uid(job), status(job, Some("a"), job < 30), at(0));
        breaker.record_acted_on(&uid(job), at(0), at(120));
    }
    for job in 0..50 {
        breaker.update(&uid(job), JobStatus::default(), at(1));
    }
    breaker.update(&uid(0), JobStatus::default(), at(120));
    assert!(breaker.jobs.is_empty() && breaker.zones.is_empty() && breaker.expiries.is_empty());
    assert_eq!(breaker.counts(), (0, 0));
}

#[test]
fn it_releases_when_no_job_has_recovered_for_a_while() {
    let mut breaker = mk_breaker(40, 30);
    for (job, now) in (0..25).zip((100..).step_by(4)) {
        breaker.update(&uid(job), status(job, None, false), at(now));
    }
    // The count fell to 20 at 136; the last Job recovered at 196.
    assert!(holds(&mut breaker, 225));
    assert!(!holds(&mut breaker, 226));
}

#[test]
fn it_releases_at_last_although_jobs_keep_recovering() {
    let mut breaker = mk_breaker(40, 30);
    for job in 0..10 {
        breaker.update(&uid(job), status(job, None, false), at(100));
    }
    for now in (100..219).step_by(10) {
        breaker.update(&uid(39), status(39, None, true), at(now));
        breaker.update(&uid(39), status(39, None, false), at(now + 5));
        assert!(holds(&mut breaker, now + 5));
    }
    // One more loss for a moment restarts the two minutes.
    assert!(!holds(&mut breaker, 215 + 120));
}

#[test]
fn it_releases_after_exactly_two_minutes() {
    let mut breaker = mk_breaker(40, 30);
    for job in 0..10 {
        breaker.update(&uid(job), status(job, None, false), at(100));
    }
    // One Job recovers and is lost in turn, but there are never too many losses again.
    for (now, lost) in [(125, false), (126, true), (150, false), (151, true), (175, false), (176, true), (200, false)] {
        breaker.update(&uid(10), status(10, None, lost), at(now));
    }
    assert!(holds(&mut breaker, 219));
    assert!(!holds(&mut breaker, 220));
}

#[rstest]
#[case::it_is_only_reported(Some(0), NotStarting::Report, None)]
#[case::it_is_failed(Some(0), NotStarting::Fail, Some(vec![]))]
#[case::it_has_just_started_to_wait(Some(NOW - 1), NotStarting::Fail, None)]
#[case::it_has_a_pod(None, NotStarting::Fail, None)]
fn a_job_without_a_pod_counts_where_the_policy_fails_it(
    #[case] podless_since: Option<u64>,
    #[case] not_starting: NotStarting,
    #[case] loss: Option<Vec<Location>>,
) {
    let job = JobEvidence { podless_since: podless_since.map(at), ..mk_job(JobStage::Open) };
    let pods = if podless_since.is_none() { vec![mk_pod("w")] } else { Vec::new() };
    let evidence = Evidence { job, pods, listening_since: at(0) };
    let policy = Policy { not_starting, ..Policy::default() };
    let status = JobStatus::of(&evidence, &preview(&evidence, &policy, at(NOW)), &policy, |_| false);
    assert_eq!(status, JobStatus { open: true, zones: Vec::new(), loss });
}

proptest! {
    /// In whatever order Jobs change and losses are acted on, the counts match the entries.
    #[test]
    fn the_counts_match_the_entries(steps in prop::collection::vec((0_usize..6, 0_u8..5, 0_usize..3, 0_u64..50), 0..200)) {
        let mut breaker = Breaker::default();
        let mut now = 0;
        for (job, what, node, pause) in steps {
            now += pause;
            let zone = ["a", "b", "c"][node];
            match what {
                0 => breaker.update(&uid(job), JobStatus::default(), at(now)),
                1 => breaker.update(&uid(job), status(node, Some(zone), false), at(now)),
                2 | 3 => breaker.update(&uid(job), status(node, Some(zone), true), at(now)),
                _ => breaker.record_acted_on(&uid(job), at(now), at(now + 120)),
            }
            let counted = breaker.jobs.values().filter(|entry| entry.counted_loss().is_some()).count();
            prop_assert_eq!(breaker.counts(), (counted, breaker.jobs.len()));
            for (zone, count) in &breaker.zones {
                let here = |entry: &&Entry| entry.counted_loss().unwrap_or_default().iter().any(|p| p.zone.as_ref() == Some(zone));
                prop_assert_eq!(count.lost, breaker.jobs.values().map(AsRef::as_ref).filter(here).count());
                prop_assert!(count.jobs >= count.lost && count.jobs > 0);
                prop_assert_eq!(count.nodes.is_empty(), count.lost == 0);
            }
        }
    }
}

// Drills.

/// A cluster where every pod beats, every agent reports and every kubelet renews its Lease every ten seconds, each with its own
/// phase, except while a Job is silent.
struct Drill {
    policy: Policy,
    nodes: usize,
    silent_from: Vec<Option<u64>>,
    recovered_from: Vec<Option<u64>>,
    breaker: Breaker,
    failed: Vec<Option<u64>>,
    held: Cell<usize>,
}

impl Drill {
    fn new(jobs: usize, nodes: usize, lost_after: u64) -> Self {
        let lost_after = Duration::from_secs(lost_after);
        let policy = Policy { lost_after, suspect_after: lost_after.min(Duration::from_secs(30)), ..Policy::default() };
        Self {
            policy,
            nodes,
            silent_from: vec![None; jobs],
            recovered_from: vec![None; jobs],
            breaker: Breaker::default(),
            failed: vec![None; jobs],
            held: Cell::new(0),
        }
    }

    /// When the last signal with this phase was received before `now`.
    fn last_signal(&self, job: usize, phase: usize, now: u64) -> Moment {
        let phase = u64::try_from(phase % 10).unwrap_or(0);
        let last = |until: u64| until.saturating_sub((until + phase) % 10);
        at(match (self.silent_from[job], self.recovered_from[job]) {
            (Some(_), Some(recovered)) if now >= recovered => last(now).max(recovered),
            (Some(silent), _) if now >= silent => last(silent),
            _ => last(now),
        })
    }

    fn evidence(&self, job: usize, now: u64) -> Evidence {
        let node = job % self.nodes;
        let mut pod =
            PodEvidence { beat: LastBeat::Running { last: self.last_signal(job, job * 7, now) }, ..mk_pod("w") };
        pod.agent = AgentObservation::Alive { last: self.last_signal(job, node * 3 + 1, now) };
        if let Some(of) = &mut pod.node {
            (of.name, of.state) = (format!("n{node}").into(), NodeState::NotReady);
            of.lease_changed = self.last_signal(job, node * 7 + 5, now);
        }
        Evidence { job: mk_job(JobStage::Open), pods: vec![pod], listening_since: at(0) }
    }

    /// One second: all Jobs are previewed, then those that are lost and not held are failed.
    fn second(&mut self, now: u64) {
        let open: Vec<_> = (0..self.failed.len()).filter(|&job| self.failed[job].is_none()).collect();
        for &job in &open {
            let evidence = self.evidence(job, now);
            let predicted = preview(&evidence, &self.policy, at(now));
            self.breaker.update(&uid(job), JobStatus::of(&evidence, &predicted, &self.policy, |_| false), at(now));
        }
        self.held.set(0);
        for &job in &open {
            if judge(&self.evidence(job, now), &self.policy, at(now)).pods[0].verdict.lost().is_none() {
                continue;
            }
            if self.breaker.hold(&uid(job), |_| 0, at(now)).is_some() {
                self.held.set(self.held.get() + 1);
                continue;
            }
            self.breaker.record_acted_on(&uid(job), at(now), at(now) + self.policy.lost_after);
            self.failed[job] = Some(now);
            self.breaker.update(&uid(job), JobStatus::default(), at(now));
        }
    }

    fn failures(&self) -> usize {
        self.failed.iter().flatten().count()
    }
}

#[rstest]
fn thirty_of_forty_go_silent_and_twenty_nine_recover(
    #[values(20, 30, 60, 120)] lost_after: u64,
    #[values(4, 40)] nodes: usize,
    #[values(200, 203, 207)] silent: u64,
) {
    let mut drill = Drill::new(40, nodes, lost_after);
    for job in 0..30 {
        drill.silent_from[job] = Some(silent);
    }
    let back = silent + lost_after + 100;
    for second in 100..back {
        drill.second(second);
        assert_eq!(drill.failures(), 0, "at {second}");
    }
    assert_eq!(drill.held.get(), 30, "all of them are lost by now, and held");
    for job in 1..30 {
        drill.recovered_from[job] = Some(back);
    }
    for second in back..back + 45 {
        drill.second(second);
    }
    assert_eq!(drill.failures(), 1);
    assert!(drill.failed[0].is_some());
}

#[rstest]
#[case::a_node_of_fifteen_jobs(100, 15)]
#[case::a_small_cluster(5, 5)]
fn a_dead_node_is_not_held(#[case] jobs: usize, #[case] lost: usize, #[values(30, 120)] lost_after: u64) {
    let mut drill = Drill::new(jobs, 1, lost_after);
    for job in 0..lost {
        drill.silent_from[job] = Some(200);
    }
    for second in 100..200 + lost_after + 15 {
        drill.second(second);
        assert_eq!(drill.held.get(), 0);
    }
    for failed in &drill.failed[..lost] {
        let after = failed.expect("it is failed") - 200;
        assert!(after <= lost_after + 1, "{after}");
    }
    assert_eq!(drill.failures(), lost);
}
