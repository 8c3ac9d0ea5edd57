//! Kubelets: they start and end containers and tell the API server of it, where they can.

use std::time::Duration;

use super::pod::{Container, Run, Status};
use crate::{
    laws::signs::Signs,
    reaper::watches::Kind,
    world::{Event, World},
};

/// After how long a container that failed is started again.
const RESTART_AFTER: Duration = Duration::from_secs(10);
/// How often the pull of an image is tried again.
const PULL_AGAIN: Duration = Duration::from_secs(20);
/// What a kubelet says of containers that ended with their node.
const DIED_WITH_NODE: Run = Run::Ended { code: 255, oom: false };

impl World<'_> {
    /// The kubelet of this pod runs, and sees the pod.
    fn kubelet_acts(&self, pod: usize) -> bool {
        let pod = &self.pods[pod];
        pod.node.is_some_and(|node| self.nodes[node].kubelet_works()) && !pod.truth.lost_sight
    }

    /// The node of this pod reaches the API server.
    fn pod_is_online(&self, pod: usize) -> bool {
        self.pods[pod].node.is_some_and(|node| self.node_is_online(node))
    }

    /// The kubelet looks at a pod in a moment.
    pub(crate) fn notice_soon(&mut self, pod: usize) {
        let after = self.pods[pod].dice.ms(100, 800);
        self.after(after, Event::Kubelet(pod));
    }

    /// The kubelet looks at a pod.
    pub(crate) fn kubelet_notices(&mut self, pod: usize) {
        if !self.kubelet_acts(pod) {
            return; // It is looked at again when the kubelet is back.
        }
        if self.pod_is_online(pod) {
            let it = &mut self.pods[pod];
            it.truth.known |= it.exists;
            if it.truth.known && (!it.exists || it.deleting || it.status.phase.is_terminal()) {
                self.begin_stop(pod);
            }
        }
        if !self.pods[pod].truth.known {
            return;
        }
        self.restart_failed(pod);
        let it = &self.pods[pod];
        if it.worker_has_ended() {
            let sidecar = it.truth.containers.sidecar;
            match sidecar.map(|sidecar| sidecar.state) {
                Some(Run::Alive) => self.after(Duration::from_millis(200), Event::EndSidecar(pod)),
                Some(Run::Restarting { code, oom }) => self.set_sidecar(pod, Run::Ended { code, oom }),
                _ => {}
            }
        } else {
            self.advance_after(pod, Duration::from_millis(300));
        }
        self.push_soon(pod);
    }

    fn begin_stop(&mut self, pod: usize) {
        let plan = &self.history.jobs[self.pods[pod].job];
        let it = &mut self.pods[pod];
        if std::mem::replace(&mut it.truth.stopping, true) {
            return;
        }
        let after = if plan.stubborn { plan.grace } else { it.dice.ms(50, 2000).min(plan.grace) };
        let code = if after == plan.grace { 137 } else { 143 };
        let life = it.truth.life;
        let alive: Vec<_> = it.truth.containers.mains.iter().enumerate().filter(|(_, main)| main.is_alive()).collect();
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
        let truth = &mut self.pods[pod].truth;
        if !plan.restarts || truth.stopping {
            return;
        }
        let mut any = false;
        for main in &mut truth.containers.mains {
            if let Run::Ended { code, oom } = main.state
                && code != 0
            {
                main.state = Run::Restarting { code, oom };
                any = true;
            }
        }
        if any {
            self.truth_changed(pod);
            self.advance_after(pod, RESTART_AFTER);
        }
    }

    fn advance_after(&mut self, pod: usize, after: Duration) {
        let truth = &mut self.pods[pod].truth;
        if !std::mem::replace(&mut truth.starting, true) {
            let life = truth.life;
            self.after(after, Event::Advance { pod, life });
        }
    }

    /// The next step of starting a pod's containers.
    pub(crate) fn advance(&mut self, pod: usize, life: u32) {
        if self.pods[pod].truth.life != life {
            return;
        }
        self.pods[pod].truth.starting = false;
        let acts = self.kubelet_acts(pod);
        let it = &self.pods[pod];
        if !acts || it.truth.stopping || !it.truth.known || it.worker_has_ended() {
            return;
        }
        let (waits, init) = (|it: Option<Container>| it.is_some_and(|it| it.waits()), it.truth.containers.init);
        let sidecar = it.truth.containers.sidecar;
        if !it.truth.sandbox {
            self.pods[pod].truth.sandbox = true;
            let after = self.pods[pod].dice.ms(200, 1500);
            return self.advance_after(pod, after);
        }
        if waits(sidecar) {
            self.start_sidecar(pod);
        } else if waits(init) {
            self.start_init(pod);
        } else if init.is_some_and(|init| init.is_alive()) {
            return;
        } else if !self.start_mains(pod) {
            self.advance_after(pod, PULL_AGAIN);
        }
        self.push_soon(pod);
    }

    fn start_sidecar(&mut self, pod: usize) {
        let missing = self.jobs[self.pods[pod].job].sidecar_missing > 0;
        let it = &mut self.pods[pod];
        let Some(sidecar) = &mut it.truth.containers.sidecar else { return };
        if missing && sidecar.run == 0 {
            sidecar.problem = Some("ImagePullBackOff");
            return self.advance_after(pod, PULL_AGAIN);
        }
        sidecar.start();
        let (life, run) = (it.truth.life, sidecar.run);
        if run == 1 {
            it.signs = Signs::none_since(self.laws.listening.at(self.now));
        }
        let (first_beat, after) = (it.dice.ms(50, 1000), it.dice.ms(100, 500));
        self.after(first_beat, Event::Beat { pod, life, run });
        self.advance_after(pod, after);
    }

    fn start_init(&mut self, pod: usize) {
        let lasts = self.history.jobs[self.pods[pod].job].init.unwrap_or_default();
        let truth = &mut self.pods[pod].truth;
        if let Some(init) = &mut truth.containers.init {
            init.start();
        }
        let life = truth.life;
        self.after(lasts, Event::InitEnds { pod, life });
    }

    /// Starts the main containers that wait for it. Whether none has to wait on.
    fn start_mains(&mut self, pod: usize) -> bool {
        let job = self.pods[pod].job;
        let (plan, trouble) = (&self.history.jobs[job], &self.jobs[job]);
        let problem = if trouble.image_missing > 0 {
            Some("ImagePullBackOff")
        } else {
            (trouble.config_missing > 0).then_some("CreateContainerConfigError")
        };
        let it = &mut self.pods[pod];
        let (life, attempt, last) = (it.truth.life, it.attempt, it.truth.containers.mains.len() - 1);
        let mut events = Vec::new();
        for (index, main) in it.truth.containers.mains.iter_mut().enumerate().filter(|(_, main)| main.waits()) {
            if let (Some(problem), true, 0) = (problem, index == last, main.run) {
                main.problem = Some(problem);
                continue;
            }
            main.start();
            let code = Run::exit(&plan.exits, attempt, main.run);
            events.push(Event::MainEnds { pod, main: index, run: main.run, life, code, oom: false });
        }
        let all = it.truth.containers.mains.iter().all(|main| !main.waits());
        let name = it.name.clone();
        if it.truth.containers.sidecar.is_none() && it.status.containers.mains.iter().all(|main| main.run == 0) {
            // Nobody could tell of it before.
            it.signs = Signs::none_since(self.laws.listening.at(self.now));
        }
        if !events.is_empty() {
            self.note(|| format!("pod {name}: main containers start"));
        }
        for event in events {
            self.after(plan.work, event);
        }
        self.truth_changed(pod);
        all
    }

    pub(crate) fn init_ends(&mut self, pod: usize, life: u32) {
        let truth = &mut self.pods[pod].truth;
        if truth.life != life {
            return;
        }
        if let Some(init) = truth.containers.init.as_mut().filter(|init| init.is_alive()) {
            init.state = Run::Ended { code: 0, oom: false };
            self.notice_soon(pod);
        }
    }

    /// A main container ends, whoever notices.
    pub(crate) fn main_ends(&mut self, pod: usize, main: usize, run: u32, code: i32, oom: bool) {
        let it = &mut self.pods[pod].truth.containers.mains[main];
        if it.run != run || !it.is_alive() {
            return;
        }
        it.state = Run::Ended { code, oom };
        let name = self.pods[pod].name.clone();
        self.note(|| format!("pod {name}: container main-{main} ends with {code}"));
        self.truth_changed(pod);
        self.notice_soon(pod);
    }

    /// The kubelet asks the sidecar to end, for the worker has.
    pub(crate) fn end_sidecar(&mut self, pod: usize) {
        let truth = &self.pods[pod].truth;
        if self.kubelet_acts(pod) && truth.containers.sidecar.is_some_and(|it| it.is_alive()) {
            self.last_beat(pod);
            self.set_sidecar(pod, Run::Ended { code: 0, oom: false });
            self.push_soon(pod);
        }
    }

    pub(crate) fn set_sidecar(&mut self, pod: usize, state: Run) {
        if let Some(sidecar) = &mut self.pods[pod].truth.containers.sidecar {
            sidecar.state = state;
        }
    }

    pub(crate) fn push_soon(&mut self, pod: usize) {
        let after = self.pods[pod].dice.ms(100, 900);
        self.after(after, Event::Push(pod));
    }

    /// The kubelet writes the status of a pod.
    pub(crate) fn push(&mut self, pod: usize) {
        let it = &self.pods[pod];
        if !(self.kubelet_acts(pod) && self.pod_is_online(pod) && it.exists && it.truth.known) {
            return;
        }
        // A terminal phase stays, whoever wrote it.
        let phase = if it.status.phase.is_terminal() { it.status.phase } else { it.true_phase() };
        let status = Status { phase, reason: it.status.reason.clone(), containers: it.truth.containers.clone() };
        let over = it.true_phase().is_terminal();
        if status != it.status {
            let (name, job) = (it.name.clone(), it.job);
            if status.phase != it.status.phase {
                self.note(|| format!("pod {name} is {phase:?}"));
            }
            (self.pods[pod].status, self.pods[pod].told_at) = (status, self.now);
            self.publish(Kind::Pod(pod), false);
            self.sync_job_soon(job);
        }
        if self.pods[pod].deleting && over {
            self.after(Duration::from_millis(200), Event::Remove(pod));
        }
    }

    /// The kubelet lets the object of a pod go that has ended.
    pub(crate) fn kubelet_removes(&mut self, pod: usize) {
        if self.kubelet_acts(pod) && self.pod_is_online(pod) && self.pods[pod].deleting {
            self.remove_pod(pod);
        }
    }

    /// All processes of a pod end with its node.
    pub(crate) fn die_with_node(&mut self, pod: usize) {
        let truth = &mut self.pods[pod].truth;
        truth.life += 1;
        (truth.sandbox, truth.starting) = (false, false);
        truth.seen.clear();
        let containers = &mut truth.containers;
        if let Some(init) = containers.init.as_mut().filter(|init| init.is_alive()) {
            init.state = Run::Idle;
        }
        if let Some(sidecar) = containers.sidecar.as_mut().filter(|sidecar| sidecar.is_alive()) {
            sidecar.state = Run::Restarting { code: 255, oom: false };
        }
        if containers.mains.iter().any(|main| main.run > 0) {
            for main in containers.mains.iter_mut().filter(|main| main.is_alive() || main.state == Run::Idle) {
                main.state = DIED_WITH_NODE;
            }
        }
        self.truth_changed(pod);
    }
}
