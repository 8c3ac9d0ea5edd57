//! Whatever is lost of a plan, the next one goes on from there.

use proptest::{collection::vec, prelude::*};
use rstest::rstest;

use super::*;
use crate::{
    builders::evidence::{NOW, at, judged, mk_job, mk_snapshot},
    evidence::{Finish, JobStage},
    guard::Holds,
    plan::{plan, step::Step},
};

/// What the cluster holds of a Job whose retention has ended.
#[derive(Clone, Debug)]
struct Cluster {
    finish: Finish,
    exists: bool,
    has_finalizer: bool,
    /// Whether each outcome's delivery has ended.
    outcomes: Vec<(OutcomeName, bool)>,
}

impl Cluster {
    fn new(finish: Finish) -> Self {
        Self { finish, exists: true, has_finalizer: true, outcomes: Vec::new() }
    }

    fn job(&self) -> JobEvidence {
        let stage = JobStage::Finished { since: at(0), finish: self.finish.clone() };
        JobEvidence { has_finalizer: self.has_finalizer, ..mk_job(stage) }
    }

    fn recorded(&self) -> Recorded {
        Recorded { outcomes: self.outcomes.iter().cloned().collect(), ..Recorded::default() }
    }

    fn stage(&self) -> Stage {
        let job = self.job();
        Stage::of(&job, &OutcomeName::job_final(&job.identity.uid), &self.recorded())
    }

    /// What a leader that knows nothing else plans.
    fn plan(&self) -> Vec<Step> {
        let snapshot = mk_snapshot(self.job(), vec![]);
        plan(&snapshot, &judged(&snapshot), &Holds::default(), &self.recorded(), at(NOW + 3600))
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Record(draft) if self.outcomes.is_empty() => self.outcomes.push((draft.name.clone(), false)),
            Step::Record(draft) => assert_eq!(draft.name, self.outcomes[0].0, "one outcome"),
            Step::ReleaseFinalizer => {
                assert!(!self.outcomes.is_empty(), "released before its outcome is recorded");
                self.has_finalizer = false;
            }
            Step::DeleteJob => {
                assert_eq!(self.stage(), Stage::Settled, "deleted before its outcome is delivered");
                self.exists = false;
            }
            other => panic!("{other:?}"),
        }
    }

    fn settle(&mut self) {
        self.outcomes.iter_mut().for_each(|(_, has_ended)| *has_ended = true);
    }
}

fn failed() -> Finish {
    Finish::Failed { reason: "BackoffLimitExceeded".to_owned(), message: String::new() }
}

#[rstest]
#[case::completed(Finish::Complete)]
#[case::failed(failed())]
fn each_stage_leads_to_the_next(#[case] finish: Finish) {
    let mut cluster = Cluster::new(finish);
    let mut stages = vec![cluster.stage()];
    for step in cluster.plan() {
        cluster.apply(&step);
        stages.push(cluster.stage());
    }
    assert_eq!(cluster.plan(), [], "it waits for the sinks");
    cluster.settle();
    stages.push(cluster.stage());
    assert_eq!(stages, [Stage::Unrecorded, Stage::Held, Stage::Delivering, Stage::Settled]);
    assert_eq!(cluster.plan(), [Step::DeleteJob]);
}

proptest! {
    /// In each round a leader takes some of the steps of its plan, each once or twice, and crashes; or the sinks settle.
    #[test]
    fn whatever_is_lost_of_a_plan_the_next_one_goes_on(
        completed: bool,
        rounds in vec((0_usize..3, any::<bool>(), any::<bool>()), 0..12),
    ) {
        let mut cluster = Cluster::new(if completed { Finish::Complete } else { failed() });
        for (taken, twice, settles) in rounds {
            let before = cluster.stage();
            for step in cluster.plan().iter().take(taken) {
                cluster.apply(step);
                if twice {
                    cluster.apply(step);
                }
            }
            if settles {
                cluster.settle();
            }
            prop_assert!(cluster.stage() >= before, "{before:?} to {:?}", cluster.stage());
            if !cluster.exists {
                return Ok(());
            }
        }
        for step in cluster.plan() {
            cluster.apply(&step);
        }
        cluster.settle();
        for step in cluster.plan() {
            cluster.apply(&step);
        }
        prop_assert!(!cluster.exists && cluster.outcomes.len() == 1);
    }
}
