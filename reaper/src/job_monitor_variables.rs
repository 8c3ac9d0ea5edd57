//! The environment variables of ORT Server's job monitor, translated into jobwarden's own settings. No I/O: a function from names and
//! values to settings and warnings.
//!
//! The names and units are those of `tasks/src/main/resources/application.conf` of eclipse-apoapsis/ort-server at commit 7725bd24
//! (2026-08-22), and of `kubernetes/jobmonitor/src/main/resources/application.conf` before its commit 925d3e33 (2025-04-10).
//!
//! ```text
//!  command line < these variables < configuration file < annotations of namespaces and Jobs
//! ```
//!
//! A variable without a counterpart is accepted, with a warning that says why. A value that the job monitor could not read either is an error.

use std::{collections::BTreeMap, time::Duration};

use jobwarden_core::{policy::Setting, selection::Selection};

pub use self::{follow_by::FollowBy, values::VariableError};
use self::{
    sink::Sender,
    tasks::Tasks,
    values::{flag, minutes, seconds},
    workers::{WORKERS, worker},
};
use crate::deliver::SinkConfig;

mod below;
mod follow_by;
mod no_counterpart;
mod sink;
mod tasks;
#[cfg(test)]
mod tests;
mod values;
mod workers;

/// What the variables say, in jobwarden's own terms.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobMonitorVariables {
    /// How long a finished Job is kept (`MONITOR_REAPER_MAX_AGE`).
    retention: Option<Duration>,
    /// How long a Job may run, by its label `ort-worker` (`MONITOR_TIMEOUT_…`).
    timeouts: BTreeMap<&'static str, Duration>,
    /// Whether Jobs that run for too long are failed at all.
    enforces_timeouts: Option<bool>,
    /// The namespace of the Jobs (`MONITOR_NAMESPACE`).
    namespace: Option<String>,
    /// The queue of the orchestrator (`ORCHESTRATOR_SENDER_TRANSPORT_…`).
    sink: Option<SinkConfig>,
    /// Whether Jobs and pods are watched, listed, or both.
    pub follow_by: FollowBy,
    /// What has no counterpart, and why.
    pub warnings: Vec<String>,
}

impl JobMonitorVariables {
    /// Translates variables. Those with other names are left alone.
    ///
    /// # Errors
    ///
    /// Returns an error that names the variable, its value and what is expected if a value cannot be read.
    pub fn translate<N, V>(variables: impl IntoIterator<Item = (N, V)>) -> Result<Self, VariableError>
    where
        N: Into<String>,
        V: Into<String>,
    {
        let (mut translated, mut sender, mut tasks) = (Self::default(), Sender::default(), Tasks::default());
        // In the order of their names, so that warnings have one order.
        let variables: BTreeMap<String, String> =
            variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        for (name, value) in &variables {
            let (name, value) = (name.as_str(), value.trim());
            if let Some(part) = name.strip_prefix("MONITOR_") {
                translated.monitor(name, part, value)?;
            } else if let Some(part) = name.strip_prefix("ORCHESTRATOR_SENDER_TRANSPORT_") {
                sender.take(name, part, value, &mut translated.warnings);
            } else if name == "TASKS" || name.starts_with("TASKS_") {
                tasks.take(name, value, &mut sender, &mut translated.warnings)?;
            }
        }
        translated.sink = sender.sink(translated.namespace.as_deref(), &mut translated.warnings)?;
        if let Some(runs) = tasks.enforces_timeouts() {
            translated.enforces_timeouts.get_or_insert(runs);
        }
        translated.follow_by.check()?;
        Ok(translated)
    }

    /// Takes a variable whose name begins with `MONITOR_`.
    fn monitor(&mut self, name: &str, part: &str, value: &str) -> Result<(), VariableError> {
        match part {
            "NAMESPACE" => self.namespace = Some(value.to_owned()).filter(|name| !name.is_empty()),
            "REAPER_MAX_AGE" => self.retention = Some(seconds(name, value)?),
            "WATCHING_ENABLED" => self.follow_by.watch = Some(flag(name, value)?),
            "REAPER_ENABLED" => self.follow_by.list = Some(flag(name, value)?),
            "REAPER_INTERVAL" => self.follow_by.interval = Some(follow_by::interval(name, value)?),
            "LONG_RUNNING_JOBS_ENABLED" => self.enforces_timeouts = Some(flag(name, value)?),
            _ => match part.strip_prefix("TIMEOUT_").and_then(worker) {
                Some(worker) => drop(self.timeouts.insert(worker, minutes(name, value)?)),
                None => self.warnings.push(no_counterpart::monitor(name, part, value)?),
            },
        }
        Ok(())
    }

    /// The Jobs that the job monitor looked after, if `MONITOR_NAMESPACE` says where they are.
    pub fn selection(&self) -> Option<Selection> {
        self.namespace.clone().map(|namespace| Selection::new([namespace], sink::selector()))
    }

    /// The active-timeout of each kind of worker for which the variables say something: the variable, the worker, and the value.
    fn active_timeouts(&self) -> impl Iterator<Item = (String, &'static str, Setting)> + '_ {
        WORKERS.into_iter().filter_map(|worker| {
            let (name, limit) = match (self.enforces_timeouts, self.timeouts.get(worker)) {
                (Some(false), _) => ("MONITOR_LONG_RUNNING_JOBS_ENABLED or TASKS".to_owned(), None),
                (_, None) => return None,
                (_, Some(limit)) => (format!("MONITOR_TIMEOUT_{}", worker.to_ascii_uppercase()), Some(*limit)),
            };
            Some((name, worker, Setting::ActiveTimeout(limit)))
        })
    }
}
