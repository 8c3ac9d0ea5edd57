//! One HTTP request over a port-forward to a pod.

use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, client::Body};
use tokio::io::{AsyncRead, AsyncWrite};

/// The longest answer in bytes: several times what a page or an explanation of the reaper may have.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ForwardError {
    /// The caller lacks the permission.
    #[error("forbidden: {0}")]
    Forbidden(String),
    /// The API server or the kubelet does not forward.
    #[error("the API server does not forward the port")]
    Refused(#[source] kube::Error),
    /// Nothing listens there.
    #[error("the kubelet cannot connect to the port: {0}")]
    Pod(String),
    /// The connection broke.
    #[error("the forwarded connection failed")]
    Http(#[source] hyper::Error),
    /// The answer is broken or too long.
    #[error("cannot read the answer")]
    Answer(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The answer of `port` on the loopback of a pod.
pub(super) async fn to_pod(
    client: &Client,
    namespace: &str,
    pod: &str,
    port: u16,
    request: Request<Body>,
) -> Result<(StatusCode, Vec<u8>), ForwardError> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let mut forwarder = pods.portforward(pod, &[port]).await.map_err(|error| match error {
        kube::Error::Api(status) if matches!(status.code, 401 | 403) => ForwardError::Forbidden(status.message),
        error => ForwardError::Refused(error),
    })?;
    let (stream, failed) = (forwarder.take_stream(port), forwarder.take_error(port));
    let (stream, failed) =
        stream.zip(failed).ok_or_else(|| ForwardError::Pod("the port was not forwarded".to_owned()))?;
    let failure = async {
        match failed.await {
            Some(message) => message,
            // The channel closes with the connection, whose own error says more.
            None => std::future::pending().await,
        }
    };
    let answer = tokio::select! {
        message = failure => Err(ForwardError::Pod(message)),
        answer = exchange(stream, request) => answer,
    };
    forwarder.abort();
    answer
}

/// Sends one request over a connection.
async fn exchange<T>(stream: T, mut request: Request<Body>) -> Result<(StatusCode, Vec<u8>), ForwardError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("localhost"));
    request.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(ForwardError::Http)?;
    let answered = async {
        let response = sender.send_request(request).await.map_err(ForwardError::Http)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(ForwardError::Answer)?;
        Ok((status, body.to_bytes().to_vec()))
    };
    tokio::pin!(answered);
    tokio::select! {
        answer = &mut answered => answer,
        ended = connection => match ended {
            // The answer may have arrived with the end of the connection.
            Ok(()) => answered.await,
            Err(error) => Err(ForwardError::Http(error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// The answer to `GET /v1/x` by a peer that sends `text` and closes.
    async fn answer(text: &'static str) -> Result<(StatusCode, Vec<u8>), ForwardError> {
        let (ours, mut peer) = duplex(1024);
        let peer = tokio::spawn(async move {
            let mut head = vec![0; 1024];
            let read = peer.read(&mut head).await.expect("a request");
            let head = String::from_utf8_lossy(&head[..read]).to_ascii_lowercase();
            assert!(head.starts_with("get /v1/x http/1.1\r\n") && head.contains("host: localhost"), "{head}");
            peer.write_all(text.as_bytes()).await.expect("it is read");
        });
        let request = Request::get("/v1/x").body(Body::empty()).expect("a valid request");
        let answer = exchange(ours, request).await;
        peer.await.expect("no panic");
        answer
    }

    #[tokio::test]
    async fn the_answer_is_read_to_its_end() {
        let (status, body) = answer("HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}").await.expect("an answer");
        assert_eq!((status.as_u16(), body.as_slice()), (404, b"{}".as_slice()));
        let (_, body) = answer("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nall").await.expect("an answer");
        assert_eq!(body, b"all");
    }

    #[tokio::test]
    async fn a_connection_that_closes_early_is_an_error() {
        assert!(matches!(answer("").await, Err(ForwardError::Http(_))));
        let cut = answer("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort").await;
        assert!(matches!(cut, Err(ForwardError::Answer(_) | ForwardError::Http(_))), "{cut:?}");
    }
}
