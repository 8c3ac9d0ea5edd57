//! The receivers of the storm: one that always answers, one that does half of the time, and none.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use jobwarden_tests::delivery_account::Inbox;
use jobwarden_tests::environment::Environment;
use jobwarden_tests::install::SINK;
use jobwarden_tests::receiver::{Answer, Receiver};
use tokio::time::sleep;

/// The sink whose receiver fails half of the time.
pub(super) const SHAKY: &str = "shaky";
/// The sink without a receiver.
pub(super) const DEAD: &str = "dead";
/// When the deliveries to it are given up.
pub(super) const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// How long the shaky receiver answers, and then fails.
const PHASE: Duration = Duration::from_secs(4);
/// How long an attempt may take: shorter than a phase, so that a receiver that hangs costs attempts and not only time.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The receivers beside that of all tests, which always answers.
pub(super) struct Receivers {
    shaky: Receiver,
    /// Where nothing listens.
    nowhere: SocketAddr,
}

impl Receivers {
    pub(super) async fn start(environment: &Environment) -> anyhow::Result<Self> {
        let shaky = environment.receiver.beside(environment.cluster.listen(0).await?)?;
        // The listener is closed, so its port refuses connections.
        let nowhere = environment.cluster.listen(0).await?.local_addr()?;
        Ok(Self { shaky, nowhere })
    }

    /// The sinks in the reaper's configuration, beside the one of all tests.
    pub(super) fn sinks(&self, namespace: &str) -> [String; 2] {
        let sink = |name: &str, url: &str, more: &str| {
            format!(
                "  - {{name: {name}, url: '{url}', secretFile: /etc/jobwarden/sinks/{SINK}/secret, timeout: {}s, \
                 filter: {{namespaces: [{namespace}]}}{more}}}\n",
                TIMEOUT.as_secs()
            )
        };
        let nowhere = format!("http://{}/notifications", self.nowhere);
        let give_up = format!(", giveUpAfter: {}s", GIVE_UP_AFTER.as_secs());
        [sink(SHAKY, self.shaky.url(), ""), sink(DEAD, &nowhere, &give_up)]
    }

    /// Lets the shaky receiver fail in turn by errors, by silence and by its absence. Returns only if it cannot go on.
    pub(super) async fn disturb(&self, environment: &Environment) -> anyhow::Error {
        let Err(error) = self.disturb_on(environment).await;
        error
    }

    async fn disturb_on(&self, environment: &Environment) -> anyhow::Result<Infallible> {
        loop {
            for answer in [Some(Answer::InternalError), Some(Answer::Hang), None] {
                // These pauses are the fault itself.
                sleep(PHASE).await;
                match answer {
                    Some(answer) => self.shaky.answer(answer),
                    None => self.shaky.go_down(),
                }
                sleep(PHASE).await;
                self.recover(environment).await?;
            }
        }
    }

    /// Lets the shaky receiver answer from now on.
    pub(super) async fn recover(&self, environment: &Environment) -> anyhow::Result<()> {
        self.shaky.answer(Answer::Acknowledge);
        if !self.shaky.is_up() {
            self.shaky.go_up(environment.cluster.listen(self.shaky.address().port()).await?)?;
        }
        Ok(())
    }

    /// What each living sink has received about Jobs of the namespace.
    pub(super) fn inboxes(&self, environment: &Environment, namespace: &str) -> BTreeMap<String, Inbox> {
        [(SINK, &environment.receiver), (SHAKY, &self.shaky)]
            .map(|(sink, receiver)| (sink.to_owned(), inbox(receiver, namespace)))
            .into()
    }
}

fn inbox(receiver: &Receiver, namespace: &str) -> Inbox {
    let received = receiver.picked(|it| {
        let data = &it.event.data;
        (data.namespace == namespace).then(|| (it.event.id.clone(), (data.clone(), it.deliveries)))
    });
    let received: BTreeMap<_, _> = received.into_iter().collect();
    // An earlier test restores etcd from a backup. The outcomes that are recorded again after that have other contents.
    let ambiguous = receiver.ambiguous().into_iter().filter(|id| received.contains_key(id)).collect();
    Inbox { received, ambiguous, rejected: receiver.rejected(), unacknowledged: receiver.unacknowledged() }
}
