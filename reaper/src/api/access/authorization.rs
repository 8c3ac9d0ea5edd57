//! What somebody may read: `SubjectAccessReview`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::{
    cache::{Cache, Digest},
    question::{Denied, KEEP_ALLOWED, KEEP_REFUSED, Right, TIMEOUT, User},
};

/// Concurrent reviews: the writes of the reaper share its connection to the API server and its priority there.
const MAX_CONCURRENT: usize = 4;
/// The most answers that are kept.
const MAX_KEPT: usize = 4096;

/// What users may read.
pub(super) struct Reviews {
    client: Client,
    slots: Semaphore,
    known: Mutex<Cache<bool>>,
}

impl Reviews {
    pub(super) fn new(client: Client) -> Self {
        Self { client, slots: Semaphore::new(MAX_CONCURRENT), known: Mutex::new(Cache::new(MAX_KEPT)) }
    }

    /// Whether `user` has `right`, if that was asked a moment ago.
    pub(super) fn known(&self, user: &User, right: Right<'_>) -> Option<bool> {
        self.cache().get(&key(user, right), Instant::now().into_std())
    }

    /// Whether `user` has `right`.
    pub(super) async fn allows(&self, user: &User, right: Right<'_>) -> Result<bool, Denied> {
        let slot = timeout(TIMEOUT, self.slots.acquire()).await.map_err(|_| Denied::Unverifiable)?;
        let _slot = slot.map_err(|_| Denied::Unverifiable)?;
        // Another request of this user may have been answered meanwhile.
        if let Some(known) = self.known(user, right) {
            return Ok(known);
        }
        let allowed = self.review(spec(user, right)).await.map_err(|error| {
            tracing::warn!(error, "cannot create a SubjectAccessReview");
            Denied::Unverifiable
        })?;
        let keep = if allowed { KEEP_ALLOWED } else { KEEP_REFUSED };
        self.cache().put(key(user, right), allowed, Instant::now().into_std(), keep);
        Ok(allowed)
    }

    /// Whether the API server reviews accesses for us.
    pub(super) async fn probe(&self) -> Result<(), String> {
        let attributes = Some(attributes(Right::ListJobs(None)));
        let user = Some("system:anonymous".to_owned());
        let spec = SubjectAccessReviewSpec { user, resource_attributes: attributes, ..Default::default() };
        self.review(spec).await.map(drop)
    }

    async fn review(&self, spec: SubjectAccessReviewSpec) -> Result<bool, String> {
        let review = SubjectAccessReview { metadata: ObjectMeta::default(), spec, status: None };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        match timeout(TIMEOUT, reviews.create(&PostParams::default(), &review)).await {
            Ok(Ok(review)) => Ok(review.status.is_some_and(|status| status.allowed && status.denied != Some(true))),
            Ok(Err(error)) => Err(jobwarden_serve::logs::with_causes(&error)),
            Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
        }
    }

    fn cache(&self) -> MutexGuard<'_, Cache<bool>> {
        // No method panics while the cache is inconsistent.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(user: &User, right: Right<'_>) -> Digest {
    let attributes = serde_json::to_vec(&attributes(right)).expect("attributes are plain values");
    Sha256::new().chain_update(user.digest).chain_update(attributes).finalize().into()
}

fn spec(user: &User, right: Right<'_>) -> SubjectAccessReviewSpec {
    let info = user.info.clone();
    SubjectAccessReviewSpec {
        user: info.username,
        uid: info.uid,
        groups: info.groups,
        extra: info.extra,
        resource_attributes: Some(attributes(right)),
        ..SubjectAccessReviewSpec::default()
    }
}

fn attributes(right: Right<'_>) -> ResourceAttributes {
    let text = |text: &str| Some(text.to_owned());
    let (group, resource, subresource, verb, namespace, name) = match right {
        Right::ListJobs(namespace) => ("batch", "jobs", None, "list", namespace, None),
        Right::GetJob(namespace, name) => ("batch", "jobs", None, "get", Some(namespace), name),
        Right::ReadLogs(namespace) => ("", "pods", Some("log"), "get", Some(namespace), None),
    };
    ResourceAttributes {
        group: text(group),
        resource: text(resource),
        subresource: subresource.map(str::to_owned),
        verb: text(verb),
        namespace: namespace.map(str::to_owned),
        name: name.map(str::to_owned),
        ..ResourceAttributes::default()
    }
}
