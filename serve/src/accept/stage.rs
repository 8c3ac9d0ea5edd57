//! The stage of a server's life that its connections act on.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio_util::sync::CancellationToken;

/// Serving, draining or closing. Clones share the stage.
#[derive(Clone, Debug, Default)]
pub(super) struct Stage(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    draining: AtomicBool,
    closing: CancellationToken,
}

impl Stage {
    /// From now on every response carries `Connection: close`.
    pub(super) fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Whether a response has to carry `Connection: close`.
    pub(super) fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    /// From now on connections end as soon as they have no request in flight.
    pub(super) fn close(&self) {
        self.0.closing.cancel();
    }

    /// Returns once [`close`](Self::close) has been called.
    pub(super) async fn closing(&self) {
        self.0.closing.cancelled().await;
    }
}
