//! The identity that a verified token proves.

use jobwarden_common::identity::{NodeName, PodUid};

/// The pod that presents a token, and its service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// The pod's UID.
    pub pod: PodUid,
    /// The node that the token was issued for; API servers before 1.30 do not set it.
    pub node: Option<NodeName>,
    /// The namespace of the pod and its service account.
    pub namespace: String,
    /// The name of the service account.
    pub service_account: String,
}
