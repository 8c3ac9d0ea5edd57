//! Kubelets: they start and end containers and report to the API server, if they can reach it.

use std::time::Duration;

use crate::{
    state::{
        pod::{Container, Run, Status},
        reaper::Reaper,
        received_signals::ReceivedSignals,
        watch::Kind,
    },
    world::{Event, World},
};

/// After how long a failed container is restarted.
const RESTART_AFTER: Duration = Duration::from_secs(10);
/// After how long a failed image pull is repeated.
const PULL_AGAIN: Duration = Duration::from_secs(20);
/// The longest pause between two runs of a container that fails (`MaxContainerBackOff`).
const LONGEST_CRASH_LOOP: Duration = Duration::from_mins(5);

/// How long a kubelet waits before it runs a container again that has failed this often.
fn crash_loop(failures: u32) -> Duration {
    RESTART_AFTER.saturating_mul(1 << failures.saturating_sub(1).min(5)).min(LONGEST_CRASH_LOOP)
}

/// The state that a kubelet reports of containers that ended with their node.
const DIED_WITH_NODE: Run = Run::Ended { code: 255, oom: false };

impl World<'_> {
    /// The kubelet of this pod runs and acts on the pod.
    fn kubelet_acts(&self, pod: usize) -> bool {
        let pod = &self.pods[pod];
        pod.node.is_some_and(|node| self.nodes[node].kubelet_works()) && !pod.actual.ignored_by_kubelet
    }

    /// The node of this pod reaches the API server.
    fn pod_is_online(&self, pod: usize) -> bool {
        self.pods[pod].node.is_some_and(|node| self.node_is_online(node))
    }

    /// The kubelet syncs a pod soon.
    pub(crate) fn kubelet_sync_soon(&mut self, pod: usize) {
        let after = self.pods[pod].dice.ms(100, 800);
        self.after(after, Event::KubeletSync(pod));
    }

    /// The kubelet syncs a pod.
    pub(crate) fn kubelet_sync(&mut self, pod: usize) {
        if !self.kubelet_acts(pod) {
            return; // Synced again when the kubelet is back.
        }
        if self.pod_is_online(pod) {
            let it = &mut self.pods[pod];
            it.actual.known |= it.exists;
            if it.actual.known && (!it.exists || it.deleting || it.status.phase.is_terminal()) {
                self.begin_stop(pod);
            }
        }
        if !self.pods[pod].actual.known {
            return;
        }
        self.restart_failed(pod);
        let it = &self.pods[pod];
        if it.worker_has_ended() {
            if let Some(helper) = self.pods[pod].actual.containers.helper.as_mut().filter(|helper| helper.run > 0) {
                helper.state = Run::Ended { code: 0, oom: false };
            }
            let sidecar = self.pods[pod].actual.containers.sidecar;
            match sidecar.map(|sidecar| sidecar.state) {
                Some(Run::Running) => self.after(Duration::from_millis(200), Event::EndSidecar(pod)),
                Some(Run::Restarting { code, oom }) => self.set_sidecar(pod, Run::Ended { code, oom }),
                _ => {}
            }
        } else {
            self.start_containers_after(pod, Duration::from_millis(300));
        }
        self.write_status_soon(pod);
    }

    fn begin_stop(&mut self, pod: usize) {
        let plan = &self.history.jobs[self.pods[pod].job];
        let it = &mut self.pods[pod];
        if std::mem::replace(&mut it.actual.stopping, true) {
            return;
        }
        let after = if plan.ignores_sigterm { plan.grace } else { it.dice.ms(50, 2000).min(plan.grace) };
        let code = if after == plan.grace { 137 } else { 143 };
        let life = it.actual.life;
        let alive: Vec<_> =
            it.actual.containers.mains.iter().enumerate().filter(|(_, main)| main.is_running()).collect();
        let events: Vec<_> = alive
            .iter()
            .map(|(main, it)| Event::MainEnds { pod, main: *main, run: it.run, life, code, oom: false })
            .collect();
        for event in events {
            self.after(after, event);
        }
    }

    fn restart_failed(&mut self, pod: usize) {
        let plan = &self.history.jobs[self.pods[pod].job];
        let actual = &mut self.pods[pod].actual;
        if !plan.restarts || actual.stopping {
            return;
        }
        let mut any = false;
        for main in &mut actual.containers.mains {
            if let Run::Ended { code, oom } = main.state
                && code != 0
            {
                main.state = Run::Restarting { code, oom };
                any = true;
            }
        }
        if any {
            self.actual_state_changed(pod);
            self.start_containers_after(pod, RESTART_AFTER);
        }
    }

    fn start_containers_after(&mut self, pod: usize, after: Duration) {
        let actual = &mut self.pods[pod].actual;
        if !std::mem::replace(&mut actual.starting, true) {
            let life = actual.life;
            self.after(after, Event::StartContainers { pod, life });
        }
    }

    /// The next step of starting a pod's containers.
    pub(crate) fn start_containers(&mut self, pod: usize, life: u32) {
        if self.pods[pod].actual.life != life {
            return;
        }
        self.pods[pod].actual.starting = false;
        let acts = self.kubelet_acts(pod);
        let it = &self.pods[pod];
        if !acts || it.actual.stopping || !it.actual.known || it.worker_has_ended() {
            return;
        }
        let (waits, init) = (|it: Option<Container>| it.is_some_and(|it| it.waits()), it.actual.containers.init);
        let sidecar = it.actual.containers.sidecar;
        if !it.actual.sandbox {
            self.pods[pod].actual.sandbox = true;
            let after = self.pods[pod].dice.ms(200, 1500);
            return self.start_containers_after(pod, after);
        }
        let helper = it.actual.containers.helper;
        if waits(sidecar) {
            self.start_sidecar(pod);
        } else if waits(helper) {
            self.start_helper(pod);
        } else if it.actual.containers.warm_up() {
            return;
        } else if waits(init) {
            self.start_init(pod);
        } else if init.is_some_and(|init| init.is_running()) {
            return;
        } else if !self.start_mains(pod) {
            self.start_containers_after(pod, PULL_AGAIN);
        }
        self.write_status_soon(pod);
    }

    fn start_sidecar(&mut self, pod: usize) {
        let missing = self.jobs[self.pods[pod].job].sidecar_missing > 0;
        let it = &mut self.pods[pod];
        let Some(sidecar) = &mut it.actual.containers.sidecar else { return };
        if missing && sidecar.run == 0 {
            sidecar.problem = Some("ImagePullBackOff");
            return self.start_containers_after(pod, PULL_AGAIN);
        }
        sidecar.start();
        let (life, run) = (it.actual.life, sidecar.run);
        if run == 1 {
            it.received = ReceivedSignals::reset_at(self.laws.signal_clock.at(self.now));
        }
        let (first_beat, after) = (it.dice.ms(50, 1000), it.dice.ms(100, 500));
        self.after(first_beat, Event::Beat { pod, life, run });
        self.start_containers_after(pod, after);
    }

    /// The workload's native sidecar starts, and becomes warm or fails.
    fn start_helper(&mut self, pod: usize) {
        let Some(plan) = self.history.jobs[self.pods[pod].job].helper else { return };
        let actual = &mut self.pods[pod].actual;
        let Some(helper) = &mut actual.containers.helper else { return };
        helper.start();
        let (life, run) = (actual.life, helper.run);
        self.after(plan.warm_up, Event::HelperWarms { pod, life, run });
    }

    /// The startup probe of a native sidecar succeeds, or fails for the last time: then the kubelet ends the container and starts it
    /// again after a while.
    pub(crate) fn helper_warms(&mut self, pod: usize, life: u32, run: u32) {
        let fails = self.history.jobs[self.pods[pod].job].helper.is_some_and(|plan| plan.never_warm);
        let acts = self.kubelet_acts(pod);
        let actual = &mut self.pods[pod].actual;
        let Some(helper) = actual.containers.helper.as_mut().filter(|helper| helper.run == run && helper.is_running())
        else {
            return;
        };
        if actual.life != life {
            return;
        }
        if !acts {
            return self.after(Duration::from_secs(5), Event::HelperWarms { pod, life, run });
        }
        if fails {
            helper.state = Run::Restarting { code: 137, oom: false };
            self.start_containers_after(pod, crash_loop(run));
        } else {
            helper.warm = true;
            self.start_containers_after(pod, Duration::from_millis(300));
        }
        self.write_status_soon(pod);
    }

    fn start_init(&mut self, pod: usize) {
        let lasts = self.history.jobs[self.pods[pod].job].init.unwrap_or_default();
        let actual = &mut self.pods[pod].actual;
        if let Some(init) = &mut actual.containers.init {
            init.start();
        }
        let life = actual.life;
        self.after(lasts, Event::InitEnds { pod, life });
    }

    /// Starts the main containers that wait. Returns whether none has to wait any longer.
    fn start_mains(&mut self, pod: usize) -> bool {
        let job = self.pods[pod].job;
        let (plan, faults) = (&self.history.jobs[job], &self.jobs[job]);
        let problem = if faults.image_missing > 0 {
            Some("ImagePullBackOff")
        } else {
            (faults.config_missing > 0).then_some("CreateContainerConfigError")
        };
        let it = &mut self.pods[pod];
        let (life, attempt, last) = (it.actual.life, it.attempt, it.actual.containers.mains.len() - 1);
        let mut events = Vec::new();
        for (index, main) in it.actual.containers.mains.iter_mut().enumerate().filter(|(_, main)| main.waits()) {
            if let (Some(problem), true, 0) = (problem, index == last, main.run) {
                main.problem = Some(problem);
                continue;
            }
            main.start();
            let code = Run::exit(&plan.exits, attempt, main.run);
            let work = plan.helpers.filter(|_| index > 0).unwrap_or(plan.work);
            events.push((work, Event::MainEnds { pod, main: index, run: main.run, life, code, oom: false }));
        }
        let all = it.actual.containers.mains.iter().all(|main| !main.waits());
        let name = it.name.clone();
        if it.actual.containers.sidecar.is_none() && it.status.containers.mains.iter().all(|main| main.run == 0) {
            // No signal could have been sent before.
            it.received = ReceivedSignals::reset_at(self.laws.signal_clock.at(self.now));
        }
        if !events.is_empty() {
            self.log(|| format!("pod {name}: main containers start"));
        }
        for (work, event) in events {
            self.after(work, event);
        }
        self.actual_state_changed(pod);
        all
    }

    pub(crate) fn init_ends(&mut self, pod: usize, life: u32) {
        let actual = &mut self.pods[pod].actual;
        if actual.life != life {
            return;
        }
        if let Some(init) = actual.containers.init.as_mut().filter(|init| init.is_running()) {
            init.state = Run::Ended { code: 0, oom: false };
            self.kubelet_sync_soon(pod);
        }
    }

    /// A main container ends.
    pub(crate) fn main_ends(&mut self, pod: usize, main: usize, run: u32, code: i32, oom: bool) {
        let it = &mut self.pods[pod].actual.containers.mains[main];
        if it.run != run || !it.is_running() {
            return;
        }
        it.state = Run::Ended { code, oom };
        let name = self.pods[pod].name.clone();
        self.log(|| format!("pod {name}: container main-{main} ends with {code}"));
        self.actual_state_changed(pod);
        self.kubelet_sync_soon(pod);
    }

    /// The kubelet terminates the sidecar after the main containers.
    pub(crate) fn end_sidecar(&mut self, pod: usize) {
        let actual = &self.pods[pod].actual;
        if self.kubelet_acts(pod) && actual.containers.sidecar.is_some_and(|it| it.is_running()) {
            self.last_beat(pod);
            self.set_sidecar(pod, Run::Ended { code: 0, oom: false });
            self.write_status_soon(pod);
        }
    }

    pub(crate) fn set_sidecar(&mut self, pod: usize, state: Run) {
        if let Some(sidecar) = &mut self.pods[pod].actual.containers.sidecar {
            sidecar.state = state;
        }
    }

    pub(crate) fn write_status_soon(&mut self, pod: usize) {
        let after = self.pods[pod].dice.ms(100, 900);
        self.after(after, Event::WriteStatus(pod));
    }

    /// The kubelet writes the status of a pod.
    pub(crate) fn write_status(&mut self, pod: usize) {
        let it = &self.pods[pod];
        if !(self.kubelet_acts(pod) && self.pod_is_online(pod) && it.exists && it.actual.known) {
            return;
        }
        // A terminal phase is final.
        let phase = if it.status.phase.is_terminal() { it.status.phase } else { it.true_phase() };
        let status = Status { phase, reason: it.status.reason.clone(), containers: it.actual.containers.clone() };
        let over = it.true_phase().is_terminal();
        if status != it.status {
            let (name, job) = (it.name.clone(), it.job);
            if status.phase != it.status.phase {
                self.log(|| format!("pod {name} is {phase:?}"));
            }
            let reaches = self.cluster.reapers_reach_api() && self.reapers.iter().all(Reaper::watches_are_up);
            let it = &mut self.pods[pod];
            // A warm-up that began or ended while no reaper could see it is not known to any.
            if it.status.containers.warm_up() && it.status_is_seen && reaches {
                it.warmed += self.now.saturating_sub(it.status_written_at);
            }
            (it.status, it.status_written_at, it.status_is_seen) = (status, self.now, reaches);
            self.publish(Kind::Pod(pod), false);
            self.sync_job_soon(job);
        }
        if self.pods[pod].deleting && over {
            self.after(Duration::from_millis(200), Event::Remove(pod));
        }
    }

    /// The kubelet removes the object of a pod that has ended.
    pub(crate) fn kubelet_removes(&mut self, pod: usize) {
        if self.kubelet_acts(pod) && self.pod_is_online(pod) && self.pods[pod].deleting {
            self.remove_pod(pod);
        }
    }

    /// All processes of a pod end with its node.
    pub(crate) fn die_with_node(&mut self, pod: usize) {
        let actual = &mut self.pods[pod].actual;
        actual.life += 1;
        (actual.sandbox, actual.starting) = (false, false);
        actual.seen.clear();
        let containers = &mut actual.containers;
        if let Some(init) = containers.init.as_mut().filter(|init| init.is_running()) {
            init.state = Run::Idle;
        }
        if let Some(helper) = containers.helper.as_mut().filter(|helper| helper.is_running()) {
            helper.state = Run::Restarting { code: 255, oom: false };
        }
        if let Some(sidecar) = containers.sidecar.as_mut().filter(|sidecar| sidecar.is_running()) {
            sidecar.state = Run::Restarting { code: 255, oom: false };
        }
        if containers.mains.iter().any(|main| main.run > 0) {
            for main in containers.mains.iter_mut().filter(|main| main.is_running() || main.state == Run::Idle) {
                main.state = DIED_WITH_NODE;
            }
        }
        self.actual_state_changed(pod);
    }
}
