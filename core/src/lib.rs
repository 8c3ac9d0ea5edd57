//! Everything in jobwarden that decides, without I/O.
//!
//! ```text
//!  Job, Pod, Node, Lease ──► facts ─┐
//!  beats, observations ─────────────┼─► index ──JobSnapshot──► reconcile ─┬─ judge   what is true of the Job and its pods?
//!  policy file, annotations ► policy┘     ▲                      │        ├─ guard   may that be acted on now?
//!                                  health (clock)                │        └─ plan    which steps follow?
//!                                                                ▼
//!                                               Evaluation: verdict, steps, when to requeue
//! ```
//!
//! Every function here takes the time as an argument and returns a value. Nothing here reads a clock, a socket or the API
//! server, so tests and the simulator drive the same code as the reaper does.

pub mod causes;
pub mod consistency;
mod deadlines;
pub mod evidence;
pub mod explain;
pub mod facts;
pub mod guard;
pub mod health;
pub mod index;
pub mod judge;
pub mod label_selector;
pub mod logs;
pub mod moment;
pub mod orphans;
pub mod outcome;
pub mod plan;
pub mod policy;
pub mod reconcile;
pub mod second_look;
pub mod selection;
pub mod server_clock;
pub mod sidecar_fault;
pub mod signals;
pub mod snapshot;
mod timeouts;
pub mod turns;
pub mod unfollowed;
pub mod verdict;

#[cfg(any(test, feature = "builders"))]
pub mod builders;
