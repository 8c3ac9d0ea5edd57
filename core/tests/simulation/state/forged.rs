//! A pod with a forged owner.

use crate::fault::Forgery;

/// A pod that names a Job as its controller, and is not one of its pods.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forged {
    /// The Job that it names.
    pub(crate) job: usize,
    /// What it lacks.
    pub(crate) forgery: Forgery,
    /// The node that it says it is on.
    pub(crate) node: usize,
    /// `status.phase`.
    pub(crate) phase: &'static str,
}
