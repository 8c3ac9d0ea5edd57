//! Decides, when an outcome is recorded, which sinks receive it.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use jobwarden_common::notification::OutcomeData;
use jobwarden_core::{outcome::OutcomeName, policy::Labels};

use super::{
    filter::Filter,
    format::{ENDPOINT_LABEL, Format},
    sink_config::SinkConfig,
};
use crate::outbox::Recipients;

/// The filters and formats of the configured sinks. Clones share the same state; a changed configuration replaces it.
#[derive(Clone, Debug, Default)]
pub struct Routes(Arc<ArcSwap<Vec<Route>>>);

#[derive(Debug)]
struct Route {
    sink: String,
    filter: Filter,
    format: Format,
}

impl Routes {
    /// The routes to these sinks.
    pub fn new(sinks: &[SinkConfig]) -> Self {
        let routes = Self::default();
        routes.replace(sinks);
        routes
    }

    /// Replaces the routes. What is recorded already keeps its recipients.
    pub fn replace(&self, sinks: &[SinkConfig]) {
        let route = |sink: &SinkConfig| Route {
            sink: sink.name.clone(),
            filter: sink.filter.clone(),
            format: sink.format.clone(),
        };
        self.0.store(Arc::new(sinks.iter().map(route).collect()));
    }

    /// Routes to sinks of these names that receive everything.
    #[cfg(test)]
    pub(crate) fn to_everyone(names: &[&str]) -> Self {
        let route =
            |name: &&str| Route { sink: (*name).to_owned(), filter: Filter::default(), format: Format::default() };
        Self(Arc::new(ArcSwap::from_pointee(names.iter().map(route).collect())))
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
            |route: &&Route| route.filter.matches(data, labels) && route.format.wants(name, data, &labels_kept);
        let chosen: Vec<_> = routes.iter().filter(receives).collect();
        let uses_labels = chosen.iter().any(|route| route.format.uses_labels());
        Recipients {
            sinks: chosen.iter().map(|route| route.sink.clone()).collect(),
            labels: if uses_labels { labels_kept } else { BTreeMap::new() },
        }
    }
}
