//! The pod-bound token, which the kubelet renews in place.

use std::{
    fs::File,
    io::{self, Read as _},
    path::PathBuf,
};

use hyper::header::HeaderValue;
use thiserror::Error;

/// A Kubernetes service account token has about 1 KiB. A larger file is not a token.
const MAX_BYTES: u64 = 16 * 1024;

/// The token file and the last token read from it.
#[derive(Debug)]
pub(crate) struct TokenFile {
    path: PathBuf,
    /// `Bearer <token>`, marked as a secret.
    last: Option<HeaderValue>,
}

/// Why no token is available.
#[derive(Debug, Error)]
pub(crate) enum TokenError {
    #[error("cannot read the token file {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the token file {} contains no valid token", .0.display())]
    Invalid(PathBuf),
}

impl TokenFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, last: None }
    }

    /// The current `Authorization` header. The file is read each time: it is 1 KiB on tmpfs, and so no renewal is missed.
    /// If it cannot be read, the last token is used, which may still be valid.
    pub(crate) fn authorization(&mut self) -> Result<HeaderValue, TokenError> {
        match (self.read(), &self.last) {
            (Ok(header), _) => Ok(self.last.insert(header).clone()),
            (Err(_), Some(last)) => Ok(last.clone()),
            (Err(error), None) => Err(error),
        }
    }

    fn read(&self) -> Result<HeaderValue, TokenError> {
        let mut text = String::new();
        File::open(&self.path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
            .map_err(|source| TokenError::Read { path: self.path.clone(), source })?;
        let invalid = || TokenError::Invalid(self.path.clone());
        let token = text.trim();
        if token.is_empty() || text.len() as u64 > MAX_BYTES {
            return Err(invalid());
        }
        let mut header = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| invalid())?;
        header.set_sensitive(true);
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn file(content: &str) -> (tempfile::TempDir, TokenFile) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("token");
        std::fs::write(&path, content).expect("writable");
        (dir, TokenFile::new(path))
    }

    #[test]
    fn a_renewed_token_is_used_and_kept_if_the_file_disappears() {
        let (_dir, mut token) = file("first\n");
        assert_eq!(token.authorization().expect("readable"), "Bearer first");
        std::fs::write(&token.path, "second").expect("writable");
        assert_eq!(token.authorization().expect("readable"), "Bearer second");
        std::fs::remove_file(&token.path).expect("removable");
        assert_eq!(token.authorization().expect("kept"), "Bearer second");
    }

    #[rstest]
    #[case("")]
    #[case("\n")]
    #[case("two\nlines")]
    #[case(&"x".repeat(20_000))]
    fn an_invalid_token_file_is_an_error(#[case] content: &str) {
        let (_dir, mut token) = file(content);
        assert!(token.authorization().is_err());
    }

    #[test]
    fn debug_output_never_contains_the_token() {
        let (_dir, mut token) = file("secret");
        let header = token.authorization().expect("readable");
        assert!(!format!("{header:?} {token:?}").contains("secret"));
    }
}
