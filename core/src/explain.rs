//! The evidence in words: what had been seen when a verdict was given, for notifications, conditions, Events and the API.

mod upcoming;

pub use self::upcoming::{Upcoming, UpcomingVerdict, upcoming};

use std::time::Duration;

use jobwarden_common::{identity::PodUid, notification::Fact};

use crate::{
    evidence::{
        AgentObservation, ContainerState, Finish, JobEvidence, JobStage, LastBeat, NodeEvidence, NodeState,
        PodEvidence, PodPhase, Retries, Sidecar,
    },
    judge,
    moment::Moment,
    policy::Policy,
    verdict::{JobVerdict, Judgement, LostReason, PodVerdict, Row},
};

/// The verdict on a Job in one word: its own, or, of an open Job, that of the pod that needs most attention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The word: `finished`, `deleted`, `alive`, `lost`, …
    pub verdict: &'static str,
    /// The reason of a loss.
    pub reason: Option<&'static str>,
    /// The row that gave it; none of an open Job without pods.
    pub row: Option<Row>,
    /// The pod that it is about, if it is about one.
    pub pod: Option<PodUid>,
}

/// See [`Summary`].
pub fn summary(judgement: &Judgement) -> Summary {
    let job = |verdict| Summary { verdict, reason: None, row: judgement.job.row(), pod: None };
    match judgement.job {
        JobVerdict::Finished => job("finished"),
        JobVerdict::Deleted => job("deleted"),
        JobVerdict::Ignored => job("ignored"),
        JobVerdict::Ending => job("ending"),
        JobVerdict::Paused => job("paused"),
        JobVerdict::Overdue => job("overdue"),
        JobVerdict::NotStarting => job("not-starting"),
        JobVerdict::Open => {
            let most = judgement.pods.iter().max_by_key(|(_, verdict)| urgency(*verdict));
            most.map_or_else(
                || job("waiting"),
                |(uid, verdict)| Summary {
                    verdict: word(*verdict),
                    reason: verdict.lost().map(LostReason::as_str),
                    row: Some(verdict.row()),
                    pod: Some(uid.clone()),
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

/// Of several pods, the one with the most is told of.
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

/// How far a Job has come, in words.
pub fn job(job: &JobEvidence) -> String {
    let stage = match &job.stage {
        JobStage::Finished { finish: Finish::Complete, .. } => "complete",
        JobStage::Finished { finish: Finish::Failed { reason, .. }, .. } => return format!("failed: {reason}"),
        JobStage::Vanished => "gone",
        JobStage::Deleting { orphaning: false } => "being deleted",
        JobStage::Deleting { orphaning: true } => "being deleted, its pods left alone",
        JobStage::Failing { reason, .. } => return format!("failing: {reason}"),
        JobStage::Succeeding => "succeeding",
        JobStage::Open if job.suspended => "suspended",
        JobStage::Open => match job.retries {
            Retries::Left => "open, one more attempt left at least",
            Retries::Exhausted => "open, no attempt left",
            Retries::LeftToKubernetes => "open, attempts decided by its own policies",
        },
    };
    stage.to_owned()
}

/// What is known of a pod at `now`, in short statements.
pub fn facts(pod: &PodEvidence, policy: &Policy, now: Moment) -> Vec<Fact> {
    let mut facts = vec![fact("beat", beat(pod, policy, now)), fact("agent", agent(pod, policy, now))];
    if let Some(node) = &pod.node {
        facts.push(fact("lease", lease(node, policy, now)));
        facts.push(fact("node", format!("{} {}", node.name, node_state(node.state, now))));
    }
    facts.push(fact("pod", pod_state(pod, now)));
    if let Some(problem) = &pod.start_problem {
        facts.push(fact("start", format!("{}: {}: {}", problem.container, problem.reason, problem.message)));
    }
    facts
}

fn fact(of: &str, is: impl Into<String>) -> Fact {
    Fact { of: of.to_owned(), is: is.into() }
}

fn beat(pod: &PodEvidence, policy: &Policy, now: Moment) -> String {
    match (pod.beat, pod.sidecar) {
        (LastBeat::Running { last }, _) => {
            let age = now.since(last);
            let word = match age {
                age if age >= policy.lost_after => "expired",
                age if age >= judge::life_sign_ttl(policy.suspect_after, pod.node.as_ref(), now) => "late",
                _ => "fresh",
            };
            format!("{word}, last {}", ago(age))
        }
        (LastBeat::Ending { last }, _) => format!("ended, last {}", ago(now.since(last))),
        (LastBeat::None, Sidecar::Absent) => "never, the pod has no sidecar".to_owned(),
        (LastBeat::None, Sidecar::NotStarted) => "never, the sidecar has not started".to_owned(),
        (LastBeat::None, Sidecar::Started(at)) => format!("never, the sidecar started {}", ago(now.since(at))),
    }
}

fn agent(pod: &PodEvidence, policy: &Policy, now: Moment) -> String {
    let heard = |last: Moment, word: &str| {
        let age = now.since(last);
        let silent =
            age >= judge::life_sign_ttl(judge::AGENT_SILENT_AFTER.min(policy.lost_after), pod.node.as_ref(), now);
        if silent { format!("silent, last report {}: {word}", ago(age)) } else { format!("{word}, {}", ago(age)) }
    };
    match pod.agent {
        AgentObservation::None => "has never reported this pod".to_owned(),
        AgentObservation::Blind { last } => heard(last, "blind"),
        AgentObservation::Alive { last } => heard(last, "alive"),
        AgentObservation::Gone { since, reports } => {
            format!("gone for {}, in {reports} reports", rounded(now.since(since)))
        }
    }
}

fn lease(node: &NodeEvidence, policy: &Policy, now: Moment) -> String {
    let age = now.since(node.lease_changed);
    let stale = judge::LEASE_STALE_AFTER.min(policy.lost_after).max(judge::LEASE_STALE_AFTER_LEAST);
    let word = if age >= stale { "stale" } else { "fresh" };
    format!("{word}, last change {}", ago(age))
}

fn node_state(state: NodeState, now: Moment) -> String {
    match state {
        NodeState::Ready => "is ready by the API server".to_owned(),
        NodeState::NotReady => "is not ready by the API server".to_owned(),
        NodeState::OutOfService { since } => format!("was declared out of service {}", ago(now.since(since))),
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

/// Whole seconds: nobody decides by less.
fn rounded(age: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(age.as_secs()))
}

#[cfg(test)]
mod tests {
    use jobwarden_common::identity::NodeName;
    use rstest::rstest;

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::at(Duration::from_secs(seconds))
    }

    fn pod() -> PodEvidence {
        PodEvidence {
            uid: PodUid::from("p"),
            name: "worker-1".to_owned(),
            phase: PodPhase::Running,
            node: Some(NodeEvidence {
                name: NodeName::from("n1"),
                zone: None,
                state: NodeState::NotReady,
                lease_changed: at(977),
            }),
            bound_since: Some(at(0)),
            ran_since: Some(at(0)),
            unscheduled_since: None,
            terminating: None,
            mains: Vec::new(),
            starting_since: None,
            start_problem: None,
            sidecar: Sidecar::Started(at(1)),
            beat: LastBeat::Running { last: at(979) },
            agent: AgentObservation::Alive { last: at(975) },
            cpu_progress: None,
            seen_alive: None,
            cause: Cause::default(),
        }
    }

    fn said(pod: &PodEvidence, of: &str) -> String {
        let policy = Policy { lost_after: Duration::from_secs(20), ..Policy::default() };
        let facts = facts(pod, &policy, at(1000));
        facts.into_iter().find(|fact| fact.of == of).map(|fact| fact.is).unwrap_or_default()
    }

    #[test]
    fn a_lost_pod_is_explained_by_all_its_witnesses() {
        let pod = pod();
        assert_eq!(said(&pod, "beat"), "expired, last 21s ago");
        assert_eq!(said(&pod, "lease"), "stale, last change 23s ago");
        assert_eq!(said(&pod, "agent"), "silent, last report 25s ago: alive");
        assert_eq!(said(&pod, "node"), "n1 is not ready by the API server");
        assert_eq!(said(&pod, "pod"), "Running");
    }

    #[test]
    fn a_sign_of_life_from_a_gone_node_is_old_sooner() {
        let mut pod = pod();
        pod.beat = LastBeat::Running { last: at(974) };
        pod.agent = AgentObservation::Alive { last: at(974) };
        let told = |pod: &PodEvidence| {
            let facts = facts(pod, &Policy::default(), at(1000));
            facts.into_iter().take(2).map(|fact| fact.is).collect::<Vec<_>>()
        };
        let mut gone_since = |seconds| {
            pod.node.as_mut().expect("it has a node").state = NodeState::Deleted { since: at(seconds) };
            told(&pod)
        };
        assert_eq!(
            gone_since(991),
            ["fresh, last 26s ago", "alive, 26s ago"],
            "row P2 waits until it is gone for 10 s"
        );
        assert_eq!(gone_since(990), ["late, last 26s ago", "silent, last report 26s ago: alive"]);
    }

    #[rstest]
    #[case(LastBeat::None, Sidecar::Absent, "never, the pod has no sidecar")]
    #[case(LastBeat::None, Sidecar::NotStarted, "never, the sidecar has not started")]
    #[case(LastBeat::None, Sidecar::Started(at(910)), "never, the sidecar started 1m 30s ago")]
    #[case(LastBeat::Running { last: at(999) }, Sidecar::Started(at(1)), "fresh, last 1s ago")]
    #[case(LastBeat::Ending { last: at(990) }, Sidecar::Started(at(1)), "ended, last 10s ago")]
    fn a_beat_is_told_in_the_words_of_the_table(#[case] beat: LastBeat, #[case] sidecar: Sidecar, #[case] told: &str) {
        assert_eq!(said(&PodEvidence { sidecar, beat, ..pod() }, "beat"), told);
    }
}
