//! The thresholds of the table, and the constants that no policy sets.

use std::time::Duration;

use crate::{moment::Nanos, policy::Policy};

/// How long a node has to be gone before its pods are lost. It leaves time for a node that is recreated under the same name.
pub const NODE_GONE_AFTER: Duration = Duration::from_secs(10);
/// How long a kubelet may take after a boot to report the end of what ran before it, or to start it again: it lists its pods within
/// seconds.
pub const REBOOT_REPORTED_AFTER: Duration = Duration::from_secs(30);
/// How long the kubelet may keep reporting a container as running whose processes are gone. A healthy one reports its end within
/// seconds. One whose container runtime hangs can still learn the exit code when that returns; after three minutes without a list of
/// containers it calls its runtime unhealthy itself (`relistThreshold` in `pkg/kubelet/pleg`).
pub const PROCESS_GONE_AFTER: Duration = Duration::from_mins(3);
/// How long past its grace period a pod may terminate before it counts as stuck.
pub const STUCK_AFTER: Duration = Duration::from_mins(1);
/// After how long without a report an agent counts as silent: three report intervals.
pub const AGENT_SILENT_AFTER: Duration = Duration::from_secs(30);
/// In how many consecutive reports the processes have to be missing before they count as gone.
pub const GONE_REPORTS: u32 = 2;
/// After how long without a change a Lease is stale: the `leaseDurationSeconds` that Kubernetes sets on node Leases. The kubelet
/// renews at a quarter of it.
pub const LEASE_STALE_AFTER: Duration = Duration::from_secs(40);
/// The lower bound of [`LEASE_STALE_AFTER`] under a short lost-after: two renewals of the kubelet, and half a one more. Nodes that fall
/// silent together differ by one renewal, and the [breaker](crate::guard::Breaker) has to count all of them before the first of them
/// is acted upon, however short the lost-after of a tenant is.
pub const LEASE_STALE_AFTER_LEAST: Duration = Duration::from_secs(25);
/// The fraction, one in this many, by which the lifetime of a sign of life is cut on a node that is gone. No worker returns from
/// there, so a sign of life need not outlast three missing ones. With the defaults it counts for 25 s, two and a half beat
/// intervals, and a loss is reported within 30 s even if a beat arrived just before the node was deleted.
const CUT_ON_GONE_NODE: u64 = 6;
/// [`PROCESS_GONE_AFTER`] in a preview: a healthy kubelet has reported the end of a container long before, and what ends at one moment
/// is counted together long before any of it is due.
const PROCESS_GONE_AFTER_IN_PREVIEW: Duration = Duration::from_mins(1);

/// The thresholds by which the signals of a pod are read, under one policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// A beat older than this is late.
    pub(crate) beat_late: Nanos,
    /// A beat older than this has expired.
    pub(crate) lost: Nanos,
    /// An agent without a report for this long is silent.
    pub(crate) agent_silent: Nanos,
    /// A Lease without a change for this long is stale.
    pub(crate) lease_stale: Nanos,
    /// See [`PROCESS_GONE_AFTER`].
    pub(crate) process_gone: Nanos,
}

impl Timeouts {
    /// The thresholds of verdicts.
    pub(crate) fn of(policy: &Policy) -> Self {
        let lost = Nanos::of(policy.lost_after);
        Self {
            beat_late: Nanos::of(policy.suspect_after),
            lost,
            agent_silent: lost.min(const { Nanos::of(AGENT_SILENT_AFTER) }),
            lease_stale: lost
                .min(const { Nanos::of(LEASE_STALE_AFTER) })
                .max(const { Nanos::of(LEASE_STALE_AFTER_LEAST) }),
            process_gone: const { Nanos::of(PROCESS_GONE_AFTER) },
        }
    }

    /// The thresholds of a preview, under [`Policy::for_preview`].
    pub(crate) fn of_preview(policy: &Policy) -> Self {
        Self { process_gone: const { Nanos::of(PROCESS_GONE_AFTER_IN_PREVIEW) }, ..Self::of(policy) }
    }

    /// The thresholds for the signs of life of a pod whose node has been gone for [`NODE_GONE_AFTER`].
    pub(crate) fn on_gone_node(self) -> Self {
        let cut = |after: Nanos| after.less_one_in(CUT_ON_GONE_NODE);
        Self { beat_late: cut(self.beat_late), agent_silent: cut(self.agent_silent), ..self }
    }
}
