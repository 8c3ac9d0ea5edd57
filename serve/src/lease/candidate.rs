//! One candidate: carries out what [`super::machine`] decides.

use std::time::Duration;

use k8s_openapi::{api::coordination::v1::Lease, jiff::Timestamp};
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::watch,
    time::{Instant, error::Elapsed, sleep, timeout},
};

use super::{
    Leadership, LeaseArgs,
    machine::{Observed, Step, term},
};
use crate::shutdown::Shutdown;

/// Why a look at the Lease or a write of it came to nothing.
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
    tell: watch::Sender<Leadership>,
    observed: Observed,
    /// Whether what was observed is what the API server has, as far as we know; else it is read first.
    current: bool,
    /// When the last renewal that succeeded was *sent*, while we lead.
    renewed: Option<Instant>,
}

impl Candidate {
    pub(super) fn new(
        client: Client,
        namespace: &str,
        name: &str,
        me: String,
        args: LeaseArgs,
        tell: watch::Sender<Leadership>,
    ) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            name: name.to_owned(),
            me,
            args,
            tell,
            observed: Observed::new(None, Instant::now()),
            current: false,
            renewed: None,
        }
    }

    pub(super) async fn run(mut self, shutdown: Shutdown) {
        loop {
            let pause = tokio::select! {
                () = shutdown.requested() => break,
                pause = self.turn() => pause,
            };
            tokio::select! {
                () = shutdown.requested() => break,
                () = sleep(pause) => {}
            }
        }
        self.resign().await;
    }

    /// Looks, decides and acts once; how long to wait until the next turn.
    async fn turn(&mut self) -> Duration {
        // Ends before a leader's deadline, so that it steps down in time whatever the API server does.
        let result = timeout(self.patience(), self.look_and_act()).await.map_err(LeaseError::from).flatten();
        match result {
            Ok(leadership) => self.announce(leadership),
            Err(error) => {
                self.current = false;
                // Losing a race is how an election goes.
                if !error.is_conflict() {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(lease = self.name, error, "leader election is impeded; trying again");
                }
            }
        }
        match self.renewed {
            Some(renewed) if renewed.elapsed() >= self.args.renew_deadline() => {
                tracing::error!(lease = self.name, "could not renew in time; stepping down");
                self.announce(Leadership::Standby { holder: None });
                self.retry()
            }
            Some(_) if self.current => self.args.lease_renew.min(self.args.lease_duration / 3),
            Some(_) => self.retry().min(self.until_deadline()),
            None => self.retry(),
        }
    }

    async fn look_and_act(&mut self) -> Result<Leadership, LeaseError> {
        if !self.current {
            let lease = self.leases.get_opt(&self.name).await.map_err(LeaseError::Read)?;
            self.observed.update(lease, Instant::now());
        }
        let sent = Instant::now();
        let step = self.observed.decide(&self.me, self.args.lease_duration, sent);
        let mut held = self.observed.held_by(&self.me, self.args.lease_duration, Timestamp::now());
        let params = PostParams::default();
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
        self.tell.send_if_modified(|told| {
            let changes = *told != leadership;
            if changes {
                tracing::info!(lease = self.name, me = self.me, now = ?leadership, "leadership");
                *told = leadership;
            }
            changes
        });
    }

    /// Stops leading, then lets go of the Lease so that a standby need not wait for it to expire.
    async fn resign(mut self) {
        let patience = self.patience();
        self.announce(Leadership::Standby { holder: None });
        // The last turn may have been broken off between a write and its answer: only the API server knows who leads.
        let released = timeout(patience, async {
            let lease = self.leases.get_opt(&self.name).await.map_err(LeaseError::Read)?;
            self.observed.update(lease, Instant::now());
            if let Some(lease) = self.observed.released_by(&self.me, Timestamp::now()) {
                self.leases.replace(&self.name, &PostParams::default(), &lease).await.map_err(LeaseError::Write)?;
                tracing::info!(lease = self.name, "released");
            }
            Ok(())
        });
        if let Err(error) = released.await.map_err(LeaseError::from).flatten() {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(lease = self.name, error, "cannot release the Lease; it will expire");
        }
    }

    /// How long one turn may take.
    fn patience(&self) -> Duration {
        if self.renewed.is_some() { self.until_deadline() } else { self.args.renew_deadline() }
    }

    /// How long a leader may still go without a renewal.
    fn until_deadline(&self) -> Duration {
        let since = self.renewed.map_or(Duration::ZERO, |renewed| renewed.elapsed());
        self.args.renew_deadline().saturating_sub(since)
    }

    /// The pause of one that does not lead, different for everyone so that they do not race in step.
    fn retry(&self) -> Duration {
        self.args.lease_retry.mul_f64(0.8 + 0.4 * fastrand::f64())
    }
}

impl LeaseError {
    /// Whether somebody else was faster.
    fn is_conflict(&self) -> bool {
        // 409 is both a stale resourceVersion and an object that already exists.
        matches!(self, Self::Write(kube::Error::Api(status)) if status.code == 409)
    }
}
