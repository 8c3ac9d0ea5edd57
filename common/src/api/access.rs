//! Whether the reaper can authenticate and authorize the callers of its API.

use serde::{Deserialize, Serialize};

/// `GET /v1/access`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessHealth {
    /// Whether the API is served over TLS at all.
    pub tls: bool,
    /// Why no `TokenReview` can be made at the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication_error: Option<String>,
    /// Why no `SubjectAccessReview` can be made at the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_error: Option<String>,
}
