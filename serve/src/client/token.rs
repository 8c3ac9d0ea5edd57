//! The file with the token.

use std::{io, path::PathBuf};

use http::HeaderValue;

/// A file with a projected service account token.
#[derive(Clone, Debug)]
pub struct TokenFile(PathBuf);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error(
        "cannot read token file {}; mount a projected service account token there, or set --token-file", file.display()
    )]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The content is empty or is not a valid header value.
    #[error("token file {} does not contain a token", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
    },
}

impl TokenFile {
    /// The file at this path.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// The `Authorization` header with the current token.
    pub(super) async fn authorization(&self) -> Result<HeaderValue, TokenError> {
        let file = || self.0.clone();
        let token =
            tokio::fs::read_to_string(&self.0).await.map_err(|source| TokenError::Read { file: file(), source })?;
        let token = token.trim();
        let header = HeaderValue::try_from(format!("Bearer {token}")).ok().filter(|_| !token.is_empty());
        let mut header = header.ok_or_else(|| TokenError::Invalid { file: file() })?;
        header.set_sensitive(true);
        Ok(header)
    }
}
