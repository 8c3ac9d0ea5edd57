//! The images that every cluster has: the pause image of pods and the DNS server's.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binaries::linker_flags;
use crate::build_cache::{BuildCache, digest_of, sources_folder};
use crate::command::run;
use crate::error::{Context, Result};
use crate::progress;

/// The pause image, whose process holds a pod's namespaces.
pub(crate) const PAUSE: &str = "jobwarden.test/pause:1";

/// The image of the DNS server.
pub(crate) const COREDNS: &str = "jobwarden.test/coredns:1";

/// Builds the images that are missing or older than their sources.
pub(crate) fn ensure(cache: &BuildCache) -> Result<()> {
    let folder = cache.images();
    fs::create_dir_all(&folder).context(|| format!("creating {}", folder.display()))?;
    let pause = sources_folder().join("pause");
    let recipe = pause.join("Containerfile");
    let source = pause.join("pause.c");
    build(cache, "pause", PAUSE, &recipe, &[recipe.clone(), source.clone()], |program| {
        run(Command::new("musl-gcc").args(["-Os", "-s", "-static", "-Wall", "-Werror", "-o"]).arg(program).arg(&source))
            .map(drop)
    })?;
    let recipe = sources_folder().join("kubernetes/coredns/Containerfile");
    let program = cache.programs().join("coredns");
    // The stamp changes whenever the program does, and is smaller.
    build(cache, "coredns", COREDNS, &recipe, &[recipe.clone(), cache.stamp()], |target| {
        fs::copy(&program, target).map(drop).context(|| format!("copying {}", program.display()))
    })
}

/// Builds the archive `<name>.tar` from a Containerfile that copies one program called `name`. `provide` writes the program
/// to the given path.
fn build(
    cache: &BuildCache,
    name: &str,
    tag: &str,
    recipe: &Path,
    sources: &[PathBuf],
    provide: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let folder = cache.images();
    let (archive, stamp) = (folder.join(format!("{name}.tar")), folder.join(format!("{name}.sha256")));
    let digest = digest_of(sources, &linker_flags())?;
    if archive.exists() && fs::read_to_string(&stamp).ok().as_deref() == Some(&digest) {
        return Ok(());
    }
    let program = folder.join(name);
    provide(&program)?;
    archive_image(tag, recipe, std::slice::from_ref(&program), &archive)?;
    fs::remove_file(&program).context(|| format!("removing {}", program.display()))?;
    fs::write(&stamp, &digest).context(|| format!("writing {}", stamp.display()))
}

/// The times of an image and of its files, in seconds since the Unix epoch, so that the same content is the same image
/// (<https://reproducible-builds.org/specs/source-date-epoch/>).
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// Builds an image from the Containerfile `recipe`, with `programs` as the build context, and writes it to `archive` in OCI
/// format. Equal content makes equal images. Removes buildah's temporary storage.
pub fn archive_image(tag: &str, recipe: &Path, programs: &[PathBuf], archive: &Path) -> Result<()> {
    let _step = progress::step(format!("building image {tag}"));
    let work = archive.with_extension("build");
    remove(&work)?;
    let context = work.join("context");
    fs::create_dir_all(&context).context(|| format!("creating {}", context.display()))?;
    for program in programs {
        let place = context.join(program.file_name().unwrap_or_default());
        fs::copy(program, place).context(|| format!("copying {}", program.display()))?;
    }
    let buildah = || {
        let mut command = Command::new("buildah");
        command.args(["--storage-driver", "vfs", "--root"]).arg(work.join("storage"));
        command.arg("--runroot").arg(work.join("run"));
        command
    };
    let epoch = env::var(EPOCH).unwrap_or_else(|_| "0".to_owned());
    run(buildah()
        .args(["bud", "--isolation", "chroot", "--timestamp", &epoch, "--identity-label=false", "--tag", tag, "--file"])
        .arg(recipe)
        .arg(&context))?;
    let new = work.join("image.tar");
    run(buildah().args(["push", tag, &format!("oci-archive:{}:{tag}", new.display())]))?;
    fs::rename(&new, archive).context(|| format!("writing {}", archive.display()))?;
    remove(&work)
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}
