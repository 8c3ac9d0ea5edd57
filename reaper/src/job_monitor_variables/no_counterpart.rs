//! Variables that are accepted and have no effect, and why.

use super::{
    values::{VariableError, flag, seconds},
    workers::WORKERS,
};

/// Where the jobs are found that never became a Kubernetes Job.
const LOST_JOBS: &str = "jobwarden does not read ORT Server's database; keep the task kubernetes-lost-jobs-finder for jobs that never became a Kubernetes Job";

/// The warning about a variable whose name begins with `MONITOR_`. Its value has to be valid nevertheless.
pub(super) fn monitor(name: &str, part: &str, value: &str) -> Result<String, VariableError> {
    let why = match part {
        "LOST_JOBS_ENABLED" => flag(name, value).map(|_| LOST_JOBS.to_owned())?,
        "LOST_JOBS_INTERVAL" | "LOST_JOBS_MIN_AGE" => seconds(name, value).map(|_| LOST_JOBS.to_owned())?,
        "RECENTLY_PROCESSED_INTERVAL" => {
            seconds(name, value)?;
            "a Job has one final outcome, which is kept in the cluster, so none is processed twice".to_owned()
        }
        "LONG_RUNNING_JOBS_INTERVAL" => {
            seconds(name, value)?;
            "a Job is failed when its timeout ends, not when it is next looked at".to_owned()
        }
        _ if part.starts_with("TIMEOUT_") => {
            let known: Vec<_> = WORKERS.iter().map(|worker| worker.to_ascii_uppercase()).collect();
            format!("there is no such worker; timeouts are those of {}", known.join(", "))
        }
        _ => "the job monitor has no variable of this name".to_owned(),
    };
    Ok(warning(name, &why))
}

/// A warning about a variable that has no effect.
pub(super) fn warning(name: &str, why: &str) -> String {
    format!("environment variable {name} has no effect: {why}")
}
