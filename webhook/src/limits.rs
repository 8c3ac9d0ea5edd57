//! The `LimitRanges` of the cluster, as far as they concern sidecars.
//!
//! Admission does not depend on them: the API server checks every pod against them after the webhook anyway, with a less helpful
//! message. So nothing waits for the first list, and a broken watch clears the cache instead of leaving it stale.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::StreamExt as _;
use jobwarden_inject::patch::limits::{Bound, Bounds, Resource, Side};
use jobwarden_serve::{logs::with_causes, shutdown::Shutdown};
use k8s_openapi::{api::core::v1::LimitRange, apimachinery::pkg::api::resource::Quantity};
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{
        utils::Backoff as _,
        watcher::{self, DefaultBackoff, Event, watcher},
    },
};
use tokio::{sync::watch, time::sleep};

/// The type of limit that applies to each container on its own.
const CONTAINER: &str = "Container";

/// The longest backoff before `LimitRanges` are listed again.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Bounds by namespace.
type Namespaces = BTreeMap<String, Arc<Bounds>>;

/// The bounds of each namespace, from a cache. Clones share the cache.
#[derive(Clone, Debug)]
pub struct LimitRanges(watch::Receiver<Namespaces>);

impl LimitRanges {
    /// Fixed bounds.
    pub fn fixed(namespaces: impl IntoIterator<Item = (String, Bounds)>) -> Self {
        let namespaces = namespaces.into_iter().map(|(namespace, bounds)| (namespace, Arc::new(bounds)));
        Self(watch::channel(namespaces.collect()).1)
    }

    /// The bounds of a namespace; `None` if it has none or the cache is empty.
    pub(crate) fn bounds(&self, namespace: &str) -> Option<Arc<Bounds>> {
        self.0.borrow().get(namespace).cloned()
    }
}

/// Watches the `LimitRanges` of the cluster.
#[derive(Debug)]
pub(crate) struct Watcher {
    /// Bounds by namespace and name of the `LimitRange`, for those that have bounds. Nothing else is kept.
    ranges: BTreeMap<String, BTreeMap<String, Vec<Bound>>>,
    cache: watch::Sender<Namespaces>,
}

impl Watcher {
    /// A watcher, and the cache that it fills.
    pub(crate) fn new() -> (Self, LimitRanges) {
        let (sender, receiver) = watch::channel(Namespaces::new());
        (Self { ranges: BTreeMap::new(), cache: sender }, LimitRanges(receiver))
    }

    /// Watches until shutdown is requested.
    pub(crate) async fn run(mut self, client: Client, shutdown: Shutdown) {
        let mut backoff = DefaultBackoff::default();
        let watch = async {
            loop {
                let error = self.watch(client.clone(), &mut backoff).await;
                self.cache.send_modify(BTreeMap::clear);
                let delay = backoff.next().unwrap_or(MAX_BACKOFF).min(MAX_BACKOFF);
                let error = error.as_ref().map(|error| with_causes(error));
                let retry_s = delay.as_secs_f32();
                tracing::warn!(
                    error,
                    retry_s,
                    "cannot watch LimitRanges; the size of sidecars is not checked until the watch works again"
                );
                sleep(delay).await;
            }
        };
        tokio::select! {
            () = shutdown.requested() => {}
            never = watch => never,
        }
    }

    /// Lists and watches until an error occurs, and returns it.
    async fn watch(&mut self, client: Client, backoff: &mut DefaultBackoff) -> Option<watcher::Error> {
        let mut events = pin!(watcher(Api::<LimitRange>::all(client), watcher::Config::default()));
        while let Some(event) = events.next().await {
            match event {
                Err(error) => return Some(error),
                Ok(Event::Init) => self.ranges.clear(),
                Ok(Event::InitApply(range)) => self.apply(&range),
                Ok(Event::InitDone) => {
                    backoff.reset();
                    let all = self.ranges.iter().map(|(namespace, ranges)| (namespace.clone(), merged(ranges)));
                    self.cache.send_replace(all.collect());
                }
                Ok(Event::Apply(range)) => {
                    self.apply(&range);
                    self.publish(&range);
                }
                Ok(Event::Delete(range)) => {
                    self.remove(&range);
                    self.publish(&range);
                }
            }
        }
        None
    }

    fn apply(&mut self, range: &LimitRange) {
        let bounds = bounds(range);
        if bounds.is_empty() {
            return self.remove(range);
        }
        let ranges = self.ranges.entry(range.namespace().unwrap_or_default()).or_default();
        ranges.insert(range.name_any(), bounds);
    }

    fn remove(&mut self, range: &LimitRange) {
        if let Entry::Occupied(mut ranges) = self.ranges.entry(range.namespace().unwrap_or_default()) {
            ranges.get_mut().remove(&range.name_any());
            if ranges.get().is_empty() {
                ranges.remove();
            }
        }
    }

    /// Updates the cache for the namespace of `range`.
    fn publish(&self, range: &LimitRange) {
        let namespace = range.namespace().unwrap_or_default();
        let bounds = self.ranges.get(&namespace).map(merged);
        self.cache.send_modify(|cache| {
            match bounds {
                Some(bounds) => cache.insert(namespace, bounds),
                None => cache.remove(&namespace),
            };
        });
    }
}

fn merged(ranges: &BTreeMap<String, Vec<Bound>>) -> Arc<Bounds> {
    Arc::new(ranges.values().flatten().cloned().collect())
}

/// The bounds that a `LimitRange` sets for each container. A lower bound of zero is no bound. An upper bound of zero rejects every
/// container, and is left to the API server, as are quantities that cannot be parsed.
pub fn bounds(range: &LimitRange) -> Vec<Bound> {
    type Quantities = Option<BTreeMap<String, Quantity>>;
    let name = range.name_any();
    let of = |quantities: &Quantities, side: Side| {
        let quantities = quantities.as_ref();
        let found = [("cpu", Resource::Cpu), ("memory", Resource::Memory)].into_iter().filter_map(|(key, resource)| {
            let quantity = quantities?.get(key)?.0.parse().ok()?;
            Some(Bound { limit_range: name.clone(), resource, side, quantity })
        });
        found.collect::<Vec<_>>()
    };
    let items = range.spec.iter().flat_map(|spec| &spec.limits).filter(|item| item.type_ == CONTAINER);
    items.flat_map(|item| [of(&item.min, Side::Min), of(&item.max, Side::Max)].concat()).collect()
}

#[cfg(test)]
mod tests;
