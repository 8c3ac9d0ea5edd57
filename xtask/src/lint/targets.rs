//! What cargo compiles: every target of every package, as `cargo metadata` lists them.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde::Deserialize;

use crate::command::{cargo, output, root};

/// A workspace: the repository's own, or one of a folder that stands alone, such as the fuzz targets.
pub(super) struct Workspace {
    pub(super) manifest: PathBuf,
    pub(super) packages: Vec<Package>,
}

/// One package of a workspace.
pub(super) struct Package {
    pub(super) name: String,
    pub(super) folder: PathBuf,
    pub(super) targets: Vec<Target>,
}

/// One thing that cargo compiles: a library, a binary, a test, a bench, an example.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
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

impl Workspace {
    /// The workspace that `manifest` belongs to.
    pub(super) fn of(manifest: &Path) -> anyhow::Result<Self> {
        let mut command = cargo();
        command.args(["metadata", "--no-deps", "--format-version=1", "--offline", "--manifest-path"]).arg(manifest);
        let text = output(&mut command)?;
        let metadata: Metadata =
            serde_json::from_str(&text).context("the output of `cargo metadata` has an unknown form")?;
        let package = |MetadataPackage { name, mut manifest_path, targets }| {
            manifest_path.pop();
            Package { name, folder: manifest_path, targets }
        };
        Ok(Self { manifest: manifest.to_owned(), packages: metadata.packages.into_iter().map(package).collect() })
    }

    /// Every workspace of the repository, the main one first.
    pub(super) fn all() -> anyhow::Result<Vec<Self>> {
        let mut all = vec![Self::of(&root().join("Cargo.toml"))?];
        for manifest in manifests_below(&root())? {
            let folder = manifest.parent().unwrap_or(Path::new(""));
            let known = |workspace: &Self| {
                workspace.manifest == manifest || workspace.packages.iter().any(|package| package.folder == folder)
            };
            if !all.iter().any(known) {
                all.push(Self::of(&manifest)?);
            }
        }
        Ok(all)
    }
}

impl Package {
    /// The packages of every workspace of the repository.
    pub(super) fn all() -> anyhow::Result<Vec<Self>> {
        Ok(Workspace::all()?.into_iter().flat_map(|workspace| workspace.packages).collect())
    }

    /// The package whose `Cargo.toml` lies in `folder`.
    pub(super) fn at(folder: &Path) -> anyhow::Result<Self> {
        let manifest = folder.join("Cargo.toml");
        let manifest = manifest.canonicalize().with_context(|| format!("cannot read {}", manifest.display()))?;
        let mut packages = Workspace::of(&manifest)?.packages.into_iter();
        packages
            .find(|package| Some(package.folder.as_path()) == manifest.parent())
            .with_context(|| format!("{} defines no package", manifest.display()))
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

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.kind(), self.name, self.root.display())
    }
}

/// Every `Cargo.toml` in `folder` and below, without build output and hidden folders.
fn manifests_below(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut entries: Vec<_> = fs::read_dir(folder)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot read {}", folder.display()))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if name == "Cargo.toml" {
            found.push(entry.path());
        } else if is_folder && name != "target" && !name.to_string_lossy().starts_with('.') {
            found.extend(manifests_below(&entry.path())?);
        }
    }
    Ok(found)
}
