//! `cargo xtask image`: the container images, as OCI archives, and what is in them.

mod reproducible;
mod sbom;
mod tree;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;
use jobwarden_testbed::{archive_image, ensure_packages, progress};
use jobwarden_tests::job::WORKER_IMAGE;
use serde::Deserialize;

use self::tree::Tree;
use crate::command::{at_root, output, root, run};

/// The target of static programs.
const TARGET: &str = "x86_64-unknown-linux-musl";

/// The folder of the archives, relative to the workspace's root.
const FOLDER: &str = "target/images";

/// The CA certificates that the reaper trusts for sinks without a configured CA (Debian package ca-certificates).
const CA_CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Build the container images as OCI archives below target/images
///
/// Builds static programs and puts them into images from scratch: `jobwarden` (command line, webhook, agent and reaper),
/// `jobwarden-sidecar`, and `test-worker`, which tests and the demo use. Installs the build tools that are missing, and prints the
/// digest of each image. Beside the archives of the first two images it writes what is in them, as CycloneDX: push and sign these;
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

/// A built image.
pub(crate) struct Image {
    /// The OCI archive.
    pub(crate) archive: PathBuf,
    /// Its name and tag.
    reference: String,
    /// The digest of its manifest: what it is known by in a registry.
    digest: String,
}

/// An image of the repository.
struct Recipe {
    reference: String,
    /// The Containerfile.
    file: &'static str,
    /// The packages whose programs are in it, each of the same name, and the cargo profile.
    packages: &'static [&'static str],
    profile: &'static str,
    /// A file of the machine that is in it as well.
    extra: Option<&'static str>,
    /// It is for users, and not for tests.
    is_released: bool,
}

/// The images. The programs of one image are compiled together, and apart from those of the others: the features of a crate are those that
/// this image needs.
fn recipes() -> [Recipe; 3] {
    let version = env!("CARGO_PKG_VERSION");
    [
        Recipe {
            reference: format!("jobwarden.io/jobwarden:{version}"),
            file: "Containerfile",
            packages: &["jobwarden", "jobwarden-agent", "jobwarden-reaper", "jobwarden-webhook"],
            profile: "release",
            extra: Some(CA_CERTIFICATES),
            is_released: true,
        },
        Recipe {
            reference: format!("jobwarden.io/jobwarden-sidecar:{version}"),
            file: "sidecar/Containerfile",
            packages: &["jobwarden-sidecar"],
            profile: "sidecar",
            extra: None,
            is_released: true,
        },
        Recipe {
            reference: WORKER_IMAGE.to_owned(),
            file: "tests/worker/Containerfile",
            packages: &["jobwarden-worker"],
            profile: "release",
            extra: None,
            is_released: false,
        },
    ]
}

impl Recipe {
    /// The name without registry and tag.
    fn name(&self) -> &str {
        let path = self.reference.split_once(':').map_or(self.reference.as_str(), |(path, _)| path);
        path.rsplit_once('/').map_or(path, |(_, name)| name)
    }
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

/// Builds the images from the sources in `tree` into `folder`.
fn build_from(tree: &Tree, folder: &Path) -> anyhow::Result<Vec<Image>> {
    for Recipe { packages, profile, .. } in recipes() {
        compile(tree, profile, packages)?;
    }
    recipes().iter().map(|recipe| image(tree, folder, recipe)).collect()
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

fn compile(tree: &Tree, profile: &str, packages: &[&str]) -> anyhow::Result<()> {
    let _step = progress::step(format!("compiling {} (static, profile {profile})", packages.join(", ")));
    run(cargo_build(tree, profile).args(packages.iter().flat_map(|package| ["--package", package])))
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

fn cargo_build(tree: &Tree, profile: &str) -> Command {
    let mut command = tree.cargo("build");
    command.args(["--profile", profile]);
    command
}

/// cargo for static programs. Requires [`ensure_tools`].
pub(crate) fn cargo(verb: &str) -> Command {
    Tree::own().cargo(verb)
}

/// The folder with the programs of the images.
pub(crate) fn programs(profile: &str) -> PathBuf {
    Tree::own().programs(profile)
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
