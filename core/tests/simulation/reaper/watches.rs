//! Watches: what of the API server's changes reaches a reaper, in order, late, or only by a new list.

use std::{collections::HashSet, rc::Rc, time::Duration};

use jiff::Timestamp;
use jobwarden_core::{
    facts::{
        job::JobFacts,
        node::{LeaseFacts, NodeFacts},
        pod::PodFacts,
    },
    health::{Failure, Watch},
    index::State,
    moment::Moment,
    policy::Policies,
};

use crate::{
    kubernetes::objects,
    laws::Law,
    world::{Event, World},
};

/// How often the API server ends a watch, which begins anew at once and so shows that it is there.
const RENEW_EVERY: Duration = Duration::from_secs(25);
/// After how long without a word a watch counts as dead.
const SILENT_AFTER: Duration = Duration::from_secs(30);

/// Which object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Job(usize),
    Pod(usize),
    Node(usize),
    Lease(usize),
}

impl Kind {
    fn watch(self) -> Watch {
        match self {
            Self::Job(_) => Watch::Jobs,
            Self::Pod(_) => Watch::Pods,
            Self::Node(_) => Watch::Nodes,
            Self::Lease(_) => Watch::Leases,
        }
    }
}

/// An object as it was when it changed.
#[derive(Debug)]
pub(crate) struct Item {
    kind: Kind,
    facts: Facts,
    deleted: bool,
}

#[derive(Debug)]
enum Facts {
    Job(Box<JobFacts>),
    Pod(Box<PodFacts>),
    Node(NodeFacts),
    Lease(LeaseFacts),
}

/// One watch of one reaper.
#[derive(Debug, Default)]
pub(super) struct Link {
    state: LinkState,
    /// What it has yet to be told.
    backlog: Vec<Rc<Item>>,
    /// When the last change that is under way will have arrived: they do not overtake each other.
    arrives: Duration,
    heard: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum LinkState {
    /// It has to list.
    #[default]
    Unlisted,
    Up,
    /// It hears nothing and does not know it yet.
    Cut,
    /// It knows that it hears nothing.
    Broken,
}

impl Link {
    pub(super) fn is_up_as_far_as_known(&self) -> bool {
        matches!(self.state, LinkState::Up | LinkState::Cut)
    }
}

impl World<'_> {
    /// An object has changed, or is gone.
    pub(crate) fn publish(&mut self, kind: Kind, deleted: bool) {
        let Some(facts) = self.read(kind) else {
            return self.break_law(Law::Simulator, format!("{kind:?} cannot be read"));
        };
        let item = Rc::new(Item { kind, facts, deleted });
        for reaper in 0..self.reapers.len() {
            let it = &mut self.reapers[reaper];
            let link = &mut it.links[kind.watch() as usize];
            if !it.running || link.state == LinkState::Unlisted {
                continue;
            }
            if link.state == LinkState::Up {
                link.arrives = link.arrives.max(self.now + it.dice.ms(2, 120));
                let (at, life, item) = (link.arrives, it.life, Rc::clone(&item));
                self.at(at, Event::Deliver { reaper, life, item });
            } else {
                link.backlog.push(Rc::clone(&item));
            }
        }
    }

    fn read(&self, kind: Kind) -> Option<Facts> {
        Some(match kind {
            Kind::Job(job) => {
                let object = objects::job(job, &self.jobs[job], &self.history.jobs[job]);
                let (facts, bad) = JobFacts::read(&object, &Policies::default(), objects::wall(self.now))?;
                if !bad.is_empty() {
                    return None;
                }
                Facts::Job(Box::new(facts))
            }
            Kind::Pod(pod) => {
                let pod = &self.pods[pod];
                Facts::Pod(Box::new(PodFacts::read(&objects::pod(pod, &self.history.jobs[pod.job]))?))
            }
            Kind::Node(node) => Facts::Node(NodeFacts::read(&objects::node(node, &self.nodes[node]))?),
            Kind::Lease(node) => Facts::Lease(LeaseFacts::read(&objects::lease(node, &self.nodes[node]))?),
        })
    }

    pub(crate) fn deliver(&mut self, reaper: usize, life: u32, item: &Rc<Item>) {
        let (now, at) = (self.now, self.instant());
        let it = &mut self.reapers[reaper];
        let watch = item.kind.watch();
        let link = &mut it.links[watch as usize];
        if it.life != life || link.state == LinkState::Unlisted {
            return;
        }
        if link.state == LinkState::Up {
            link.heard = now;
            it.hearing.watch_heard(watch, at);
        }
        self.apply(reaper, item);
    }

    fn apply(&mut self, reaper: usize, item: &Item) {
        if let Kind::Lease(node) = item.kind
            && self.reapers[reaper].leads
        {
            self.nodes[node].lease_heard = self.laws.listening.at(self.now);
        }
        let wall = objects::wall(self.now);
        self.hear(reaper, |state, now| apply(state, &item.facts, item.deleted, wall, now));
    }

    /// Lists all objects of a watch.
    pub(crate) fn list(&mut self, reaper: usize, life: u32, watch: usize) {
        if self.reapers[reaper].life != life || !self.reapers[reaper].running || !self.cluster.reapers_reach_api() {
            return; // It is tried again when the API server is there.
        }
        let kinds: Vec<Kind> = match Watch::ALL[watch] {
            Watch::Jobs => (0..self.jobs.len()).filter(|&job| self.jobs[job].exists).map(Kind::Job).collect(),
            Watch::Pods => (0..self.pods.len()).filter(|&pod| self.pods[pod].exists).map(Kind::Pod).collect(),
            Watch::Nodes => (0..self.nodes.len()).filter(|&node| self.nodes[node].exists).map(Kind::Node).collect(),
            Watch::Leases => (0..self.nodes.len()).filter(|&node| self.nodes[node].exists).map(Kind::Lease).collect(),
            Watch::Namespaces => Vec::new(),
        };
        for kind in &kinds {
            if let Some(facts) = self.read(*kind) {
                self.apply(reaper, &Item { kind: *kind, facts, deleted: false });
            }
        }
        let jobs: HashSet<_> = kinds
            .iter()
            .filter_map(|kind| if let Kind::Job(job) = kind { Some(self.jobs[*job].uid.clone()) } else { None })
            .collect();
        let pods: HashSet<_> = kinds
            .iter()
            .filter_map(|kind| if let Kind::Pod(pod) = kind { Some(self.pods[*pod].uid.clone()) } else { None })
            .collect();
        let nodes: HashSet<_> = kinds
            .iter()
            .filter_map(|kind| if let Kind::Node(node) = kind { Some(objects::node_name(*node)) } else { None })
            .collect();
        self.hear(reaper, |state, now| match Watch::ALL[watch] {
            Watch::Jobs => state.jobs_listed(&jobs, now),
            Watch::Pods => state.pods_listed(&pods, now),
            Watch::Nodes => state.nodes_listed(&nodes, now),
            Watch::Leases | Watch::Namespaces => {}
        });
        let at = self.instant();
        let it = &mut self.reapers[reaper];
        it.links[watch].backlog.clear();
        it.hearing.watch_listed(Watch::ALL[watch]);
        it.hearing.watch_heard(Watch::ALL[watch], at);
        self.link_is_up(reaper, watch);
    }

    fn link_is_up(&mut self, reaper: usize, watch: usize) {
        let link = &mut self.reapers[reaper].links[watch];
        (link.state, link.heard, link.arrives) = (LinkState::Up, self.now, self.now);
        self.hear(reaper, |_, _| {});
        self.update_listening();
    }

    /// A watch goes on where it ended, or finds that it has to list.
    pub(crate) fn resume_watch(&mut self, reaper: usize, life: u32, watch: usize) {
        let it = &mut self.reapers[reaper];
        if it.life != life || it.links[watch].state != LinkState::Broken || !self.cluster.reapers_reach_api() {
            return;
        }
        if it.dice.percent(30) {
            return self.list(reaper, life, watch);
        }
        // It is connected before it is told anything.
        let at = self.instant();
        self.reapers[reaper].hearing.watch_heard(Watch::ALL[watch], at);
        self.take_backlog(reaper, watch);
    }

    fn take_backlog(&mut self, reaper: usize, watch: usize) {
        for item in std::mem::take(&mut self.reapers[reaper].links[watch].backlog) {
            self.apply(reaper, &item);
        }
        self.link_is_up(reaper, watch);
    }

    /// The API server ends watches that begin anew at once: a sign of life.
    pub(crate) fn renew_watches(&mut self, reaper: usize, life: u32) {
        let (now, at) = (self.now, self.instant());
        let it = &mut self.reapers[reaper];
        if it.life != life {
            return;
        }
        for (link, watch) in it.links.iter_mut().zip(Watch::ALL).filter(|(link, _)| link.state == LinkState::Up) {
            link.heard = now;
            it.hearing.watch_heard(watch, at);
        }
        self.hear(reaper, |_, _| {});
        self.after(RENEW_EVERY, Event::Renewal { reaper, life });
    }

    /// The API server is down: whoever is connected notices at once.
    pub(crate) fn break_watches(&mut self) {
        if self.cluster.reapers_cut_off == 0 {
            for reaper in 0..self.reapers.len() {
                for watch in 0..Watch::ALL.len() {
                    self.fail_watch(reaper, watch, Failure::Broken);
                }
                self.may_be_deposed(reaper);
            }
        }
    }

    /// The reapers are cut off from the API server, and do not notice yet.
    pub(crate) fn silence_watches(&mut self) {
        for reaper in 0..self.reapers.len() {
            let life = self.reapers[reaper].life;
            let mut due = Vec::new();
            for link in self.reapers[reaper].links.iter_mut().filter(|link| link.state == LinkState::Up) {
                link.state = LinkState::Cut;
                due.push(link.heard + SILENT_AFTER);
            }
            for at in due {
                self.at(at, Event::NoticeSilence { reaper, life });
            }
            self.may_be_deposed(reaper);
        }
    }

    pub(crate) fn notice_silence(&mut self, reaper: usize, life: u32) {
        if self.reapers[reaper].life != life {
            return;
        }
        for watch in 0..Watch::ALL.len() {
            let link = &self.reapers[reaper].links[watch];
            if link.state == LinkState::Cut && self.now >= link.heard + SILENT_AFTER {
                self.fail_watch(reaper, watch, Failure::Silent);
            }
        }
    }

    fn fail_watch(&mut self, reaper: usize, watch: usize, failure: Failure) {
        let at = self.instant();
        let it = &mut self.reapers[reaper];
        if it.running && it.links[watch].is_up_as_far_as_known() {
            it.links[watch].state = LinkState::Broken;
            it.hearing.watch_failed(Watch::ALL[watch], failure, at);
            self.hear(reaper, |_, _| {});
        }
    }

    /// What one watch should go on from is not to be had any more.
    pub(crate) fn expire_watch(&mut self, watch: usize) {
        for reaper in 0..self.reapers.len() {
            if self.reapers[reaper].links[watch].state != LinkState::Up {
                continue;
            }
            self.fail_watch(reaper, watch, Failure::Broken);
            let it = &mut self.reapers[reaper];
            it.links[watch].state = LinkState::Unlisted;
            let (after, life) = (it.dice.ms(50, 5_000), it.life);
            self.after(after, Event::List { reaper, life, watch });
        }
    }

    /// The API server can be reached again.
    pub(crate) fn watches_may_resume(&mut self) {
        if !self.cluster.reapers_reach_api() {
            return;
        }
        for reaper in (0..self.reapers.len()).filter(|&reaper| self.reapers[reaper].running).collect::<Vec<_>>() {
            let life = self.reapers[reaper].life;
            for watch in 0..Watch::ALL.len() {
                let after = self.reapers[reaper].dice.ms(50, 5_000);
                match self.reapers[reaper].links[watch].state {
                    LinkState::Up => {}
                    LinkState::Unlisted => self.after(after, Event::List { reaper, life, watch }),
                    LinkState::Cut => self.take_backlog(reaper, watch),
                    LinkState::Broken => self.after(after, Event::Resume { reaper, life, watch }),
                }
            }
            self.may_lead(reaper);
        }
    }

    /// A process of a reaper begins: it knows nothing.
    pub(crate) fn start_reaper(&mut self, reaper: usize, life: u32) {
        let at = self.instant();
        let it = &mut self.reapers[reaper];
        if it.life != life || it.running || self.cluster.reapers_down > 0 {
            return;
        }
        it.running = true;
        it.state = State::default();
        it.hearing = jobwarden_core::health::SignalTracker::new(at);
        it.health = jobwarden_core::guard::SignalHealth::WatchDown;
        it.links = std::array::from_fn(|_| Link::default());
        for watch in 0..Watch::ALL.len() {
            let after = self.reapers[reaper].dice.ms(50, 1_500);
            self.after(after, Event::List { reaper, life, watch });
        }
        self.note(|| format!("reaper-{reaper} starts"));
        self.after(RENEW_EVERY, Event::Renewal { reaper, life });
        self.may_lead(reaper);
    }
}

/// As the `Observer` takes in what a watch brings.
fn apply(state: &mut State, facts: &Facts, deleted: bool, wall: Timestamp, now: Moment) {
    match facts {
        Facts::Job(facts) if !deleted => {
            let mut facts = (**facts).clone();
            if let Some(start) = &mut facts.started {
                // It is read when it arrives.
                start.ago = wall.duration_since(start.at).try_into().unwrap_or_default();
            }
            state.apply_job(facts, now);
        }
        Facts::Job(facts) => {
            let uid = &facts.identity.uid;
            if state.knows(uid) {
                state.apply_job((**facts).clone(), now);
                state.delete_job(uid, now);
            }
        }
        Facts::Pod(facts) if !deleted => state.apply_pod((**facts).clone(), now),
        Facts::Pod(facts) => {
            if state.knows_pod(&facts.uid) {
                state.apply_pod((**facts).clone(), now);
                state.delete_pod(&facts.uid, now);
            }
        }
        Facts::Node(facts) if deleted => state.delete_node(&facts.name, now),
        Facts::Node(facts) => state.apply_node(facts, now),
        Facts::Lease(facts) if deleted => state.delete_lease(&facts.node),
        Facts::Lease(facts) => state.apply_lease(facts, now),
    }
}
