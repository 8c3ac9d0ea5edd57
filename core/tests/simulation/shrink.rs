//! From a history that breaks a law to the smallest one that still does.

use std::time::Duration;

use crate::{
    fault::FaultKind,
    history::History,
    state::laws::{Law, Violation},
};

/// Removes whatever can be removed while `fails` returns a violation of the same law.
pub(crate) fn shrink(
    mut history: History,
    mut violation: Violation,
    fails: impl Fn(&History) -> Option<Violation>,
) -> (History, Violation) {
    loop {
        let smaller = smaller(&history, &violation).into_iter().find_map(|smaller| {
            let found = fails(&smaller).filter(|found| found.law == violation.law)?;
            Some((smaller, found))
        });
        match smaller {
            Some(found) => (history, violation) = found,
            None => return (history, violation),
        }
    }
}

/// Slightly smaller histories; the much smaller ones come first.
fn smaller(history: &History, violation: &Violation) -> Vec<History> {
    let mut all = Vec::new();
    let mut offer = |change: &dyn Fn(&mut History)| {
        let mut changed = history.clone();
        change(&mut changed);
        all.push(changed);
    };
    let half = history.faults.len() / 2;
    if half > 0 {
        offer(&|it| it.faults.truncate(half));
        offer(&|it| drop(it.faults.drain(..half)));
    }
    for job in 0..history.jobs.len() {
        if history.jobs[job].at < history.until {
            offer(&|it| {
                // The Job keeps its number, and is never created.
                it.jobs[job].at = Duration::MAX;
                it.faults.retain(|fault| !matches!(fault.kind, FaultKind::Job(of, _) if of == job));
            });
        }
    }
    for fault in 0..history.faults.len() {
        offer(&|it| {
            it.faults.remove(fault);
        });
    }
    if history.reapers > 1 {
        offer(&|it| it.reapers = 1);
    }
    if history.blind_nodes > 0 {
        offer(&|it| it.blind_nodes = 0);
    }
    for job in 0..history.jobs.len() {
        if history.jobs[job].init.is_some() {
            offer(&|it| it.jobs[job].init = None);
        }
        if history.jobs[job].helper.is_some() {
            offer(&|it| it.jobs[job].helper = None);
        }
        if history.jobs[job].pods > 1 {
            offer(&|it| it.jobs[job].pods = 1);
        }
        if history.jobs[job].mains > 1 {
            offer(&|it| it.jobs[job].mains = 1);
        }
    }
    // A law that compares final states needs the whole history.
    let end = violation.at + Duration::from_secs(1);
    if violation.law != Law::RestartsChangeNoOutcome && end < history.until {
        offer(&|it| it.until = end);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_history_has_the_fault_that_breaks_the_law_alone() {
        let many = (0..100).map(History::any).find(|history| history.faults.len() > 4).expect("one in a few");
        let guilty_fault = many.faults[2];
        let fails = |history: &History| {
            let guilty = history.faults.contains(&guilty_fault);
            guilty.then(|| Violation { at: Duration::ZERO, law: Law::Simulator, how: String::new() })
        };
        let violation = fails(&many).expect("it has the guilty_fault");
        let (least, _) = shrink(many, violation, fails);
        assert_eq!(least.faults, [guilty_fault]);
        assert!(least.jobs.iter().filter(|job| job.at < least.until).count() <= 1, "{least}");
    }
}
