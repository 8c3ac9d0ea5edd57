//! Who leads: one of several processes, by a Lease (`coordination.k8s.io/v1`), by the rules of client-go's leader election.
//!
//! No clock is compared with another: a standby takes the Lease once *it* has not seen it change for as long as the Lease
//! says that it lasts; the leader steps down earlier than that if it could not renew. As with client-go, a process that
//! was stopped for longer than that and goes on in the middle of a write is not kept from it: writes need preconditions.

mod candidate;
mod machine;

use std::time::Duration;

use clap::Args;
use kube::Client;
use tokio::sync::watch;

use self::candidate::Candidate;
use crate::shutdown::Shutdown;

/// Flags of the election.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Leader election")]
pub struct LeaseArgs {
    /// How long the Lease of a leader that falls silent lasts; the leader itself steps down after two thirds of it
    #[arg(long, env = "JOBWARDEN_LEASE_DURATION", default_value = "15s", value_parser = lasting, value_name = "DURATION")]
    pub lease_duration: Duration,

    /// How often the leader renews; more than a third of the duration counts as a third
    #[arg(long, env = "JOBWARDEN_LEASE_RENEW", default_value = "5s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub lease_renew: Duration,

    /// How often a standby looks at the Lease
    #[arg(long, env = "JOBWARDEN_LEASE_RETRY", default_value = "2s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub lease_retry: Duration,
}

impl LeaseArgs {
    /// How long after its last renewal a leader that cannot renew steps down: early enough that a request it has under
    /// way ends before another leads.
    fn renew_deadline(&self) -> Duration {
        self.lease_duration * 2 / 3
    }
}

/// Whole seconds, at least 3: what `leaseDurationSeconds` can say, with room for a renewal.
fn lasting(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration.subsec_nanos() != 0 || duration < Duration::from_secs(3) || i32::try_from(duration.as_secs()).is_err() {
        return Err("give whole seconds, at least 3s".to_owned());
    }
    Ok(duration)
}

/// Whether this process leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// Another leads, or nobody.
    Standby {
        /// Who, where it is known.
        holder: Option<String>,
    },
    /// This process leads.
    Leader {
        /// `leaseTransitions` of the Lease: higher for every new leader.
        term: i32,
    },
}

impl Leadership {
    /// Whether this process leads.
    pub fn leads(&self) -> bool {
        matches!(self, Self::Leader { .. })
    }
}

/// The election for one Lease.
#[derive(Clone, Copy, Debug)]
pub struct Election;

impl Election {
    /// Stands for election until the shutdown is requested, and tells how it goes.
    ///
    /// The Lease `namespace/lease_name` is made if there is none. `identity` has to be unique to this *process*: the pod's
    /// name and something random. On shutdown the answer becomes `Standby`, the Lease is released, and then the channel
    /// closes: a process waits for that before it exits. A leader whose work must not overlap with the next one's passes a
    /// [`Shutdown`] of the election's own, and triggers it when that work has ended.
    pub fn start(
        client: Client,
        namespace: &str,
        lease_name: &str,
        identity: String,
        args: LeaseArgs,
        shutdown: Shutdown,
    ) -> watch::Receiver<Leadership> {
        let (tell, leadership) = watch::channel(Leadership::Standby { holder: None });
        let candidate = Candidate::new(client, namespace, lease_name, identity, args, tell);
        tokio::spawn(candidate.run(shutdown));
        leadership
    }
}

#[cfg(test)]
mod tests;
