//! The rules of the webhook's configuration file, while it changes.

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

/// Why there are no rules.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the webhook's configuration file {}; --identity-config names it", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file does not say what it should.
    #[error("the webhook's configuration file {} is not understood", path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and where.
        source: ConfigError,
    },
}

/// Rules that follow their file.
pub struct Followed {
    file: Option<ConfigFile<Rules, LoadError>>,
    rules: watch::Sender<Arc<Rules>>,
}

/// Reads the file at `path`; without one only our own names count.
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
    /// What the rules are at any time.
    pub fn current(&self) -> watch::Receiver<Arc<Rules>> {
        self.rules.subscribe()
    }

    /// Applies each valid change of the file; never returns. Events about a broken file are written by the webhook.
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
