//! The file with the credentials for a broker.

use std::{fmt, io, path::Path, path::PathBuf};

/// The keys of user name and password: jobwarden's own, and those in ORT Server's file of secrets.
const KEYS: [(&str, &str); 2] = [("username", "password"), ("rabbitMqUser", "rabbitMqPassword")];

/// A user name and its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: String,
}

/// Shows neither.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// Why there are no credentials. Never shows the content of the file.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file cannot be read.
    #[error("cannot read credentialsFile {}", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file does not have the expected lines.
    #[error(
        "credentialsFile {} must have exactly one user name and one password: lines username= and password=, or rabbitMqUser= and rabbitMqPassword=",
        path.display()
    )]
    Form {
        /// The path.
        path: PathBuf,
    },
}

/// Reads the file anew, so that rotated credentials are used by the next connection.
pub(in crate::deliver) async fn read_credentials(path: &Path) -> Result<Credentials, CredentialsError> {
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|source| CredentialsError::Read { path: path.to_owned(), source })?;
    parse(&text).ok_or_else(|| CredentialsError::Form { path: path.to_owned() })
}

/// The credentials in a text of lines `key=value`. Other keys are permitted, because ORT Server keeps all its secrets in one file.
/// `None` if a key is missing, is there twice, or both pairs of keys are used.
fn parse(text: &str) -> Option<Credentials> {
    let value = |key: &str| {
        let mut found = text.lines().filter_map(|line| line.split_once('=')).filter(|(name, _)| name.trim() == key);
        let value = found.next().map(|(_, value)| value.trim().to_owned());
        if found.next().is_some() { Err(()) } else { Ok(value) }
    };
    let mut pairs = Vec::new();
    for (username, password) in KEYS {
        match (value(username).ok()?, value(password).ok()?) {
            (Some(username), Some(password)) => pairs.push(Credentials { username, password }),
            (None, None) => {}
            _ => return None,
        }
    }
    let credentials = pairs.pop()?;
    (pairs.is_empty() && !credentials.username.is_empty()).then_some(credentials)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("username=ada\npassword=p=q\n")]
    #[case(" username = ada \r\npassword= p=q\r\n")]
    #[case("# secrets\nrabbitMqUser=ada\nrabbitMqPassword=p=q\ndatabasePassword=x\n")]
    fn both_forms_of_the_file_are_read(#[case] text: &str) {
        let expected = Credentials { username: "ada".to_owned(), password: "p=q".to_owned() };
        assert_eq!(parse(text), Some(expected));
    }

    #[rstest]
    #[case("")]
    #[case("username=ada")]
    #[case("password=p")]
    #[case("username=\npassword=p")]
    #[case("username=ada\nrabbitMqPassword=p")]
    #[case("username=ada\npassword=p\npassword=q")]
    #[case("username=ada\npassword=p\nrabbitMqUser=ada\nrabbitMqPassword=p")]
    #[case("#username=ada\npassword=p")]
    fn ambiguous_and_incomplete_files_are_rejected(#[case] text: &str) {
        assert_eq!(parse(text), None);
    }

    #[tokio::test]
    async fn an_error_names_the_file_and_not_its_content() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "password=topsecret").expect("written");
        let error = read_credentials(file.path()).await.expect_err("no user name");
        let text = format!("{error} {error:?}");
        assert!(text.contains("credentialsFile") && !text.contains("topsecret"), "{text}");
        let missing = read_credentials(Path::new("/nonexistent/file")).await.expect_err("no file");
        assert!(missing.to_string().contains("/nonexistent/file"), "{missing}");
    }

    #[test]
    fn credentials_are_not_shown() {
        let credentials = parse("username=ada\npassword=topsecret").expect("valid");
        assert_eq!(format!("{credentials:?}"), "Credentials { .. }");
    }
}
