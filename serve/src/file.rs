//! A file that is followed while it changes, such as a `ConfigMap` that is mounted.
//!
//! The kubelet changes a mounted `ConfigMap` by swapping the symbolic link `..data` to a new folder, an editor by writing or by
//! renaming. All of them are the same to somebody who reads the path again and compares. That costs a few system calls every
//! [`LOOK_EVERY`], and needs nothing that a file system may lack, as watches do on network file systems and overlays.

use std::{io, path::PathBuf, time::Duration};

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// How often the file is read. The kubelet itself takes up to a minute or more to bring a change.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A file whose changes are waited for.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    known: Result<String, io::ErrorKind>,
    looks: Interval,
}

impl File {
    /// The file at `path`, of which the text `known` has been read already. It needs a tokio runtime.
    pub fn new(path: PathBuf, known: String) -> Self {
        let mut looks = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { path, known: Ok(known), looks }
    }

    /// Waits for a text other than the one before, and returns it. An error is returned once, however often it is met again;
    /// the same text after it counts as another. It may be cut off anywhere.
    pub async fn changed(&mut self) -> io::Result<String> {
        loop {
            self.looks.tick().await;
            let read = tokio::fs::read_to_string(&self.path).await;
            let now = read.as_ref().map(Clone::clone).map_err(io::Error::kind);
            if now != self.known {
                self.known = now;
                return read;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path};

    use super::*;

    /// As the kubelet does it: a new folder, and one rename that makes it the current one.
    fn publish(mount: &Path, version: &str, text: &str) {
        let folder = mount.join(version);
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join("config.yaml"), text).expect("a file");
        symlink(version, mount.join("..data_tmp")).expect("a link");
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).expect("renamed");
    }

    #[tokio::test(start_paused = true)]
    async fn the_kubelets_swap_is_seen() {
        let mount = tempfile::tempdir().expect("a folder");
        publish(mount.path(), "..v1", "one");
        let path = mount.path().join("config.yaml");
        symlink("..data/config.yaml", &path).expect("a link");
        let mut file = File::new(path, "one".to_owned());

        publish(mount.path(), "..v2", "two");
        assert_eq!(file.changed().await.expect("there is one"), "two");
        fs::remove_file(mount.path().join("..data")).expect("removed");
        assert_eq!(file.changed().await.expect_err("there is none").kind(), io::ErrorKind::NotFound);
        publish(mount.path(), "..v3", "two");
        assert_eq!(file.changed().await.expect("it is back"), "two");
        assert!(tokio::time::timeout(10 * LOOK_EVERY, file.changed()).await.is_err(), "nothing is told twice");
    }
}
