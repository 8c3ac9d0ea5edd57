use rstest::rstest;

use super::*;
use crate::certificates::{
    leaf,
    lifetime::{DAY, Lifetimes},
};

const NAME: &str = "jobwarden-reaper.jobwarden.svc";
const TERMS: Terms<'_> = Terms { namespace: "jobwarden", lifetimes: LIFETIMES };
const LIFETIMES: Lifetimes = Lifetimes { authority: DAY.saturating_mul(1200), leaf: DAY.saturating_mul(90) };

fn start() -> SystemTime {
    UNIX_EPOCH + 20_000 * DAY
}

fn reread(rotation: &Rotation, now: SystemTime) -> Rotation {
    let reread = Rotation::read(&rotation.contents(), now).expect("reads what was written");
    assert_eq!(reread.contents(), rotation.contents());
    reread
}

#[test]
fn each_step_waits_for_its_time_and_for_confirmation() {
    let mut rotation = Rotation::begin(start(), TERMS).expect("made");
    let mut seen = Vec::new();
    for day in 0..1000 {
        let now = start() + day * DAY;
        rotation = reread(&rotation, now);
        while rotation.is_due(now, TERMS) {
            rotation = reread(&rotation.advance(now, TERMS).expect("made"), now);
            seen.push((day, rotation.phase()));
        }
        // Publication takes three days.
        if seen.last().is_some_and(|(since, _)| day >= since + 3) {
            rotation.confirm(now);
        }
    }
    // Two thirds of 1,200 days, then twice: three days of publication and the overlap of one day.
    assert_eq!(seen, [(800, "announced"), (804, "switched"), (808, "steady")]);
}

#[rstest]
#[case::before(0, true, false)]
#[case::announced(1, true, true)]
#[case::switched(2, true, true)]
#[case::after(3, false, true)]
fn the_bundle_holds_the_authorities_of_each_phase(#[case] steps: usize, #[case] old: bool, #[case] new: bool) {
    let mut rotation = Rotation::begin(start(), TERMS).expect("made");
    let first = rotation.current.pem().to_owned();
    for _ in 0..steps {
        rotation = rotation.advance(start(), TERMS).expect("made");
    }
    let bundle = rotation.bundle();
    assert_eq!(bundle.contains(&first), old);
    assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), usize::from(old) + usize::from(new));
    assert!(bundle.starts_with(rotation.current.pem()), "the signing authority comes first");
}

#[test]
fn a_client_that_knows_only_the_old_authority_trusts_the_leaves_of_the_new() {
    let before = Rotation::begin(start(), TERMS).expect("made");
    let old = before.current.pem().to_owned();
    let announced = before.advance(start(), TERMS).expect("made");
    let switched = announced.advance(start(), TERMS).expect("made");
    let leaf = leaf::make(&switched.current, switched.cross_signed(), NAME, LIFETIMES, start()).expect("made");
    let new = switched.current.pem();
    for bundle in [old.as_str(), new, &[&old, new].concat(), &[new, &old].concat()] {
        leaf.serves(bundle, NAME, start()).expect("trusted");
    }
    let unrelated = Rotation::begin(start(), TERMS).expect("made");
    leaf.serves(unrelated.current.pem(), NAME, start()).expect_err("an unrelated authority");
    leaf.serves(&old, NAME, start() + LIFETIMES.authority).expect_err("the old one has expired");
}

#[test]
fn a_steady_state_has_nothing_to_confirm() {
    let mut rotation = Rotation::begin(start(), TERMS).expect("made");
    assert!(!rotation.confirm(start()));
    rotation = rotation.advance(start(), TERMS).expect("made");
    assert!(rotation.confirm(start()));
    assert!(!rotation.confirm(start() + DAY), "the overlap does not restart");
}

#[test]
fn corrupt_parts_other_than_the_signing_authority_are_ignored() {
    let rotation = Rotation::begin(start(), TERMS).expect("made").advance(start(), TERMS).expect("made");
    for (key, phase) in
        [(CONFIRMED, "announced"), (NEXT_CERTIFICATE, "steady"), (NEXT_KEY, "steady"), (CROSS_SIGNED, "announced")]
    {
        let mut data = rotation.contents();
        data.extend(contents::contents([(key, "x".to_owned())]));
        let read = Rotation::read(&data, start()).expect(key);
        assert_eq!((read.current.pem(), read.phase()), (rotation.current.pem(), phase), "{key}");
    }
    let mut data = rotation.contents();
    data.extend(contents::contents([(KEY, "x".to_owned())]));
    Rotation::read(&data, start()).expect_err("it cannot sign");
}

#[test]
fn an_announced_authority_replaces_one_that_has_expired() {
    let late = start() + LIFETIMES.authority - DAY;
    let rotation = Rotation::begin(start(), TERMS).expect("made").advance(late, TERMS).expect("made");
    let announced = rotation.bundle().replace(rotation.current.pem(), "");
    let read = Rotation::read(&rotation.contents(), late + 2 * DAY).expect("the next one can sign");
    assert_eq!((read.current.pem(), read.phase()), (announced.as_str(), "steady"));
}

#[test]
fn an_authority_that_expires_within_the_overlap_is_not_waited_for() {
    let late = start() + LIFETIMES.authority - Duration::from_mins(1);
    let mut rotation = Rotation::begin(start(), TERMS).expect("made").advance(late, TERMS).expect("made");
    assert!(!rotation.is_due(late, TERMS), "the next authority is not published yet");
    rotation.confirm(late);
    assert!(rotation.is_due(late, TERMS));
}

#[rstest]
#[case::another_namespace("other", LIFETIMES.authority, 1)]
#[case::half_the_lifetime("jobwarden", LIFETIMES.authority / 2, 1)]
#[case::twice_the_lifetime("jobwarden", LIFETIMES.authority * 2, 0)]
fn an_authority_that_signs_for_other_names_or_for_too_long_is_replaced_at_any_time(
    #[case] namespace: &str,
    #[case] authority: Duration,
    #[case] expected: usize,
) {
    let mut rotation = Rotation::begin(start(), TERMS).expect("made");
    let terms = Terms { namespace, lifetimes: Lifetimes { authority, ..LIFETIMES } };
    let mut rotations = 0;
    for hour in 0..24 * 30 {
        let now = start() + hour * Duration::from_hours(1);
        if rotation.is_due(now, terms) {
            rotation = reread(&rotation.advance(now, terms).expect("made"), now);
            rotations += usize::from(rotation.phase() == "announced");
        }
        rotation.confirm(now);
    }
    assert_eq!((rotations, rotation.phase()), (expected, "steady"));
}
