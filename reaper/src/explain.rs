//! The command that prints what the reaper concludes of a Job.

pub use self::ask::{ExplainArgs, ExplainError, JobPath, Output};

mod ask;
mod report;
