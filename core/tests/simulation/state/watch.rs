//! Watches: the connections, and what is sent through them.

use std::{rc::Rc, time::Duration};

use jobwarden_core::{
    facts::{
        job::JobFacts,
        node::{LeaseFacts, NodeFacts},
        pod::PodFacts,
    },
    health::Watch,
};

/// Which object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Job(usize),
    Pod(usize),
    Node(usize),
    Lease(usize),
    Namespace(usize),
    /// A pod with a forged owner.
    Forged(usize),
}

impl Kind {
    pub(crate) fn watch(self) -> Watch {
        match self {
            Self::Job(_) => Watch::Jobs,
            Self::Pod(_) | Self::Forged(_) => Watch::Pods,
            Self::Node(_) => Watch::Nodes,
            Self::Lease(_) => Watch::Leases,
            Self::Namespace(_) => Watch::Namespaces,
        }
    }
}

/// An object as it was when it changed.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) kind: Kind,
    pub(crate) facts: Facts,
    pub(crate) deleted: bool,
}

/// What jobwarden-core keeps of an object.
#[derive(Debug)]
pub(crate) enum Facts {
    Job(Box<JobFacts>),
    Pod(Box<PodFacts>),
    Node(NodeFacts),
    Lease(LeaseFacts),
    /// Its name, and whether it is enrolled.
    Namespace(String, bool),
}

/// One watch of one reaper.
#[derive(Debug, Default)]
pub(crate) struct WatchConnection {
    pub(crate) state: ConnectionState,
    /// Changes that it has not received.
    pub(crate) backlog: Vec<Rc<Item>>,
    /// When the last change in flight arrives: changes of one watch arrive in order.
    pub(crate) arrives: Duration,
    /// When anything was last received.
    pub(crate) received_at: Duration,
}

/// The state of a watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ConnectionState {
    /// It has to list.
    #[default]
    Unlisted,
    Up,
    /// It receives nothing, and the reaper has not detected that.
    Stalled,
    /// It is down, and the reaper knows.
    Broken,
}

impl WatchConnection {
    pub(crate) fn is_up_as_far_as_known(&self) -> bool {
        matches!(self.state, ConnectionState::Up | ConnectionState::Stalled)
    }
}
