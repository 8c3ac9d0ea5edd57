//! Requests whose status or headers matter, not only the returned object.

use http::{HeaderMap, Request, StatusCode, header, header::HeaderName};
use http_body_util::BodyExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::PostParams,
    client::Body,
    core::{Request as Requests, Status},
};

use crate::check::{
    dry_run::Response,
    lookup::{Lookup, LookupError},
};

/// A client for such requests.
pub(super) struct Raw<'a>(pub(super) &'a Client);

/// A response.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The warnings that `kubectl` shows (RFC 9111, 5.5).
    fn warnings(&self) -> Vec<String> {
        let texts = self.headers.get_all(header::WARNING).into_iter().filter_map(|value| value.to_str().ok());
        texts.map(warning).collect()
    }

    /// An error of the API server itself; errors of proxied servers are no `Status` objects.
    fn failure(&self) -> Option<Status> {
        if self.status.is_success() {
            return None;
        }
        let status: serde_json::Value = serde_json::from_str(&self.body).ok()?;
        if status["kind"] == "Status" { serde_json::from_value(status).ok() } else { None }
    }
}

/// The text of `299 - "text"`.
fn warning(value: &str) -> String {
    let text = value.split_once('"').map_or(value, |(_, rest)| rest.trim_end_matches('"'));
    text.replace("\\\"", "\"").replace("\\\\", "\\")
}

impl Raw<'_> {
    async fn send(&self, request: Request<Vec<u8>>) -> Result<Reply, kube::Error> {
        let (parts, body) = self.0.send(request.map(Body::from)).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Reply { status: parts.status, headers: parts.headers, body })
    }

    /// Gets `path`; an error of the API server itself, such as an unreachable pod, is a failed lookup.
    pub(super) async fn get(&self, path: &str) -> Lookup<Reply> {
        let request = Request::get(path).body(Vec::new()).map_err(|error| LookupError::Failed(error.to_string()))?;
        let reply = self.send(request).await?;
        match reply.failure() {
            Some(status) => Err(kube::Error::Api(Box::new(status)).into()),
            None => Ok(reply),
        }
    }

    /// Creates a pod as a dry run.
    pub(super) async fn dry_run(&self, namespace: &str, pod: &Pod) -> Lookup<Response> {
        let pods = Api::<Pod>::namespaced(self.0.clone(), namespace);
        let parameters = PostParams { dry_run: true, ..PostParams::default() };
        let body = serde_json::to_vec(pod).expect("a pod serializes");
        let request = Requests::new(pods.resource_url()).create(&parameters, body);
        let request = request.map_err(|error| LookupError::Failed(error.to_string()))?;
        let reply = self.send(request).await?;
        if let Some(status) = reply.failure() {
            // From the authorizer, before admission.
            if status.code == 403 && status.message.contains("cannot create resource") {
                return Err(LookupError::Forbidden(status.message));
            }
            return Ok(Response::Rejected(status.message));
        }
        let warnings = reply.warnings();
        let pod = serde_json::from_str(&reply.body).map_err(|error| LookupError::Failed(error.to_string()))?;
        Ok(Response::Admitted { pod, warnings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_warning_header_is_extracted() {
        assert_eq!(warning(r#"299 - "the \"a\" is gone""#), r#"the "a" is gone"#);
    }

    #[test]
    fn only_errors_of_the_api_server_itself_are_failures() {
        let reply = |status, body: &str| Reply { status, headers: HeaderMap::new(), body: body.to_owned() };
        let own = reply(StatusCode::SERVICE_UNAVAILABLE, r#"{"kind":"Status","message":"no endpoints","code":503}"#);
        assert_eq!(own.failure().map(|status| status.message).as_deref(), Some("no endpoints"));
        assert!(reply(StatusCode::SERVICE_UNAVAILABLE, "certificates: starting\n").failure().is_none());
        assert!(reply(StatusCode::OK, "{}").failure().is_none());
    }
}
