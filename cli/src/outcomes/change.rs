//! What becomes of the status of an outcome when an operator repeats or ends its deliveries. Without I/O.

use super::object::{Delivery, State, deliveries};

/// What `cancel` writes as the last error.
const CANCELLED: &str = "cancelled by an operator";

/// What an operator wants of the deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// Attempt them again.
    Redeliver {
        /// Which of them.
        which: Which,
        /// The time, RFC 3339: since when they are pending.
        now: String,
    },
    /// Attempt them no more.
    Cancel,
}

/// Which deliveries are attempted again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Those that were given up.
    Dead,
    /// Those that ended without an acknowledgement.
    Unacknowledged,
    /// Those that have ended.
    Ended,
}

/// What changes in the status of one outcome.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Change {
    /// The entries of `status.sinks` afterwards.
    pub(super) written: Vec<Delivery>,
    /// The sinks whose deliveries change.
    pub(super) changed: Vec<String>,
    /// The sinks whose deliveries do not, and why.
    pub(super) skipped: Vec<(String, String)>,
}

impl Operation {
    /// What it changes in an outcome for the sinks `chosen` with the entries `written`; in the delivery to `sink` alone, if one is named.
    pub(super) fn change(&self, chosen: &[String], written: &[Delivery], sink: Option<&str>) -> Change {
        let mut change = Change { written: written.to_vec(), ..Change::default() };
        let mut named = deliveries(chosen, written);
        named.retain(|delivery| sink.is_none_or(|sink| delivery.sink == sink));
        if let (Some(sink), true) = (sink, named.is_empty()) {
            let why = "the outcome is not for this sink, by the sinks and filters at the time it was recorded";
            change.skipped.push((sink.to_owned(), why.to_owned()));
        }
        if sink.is_none() && named.is_empty() {
            change.skipped.push(("no sink".to_owned(), "the outcome is for no sink".to_owned()));
        }
        for delivery in named {
            let name = delivery.sink.clone();
            match self.apply(delivery) {
                Ok(delivery) => {
                    match change.written.iter_mut().find(|entry| entry.sink == name) {
                        Some(entry) => *entry = delivery,
                        None => change.written.push(delivery),
                    }
                    change.changed.push(name);
                }
                Err(why) => change.skipped.push((name, why)),
            }
        }
        change
    }

    /// The delivery afterwards, or why it stays as it is.
    fn apply(&self, delivery: Delivery) -> Result<Delivery, String> {
        match self {
            Self::Redeliver { which, now } => {
                which.accepts(&delivery)?;
                Ok(Delivery {
                    state: State::Pending,
                    attempts: 0,
                    last_error: None,
                    acknowledged_at: None,
                    pending_since: Some(now.clone()),
                    ..delivery
                })
            }
            Self::Cancel if delivery.state == State::Pending => {
                Ok(Delivery { state: State::Dead, last_error: Some(CANCELLED.to_owned()), ..delivery })
            }
            Self::Cancel => Err(format!("not pending but {}", delivery.state.as_str())),
        }
    }
}

impl Which {
    fn accepts(self, Delivery { state, acknowledged_at, .. }: &Delivery) -> Result<(), String> {
        let at = acknowledged_at.as_ref().map(|at| format!(" at {at}")).unwrap_or_default();
        match (state, self) {
            (State::Dead, _)
            | (State::Refused, Self::Unacknowledged | Self::Ended)
            | (State::Acknowledged, Self::Ended) => Ok(()),
            (State::Pending, _) => Err("already pending".to_owned()),
            (State::Refused, Self::Dead) => {
                Err("refused by the receiver; name the outcome to send it again".to_owned())
            }
            (State::Acknowledged, Self::Dead) => Err(format!("acknowledged{at}")),
            (State::Acknowledged, Self::Unacknowledged) => {
                Err(format!("acknowledged{at}; to send it once more, add --again and name the sink"))
            }
            (State::Other(state), _) => Err(format!("unknown state {state}")),
        }
    }
}

/// The states of all entries in one line, as the reaper writes it (`JobOutcomeStatus::of`).
pub(super) fn summary(written: &[Delivery]) -> String {
    let states: Vec<_> = written.iter().map(|entry| format!("{} {}", entry.sink, entry.state.as_str())).collect();
    if states.is_empty() { "none".to_owned() } else { states.join(", ") }
}

#[cfg(test)]
mod tests;
