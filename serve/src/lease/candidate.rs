//! One candidate: executes what [`super::machine`] decides.

use std::time::Duration;

use k8s_openapi::{api::coordination::v1::Lease, jiff::Timestamp};
use kube::{Api, Client};
use tokio::{
    sync::watch,
    time::{Instant, error::Elapsed, sleep, timeout},
};

use super::{
    args::LeaseArgs,
    leadership::Leadership,
    machine::{Observed, Step, term},
};
use crate::{field_manager::post_params, logs::with_causes, shutdown::Shutdown};

/// Why a read or write of the Lease failed.
#[derive(Debug, thiserror::Error)]
enum LeaseError {
    #[error("cannot read the Lease")]
    Read(#[source] kube::Error),
    #[error("cannot write the Lease")]
    Write(#[source] kube::Error),
    #[error("the API server did not answer in time")]
    TimedOut(#[from] Elapsed),
}

pub(super) struct Candidate {
    leases: Api<Lease>,
    name: String,
    me: String,
    args: LeaseArgs,
    report: watch::Sender<Leadership>,
    observed: Observed,
    /// Whether `observed` is up to date as far as known; otherwise the Lease is read first.
    current: bool,
    /// While this process leads: when the last successful renewal was *sent*.
    renewed: Option<Instant>,
}

impl Candidate {
    pub(super) fn new(
        client: Client,
        namespace: &str,
        name: &str,
        me: String,
        args: LeaseArgs,
        report: watch::Sender<Leadership>,
    ) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            name: name.to_owned(),
            me,
            args,
            report,
            observed: Observed::new(None, Instant::now()),
            current: false,
            renewed: None,
        }
    }

    pub(super) async fn run(mut self, shutdown: Shutdown) {
        loop {
            let pause = tokio::select! {
                () = shutdown.requested() => break,
                pause = self.attempt() => pause,
            };
            tokio::select! {
                () = shutdown.requested() => break,
                () = sleep(pause) => {}
            }
        }
        self.resign().await;
    }

    /// Reads, decides and writes once; returns the pause until the next attempt.
    async fn attempt(&mut self) -> Duration {
        // Ends before the deadline of a leader, so that it steps down in time whatever the API server does.
        let result = timeout(self.attempt_timeout(), self.read_and_write()).await.map_err(LeaseError::from).flatten();
        match result {
            Ok(leadership) => self.announce(leadership),
            Err(error) => {
                self.current = false;
                // A conflict is normal: another candidate was faster.
                if !error.is_conflict() {
                    let error = with_causes(&error);
                    tracing::warn!(lease = self.name, error, "leader election attempt failed; retrying");
                }
            }
        }
        match self.renewed {
            Some(renewed) if renewed.elapsed() >= self.args.renew_deadline() => {
                tracing::error!(lease = self.name, "Lease not renewed before the deadline; stepping down");
                self.announce(Leadership::Standby { holder: None });
                self.retry()
            }
            Some(_) if self.current => self.args.lease_renew.min(self.args.lease_duration / 3),
            Some(_) => self.retry().min(self.until_deadline()),
            None => self.retry(),
        }
    }

    async fn read_and_write(&mut self) -> Result<Leadership, LeaseError> {
        if !self.current {
            let lease = self.leases.get_opt(&self.name).await.map_err(LeaseError::Read)?;
            self.observed.update(lease, Instant::now());
        }
        let sent = Instant::now();
        let step = self.observed.decide(&self.me, self.args.lease_duration, sent);
        let mut held = self.observed.held_by(&self.me, self.args.lease_duration, Timestamp::now());
        let params = post_params();
        let written = match step {
            Step::Wait { holder } => return Ok(Leadership::Standby { holder: Some(holder) }),
            Step::Create => {
                held.metadata.name = Some(self.name.clone());
                self.leases.create(&params, &held).await
            }
            Step::Renew | Step::Take => self.leases.replace(&self.name, &params, &held).await,
        }
        .map_err(LeaseError::Write)?;
        let term = term(&written);
        self.observed.update(Some(written), Instant::now());
        self.current = true;
        self.renewed = Some(sent);
        Ok(Leadership::Leader { term })
    }

    fn announce(&mut self, leadership: Leadership) {
        if !leadership.leads() {
            self.renewed = None;
            self.current = false;
        }
        self.report.send_if_modified(|reported| {
            let changes = *reported != leadership;
            if changes {
                tracing::info!(lease = self.name, me = self.me, now = ?leadership, "leadership changed");
                *reported = leadership;
            }
            changes
        });
    }

    /// Stops leading, then releases the Lease so that a standby need not wait until it expires.
    async fn resign(mut self) {
        let attempt_timeout = self.attempt_timeout();
        self.announce(Leadership::Standby { holder: None });
        // The last attempt may have been cancelled between a write and its response: only the API server knows who leads.
        let released = timeout(attempt_timeout, async {
            let lease = self.leases.get_opt(&self.name).await.map_err(LeaseError::Read)?;
            self.observed.update(lease, Instant::now());
            if let Some(lease) = self.observed.released_by(&self.me, Timestamp::now()) {
                self.leases.replace(&self.name, &post_params(), &lease).await.map_err(LeaseError::Write)?;
                tracing::info!(lease = self.name, "Lease released");
            }
            Ok(())
        });
        if let Err(error) = released.await.map_err(LeaseError::from).flatten() {
            let error = with_causes(&error);
            tracing::warn!(lease = self.name, error, "cannot release the Lease; it will expire");
        }
    }

    /// Timeout of one attempt.
    fn attempt_timeout(&self) -> Duration {
        if self.renewed.is_some() { self.until_deadline() } else { self.args.renew_deadline() }
    }

    /// How long a leader may continue without a renewal.
    fn until_deadline(&self) -> Duration {
        let since = self.renewed.map_or(Duration::ZERO, |renewed| renewed.elapsed());
        self.args.renew_deadline().saturating_sub(since)
    }

    /// The pause of a standby, with jitter so that standbys do not race in step.
    fn retry(&self) -> Duration {
        self.args.lease_retry.mul_f64(0.8 + 0.4 * fastrand::f64())
    }
}

impl LeaseError {
    /// Whether another candidate was faster.
    fn is_conflict(&self) -> bool {
        // 409 is both a stale resourceVersion and an object that already exists.
        matches!(self, Self::Write(kube::Error::Api(status)) if status.code == 409)
    }
}
