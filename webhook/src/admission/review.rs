//! `AdmissionReview` of `admission.k8s.io/v1`: reading requests, writing responses.

use base64_simd::STANDARD;
use http::StatusCode;
use jobwarden_inject::{
    patch::{Mutation, Operations},
    view::Text,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// A review with an object of type `T`, parsed in one pass; [`read`] diagnoses in detail only when that fails.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "T: Deserialize<'de>"))]
struct Review<'a, T> {
    #[serde(borrow)]
    api_version: Text<'a>,
    #[serde(borrow)]
    kind: Text<'a>,
    #[serde(borrow)]
    request: Request<'a, T>,
}

/// The request in a review.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "T: Deserialize<'de>"))]
pub(super) struct Request<'a, T> {
    /// Repeated in the response.
    #[serde(borrow)]
    pub(super) uid: Text<'a>,
    #[serde(borrow)]
    resource: Resource<'a>,
    #[serde(borrow)]
    sub_resource: Option<Text<'a>>,
    #[serde(borrow)]
    namespace: Option<Text<'a>>,
    #[serde(borrow)]
    operation: Text<'a>,
    /// The object as it would be created.
    pub(super) object: Option<T>,
}

#[derive(Debug, Deserialize)]
struct Resource<'a> {
    #[serde(borrow)]
    group: Text<'a>,
    #[serde(borrow)]
    version: Text<'a>,
    #[serde(borrow, rename = "resource")]
    plural: Text<'a>,
}

impl<T> Request<'_, T> {
    /// Whether the request is for this group, version and resource, and no subresource.
    pub(super) fn is_about(&self, [group, version, resource]: [&str; 3]) -> bool {
        let Resource { group: its_group, version: its_version, plural } = &self.resource;
        its_group == group
            && its_version == version
            && plural == resource
            && self.sub_resource.as_deref().is_none_or(str::is_empty)
    }

    pub(super) fn creates(&self) -> bool {
        self.operation == *"CREATE"
    }

    /// For logs.
    pub(super) fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }
}

/// Why a body is not a usable request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Not an `AdmissionReview`: there is no UID to answer to.
    NotAReview(String),
    /// An `AdmissionReview` whose object cannot be parsed.
    Unreadable {
        /// The UID of the request.
        uid: String,
        /// What is wrong. It may quote the request.
        reason: String,
    },
}

/// Reads the request in `body`.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<Request<'a, T>, Fault> {
    // One check of the whole body is faster than one of each string.
    let text = str::from_utf8(body)
        .map_err(|error| Fault::NotAReview(format!("the body is not an AdmissionReview: {error}")))?;
    match serde_json::from_str::<Review<'a, T>>(text) {
        Ok(review) if review.api_version == *API_VERSION && review.kind == *KIND => Ok(review.request),
        Ok(review) => Err(not_a_review(&review.api_version, &review.kind)),
        Err(error) => Err(diagnose(text, &error)),
    }
}

/// Finds the UID to which the parse `error` of `body` can be reported.
fn diagnose(body: &str, error: &serde_json::Error) -> Fault {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Envelope<'a> {
        #[serde(borrow, default)]
        api_version: Text<'a>,
        #[serde(borrow, default)]
        kind: Text<'a>,
        #[serde(borrow)]
        request: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Addressed<'a> {
        #[serde(borrow)]
        uid: Text<'a>,
    }

    let envelope: Envelope<'_> = match serde_json::from_str(body) {
        Ok(envelope) => envelope,
        Err(error) => return Fault::NotAReview(format!("the body is not an AdmissionReview: {error}")),
    };
    let Envelope { api_version, kind, request } = envelope;
    if api_version != *API_VERSION || kind != *KIND {
        return not_a_review(&api_version, &kind);
    }
    let addressed = request.and_then(|request| serde_json::from_str::<Addressed<'_>>(request.get()).ok());
    match addressed {
        Some(Addressed { uid }) => Fault::Unreadable { uid: uid.to_string(), reason: error.to_string() },
        None => Fault::NotAReview(format!("the AdmissionReview has no request with a uid: {error}")),
    }
}

fn not_a_review(api_version: &str, kind: &str) -> Fault {
    Fault::NotAReview(format!("the body is {api_version:?} {kind:?}; expected {API_VERSION} {KIND}"))
}

/// A review with a response.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: AdmissionResponse<'a>,
    #[serde(skip)]
    patch: Option<Operations>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct AdmissionResponse<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Status {
    code: u16,
    message: String,
}

impl<'a> Answer<'a> {
    /// The object may be created, with these changes.
    pub(super) fn allowed(uid: &'a str, mutation: Mutation) -> Self {
        let Mutation { operations, warnings, effect: _ } = mutation;
        let patch = (!operations.is_empty()).then_some(operations);
        Self { patch, ..Self::new(AdmissionResponse { uid, allowed: true, warnings, ..AdmissionResponse::default() }) }
    }

    /// The object may not be created.
    pub(super) fn denied(uid: &'a str, code: StatusCode, message: String) -> Self {
        let status = Some(Status { code: code.as_u16(), message });
        Self::new(AdmissionResponse { uid, status, ..AdmissionResponse::default() })
    }

    fn new(response: AdmissionResponse<'a>) -> Self {
        Self { api_version: API_VERSION, kind: KIND, response, patch: None }
    }

    /// The response body. The patch is most of it and is appended without a JSON serializer: base64 needs no escaping, so scanning
    /// for characters to escape would be wasted.
    pub(super) fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        /// Capacity for everything but the patch, without warnings.
        const ENVELOPE: usize = 256;
        const PATCH: &[u8] = br#","patchType":"JSONPatch","patch":""#;
        const END: &[u8] = b"}}";
        let patch = self.patch.as_ref().map(Operations::as_json);
        let mut json = Vec::with_capacity(ENVELOPE + patch.map_or(0, |patch| STANDARD.encoded_length(patch.len())));
        serde_json::to_writer(&mut json, self)?;
        if let Some(patch) = patch {
            debug_assert!(json.ends_with(END), "the response is the last member");
            json.truncate(json.len() - END.len());
            json.extend_from_slice(PATCH);
            STANDARD.encode_append(patch, &mut json);
            json.push(b'"');
            json.extend_from_slice(END);
        }
        Ok(json)
    }
}
