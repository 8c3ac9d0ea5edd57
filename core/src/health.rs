//! Whether the reaper receives the signals that it judges by, and the clock that pauses while a watch is down.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use self::clock::PausingClock;
use crate::moment::Moment;

pub mod clock;

/// Whether the reaper receives the signals that it judges by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalHealth {
    /// The reaper's own beat arrives through the Service, and all watches are up.
    Receiving,
    /// The reaper's own beat does not arrive.
    NotReceiving,
    /// A watch of the API server is down.
    WatchDown,
}

/// After how long without its own beat the leader counts as not receiving: three beats.
pub const NOT_RECEIVING_AFTER: Duration = Duration::from_secs(15);

/// A watch of the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Watch {
    /// Enrolled Jobs.
    Jobs,
    /// Enrolled pods.
    Pods,
    /// Nodes.
    Nodes,
    /// The Leases that kubelets renew.
    Leases,
    /// Namespaces, for what their annotations say of policies.
    Namespaces,
}

impl Watch {
    /// All watches.
    pub const ALL: [Self; 5] = [Self::Jobs, Self::Pods, Self::Nodes, Self::Leases, Self::Namespaces];

    /// The word on metrics and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Pods => "pods",
            Self::Nodes => "nodes",
            Self::Leases => "leases",
            Self::Namespaces => "namespaces",
        }
    }
}

/// How a watch failed, which decides since when it may have missed events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connection was closed or refused. That is noticed at once, so the API server was reachable when any watch last received
    /// something.
    Disconnected,
    /// Nothing was received for longer than the API server allows: events may be missing since the last one.
    TimedOut,
}

/// Follows what is received, and pauses the clock while a watch is down: then nothing that any deadline rests on is up to date. While
/// only the reaper's own beat is missing, the clock runs, because objects still arrive. What rests on missing beats and reports does
/// not count then: see [`Index::set_receiving`](crate::index::Index::set_receiving).
#[derive(Clone, Debug)]
pub struct SignalTracker {
    clock: PausingClock,
    watches: [WatchState; Watch::ALL.len()],
    own_beat: OwnBeat,
}

#[derive(Clone, Copy, Debug)]
struct WatchState {
    last_received: Instant,
    down_since: Option<Instant>,
    synced: bool,
}

#[derive(Clone, Copy, Debug)]
enum OwnBeat {
    /// This reaper does not lead: it sends no beats to itself.
    NotExpected,
    /// No beat has arrived since this reaper leads.
    Awaited,
    /// The last beat arrived at this time.
    Arrived(Instant),
}

impl SignalTracker {
    /// At `start` every watch is down until it has listed.
    pub fn new(start: Instant) -> Self {
        let state = WatchState { last_received: start, down_since: Some(start), synced: false };
        let mut tracker = Self {
            clock: PausingClock::new(start),
            watches: [state; Watch::ALL.len()],
            own_beat: OwnBeat::NotExpected,
        };
        tracker.refresh(start);
        tracker
    }

    /// What the clock shows.
    pub fn now(&mut self, at: Instant) -> Moment {
        self.refresh(at);
        self.clock.now(at)
    }

    /// See [`PausingClock::wall`].
    pub fn wall(&self, moment: Moment, at: Instant, wall_at: Timestamp) -> Timestamp {
        self.clock.wall(moment, at, wall_at)
    }

    /// Whether the reaper receives signals.
    pub fn health(&mut self, at: Instant) -> SignalHealth {
        self.refresh(at);
        if self.watches.iter().any(|watch| watch.down_since.is_some()) {
            SignalHealth::WatchDown
        } else if !self.is_receiving(at) {
            SignalHealth::NotReceiving
        } else {
            SignalHealth::Receiving
        }
    }

    /// Whether every watch has listed once.
    pub fn synced(&self) -> bool {
        self.watches.iter().all(|watch| watch.synced)
    }

    /// Whether this watch is up.
    pub fn is_up(&self, watch: Watch) -> bool {
        self.watches[watch as usize].down_since.is_none()
    }

    /// A watch has listed all objects.
    pub fn watch_listed(&mut self, watch: Watch) {
        self.watches[watch as usize].synced = true;
    }

    /// A watch is connected, or received something. A watch that never listed stays down.
    pub fn watch_received(&mut self, watch: Watch, at: Instant) {
        let state = &mut self.watches[watch as usize];
        state.last_received = at;
        if state.synced {
            state.down_since = None;
        }
        self.refresh(at);
    }

    /// A watch has failed.
    pub fn watch_failed(&mut self, watch: Watch, failure: Failure, at: Instant) {
        let last_of_any = self.watches.iter().map(|state| state.last_received).max();
        let state = &mut self.watches[watch as usize];
        let since = match failure {
            Failure::TimedOut => state.last_received,
            Failure::Disconnected => last_of_any.unwrap_or(state.last_received),
        };
        state.down_since.get_or_insert(since);
        self.refresh(at);
    }

    /// This reaper leads from now on. It counts as not receiving until its first own beat arrives: the Service may still route beats
    /// to another reaper.
    pub fn expect_own_beat(&mut self) {
        self.own_beat = OwnBeat::Awaited;
    }

    /// This reaper no longer leads.
    pub fn expect_no_beat(&mut self) {
        self.own_beat = OwnBeat::NotExpected;
    }

    /// The reaper's own beat has arrived.
    pub fn own_beat_arrived(&mut self, at: Instant) {
        if !matches!(self.own_beat, OwnBeat::NotExpected) {
            self.own_beat = OwnBeat::Arrived(at);
        }
    }

    /// Whether beats and reports can be expected to arrive: the reaper's own beat does, or this reaper does not lead. Watches may be
    /// down all the same.
    pub fn is_receiving(&self, at: Instant) -> bool {
        match self.own_beat {
            OwnBeat::NotExpected => true,
            OwnBeat::Awaited => false,
            OwnBeat::Arrived(last) => at.saturating_duration_since(last) < NOT_RECEIVING_AFTER,
        }
    }

    /// Pauses or resumes the clock by what is true at `at`.
    fn refresh(&mut self, at: Instant) {
        match self.watches.iter().filter_map(|watch| watch.down_since).min() {
            Some(since) => self.clock.pause(since),
            None => self.clock.resume(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn moment(at: u64) -> Moment {
        Moment::at(seconds(at))
    }

    /// All watches have listed.
    fn mk_synced(start: Instant) -> SignalTracker {
        let mut tracker = SignalTracker::new(start);
        for watch in Watch::ALL {
            tracker.watch_listed(watch);
            tracker.watch_received(watch, start);
        }
        tracker
    }

    /// The same, with a beat of its own at `start`.
    fn mk_leading(start: Instant) -> SignalTracker {
        let mut tracker = mk_synced(start);
        tracker.expect_own_beat();
        tracker.own_beat_arrived(start);
        tracker
    }

    #[test]
    fn the_clock_is_paused_until_every_watch_has_listed() {
        let start = Instant::now();
        let mut tracker = SignalTracker::new(start);
        for watch in [Watch::Jobs, Watch::Pods, Watch::Nodes, Watch::Namespaces] {
            tracker.watch_listed(watch);
            tracker.watch_received(watch, start + seconds(1));
        }
        assert_eq!(tracker.health(start + seconds(2)), SignalHealth::WatchDown);
        assert_eq!(tracker.now(start + seconds(2)), moment(0));
        assert!(!tracker.synced());
        tracker.watch_listed(Watch::Leases);
        tracker.watch_received(Watch::Leases, start + seconds(3));
        assert!(tracker.synced());
        assert_eq!(tracker.health(start + seconds(4)), SignalHealth::Receiving);
        assert_eq!(tracker.now(start + seconds(4)), moment(1));
    }

    #[test]
    fn a_new_leader_is_not_receiving_until_its_first_own_beat_arrives() {
        let start = Instant::now();
        let mut tracker = mk_synced(start);
        tracker.expect_own_beat();
        assert_eq!(tracker.health(start + seconds(11)), SignalHealth::NotReceiving);
        tracker.own_beat_arrived(start + seconds(13));
        assert_eq!(tracker.health(start + seconds(13)), SignalHealth::Receiving);
    }

    #[test]
    fn the_clock_runs_while_the_own_beat_is_missing() {
        let start = Instant::now();
        let mut tracker = mk_leading(start);
        tracker.own_beat_arrived(start + seconds(5));
        assert!(tracker.is_receiving(start + seconds(19)));
        assert_eq!(tracker.health(start + seconds(20)), SignalHealth::NotReceiving);
        assert_eq!(tracker.now(start + seconds(20)), moment(20));
        tracker.own_beat_arrived(start + seconds(60));
        assert_eq!(tracker.health(start + seconds(60)), SignalHealth::Receiving);
        assert_eq!(tracker.now(start + seconds(61)), moment(61));
    }

    #[test]
    fn a_standby_needs_no_own_beat() {
        let start = Instant::now();
        let mut tracker = mk_leading(start);
        tracker.expect_no_beat();
        assert_eq!(tracker.health(start + seconds(100)), SignalHealth::Receiving);
        tracker.own_beat_arrived(start + seconds(100));
        assert_eq!(tracker.health(start + seconds(200)), SignalHealth::Receiving);
    }

    #[test]
    fn a_disconnected_watch_pauses_the_clock_until_it_is_connected_again() {
        let start = Instant::now();
        let mut tracker = mk_synced(start);
        tracker.watch_received(Watch::Leases, start + seconds(8));
        tracker.watch_failed(Watch::Jobs, Failure::Disconnected, start + seconds(10));
        assert_eq!(tracker.health(start + seconds(10)), SignalHealth::WatchDown);
        // Another watch received something from the API server at 8 s.
        assert_eq!(tracker.now(start + seconds(12)), moment(8));
        tracker.watch_received(Watch::Jobs, start + seconds(20));
        assert_eq!(tracker.health(start + seconds(20)), SignalHealth::Receiving);
        assert_eq!(tracker.now(start + seconds(21)), moment(9));
    }

    #[test]
    fn a_watch_that_timed_out_may_have_missed_events_since_the_last_one() {
        let start = Instant::now();
        let mut tracker = mk_synced(start);
        tracker.watch_received(Watch::Leases, start + seconds(29));
        tracker.watch_failed(Watch::Jobs, Failure::TimedOut, start + seconds(30));
        assert_eq!(tracker.now(start + seconds(30)), moment(0));
    }

    #[test]
    fn a_watch_that_is_down_counts_before_a_missing_own_beat() {
        let start = Instant::now();
        let mut tracker = mk_leading(start);
        tracker.watch_failed(Watch::Jobs, Failure::Disconnected, start + seconds(1));
        assert_eq!(tracker.health(start + seconds(20)), SignalHealth::WatchDown);
        assert!(!tracker.is_receiving(start + seconds(20)));
        tracker.watch_received(Watch::Jobs, start + seconds(30));
        assert_eq!(tracker.health(start + seconds(30)), SignalHealth::NotReceiving);
        assert_eq!(tracker.now(start + seconds(41)), moment(11));
    }
}
