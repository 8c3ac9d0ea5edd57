//! `jobwarden-webhook check`: whether an installation is sound, and what to do where it is not.
//!
//! ```text
//!  API server ──gather──► snapshot ──► cluster, parts, permissions, trust, registration,  ──findings──► report
//!                                      namespaces, trial, outcomes
//! ```
//!
//! It needs no access but the API server's: what lies behind it is asked through its proxies, and admission by creating pods for
//! dry. The snapshot is taken once; everything that is concluded from it is a pure function.

mod cluster;
mod finding;
mod gather;
mod namespaces;
mod outcomes;
mod parts;
mod permissions;
mod registration;
mod report;
mod snapshot;
#[cfg(test)]
mod sound;
mod trial;
mod trust;
mod workloads;

use std::{
    io,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;
use kube::{
    Client, Config,
    config::{InferConfigError, KubeConfigOptions, KubeconfigError},
};

use self::{
    finding::{Finding, Section},
    gather::Gatherer,
    report::{Output, is_sound},
    snapshot::Snapshot,
};

/// How long the API server may take to take a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// How long it may be silent: longer than any webhook may take.
const SILENCE: Duration = Duration::from_secs(40);

/// Between two looks while waiting.
const PAUSE: Duration = Duration::from_secs(1);

/// Tell whether an installation is sound, and what to do where it is not
///
/// Looks through the API server alone, by the kubeconfig that kubectl uses, and changes nothing: whether admission works is tried
/// by pods that are created for dry. Ends with status 1 if something is wrong, else with 0, warnings or not.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  Is it sound?
    jobwarden-webhook check
  Wait until it is, such as after an upgrade:
    jobwarden-webhook check --wait 2m
  For a program:
    jobwarden-webhook check --output json | jq '.findings[] | select(.status == \"failure\")'")]
pub(crate) struct CheckArgs {
    /// The namespace that jobwarden is installed in
    #[arg(short, long, env = "JOBWARDEN_NAMESPACE", default_value = "jobwarden", value_name = "NAME")]
    namespace: String,

    /// The kubeconfig's context to use instead of its current one
    #[arg(long, value_name = "NAME")]
    context: Option<String>,

    /// Look again and again until all is sound, for so long at most
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    wait: Duration,

    /// How to write the report
    #[arg(short, long, value_enum, default_value_t = Output::Text, value_name = "FORMAT")]
    output: Output,
}

/// Why nothing could be looked at.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The context that was named.
    #[error("cannot use this context of the kubeconfig; kubectl config get-contexts lists them")]
    Context(#[source] KubeconfigError),
    /// Neither a kubeconfig nor a cluster around.
    #[error("cannot find the API server: neither inside a cluster nor by a kubeconfig; KUBECONFIG names one")]
    Infer(#[source] InferConfigError),
    /// What the kubeconfig says cannot be used.
    #[error("cannot connect by what the kubeconfig says")]
    Client(#[source] kube::Error),
    /// Standard output is closed.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

impl CheckArgs {
    /// Looks, reports, and says with what status to end.
    pub(crate) async fn run(self) -> Result<ExitCode, CheckError> {
        let Self { namespace, context, wait, output } = self;
        let gatherer = Gatherer::new(client(context).await?, &namespace);
        let give_up = Instant::now() + wait;
        let findings = loop {
            let findings = look(&gatherer).await;
            if is_sound(&findings) || Instant::now() + PAUSE >= give_up {
                break findings;
            }
            tokio::time::sleep(PAUSE).await;
        };
        output.print(&findings).map_err(CheckError::Output)?;
        Ok(if is_sound(&findings) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

async fn client(context: Option<String>) -> Result<Client, CheckError> {
    let mut config = match context {
        None => Config::infer().await.map_err(CheckError::Infer)?,
        context => {
            let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
            Config::from_kubeconfig(&options).await.map_err(CheckError::Context)?
        }
    };
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(SILENCE);
    // What is away is a finding, not to be asked for again and again.
    config.default_retry = false;
    Client::try_from(config).map_err(CheckError::Client)
}

async fn look(gatherer: &Gatherer) -> Vec<Finding> {
    match gatherer.server().await {
        Ok(server) => check(&Box::pin(gatherer.snapshot(server)).await),
        Err(lack) => {
            let hint = "see whether kubectl reaches it, by the same kubeconfig: kubectl version";
            vec![Section::Kubernetes.failure(format!("the API server does not answer: {lack}"), hint)]
        }
    }
}

/// Everything that is found, section by section. Where the namespace is not even there, little else matters.
fn check(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = [cluster::check(snapshot), parts::installation(snapshot)].concat();
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
        trial::check(snapshot),
        outcomes::check(snapshot),
    ] {
        findings.extend(more);
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{finding::Status, snapshot::Lack};

    #[test]
    fn a_sound_installation_has_nothing_but_ticks() {
        let findings = check(&sound::snapshot());
        let other: Vec<_> = findings.iter().filter(|finding| finding.status != Status::Ok).collect();
        assert!(other.is_empty(), "{other:#?}");
    }

    #[test]
    fn every_failure_and_warning_says_what_to_do() {
        let mut snapshot = sound::nothing();
        let missing = check(&snapshot);
        snapshot.own_namespace = sound::snapshot().own_namespace;
        for finding in missing.into_iter().chain(check(&snapshot)) {
            assert_eq!(finding.hint.is_none(), finding.status == Status::Ok, "{finding:?}");
        }
    }

    #[test]
    fn where_there_is_no_namespace_nothing_else_is_blamed() {
        let findings = check(&sound::nothing());
        let failures: Vec<_> = findings.iter().filter(|finding| finding.status == Status::Failure).collect();
        assert!(failures.iter().all(|finding| finding.section == Section::Installation), "{failures:?}");
    }

    #[test]
    fn who_may_see_nothing_is_told_so_and_no_part_is_blamed() {
        let findings = check(&sound::hidden(&Lack::Forbidden("no".to_owned())));
        assert!(is_sound(&findings), "{findings:#?}");
        assert!(findings.iter().filter(|finding| finding.status == Status::Unknown).count() > 10, "{findings:#?}");
    }

    #[test]
    fn a_look_that_fails_is_no_clean_bill() {
        assert!(!is_sound(&check(&sound::hidden(&Lack::Failed("timed out".to_owned())))));
    }
}
