//! Many histories, on all cores.

use std::{
    fmt::Write as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    statistics::Statistics,
    dice::Dice,
    fault::{Fault, ClusterFault, FaultKind},
    history::History,
    laws::{Violation, outcomes::compare},
    shrink::shrink,
    world::World,
};

/// How often the progress is told.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Lets the histories of so many seeds happen, and returns the statistics, or what the first failure of any was.
pub(crate) fn run(first: u64, histories: u64, tell: bool) -> Result<Statistics, String> {
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let total = Mutex::new((Statistics::default(), None::<String>));
    let begin = Instant::now();
    let work = || {
        let mut statistics = Statistics::default();
        while !stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= histories {
                break;
            }
            if let Err(failure) = check(first + number, &mut statistics) {
                stop.store(true, Ordering::Relaxed);
                total.lock().unwrap_or_else(PoisonError::into_inner).1.get_or_insert(failure);
            }
        }
        total.lock().unwrap_or_else(PoisonError::into_inner).0.add(statistics);
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let mut told = begin;
        while tell && !workers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            std::thread::park_timeout(Duration::from_millis(200));
            if told.elapsed() >= PROGRESS_EVERY {
                told = Instant::now();
                let done = next.load(Ordering::Relaxed).min(histories);
                let rate = done as f64 / begin.elapsed().as_secs_f64();
                eprintln!("{done} of {histories} histories, {rate:.0} a second");
            }
        }
    });
    let (statistics, failure) = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    failure.map_or(Ok(statistics), Err)
}

/// Lets the histories of one seed happen: one with any faults, and now and then one twice, with and without a restart.
fn check(seed: u64, statistics: &mut Statistics) -> Result<(), String> {
    let any = History::any(seed);
    if let Some(violation) = dispatch(&any, statistics) {
        return Err(report(any, violation, |history| dispatch(history, &mut Statistics::default())));
    }
    if seed.is_multiple_of(4) {
        let lasting = History::lasting(seed);
        if let Some(violation) = run_twice(&lasting, statistics) {
            return Err(report(lasting, violation, |history| run_twice(history, &mut Statistics::default())));
        }
    }
    Ok(())
}

fn dispatch(history: &History, statistics: &mut Statistics) -> Option<Violation> {
    let ended = World::new(history, false).run();
    statistics.add(ended.statistics);
    ended.violation
}

/// The same history with a restart at any instant.
fn with_restart(history: &History) -> History {
    let at = Dice::of(history.seed, [7, 0, 0]).ms(3_000, 600_000);
    let mut restarted = history.clone();
    restarted.faults.push(Fault { at, lasts: None, what: FaultKind::Cluster(ClusterFault::LeaderKilled) });
    restarted
}

fn run_twice(history: &History, statistics: &mut Statistics) -> Option<Violation> {
    let restarted = with_restart(history);
    let (without, with) = (World::new(history, false).run(), World::new(&restarted, false).run());
    statistics.add(without.statistics);
    statistics.add(with.statistics);
    let lost_after = |job: usize| history.jobs[job].policy.lost_after;
    without.violation.or(with.violation).or_else(|| compare(&without.final_states, &with.final_states, history.until, lost_after))
}

/// What people need to understand a failure: the least history that fails, what happened in it, and how to see it again.
fn report(history: History, violation: Violation, fails: impl Fn(&History) -> Option<Violation>) -> String {
    let seed = history.seed;
    let (least, violation) = shrink(history, violation, fails);
    let mut text = format!("{violation}\n\nThe least history that shows it, of {least}\n");
    let tell = |text: &mut String, history: &History| {
        for line in World::new(history, true).run().timeline {
            let _ = writeln!(text, "{line}");
        }
    };
    tell(&mut text, &least);
    if least.safe_node {
        text.push_str("\nand with a restart:\n");
        tell(&mut text, &with_restart(&least));
    }
    let _ = writeln!(text, "\n{violation}\ncargo xtask simulate --histories 1 --seed {seed}");
    text
}
