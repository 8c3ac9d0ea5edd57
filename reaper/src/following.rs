//! Which Jobs are followed besides those of labelled namespaces, and how: as the flags and the variables of ORT Server's job monitor say.

use std::time::Duration;

use jobwarden_core::selection::Selection;

use crate::{
    args::{FollowArgs, Limit},
    job_monitor_variables::{FollowBy, JobMonitorVariables, VariableError},
    namespaces::OwnNamespaces,
    watch::{NothingFollows, Schedule},
};

/// What flags and variables say together.
pub(crate) struct Following {
    /// The variables, if they are read.
    pub(crate) variables: Option<JobMonitorVariables>,
    /// Whether Jobs and pods are watched, listed, or both.
    pub(crate) schedule: Schedule,
    /// The Jobs that are followed by their labels.
    pub(crate) selection: Selection,
}

/// Why Jobs cannot be followed as asked for.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The variables of the job monitor.
    #[error(transparent)]
    Variables(#[from] VariableError),
    /// A namespace whose Jobs are never followed.
    #[error("--follow-namespaces names {0}: Jobs of jobwarden's own namespaces and of kube-system are not followed")]
    Excluded(String),
    /// Neither a watch nor lists.
    #[error(transparent)]
    Schedule(#[from] NothingFollows),
}

impl Following {
    /// Reads the variables if they are to be read, and logs warnings about them. The Jobs of `own` are never followed.
    pub(crate) fn resolve(args: FollowArgs, own: &OwnNamespaces) -> Result<Self, FollowError> {
        let FollowArgs {
            watch,
            list_interval: Limit(list_every),
            follow_namespaces,
            follow_selector,
            job_monitor_variables,
        } = args;
        let variables = job_monitor_variables.then(job_monitor).transpose()?;
        let said = variables.as_ref().map(|variables| variables.follow_by).unwrap_or_default();
        let schedule = schedule(watch, list_every, said)?;
        let by_variables = || variables.as_ref().and_then(JobMonitorVariables::selection).unwrap_or_default();
        let selection =
            follow_selector.map_or_else(by_variables, |selector| Selection::new(follow_namespaces, selector));
        if let Some(name) = selection.namespaces().find(|name| own.excludes(name)) {
            return Err(FollowError::Excluded(name.to_owned()));
        }
        Ok(Self { variables, schedule, selection })
    }
}

/// The variables of ORT Server's job monitor in the environment of this process.
fn job_monitor() -> Result<JobMonitorVariables, VariableError> {
    // Those that are not UTF-8 are skipped: no variable of the job monitor is.
    let variables =
        std::env::vars_os().filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()));
    let translated = JobMonitorVariables::translate(variables)?;
    for warning in &translated.warnings {
        tracing::warn!("{warning}");
    }
    Ok(translated)
}

/// As the variables say, else as the flags do.
fn schedule(watch: bool, list_every: Option<Duration>, said: FollowBy) -> Result<Schedule, NothingFollows> {
    let list_every = match said.list {
        Some(false) => None,
        Some(true) | None => said.interval.or(list_every),
    };
    let watch = said.watch.unwrap_or(watch);
    let schedule = Schedule::new(watch, list_every)?;
    if !watch {
        tracing::warn!(?list_every, "Jobs and pods are not watched: changes are seen with the next list");
    }
    Ok(schedule)
}
