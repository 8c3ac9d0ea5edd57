//! What the breaker counts, and drills: a cluster that falls silent, second by second.

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
fn standing(node: usize, zone: Option<&str>, lost: bool) -> Standing {
    let zone: Option<Arc<str>> = zone.map(Into::into);
    let place = Place { node: Some(format!("n{node}").into()), zone: zone.clone() };
    Standing { open: true, zones: zone.into_iter().collect(), loss: lost.then(|| vec![place]) }
}

/// So many Jobs of which so many are lost, each on a node of its own.
fn mk_breaker(jobs: usize, lost: usize) -> Breaker {
    let mut breaker = Breaker::default();
    for job in (0..jobs).rev() {
        breaker.note(&uid(job), standing(job, None, job < lost), at(0));
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
fn it_says_where_and_how_many() {
    let hold = mk_breaker(40, 30).hold(&uid(39), |_| 0, at(1));
    assert_eq!(hold, Some(Hold::Breaker { scope: Scope::Cluster, lost: 30, of: 40 }));
}

#[rstest]
#[case::most_of_a_zone(20, 11, 3, 11, true)]
#[case::fifty_five_percent(20, 11, 3, 2, true)]
#[case::less(20, 10, 3, 10, false)]
#[case::too_few_jobs_to_tell(6, 5, 3, 5, false)]
#[case::just_enough_jobs(6, 6, 3, 6, true)]
#[case::one_node_that_died_with_all(8, 8, 3, 1, false)]
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
        breaker.note(&uid(job), standing(job, Some("b"), job == 100), at(0));
    }
    for job in (0..jobs).rev() {
        breaker.note(&uid(job), standing(job % nodes_lost, Some("a"), job < lost), at(0));
    }
    let nodes_in = |zone: &str| if zone == "a" { nodes } else { 50 };
    let expected = trips.then_some(Hold::Breaker { scope: Scope::Zone, lost, of: jobs });
    assert_eq!(breaker.hold(&uid(0), nodes_in, at(1)), expected);
    assert_eq!(breaker.hold(&uid(100), nodes_in, at(1)), None, "another zone is none of its business");
}

#[test]
fn losses_that_come_one_after_the_other_add_up_within_lost_after() {
    let mut breaker = mk_breaker(40, 0);
    for job in 0..20 {
        let now = at(job as u64);
        breaker.note(&uid(job), standing(job, None, true), now);
        assert!(breaker.hold(&uid(job), |_| 0, now).is_none());
        breaker.let_through(&uid(job), now, now + Duration::from_mins(2));
        // Its Job has failed.
        breaker.note(&uid(job), Standing::default(), now);
    }
    breaker.note(&uid(20), standing(20, None, true), at(20));
    assert!(holds(&mut breaker, 119));
    assert!(holds(&mut breaker, 149));
    assert!(!holds(&mut breaker, 150), "the first of them is no longer one of many at one time, since 30 s");
    assert_eq!(breaker.counted(), (1, 20));
}

#[test]
fn what_is_told_only_counts_once_however_long_it_lasts() {
    let mut breaker = mk_breaker(40, 30);
    for job in 0..30 {
        breaker.let_through(&uid(job), at(1), at(121));
        breaker.let_through(&uid(job), at(100), at(220));
    }
    assert_eq!(breaker.counted(), (30, 40));
    assert!(holds(&mut breaker, 120));
    assert!(holds(&mut breaker, 121));
    assert_eq!(breaker.counted(), (0, 40));
    assert!(!holds(&mut breaker, 151));
    breaker.note(&uid(0), standing(0, None, true), at(300));
    assert_eq!(breaker.counted(), (0, 40));
    // It was over, and comes again.
    breaker.note(&uid(0), standing(0, None, false), at(310));
    breaker.note(&uid(0), standing(0, None, true), at(320));
    assert_eq!(breaker.counted(), (1, 40));
}

#[test]
fn the_next_attempts_loss_counts_when_the_first_one_does_no_more() {
    let mut breaker = mk_breaker(40, 1);
    breaker.let_through(&uid(0), at(1), at(121));
    breaker.note(&uid(0), standing(0, None, false), at(2));
    breaker.note(&uid(0), standing(1, None, true), at(119));
    assert_eq!(breaker.counted(), (1, 40));
    breaker.note(&uid(1), standing(1, None, false), at(150));
    assert_eq!(breaker.counted(), (1, 40));
    breaker.note(&uid(0), standing(1, None, false), at(151));
    assert_eq!(breaker.counted(), (0, 40));
}

#[test]
fn what_is_told_only_and_looked_at_again_is_no_other_loss() {
    let mut breaker = mk_breaker(40, 1);
    breaker.let_through(&uid(0), at(1), at(121));
    breaker.note(&uid(0), standing(0, None, true), at(60));
    breaker.let_through(&uid(0), at(60), at(180));
    breaker.note(&uid(1), standing(1, None, false), at(121));
    assert_eq!(breaker.counted(), (0, 40));
}

#[test]
fn the_next_attempts_loss_counts_for_a_time_of_its_own() {
    let mut breaker = mk_breaker(40, 1);
    breaker.let_through(&uid(0), at(1), at(121));
    breaker.note(&uid(0), standing(0, None, false), at(2));
    breaker.note(&uid(0), standing(1, None, true), at(60));
    breaker.let_through(&uid(0), at(60), at(180));
    breaker.note(&uid(1), standing(1, None, false), at(121));
    assert_eq!(breaker.counted(), (1, 40), "that the first one counts no more says nothing of the second");
    breaker.note(&uid(1), standing(1, None, false), at(180));
    assert_eq!(breaker.counted(), (0, 40));
}

#[test]
fn who_leads_anew_counts_anew() {
    let mut breaker = mk_breaker(40, 30);
    assert!(holds(&mut breaker, 1));
    breaker.clear();
    assert_eq!(breaker.counted(), (0, 0));
    assert!(!holds(&mut breaker, 1));
}

#[test]
fn what_is_over_leaves_nothing_behind() {
    let mut breaker = Breaker::default();
    for job in 0..50 {
        breaker.note(&uid(job), standing(job, Some("a"), job < 30), at(0));
        breaker.let_through(&uid(job), at(0), at(120));
    }
    for job in 0..50 {
        breaker.note(&uid(job), Standing::default(), at(1));
    }
    breaker.note(&uid(0), Standing::default(), at(120));
    assert!(breaker.jobs.is_empty() && breaker.zones.is_empty() && breaker.expiries.is_empty());
    assert_eq!(breaker.counted(), (0, 0));
}

#[test]
fn it_lets_go_when_nobody_has_come_back_for_a_while() {
    let mut breaker = mk_breaker(40, 30);
    for (job, now) in (0..25).zip((100..).step_by(4)) {
        breaker.note(&uid(job), standing(job, None, false), at(now));
    }
    // The count fell to 20 at 136; the last one came back at 196.
    assert!(holds(&mut breaker, 225));
    assert!(!holds(&mut breaker, 226));
}

#[test]
fn it_lets_go_at_last_though_some_come_back_for_ever() {
    let mut breaker = mk_breaker(40, 30);
    for job in 0..10 {
        breaker.note(&uid(job), standing(job, None, false), at(100));
    }
    for now in (100..219).step_by(10) {
        breaker.note(&uid(39), standing(39, None, true), at(now));
        breaker.note(&uid(39), standing(39, None, false), at(now + 5));
        assert!(holds(&mut breaker, now + 5));
    }
    // That it was one too many again, for a moment, is no end of the outage.
    assert!(!holds(&mut breaker, 215 + 120));
}

#[test]
fn two_minutes_are_not_a_moment_more() {
    let mut breaker = mk_breaker(40, 30);
    for job in 0..10 {
        breaker.note(&uid(job), standing(job, None, false), at(100));
    }
    // One comes and goes, though there are never too many of them again.
    for (now, lost) in [(125, false), (126, true), (150, false), (151, true), (175, false), (176, true), (200, false)] {
        breaker.note(&uid(10), standing(10, None, lost), at(now));
    }
    assert!(holds(&mut breaker, 219));
    assert!(!holds(&mut breaker, 220));
}

#[rstest]
#[case::nothing_is_done_about_it(Some(0), NotStarting::Report, None)]
#[case::it_is_failed(Some(0), NotStarting::Fail, Some(vec![]))]
#[case::it_has_just_begun_to_wait(Some(NOW - 1), NotStarting::Fail, None)]
#[case::it_has_a_pod(None, NotStarting::Fail, None)]
fn a_job_that_gets_no_pod_counts_where_it_is_failed_for_that(
    #[case] podless_since: Option<u64>,
    #[case] not_starting: NotStarting,
    #[case] loss: Option<Vec<Place>>,
) {
    let job = JobEvidence { podless_since: podless_since.map(at), ..mk_job(JobStage::Open) };
    let pods = if podless_since.is_none() { vec![mk_pod("w")] } else { Vec::new() };
    let evidence = Evidence { job, pods, listening_since: at(0) };
    let policy = Policy { not_starting, ..Policy::default() };
    let standing = Standing::of(&evidence, &preview(&evidence, &policy, at(NOW)), &policy, |_| false);
    assert_eq!(standing, Standing { open: true, zones: Vec::new(), loss });
}

proptest! {
    /// However notes and passes follow each other, the counts are those of what is there.
    #[test]
    fn the_counts_are_what_is_there(steps in prop::collection::vec((0_usize..6, 0_u8..5, 0_usize..3, 0_u64..50), 0..200)) {
        let mut breaker = Breaker::default();
        let mut now = 0;
        for (job, what, node, pause) in steps {
            now += pause;
            let zone = ["a", "b", "c"][node];
            match what {
                0 => breaker.note(&uid(job), Standing::default(), at(now)),
                1 => breaker.note(&uid(job), standing(node, Some(zone), false), at(now)),
                2 | 3 => breaker.note(&uid(job), standing(node, Some(zone), true), at(now)),
                _ => breaker.let_through(&uid(job), at(now), at(now + 120)),
            }
            let counted = breaker.jobs.values().filter(|entry| entry.counted().is_some()).count();
            prop_assert_eq!(breaker.counted(), (counted, breaker.jobs.len()));
            for (zone, count) in &breaker.zones {
                let here = |entry: &&Entry| entry.counted().unwrap_or_default().iter().any(|p| p.zone.as_ref() == Some(zone));
                prop_assert_eq!(count.lost, breaker.jobs.values().map(AsRef::as_ref).filter(here).count());
                prop_assert!(count.jobs >= count.lost && count.jobs > 0);
                prop_assert_eq!(count.nodes.is_empty(), count.lost == 0);
            }
        }
    }
}

// Drills.

/// A cluster whose nodes beat, report and renew every ten seconds, each in its own rhythm, until told otherwise.
struct Drill {
    policy: Policy,
    nodes: usize,
    silent_from: Vec<Option<u64>>,
    back_from: Vec<Option<u64>>,
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
            back_from: vec![None; jobs],
            breaker: Breaker::default(),
            failed: vec![None; jobs],
            held: Cell::new(0),
        }
    }

    /// The last time before `now` that something with this rhythm was heard.
    fn heard(&self, job: usize, phase: usize, now: u64) -> Moment {
        let phase = u64::try_from(phase % 10).unwrap_or(0);
        let last = |until: u64| until.saturating_sub((until + phase) % 10);
        at(match (self.silent_from[job], self.back_from[job]) {
            (Some(_), Some(back)) if now >= back => last(now).max(back),
            (Some(silent), _) if now >= silent => last(silent),
            _ => last(now),
        })
    }

    fn evidence(&self, job: usize, now: u64) -> Evidence {
        let node = job % self.nodes;
        let mut pod = PodEvidence { beat: LastBeat::Running { last: self.heard(job, job * 7, now) }, ..mk_pod("w") };
        pod.agent = AgentObservation::Alive { last: self.heard(job, node * 3 + 1, now) };
        if let Some(of) = &mut pod.node {
            (of.name, of.state) = (format!("n{node}").into(), NodeState::NotReady);
            of.lease_changed = self.heard(job, node * 7 + 5, now);
        }
        Evidence { job: mk_job(JobStage::Open), pods: vec![pod], listening_since: at(0) }
    }

    /// One second: all Jobs are noted, then those that are lost and not held are failed.
    fn second(&mut self, now: u64) {
        let open: Vec<_> = (0..self.failed.len()).filter(|&job| self.failed[job].is_none()).collect();
        for &job in &open {
            let evidence = self.evidence(job, now);
            let seen = preview(&evidence, &self.policy, at(now));
            self.breaker.note(&uid(job), Standing::of(&evidence, &seen, &self.policy, |_| false), at(now));
        }
        self.held.set(0);
        for &job in &open {
            if judge(&self.evidence(job, now), &self.policy, at(now)).pods[0].1.lost().is_none() {
                continue;
            }
            if self.breaker.hold(&uid(job), |_| 0, at(now)).is_some() {
                self.held.set(self.held.get() + 1);
                continue;
            }
            self.breaker.let_through(&uid(job), at(now), at(now) + self.policy.lost_after);
            self.failed[job] = Some(now);
            self.breaker.note(&uid(job), Standing::default(), at(now));
        }
    }

    fn failures(&self) -> usize {
        self.failed.iter().flatten().count()
    }
}

#[rstest]
fn thirty_of_forty_fall_silent_and_twenty_nine_come_back(
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
        drill.back_from[job] = Some(back);
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
