//! Decides, when an outcome is recorded, which sinks receive it.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use jobwarden_common::notification::OutcomeData;
use jobwarden_core::{outcome::OutcomeName, policy::Labels};

use super::{format::ENDPOINT_LABEL, sink_config::SinkConfig};
use crate::outbox::Recipients;

/// The filters and formats of the configured sinks. Clones share the same state; a changed configuration replaces it.
#[derive(Clone, Debug, Default)]
pub struct Routes(Arc<ArcSwap<Vec<SinkConfig>>>);

impl Routes {
    /// Replaces the routes. What is recorded already keeps its recipients.
    pub fn replace(&self, sinks: &[SinkConfig]) {
        self.0.store(Arc::new(sinks.to_vec()));
    }

    /// Whether these are the sinks that the routes lead to.
    pub(super) fn lead_to(&self, sinks: &[SinkConfig]) -> bool {
        self.0.load().as_slice() == sinks
    }

    /// Routes to sinks of these names that receive everything.
    #[cfg(test)]
    pub(crate) fn to_everyone(names: &[&str]) -> Self {
        let sink = |name: &&str| serde_json::json!({ "name": name, "url": "http://receiver.example" });
        let sinks: Vec<_> = names.iter().map(sink).collect();
        let sinks: Vec<SinkConfig> = serde_json::from_value(sinks.into()).expect("valid sinks");
        let routes = Self::default();
        routes.replace(&sinks);
        routes
    }

    /// Whether there is no sink.
    pub fn is_empty(&self) -> bool {
        self.0.load().is_empty()
    }

    /// The sinks whose filters match the outcome `name` of a Job with these labels, and whose formats have a message for it.
    pub fn recipients(&self, name: &OutcomeName, data: &OutcomeData, labels: &Labels) -> Recipients {
        let endpoint = labels.get(ENDPOINT_LABEL).map(|value| (ENDPOINT_LABEL.to_owned(), value.to_owned()));
        let labels_kept: BTreeMap<_, _> = endpoint.into_iter().collect();
        let routes = self.0.load();
        let receives =
            |sink: &&SinkConfig| sink.filter.matches(data, labels) && sink.format.wants(name, data, &labels_kept);
        let sinks = routes.iter().filter(receives).map(|sink| sink.name.clone()).collect();
        // Also for a sink that receives it as a dead letter.
        let uses_labels = routes.iter().any(|sink| sink.format.uses_labels());
        Recipients { sinks, labels: if uses_labels { labels_kept } else { BTreeMap::new() } }
    }
}

#[cfg(test)]
mod tests {
    use jobwarden_common::notification::OutcomeKind;
    use serde_json::json;

    use super::*;
    use crate::outbox::object::tests::mk_data;

    fn mk_routes() -> Routes {
        let sinks = json!([
            { "name": "all", "url": "http://a" },
            { "name": "lost", "url": "http://b", "filter": { "kinds": ["lost"] } },
            { "name": "ort", "type": "rabbitmq", "url": "amqp://c", "queue": "q", "format": "ort-server" },
        ]);
        let routes = Routes::default();
        routes.replace(&serde_json::from_value::<Vec<SinkConfig>>(sinks).expect("valid sinks"));
        routes
    }

    fn recipients(kind: OutcomeKind) -> Recipients {
        let name = OutcomeName::job_final(&"1111".into());
        let labels =
            BTreeMap::from([("ort-worker".to_owned(), "analyzer".to_owned()), ("team".to_owned(), "a".to_owned())]);
        mk_routes().recipients(&name, &OutcomeData { kind, ..mk_data() }, &Labels::keep(&labels))
    }

    #[test]
    fn an_outcome_goes_to_the_sinks_whose_filter_and_format_want_it() {
        assert_eq!(recipients(OutcomeKind::Lost).sinks, ["all", "lost", "ort"]);
        assert_eq!(recipients(OutcomeKind::Failed).sinks, ["all", "ort"]);
        assert_eq!(recipients(OutcomeKind::Succeeded).sinks, ["all"], "ORT Server's worker has sent its result itself");
    }

    #[test]
    fn of_the_labels_only_what_a_format_uses_is_kept() {
        let kept = recipients(OutcomeKind::Lost).labels;
        assert_eq!(kept, BTreeMap::from([("ort-worker".to_owned(), "analyzer".to_owned())]));
    }

    #[test]
    fn what_cannot_be_sent_is_recorded_for_the_sink_so_that_somebody_sees_it() {
        let name = OutcomeName::job_final(&"1111".into());
        let data = OutcomeData { run_id: None, ..mk_data() };
        assert_eq!(mk_routes().recipients(&name, &data, &Labels::default()).sinks, ["all", "lost", "ort"]);
    }
}
