//! `cargo xtask image`: the container images, as OCI archives, and what is in them.

mod build;
mod recipe;
mod reproducible;
mod sbom;
mod tree;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;
use jobwarden_testbed::{ensure_packages, progress};

pub(crate) use self::build::Image;
use self::{
    build::{build_from, cargo_build, compile},
    recipe::{FOLDER, TARGET, recipes},
    tree::Tree,
};
use crate::command::{at_root, output, root, run};

/// Build the container images as OCI archives below target/images
///
/// Builds static programs and puts them into images from scratch: `jobwarden` (command line, webhook, agent and reaper),
/// `jobwarden-sidecar`, and `test-worker`, which tests and the demo use. Installs the build tools that are missing, and prints the
/// digest of each image. Beside the archives of the first two images it writes what is in them, in `CycloneDX`: push and sign these;
/// docs/releasing.md says how.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask image
  skopeo copy --preserve-digests oci-archive:target/images/jobwarden.tar docker://registry.example.com/jobwarden:0.1.0
  cargo xtask image --check-reproducible    # the same bytes from a copy of the sources in another folder?")]
pub(crate) struct Args {
    /// The folder for the archives
    #[arg(long, value_name = "DIR", default_value_os_t = root().join(FOLDER), env = "JOBWARDEN_IMAGES")]
    out: PathBuf,
    /// Build the images a second time from a copy of the sources in another folder, and fail unless every byte is the same
    #[arg(long)]
    check_reproducible: bool,
}

/// Builds the images and prints what and where they are.
pub(crate) fn run_all(args: &Args) -> anyhow::Result<()> {
    let Args { out, check_reproducible } = args;
    let images = build_into(out)?;
    for Image { archive, reference, digest } in &images {
        let bytes = fs::metadata(archive).with_context(|| format!("reading the size of {}", archive.display()))?.len();
        let place = archive.strip_prefix(root()).unwrap_or(archive).display();
        progress::note(format!("{reference}: {place}, {:.1} MB", bytes as f64 / 1e6));
        println!("{reference}@{digest}");
    }
    if *check_reproducible { reproducible::check(&images) } else { Ok(()) }
}

/// Builds the images for demo and tests; see [`build_into`].
pub(crate) fn build() -> anyhow::Result<Vec<Image>> {
    build_into(&root().join(FOLDER))
}

/// Builds the images into `folder`, except those that are newer than their programs.
fn build_into(folder: &Path) -> anyhow::Result<Vec<Image>> {
    ensure_tools()?;
    let images = build_from(&Tree::own(), folder)?;
    for recipe in recipes().iter().filter(|recipe| recipe.is_released) {
        sbom::write(recipe, folder)?;
    }
    Ok(images)
}

/// Installs the build tools that [`cargo`] needs.
pub(crate) fn ensure_tools() -> anyhow::Result<()> {
    ensure_packages()?;
    let installed = output(at_root("rustup").args(["target", "list", "--installed"]));
    let installed = installed.context(
        "listing the targets of rustup; without rustup, install the target x86_64-unknown-linux-musl yourself",
    )?;
    if installed.lines().any(|line| line == TARGET) {
        return Ok(());
    }
    let _step = progress::step(format!("installing the Rust target {TARGET}"));
    run(at_root("rustup").args(["target", "add", TARGET]))
}

/// Compiles examples of a package with the settings of the images' programs, and returns their folder.
pub(crate) fn examples(package: &str, names: &[&str]) -> anyhow::Result<PathBuf> {
    let _step = progress::step(format!("compiling {} (static, profile release)", names.join(", ")));
    let examples = names.iter().flat_map(|name| ["--example", name]);
    run(cargo_build(&Tree::own(), "release").args(["--package", package]).args(examples))?;
    Ok(programs("release").join("examples"))
}

/// Compiles a program that is in no image, with the settings of the images' programs, and returns its path.
pub(crate) fn program(package: &str) -> anyhow::Result<PathBuf> {
    compile(&Tree::own(), "release", &[package])?;
    Ok(programs("release").join(package))
}

/// cargo for static programs. Requires [`ensure_tools`].
pub(crate) fn cargo(verb: &str) -> Command {
    Tree::own().cargo(verb)
}

/// The folder with the programs of the images.
pub(crate) fn programs(profile: &str) -> PathBuf {
    Tree::own().programs(profile)
}
