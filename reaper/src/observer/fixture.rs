//! Observers for tests.

use jobwarden_core::{
    builders::facts::{mk_job, mk_lease, mk_node, mk_pod, mk_report},
    facts::node::Health,
    health::Watch,
    policy::Policy,
};

use super::Observer;

impl Observer {
    /// The observer of a leader whose watches have listed and whose own beat has not arrived yet. It has no Job.
    pub fn of_new_leader() -> Self {
        let observer = Self::new(Policy::default());
        for watch in Watch::ALL {
            observer.watch_listed(watch);
        }
        observer.start_listening();
        observer
    }

    /// The observer of a leader that receives signals. It has the Job `job` with the pod `pod` on a ready node; the pod has just
    /// sent a beat and been reported by the agent.
    pub fn of_one_job() -> Self {
        let observer = Self::of_new_leader();
        observer.own_beat_arrived();
        observer.apply_job_with_pod();
        observer.with(|index, now| {
            index.apply_node(&mk_node("node-1", Health::Ready), now);
            index.apply_lease(&mk_lease("node-1", 1), now);
            let beat = index.beat(&"pod".into(), None, jobwarden_common::beat::Phase::Running, now);
            beat.expect("the pod is indexed");
            index.report(&"node-1".into(), &mk_report(&[("pod", 1)]), now).expect("the pod is bound to this node");
        });
        observer
    }

    /// Adds the Job `job` and its pod `pod`.
    pub fn apply_job_with_pod(&self) {
        self.with(|index, now| {
            index.apply_job(mk_job("job"), now);
            index.apply_pod(mk_pod("pod", "job"), now);
        });
    }

    /// Advances the paused clock. Watches and the reaper's own beat keep arriving; nothing else does.
    pub async fn silence(&self, seconds: u64) {
        for _ in 0..seconds {
            tokio::time::advance(std::time::Duration::from_secs(1)).await;
            self.own_beat_arrived();
            for watch in Watch::ALL {
                self.watch_received(watch);
            }
        }
    }
}
