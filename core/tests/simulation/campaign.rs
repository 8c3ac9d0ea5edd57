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
    dice::Dice,
    fault::{ClusterFault, Fault, FaultKind},
    history::History,
    laws::outcomes::compare,
    shrink::shrink,
    state::laws::Violation,
    statistics::Statistics,
    world::World,
};

/// How often the progress is printed.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Runs the histories of this many seeds. Returns the statistics, or the report of the first failure.
pub(crate) fn run(first: u64, histories: u64, print_progress: bool) -> Result<Statistics, String> {
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
        let mut last_printed = begin;
        while print_progress && !workers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            std::thread::park_timeout(Duration::from_millis(200));
            if last_printed.elapsed() >= PROGRESS_EVERY {
                last_printed = Instant::now();
                let done = next.load(Ordering::Relaxed).min(histories);
                let rate = done as f64 / begin.elapsed().as_secs_f64();
                eprintln!("{done} of {histories} histories, {rate:.0} a second");
            }
        }
    });
    let (statistics, failure) = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    failure.map_or(Ok(statistics), Err)
}

/// Runs the histories of one seed: one with any faults, and every fourth time one twice, with and without a restart.
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

/// The same history with a restart of the reaper at a random time.
fn with_restart(history: &History) -> History {
    let at = Dice::of(history.seed, [7, 0, 0]).ms(3_000, 600_000);
    let mut restarted = history.clone();
    restarted.faults.push(Fault { at, lasts: None, kind: FaultKind::Cluster(ClusterFault::LeaderKilled) });
    restarted
}

fn run_twice(history: &History, statistics: &mut Statistics) -> Option<Violation> {
    let restarted = with_restart(history);
    let (without, with) = (World::new(history, false).run(), World::new(&restarted, false).run());
    statistics.add(without.statistics);
    statistics.add(with.statistics);
    without.violation.or(with.violation).or_else(|| compare(history, &without.final_states, &with.final_states))
}

/// A report of a failure: the smallest history that fails, what happens in it, and how to reproduce it.
fn report(history: History, violation: Violation, fails: impl Fn(&History) -> Option<Violation>) -> String {
    let seed = history.seed;
    let (least, violation) = shrink(history, violation, fails);
    let mut text = format!("{violation}\n\nThe smallest history that shows it:\n{least}\n");
    let add_timeline = |text: &mut String, history: &History| {
        for line in World::new(history, true).run().timeline {
            let _ = writeln!(text, "{line}");
        }
    };
    add_timeline(&mut text, &least);
    if least.safe_node {
        text.push_str("\nThe same with a restart:\n");
        add_timeline(&mut text, &with_restart(&least));
    }
    let _ = writeln!(text, "\n{violation}\ncargo xtask simulate --histories 1 --seed {seed}");
    text
}
