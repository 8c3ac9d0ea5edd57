//! The JobOutcome objects in jobwarden's namespace, read and patched with the caller's own rights.

use jobwarden_common::names::{FIELD_MANAGER, GROUP};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams},
};
use serde_json::json;

use super::{
    change::{Change, Operation, summary},
    name::OutcomeName,
    object::Outcome,
};

/// Outcomes in one page of a list. One has up to 64 KiB.
const PAGE: u32 = 500;
/// How often a status is read and patched anew because the reaper has written it in between.
const ATTEMPTS: usize = 10;
/// The most names that are suggested.
const SUGGESTIONS: usize = 3;
/// The version of the custom resource in this release.
const VERSION: &str = "v1alpha1";
/// The resource in RBAC rules.
const RESOURCE: &str = "joboutcomes";
/// The subresource in RBAC rules.
const STATUS: &str = "joboutcomes/status";

/// The outcomes of an installation.
pub(super) struct Outbox {
    api: Api<DynamicObject>,
    namespace: String,
}

/// Why outcomes could not be read or patched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutboxError {
    /// The caller lacks a permission.
    #[error(
        "forbidden: {message}\ngrant '{verb}' on {resource}.{GROUP} in the namespace {namespace}; the Role jobwarden-operator has it:\n\
         kubectl -n {namespace} create rolebinding NAME --role=jobwarden-operator --user=USER"
    )]
    Forbidden { verb: &'static str, resource: &'static str, namespace: String, message: String },
    /// The API server does not know the custom resource.
    #[error(
        "the API server does not serve {RESOURCE}.{GROUP}; is jobwarden installed in this cluster? See 'jobwarden check'"
    )]
    NotServed,
    /// There are no such outcomes.
    #[error("there is no outcome {name} in the namespace {namespace}; {}", hint(.similar))]
    NotFound { name: String, namespace: String, similar: Vec<String> },
    /// The status changes all the time.
    #[error("the outcome {name} was modified concurrently {ATTEMPTS} times; try again")]
    Conflict { name: String },
    /// Another version wrote the object.
    #[error("cannot read the outcome {name}; another version of jobwarden may have written it")]
    Read { name: String, source: serde_json::Error },
    /// A request failed.
    #[error("cannot {verb} {resource} in the namespace {namespace}")]
    Api { verb: &'static str, resource: &'static str, namespace: String, source: kube::Error },
}

fn hint(similar: &[String]) -> String {
    if similar.is_empty() {
        "'jobwarden outcomes list -A' shows all of them".to_owned()
    } else {
        format!("did you mean {}?", similar.join(" or "))
    }
}

impl Outbox {
    /// The outcomes of the installation in `namespace`.
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        let resource =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, VERSION, "JobOutcome"), RESOURCE);
        Self { api: Api::namespaced_with(client, namespace, &resource), namespace: namespace.to_owned() }
    }

    /// Every outcome that `keep` accepts, the oldest first.
    pub(super) async fn list(&self, keep: impl Fn(&Outcome) -> bool) -> Result<Vec<Outcome>, OutboxError> {
        let mut params = ListParams::default().limit(PAGE);
        let mut kept = Vec::new();
        loop {
            let page = self.api.list(&params).await.map_err(|error| match error {
                kube::Error::Api(status) if status.code == 404 => OutboxError::NotServed,
                error => self.failed("list", RESOURCE, error),
            })?;
            for object in page.items {
                let outcome = read(object)?;
                if keep(&outcome) {
                    kept.push(outcome);
                }
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => break,
            }
        }
        kept.sort_by_cached_key(|outcome| (outcome.spec.created_at.clone(), outcome.name()));
        Ok(kept)
    }

    /// The outcome with this name.
    pub(super) async fn get(&self, name: &OutcomeName) -> Result<Outcome, OutboxError> {
        match self.find(name.as_str()).await? {
            Some(outcome) => Ok(outcome),
            None => Err(self.not_found(name).await),
        }
    }

    async fn find(&self, name: &str) -> Result<Option<Outcome>, OutboxError> {
        let found = self.api.get_opt(name).await.map_err(|error| self.failed("get", RESOURCE, error))?;
        found.map(read).transpose()
    }

    /// The error with the names that may be meant: those that contain `name`, and those of a Job of that name.
    async fn not_found(&self, name: &OutcomeName) -> OutboxError {
        let meant = |it: &Outcome| it.spec.job_name == name.as_str() || it.name().contains(name.as_str());
        let similar = match self.list(meant).await {
            Ok(similar) => similar.iter().take(SUGGESTIONS).map(Outcome::name).collect(),
            Err(error @ OutboxError::NotServed) => return error,
            // They are only a suggestion, and it is known what is wrong.
            Err(_) => Vec::new(),
        };
        OutboxError::NotFound { name: name.to_string(), namespace: self.namespace.clone(), similar }
    }

    /// Changes the status of an outcome, and returns how; `None` if the outcome was deleted meanwhile.
    pub(super) async fn apply(
        &self,
        mut outcome: Outcome,
        operation: &Operation,
        sink: Option<&str>,
        dry_run: bool,
    ) -> Result<Option<Change>, OutboxError> {
        let name = outcome.name();
        for _ in 0..ATTEMPTS {
            let change = operation.change(&outcome.spec.sinks, &outcome.written, sink);
            if change.changed.is_empty() {
                return Ok(Some(change));
            }
            let params =
                PatchParams { dry_run, field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
            let patch = Patch::Merge(json!({
                "metadata": { "resourceVersion": outcome.object.metadata.resource_version },
                "status": { "summary": summary(&change.written), "sinks": change.written },
            }));
            match self.api.patch_status(&name, &params, &patch).await {
                Ok(_) => return Ok(Some(change)),
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
                Err(kube::Error::Api(status)) if status.code == 409 => match self.find(&name).await? {
                    Some(current) => outcome = current,
                    None => return Ok(None),
                },
                Err(error) => return Err(self.failed("patch", STATUS, error)),
            }
        }
        Err(OutboxError::Conflict { name })
    }

    fn failed(&self, verb: &'static str, resource: &'static str, source: kube::Error) -> OutboxError {
        let namespace = self.namespace.clone();
        match source {
            kube::Error::Api(status) if status.code == 403 => {
                OutboxError::Forbidden { verb, resource, namespace, message: status.message }
            }
            source => OutboxError::Api { verb, resource, namespace, source },
        }
    }
}

fn read(object: DynamicObject) -> Result<Outcome, OutboxError> {
    let name = object.metadata.name.clone().unwrap_or_default();
    Outcome::read(object).map_err(|source| OutboxError::Read { name, source })
}
