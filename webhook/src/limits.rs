//! The `LimitRanges` of the cluster, as far as they concern sidecars.
//!
//! Not knowing them is no reason to hold anything up: the API server checks every pod against them after us anyway, only with a
//! text that helps less. So nothing waits for the first list, and what a broken watch brought is forgotten, not believed.

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

/// The type of limit that is checked for each container by itself.
const CONTAINER: &str = "Container";

/// The longest pause before `LimitRanges` are listed again.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Bounds by namespace.
type Namespaces = BTreeMap<String, Arc<Bounds>>;

/// What is known of the bounds of namespaces. Clones know the same.
#[derive(Clone, Debug)]
pub struct Known(watch::Receiver<Namespaces>);

impl Known {
    /// Knows these bounds of namespaces for ever.
    pub fn fixed(namespaces: impl IntoIterator<Item = (String, Bounds)>) -> Self {
        let namespaces = namespaces.into_iter().map(|(namespace, bounds)| (namespace, Arc::new(bounds)));
        Self(watch::channel(namespaces.collect()).1)
    }

    /// The bounds of a namespace; `None` if it has none or they are not known.
    pub(crate) fn of(&self, namespace: &str) -> Option<Arc<Bounds>> {
        self.0.borrow().get(namespace).cloned()
    }
}

/// Follows the `LimitRanges` of the cluster.
#[derive(Debug)]
pub(crate) struct Follower {
    /// Bounds by namespace and `LimitRange`. Nothing else of `LimitRanges` is kept, and nothing of those without bounds.
    ranges: BTreeMap<String, BTreeMap<String, Vec<Bound>>>,
    known: watch::Sender<Namespaces>,
}

impl Follower {
    /// Tells what it finds to the second.
    pub(crate) fn new() -> (Self, Known) {
        let (sender, receiver) = watch::channel(Namespaces::new());
        (Self { ranges: BTreeMap::new(), known: sender }, Known(receiver))
    }

    /// Works until the shutdown is requested.
    pub(crate) async fn run(mut self, client: Client, shutdown: Shutdown) {
        let mut backoff = DefaultBackoff::default();
        let follow = async {
            loop {
                let error = self.follow(client.clone(), &mut backoff).await;
                self.known.send_modify(BTreeMap::clear);
                let pause = backoff.next().unwrap_or(MAX_PAUSE).min(MAX_PAUSE);
                let error = error.as_ref().map(|error| with_causes(error));
                let retry_s = pause.as_secs_f32();
                tracing::warn!(
                    error,
                    retry_s,
                    "cannot follow LimitRanges; sizes of sidecars are not checked until that is mended"
                );
                sleep(pause).await;
            }
        };
        tokio::select! {
            () = shutdown.requested() => {}
            never = follow => never,
        }
    }

    /// Lists and watches until something goes wrong, which is returned.
    async fn follow(&mut self, client: Client, backoff: &mut DefaultBackoff) -> Option<watcher::Error> {
        let mut events = pin!(watcher(Api::<LimitRange>::all(client), watcher::Config::default()));
        while let Some(event) = events.next().await {
            match event {
                Err(error) => return Some(error),
                Ok(Event::Init) => self.ranges.clear(),
                Ok(Event::InitApply(range)) => self.apply(&range),
                Ok(Event::InitDone) => {
                    backoff.reset();
                    let all = self.ranges.iter().map(|(namespace, ranges)| (namespace.clone(), merged(ranges)));
                    self.known.send_replace(all.collect());
                }
                Ok(Event::Apply(range)) => {
                    self.apply(&range);
                    self.tell(&range);
                }
                Ok(Event::Delete(range)) => {
                    self.forget(&range);
                    self.tell(&range);
                }
            }
        }
        None
    }

    fn apply(&mut self, range: &LimitRange) {
        let bounds = bounds(range);
        if bounds.is_empty() {
            return self.forget(range);
        }
        let ranges = self.ranges.entry(range.namespace().unwrap_or_default()).or_default();
        ranges.insert(range.name_any(), bounds);
    }

    fn forget(&mut self, range: &LimitRange) {
        if let Entry::Occupied(mut ranges) = self.ranges.entry(range.namespace().unwrap_or_default()) {
            ranges.get_mut().remove(&range.name_any());
            if ranges.get().is_empty() {
                ranges.remove();
            }
        }
    }

    /// Tells what is known now of the namespace of `range`.
    fn tell(&self, range: &LimitRange) {
        let namespace = range.namespace().unwrap_or_default();
        let bounds = self.ranges.get(&namespace).map(merged);
        self.known.send_modify(|known| {
            match bounds {
                Some(bounds) => known.insert(namespace, bounds),
                None => known.remove(&namespace),
            };
        });
    }
}

fn merged(ranges: &BTreeMap<String, Vec<Bound>>) -> Arc<Bounds> {
    Arc::new(ranges.values().flatten().cloned().collect())
}

/// What a `LimitRange` says of each container. A bound of zero says nothing from below; from above it would forbid every container,
/// and is left to the API server like whatever else is no quantity to us.
pub(crate) fn bounds(range: &LimitRange) -> Vec<Bound> {
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
