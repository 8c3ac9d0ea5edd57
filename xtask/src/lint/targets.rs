//! What cargo compiles: every target of every package, as `cargo metadata` lists them.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;

use crate::command::{cargo, output, root};

/// One package of a workspace.
pub(super) struct Package {
    pub(super) name: String,
    pub(super) folder: PathBuf,
    pub(super) targets: Vec<Target>,
}

/// One thing that cargo compiles: a library, a binary, a test, a bench, an example.
#[derive(Deserialize)]
pub(super) struct Target {
    pub(super) name: String,
    kind: Vec<String>,
    /// Its first source file.
    #[serde(rename = "src_path")]
    pub(super) root: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetadataPackage>,
}

#[derive(Deserialize)]
struct MetadataPackage {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

impl Package {
    /// Every package of the repository's main workspace.
    pub(super) fn workspace() -> anyhow::Result<Vec<Self>> {
        Self::listed_for(&root().join("Cargo.toml"))
    }

    /// The package whose `Cargo.toml` lies in `folder`.
    pub(super) fn at(folder: &Path) -> anyhow::Result<Self> {
        let manifest = folder.join("Cargo.toml");
        let manifest = manifest.canonicalize().with_context(|| format!("{} cannot be read", manifest.display()))?;
        let mut packages = Self::listed_for(&manifest)?.into_iter();
        packages
            .find(|package| Some(package.folder.as_path()) == manifest.parent())
            .with_context(|| format!("{} defines no package", manifest.display()))
    }

    fn listed_for(manifest: &Path) -> anyhow::Result<Vec<Self>> {
        let mut command = cargo();
        command.args(["metadata", "--no-deps", "--format-version=1", "--offline", "--manifest-path"]).arg(manifest);
        let metadata: Metadata =
            serde_json::from_str(&output(&mut command)?).context("`cargo metadata` is not understood")?;
        let package = |MetadataPackage { name, mut manifest_path, targets }| {
            manifest_path.pop();
            Self { name, folder: manifest_path, targets }
        };
        Ok(metadata.packages.into_iter().map(package).collect())
    }
}

impl Target {
    pub(super) fn kind(&self) -> &str {
        self.kind.first().map_or("", String::as_str)
    }

    pub(super) fn is_library(&self) -> bool {
        !matches!(self.kind(), "bin" | "test" | "bench" | "example" | "custom-build")
    }

    /// Whether all of its code is test code.
    pub(super) fn is_test(&self) -> bool {
        self.kind() == "test"
    }
}
