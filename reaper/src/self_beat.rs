//! The self-beat: the leader's own beat, which proves that the beats of sidecars can reach it.
//!
//! Each self-beat uses a connection of its own. A kept-alive connection would prove only that it is still open: it keeps working
//! when the Service has lost its endpoint, a network policy has changed or a certificate has expired.

use std::{path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use jobwarden_common::{
    beat::{Beat, BeatRequest, Phase},
    names::route,
};
use jobwarden_core::health::SignalHealth;
use jobwarden_serve::{
    client::{Endpoint, EndpointError, PostError, TokenClient, TokenFile},
    logs::with_causes,
};
use tokio::time::{error::Elapsed, sleep, timeout};

use crate::observer::Observer;

/// Interval of self-beats.
const INTERVAL: Duration = Duration::from_secs(5);

/// Interval while no self-beat has arrived yet, or while this process does not lead.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Timeout of one self-beat.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How a sidecar would reach this reaper.
#[derive(Clone, Debug)]
pub struct SelfBeat {
    /// `host:port` of the Service.
    pub address: String,
    /// The DNS name that the certificate must carry.
    pub server_name: String,
    /// The reaper's own projected token, for the audience of beats; read for each self-beat.
    pub token_file: PathBuf,
    /// The current CA bundle, PEM.
    pub ca: Arc<ArcSwapOption<String>>,
}

/// Why a self-beat failed.
#[derive(Debug, thiserror::Error)]
enum SelfBeatError {
    #[error("the CA bundle is not loaded yet")]
    NoCa,
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error(transparent)]
    Post(#[from] PostError),
    #[error("no response within {} s", TIMEOUT.as_secs())]
    TimedOut(#[from] Elapsed),
}

impl SelfBeat {
    /// Sends self-beats while this reaper leads; never returns. The intake records their arrival, as of any beat.
    pub async fn run(self, observer: Observer) {
        let mut seq = 0;
        loop {
            if observer.is_listening() {
                if let Err(error) = timeout(TIMEOUT, self.post(seq)).await.map_err(SelfBeatError::from).flatten() {
                    tracing::warn!(address = self.address, error = with_causes(&error), "self-beat failed");
                }
                seq += 1;
            }
            let arrives = observer.is_listening() && observer.health() != SignalHealth::NotReceiving;
            sleep(if arrives { INTERVAL } else { RETRY_INTERVAL }).await;
        }
    }

    async fn post(&self, seq: u64) -> Result<(), SelfBeatError> {
        let Self { address, server_name, token_file, ca } = self;
        let ca = ca.load_full().ok_or(SelfBeatError::NoCa)?;
        let endpoint = Endpoint::new(address.clone(), server_name, &ca)?;
        let beat = BeatRequest { beats: vec![Beat { seq, phase: Phase::Running }] };
        let json = Bytes::from(serde_json::to_vec(&beat).expect("numbers and words always serialise"));
        TokenClient::new(TokenFile::new(token_file.clone())).post_once(&endpoint, route::BEATS, json).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
