//! Flags of the leader election.

use std::time::Duration;

use clap::Args;

/// Flags of the leader election.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Leader election")]
pub struct LeaseArgs {
    /// How long the Lease of a leader that stops renewing stays valid; the leader itself steps down after two thirds of it
    #[arg(long, env = "JOBWARDEN_LEASE_DURATION", default_value = "15s", value_parser = parse_lease_duration, value_name = "DURATION")]
    pub lease_duration: Duration,

    /// How often the leader renews the Lease; at most a third of the duration
    #[arg(long, env = "JOBWARDEN_LEASE_RENEW", default_value = "5s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub lease_renew: Duration,

    /// How often a standby reads the Lease
    #[arg(long, env = "JOBWARDEN_LEASE_RETRY", default_value = "2s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub lease_retry: Duration,
}

impl LeaseArgs {
    /// How long after its last renewal a leader that cannot renew steps down: early enough that its requests in flight end before
    /// another process leads.
    pub(super) fn renew_deadline(&self) -> Duration {
        self.lease_duration * 2 / 3
    }
}

/// Whole seconds, as in `leaseDurationSeconds`; at least 3, so that there is time for a renewal.
fn parse_lease_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration.subsec_nanos() != 0 || duration < Duration::from_secs(3) || i32::try_from(duration.as_secs()).is_err() {
        return Err("must be whole seconds and at least 3s".to_owned());
    }
    Ok(duration)
}
