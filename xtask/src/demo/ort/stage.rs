//! What every act of the demo uses.

use jobwarden_testbed::Cluster;
use jobwarden_tests::ort_server::broker::Broker;
use kube::Client;

use super::orchestrator::Orchestrator;

/// The cluster, the broker and who reads from it.
pub(super) struct Stage<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) client: Client,
    pub(super) broker: Broker,
    pub(super) orchestrator: Orchestrator,
}
