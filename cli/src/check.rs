//! `jobwarden check`: is the installation healthy, and what to do if it is not.
//!
//! ```text
//!  API server ──gather──► snapshot ──► kubernetes, parts, permissions, trust, registration, ──findings──► report
//!                                      namespaces, admission, outcomes
//! ```
//!
//! It needs access to the API server only: pods and Services are reached through its proxies, and admission is tried by creating pods
//! with `dryRun=All`. The snapshot is taken once; every check is a pure function of it.

mod admission;
mod dry_run;
mod enrolment;
mod finding;
mod gather;
#[cfg(test)]
mod healthy;
mod kubernetes;
mod lookup;
mod namespaces;
mod other_webhooks;
mod outcomes;
mod parts;
mod permissions;
mod registration;
mod report;
mod rights;
mod snapshot;
mod trust;
mod workloads;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;

use self::{
    finding::{Finding, Section},
    gather::Gatherer,
    report::{Output, is_healthy},
    snapshot::Snapshot,
};
use crate::{
    cluster::{ClusterArgs, ClusterError},
    output::OutputError,
};

/// Pause between two checks with `--wait`.
const PAUSE: Duration = Duration::from_secs(1);

/// Check whether jobwarden is healthy, and how to fix what is not
///
/// Reads from the API server and changes nothing; admission is tried with pods that are created as a dry run. The exit status is 1 if
/// there is a failure, else 0, also with warnings.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  Check the installation in the current context:
    {prog} check
  Wait until it is healthy, such as after an upgrade:
    {prog} check --wait 2m
  Check an installation in another namespace of another cluster:
    {prog} check --context production --system-namespace batch-system
  Check the installation, and of the enrolled namespaces only yours:
    {prog} check -n my-jobs
  For a script:
    {prog} check -o json | jq '.findings[] | select(.status == \"failure\")'")]
pub(crate) struct CheckArgs {
    /// Repeat the check until there is no failure, for at most this long
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    wait: Duration,

    /// Of the enrolled namespaces, check only this one; default: all of them
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Output::Text, value_name = "FORMAT")]
    output: Output,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Why nothing could be checked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    /// The kubeconfig.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Standard output.
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl CheckArgs {
    /// Checks and reports; returns the exit status.
    pub(crate) async fn run(self) -> Result<ExitCode, CheckError> {
        let Self { wait, namespace, output, cluster } = self;
        let gatherer = Gatherer::new(cluster.client().await?, &cluster.system_namespace, namespace);
        let deadline = Instant::now() + wait;
        let findings = loop {
            let findings = gather_and_check(&gatherer).await;
            if is_healthy(&findings) || Instant::now() + PAUSE >= deadline {
                break findings;
            }
            tokio::time::sleep(PAUSE).await;
        };
        output.print(&findings)?;
        Ok(if is_healthy(&findings) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

async fn gather_and_check(gatherer: &Gatherer) -> Vec<Finding> {
    match gatherer.server().await {
        Ok(server) => check(&Box::pin(gatherer.snapshot(server)).await),
        Err(error) => {
            let hint = "check whether kubectl reaches it with the same kubeconfig: kubectl version";
            vec![Section::Kubernetes.failure(format!("the API server does not answer: {error}"), hint)]
        }
    }
}

/// All findings, section by section. Without the namespace nothing but the installation itself is checked.
fn check(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = [kubernetes::check(snapshot), parts::installation(snapshot)].concat();
    if snapshot.own_namespace.as_ref().is_ok_and(Option::is_none) {
        return findings;
    }
    for more in [
        permissions::check(snapshot),
        trust::check(snapshot),
        parts::webhook(snapshot),
        registration::check(snapshot),
        parts::reaper(snapshot),
        parts::agent(snapshot),
        namespaces::check(snapshot),
        admission::check(snapshot),
        outcomes::check(snapshot),
    ] {
        findings.extend(more);
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{finding::Status, lookup::LookupError};

    #[test]
    fn a_healthy_installation_has_no_findings_but_ok() {
        let findings = check(&healthy::snapshot());
        let other: Vec<_> = findings.iter().filter(|finding| finding.status != Status::Ok).collect();
        assert!(other.is_empty(), "{other:#?}");
    }

    #[test]
    fn every_failure_and_warning_has_a_hint() {
        let mut snapshot = healthy::not_installed();
        let missing = check(&snapshot);
        snapshot.own_namespace = healthy::snapshot().own_namespace;
        for finding in missing.into_iter().chain(check(&snapshot)) {
            assert_eq!(finding.hint.is_none(), finding.status == Status::Ok, "{finding:?}");
        }
    }

    #[test]
    fn without_the_namespace_only_the_installation_fails() {
        let findings = check(&healthy::not_installed());
        let failures: Vec<_> = findings.iter().filter(|finding| finding.status == Status::Failure).collect();
        assert!(!failures.is_empty());
        assert!(failures.iter().all(|finding| finding.section == Section::Installation), "{failures:?}");
    }

    #[test]
    fn missing_permissions_are_unknown_and_no_failure() {
        let findings = check(&healthy::unreadable(&LookupError::Forbidden("no".to_owned())));
        assert!(is_healthy(&findings), "{findings:#?}");
        assert!(findings.iter().filter(|finding| finding.status == Status::Unknown).count() > 10, "{findings:#?}");
    }

    #[test]
    fn failed_lookups_are_failures() {
        assert!(!is_healthy(&check(&healthy::unreadable(&LookupError::Failed("timed out".to_owned())))));
    }
}
