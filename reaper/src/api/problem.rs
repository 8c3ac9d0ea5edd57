//! What is answered when there is no answer.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

/// Why there is no answer, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// What is wrong.
    pub error: String,
    /// What may help.
    pub hint: String,
    /// Who leads, if that is known and it is not who was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    #[serde(skip)]
    status: Status,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Status {
    #[default]
    Unavailable,
    NotFound,
    BadRequest,
}

impl Problem {
    pub(super) fn not_leading(leader: Option<String>) -> Self {
        Self {
            error: "this reaper does not lead: beats and reports go to the leader alone".to_owned(),
            hint: match &leader {
                Some(leader) => format!("ask {leader}, or let `jobwarden-reaper explain` find it"),
                None => "nobody is known to lead; ask again in a moment".to_owned(),
            },
            leader,
            status: Status::Unavailable,
        }
    }

    pub(super) fn no_job(namespace: &str, name: &str) -> Self {
        Self {
            error: format!("no Job {namespace}/{name} is watched"),
            hint: "see whether it exists and is enrolled: its namespace has the label jobwarden.io/inject=enabled, the Job the \
                   label jobwarden.io/enrolled=true, and no label jobwarden.io/inject=false"
                .to_owned(),
            leader: None,
            status: Status::NotFound,
        }
    }

    pub(super) fn broken() -> Self {
        Self {
            error: "the answer could not be put together".to_owned(),
            hint: "the reaper's log says why; please tell jobwarden's developers".to_owned(),
            leader: None,
            status: Status::Unavailable,
        }
    }

    pub(super) fn no_route() -> Self {
        Self {
            error: "there is nothing here".to_owned(),
            hint: "here are /v1/jobs, /v1/jobs/{namespace}/{name} and /v1/guards".to_owned(),
            leader: None,
            status: Status::NotFound,
        }
    }

    pub(super) fn bad_query(error: &impl ToString) -> Self {
        Self {
            error: error.to_string(),
            hint: "namespace, verdict, limit and after are understood".to_owned(),
            leader: None,
            status: Status::BadRequest,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = match self.status {
            Status::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Status::NotFound => StatusCode::NOT_FOUND,
            Status::BadRequest => StatusCode::BAD_REQUEST,
        };
        (status, Json(self)).into_response()
    }
}
