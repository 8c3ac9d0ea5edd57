//! Pages of a list, bounded by bytes: objects have at most 1.5 MB each, but a page of hundreds of such objects would not fit into memory.

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kube::{
    Api, Client, Resource,
    api::{ListParams, ObjectList},
    client::Body,
    core::{PartialObjectMeta, Request, Status},
};
use serde::de::DeserializeOwned;

/// Objects of the first page.
const FIRST: u32 = 64;
/// The most objects per page.
const MOST: u32 = 500;
/// A page of fewer bytes may be followed by a larger one.
const SMALL: usize = 2 * 1024 * 1024;
/// The most bytes of a page. Several times the largest object, so that one object always fits.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// How many objects the next page may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageSize(u32);

impl Default for PageSize {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl PageSize {
    /// After a page of so many bytes; `None` is too many.
    fn after(self, bytes: Option<usize>) -> Self {
        let Self(objects) = self;
        Self(match bytes {
            None => (objects / 4).max(1),
            Some(bytes) if bytes <= SMALL => (objects * 2).min(MOST),
            Some(bytes) if bytes > MAX_BYTES / 2 => (objects / 2).max(1),
            Some(_) => objects,
        })
    }
}

/// The next page of a list of objects.
pub(crate) async fn objects<K: Resource + Clone + DeserializeOwned>(
    api: &Api<K>,
    params: &mut ListParams,
    size: &mut PageSize,
) -> Result<ObjectList<K>, kube::Error> {
    next(api, params, size, Request::list).await
}

/// The next page of a list of the metadata of objects.
pub(super) async fn metadata<K: Resource + Clone>(
    api: &Api<K>,
    params: &mut ListParams,
    size: &mut PageSize,
) -> Result<ObjectList<PartialObjectMeta<K>>, kube::Error> {
    next(api, params, size, Request::list_metadata).await
}

/// The next page. One that is too large is requested again with fewer objects.
async fn next<K: Resource + Clone, T: Clone + DeserializeOwned>(
    api: &Api<K>,
    params: &mut ListParams,
    size: &mut PageSize,
    request: impl Fn(&Request, &ListParams) -> Result<http::Request<Vec<u8>>, kube::core::request::Error>,
) -> Result<ObjectList<T>, kube::Error> {
    let client = api.clone().into_client();
    loop {
        params.limit = Some(size.0);
        let request = request(&Request::new(api.resource_url()), params).map_err(kube::Error::BuildRequest)?;
        let body = read(&client, request.map(Body::from)).await?;
        let is_smallest = size.0 == 1;
        *size = size.after(body.as_ref().map(Vec::len));
        match body {
            Some(body) => return serde_json::from_slice(&body).map_err(kube::Error::SerdeError),
            None if is_smallest => return Err(too_large()),
            None => {}
        }
    }
}

/// The body of a response; `None` if it is too large.
async fn read(client: &Client, request: http::Request<Body>) -> Result<Option<Vec<u8>>, kube::Error> {
    let response = client.send(request).await?;
    let status = response.status();
    let body = match Limited::new(response.into_body(), MAX_BYTES).collect().await {
        Ok(body) => body.to_bytes().to_vec(),
        Err(error) if error.is::<LengthLimitError>() => return Ok(None),
        Err(error) => return Err(kube::Error::Service(error)),
    };
    if status.is_success() {
        return Ok(Some(body));
    }
    let text = String::from_utf8_lossy(&body);
    let unknown = || Status::failure(text.trim(), "Unknown").with_code(status.as_u16());
    Err(kube::Error::Api(Box::new(serde_json::from_slice(&body).unwrap_or_else(|_| unknown()))))
}

fn too_large() -> kube::Error {
    kube::Error::Service("an object of the list is larger than any that etcd holds".into())
}

#[cfg(test)]
mod tests {
    use http::Response;
    use k8s_openapi::api::batch::v1::Job;
    use serde_json::json;

    use super::*;

    /// An API server with `count` Jobs of about `bytes` bytes each, and what was the largest page it sent.
    fn client(count: usize, bytes: usize) -> Client {
        let service = tower::service_fn(move |request: http::Request<Body>| async move {
            let query = request.uri().query().unwrap_or_default();
            let value = |key: &str| {
                let pair = query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
                pair.and_then(|value| value.parse::<usize>().ok())
            };
            let (limit, from) = (value("limit").expect("pages are limited"), value("continue").unwrap_or(0));
            let until = (from + limit).min(count);
            let job = |number: usize| json!({ "metadata": { "name": number.to_string(), "labels": { "a": "x".repeat(bytes) } } });
            let next = (until < count).then(|| until.to_string());
            let list = json!({
                "kind": "JobList", "apiVersion": "batch/v1", "metadata": { "resourceVersion": "7", "continue": next },
                "items": (from..until).map(job).collect::<Vec<_>>(),
            });
            Response::builder().body(Body::from(list.to_string().into_bytes()))
        });
        Client::new(service, "default")
    }

    async fn list(client: Client) -> (usize, u32) {
        let (api, mut params, mut size) = (Api::<Job>::all(client), ListParams::default(), PageSize::default());
        let mut names = Vec::new();
        loop {
            let page = objects(&api, &mut params, &mut size).await.expect("a page");
            names.extend(page.items.into_iter().filter_map(|job| job.metadata.name));
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                let listed: Vec<_> = (0..names.len()).map(|number| number.to_string()).collect();
                assert_eq!(names, listed, "each object once, in order");
                return (names.len(), size.0);
            }
        }
    }

    #[tokio::test]
    async fn pages_of_large_objects_are_small_and_of_small_objects_large() {
        assert_eq!(list(client(2000, 10)).await, (2000, MOST));
        let (listed, size) = list(client(20, 1_200_000)).await;
        assert_eq!(listed, 20);
        assert!(size <= 8, "{size} objects of 1.2 MB");
    }

    #[tokio::test]
    async fn an_error_of_the_api_server_is_kept() {
        let service = tower::service_fn(|_: http::Request<Body>| async {
            let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Expired", "code": 410 });
            Response::builder().status(410).body(Body::from(status.to_string().into_bytes()))
        });
        let api = Api::<Job>::all(Client::new(service, "default"));
        let error = objects(&api, &mut ListParams::default(), &mut PageSize::default()).await.expect_err("refused");
        assert!(matches!(error, kube::Error::Api(status) if status.code == 410));
    }
}
