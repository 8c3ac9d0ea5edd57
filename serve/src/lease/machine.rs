//! The rules of the election, without a clock or an API server.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use tokio::time::Instant;

/// What is to be done about the Lease now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There is no Lease: make it, ours.
    Create,
    /// It is ours: renew it.
    Renew,
    /// It is nobody's, or its holder has been silent for too long: take it.
    Take,
    /// Another holds it.
    Wait { holder: String },
}

/// The Lease as it was last seen, and since when it has been so.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    lease: Option<Lease>,
    since: Instant,
}

impl Observed {
    /// As at `now`.
    pub(super) fn new(lease: Option<Lease>, now: Instant) -> Self {
        Self { lease, since: now }
    }

    /// Takes a newer sight of the Lease. The time starts again only if its holder has touched it: its spec has changed.
    pub(super) fn update(&mut self, lease: Option<Lease>, now: Instant) {
        let spec = |lease: &Option<Lease>| lease.as_ref().map(|lease| lease.spec.clone());
        if spec(&self.lease) != spec(&lease) {
            self.since = now;
        }
        self.lease = lease;
    }

    /// What the candidate `me` has to do; `duration` counts where the Lease does not say how long it lasts.
    pub(super) fn decide(&self, me: &str, duration: Duration, now: Instant) -> Step {
        let Some(lease) = &self.lease else { return Step::Create };
        match holder(lease) {
            None => Step::Take,
            Some(holder) if holder == me => Step::Renew,
            Some(_) if now.duration_since(self.since) >= lasts(lease).unwrap_or(duration) => Step::Take,
            Some(holder) => Step::Wait { holder: holder.to_owned() },
        }
    }

    /// The Lease to write so that `me` holds it from `at` on. It carries the resourceVersion that was seen, so that the
    /// API server refuses it if somebody was faster.
    pub(super) fn held_by(&self, me: &str, duration: Duration, at: Timestamp) -> Lease {
        let mut lease = self.lease.clone().unwrap_or_default();
        let before = lease.spec.take().unwrap_or_default();
        let ours = before.holder_identity.as_deref() == Some(me);
        let transitions = before.lease_transitions.unwrap_or(0);
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(me.to_owned()),
            lease_duration_seconds: seconds(duration),
            lease_transitions: Some(match &self.lease {
                Some(_) if !ours => transitions.saturating_add(1),
                _ => transitions,
            }),
            acquire_time: if ours { before.acquire_time } else { Some(MicroTime(at)) },
            renew_time: Some(MicroTime(at)),
            ..before
        });
        lease
    }

    /// The Lease to write so that nobody holds it; `None` unless `me` does.
    pub(super) fn released_by(&self, me: &str, at: Timestamp) -> Option<Lease> {
        let mut lease = self.lease.clone().filter(|lease| holder(lease) == Some(me))?;
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = None;
        spec.renew_time = Some(MicroTime(at));
        Some(lease)
    }
}

/// `leaseTransitions` of a Lease that we hold.
pub(super) fn term(lease: &Lease) -> i32 {
    lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or(0)
}

fn holder(lease: &Lease) -> Option<&str> {
    // client-go releases by writing an empty name.
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

fn lasts(lease: &Lease) -> Option<Duration> {
    let seconds = lease.spec.as_ref()?.lease_duration_seconds?;
    u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

fn seconds(duration: Duration) -> Option<i32> {
    i32::try_from(duration.as_secs()).ok()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const LASTS: Duration = Duration::from_secs(15);

    fn lease(holder: Option<&str>, renewed_at: i64) -> Lease {
        let mut lease = Lease::default();
        lease.metadata.resource_version = Some(renewed_at.to_string());
        lease.spec = Some(LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            renew_time: Timestamp::from_second(renewed_at).ok().map(MicroTime),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(4),
            ..LeaseSpec::default()
        });
        lease
    }

    fn wait(holder: &str) -> Step {
        Step::Wait { holder: holder.to_owned() }
    }

    #[rstest]
    #[case::there_is_none(None, 0, Step::Create)]
    #[case::it_is_ours(Some(lease(Some("me"), 0)), 14, Step::Renew)]
    #[case::it_is_ours_and_long_expired(Some(lease(Some("me"), 0)), 3600, Step::Renew)]
    #[case::it_was_released(Some(lease(None, 0)), 0, Step::Take)]
    #[case::client_go_released_it(Some(lease(Some(""), 0)), 0, Step::Take)]
    #[case::another_holds_it(Some(lease(Some("other"), 0)), 14, wait("other"))]
    #[case::another_fell_silent(Some(lease(Some("other"), 0)), 15, Step::Take)]
    #[case::it_has_no_spec(Some(Lease::default()), 0, Step::Take)]
    fn the_step_follows_from_holder_and_silence(
        #[case] lease: Option<Lease>,
        #[case] silent_for: u64,
        #[case] step: Step,
    ) {
        let seen = Instant::now();
        let observed = Observed::new(lease, seen);
        assert_eq!(observed.decide("me", LASTS, seen + Duration::from_secs(silent_for)), step);
    }

    #[test]
    fn a_renewal_from_a_clock_that_is_years_off_counts_as_one() {
        let start = Instant::now();
        let mut observed = Observed::new(Some(lease(Some("other"), 2_000_000_000)), start);
        observed.update(Some(lease(Some("other"), 1)), start + Duration::from_secs(14));
        assert_eq!(observed.decide("me", LASTS, start + Duration::from_secs(20)), wait("other"));
    }

    #[test]
    fn a_change_of_labels_is_no_renewal() {
        let start = Instant::now();
        let mut observed = Observed::new(Some(lease(Some("other"), 0)), start);
        let mut relabelled = lease(Some("other"), 0);
        relabelled.metadata.resource_version = Some("77".to_owned());
        observed.update(Some(relabelled), start + Duration::from_secs(14));
        assert_eq!(observed.decide("me", LASTS, start + Duration::from_secs(15)), Step::Take);
    }

    #[test]
    fn the_holder_says_how_long_its_lease_lasts() {
        let start = Instant::now();
        let mut longer = lease(Some("other"), 0);
        longer.spec.get_or_insert_default().lease_duration_seconds = Some(60);
        let observed = Observed::new(Some(longer), start);
        assert_eq!(observed.decide("me", LASTS, start + Duration::from_secs(59)), wait("other"));
        assert_eq!(observed.decide("me", LASTS, start + Duration::from_mins(1)), Step::Take);
    }

    #[rstest]
    #[case::made(None, 0)]
    #[case::renewed(Some(lease(Some("me"), 0)), 4)]
    #[case::taken(Some(lease(Some("other"), 0)), 5)]
    #[case::taken_after_a_release(Some(lease(None, 0)), 5)]
    fn only_a_new_holder_is_a_new_term(#[case] before: Option<Lease>, #[case] expected: i32) {
        let version = before.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
        let held = Observed::new(before, Instant::now()).held_by("me", LASTS, Timestamp::UNIX_EPOCH);
        assert_eq!(term(&held), expected);
        assert_eq!(holder(&held), Some("me"));
        assert_eq!(held.metadata.resource_version, version, "what was seen guards the write");
    }

    #[test]
    fn only_the_holder_releases() {
        let now = Instant::now();
        let ours = Observed::new(Some(lease(Some("me"), 0)), now).released_by("me", Timestamp::UNIX_EPOCH);
        assert_eq!(holder(&ours.expect("ours to release")), None);
        assert_eq!(Observed::new(Some(lease(Some("other"), 0)), now).released_by("me", Timestamp::UNIX_EPOCH), None);
    }
}
