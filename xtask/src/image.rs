//! `cargo xtask image`: the container images, as OCI archives.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;
use jobwarden_testbed::{archive_image, ensure_packages, progress};
use jobwarden_tests::job::WORKER_IMAGE;

use crate::command::{self, at_root, output, root, run};

/// The target of static programs.
const TARGET: &str = "x86_64-unknown-linux-musl";

/// The folder of the archives, relative to the workspace's root.
const FOLDER: &str = "target/images";

/// The CA certificates that the reaper trusts for sinks without a configured CA (Debian package ca-certificates).
const CA_CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Build the container images as OCI archives below target/images
///
/// Builds static programs and puts them into images from scratch: `jobwarden` (command line, webhook, agent and reaper),
/// `jobwarden-sidecar`, and `test-worker`, which tests and the demo use. Installs the build tools that are missing. Push the first
/// two images to your registry to use them.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  cargo xtask image
  skopeo copy oci-archive:target/images/jobwarden.tar docker://registry.example.com/jobwarden:0.1.0")]
pub(crate) struct Args {
    /// The folder for the archives
    #[arg(long, value_name = "DIR", default_value_os_t = root().join(FOLDER), env = "JOBWARDEN_IMAGES")]
    out: PathBuf,
}

/// A built image.
pub(crate) struct Image {
    /// The OCI archive.
    pub(crate) archive: PathBuf,
    /// Its name and tag.
    reference: String,
}

/// Builds the images and prints where they are.
pub(crate) fn run_all(args: &Args) -> anyhow::Result<()> {
    let Args { out } = args;
    for Image { archive, reference } in build_into(out)? {
        let bytes = fs::metadata(&archive).with_context(|| format!("reading the size of {}", archive.display()))?.len();
        let place = archive.strip_prefix(root()).unwrap_or(&archive).display();
        progress::note(format!("{reference}: {place}, {:.1} MB", bytes as f64 / 1e6));
    }
    Ok(())
}

/// Builds the images for demo and tests; see [`build_into`].
pub(crate) fn build() -> anyhow::Result<Vec<Image>> {
    build_into(&root().join(FOLDER))
}

/// Builds the images into `folder`, except those that are newer than their programs.
fn build_into(folder: &Path) -> anyhow::Result<Vec<Image>> {
    ensure_tools()?;
    compile("release", &["jobwarden", "jobwarden-agent", "jobwarden-reaper", "jobwarden-webhook", "jobwarden-worker"])?;
    compile("sidecar", &["jobwarden-sidecar"])?;
    let version = env!("CARGO_PKG_VERSION");
    let (release, sidecar) = (programs("release"), programs("sidecar"));
    let [cli, agent, reaper, webhook, worker] =
        ["jobwarden", "jobwarden-agent", "jobwarden-reaper", "jobwarden-webhook", "jobwarden-worker"]
            .map(|name| release.join(name));
    Ok(vec![
        image(
            folder,
            &format!("jobwarden.io/jobwarden:{version}"),
            "Containerfile",
            &[cli, agent, reaper, webhook, CA_CERTIFICATES.into()],
        )?,
        image(
            folder,
            &format!("jobwarden.io/jobwarden-sidecar:{version}"),
            "sidecar/Containerfile",
            &[sidecar.join("jobwarden-sidecar")],
        )?,
        image(folder, WORKER_IMAGE, "tests/worker/Containerfile", &[worker])?,
    ])
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

fn compile(profile: &str, packages: &[&str]) -> anyhow::Result<()> {
    let _step = progress::step(format!("compiling {} (static, profile {profile})", packages.join(", ")));
    run(cargo_build(profile).args(packages.iter().flat_map(|package| ["--package", package])))
}

/// Compiles examples of a package with the settings of the images' programs, and returns their folder.
pub(crate) fn examples(package: &str, names: &[&str]) -> anyhow::Result<PathBuf> {
    let _step = progress::step(format!("compiling {} (static, profile release)", names.join(", ")));
    let examples = names.iter().flat_map(|name| ["--example", name]);
    run(cargo_build("release").args(["--package", package]).args(examples))?;
    Ok(programs("release").join("examples"))
}

/// Compiles a program that is in no image, with the settings of the images' programs, and returns its path.
pub(crate) fn program(package: &str) -> anyhow::Result<PathBuf> {
    compile("release", &[package])?;
    Ok(programs("release").join(package))
}

fn cargo_build(profile: &str) -> Command {
    let mut command = cargo("build");
    command.args(["--profile", profile]);
    command
}

/// cargo for static programs. Requires [`ensure_tools`].
pub(crate) fn cargo(verb: &str) -> Command {
    let mut command = command::cargo();
    // The images are built from this folder, even if the user has configured another target folder.
    command.arg(verb).arg("--target-dir").arg(root().join("target"));
    command.args(["--quiet", "--locked", "--target", TARGET]);
    // ring contains C code, which has to be compiled for musl.
    command.env(format!("CC_{}", TARGET.replace('-', "_")), "musl-gcc");
    command
}

/// The folder with the programs of the images.
pub(crate) fn programs(profile: &str) -> PathBuf {
    root().join("target").join(TARGET).join(profile)
}

/// Builds the image `reference` from a Containerfile that copies the files in `content`, unless the image is newer than all of
/// them.
fn image(folder: &Path, reference: &str, recipe: &str, content: &[PathBuf]) -> anyhow::Result<Image> {
    let name = reference
        .rsplit('/')
        .next()
        .and_then(|name| name.split(':').next())
        .context("the image reference has no name")?;
    let archive = folder.join(format!("{name}.tar"));
    let recipe = root().join(recipe);
    if is_newer(&archive, content.iter().chain([&recipe])) {
        progress::note(format!("image {reference} is up to date"));
    } else {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        archive_image(reference, &recipe, content, &archive)?;
    }
    Ok(Image { archive, reference: reference.to_owned() })
}

/// Whether `file` is newer than each of `sources`.
fn is_newer<'a>(file: &Path, sources: impl IntoIterator<Item = &'a PathBuf>) -> bool {
    let changed = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let Some(built) = changed(file) else { return false };
    sources.into_iter().all(|source| changed(source).is_some_and(|at| at < built))
}
