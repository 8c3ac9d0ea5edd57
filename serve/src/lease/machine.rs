//! The rules of the election, as functions of the Lease and the time.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use tokio::time::Instant;

/// What to do about the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There is no Lease: create it with this process as its holder.
    Create,
    /// This process holds it: renew it.
    Renew,
    /// It has no holder, or its holder did not renew in time: take it.
    Take,
    /// Another process holds it.
    Wait { holder: String },
}

/// The Lease as last observed, and since when it is unchanged.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    lease: Option<Lease>,
    since: Instant,
}

impl Observed {
    /// Observed at `now`.
    pub(super) fn new(lease: Option<Lease>, now: Instant) -> Self {
        Self { lease, since: now }
    }

    /// Records a newer observation. Only a change of the spec, thus by a holder, restarts the time.
    pub(super) fn update(&mut self, lease: Option<Lease>, now: Instant) {
        let spec = |lease: &Option<Lease>| lease.as_ref().map(|lease| lease.spec.clone());
        if spec(&self.lease) != spec(&lease) {
            self.since = now;
        }
        self.lease = lease;
    }

    /// What the candidate `me` has to do; `duration` applies if the Lease does not specify one.
    pub(super) fn decide(&self, me: &str, duration: Duration, now: Instant) -> Step {
        let Some(lease) = &self.lease else { return Step::Create };
        match holder(lease) {
            None => Step::Take,
            Some(holder) if holder == me => Step::Renew,
            Some(_) if now.duration_since(self.since) >= duration_of(lease).unwrap_or(duration) => Step::Take,
            Some(holder) => Step::Wait { holder: holder.to_owned() },
        }
    }

    /// The Lease to write so that `me` holds it from `at` on. It carries the observed resourceVersion, so that the API server
    /// rejects it if another candidate was faster.
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

    /// The Lease to write so that it has no holder; `None` unless `me` holds it.
    pub(super) fn released_by(&self, me: &str, at: Timestamp) -> Option<Lease> {
        let mut lease = self.lease.clone().filter(|lease| holder(lease) == Some(me))?;
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = None;
        spec.renew_time = Some(MicroTime(at));
        Some(lease)
    }
}

/// `leaseTransitions` of a Lease.
pub(super) fn term(lease: &Lease) -> i32 {
    lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or(0)
}

fn holder(lease: &Lease) -> Option<&str> {
    // client-go releases by writing an empty name.
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

fn duration_of(lease: &Lease) -> Option<Duration> {
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

    const DURATION: Duration = Duration::from_secs(15);

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
    #[case::does_not_exist(None, 0, Step::Create)]
    #[case::held_by_this_process(Some(lease(Some("me"), 0)), 14, Step::Renew)]
    #[case::held_by_this_process_and_expired(Some(lease(Some("me"), 0)), 3600, Step::Renew)]
    #[case::released(Some(lease(None, 0)), 0, Step::Take)]
    #[case::released_by_client_go(Some(lease(Some(""), 0)), 0, Step::Take)]
    #[case::held_by_another(Some(lease(Some("other"), 0)), 14, wait("other"))]
    #[case::not_renewed_by_another(Some(lease(Some("other"), 0)), 15, Step::Take)]
    #[case::without_a_spec(Some(Lease::default()), 0, Step::Take)]
    fn the_step_follows_from_the_holder_and_the_time_without_renewal(
        #[case] lease: Option<Lease>,
        #[case] unchanged_for: u64,
        #[case] step: Step,
    ) {
        let start = Instant::now();
        let observed = Observed::new(lease, start);
        assert_eq!(observed.decide("me", DURATION, start + Duration::from_secs(unchanged_for)), step);
    }

    #[test]
    fn a_renewal_by_a_clock_that_is_years_off_is_a_renewal() {
        let start = Instant::now();
        let mut observed = Observed::new(Some(lease(Some("other"), 2_000_000_000)), start);
        observed.update(Some(lease(Some("other"), 1)), start + Duration::from_secs(14));
        assert_eq!(observed.decide("me", DURATION, start + Duration::from_secs(20)), wait("other"));
    }

    #[test]
    fn a_change_of_labels_is_not_a_renewal() {
        let start = Instant::now();
        let mut observed = Observed::new(Some(lease(Some("other"), 0)), start);
        let mut relabelled = lease(Some("other"), 0);
        relabelled.metadata.resource_version = Some("77".to_owned());
        observed.update(Some(relabelled), start + Duration::from_secs(14));
        assert_eq!(observed.decide("me", DURATION, start + Duration::from_secs(15)), Step::Take);
    }

    #[test]
    fn the_duration_in_the_lease_takes_precedence() {
        let start = Instant::now();
        let mut longer = lease(Some("other"), 0);
        longer.spec.get_or_insert_default().lease_duration_seconds = Some(60);
        let observed = Observed::new(Some(longer), start);
        assert_eq!(observed.decide("me", DURATION, start + Duration::from_secs(59)), wait("other"));
        assert_eq!(observed.decide("me", DURATION, start + Duration::from_mins(1)), Step::Take);
    }

    #[rstest]
    #[case::created(None, 0)]
    #[case::renewed(Some(lease(Some("me"), 0)), 4)]
    #[case::taken(Some(lease(Some("other"), 0)), 5)]
    #[case::taken_after_a_release(Some(lease(None, 0)), 5)]
    fn only_a_new_holder_starts_a_new_term(#[case] before: Option<Lease>, #[case] expected: i32) {
        let version = before.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
        let held = Observed::new(before, Instant::now()).held_by("me", DURATION, Timestamp::UNIX_EPOCH);
        assert_eq!(term(&held), expected);
        assert_eq!(holder(&held), Some("me"));
        assert_eq!(held.metadata.resource_version, version, "the observed version is the precondition of the write");
    }

    #[test]
    fn only_the_holder_releases_the_lease() {
        let now = Instant::now();
        let ours = Observed::new(Some(lease(Some("me"), 0)), now).released_by("me", Timestamp::UNIX_EPOCH);
        assert_eq!(holder(&ours.expect("this process holds it")), None);
        assert_eq!(Observed::new(Some(lease(Some("other"), 0)), now).released_by("me", Timestamp::UNIX_EPOCH), None);
    }
}
