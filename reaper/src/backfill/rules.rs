//! The identity rules of the webhook's configuration file, reloaded when the file changes.

use std::{
    future::pending,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use jobwarden_inject::{
    config::{Config, ConfigError},
    identity::Rules,
};
use jobwarden_serve::{file::File, logs::with_causes};
use tokio::sync::watch;

/// Why the rules cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the webhook's configuration file {} (--identity-config)", path.display())]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is not valid.
    #[error("invalid webhook configuration file {}", path.display())]
    Parse {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong, and where.
        source: ConfigError,
    },
}

/// The rules and the file that they are reloaded from.
pub struct Followed {
    /// The file and its text.
    file: Option<(PathBuf, String)>,
    rules: watch::Sender<Arc<Rules>>,
}

/// Loads the rules from the file at `path`. Without one the default rules apply.
///
/// # Errors
///
/// Returns an error if the file cannot be read or parsed.
pub fn load(path: Option<PathBuf>) -> Result<Followed, LoadError> {
    let file = path.map(|path| match std::fs::read_to_string(&path) {
        Ok(text) => Ok((path, text)),
        Err(source) => Err(LoadError::Read { path, source }),
    });
    let file = file.transpose()?;
    let rules =
        file.as_ref().map_or_else(|| Ok(Rules::new(Config::default().identity)), |(path, text)| parse(path, text))?;
    Ok(Followed { file, rules: watch::Sender::new(Arc::new(rules)) })
}

impl Followed {
    /// The current rules.
    pub fn current(&self) -> watch::Receiver<Arc<Rules>> {
        self.rules.subscribe()
    }

    /// Applies each valid change of the file; never returns. The webhook publishes an Event about a broken file.
    pub async fn follow(self) {
        let Self { file, rules } = self;
        let Some((path, text)) = file else { return pending().await };
        let mut file = File::new(path.clone(), text);
        loop {
            let read = file.changed().await.map_err(|source| LoadError::Read { path: path.clone(), source });
            match read.and_then(|text| parse(&path, &text)) {
                Ok(new) => drop(rules.send_replace(Arc::new(new))),
                Err(error) => {
                    tracing::warn!(
                        error = with_causes(&error),
                        "cannot load the changed rules; the previous rules stay in effect"
                    );
                }
            }
        }
    }
}

fn parse(path: &Path, text: &str) -> Result<Rules, LoadError> {
    let config = Config::parse(text).map_err(|source| LoadError::Parse { path: path.to_owned(), source })?;
    Ok(Rules::new(config.identity))
}
