//! The images that the nodes of one cluster have in their container runtimes.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{run, run_with_file};
use crate::error::{Context, Result};
use crate::layout::{Layout, Machine};
use crate::machine;

/// Copies an archive into the folder of archives that every node imports, and forgets that a node has imported an older
/// archive of that name.
pub(crate) fn keep_archive(layout: &Layout, archive: &Path) -> Result<()> {
    let name = Path::new(archive.file_name().unwrap_or_default()).with_extension("tar");
    let copy = layout.images().join(&name);
    fs::copy(archive, &copy).context(|| format!("copying {} to {}", archive.display(), copy.display()))?;
    for node in layout.nodes() {
        let mark = imported(layout, node).join(&name);
        if mark.exists() {
            fs::remove_file(&mark).context(|| format!("removing {}", mark.display()))?;
        }
    }
    Ok(())
}

/// Imports every image of the cluster that the node's runtime does not have yet.
pub(crate) fn import(layout: &Layout, node: Machine) -> Result<()> {
    let imported = imported(layout, node);
    fs::create_dir_all(&imported).context(|| format!("creating {}", imported.display()))?;
    for archive in archives(layout)? {
        let mark = imported.join(archive.file_name().unwrap_or_default());
        if !mark.exists() {
            run_with_file(&mut machine::ctr(layout, node, &["images", "import", "-"])?, &archive)?;
            fs::write(&mark, "").context(|| format!("writing {}", mark.display()))?;
        }
    }
    Ok(())
}

/// Removes an image from the node's runtime. The next import imports every image again.
pub(crate) fn remove(layout: &Layout, node: Machine, image: &str) -> Result<()> {
    let imported = imported(layout, node);
    if imported.exists() {
        fs::remove_dir_all(&imported).context(|| format!("removing {}", imported.display()))?;
    }
    run(&mut machine::ctr(layout, node, &["images", "rm", "--sync", image])?).map(drop)
}

/// The folder with one empty file for each archive that the node has imported.
fn imported(layout: &Layout, node: Machine) -> PathBuf {
    layout.machine_dir(node).join("imported")
}

fn archives(layout: &Layout) -> Result<Vec<PathBuf>> {
    let folder = layout.images();
    let entries = fs::read_dir(&folder).context(|| format!("reading {}", folder.display()))?;
    let mut archives: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    archives.retain(|path| path.extension().is_some_and(|extension| extension == "tar"));
    archives.sort();
    Ok(archives)
}
