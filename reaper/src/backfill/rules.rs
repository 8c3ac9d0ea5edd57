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
use jobwarden_serve::reload::{ConfigFile, Metrics};
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
    file: Option<ConfigFile<Rules, LoadError>>,
    rules: watch::Sender<Arc<Rules>>,
}

/// Loads the rules from the file at `path`. Without one the default rules apply.
///
/// # Errors
///
/// Returns an error if the file cannot be read or parsed.
pub fn load(path: Option<PathBuf>) -> Result<Followed, LoadError> {
    let Some(path) = path else {
        let rules = Rules::new(Config::default().identity);
        return Ok(Followed { file: None, rules: watch::Sender::new(Arc::new(rules)) });
    };
    let name = path.clone();
    let (file, rules) = ConfigFile::load(path, move |text| parse(&name, text))?;
    Ok(Followed { file: Some(file), rules: watch::Sender::new(Arc::new(rules)) })
}

impl Followed {
    /// The current rules.
    pub fn current(&self) -> watch::Receiver<Arc<Rules>> {
        self.rules.subscribe()
    }

    /// Applies each valid change of the file; never returns. The webhook publishes an Event about a broken file.
    pub async fn follow(self, metrics: Metrics) {
        let Self { file, rules } = self;
        let Some(mut file) = file else { return pending().await };
        loop {
            if let Ok(new) = file.changed(&metrics).await {
                rules.send_replace(Arc::new(new));
            }
        }
    }
}

fn parse(path: &Path, text: io::Result<String>) -> Result<Rules, LoadError> {
    let text = text.map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    let config = Config::parse(&text).map_err(|source| LoadError::Parse { path: path.to_owned(), source })?;
    Ok(Rules::new(config.identity))
}
