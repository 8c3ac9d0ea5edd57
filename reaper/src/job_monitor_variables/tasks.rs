//! The variables of the program `tasks`, of which the job monitor is a part: which tasks run, and where their secrets are.

use super::{
    no_counterpart::warning,
    sink::Sender,
    values::{VariableError, flag, unexpected},
};

/// The task that fails Jobs which run for too long.
const LONG_RUNNING: &str = "kubernetes-long-running-jobs-finder";
/// The task that reports and deletes failed and finished Jobs.
const REAPER: &str = "kubernetes-reaper";
/// The task that finds jobs in ORT Server's database that have no Kubernetes Job.
const LOST_JOBS: &str = "kubernetes-lost-jobs-finder";

/// What the variables of `tasks` say.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    /// The names in `TASKS`.
    tasks: Option<Vec<String>>,
}

impl Tasks {
    /// Takes a variable.
    pub(super) fn take(
        &mut self,
        name: &str,
        value: &str,
        sender: &mut Sender,
        warnings: &mut Vec<String>,
    ) -> Result<(), VariableError> {
        match name {
            "TASKS" => {
                let tasks: Vec<_> =
                    value.split(',').map(str::trim).filter(|task| !task.is_empty()).map(str::to_owned).collect();
                warnings.extend(remarks(&tasks));
                self.tasks = Some(tasks);
            }
            "TASKS_KEEP_JVM" => {
                flag(name, value)?;
                warnings.push(warning(name, "jobwarden runs all the time"));
            }
            "TASKS_SECRET_PROVIDER" if value == "secret-file" => {}
            "TASKS_SECRET_PROVIDER" => {
                return Err(unexpected(name, value, "secret-file, the only provider that jobwarden can read"));
            }
            "TASKS_SECRET_FILES" => sender.secret_files(name, value)?,
            _ => {}
        }
        Ok(())
    }

    /// Whether Jobs that run for too long are failed; `None` if `TASKS` does not say.
    pub(super) fn enforces_timeouts(&self) -> Option<bool> {
        self.tasks.as_ref().map(|tasks| tasks.iter().any(|task| task == LONG_RUNNING))
    }
}

fn remarks(tasks: &[String]) -> Vec<String> {
    let mut remarks = Vec::new();
    if !tasks.iter().any(|task| task == REAPER) {
        remarks.push(format!(
            "environment variable TASKS does not name {REAPER}: jobwarden reports and deletes Jobs that ended all the same"
        ));
    }
    for task in tasks {
        match task.as_str() {
            REAPER | LONG_RUNNING => {}
            LOST_JOBS => remarks.push(format!(
                "environment variable TASKS names {LOST_JOBS}: a Job that is deleted is reported, but jobwarden does not read ORT Server's database; keep this task for jobs that never became a Kubernetes Job"
            )),
            other => remarks.push(format!(
                "environment variable TASKS names {other:?}: it is no task of the job monitor, and not run; keep it in ORT Server's own tasks"
            )),
        }
    }
    remarks
}
