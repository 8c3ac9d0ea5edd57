//! Delivery attempts over HTTP.

mod attributes;
mod client;
mod custom_headers;
mod error;
mod retry_after;
mod settings;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jobwarden_serve::signature::{ID_HEADER, SIGNATURE_HEADER, Secrets, TIMESTAMP_HEADER};
use reqwest::{Response, Url, header};

pub(super) use self::error::HttpError;
use self::{attributes::header_value, client::HttpClient, retry_after::retry_after};
pub use self::{
    custom_headers::CustomHeaders,
    settings::{HttpSettings, HttpSettingsError},
};
use super::message::Message;

/// How many bytes of a response are read so that the connection can be reused.
const MAX_RESPONSE_BYTES: usize = 16 * 1024;

/// A receiver of notifications over HTTP.
#[derive(Debug)]
pub(super) struct HttpSink {
    url: Url,
    secret_file: Option<PathBuf>,
    bearer_token_file: Option<PathBuf>,
    client: HttpClient,
}

impl HttpSink {
    /// Checks the settings, and reads the files with certificates.
    pub(super) fn new(settings: &HttpSettings) -> Result<Self, HttpSettingsError> {
        let url = settings.check()?;
        let client = HttpClient::new(settings.clone())?;
        let HttpSettings { secret_file, bearer_token_file, .. } = settings;
        Ok(Self { url, secret_file: secret_file.clone(), bearer_token_file: bearer_token_file.clone(), client })
    }

    /// Makes one attempt, signed with the time `now`. Only a response 2xx is a success.
    pub(super) async fn send(&self, message: &Message, now: Timestamp) -> Result<(), HttpError> {
        let Message { id, content_type, event, properties: _, body } = message;
        let mut request = self
            .client
            .current()
            .post(self.url.clone())
            .header(header::CONTENT_TYPE, *content_type)
            .header(ID_HEADER, id)
            .header(TIMESTAMP_HEADER, now.as_second().to_string());
        for (name, value) in event {
            request = request.header(format!("{}{name}", attributes::PREFIX), header_value(value));
        }
        if let Some(path) = &self.secret_file {
            let text = tokio::fs::read_to_string(path).await;
            let text = text.map_err(|source| HttpError::SecretFile { path: path.clone(), source })?;
            request = request.header(SIGNATURE_HEADER, Secrets::parse(&text)?.sign(id, now, body));
        }
        if let Some(path) = &self.bearer_token_file {
            request = request.bearer_auth(token(path).await?);
        }
        let response = request.body(body.clone()).send().await.map_err(|error| {
            // A certificate may have been replaced.
            self.client.refresh();
            // The URL may contain a token.
            HttpError::Send(error.without_url())
        })?;
        let (status, retry_after) = (response.status(), retry_after(response.headers(), now));
        finish(response).await;
        match status {
            status if status.is_success() => Ok(()),
            status if status.is_redirection() => Err(HttpError::Redirect(status)),
            status => Err(HttpError::Status { status, retry_after }),
        }
    }
}

async fn token(path: &Path) -> Result<String, HttpError> {
    let text = tokio::fs::read_to_string(path).await;
    let text = text.map_err(|source| HttpError::TokenFile { path: path.to_owned(), source })?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(HttpError::Token { path: path.to_owned() });
    }
    Ok(token.to_owned())
}

/// Reads the rest of a short response. The status has decided already, so an error changes nothing.
async fn finish(mut response: Response) {
    let mut read = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        read += chunk.len();
        if read > MAX_RESPONSE_BYTES {
            break;
        }
    }
}

#[cfg(test)]
mod tests;
