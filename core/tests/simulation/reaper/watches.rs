//! Watches: which changes in the API server reach a reaper, in order, late, or only by a new list.

use std::{collections::HashSet, rc::Rc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use jobwarden_core::{
    facts::{
        job::JobFacts,
        node::{LeaseFacts, NodeFacts},
        pod::PodFacts,
    },
    health::{Failure, SignalHealth, SignalTracker, Watch},
    index::Index,
    moment::Moment,
    policy::Policies,
    reconcile::{Mode, Reconciler},
    server_clock::ServerClock,
};

use crate::{
    kubernetes::objects,
    state::{
        laws::Law,
        node::node_name,
        watch::{ConnectionState, Facts, Item, Kind, WatchConnection},
    },
    world::{Event, World},
};

/// How often the API server closes a watch. The watch reconnects at once, which proves that the API server is up.
const RENEW_EVERY: Duration = Duration::from_secs(25);
/// After how long without anything received a watch counts as down.
const SILENT_AFTER: Duration = Duration::from_secs(30);
/// The pause of a Lease after which the signals of its node get their time to arrive again, in milliseconds. Short enough not to depend
/// on the order of what happens at one moment.
const LEASE_PAUSE_MS: i64 = 24_000;

impl World<'_> {
    /// An object has changed, or is gone.
    pub(crate) fn publish(&mut self, kind: Kind, deleted: bool) {
        let Some(facts) = self.read(kind) else {
            return self.break_law(Law::Simulator, format!("{kind:?} cannot be read"));
        };
        // The watch selects by our label.
        if matches!(kind, Kind::Job(job) if !self.jobs[job].labelled) {
            return;
        }
        self.send(&Rc::new(Item { kind, facts, deleted }));
    }

    /// An item is sent to every reaper that watches.
    pub(crate) fn send(&mut self, item: &Rc<Item>) {
        for reaper in 0..self.reapers.len() {
            let it = &mut self.reapers[reaper];
            let connection = &mut it.watches[item.kind.watch() as usize];
            if !it.running || connection.state == ConnectionState::Unlisted {
                continue;
            }
            if connection.state == ConnectionState::Up {
                connection.arrives = connection.arrives.max(self.now + it.dice.ms(2, 120));
                let (at, life, item) = (connection.arrives, it.life, Rc::clone(item));
                self.at(at, Event::Deliver { reaper, life, item });
            } else {
                connection.backlog.push(Rc::clone(item));
            }
        }
    }

    pub(crate) fn read(&self, kind: Kind) -> Option<Facts> {
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
            Kind::Forged(forged) => Facts::Pod(Box::new(self.read_forged(forged)?)),
            Kind::Namespace(namespace) => {
                Facts::Namespace(objects::namespace_name(namespace), self.left[namespace] == 0)
            }
            Kind::Node(node) => Facts::Node(NodeFacts::read(&objects::node(node, &self.nodes[node]))?),
            Kind::Lease(node) => Facts::Lease(LeaseFacts::read(&objects::lease(node, &self.nodes[node]))?),
        })
    }

    pub(crate) fn deliver(&mut self, reaper: usize, life: u32, item: &Rc<Item>) {
        let (now, at) = (self.now, self.instant());
        let it = &mut self.reapers[reaper];
        let watch = item.kind.watch();
        let connection = &mut it.watches[watch as usize];
        if it.life != life || connection.state == ConnectionState::Unlisted {
            return;
        }
        if connection.state == ConnectionState::Up {
            connection.received_at = now;
            it.signals.watch_received(watch, at);
        }
        self.apply(reaper, item);
    }

    fn apply(&mut self, reaper: usize, item: &Item) {
        if let Kind::Lease(node) = item.kind
            && self.reapers[reaper].leads
        {
            let (moment, now) = (self.laws.signal_clock.at(self.now), self.now);
            let node = &mut self.nodes[node];
            if moment - node.lease_received >= LEASE_PAUSE_MS {
                node.lease_steady_since = moment;
            }
            (node.lease_received, node.heard_at) = (moment, now);
        }
        let server_time = self.server_time(reaper);
        self.observe(reaper, |index, now| apply(index, &item.facts, item.deleted, server_time, now));
    }

    /// The API server has answered a reaper, with its time in whole seconds.
    fn answered(&mut self, reaper: usize) {
        let at = self.instant();
        let date = Timestamp::from_second(objects::wall(self.now).as_second()).unwrap_or_default();
        self.reapers[reaper].server_clock.answered(date, at, at);
    }

    /// The time of the API server, as a reaper knows it; before its first answer that of the reaper's own machine.
    fn server_time(&self, reaper: usize) -> Timestamp {
        let own = || {
            let skew = SignedDuration::from_secs(self.history.clock_skew);
            objects::wall(self.now).checked_add(skew).unwrap_or(Timestamp::UNIX_EPOCH)
        };
        self.reapers[reaper].server_clock.now(self.instant()).unwrap_or_else(own)
    }

    /// Lists all objects of a watch.
    pub(crate) fn list(&mut self, reaper: usize, life: u32, watch: usize) {
        if self.reapers[reaper].life != life || !self.reapers[reaper].running || !self.cluster.reapers_reach_api() {
            return; // It lists again when the API server can be reached.
        }
        self.answered(reaper);
        let kinds: Vec<Kind> = match Watch::ALL[watch] {
            Watch::Jobs => (0..self.jobs.len())
                .filter(|&job| self.jobs[job].exists && self.jobs[job].labelled)
                .map(Kind::Job)
                .collect(),
            Watch::Pods => {
                let pods = (0..self.pods.len()).filter(|&pod| self.pods[pod].exists).map(Kind::Pod);
                pods.chain((0..self.forged.len()).map(Kind::Forged)).collect()
            }
            Watch::Nodes => (0..self.nodes.len()).filter(|&node| self.nodes[node].exists).map(Kind::Node).collect(),
            Watch::Leases => (0..self.nodes.len()).filter(|&node| self.nodes[node].exists).map(Kind::Lease).collect(),
            Watch::Namespaces => (0..self.left.len()).map(Kind::Namespace).collect(),
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
            .filter_map(|kind| match kind {
                Kind::Pod(pod) => Some(self.pods[*pod].uid.clone()),
                Kind::Forged(forged) => Some(objects::forged_uid(*forged).into()),
                _ => None,
            })
            .collect();
        let nodes: HashSet<_> = kinds
            .iter()
            .filter_map(|kind| if let Kind::Node(node) = kind { Some(node_name(*node)) } else { None })
            .collect();
        self.observe(reaper, |index, now| match Watch::ALL[watch] {
            Watch::Jobs => index.jobs_listed(&jobs, now),
            Watch::Pods => index.pods_listed(&pods, now),
            Watch::Nodes => index.nodes_listed(&nodes, now),
            Watch::Namespaces => index.namespaces_listed(|_| true, now),
            Watch::Leases => {}
        });
        let at = self.instant();
        let it = &mut self.reapers[reaper];
        it.watches[watch].backlog.clear();
        it.signals.watch_listed(Watch::ALL[watch]);
        it.signals.watch_received(Watch::ALL[watch], at);
        self.watch_is_up(reaper, watch);
    }

    fn watch_is_up(&mut self, reaper: usize, watch: usize) {
        let connection = &mut self.reapers[reaper].watches[watch];
        (connection.state, connection.received_at, connection.arrives) = (ConnectionState::Up, self.now, self.now);
        self.observe(reaper, |_, _| {});
        self.update_signal_clock();
    }

    /// A watch resumes where it ended, or has to list again.
    pub(crate) fn resume_watch(&mut self, reaper: usize, life: u32, watch: usize) {
        let it = &mut self.reapers[reaper];
        if it.life != life || it.watches[watch].state != ConnectionState::Broken || !self.cluster.reapers_reach_api() {
            return;
        }
        if it.dice.percent(30) {
            return self.list(reaper, life, watch);
        }
        // The connection counts before anything arrives through it.
        self.answered(reaper);
        let at = self.instant();
        self.reapers[reaper].signals.watch_received(Watch::ALL[watch], at);
        self.take_backlog(reaper, watch);
    }

    fn take_backlog(&mut self, reaper: usize, watch: usize) {
        for item in std::mem::take(&mut self.reapers[reaper].watches[watch].backlog) {
            self.apply(reaper, &item);
        }
        self.watch_is_up(reaper, watch);
    }

    /// The API server closes watches, which reconnect at once: the API server is up.
    pub(crate) fn renew_watches(&mut self, reaper: usize, life: u32) {
        let (now, at) = (self.now, self.instant());
        let it = &mut self.reapers[reaper];
        if it.life != life {
            return;
        }
        for (connection, watch) in
            it.watches.iter_mut().zip(Watch::ALL).filter(|(connection, _)| connection.state == ConnectionState::Up)
        {
            connection.received_at = now;
            it.signals.watch_received(watch, at);
        }
        self.observe(reaper, |_, _| {});
        self.after(RENEW_EVERY, Event::Renewal { reaper, life });
    }

    /// The API server is down: every connection is closed at once.
    pub(crate) fn break_watches(&mut self) {
        if self.cluster.reapers_cut_off == 0 {
            for reaper in 0..self.reapers.len() {
                for watch in 0..Watch::ALL.len() {
                    self.fail_watch(reaper, watch, Failure::Disconnected);
                }
                self.may_lose_lease(reaper);
            }
        }
    }

    /// The reapers are cut off from the API server, and have not detected it.
    pub(crate) fn stall_watches(&mut self) {
        for reaper in 0..self.reapers.len() {
            let life = self.reapers[reaper].life;
            let mut due = Vec::new();
            for connection in
                self.reapers[reaper].watches.iter_mut().filter(|connection| connection.state == ConnectionState::Up)
            {
                connection.state = ConnectionState::Stalled;
                due.push(connection.received_at + SILENT_AFTER);
            }
            for at in due {
                self.at(at, Event::WatchTimeout { reaper, life });
            }
            self.may_lose_lease(reaper);
        }
    }

    pub(crate) fn time_out_watches(&mut self, reaper: usize, life: u32) {
        if self.reapers[reaper].life != life {
            return;
        }
        for watch in 0..Watch::ALL.len() {
            let connection = &self.reapers[reaper].watches[watch];
            if connection.state == ConnectionState::Stalled && self.now >= connection.received_at + SILENT_AFTER {
                self.fail_watch(reaper, watch, Failure::TimedOut);
            }
        }
    }

    fn fail_watch(&mut self, reaper: usize, watch: usize, failure: Failure) {
        let at = self.instant();
        let it = &mut self.reapers[reaper];
        if it.running && it.watches[watch].is_up_as_far_as_known() {
            it.watches[watch].state = ConnectionState::Broken;
            it.signals.watch_failed(Watch::ALL[watch], failure, at);
            self.observe(reaper, |_, _| {});
        }
    }

    /// The resource version of one watch has expired: it has to list again.
    pub(crate) fn expire_watch(&mut self, watch: usize) {
        for reaper in 0..self.reapers.len() {
            if self.reapers[reaper].watches[watch].state != ConnectionState::Up {
                continue;
            }
            self.fail_watch(reaper, watch, Failure::Disconnected);
            let it = &mut self.reapers[reaper];
            it.watches[watch].state = ConnectionState::Unlisted;
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
                match self.reapers[reaper].watches[watch].state {
                    ConnectionState::Up => {}
                    ConnectionState::Unlisted => self.after(after, Event::List { reaper, life, watch }),
                    ConnectionState::Stalled => self.take_backlog(reaper, watch),
                    ConnectionState::Broken => self.after(after, Event::Resume { reaper, life, watch }),
                }
            }
            self.may_lead(reaper);
        }
    }

    /// The process of a reaper starts.
    pub(crate) fn start_reaper(&mut self, reaper: usize, life: u32) {
        let at = self.instant();
        let it = &mut self.reapers[reaper];
        if it.life != life || it.running || self.cluster.reapers_down > 0 {
            return;
        }
        it.running = true;
        it.server_clock = ServerClock::default();
        it.index = Index::default();
        it.signals = SignalTracker::new(at);
        it.health = SignalHealth::WatchDown;
        it.reconciler = Reconciler::new(Mode::Enforce);
        it.reconciler.set_hold_for(self.history.hold_for);
        it.watches = std::array::from_fn(|_| WatchConnection::default());
        for watch in 0..Watch::ALL.len() {
            let after = self.reapers[reaper].dice.ms(50, 1_500);
            self.after(after, Event::List { reaper, life, watch });
        }
        self.log(|| format!("reaper-{reaper} starts"));
        self.after(RENEW_EVERY, Event::Renewal { reaper, life });
        self.may_lead(reaper);
    }
}

/// As the `Observer` of a real reaper applies what a watch brings.
fn apply(index: &mut Index, facts: &Facts, deleted: bool, server_time: Timestamp, now: Moment) {
    match facts {
        Facts::Job(facts) if !deleted => {
            let mut facts = (**facts).clone();
            if let Some(start) = &mut facts.started {
                // Read on arrival.
                start.ago = server_time.duration_since(start.at).try_into().unwrap_or_default();
            }
            index.apply_job(facts, now);
        }
        Facts::Job(facts) => {
            let uid = &facts.identity.uid;
            if index.knows(uid) {
                index.apply_job((**facts).clone(), now);
                index.delete_job(uid, now);
            }
        }
        Facts::Pod(facts) if !deleted => index.apply_pod((**facts).clone(), now),
        Facts::Pod(facts) => {
            if index.knows_pod(&facts.uid) {
                index.apply_pod((**facts).clone(), now);
                index.delete_pod(&facts.uid, now);
            }
        }
        Facts::Namespace(name, enrolled) => index.set_enrolled(name, *enrolled, now),
        Facts::Node(facts) if deleted => index.delete_node(&facts.name, now),
        Facts::Node(facts) => index.apply_node(facts, now),
        Facts::Lease(facts) if deleted => index.delete_lease(&facts.node),
        Facts::Lease(facts) => index.apply_lease(facts, now),
    }
}
