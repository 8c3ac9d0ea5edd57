//! The `LimitRanges` and `ResourceQuotas` of the cluster, as far as they concern sidecars.
//!
//! Admission does not depend on them: the API server checks every pod against them after the webhook anyway, with a less helpful
//! message. So nothing waits for the first list, and a broken watch clears the cache instead of leaving it stale. What is kept grows with
//! the number of these objects, never with pods.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt::Debug,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::StreamExt as _;
use jobwarden_inject::patch::{
    limits::{Bound, Bounds, Quota, Resource, Scope, Side, strictest},
    quantity::Quantity,
};
use jobwarden_serve::{logs::with_causes, shutdown::Shutdown};
use k8s_openapi::{
    api::core::v1::{LimitRange, ResourceQuota},
    apimachinery::pkg::api::resource::Quantity as Amount,
};
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{
        utils::Backoff as _,
        watcher::{self, DefaultBackoff, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::{sync::watch, time::sleep};

/// The longest backoff before objects are listed again.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// What is known of each namespace.
type Namespaces<T> = BTreeMap<String, Arc<[T]>>;

/// The bounds of each namespace, from a cache. Clones share the cache.
#[derive(Clone, Debug)]
pub struct LimitRanges {
    ranges: watch::Receiver<Namespaces<Bound>>,
    quotas: watch::Receiver<Namespaces<Quota>>,
}

impl LimitRanges {
    /// Fixed bounds, without quotas.
    pub fn fixed(namespaces: impl IntoIterator<Item = (String, Arc<[Bound]>)>) -> Self {
        Self { ranges: watch::channel(namespaces.into_iter().collect()).1, quotas: watch::channel(BTreeMap::new()).1 }
    }

    /// The bounds of a namespace; `None` if it has none or the cache is empty.
    pub(crate) fn bounds(&self, namespace: &str) -> Option<Bounds> {
        let ranges = self.ranges.borrow().get(namespace).cloned();
        let quotas = self.quotas.borrow().get(namespace).cloned();
        (ranges.is_some() || quotas.is_some())
            .then(|| Bounds::new(ranges.unwrap_or_default(), quotas.unwrap_or_default()))
    }
}

/// Watches the `LimitRanges` and `ResourceQuotas` of the cluster.
#[derive(Debug)]
pub(crate) struct Watchers {
    ranges: Watcher<LimitRange>,
    quotas: Watcher<ResourceQuota>,
}

impl Watchers {
    /// The watchers, and the cache that they fill.
    pub(crate) fn new() -> (Self, LimitRanges) {
        let (ranges, of_ranges) = Watcher::new();
        let (quotas, of_quotas) = Watcher::new();
        (Self { ranges, quotas }, LimitRanges { ranges: of_ranges, quotas: of_quotas })
    }

    /// Watches until shutdown is requested.
    pub(crate) async fn run(self, client: Client, shutdown: Shutdown) {
        let Self { ranges, quotas } = self;
        tokio::join!(ranges.run(client.clone(), shutdown.clone()), quotas.run(client, shutdown));
    }
}

/// A kind of object that bounds what pods may have.
trait Limiting: kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static {
    /// One bound.
    type Bound: Clone + Debug + Send + Sync;

    /// The bounds of one object.
    fn bounds(&self) -> Vec<Self::Bound>;

    /// The bounds of all objects of a namespace.
    fn merged<'a>(all: impl Iterator<Item = &'a Vec<Self::Bound>>) -> Arc<[Self::Bound]>;
}

impl Limiting for LimitRange {
    type Bound = Bound;

    fn bounds(&self) -> Vec<Bound> {
        bounds(self)
    }

    fn merged<'a>(all: impl Iterator<Item = &'a Vec<Bound>>) -> Arc<[Bound]> {
        strictest(all.flatten().cloned())
    }
}

impl Limiting for ResourceQuota {
    type Bound = Quota;

    fn bounds(&self) -> Vec<Quota> {
        quotas(self)
    }

    fn merged<'a>(all: impl Iterator<Item = &'a Vec<Quota>>) -> Arc<[Quota]> {
        all.flatten().cloned().collect()
    }
}

/// Watches the objects of one kind.
#[derive(Debug)]
struct Watcher<K: Limiting> {
    /// Bounds by namespace and name of the object, for those that have bounds. Nothing else is kept.
    objects: BTreeMap<String, BTreeMap<String, Vec<K::Bound>>>,
    cache: watch::Sender<Namespaces<K::Bound>>,
}

impl<K: Limiting> Watcher<K> {
    fn new() -> (Self, watch::Receiver<Namespaces<K::Bound>>) {
        let (cache, receiver) = watch::channel(BTreeMap::new());
        (Self { objects: BTreeMap::new(), cache }, receiver)
    }

    async fn run(mut self, client: Client, shutdown: Shutdown) {
        let mut backoff = DefaultBackoff::default();
        let watch = async {
            loop {
                let error = self.watch(client.clone(), &mut backoff).await;
                self.cache.send_modify(BTreeMap::clear);
                let delay = backoff.next().unwrap_or(MAX_BACKOFF).min(MAX_BACKOFF);
                let error = error.as_ref().map(|error| with_causes(error));
                let (kind, retry_s) = (K::kind(&()), delay.as_secs_f32());
                tracing::warn!(
                    error,
                    %kind,
                    retry_s,
                    "cannot watch; whether the sidecar fits into pods is not checked until the watch works again"
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
        let mut events = pin!(watcher(Api::<K>::all(client), watcher::Config::default()));
        while let Some(event) = events.next().await {
            match event {
                Err(error) => return Some(error),
                Ok(Event::Init) => self.objects.clear(),
                Ok(Event::InitApply(object)) => self.apply(&object),
                Ok(Event::InitDone) => {
                    backoff.reset();
                    let all = self.objects.iter();
                    let all = all.map(|(namespace, objects)| (namespace.clone(), K::merged(objects.values())));
                    self.cache.send_replace(all.collect());
                }
                Ok(Event::Apply(object)) => {
                    self.apply(&object);
                    self.publish(&object);
                }
                Ok(Event::Delete(object)) => {
                    self.remove(&object);
                    self.publish(&object);
                }
            }
        }
        None
    }

    fn apply(&mut self, object: &K) {
        let bounds = object.bounds();
        if bounds.is_empty() {
            return self.remove(object);
        }
        let objects = self.objects.entry(object.namespace().unwrap_or_default()).or_default();
        objects.insert(object.name_any(), bounds);
    }

    fn remove(&mut self, object: &K) {
        if let Entry::Occupied(mut objects) = self.objects.entry(object.namespace().unwrap_or_default()) {
            objects.get_mut().remove(&object.name_any());
            if objects.get().is_empty() {
                objects.remove();
            }
        }
    }

    /// Updates the cache for the namespace of `object`.
    fn publish(&self, object: &K) {
        let namespace = object.namespace().unwrap_or_default();
        let bounds = self.objects.get(&namespace).map(|objects| K::merged(objects.values()));
        self.cache.send_modify(|cache| {
            match bounds {
                Some(bounds) => cache.insert(namespace, bounds),
                None => cache.remove(&namespace),
            };
        });
    }
}

/// The bounds that a `LimitRange` sets for containers and pods. A lower bound of zero is no bound. An upper bound of zero rejects
/// everything, and is left to the API server, as are quantities that cannot be parsed.
pub fn bounds(range: &LimitRange) -> Vec<Bound> {
    type Quantities = Option<BTreeMap<String, Amount>>;
    let name = range.name_any();
    let of = |scope: Scope, quantities: &Quantities, side: Side| {
        let quantities = quantities.as_ref();
        let found = Resource::ALL.into_iter().filter_map(|resource| {
            let quantity = quantities?.get(resource.key())?.0.parse().ok()?;
            Some(Bound { limit_range: name.clone(), scope, resource, side, quantity })
        });
        found.collect::<Vec<_>>()
    };
    let items = range.spec.iter().flat_map(|spec| &spec.limits).filter_map(|item| {
        let scope = match item.type_.as_str() {
            "Container" => Scope::Container,
            "Pod" => Scope::Pod,
            _ => return None,
        };
        Some([of(scope, &item.min, Side::Min), of(scope, &item.max, Side::Max)].concat())
    });
    items.flatten().collect()
}

/// The bounds of a quota that concern sidecars. A quota with scopes counts some pods only, and which is the API server's to say.
pub fn quotas(quota: &ResourceQuota) -> Vec<Quota> {
    let Some(spec) = &quota.spec else { return Vec::new() };
    if spec.scopes.as_ref().is_some_and(|scopes| !scopes.is_empty()) || spec.scope_selector.is_some() {
        return Vec::new();
    }
    let used = quota.status.as_ref().and_then(|status| status.used.as_ref());
    let bounds = spec.hard.iter().flatten().filter_map(|(key, hard)| {
        Quota::resource(key)?;
        // The parser does not accept zero.
        let used = used.and_then(|used| used.get(key)?.0.parse::<Quantity>().ok()).map_or(0.0, |used| used.value());
        Some(Quota { name: quota.name_any(), key: key.clone(), hard: hard.0.parse().ok()?, used })
    });
    bounds.collect()
}

#[cfg(test)]
mod tests;
