//! Where the programs and images that every cluster needs are kept from one run to the next.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use crate::error::{Context, Result};

/// The cache: a folder below the workspace's target folder.
#[derive(Clone, Debug)]
pub(crate) struct BuildCache {
    root: PathBuf,
}

impl BuildCache {
    /// The cache of this workspace, whether or not it exists yet.
    pub(crate) fn locate() -> Self {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
        Self { root: workspace().join(target).join("cluster") }
    }

    /// The folder with the programs.
    pub(crate) fn programs(&self) -> PathBuf {
        self.root.join("bin")
    }

    /// The folder with the images that every cluster has, as OCI archives.
    pub(crate) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// The file with the digest of the sources that the programs were built from.
    pub(crate) fn stamp(&self) -> PathBuf {
        self.root.join("bin.sha256")
    }

    /// Takes a lock that ends with this process. Returns `None` if another process holds it and `wait` is false.
    pub(crate) fn lock(&self, name: &str, wait: bool) -> Result<Option<Flock<fs::File>>> {
        fs::create_dir_all(&self.root).context(|| format!("creating {}", self.root.display()))?;
        let path = self.root.join(format!("{name}.lock"));
        let file = fs::File::create(&path).context(|| format!("opening {}", path.display()))?;
        let how = if wait { FlockArg::LockExclusive } else { FlockArg::LockExclusiveNonblock };
        match Flock::lock(file, how) {
            Ok(lock) => Ok(Some(lock)),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno).context(|| format!("locking {}", path.display())),
        }
    }
}

/// A digest of the names and contents of files and of `extra`. It changes when something has to be built again.
pub(crate) fn digest_of(files: &[PathBuf], extra: &str) -> Result<String> {
    let mut hash = Sha256::new();
    for file in files {
        let content = fs::read(file).context(|| format!("reading {}", file.display()))?;
        hash.update(file.file_name().unwrap_or_default().as_encoded_bytes());
        hash.update(content.len().to_le_bytes());
        hash.update(content);
    }
    hash.update(extra);
    let mut text = String::new();
    for byte in hash.finalize() {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
    }
    Ok(text)
}

/// The folder with the sources of the programs: this crate's own.
pub(crate) fn sources_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is a folder of the workspace").to_owned()
}
