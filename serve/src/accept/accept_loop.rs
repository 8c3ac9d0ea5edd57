//! The accept loop: one for every server, whatever its transport.

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll},
    time::Duration,
};

use futures::FutureExt as _;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    activity::Activity,
    drain::Drain,
    listener::BACKLOG,
    metrics::{Closing, Metrics, Refusal},
    slots::{Admitted, Slot, Slots},
    source::Source,
    stage::Stage,
};
use crate::shutdown::{Shutdown, ShutdownArgs};

/// Pause after an error of accept(2) that lasts, such as EMFILE.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The accept loop of one server.
pub(super) struct AcceptLoop {
    pub(super) slots: Slots,
    pub(super) shutdown: Shutdown,
    pub(super) drain: ShutdownArgs,
    pub(super) stage: Stage,
    pub(super) metrics: Metrics,
}

impl AcceptLoop {
    /// Accepts connections with `accept` and runs `serve` for each in a task of its own, until it is evicted, or the shutdown is requested
    /// and the drain has ended. Dropping `accept` closes the listener.
    pub(super) async fn run<T, F>(
        self,
        mut accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<(T, Source)>>,
        serve: impl Fn(T, Activity, Slot) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let Self { slots, shutdown, drain: args, stage, metrics } = self;
        let (abort, connections) = (CancellationToken::new(), TaskTracker::new());
        let start = |(stream, source): (T, Source)| {
            let activity = Activity::new(stage.clone());
            let Admitted { slot, evicted } = slots.admit(source, activity.clone());
            if evicted {
                metrics.closed(Closing::Evicted);
            }
            let Some(slot) = slot else {
                metrics.refused(Refusal::Limit);
                return;
            };
            // On the heap: an async function holds each future twice that is passed to it and awaited there (rust-lang/rust#62958).
            let (serving, abort) = (Box::pin(serve(stream, activity.clone(), slot)), abort.clone());
            connections.spawn(abort.run_until_cancelled_owned(async move {
                tokio::select! {
                    () = serving => {}
                    () = activity.evicted() => {}
                }
            }));
        };

        let mut drain: Option<Drain> = None;
        let drain = loop {
            let stop = async {
                match &drain {
                    None => shutdown.requested().await,
                    Some(drain) => sleep_until(drain.closes_at()).await,
                }
            };
            let accepted = tokio::select! {
                // Connections that arrive without pause must not keep the drain from ending.
                biased;
                () = stop => match drain {
                    None => {
                        stage.drain();
                        drain = Some(Drain::start(args, Instant::now()));
                        continue;
                    }
                    Some(drain) => break drain,
                },
                accepted = poll_fn(&mut accept) => accepted,
            };
            match accepted {
                Ok(accepted) => {
                    if let Some(drain) = &mut drain {
                        drain.connection_arrived(Instant::now());
                    }
                    start(accepted);
                }
                Err(error) => {
                    metrics.refused(Refusal::Accept);
                    if !concerns_one_connection(&error) {
                        tracing::warn!(%error, "cannot accept connections; retrying");
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };

        // The kernel has established what is in its queue: closing the listener would reset those connections.
        for _ in 0..BACKLOG {
            match poll_fn(&mut accept).now_or_never() {
                Some(Ok(accepted)) => start(accepted),
                Some(Err(_)) | None => break,
            }
        }
        drop(accept);
        stage.close();
        connections.close();
        if timeout_at(drain.deadline(), connections.wait()).await.is_err() {
            tracing::warn!(
                connections = connections.len(),
                "aborting requests in flight at the end of --drain-timeout"
            );
            abort.cancel();
            connections.wait().await;
        }
    }
}

/// Whether an error of accept(2) concerns one connection only, so that the next call may succeed.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
