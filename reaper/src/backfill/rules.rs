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
use jobwarden_serve::{file::File, logs::with_causes};
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
    /// The file and its text.
    file: Option<(PathBuf, String)>,
    rules: watch::Sender<Arc<Rules>>,
}

/// Reads the file at `path`; without one only our own names count.
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
    /// What the rules are at any time.
    pub fn current(&self) -> watch::Receiver<Arc<Rules>> {
        self.rules.subscribe()
    }

    /// Takes each change of the file, for ever. The webhook tells people of a broken one; here the old rules stay.
    pub async fn follow(self) {
        let Self { file, rules } = self;
        let Some((path, text)) = file else { return pending().await };
        let mut file = File::new(path.clone(), text);
        loop {
            let read = file.changed().await.map_err(|source| LoadError::Read { path: path.clone(), source });
            match read.and_then(|text| parse(&path, &text)) {
                Ok(new) => drop(rules.send_replace(Arc::new(new))),
                Err(error) => {
                    tracing::warn!(error = with_causes(&error), "the new rules are refused; the old ones still apply");
                }
            }
        }
    }
}

fn parse(path: &Path, text: &str) -> Result<Rules, LoadError> {
    let config = Config::parse(text).map_err(|source| LoadError::Parse { path: path.to_owned(), source })?;
    Ok(Rules::new(config.identity))
}
