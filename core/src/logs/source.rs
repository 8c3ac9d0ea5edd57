//! Which container decided, and which of its runs.

use std::sync::LazyLock;

use jobwarden_common::{
    names::SIDECAR_CONTAINER,
    notification::{Cause, NoLogs},
};
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};
use regex::Regex;

use super::printable::printable;
use crate::facts::pod::container::{is_running, is_sidecar, last_terminated, terminated};

/// The shortest value of an environment variable that is removed from log lines, in bytes: `1` and `false` stand everywhere.
const SHORTEST_SECRET: usize = 6;

/// The most values that are removed.
const MAX_SECRETS: usize = 64;

/// The names of environment variables whose values are removed from log lines.
static SECRET_NAME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("(?i)password|passwd|passphrase|pwd|secret|token|credential|auth|key").expect("the tests compile it")
});

/// A log: that of one container, in its present run or the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSource {
    /// The name of the container.
    pub container: String,
    /// Whether it is the run before the present one.
    pub previous: bool,
}

/// The log of the container of `pod`, as just read, that decided by `cause`: the one that the cause names, else the init container that
/// runs, else the first main container that has failed, else the first.
pub fn source(pod: &Pod, cause: &Cause) -> Result<LogSource, NoLogs> {
    let container = decisive(pod, cause).ok_or(NoLogs::NotStarted)?;
    let status = status(pod, &container.name).ok_or(NoLogs::NotStarted)?;
    let name = container.name.clone();
    match (terminated(status), last_terminated(status)) {
        (Some(_), _) => Ok(LogSource { container: name, previous: false }),
        (None, Some(last)) => {
            let finished_at = last.finished_at.as_ref().map(|at| at.0.to_string());
            let names_it = cause.container.as_deref() == Some(&name) && cause.exit_code.is_some();
            let is_deciding = names_it && cause.exit_code == Some(last.exit_code) && cause.finished_at == finished_at;
            Ok(LogSource { container: name, previous: is_deciding || !is_running(status) })
        }
        (None, None) if is_running(status) => Ok(LogSource { container: name, previous: false }),
        (None, None) => Err(NoLogs::NotStarted),
    }
}

/// The values of the environment variables of `container` whose names look like secrets, to be removed from its log, the longest first.
/// They are what the pod's spec says; values from Secrets and `ConfigMap`s are not known.
pub fn secret_values(pod: &Pod, container: &str) -> Vec<String> {
    let env = containers(pod).filter(|it| it.name == container).flat_map(|it| it.env.iter().flatten());
    let secret = env.filter(|variable| SECRET_NAME.is_match(&variable.name)).filter_map(|it| it.value.as_deref());
    // A value of several lines is several texts in a log.
    let texts = secret.flat_map(str::lines).map(|line| printable(line.as_bytes()).trim().to_owned());
    let mut texts: Vec<_> = texts.filter(|text| text.len() >= SHORTEST_SECRET).collect();
    texts.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    texts.dedup();
    texts.truncate(MAX_SECRETS);
    texts
}

fn decisive<'a>(pod: &'a Pod, cause: &Cause) -> Option<&'a Container> {
    let named = cause.container.as_deref().and_then(|name| containers(pod).find(|container| container.name == name));
    let is = |container: &&Container, is: fn(&ContainerStatus) -> bool| status(pod, &container.name).is_some_and(is);
    let has_failed = |status: &ContainerStatus| terminated(status).is_some_and(|end| end.exit_code != 0);
    let inits = || init_containers(pod).filter(|container| !is_sidecar(container));
    named
        .or_else(|| inits().find(|container| is(container, is_running)))
        .or_else(|| main_containers(pod).find(|container| is(container, has_failed)))
        .or_else(|| main_containers(pod).next())
}

/// The containers of the workload: the heartbeat sidecar decides nothing.
fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    init_containers(pod).chain(main_containers(pod))
}

fn main_containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.spec.iter().flat_map(|spec| &spec.containers)
}

fn init_containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    let all = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    all.filter(|container| container.name != SIDECAR_CONTAINER)
}

fn status<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    all.into_iter().find(|status| status.name == name)
}
