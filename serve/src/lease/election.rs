//! Starts the election.

use kube::Client;
use tokio::sync::watch;

use super::{args::LeaseArgs, candidate::Candidate, leadership::Leadership};
use crate::shutdown::Shutdown;

/// The election for one Lease.
#[derive(Clone, Copy, Debug)]
pub struct Election;

impl Election {
    /// Takes part in the election until the shutdown is requested, and reports whether this process leads.
    ///
    /// The Lease `namespace/lease_name` is created if it does not exist. `identity` has to be unique to this *process*: the name of
    /// the pod and something random. On shutdown the reported value becomes `Standby`, the Lease is released, and then the
    /// channel closes; a process waits for that before it exits. A leader whose work must not overlap with that of the next
    /// one passes a separate [`Shutdown`] and triggers it when its work has ended.
    pub fn start(
        client: Client,
        namespace: &str,
        lease_name: &str,
        identity: String,
        args: LeaseArgs,
        shutdown: Shutdown,
    ) -> watch::Receiver<Leadership> {
        let (report, leadership) = watch::channel(Leadership::Standby { holder: None });
        let candidate = Candidate::new(client, namespace, lease_name, identity, args, report);
        tokio::spawn(candidate.run(shutdown));
        leadership
    }
}
