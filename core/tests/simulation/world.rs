//! The world: everything that is simulated, and the queue of events.

use std::{
    cmp::Ordering,
    collections::BinaryHeap,
    rc::Rc,
    time::{Duration, Instant},
};

use crate::{
    dice::Dice,
    history::History,
    state::{
        forged::Forged,
        job::Job,
        laws::{FinalState, Law, Laws, Violation},
        node::Node,
        pod::Pod,
        reaper::Reaper,
        watch::Item,
    },
    statistics::Statistics,
};

/// An event.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A fault begins, or ends.
    BeginFault(usize),
    EndFault(usize),
    /// Jobs.
    CreateJob(usize),
    SyncJob(usize),
    CollectJob(usize),
    /// Pods.
    Schedule(usize),
    KubeletSync(usize),
    StartContainers {
        pod: usize,
        life: u32,
    },
    InitEnds {
        pod: usize,
        life: u32,
    },
    HelperWarms {
        pod: usize,
        life: u32,
        run: u32,
    },
    MainEnds {
        pod: usize,
        main: usize,
        run: u32,
        life: u32,
        code: i32,
        oom: bool,
    },
    EndSidecar(usize),
    WriteStatus(usize),
    Remove(usize),
    Evict {
        pod: usize,
        node: usize,
        taints: u32,
    },
    CollectPod(usize),
    /// Enrolment.
    Backfill(usize),
    ForgedPodEnds {
        forged: usize,
        phase: &'static str,
    },
    /// Nodes.
    Renew(usize),
    Monitor(usize),
    /// Sidecars and agents.
    Beat {
        pod: usize,
        life: u32,
        run: u32,
    },
    Observe(usize),
    /// A reaper, in one life of its process.
    Start {
        reaper: usize,
        life: u32,
    },
    Lead {
        reaper: usize,
        life: u32,
    },
    OwnBeat {
        reaper: usize,
        life: u32,
        term: u32,
    },
    Deliver {
        reaper: usize,
        life: u32,
        item: Rc<Item>,
    },
    List {
        reaper: usize,
        life: u32,
        watch: usize,
    },
    Resume {
        reaper: usize,
        life: u32,
        watch: usize,
    },
    Renewal {
        reaper: usize,
        life: u32,
    },
    LoseLease {
        reaper: usize,
        life: u32,
        term: u32,
    },
    WatchTimeout {
        reaper: usize,
        life: u32,
    },
    Reconcile {
        reaper: usize,
        life: u32,
    },
    Step {
        reaper: usize,
        life: u32,
        term: u32,
        job: usize,
    },
    Settle {
        job: usize,
        outcome: jobwarden_core::outcome::OutcomeName,
    },
    /// Laws: a dead pod has to be reported by now; no verdict has changed without an evaluation.
    DeadPodCheck(usize),
    Probe,
}

struct Due {
    at: Duration,
    order: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    /// The earliest is the greatest, as a heap returns the greatest first. Of two at one time it is the one that was added first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// The state of the whole cluster. Each field counts the faults that cause it.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    pub(crate) api_down: u32,
    pub(crate) reapers_cut_off: u32,
    pub(crate) service_broken: u32,
    pub(crate) own_beat_lost: u32,
    pub(crate) reapers_down: u32,
    pub(crate) sidecars_silenced: u32,
    pub(crate) agents_gone: u32,
}

impl Cluster {
    pub(crate) fn api_is_up(&self) -> bool {
        self.api_down == 0
    }

    /// The reapers reach the API server.
    pub(crate) fn reapers_reach_api(&self) -> bool {
        self.api_down == 0 && self.reapers_cut_off == 0
    }
}

/// Everything that is simulated.
pub(crate) struct World<'a> {
    pub(crate) history: &'a History,
    pub(crate) now: Duration,
    pub(crate) start: Instant,
    pub(crate) cluster: Cluster,
    pub(crate) nodes: Vec<Node>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) pods: Vec<Pod>,
    pub(crate) forged: Vec<Forged>,
    /// How many faults keep each namespace out of enrolment.
    pub(crate) left: Vec<u32>,
    pub(crate) reapers: Vec<Reaper>,
    pub(crate) laws: Laws,
    pub(crate) statistics: Statistics,
    pub(crate) dice: Dice,
    queue: BinaryHeap<Due>,
    order: u64,
    timeline: Option<Vec<String>>,
}

/// The result of a history.
pub(crate) struct RunResult {
    /// What happened, if that was recorded.
    pub(crate) timeline: Vec<String>,
    /// Figures.
    pub(crate) statistics: Statistics,
    /// The final state of each Job.
    pub(crate) final_states: Vec<FinalState>,
    /// The writes about losses that rest on silence: when, and whether the worker ran.
    pub(crate) enforced: Vec<(Duration, bool)>,
    /// The first law that was broken.
    pub(crate) violation: Option<Violation>,
}

impl<'a> World<'a> {
    pub(crate) fn new(history: &'a History, with_timeline: bool) -> Self {
        let seed = history.seed;
        let start = Instant::now();
        let nodes =
            (0..history.nodes).map(|n| Node::new(n, n % history.zones, n < history.blind_nodes, seed)).collect();
        let jobs = (0..history.jobs.len()).map(|job| Job::new(job, seed)).collect();
        let reapers = (0..history.reapers).map(|reaper| Reaper::new(reaper, start, seed)).collect();
        let mut world = Self {
            history,
            now: Duration::ZERO,
            start,
            cluster: Cluster::default(),
            nodes,
            jobs,
            pods: Vec::new(),
            forged: Vec::new(),
            left: vec![0; history.namespaces],
            reapers,
            laws: Laws::new(history),
            statistics: Statistics::default(),
            dice: Dice::of(seed, [9, 0, 0]),
            queue: BinaryHeap::new(),
            order: 0,
            timeline: with_timeline.then(Vec::new),
        };
        world.schedule_start();
        world
    }

    fn schedule_start(&mut self) {
        let history = self.history;
        for (number, job) in history.jobs.iter().enumerate() {
            self.at(job.at, Event::CreateJob(number));
        }
        for (number, fault) in history.faults.iter().enumerate() {
            self.at(fault.at, Event::BeginFault(number));
            if let Some(lasts) = fault.lasts {
                self.at(fault.at + lasts, Event::EndFault(number));
            }
        }
        for node in 0..history.nodes {
            let (renew, observe) = (self.nodes[node].dice.ms(0, 10_000), self.nodes[node].dice.ms(0, 10_000));
            self.at(renew, Event::Renew(node));
            self.at(observe, Event::Observe(node));
            self.at(Duration::from_secs(50), Event::Monitor(node));
        }
        for reaper in 0..history.reapers {
            self.at(Duration::from_millis(100 * reaper as u64), Event::Start { reaper, life: 0 });
        }
        self.at(Duration::from_millis(500), Event::Lead { reaper: 0, life: 0 });
        self.at(Duration::from_secs(30), Event::Probe);
    }

    /// Dispatches events until the end, or until a law is broken.
    pub(crate) fn run(mut self) -> RunResult {
        while let Some(Due { at, event, .. }) = self.queue.pop() {
            if at > self.history.until || self.laws.violation.is_some() {
                break;
            }
            self.now = at;
            self.statistics.events += 1;
            self.dispatch(event);
        }
        self.statistics.histories += 1;
        for fault in &self.history.faults {
            *self.statistics.faults.entry(fault.kind.name()).or_default() += 1;
        }
        RunResult {
            final_states: self.final_states(),
            enforced: self.laws.enforced.iter().map(|(at, _, runs)| (*at, *runs)).collect(),
            timeline: self.timeline.unwrap_or_default(),
            statistics: self.statistics,
            violation: self.laws.violation,
        }
    }

    /// Schedules an event at a time.
    pub(crate) fn at(&mut self, at: Duration, event: Event) {
        self.order += 1;
        self.queue.push(Due { at: at.max(self.now), order: self.order, event });
    }

    /// Schedules an event after a time.
    pub(crate) fn after(&mut self, after: Duration, event: Event) {
        self.at(self.now.saturating_add(after), event);
    }

    /// Adds to the timeline, if it is recorded.
    pub(crate) fn log(&mut self, message: impl FnOnce() -> String) {
        if let Some(timeline) = &mut self.timeline {
            timeline.push(format!("{:9.3}  {}", self.now.as_secs_f64(), message()));
        }
    }

    /// A law is broken. The first violation counts.
    pub(crate) fn break_law(&mut self, law: Law, how: String) {
        let at = self.now;
        self.log(|| format!("{law:?} is broken: {how}"));
        self.laws.violation.get_or_insert(Violation { at, law, how });
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::BeginFault(fault) => self.begin_fault(fault),
            Event::EndFault(fault) => self.end_fault(fault),
            Event::CreateJob(job) => self.create_job(job),
            Event::SyncJob(job) => self.sync_job(job),
            Event::CollectJob(job) => self.collect_job(job),
            Event::Schedule(pod) => self.schedule(pod),
            Event::KubeletSync(pod) => self.kubelet_sync(pod),
            Event::StartContainers { pod, life } => self.start_containers(pod, life),
            Event::InitEnds { pod, life } => self.init_ends(pod, life),
            Event::HelperWarms { pod, life, run } => self.helper_warms(pod, life, run),
            Event::MainEnds { pod, main, run, life, code, oom } => {
                if self.pods[pod].actual.life == life {
                    self.main_ends(pod, main, run, code, oom);
                }
            }
            Event::EndSidecar(pod) => self.end_sidecar(pod),
            Event::WriteStatus(pod) => self.write_status(pod),
            Event::Remove(pod) => self.kubelet_removes(pod),
            Event::Evict { pod, node, taints } => self.evict(pod, node, taints),
            Event::CollectPod(pod) => self.collect_pod(pod),
            Event::Backfill(job) => self.backfill(job),
            Event::ForgedPodEnds { forged, phase } => self.forged_pod_ends(forged, phase),
            Event::Renew(node) => self.renew_lease(node),
            Event::Monitor(node) => self.monitor_node(node),
            Event::Beat { pod, life, run } => self.sidecar_beats(pod, life, run),
            Event::Observe(node) => self.agent_reports(node),
            Event::Start { reaper, life } => self.start_reaper(reaper, life),
            Event::Lead { reaper, life } => self.lead(reaper, life),
            Event::OwnBeat { reaper, life, term } => self.own_beat(reaper, life, term),
            Event::Deliver { reaper, life, item } => self.deliver(reaper, life, &item),
            Event::List { reaper, life, watch } => self.list(reaper, life, watch),
            Event::Resume { reaper, life, watch } => self.resume_watch(reaper, life, watch),
            Event::Renewal { reaper, life } => self.renew_watches(reaper, life),
            Event::LoseLease { reaper, life, term } => self.lose_lease(reaper, life, term),
            Event::WatchTimeout { reaper, life } => self.time_out_watches(reaper, life),
            Event::Reconcile { reaper, life } => self.reconcile(reaper, life),
            Event::Step { reaper, life, term, job } => self.take_step(reaper, life, term, job),
            Event::Settle { job, outcome } => self.settle(job, outcome),
            Event::DeadPodCheck(pod) => self.check_dead_pod(pod),
            Event::Probe => self.probe(),
        }
    }
}
