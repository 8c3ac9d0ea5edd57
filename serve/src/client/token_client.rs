//! The client: keeps a connection alive from request to request.

use bytes::Bytes;

use super::{
    connection::{Connection, Post},
    endpoint::Endpoint,
    error::PostError,
    token::TokenFile,
};

/// An HTTPS client that authenticates with a service account token.
#[derive(Debug)]
pub struct TokenClient {
    token: TokenFile,
    connection: Option<Connection>,
}

impl TokenClient {
    /// A client with the token of this file. It connects with the first request.
    pub fn new(token: TokenFile) -> Self {
        Self { token, connection: None }
    }

    /// Posts JSON and returns the body of the response, over a kept-alive connection. A failed request closes the connection,
    /// whatever the endpoint of the next request.
    ///
    /// The server may have closed the connection since the last request. So the request is sent again over a new connection if
    /// an old one breaks: the server may receive it twice.
    pub async fn post(&mut self, endpoint: &Endpoint, path: &str, json: Bytes) -> Result<Bytes, PostError> {
        let post = Post { path, authorization: self.token.authorization().await?, json, close: false };
        if let Some(mut connection) = self.connection.take() {
            match connection.post(post.clone()).await {
                Ok(response) => {
                    self.connection = Some(connection);
                    return Ok(response);
                }
                Err(PostError::Broken(error)) => tracing::debug!(%error, "kept-alive connection broke; reconnecting"),
                Err(error) => return Err(error),
            }
        }
        let mut connection = Connection::open(endpoint).await?;
        let response = connection.post(post).await?;
        self.connection = Some(connection);
        Ok(response)
    }

    /// Posts JSON over a connection of its own, which is closed after the response.
    pub async fn post_once(&self, endpoint: &Endpoint, path: &str, json: Bytes) -> Result<Bytes, PostError> {
        let post = Post { path, authorization: self.token.authorization().await?, json, close: true };
        Connection::open(endpoint).await?.post(post).await
    }

    /// Closes the connection. The next request opens another one.
    pub fn disconnect(&mut self) {
        self.connection = None;
    }
}
