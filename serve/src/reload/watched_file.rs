//! Detects changes of a file by polling.
//!
//! The kubelet changes a mounted `ConfigMap` by replacing the symbolic link `..data`, an editor by writing or renaming. Reading
//! the path again and comparing the text detects all of them. This costs a few system calls every [`POLL_INTERVAL`] and works on
//! network file systems and overlays, where file watches may not.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// How often the file is read. The kubelet itself takes a minute or more to update a mounted `ConfigMap`.
pub const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// A file whose changes are waited for.
#[derive(Debug)]
pub(super) struct WatchedFile {
    path: PathBuf,
    known: Result<String, io::ErrorKind>,
    next_poll: Option<Instant>,
}

impl WatchedFile {
    /// Reads the file for the first time.
    pub(super) fn read(path: PathBuf) -> (Self, io::Result<String>) {
        let text = std::fs::read_to_string(&path);
        (Self { path, known: kind(&text), next_poll: None }, text)
    }

    /// The path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until the text differs from the previous one, and returns it. A repeated error is returned only once; the same text
    /// after an error is a change. Cancel safe.
    pub(super) async fn changed(&mut self) -> io::Result<String> {
        loop {
            sleep_until(*self.next_poll.get_or_insert_with(|| Instant::now() + POLL_INTERVAL)).await;
            let text = tokio::fs::read_to_string(&self.path).await;
            self.next_poll = None;
            let now = kind(&text);
            if now != self.known {
                self.known = now;
                return text;
            }
        }
    }
}

/// What two reads of a file are compared by.
fn kind(text: &io::Result<String>) -> Result<String, io::ErrorKind> {
    match text {
        Ok(text) => Ok(text.clone()),
        Err(error) => Err(error.kind()),
    }
}
