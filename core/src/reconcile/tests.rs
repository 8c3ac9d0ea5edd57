//! The reconciler: what holds a loss, what is remembered, and when a Job is evaluated again.

use jobwarden_common::{identity::NodeName, notification::OutcomeKind};
use rstest::rstest;

use super::*;
use crate::{
    builders::evidence::{NOW, at, identity, judged, mk_job, mk_pod, mk_snapshot, on_gone_node, unreachable},
    evidence::{AgentObservation, Finish, JobEvidence, JobStage, LastBeat, NodeState, PodEvidence, Retries},
    guard::{Counted, Scope},
    verdict::PodVerdict,
};

fn uid(job: usize) -> JobUid {
    format!("job-{job}").into()
}

fn job_uid() -> JobUid {
    identity().uid
}

/// An open Job with this pod, whose loss is acted on by a retry.
fn snapshot_of(pod: PodEvidence) -> JobSnapshot {
    mk_snapshot(JobEvidence { retries: Retries::Left, ..mk_job(JobStage::Open) }, vec![pod])
}

/// An open Job whose pod was lost long ago, alone on its node.
fn lost_job(job: usize) -> JobSnapshot {
    let mut snapshot = snapshot_of(unreachable("w", 100));
    snapshot.evidence.job.identity.uid = uid(job);
    snapshot
}

fn finished() -> JobStage {
    JobStage::Finished { since: at(NOW), finish: Finish::Complete }
}

fn evaluate_at(reconciler: &mut Reconciler, snapshot: &mut JobSnapshot, health: SignalHealth, now: u64) -> Evaluation {
    reconciler.evaluate(snapshot, health, at(now))
}

fn evaluate(reconciler: &mut Reconciler, snapshot: &mut JobSnapshot) -> Evaluation {
    evaluate_at(reconciler, snapshot, SignalHealth::Receiving, NOW)
}

fn preview_of(reconciler: &mut Reconciler, snapshot: &JobSnapshot, now: u64) {
    let known = Some((&snapshot.evidence, &snapshot.policy));
    reconciler.preview(&snapshot.evidence.job.identity.uid, known, &snapshot.outcomes, at(now));
}

/// A reconciler that has taken the Job for evaluation at `start`.
fn working(mode: Mode, start: Instant) -> Reconciler {
    let mut reconciler = Reconciler::new(mode);
    reconciler.enqueue(job_uid(), start);
    assert_eq!(reconciler.promote_due(start), [job_uid()]);
    assert_eq!(reconciler.due(9), [job_uid()]);
    reconciler
}

fn deletes_pod(evaluation: &Evaluation) -> bool {
    evaluation.steps.iter().any(|step| matches!(step, Step::DeletePod { .. }))
}

#[rstest]
#[case::self_beat(SignalHealth::NotReceiving, "self-beat")]
#[case::watch_down(SignalHealth::WatchDown, "watch-down")]
fn a_guard_that_holds_a_loss_is_counted_and_released(#[case] health: SignalHealth, #[case] guard: &'static str) {
    let mut reconciler = Reconciler::new(Mode::Enforce);
    let mut snapshot = snapshot_of(unreachable("w", 100));
    for is_first in [true, false] {
        let held = evaluate_at(&mut reconciler, &mut snapshot, health, NOW);
        assert_eq!((held.held.map(Hold::as_str), held.held_changed), (Some(guard), is_first));
        assert!(!deletes_pod(&held));
        assert_eq!(reconciler.held(&job_uid()), Some(guard));
        assert_eq!(reconciler.held_jobs().collect::<Vec<_>>(), [(&job_uid(), guard)]);
        assert_eq!(*reconciler.held_by_guard(), [(guard, 1)].into());
    }
    let released = evaluate(&mut reconciler, &mut snapshot);
    assert_eq!((released.held, released.held_changed), (None, true));
    assert!(deletes_pod(&released));
    assert_eq!((reconciler.held(&job_uid()), reconciler.held_jobs().count()), (None, 0));
    assert_eq!(*reconciler.held_by_guard(), [(guard, 0)].into());
}

#[test]
fn a_guard_that_replaces_another_is_counted_instead() {
    let mut reconciler = Reconciler::new(Mode::Enforce);
    let mut snapshot = snapshot_of(unreachable("w", 100));
    evaluate_at(&mut reconciler, &mut snapshot, SignalHealth::NotReceiving, NOW);
    let held = evaluate_at(&mut reconciler, &mut snapshot, SignalHealth::WatchDown, NOW);
    assert!(held.held_changed);
    assert_eq!(*reconciler.held_by_guard(), [("self-beat", 0), ("watch-down", 1)].into());
}

#[test]
fn a_guard_without_a_loss_holds_nothing() {
    let mut reconciler = Reconciler::new(Mode::Enforce);
    let healthy = evaluate_at(&mut reconciler, &mut snapshot_of(mk_pod("w")), SignalHealth::NotReceiving, NOW);
    assert_eq!((healthy.holds.of_silence(), healthy.held, healthy.held_changed), (Some(Hold::SelfBeat), None, false));
    assert!(reconciler.held_by_guard().is_empty());
}

#[test]
fn observe_only_plans_no_write_to_a_job_or_pod() {
    let gone = || on_gone_node("w");
    let podless = JobEvidence { podless_since: Some(at(1)), ..mk_job(JobStage::Open) };
    let mut cases = [
        snapshot_of(unreachable("w", 100)),
        mk_snapshot(mk_job(JobStage::Open), vec![gone()]),
        mk_snapshot(mk_job(finished()), vec![]),
        mk_snapshot(mk_job(JobStage::Deleting { orphaning: false }), vec![mk_pod("w")]),
        mk_snapshot(podless, vec![]),
    ];
    for snapshot in &mut cases {
        (snapshot.policy.on_lost, snapshot.policy.not_starting) = (OnLost::Fail, NotStarting::Fail);
        let enforced = evaluate(&mut Reconciler::new(Mode::Enforce), &mut snapshot.clone());
        assert!(enforced.steps.iter().any(Step::writes_workload), "the case shows something");
        let observed = evaluate(&mut Reconciler::new(Mode::ObserveOnly), snapshot);
        assert!(!observed.steps.is_empty() && !observed.steps.iter().any(Step::writes_workload), "{observed:?}");
        assert_eq!((snapshot.policy.on_lost, snapshot.policy.not_starting), (OnLost::Report, NotStarting::Report));
    }
}

#[test]
fn a_job_that_is_gone_is_forgotten_once_its_outcome_is_recorded() {
    let mut reconciler = Reconciler::new(Mode::Enforce);
    let mut snapshot = mk_snapshot(mk_job(finished()), vec![]);
    assert!(!evaluate(&mut reconciler, &mut snapshot).steps.contains(&Step::Forget));
    snapshot.gone = true;
    assert_eq!(evaluate(&mut reconciler, &mut snapshot).steps.last(), Some(&Step::Forget));
    let mut open = snapshot_of(mk_pod("w"));
    open.gone = true;
    assert!(evaluate(&mut reconciler, &mut open).steps.is_empty());
}

/// Everything that the reconciler keeps about Jobs.
fn assert_empty(reconciler: &Reconciler) {
    assert!(reconciler.memory.is_empty() && !reconciler.breaker.counts(&job_uid()));
    assert_eq!((reconciler.conclusions().count(), reconciler.held_jobs().count()), (0, 0));
    assert_eq!((reconciler.verdict_since(&job_uid()), reconciler.next_due()), (None, None));
    assert!(reconciler.jobs_by_verdict().values().chain(reconciler.held_by_guard().values()).all(|jobs| *jobs == 0));
}

#[rstest]
#[case::after_its_last_step(|reconciler: &mut Reconciler, at| {
    let report = StepReport { forget: true, ..StepReport::default() };
    reconciler.done(&job_uid(), report, Some(Duration::from_secs(5)), at, 0.0);
})]
#[case::when_it_has_vanished(|reconciler: &mut Reconciler, at| reconciler.vanished(&job_uid(), at))]
#[case::when_another_reaper_leads(|reconciler: &mut Reconciler, _| reconciler.clear())]
fn a_forgotten_job_leaves_nothing_behind(#[case] forget: fn(&mut Reconciler, Instant)) {
    let start = Instant::now();
    let mut reconciler = working(Mode::Enforce, start);
    let mut snapshot = snapshot_of(unreachable("w", 100));
    preview_of(&mut reconciler, &snapshot, NOW);
    let held = evaluate_at(&mut reconciler, &mut snapshot, SignalHealth::NotReceiving, NOW);
    assert_eq!(reconciler.verdict_since(&job_uid()), Some(at(NOW)));
    assert_eq!((reconciler.conclusions().count(), held.held), (1, Some(Hold::SelfBeat)));
    assert!(reconciler.breaker.counts(&job_uid()));
    forget(&mut reconciler, start);
    assert_empty(&reconciler);
    assert_eq!(*reconciler.jobs_by_verdict().get("lost").unwrap_or(&0), 0);
    assert_eq!(reconciler.decisions_by_row()[&Row::P8], 1, "counters of a process only grow");
}

/// Surveys four nodes, all but the last of which have been silent since `since`.
fn survey(reconciler: &mut Reconciler, since: u64, now: u64, start: Instant) {
    let names: Vec<NodeName> = (1..5).map(|node| format!("n{node}").into()).collect();
    let nodes = names.iter().map(|name| WorkerNode {
        name,
        zone: None,
        carries_workers: true,
        is_gone: false,
        heard: at(if *name == names[3] { now } else { since }),
        listening_since: at(0),
    });
    reconciler.survey(nodes, at(now), start);
}

#[test]
fn clearing_empties_the_queue_and_the_breaker() {
    let start = Instant::now();
    let mut reconciler = Reconciler::new(Mode::Enforce);
    reconciler.enqueue(job_uid(), start);
    survey(&mut reconciler, NOW - 100, NOW, start);
    assert!(reconciler.breaker_is_tripped() && !reconciler.needs_survey(at(NOW)));
    reconciler.clear();
    assert!(!reconciler.breaker_is_tripped() && reconciler.needs_survey(at(NOW)));
    assert!(reconciler.promote_due(start).is_empty());
}

#[test]
fn however_many_jobs_are_lost_with_one_node_all_are_acted_upon() {
    let mut reconciler = Reconciler::new(Mode::Enforce);
    let mut snapshots: Vec<_> = (0..60).map(lost_job).collect();
    for snapshot in &snapshots {
        preview_of(&mut reconciler, snapshot, NOW);
    }
    assert!(snapshots.iter_mut().all(|snapshot| deletes_pod(&evaluate(&mut reconciler, snapshot))));
}

#[test]
fn jobs_that_the_breaker_holds_are_evaluated_again_when_it_releases_anything() {
    let start = Instant::now();
    for by_an_operator in [true, false] {
        let mut reconciler = Reconciler::new(Mode::Enforce);
        reconciler.set_hold_for(Duration::from_secs(50));
        survey(&mut reconciler, NOW - 100, NOW, start);
        let mut snapshot = lost_job(0);
        reconciler.enqueue(uid(0), start);
        assert_eq!((reconciler.promote_due(start).len(), reconciler.due(9).len()), (1, 1));
        let held = evaluate(&mut reconciler, &mut snapshot);
        let hold = Hold::Breaker { counted: Counted::SilentNodes, scope: Scope::Cluster, affected: 3, of: 4 };
        assert_eq!((held.held, deletes_pod(&held)), (Some(hold), false));
        assert_eq!(held.requeue, Some(HELD_BY_BREAKER_REQUEUE));
        reconciler.done(&uid(0), StepReport::default(), held.requeue, start, 0.5);
        survey(&mut reconciler, NOW - 100, NOW + 49, start);
        assert!(reconciler.promote_due(start).is_empty());
        if by_an_operator {
            assert_eq!(reconciler.release_breaker(at(NOW + 50), start), 3);
        } else {
            survey(&mut reconciler, NOW - 100, NOW + 50, start);
        }
        assert_eq!(reconciler.promote_due(start), [uid(0)]);
        assert!(deletes_pod(&evaluate(&mut reconciler, &mut snapshot)));
    }
}

/// A pod whose processes are gone, while its kubelet says that it runs.
fn process_gone(node: &str) -> PodEvidence {
    let mut pod = PodEvidence {
        beat: LastBeat::Ending { last: at(NOW - 200) },
        agent: AgentObservation::Gone { since: at(NOW - 200), reports: 2 },
        ..mk_pod("w")
    };
    if let Some(evidence) = &mut pod.node {
        evidence.name = node.into();
    }
    pod
}

#[test]
fn the_preview_of_all_due_jobs_trips_the_breaker_before_any_loss_is_planned() {
    let start = Instant::now();
    for recorded in [false, true] {
        let mut reconciler = Reconciler::new(Mode::Enforce);
        survey(&mut reconciler, NOW, NOW, start);
        let mut snapshots: Vec<_> = (1..4)
            .map(|node| {
                let mut snapshot = snapshot_of(process_gone(&format!("n{node}")));
                snapshot.evidence.job.identity.uid = uid(node);
                if recorded {
                    snapshot.outcomes.insert(OutcomeName::attempt_failed(&"w-uid".into(), Episode::default()), false);
                }
                preview_of(&mut reconciler, &snapshot, NOW);
                snapshot
            })
            .collect();
        for snapshot in &mut snapshots {
            let evaluation = evaluate(&mut reconciler, snapshot);
            let hold = Hold::Breaker { counted: Counted::ProcessGoneNodes, scope: Scope::Cluster, affected: 3, of: 4 };
            assert_eq!(evaluation.held, (!recorded).then_some(hold), "a loss that is recorded is not counted");
            assert_eq!(deletes_pod(&evaluation), recorded);
        }
    }
}

/// A pod whose last beat is late in 20 s and expires in 110 s, and that no agent sees.
fn beating() -> PodEvidence {
    let mut pod =
        PodEvidence { beat: LastBeat::Running { last: at(NOW - 10) }, agent: AgentObservation::None, ..mk_pod("w") };
    if let Some(node) = &mut pod.node {
        (node.state, node.lease_changed) = (NodeState::NotReady, at(NOW - 10));
    }
    pod
}

#[test]
fn a_job_is_requeued_at_the_earliest_of_judgement_and_preview() {
    let start = Instant::now();
    let mut reconciler = working(Mode::Enforce, start);
    let mut snapshot = snapshot_of(beating());
    snapshot.policy.lost_after = Duration::from_secs(40);
    assert_eq!(judged(&snapshot).recheck_at, Some(at(NOW + 20)));
    let without_preview = evaluate(&mut reconciler, &mut snapshot).requeue;
    assert_eq!(without_preview, Some(Duration::from_secs(20)));
    preview_of(&mut reconciler, &snapshot, NOW);
    let with_preview = evaluate(&mut reconciler, &mut snapshot).requeue;
    assert_eq!(with_preview, Some(Duration::from_secs(10)), "the preview has half the timeout");
}

#[test]
fn a_job_is_requeued_at_the_end_of_the_warm_up_or_sooner_while_a_guard_holds_its_loss() {
    let mut reconciler = Reconciler::new(Mode::Enforce);
    let mut healthy = snapshot_of(PodEvidence { beat: LastBeat::Ending { last: at(NOW) }, ..mk_pod("w") });
    healthy.evidence.listening_since = at(NOW - 119);
    assert_eq!(evaluate(&mut reconciler, &mut healthy).requeue, Some(Duration::from_secs(1)));
    let stalled = PodEvidence { cpu_progress: Some(at(NOW - 200)), ..mk_pod("w") };
    let mut held = snapshot_of(PodEvidence { agent: AgentObservation::Alive { last: at(NOW) }, ..stalled });
    held.policy.stall_after = Some(Duration::from_mins(1));
    held.evidence.listening_since = at(NOW - 100);
    let evaluation = evaluate(&mut reconciler, &mut held);
    assert_eq!(evaluation.held, Some(Hold::WarmUp { until: at(NOW + 20) }));
    assert_eq!(evaluation.requeue, Some(HELD_REQUEUE));
}

#[test]
fn a_job_that_time_does_not_change_is_not_requeued() {
    let start = Instant::now();
    let mut reconciler = working(Mode::Enforce, start);
    let mut snapshot = mk_snapshot(JobEvidence { managed_elsewhere: true, ..mk_job(JobStage::Open) }, vec![]);
    let evaluation = evaluate(&mut reconciler, &mut snapshot);
    assert_eq!(evaluation.requeue, None);
    reconciler.done(&job_uid(), StepReport::default(), evaluation.requeue, start, 0.5);
    assert_eq!(reconciler.next_due(), None);
}

#[test]
fn a_failed_report_leads_to_backoff_instead_of_the_requeue() {
    let start = Instant::now();
    let mut reconciler = working(Mode::Enforce, start);
    let failed = || StepReport { failed: true, ..StepReport::default() };
    reconciler.done(&job_uid(), failed(), Some(Duration::from_hours(1)), start, 1.0);
    assert_eq!(reconciler.next_due(), Some(start + Duration::from_secs(1)));
    let retry = start + Duration::from_secs(1);
    assert_eq!((reconciler.promote_due(retry).len(), reconciler.due(9).len()), (1, 1));
    reconciler.done(&job_uid(), failed(), None, retry, 1.0);
    assert_eq!(reconciler.next_due(), Some(retry + Duration::from_secs(2)), "the backoff grows");
    let retry = retry + Duration::from_secs(2);
    assert_eq!((reconciler.promote_due(retry).len(), reconciler.due(9).len()), (1, 1));
    reconciler.done(&job_uid(), StepReport::default(), Some(Duration::from_hours(1)), retry, 1.0);
    assert_eq!(reconciler.next_due(), Some(retry + Duration::from_hours(1)));
}

#[test]
fn a_write_that_is_refused_for_the_first_time_changes_the_plan_at_once() {
    let start = Instant::now();
    let mut reconciler = working(Mode::Enforce, start);
    let refused = |subject: Option<&str>| {
        let refused = vec![(subject.map(PodUid::from), "Forbidden".to_owned())];
        StepReport { refused, failed: true, ..StepReport::default() }
    };
    let mut at = start;
    for (subject, pause) in [(None, 1), (None, 2), (None, 4), (Some("w"), 1), (None, 16)] {
        reconciler.done(&job_uid(), refused(subject), None, at, 1.0);
        assert_eq!(reconciler.next_due(), Some(at + Duration::from_secs(pause)), "{subject:?}");
        at += Duration::from_secs(pause);
        assert_eq!((reconciler.promote_due(at).len(), reconciler.due(9).len()), (1, 1));
    }
}

#[test]
fn a_refusal_is_forgotten_once_no_step_is_refused_and_a_run_without_news_remembers_nothing() {
    let start = Instant::now();
    let mut reconciler = working(Mode::Enforce, start);
    reconciler.done(&job_uid(), StepReport::default(), None, start, 0.0);
    assert!(reconciler.memory.is_empty());
    let refused = StepReport { refused: vec![(None, "Forbidden".to_owned())], failed: true, ..StepReport::default() };
    reconciler.done(&job_uid(), refused, None, start, 0.0);
    assert_eq!(reconciler.memory[&job_uid()].refused.len(), 1);
    reconciler.done(&job_uid(), StepReport::default(), None, start, 0.0);
    assert!(reconciler.memory[&job_uid()].refused.is_empty());
}

#[test]
fn jobs_are_counted_by_their_verdict() {
    let mut reconciler = Reconciler::new(Mode::Enforce);
    let mut snapshot = snapshot_of(mk_pod("w"));
    evaluate(&mut reconciler, &mut snapshot);
    assert_eq!(*reconciler.jobs_by_verdict(), [("alive", 1)].into());
}

#[test]
fn a_clock_that_is_set_back_brings_no_pod_back_to_life() {
    let mut reconciler = Reconciler::new(Mode::Enforce);
    let reported = |pod: PodEvidence| {
        let mut snapshot = snapshot_of(pod);
        snapshot.policy.on_lost = OnLost::Report;
        let subject = snapshot.evidence.pods[0].uid.as_str();
        let notice = OutcomeName::notice(subject, "NodeUnreachable", Episode::default());
        snapshot.outcomes.insert(notice, true);
        snapshot
    };
    let recovers = |evaluation: &Evaluation| {
        evaluation
            .steps
            .iter()
            .any(|step| matches!(step, Step::Record(draft) if draft.data.kind == OutcomeKind::Recovered))
    };
    evaluate_at(&mut reconciler, &mut lost_job(1), SignalHealth::Receiving, NOW);
    let mut snapshot = reported(beating());
    let earlier = evaluate_at(&mut reconciler, &mut snapshot, SignalHealth::Receiving, NOW - 3);
    assert_eq!(earlier.judgement.pods[0].verdict, PodVerdict::Alive { without_beat: false });
    assert!(!recovers(&earlier), "nothing has to have arrived");
    assert_eq!(earlier.requeue, Some(Duration::from_secs(3)));
    assert!(recovers(&evaluate_at(&mut reconciler, &mut snapshot, SignalHealth::Receiving, NOW)));
}

#[test]
fn recorded_events_and_abandoned_pods_are_not_planned_again() {
    let mut reconciler = Reconciler::new(Mode::Enforce);
    let mut snapshot = snapshot_of(unreachable("w", 100));
    let (mut notified, mut abandoned) = (Vec::new(), Vec::new());
    for step in evaluate(&mut reconciler, &mut snapshot).steps {
        match step {
            Step::RecordEvent(notice) => notified.push(notice.key()),
            Step::Abandon(pod) => abandoned.push(pod),
            _ => {}
        }
    }
    assert_eq!((notified.len(), abandoned.len()), (1, 1));
    let report = StepReport { notified: notified.clone(), abandoned, ..StepReport::default() };
    reconciler.done(&job_uid(), report, None, Instant::now(), 0.0);
    let again = evaluate(&mut reconciler, &mut snapshot).steps;
    assert!(!again.iter().any(|step| matches!(step, Step::RecordEvent(_) | Step::Abandon(_))), "{again:?}");

    let report = StepReport { cleared: notified, ..StepReport::default() };
    reconciler.done(&job_uid(), report, None, Instant::now(), 0.0);
    let after_clearing = evaluate(&mut reconciler, &mut snapshot).steps;
    assert!(after_clearing.iter().any(|step| matches!(step, Step::RecordEvent(_))));
    assert!(!after_clearing.iter().any(|step| matches!(step, Step::Abandon(_))), "a pod stays abandoned");
}

#[test]
fn an_inspection_records_nothing() {
    let mut reconciler = Reconciler::new(Mode::Enforce);
    let mut snapshot = snapshot_of(unreachable("w", 100));
    let inspection = reconciler.inspect(&mut snapshot, SignalHealth::NotReceiving, at(NOW));
    assert!(matches!(inspection.judgement.pods[0].verdict, PodVerdict::Lost(_)));
    assert_eq!((inspection.holds.of_silence(), inspection.held), (Some(Hold::SelfBeat), Some(Hold::SelfBeat)));
    assert_empty(&reconciler);
    assert!(reconciler.decisions_by_row().is_empty() && reconciler.held_by_guard().is_empty());
}
