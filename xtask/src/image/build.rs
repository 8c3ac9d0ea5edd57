//! Compiles the programs of the images, and packs them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;
use jobwarden_testbed::{archive_image, progress};
use serde::Deserialize;

use super::{
    recipe::{Recipe, recipes},
    tree::Tree,
};
use crate::command::{at_root, output, run};

/// A built image.
pub(crate) struct Image {
    /// The OCI archive.
    pub(crate) archive: PathBuf,
    /// Its name and tag.
    pub(super) reference: String,
    /// The digest of its manifest: what it is known by in a registry.
    pub(super) digest: String,
}

/// Builds the images from the sources in `tree` into `folder`.
pub(super) fn build_from(tree: &Tree, folder: &Path) -> anyhow::Result<Vec<Image>> {
    for Recipe { packages, profile, .. } in recipes() {
        compile(tree, profile, packages)?;
    }
    recipes().iter().map(|recipe| image(tree, folder, recipe)).collect()
}

/// Compiles packages with a cargo profile.
pub(super) fn compile(tree: &Tree, profile: &str, packages: &[&str]) -> anyhow::Result<()> {
    let _step = progress::step(format!("compiling {} (static, profile {profile})", packages.join(", ")));
    run(cargo_build(tree, profile).args(packages.iter().flat_map(|package| ["--package", package])))
}

/// cargo for the programs of a cargo profile.
pub(super) fn cargo_build(tree: &Tree, profile: &str) -> Command {
    let mut command = tree.cargo("build");
    command.args(["--profile", profile]);
    command
}

/// Builds an image from a Containerfile that copies its programs, unless the image is newer than all of them.
fn image(tree: &Tree, folder: &Path, recipe: &Recipe) -> anyhow::Result<Image> {
    let Recipe { reference, file, packages, profile, extra, is_released: _ } = recipe;
    let archive = folder.join(format!("{}.tar", recipe.name()));
    let file = tree.path(file);
    let programs = packages.iter().map(|program| tree.programs(profile).join(program));
    let content: Vec<PathBuf> = programs.chain(extra.map(PathBuf::from)).collect();
    if is_newer(&archive, content.iter().chain([&file])) {
        progress::note(format!("image {reference} is up to date"));
    } else {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        archive_image(reference, &file, &content, &archive)?;
    }
    let digest = digest_of(&archive)?;
    Ok(Image { archive, reference: reference.clone(), digest })
}

/// The digest of the one image in an OCI archive.
fn digest_of(archive: &Path) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct Index {
        manifests: Vec<Manifest>,
    }
    #[derive(Deserialize)]
    struct Manifest {
        digest: String,
    }

    let index = output(at_root("tar").args(["--extract", "--to-stdout", "--file"]).arg(archive).arg("index.json"))?;
    let index: Index = serde_json::from_str(&index).with_context(|| format!("reading {}", archive.display()))?;
    let first = index.manifests.into_iter().next();
    Ok(first.with_context(|| format!("{} has no image", archive.display()))?.digest)
}

/// Whether `file` is newer than each of `sources`.
fn is_newer<'a>(file: &Path, sources: impl IntoIterator<Item = &'a PathBuf>) -> bool {
    let changed = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let Some(built) = changed(file) else { return false };
    sources.into_iter().all(|source| changed(source).is_some_and(|at| at < built))
}
