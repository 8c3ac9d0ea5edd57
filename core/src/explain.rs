//! Evidence and verdicts in words, for notifications, conditions, Events and the API.

mod upcoming;

pub use self::upcoming::{Upcoming, UpcomingVerdict, upcoming};

use std::time::Duration;

use jobwarden_common::{identity::PodUid, notification::Fact};

use crate::{
    evidence::{
        ContainerState, ExitedContainer, Finish, JobEvidence, JobStage, NodeState, PodEvidence, PodPhase, Retries,
        Sidecar,
    },
    moment::Moment,
    signals::{AgentSignal, BeatSignal, BeatState, LeaseSignal},
    verdict::{JobVerdict, JudgedPod, Judgement, LostReason, PodVerdict, Row},
};

/// The verdict on a Job in one word: on the Job itself or, for an open Job, on the pod that needs most attention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The word: `finished`, `deleted`, `alive`, `lost`, …
    pub verdict: &'static str,
    /// The reason of a loss.
    pub reason: Option<&'static str>,
    /// The row that matched; `None` for an open Job without pods.
    pub row: Option<Row>,
    /// The pod that the verdict is about; `None` if it is about the Job.
    pub pod: Option<PodUid>,
}

/// The summary of a judgement.
pub fn summary(judgement: &Judgement) -> Summary {
    let job = |verdict| Summary { verdict, reason: None, row: judgement.job.row(), pod: None };
    match judgement.job {
        JobVerdict::NotEnrolled => job("not-enrolled"),
        JobVerdict::Finished => job("finished"),
        JobVerdict::Deleted => job("deleted"),
        JobVerdict::Ignored => job("ignored"),
        JobVerdict::Ending => job("ending"),
        JobVerdict::Paused => job("paused"),
        JobVerdict::Overdue => job("overdue"),
        JobVerdict::ContainerFailed => job("container-failed"),
        JobVerdict::NotStarting => job("not-starting"),
        JobVerdict::Open => {
            let most_urgent = judgement.pods.iter().max_by_key(|pod| urgency(pod.verdict));
            most_urgent.map_or_else(
                || job("waiting"),
                |pod| Summary {
                    verdict: word(pod.verdict),
                    reason: pod.verdict.lost().map(LostReason::as_str),
                    row: Some(pod.verdict.row()),
                    pod: Some(pod.uid.clone()),
                },
            )
        }
    }
}

/// The verdict on a pod in a word.
pub fn word(verdict: PodVerdict) -> &'static str {
    match verdict {
        PodVerdict::Finishing => "finishing",
        PodVerdict::AttemptFailed => "attempt-failed",
        PodVerdict::Lost(_) => "lost",
        PodVerdict::SidecarBlocks | PodVerdict::Alive { without_beat: true } => "sidecar-fault",
        PodVerdict::Stuck => "stuck",
        PodVerdict::Alive { without_beat: false } => "alive",
        PodVerdict::Unseen => "unseen",
        PodVerdict::Suspect => "suspect",
        PodVerdict::Waiting => "waiting",
    }
}

/// How much attention a pod needs. The summary of a Job is about the pod that needs most.
fn urgency(verdict: PodVerdict) -> u8 {
    match verdict {
        PodVerdict::AttemptFailed => 0,
        PodVerdict::Finishing => 1,
        PodVerdict::Waiting => 2,
        PodVerdict::Alive { without_beat: false } => 3,
        PodVerdict::Alive { without_beat: true } => 4,
        PodVerdict::Suspect => 5,
        PodVerdict::Stuck => 6,
        PodVerdict::SidecarBlocks => 7,
        PodVerdict::Unseen => 8,
        PodVerdict::Lost(_) => 9,
    }
}

/// The state of a Job in words.
pub fn job(job: &JobEvidence) -> String {
    let stage = match &job.stage {
        JobStage::Finished { finish: Finish::Complete, .. } => "complete",
        JobStage::Finished { finish: Finish::Failed { reason, .. }, .. } => return format!("failed: {reason}"),
        JobStage::Vanished => "gone",
        JobStage::Deleting { orphaning: false } => "being deleted",
        JobStage::Deleting { orphaning: true } => "being deleted, its pods are orphaned",
        JobStage::Failing { reason, .. } => return format!("failing: {reason}"),
        JobStage::Succeeding => "succeeding",
        JobStage::Open if job.suspended => "suspended",
        JobStage::Open => match job.retries {
            Retries::Left => "open, at least one more attempt left",
            Retries::Exhausted => "open, no attempt left",
            Retries::LeftToKubernetes => "open, its own policies decide on another attempt",
        },
    };
    stage.to_owned()
}

/// The signals and the state of a judged pod, in short statements. `now` is the moment at which it was judged.
pub fn facts(judged: JudgedPod<'_>, now: Moment) -> Vec<Fact> {
    let (pod, signals) = (judged.pod, judged.signals());
    let mut facts = vec![fact("beat", beat(signals.beat, pod.sidecar, now)), fact("agent", agent(signals.agent, now))];
    if let (Some(node), Some(signal)) = (&pod.node, signals.lease) {
        facts.push(fact("lease", lease(signal, now)));
        facts.push(fact("node", format!("{} {}", node.name, node_state(node.state, now))));
    }
    facts.push(fact("pod", pod_state(pod, now)));
    if let Some(init) = &pod.initializing {
        facts.push(fact("init", format!("container {} started {}", init.container, ago(now.since(init.since)))));
    }
    if let Some(exited) = &pod.exited {
        let ExitedContainer { container, exit_code, since } = exited;
        let ended =
            format!("container {container} ended with exit code {exit_code}, observed {}", ago(now.since(*since)));
        facts.push(fact("exit", format!("{ended}; another container keeps the pod running")));
    }
    if let Some(since) = pod.rebooted {
        let booted =
            format!("booted {}, and its kubelet still reports the containers of before", ago(now.since(since)));
        facts.push(fact("boot", booted));
    }
    if let Some(stuck) = judged.stuck {
        facts.push(fact("stuck", format!("{stuck}: {}", stuck.row().rule())));
    }
    if let Some(problem) = &pod.start_problem {
        facts.push(fact("start", format!("{}: {}: {}", problem.container, problem.reason, problem.message)));
    }
    facts
}

fn fact(of: &str, is: impl Into<String>) -> Fact {
    Fact { of: of.to_owned(), is: is.into() }
}

fn beat(signal: BeatSignal, sidecar: Sidecar, now: Moment) -> String {
    let last = |word: &str| format!("{word}, last {}", ago(now.since(signal.since)));
    match (signal.state, sidecar) {
        (BeatState::Fresh, _) => last("fresh"),
        (BeatState::Late, _) => last("late"),
        (BeatState::Expired, _) => last("expired"),
        (BeatState::Ended, _) => last("ended"),
        (BeatState::Never, Sidecar::Absent) => "never, the pod has no sidecar".to_owned(),
        (BeatState::Never, Sidecar::LeftOut) => "none, admission left the sidecar out".to_owned(),
        (BeatState::Never, Sidecar::NotStarted) => "never, the sidecar has not started".to_owned(),
        (BeatState::Never, Sidecar::Started(at)) => format!("never, the sidecar started {}", ago(now.since(at))),
    }
}

fn agent(signal: AgentSignal, now: Moment) -> String {
    let word = |is_alive: bool| if is_alive { "alive" } else { "blind" };
    match signal {
        AgentSignal::Never => "has never reported this pod".to_owned(),
        AgentSignal::Alive { last } => format!("{}, {}", word(true), ago(now.since(last))),
        AgentSignal::Blind { last } => format!("{}, {}", word(false), ago(now.since(last))),
        AgentSignal::Silent { last, was_alive } => {
            format!("silent, last report {}: {}", ago(now.since(last)), word(was_alive))
        }
        AgentSignal::Gone { since, reports, .. } => {
            format!("gone for {}, in {reports} reports", rounded(now.since(since)))
        }
    }
}

fn lease(signal: LeaseSignal, now: Moment) -> String {
    let word = if signal.is_stale { "stale" } else { "fresh" };
    format!("{word}, last change {}", ago(now.since(signal.changed)))
}

fn node_state(state: NodeState, now: Moment) -> String {
    match state {
        NodeState::Ready => "is ready according to the API server".to_owned(),
        NodeState::NotReady => "is not ready according to the API server".to_owned(),
        NodeState::OutOfService { since } => format!("was declared out of service {}", ago(now.since(since))),
        NodeState::ShutDown { since } => {
            format!("was reported shut down by the cloud provider {}", ago(now.since(since)))
        }
        NodeState::Deleted { since } => format!("was deleted {}", ago(now.since(since))),
    }
}

fn pod_state(pod: &PodEvidence, now: Moment) -> String {
    let phase = match pod.phase {
        PodPhase::Pending => "Pending",
        PodPhase::Running => "Running",
        PodPhase::Succeeded => "Succeeded",
        PodPhase::Failed => "Failed",
    };
    let terminating = pod.terminating.map(|terminating| rounded(now.since(terminating.since)));
    let mains = pod.mains.iter().map(|main| {
        let state = match main.state {
            ContainerState::NotStarted => "not started",
            ContainerState::Running => "running",
            ContainerState::WaitingToRestart => "waiting to restart",
            ContainerState::Terminated => "terminated",
        };
        format!("container {} {state}", main.name)
    });
    let parts =
        [phase.to_owned()].into_iter().chain(terminating.map(|long| format!("terminating for {long}"))).chain(mains);
    parts.collect::<Vec<_>>().join(", ")
}

fn ago(age: Duration) -> String {
    format!("{} ago", rounded(age))
}

/// Whole seconds: fractions decide nothing.
fn rounded(age: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(age.as_secs()))
}

#[cfg(test)]
mod tests {
    use jobwarden_common::identity::NodeName;
    use rstest::rstest;

    use jobwarden_common::notification::Cause;

    use super::*;
    use crate::{
        builders::evidence::{at, mk_job},
        evidence::{AgentObservation, Evidence, LastBeat, NodeEvidence},
        judge::judge,
        policy::Policy,
    };

    fn pod() -> PodEvidence {
        PodEvidence {
            uid: PodUid::from("p"),
            name: "worker-1".to_owned(),
            phase: PodPhase::Running,
            node: Some(NodeEvidence {
                name: NodeName::from("n1"),
                zone: None,
                state: NodeState::NotReady,
                avoided: true,
                lease_changed: at(975),
                lease_steady_since: at(0),
            }),
            bound_since: Some(at(0)),
            ran_since: Some(at(0)),
            unscheduled_since: None,
            terminating: None,
            mains: Vec::new(),
            starting_since: None,
            initializing: None,
            exited: None,
            rebooted: None,
            start_problem: None,
            sidecar: Sidecar::Started(at(1)),
            beat: LastBeat::Running { last: at(979) },
            agent: AgentObservation::Alive { last: at(975) },
            cpu_progress: None,
            seen_alive: None,
            cause: Cause::default(),
            work_done: false,
        }
    }

    fn statements(pod: &PodEvidence, policy: &Policy) -> Vec<Fact> {
        let evidence = Evidence { job: mk_job(JobStage::Open), pods: vec![pod.clone()], listening_since: at(0) };
        let judgement = judge(&evidence, policy, at(1000));
        judgement.judged_pods(&evidence, policy).flat_map(|judged| facts(judged, at(1000))).collect()
    }

    fn statement(pod: &PodEvidence, of: &str) -> String {
        let policy = Policy { lost_after: Duration::from_secs(20), ..Policy::default() };
        let fact = statements(pod, &policy).into_iter().find(|fact| fact.of == of);
        fact.map(|fact| fact.is).unwrap_or_default()
    }

    #[test]
    fn a_lost_pod_is_explained_by_all_its_signals() {
        let pod = pod();
        assert_eq!(statement(&pod, "beat"), "expired, last 21s ago");
        assert_eq!(statement(&pod, "lease"), "stale, last change 25s ago");
        assert_eq!(statement(&pod, "agent"), "silent, last report 25s ago: alive");
        assert_eq!(statement(&pod, "node"), "n1 is not ready according to the API server");
        assert_eq!(statement(&pod, "pod"), "Running");
    }

    #[test]
    fn a_sign_of_life_from_a_gone_node_expires_sooner() {
        let mut pod = pod();
        pod.beat = LastBeat::Running { last: at(974) };
        pod.agent = AgentObservation::Alive { last: at(974) };
        let signs_of_life = |pod: &PodEvidence| {
            statements(pod, &Policy::default()).into_iter().take(2).map(|fact| fact.is).collect::<Vec<_>>()
        };
        let mut gone_since = |seconds| {
            pod.node.as_mut().expect("it has a node").state = NodeState::Deleted { since: at(seconds) };
            signs_of_life(&pod)
        };
        assert_eq!(
            gone_since(991),
            ["fresh, last 26s ago", "alive, 26s ago"],
            "row P2 waits until the node has been gone for 10 s"
        );
        assert_eq!(gone_since(990), ["late, last 26s ago", "silent, last report 26s ago: alive"]);
    }

    #[rstest]
    #[case(LastBeat::None, Sidecar::Absent, "never, the pod has no sidecar")]
    #[case(LastBeat::None, Sidecar::LeftOut, "none, admission left the sidecar out")]
    #[case(LastBeat::None, Sidecar::NotStarted, "never, the sidecar has not started")]
    #[case(LastBeat::None, Sidecar::Started(at(910)), "never, the sidecar started 1m 30s ago")]
    #[case(LastBeat::Running { last: at(999) }, Sidecar::Started(at(1)), "fresh, last 1s ago")]
    #[case(LastBeat::Ending { last: at(990) }, Sidecar::Started(at(1)), "ended, last 10s ago")]
    fn a_beat_is_described_in_the_terms_of_the_table(
        #[case] beat: LastBeat,
        #[case] sidecar: Sidecar,
        #[case] expected: &str,
    ) {
        assert_eq!(statement(&PodEvidence { sidecar, beat, ..pod() }, "beat"), expected);
    }
}
