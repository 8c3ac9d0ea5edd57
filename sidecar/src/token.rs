//! The pod-bound token, which the kubelet renews in place.

use std::{
    fs::File,
    io::{self, Read as _},
    path::PathBuf,
};

use hyper::header::HeaderValue;
use thiserror::Error;

/// Tokens of Kubernetes have about 1 KiB. Whatever is larger is something else.
const MAX_BYTES: u64 = 16 * 1024;

/// The file with the token, and what it held last.
#[derive(Debug)]
pub(crate) struct TokenFile {
    path: PathBuf,
    /// `Bearer <token>`, marked as a secret.
    last: Option<HeaderValue>,
}

/// Why there is no token.
#[derive(Debug, Error)]
pub(crate) enum TokenError {
    #[error("cannot read the token {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} holds no token", .0.display())]
    NoToken(PathBuf),
}

impl TokenFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, last: None }
    }

    /// The `Authorization` header of this moment. The file is read each time: it is 1 KiB of tmpfs, and no renewal is
    /// ever missed. Where it cannot be read the token before is used, for it may well be valid still.
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
        let no_token = || TokenError::NoToken(self.path.clone());
        let token = text.trim();
        if token.is_empty() || text.len() as u64 > MAX_BYTES {
            return Err(no_token());
        }
        let mut header = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| no_token())?;
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
    fn a_renewed_token_is_used_and_a_lost_one_kept() {
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
    fn what_is_no_token_is_not_sent(#[case] content: &str) {
        let (_dir, mut token) = file(content);
        assert!(token.authorization().is_err());
    }

    #[test]
    fn a_token_never_shows_in_debug_output() {
        let (_dir, mut token) = file("secret");
        let header = token.authorization().expect("readable");
        assert!(!format!("{header:?} {token:?}").contains("secret"));
    }
}
