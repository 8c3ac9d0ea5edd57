//! An observer as tests start from it.

use jobwarden_core::{
    builders::facts::{mk_job, mk_lease, mk_node, mk_pod, mk_report},
    facts::node::Health,
    health::Watch,
    index::Index,
    moment::Moment,
    policy::Policy,
};

use super::Observer;

impl Observer {
    /// Leads, hears, and knows Job `job` with its pod `pod`, which has just beaten and been seen, on a node that is well.
    pub fn of_one_job() -> Self {
        let observer = Self::new(Policy::default());
        for watch in Watch::ALL {
            observer.watch_listed(watch);
        }
        observer.start_listening();
        observer.own_beat_arrived();
        observer.with(|state, now| {
            state.apply_node(&mk_node("node-1", Health::Ready), now);
            state.apply_lease(&mk_lease("node-1", 1), now);
            state.apply_job(mk_job("job"), now);
            state.apply_pod(mk_pod("pod", "job"), now);
            let beat = state.beat(&"pod".into(), None, jobwarden_common::beat::Phase::Running, now);
            beat.expect("the pod is known");
            state.report(&"node-1".into(), &mk_report(&[("pod", 1)]), now).expect("it is bound there");
        });
        observer
    }

    /// Something is heard.
    pub fn tell<T>(&self, f: impl FnOnce(&mut Index, Moment) -> T) -> T {
        self.with(f)
    }

    /// Lets time pass, in which nothing is heard but the reaper's own beat.
    pub async fn silence(&self, seconds: u64) {
        for _ in 0..seconds {
            tokio::time::advance(std::time::Duration::from_secs(1)).await;
            self.own_beat_arrived();
            for watch in Watch::ALL {
                self.watch_heard(watch);
            }
        }
    }
}
