//! Whether this process leads.

/// Whether this process leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// Another process leads, or none.
    Standby {
        /// The leader, if known.
        holder: Option<String>,
    },
    /// This process leads.
    Leader {
        /// `leaseTransitions` of the Lease, which increases with every new leader.
        term: i32,
    },
}

impl Leadership {
    /// Whether this process leads.
    pub fn leads(&self) -> bool {
        matches!(self, Self::Leader { .. })
    }
}
