//! Sends many messages while the broker is attacked, as the queue of a sink does: each is sent again until it is acknowledged.

use std::{collections::BTreeMap, error::Error, sync::Arc, time::Duration};

use jobwarden_reaper::deliver::{AmqpError, AmqpSink, Message, RabbitMqError, RabbitMqSink};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
};

use crate::messages::message;

/// The pause between two attempts. The queue of a sink waits longer.
const PAUSE: Duration = Duration::from_millis(200);

/// A sink of either kind.
pub(crate) trait Sink: Send + Sync + 'static {
    type Error: Error + Send;
    fn send(&self, message: &Message) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

impl Sink for RabbitMqSink {
    type Error = RabbitMqError;
    async fn send(&self, message: &Message) -> Result<(), RabbitMqError> {
        self.send(message).await
    }
}

impl Sink for AmqpSink {
    type Error = AmqpError;
    async fn send(&self, message: &Message) -> Result<(), AmqpError> {
        self.send(message).await
    }
}

/// Messages under way.
pub(crate) struct Storm<E> {
    released: Arc<Semaphore>,
    acknowledged: watch::Receiver<usize>,
    errors: mpsc::UnboundedReceiver<E>,
    /// How often attempts failed, by error.
    failed: BTreeMap<String, usize>,
    _senders: JoinSet<()>,
}

impl<E: Error + Send + 'static> Storm<E> {
    /// Prepares messages with the numbers up to `count`.
    pub(crate) fn start<S: Sink<Error = E>>(sink: S, count: i64) -> Self {
        let (sink, released) = (Arc::new(sink), Arc::new(Semaphore::new(0)));
        let (count_acknowledged, acknowledged) = watch::channel(0);
        let count_acknowledged = Arc::new(count_acknowledged);
        let (report, errors) = mpsc::unbounded_channel();
        let mut senders = JoinSet::new();
        for number in 0..count {
            let (sink, released, report) = (Arc::clone(&sink), Arc::clone(&released), report.clone());
            let acknowledged = Arc::clone(&count_acknowledged);
            senders.spawn(async move {
                released.acquire().await.expect("open").forget();
                let message = message(number);
                while let Err(error) = sink.send(&message).await {
                    // The receiver is gone when the test has failed.
                    let _ = report.send(error);
                    tokio::time::sleep(PAUSE).await;
                }
                acknowledged.send_modify(|count| *count += 1);
            });
        }
        Self { released, acknowledged, errors, failed: BTreeMap::new(), _senders: senders }
    }

    /// Lets so many more messages go.
    pub(crate) fn release(&self, count: usize) {
        self.released.add_permits(count);
    }

    /// Waits until at least so many messages are acknowledged.
    pub(crate) async fn acknowledged(&mut self, count: usize) {
        let wait = self.acknowledged.wait_for(|acknowledged| *acknowledged >= count);
        let waited = tokio::time::timeout(Duration::from_mins(2), wait).await;
        assert!(waited.is_ok_and(|waited| waited.is_ok()), "only {} of {count}", *self.acknowledged.borrow());
    }

    /// Waits for an attempt that fails with such an error, and returns its text.
    pub(crate) async fn error(&mut self, expected: impl Fn(&E) -> bool) -> String {
        let wait = async {
            while let Some(error) = self.errors.recv().await {
                *self.failed.entry(error.to_string()).or_default() += 1;
                if expected(&error) {
                    return Some(error.to_string());
                }
            }
            None
        };
        tokio::time::timeout(Duration::from_mins(2), wait).await.ok().flatten().expect("an attempt fails as expected")
    }

    /// The account of the failed attempts, a line for each error.
    pub(crate) fn failures(&mut self) -> String {
        while let Ok(error) = self.errors.try_recv() {
            *self.failed.entry(error.to_string()).or_default() += 1;
        }
        let lines: Vec<_> = self.failed.iter().map(|(error, times)| format!("\n{times:6} x {error}")).collect();
        lines.concat()
    }
}
