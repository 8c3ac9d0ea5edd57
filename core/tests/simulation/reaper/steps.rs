//! Steps, taken as the executor takes them: with a second look before, one after another, and stopped by a failure.

use std::time::Duration;

use jobwarden_core::{
    enforce::{Draft, Notice, PodRef, Removal, Step},
    outcome::OutcomeName,
    verdict::LostReason,
};

use super::second_look::SecondLook;
use crate::{
    kubernetes::{job_controller::Ending, pod::Phase},
    reaper::watches::Kind,
    world::{Event, World},
};

impl World<'_> {
    /// A reaper takes the next step of its plan for a Job.
    pub(crate) fn take_step(&mut self, reaper: usize, life: u32, job: usize) {
        if self.reapers[reaper].life != life || !self.reapers[reaper].leads {
            return;
        }
        let item = &mut self.reapers[reaper].agenda[job];
        if !item.running {
            return; // Of an earlier term.
        }
        let Some(step) = item.steps.pop_front() else { return self.done(reaper, job) };
        let pod = step.pod().cloned();
        let blocked = item.stopped || pod.as_ref().map_or(!item.blocked.is_empty(), |pod| item.blocked.contains(pod));
        if !blocked && self.take(reaper, job, step).is_err() {
            let item = &mut self.reapers[reaper].agenda[job];
            item.failed = true;
            match pod {
                Some(pod) => item.blocked.push(pod),
                None => item.stopped = true,
            }
        }
        self.step_soon(reaper, job);
    }

    fn take(&mut self, reaper: usize, job: usize, step: Step) -> Result<(), SecondLook> {
        let asks_the_api = !matches!(step, Step::ClearNotice(_) | Step::Abandon(_) | Step::Forget);
        if asks_the_api && !self.cluster.reapers_reach_api() {
            return Err(SecondLook::Unreachable);
        }
        match step {
            Step::FailJob { pod, reason, .. } => return self.fail_job(job, &pod, reason),
            Step::EndJob { reason, .. } => return self.end_job(job, reason.as_str()),
            Step::ConfirmDeleted => return self.confirm_deleted(job),
            Step::DeletePod { pod, why } => return self.delete_pod_for(job, &pod, why),
            Step::MarkPodFailed { pod, reason, .. } => return self.give_up_pod(&pod, reason),
            Step::ForceDeletePod { pod } => return self.force_delete_pod(&pod),
            Step::DeleteJob => return self.delete_finished_job(job),
            Step::Record(draft) => self.record(job, *draft),
            Step::ReleaseFinalizer => self.release_finalizer(job),
            Step::RecordEvent(notice) => self.tell(reaper, job, &notice),
            Step::ClearNotice(key) => {
                self.reapers[reaper].agenda[job].told.remove(&key);
            }
            Step::Abandon(pod) => {
                self.reapers[reaper].agenda[job].abandoned.insert(pod.clone());
                self.hear(reaper, |state, _| state.give_up(&pod));
            }
            Step::Forget => self.reapers[reaper].agenda[job].forget = true,
        }
        Ok(())
    }

    fn fail_job(&mut self, job: usize, pod: &PodRef, reason: LostReason) -> Result<(), SecondLook> {
        self.look_at_open_job(job)?;
        match &self.jobs[job].ending {
            Some(Ending::Failing(by)) if by == reason.as_str() => return Ok(()),
            Some(_) => return Err(SecondLook::Otherwise),
            None => {}
        }
        let live = self.live_pod(pod).ok_or(SecondLook::Otherwise)?;
        self.is_in_question(job, live)?;
        self.note(|| format!("job-{job} is failed for pod {}: {reason}", pod.name));
        self.jobs[job].ending = Some(Ending::Failing(reason.as_str().to_owned()));
        self.publish(Kind::Job(job), false);
        self.sync_job_soon(job);
        Ok(())
    }

    fn end_job(&mut self, job: usize, reason: &str) -> Result<(), SecondLook> {
        self.look_at_open_job(job)?;
        match &self.jobs[job].ending {
            Some(Ending::Failing(by)) if by == reason => return Ok(()),
            Some(_) => return Err(SecondLook::Otherwise),
            None => {}
        }
        self.note(|| format!("job-{job} is failed: {reason}"));
        self.jobs[job].ending = Some(Ending::Failing(reason.to_owned()));
        self.publish(Kind::Job(job), false);
        self.sync_job_soon(job);
        Ok(())
    }

    fn confirm_deleted(&self, job: usize) -> Result<(), SecondLook> {
        let it = &self.jobs[job];
        if it.exists && (!it.deleting || it.has_finished()) { Err(SecondLook::Otherwise) } else { Ok(()) }
    }

    fn delete_pod_for(&mut self, job: usize, pod: &PodRef, why: Removal) -> Result<(), SecondLook> {
        if why == Removal::Lost {
            self.look_at_open_job(job)?;
        }
        let Some(live) = self.live_pod(pod).filter(|&live| !self.pods[live].deleting) else { return Ok(()) };
        match self.is_in_question(job, live) {
            Ok(()) => {}
            Err(error) if why == Removal::Lost => return Err(error),
            Err(_) => return Ok(()),
        }
        self.note(|| format!("the reaper deletes pod {}: {why:?}", pod.name));
        self.delete_pod(live);
        Ok(())
    }

    fn give_up_pod(&mut self, pod: &PodRef, reason: LostReason) -> Result<(), SecondLook> {
        let Some(live) = self.live_pod(pod).filter(|&live| self.pods[live].is_open()) else { return Ok(()) };
        if !self.pods[live].deleting {
            return Err(SecondLook::Otherwise);
        }
        self.note(|| format!("pod {} is given up: {reason}", pod.name));
        let it = &mut self.pods[live];
        (it.status.phase, it.status.reason) = (Phase::Failed, Some(reason.as_str().to_owned()));
        let job = it.job;
        self.publish(Kind::Pod(live), false);
        self.sync_job_soon(job);
        self.notice_soon(live);
        Ok(())
    }

    fn force_delete_pod(&mut self, pod: &PodRef) -> Result<(), SecondLook> {
        let Some(live) = self.live_pod(pod) else { return Ok(()) };
        if !self.pods[live].deleting || self.pods[live].is_open() {
            return Err(SecondLook::Otherwise);
        }
        self.remove_pod(live);
        Ok(())
    }

    fn record(&mut self, job: usize, draft: Draft) {
        let Draft { name, data } = draft;
        if self.jobs[job].outcomes.contains_key(&name) {
            return;
        }
        self.note(|| {
            let pod = data.attempt.as_ref().map(|attempt| attempt.pod_name.as_str()).unwrap_or_default();
            format!("RECORDED job-{job} {pod}: {}, {} by {}", data.kind, data.reason, data.decided_by.row)
        });
        self.jobs[job].outcomes.insert(name.clone(), false);
        self.judge_the_outcome(job, &name, &data);
        let after = self.dice.seconds(1, 20);
        self.after(after, Event::Settle { job, outcome: name });
        self.outcomes_changed(job);
    }

    /// Every sink has acknowledged an outcome.
    pub(crate) fn settle(&mut self, job: usize, outcome: OutcomeName) {
        self.jobs[job].outcomes.insert(outcome, true);
        self.outcomes_changed(job);
    }

    fn outcomes_changed(&mut self, job: usize) {
        if let Some(leader) = self.leader().filter(|&leader| self.reapers[leader].enforcing) {
            self.touch(leader, job, self.now);
        }
    }

    fn release_finalizer(&mut self, job: usize) {
        if self.jobs[job].exists && std::mem::replace(&mut self.jobs[job].finalizer, false) {
            self.publish(Kind::Job(job), false);
            self.after(Duration::from_millis(50), Event::CollectJob(job));
        }
    }

    fn delete_finished_job(&mut self, job: usize) -> Result<(), SecondLook> {
        if self.jobs[job].exists && !self.jobs[job].has_finished() {
            return Err(SecondLook::Otherwise);
        }
        self.delete_job(job, false);
        Ok(())
    }

    fn tell(&mut self, reaper: usize, job: usize, notice: &Notice) {
        self.note(|| format!("Event on job-{job}: {}", notice.reason));
        *self.account.notices.entry(notice.reason).or_default() += 1;
        self.reapers[reaper].agenda[job].told.insert(notice.key());
    }
}
