//! The Job controller (`pkg/controller/job`), and the garbage collector.

use std::time::Duration;

use crate::{
    dice::Dice,
    state::{
        job::Ending,
        pod::{ActualState, Container, Containers, Phase, Pod, Status},
        received_signals::ReceivedSignals,
        watch::Kind,
    },
    world::{Event, World},
};

impl World<'_> {
    pub(crate) fn create_job(&mut self, job: usize) {
        if !self.cluster.api_is_up() {
            let later = self.now + Duration::from_secs(1);
            return self.at(later, Event::CreateJob(job));
        }
        self.log(|| format!("job-{job} is created"));
        self.jobs[job].exists = true;
        self.publish(Kind::Job(job), false);
        self.sync_job_soon(job);
    }

    pub(crate) fn sync_job_soon(&mut self, job: usize) {
        if std::mem::replace(&mut self.jobs[job].sync_pending, true) {
            return;
        }
        let after = self.jobs[job].dice.ms(50, 400);
        self.after(after, Event::SyncJob(job));
    }

    /// One sync of a Job.
    pub(crate) fn sync_job(&mut self, job: usize) {
        self.jobs[job].sync_pending = false;
        if !self.cluster.api_is_up() {
            return; // All Jobs are synced when the API server is back.
        }
        self.count_pods(job);
        self.update_active(job);
        let it = &self.jobs[job];
        if !it.exists || it.has_finished() || it.deleting {
            return;
        }
        match &it.ending {
            Some(Ending::Failing(_) | Ending::Succeeding) => return self.finish_job(job),
            _ if self.past_backoff_limit(job) => {
                return self.begin_end(job, Ending::Failing("BackoffLimitExceeded".to_owned()));
            }
            _ => {}
        }
        if it.suspended > 0 {
            // `status.startTime` stays.
            if !std::mem::replace(&mut self.jobs[job].is_suspended, true) {
                self.publish(Kind::Job(job), false);
            }
            return self.delete_active_pods(job);
        }
        if it.started.is_none() || it.is_suspended {
            let started = (self.now, self.laws.signal_clock.at(self.now));
            let it = &mut self.jobs[job];
            (it.started, it.is_suspended) = (Some(started), false);
            self.publish(Kind::Job(job), false);
        }
        let wanted = self.history.jobs[job].pods;
        if self.jobs[job].succeeded >= wanted {
            return self.begin_end(job, Ending::Succeeding);
        }
        let parallelism = if self.jobs[job].scaled_down > 0 { 1 } else { wanted };
        let wanted = parallelism.min(wanted - self.jobs[job].succeeded);
        self.delete_surplus_pods(job, wanted);
        self.create_pods(job, wanted);
    }

    /// Deletes the youngest of the pods that are too many.
    fn delete_surplus_pods(&mut self, job: usize, wanted: usize) {
        let active = |pod: &usize| self.pods[*pod].is_active() && self.pods[*pod].owned;
        let active: Vec<_> = self.jobs[job].attempts.iter().copied().filter(active).collect();
        for &pod in active.iter().skip(wanted) {
            // Its finalizer is removed before, so it does not count as failed.
            self.pods[pod].counted = true;
            self.delete_pod(pod);
        }
    }

    /// Counts every pod that is terminal or, unless `podReplacementPolicy` is `Failed`, being deleted; each once.
    fn count_pods(&mut self, job: usize) {
        let mut changed = false;
        let eager = !self.history.jobs[job].replaces_only_failed;
        for index in 0..self.jobs[job].attempts.len() {
            let pod = self.jobs[job].attempts[index];
            let it = &self.pods[pod];
            if it.exists && it.owned && !it.counted && (it.status.phase.is_terminal() || (it.deleting && eager)) {
                self.count_pod(pod);
                changed = true;
            }
        }
        if changed && self.jobs[job].exists {
            self.publish(Kind::Job(job), false);
        }
    }

    fn count_pod(&mut self, pod: usize) {
        let it = &mut self.pods[pod];
        it.counted = true;
        let job = &mut self.jobs[it.job];
        if it.status.phase == Phase::Succeeded {
            job.succeeded += 1;
            job.failures_in_row = 0;
        } else if job.suspended == 0 {
            job.failed += 1;
            job.failures_in_row += 1;
            // By the times in its status, if it has ended (`getFinishedTime`).
            let ended = if it.status.phase.is_terminal() { it.status_written_at } else { self.now };
            job.last_failure = job.last_failure.max(ended);
        }
    }

    /// Too many pods have failed or, with `restartPolicy: OnFailure`, too many containers have restarted
    /// (`pastBackoffLimitOnFailure`). Init containers count as well, native sidecars among them.
    fn past_backoff_limit(&self, job: usize) -> bool {
        let (plan, it) = (&self.history.jobs[job], &self.jobs[job]);
        if it.failed > plan.backoff_limit {
            return true;
        }
        let pods = it.attempts.iter().map(|&pod| &self.pods[pod]).filter(|pod| pod.is_open() && pod.owned);
        let restarts: usize = pods.map(|pod| pod.status.containers.restarts()).sum();
        plan.restarts && restarts > 0 && restarts >= plan.backoff_limit
    }

    fn begin_end(&mut self, job: usize, how: Ending) {
        self.log(|| format!("job-{job}: the Job controller begins to end it: {how:?}"));
        (self.jobs[job].ending, self.jobs[job].ending_since) = (Some(how), Some(self.now));
        self.publish(Kind::Job(job), false);
        self.finish_job(job);
    }

    /// The last condition is written when no pod runs any more.
    fn finish_job(&mut self, job: usize) {
        self.delete_active_pods(job);
        let open = self.jobs[job].attempts.iter().any(|&pod| self.pods[pod].is_open() && self.pods[pod].owned);
        if open {
            return;
        }
        let last = match self.jobs[job].ending.take() {
            Some(Ending::Failing(reason)) => Ending::Failed(reason),
            _ => Ending::Complete,
        };
        self.log(|| format!("job-{job} has finished: {last:?}"));
        self.jobs[job].ending = Some(last);
        self.publish(Kind::Job(job), false);
    }

    /// `status.active` counts pods that are neither terminal nor being deleted.
    fn update_active(&mut self, job: usize) {
        let active = |pod: &&usize| self.pods[**pod].is_active() && self.pods[**pod].owned;
        self.jobs[job].active = self.jobs[job].attempts.iter().filter(active).count();
    }

    fn delete_active_pods(&mut self, job: usize) {
        for index in 0..self.jobs[job].attempts.len() {
            let pod = self.jobs[job].attempts[index];
            if self.pods[pod].is_active() && self.pods[pod].owned {
                self.delete_pod(pod);
            }
        }
    }

    fn create_pods(&mut self, job: usize, wanted: usize) {
        let eager = !self.history.jobs[job].replaces_only_failed;
        let holds_place = |pod: &Pod| pod.is_active() || (!eager && pod.is_open());
        let active = self.jobs[job].attempts.iter().filter(|&&pod| holds_place(&self.pods[pod])).count();
        let due = self.jobs[job].may_create_from();
        if active >= wanted {
            return;
        }
        if self.now < due {
            return self.at(due, Event::SyncJob(job));
        }
        if self.jobs[job].over_quota > 0 {
            return self.after(Duration::from_secs(10), Event::SyncJob(job));
        }
        for _ in active..wanted {
            self.create_pod(job);
        }
        self.update_active(job);
    }

    fn create_pod(&mut self, job: usize) {
        let plan = &self.history.jobs[job];
        let (number, attempt) = (self.pods.len(), self.jobs[job].attempts.len());
        let containers = Containers {
            sidecar: plan.sidecar.then(Container::default),
            helper: plan.helper.map(|_| Container::default()),
            init: plan.init.map(|_| Container::default()),
            mains: vec![Container::default(); plan.mains],
        };
        let name = format!("job-{job}-{attempt}");
        self.log(|| format!("pod {name} is created"));
        self.pods.push(Pod {
            uid: name.clone().into(),
            name,
            created: self.now,
            created_at: self.laws.signal_clock.at(self.now),
            job,
            attempt,
            exists: true,
            owned: true,
            node: None,
            deleting: false,
            deleted_at: Duration::ZERO,
            deleted_by_reaper: None,
            dropped: false,
            counted: false,
            status: Status { phase: Phase::Pending, reason: None, containers: containers.clone() },
            status_written_at: self.now,
            status_is_seen: true,
            warmed: Duration::ZERO,
            bound: self.now,
            actual: ActualState { containers, ..ActualState::default() },
            dice: Dice::of(self.history.seed, [4, job as u64, attempt as u64]),
            beat_dice: Dice::of(self.history.seed, [6, job as u64, attempt as u64]),
            received: ReceivedSignals::default(),
        });
        self.jobs[job].attempts.push(number);
        self.publish(Kind::Pod(number), false);
        self.after(Duration::from_millis(100), Event::Schedule(number));
    }

    /// A client deletes a pod.
    pub(crate) fn delete_pod(&mut self, pod: usize) {
        let it = &mut self.pods[pod];
        if !it.exists || it.deleting {
            return;
        }
        (it.deleting, it.deleted_at) = (true, self.now);
        let policy = &self.history.jobs[it.job].policy;
        it.dropped = it.deleted_by_reaper.is_none() && it.surely_lives(self.now, policy);
        let (name, job, unbound) = (it.name.clone(), it.job, it.node.is_none());
        self.log(|| format!("pod {name} is being deleted"));
        self.publish(Kind::Pod(pod), false);
        self.sync_job_soon(job);
        if unbound {
            self.remove_pod(pod);
        } else {
            self.kubelet_sync_soon(pod);
        }
    }

    /// The object of a pod is removed. The Job controller counts the pod before it removes its finalizer.
    pub(crate) fn remove_pod(&mut self, pod: usize) {
        if !self.pods[pod].exists {
            return;
        }
        if !self.pods[pod].counted && self.pods[pod].owned {
            self.count_pod(pod);
            if self.jobs[self.pods[pod].job].exists {
                self.publish(Kind::Job(self.pods[pod].job), false);
            }
        }
        self.pods[pod].exists = false;
        let (name, job) = (self.pods[pod].name.clone(), self.pods[pod].job);
        self.log(|| format!("pod {name} is gone"));
        self.publish(Kind::Pod(pod), true);
        self.sync_job_soon(job);
        self.kubelet_sync_soon(pod);
    }

    /// A client deletes a Job.
    pub(crate) fn delete_job(&mut self, job: usize, orphaning: bool) {
        let it = &mut self.jobs[job];
        if !it.exists || it.deleting {
            return;
        }
        (it.deleting, it.orphaning) = (true, orphaning);
        self.log(|| format!("job-{job} is being deleted"));
        self.publish(Kind::Job(job), false);
        self.after(Duration::from_secs(1), Event::CollectJob(job));
    }

    /// The garbage collector.
    pub(crate) fn collect_job(&mut self, job: usize) {
        if !self.jobs[job].deleting {
            return;
        }
        if !self.cluster.api_is_up() {
            return self.after(Duration::from_secs(2), Event::CollectJob(job));
        }
        if self.jobs[job].orphaning {
            for pod in self.jobs[job].attempts.clone() {
                if self.pods[pod].exists && std::mem::replace(&mut self.pods[pod].owned, false) {
                    self.publish(Kind::Pod(pod), false);
                }
            }
            self.jobs[job].orphaning = false;
            self.publish(Kind::Job(job), false);
        }
        if self.jobs[job].exists && !self.jobs[job].finalizer {
            self.jobs[job].exists = false;
            self.log(|| format!("job-{job} is gone"));
            self.publish(Kind::Job(job), true);
        }
        if !self.jobs[job].exists {
            for pod in self.jobs[job].attempts.clone() {
                if self.pods[pod].owned {
                    self.delete_pod(pod);
                }
            }
        }
    }
}
