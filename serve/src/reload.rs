//! A configuration file that is reloaded when it changes, such as a mounted `ConfigMap`.

mod metrics;
mod watched_file;

use std::{fmt, io, path::PathBuf};

use self::watched_file::WatchedFile;
pub use self::{
    metrics::{CONFIG, IDENTITY_CONFIG, Metrics},
    watched_file::POLL_INTERVAL,
};
use crate::logs::with_causes;

type Parse<T, E> = Box<dyn Fn(io::Result<String>) -> Result<T, E> + Send + Sync>;

/// A configuration file with values of type `T`. A broken file is an error when the process starts; later it is rejected, and the
/// previous configuration stays in effect.
pub struct ConfigFile<T, E> {
    file: WatchedFile,
    parse: Parse<T, E>,
}

impl<T, E: std::error::Error> ConfigFile<T, E> {
    /// Reads the file at `path` for the first time. `parse` makes a value of its text, or an error that names the file.
    pub fn load(
        path: PathBuf,
        parse: impl Fn(io::Result<String>) -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<(Self, T), E> {
        let (file, text) = WatchedFile::read(path);
        let value = parse(text)?;
        Ok((Self { file, parse: Box::new(parse) }, value))
    }

    /// Waits for the next change of the file, logs and counts it, and returns the new value or why it was rejected. Cancel safe.
    pub async fn changed(&mut self, metrics: &Metrics) -> Result<T, E> {
        let change = (self.parse)(self.file.changed().await);
        metrics.count(change.is_ok());
        let path = self.file.path().display();
        match &change {
            Ok(_) => tracing::info!(%path, "configuration file reloaded"),
            Err(error) => {
                let error = with_causes(error);
                tracing::error!(%path, error, "configuration file rejected; the previous configuration stays in effect");
            }
        }
        change
    }
}

impl<T, E> fmt::Debug for ConfigFile<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigFile").field("path", &self.file.path()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
