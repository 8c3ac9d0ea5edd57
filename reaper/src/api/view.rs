//! Builds the responses from evidence, verdicts and guards.

use jobwarden_common::{
    api::{
        BreakerDomain, BreakerHeld, BreakerState, BreakerStatus, Explanation, Figures, Guards, Held, HeldJob, JobLine,
        JobName, Outcome, PastPod, Pod, PolicyValue, Sink, Timer, Verdict,
    },
    identity::JobUid,
};
use jobwarden_core::{
    evidence::{Evidence, JobIdentity, JobKind, NodeState, PodPhase},
    explain::{self, Upcoming, UpcomingVerdict, upcoming},
    guard::{BREAKER, BreakerReport, DomainReport, Hold, Unit},
    health::SignalHealth,
    moment::Moment,
    outcome::OutcomeName,
    plan::retained_until,
    policy::{Policy, PolicyField, Setting},
    reconcile::Inspection,
    signals::{AgentSignal, BeatState},
    snapshot::{JobSnapshot, PastAttempt},
    verdict::{JobVerdict, JudgedPod, Judgement, PodVerdict, Row},
};

use super::Api;
use crate::{
    controller::Inspected,
    outbox::{Entry, SinkStatus},
};

/// The most pods, and timers, of one explanation.
const MAX_PODS: usize = 500;
/// The most outcomes of one explanation.
const MAX_OUTCOMES: usize = 200;

/// The line of a Job in a list; `None` if nothing is concluded about it any more.
pub(super) fn line(api: &Api, identity: &JobIdentity) -> Option<JobLine> {
    let (concluded, held) = {
        let reconciler = api.enforcer.reconciler();
        (reconciler.conclusion(&identity.uid)?, reconciler.held(&identity.uid))
    };
    Some(JobLine {
        job: job_name(identity),
        verdict: Verdict { reason: concluded.reason.map(str::to_owned), ..of_row(concluded.verdict, concluded.row) },
        since: Some(wall(api, concluded.since)),
        held: held.map(str::to_owned),
    })
}

/// Leaves out what may hold log lines: the termination message of a container is, with `FallbackToLogsOnError`, the end of its log.
pub(super) fn withhold_messages(explanation: &mut Explanation) {
    let of_pods = explanation.pods.iter_mut().map(|pod| &mut pod.cause);
    let of_past = explanation.past.iter_mut().map(|past| &mut past.cause);
    of_pods.chain(of_past).for_each(|cause| cause.message = None);
    explanation.messages_withheld = true;
}

/// The explanation of one Job; `None` if the Job was removed from the index meanwhile.
pub(super) fn explanation(api: &Api, uid: &JobUid) -> Option<Explanation> {
    let Inspected { snapshot, inspection: Inspection { judgement, held, .. }, now } = api.enforcer.inspect(uid)?;
    let since = api.enforcer.reconciler().verdict_since(uid).map(|at| wall(api, at));
    let JobSnapshot { evidence, policy, origins, usage, past, timeline, .. } = &snapshot;
    let mut pods = pods(evidence, policy, &judgement, now);
    let more_pods = pods.len().saturating_sub(MAX_PODS);
    pods.truncate(MAX_PODS);
    Some(Explanation {
        at: wall(api, now),
        job: job_name(&evidence.job.identity),
        state: explain::job(&evidence.job),
        verdict: of_job(&judgement),
        since,
        held: held.map(|hold| held_by(hold, now)),
        pods,
        more_pods,
        messages_withheld: false,
        past: past.as_ref().map(past_pod),
        timers: timers(evidence, policy, &judgement, now).take(MAX_PODS).chain(retention(&snapshot, now)).collect(),
        policy: PolicyField::ALL
            .map(|field| PolicyValue {
                name: field.to_string(),
                value: Setting::of(policy, field).to_string(),
                origin: origins.of(field).to_string(),
            })
            .into(),
        outcomes: api
            .outbox
            .of_job(uid)
            .into_keys()
            .filter_map(|name| Some(outcome(&api.outbox.get(&name)?, &name)))
            .take(MAX_OUTCOMES)
            .collect(),
        usage: usage.clone(),
        timeline: timeline.clone(),
    })
}

/// The verdicts that will follow if nothing but time passes.
fn timers<'a>(
    evidence: &'a Evidence,
    policy: &'a Policy,
    judgement: &'a Judgement,
    now: Moment,
) -> impl Iterator<Item = Timer> + 'a {
    upcoming(evidence, policy, judgement).into_iter().map(move |Upcoming { at, verdict }| {
        // The policy value `never` is a very long duration.
        let in_seconds = at.since(now).as_secs_f64().ceil();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a saturating cast of a positive number"
        )]
        let in_seconds = in_seconds as u64;
        let (pod, verdict) = match verdict {
            UpcomingVerdict::Job(judgement) => (None, of_job(&judgement)),
            UpcomingVerdict::Pod { name, verdict } => (name, of_pod(verdict)),
        };
        Timer { in_seconds, pod, verdict }
    })
}

/// The timer of the deletion of a finished Job.
fn retention(snapshot: &JobSnapshot, now: Moment) -> Option<Timer> {
    retained_until(snapshot).filter(|at| *at > now).map(|at| Timer {
        in_seconds: at.since(now).as_secs(),
        pod: None,
        verdict: Verdict {
            verdict: "deleted".to_owned(),
            reason: None,
            row: Some(Row::J1.to_string()),
            rule: Some("its retention has ended, and its outcome is delivered or expired".to_owned()),
        },
    })
}

/// The state of the guards, and the Jobs that they hold.
pub(super) fn guards(api: &Api) -> Guards {
    let signals = match api.observer.health() {
        SignalHealth::Receiving => "receiving",
        SignalHealth::NotReceiving => Hold::SelfBeat.as_str(),
        SignalHealth::WatchDown => Hold::WatchDown.as_str(),
    };
    let (held, report) = {
        let reconciler = api.enforcer.reconciler();
        let held: Vec<_> = reconciler.held_jobs().map(|(uid, guard)| (uid.clone(), guard)).collect();
        (held, reconciler.breaker())
    };
    let held = held.into_iter().filter_map(|(uid, guard)| {
        let JobIdentity { namespace, name, .. } = api.observer.identity(&uid)?;
        Some(HeldJob { namespace, name, guard: guard.to_owned() })
    });
    let mut held: Vec<_> = held.collect();
    held.sort();
    let holds = held.iter().any(|job| job.guard == BREAKER);
    let listening_seconds = api.observer.listening_for().as_secs();
    let breaker = BreakerState { silent: report.silent, of: report.nodes, holds };
    Guards { signals: signals.to_owned(), listening_seconds, breaker, held }
}

/// The state of the breaker.
pub(super) fn breaker(api: &Api) -> BreakerStatus {
    let now = api.observer.now();
    let (report, held_jobs) = {
        let reconciler = api.enforcer.reconciler();
        (reconciler.breaker(), reconciler.held_jobs().filter(|(_, guard)| *guard == BREAKER).count())
    };
    let BreakerReport { nodes, silent, hold_for, domains } = report;
    let held = |(unit, since): (Unit, Moment)| {
        let (kind, namespace, name) = match unit {
            Unit::Node(node) => ("Node", None, node.to_string()),
            Unit::Job(job) => {
                let JobIdentity { namespace, name, .. } = api.observer.identity(&job)?;
                ("Job", Some(namespace), name)
            }
        };
        Some(BreakerHeld { kind: kind.to_owned(), namespace, name, held_seconds: now.since(since).as_secs() })
    };
    let domain = |domain: DomainReport| BreakerDomain {
        counted: domain.counted.as_str().to_owned(),
        scope: domain.scope.as_str().to_owned(),
        name: domain.name,
        affected: domain.affected,
        of: domain.of,
        since: format!("{:.3}", api.observer.wall(domain.since)),
        returning: domain.returning,
        held: domain.held.into_iter().filter_map(held).collect(),
        next_release_in_seconds: domain.next_release.map(|at| at.since(now).as_secs()),
    };
    BreakerStatus {
        holds: held_jobs > 0,
        held_jobs,
        nodes,
        silent,
        hold_for_seconds: hold_for.as_secs(),
        domains: domains.into_iter().map(domain).collect(),
    }
}

/// The verdict on a Job.
pub(super) fn of_job(judgement: &Judgement) -> Verdict {
    let summary = explain::summary(judgement);
    Verdict { reason: summary.reason.map(str::to_owned), ..of_row(summary.verdict, summary.row) }
}

/// The verdict on a pod.
pub(super) fn of_pod(verdict: PodVerdict) -> Verdict {
    let reason = verdict.lost().map(|reason| reason.as_str().to_owned());
    Verdict { reason, ..of_row(explain::word(verdict), Some(verdict.row())) }
}

fn of_row(verdict: &str, row: Option<Row>) -> Verdict {
    Verdict {
        verdict: verdict.to_owned(),
        reason: None,
        row: row.map(|row| row.to_string()),
        rule: row.map(|row| row.rule().to_owned()),
    }
}

fn job_name(identity: &JobIdentity) -> JobName {
    let JobIdentity { kind, uid, namespace, name, run_id, job_id, trace_id } = identity.clone();
    let kind = match kind {
        JobKind::Job => "Job",
        JobKind::BarePod => "Pod",
    };
    JobName { kind: kind.to_owned(), namespace, name, uid, run_id, job_id, trace_id }
}

fn held_by(hold: Hold, now: Moment) -> Held {
    let for_seconds = match hold {
        Hold::WarmUp { until } => Some(until.since(now).as_secs()),
        _ => None,
    };
    Held { guard: hold.as_str().to_owned(), why: hold.to_string(), for_seconds }
}

/// The pods of a Job, unless another controller manages it: then no verdict on them counts.
fn pods(evidence: &Evidence, policy: &Policy, judgement: &Judgement, now: Moment) -> Vec<Pod> {
    if judgement.job == JobVerdict::Ignored {
        return Vec::new();
    }
    judgement.judged_pods(evidence, policy).map(|judged| pod_view(judged, now)).collect()
}

fn pod_view(judged: JudgedPod<'_>, now: Moment) -> Pod {
    let JudgedPod { pod, verdict, .. } = judged;
    Pod {
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        node: pod.node.as_ref().map(|node| node.name.clone()),
        verdict: of_pod(verdict),
        evidence: explain::facts(judged, now),
        figures: figures(judged, now),
        cause: pod.cause.clone(),
    }
}

fn figures(judged: JudgedPod<'_>, now: Moment) -> Figures {
    let (pod, signals) = (judged.pod, judged.signals());
    let ago = |at: Moment| now.since(at).as_secs();
    let (beat, beat_at) = match signals.beat.state {
        BeatState::Never => ("none", None),
        BeatState::Fresh | BeatState::Late | BeatState::Expired => ("running", Some(signals.beat.since)),
        BeatState::Ended => ("ending", Some(signals.beat.since)),
    };
    let (agent, agent_at) = match signals.agent {
        AgentSignal::Never => ("none", None),
        AgentSignal::Blind { last } | AgentSignal::Silent { last, was_alive: false } => ("blind", Some(last)),
        AgentSignal::Alive { last } | AgentSignal::Silent { last, was_alive: true } => ("alive", Some(last)),
        AgentSignal::Gone { since, .. } => ("gone", Some(since)),
    };
    let phase = match pod.phase {
        PodPhase::Pending => "Pending",
        PodPhase::Running => "Running",
        PodPhase::Succeeded => "Succeeded",
        PodPhase::Failed => "Failed",
    };
    let node = signals.node.map(|node| match node.state {
        NodeState::Ready => "ready",
        NodeState::NotReady => "not-ready",
        NodeState::OutOfService { .. } => "out-of-service",
        NodeState::ShutDown { .. } => "shut-down",
        NodeState::Deleted { .. } => "deleted",
    });
    Figures {
        phase: phase.to_owned(),
        bound_seconds: pod.bound_since.map(ago),
        terminating_seconds: pod.terminating.map(|terminating| ago(terminating.since)),
        starting_seconds: pod.starting_since.map(ago),
        beat: beat.to_owned(),
        beat_seconds: beat_at.map(ago),
        agent: agent.to_owned(),
        agent_seconds: agent_at.map(ago),
        node: node.map(str::to_owned),
        lease_seconds: signals.lease.map(|lease| ago(lease.changed)),
    }
}

fn past_pod(past: &PastAttempt) -> PastPod {
    let PastAttempt { attempt, cause, work_done: _ } = past.clone();
    PastPod { name: attempt.pod_name, uid: attempt.pod_uid, node: attempt.node, cause }
}

fn outcome(entry: &Entry, name: &OutcomeName) -> Outcome {
    let sink = |sink: &SinkStatus| Sink {
        name: sink.name.clone(),
        state: sink.state.as_str().to_owned(),
        attempts: sink.attempts,
        last_error: sink.last_error.clone(),
    };
    Outcome {
        name: name.to_string(),
        recorded_at: entry.created_at.to_string(),
        sinks: entry.sinks.iter().map(sink).collect(),
    }
}

fn wall(api: &Api, at: Moment) -> String {
    format!("{:.0}", api.observer.wall(at))
}
