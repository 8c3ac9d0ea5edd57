//! The images that every cluster has: the one that holds a pod's namespaces, and its DNS server's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::binaries::{Built, digest_of, sources_folder};
use super::command::run;
use super::error::{Doing, Result};
use crate::progress;

/// The image of the process that holds a pod's namespaces.
pub(super) const PAUSE: &str = "jobwarden.test/pause:1";

/// The image of the DNS server.
pub(super) const COREDNS: &str = "jobwarden.test/coredns:1";

/// Builds the images that are missing or older than their sources.
pub(super) fn ensure(built: &Built) -> Result<()> {
    let folder = built.images();
    fs::create_dir_all(&folder).doing(|| format!("making {}", folder.display()))?;
    let pause = sources_folder().join("pause");
    let recipe = pause.join("Containerfile");
    let source = pause.join("pause.c");
    build(built, "pause", PAUSE, &recipe, &[recipe.clone(), source.clone()], |program| {
        run(Command::new("musl-gcc").args(["-Os", "-s", "-static", "-Wall", "-Werror", "-o"]).arg(program).arg(&source))
            .map(drop)
    })?;
    let recipe = sources_folder().join("kubernetes/coredns/Containerfile");
    let program = built.programs().join("coredns");
    // The stamp tells what the program was built from, and takes less reading than the program.
    build(built, "coredns", COREDNS, &recipe, &[recipe.clone(), built.stamp()], |target| {
        fs::copy(&program, target).map(drop).doing(|| format!("copying {}", program.display()))
    })
}

/// Builds the archive `<name>.tar` from a recipe that copies one program called `name`, which `provide` puts in place.
fn build(
    built: &Built,
    name: &str,
    tag: &str,
    recipe: &Path,
    sources: &[PathBuf],
    provide: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let folder = built.images();
    let (archive, stamp) = (folder.join(format!("{name}.tar")), folder.join(format!("{name}.sha256")));
    let digest = digest_of(sources)?;
    if archive.exists() && fs::read_to_string(&stamp).ok().as_deref() == Some(&digest) {
        return Ok(());
    }
    let program = folder.join(name);
    provide(&program)?;
    archive_image(tag, recipe, std::slice::from_ref(&program), &archive)?;
    fs::remove_file(&program).doing(|| format!("removing {}", program.display()))?;
    fs::write(&stamp, &digest).doing(|| format!("writing {}", stamp.display()))
}

/// Builds an image by a recipe that copies `programs` from its context, and writes it to `archive` in the format of OCI.
/// What buildah stores on the way is its own and gone in the end.
pub fn archive_image(tag: &str, recipe: &Path, programs: &[PathBuf], archive: &Path) -> Result<()> {
    let _step = progress::step(format!("building image {tag}"));
    let work = archive.with_extension("build");
    remove(&work)?;
    let context = work.join("context");
    fs::create_dir_all(&context).doing(|| format!("making {}", context.display()))?;
    for program in programs {
        let place = context.join(program.file_name().unwrap_or_default());
        fs::copy(program, place).doing(|| format!("copying {}", program.display()))?;
    }
    let buildah = || {
        let mut command = Command::new("buildah");
        command.args(["--storage-driver", "vfs", "--root"]).arg(work.join("storage"));
        command.arg("--runroot").arg(work.join("run"));
        command
    };
    run(buildah().args(["bud", "--isolation", "chroot", "--tag", tag, "--file"]).arg(recipe).arg(&context))?;
    let new = work.join("image.tar");
    run(buildah().args(["push", tag, &format!("oci-archive:{}:{tag}", new.display())]))?;
    fs::rename(&new, archive).doing(|| format!("writing {}", archive.display()))?;
    remove(&work)
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).doing(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}
