//! Whether the images are the same bytes wherever they are built: a release can be checked by anyone who has its sources.

use std::{fs, path::Path};

use anyhow::{Context as _, ensure};
use jobwarden_testbed::progress;

use super::{
    build::{Image, build_from},
    recipe::{FOLDER, recipes},
    tree::Tree,
};
use crate::command::{at_root, output, root};

/// The folder of the copy, relative to the workspace's root. Its path is longer than that of any sources it is compared with.
const COPY: &str = "target/reproducible/a-copy-of-the-sources-in-another-folder";

/// Builds the images again, from a copy of the sources in another folder, and compares them with `images`.
pub(super) fn check(images: &[Image]) -> anyhow::Result<()> {
    let (own, copy) = (Tree::own(), Tree::at(root().join(COPY)));
    copy_sources(&root().join(COPY))?;
    let again = build_from(&copy, &copy.path(FOLDER))?;
    let mut differ = Vec::new();
    for recipe in recipes() {
        for program in recipe.packages {
            let [first, second] = [&own, &copy].map(|tree| read(&tree.programs(recipe.profile).join(program)));
            if first? != second? {
                differ.push((*program).to_owned());
            }
        }
    }
    for (first, second) in images.iter().zip(&again) {
        if first.digest != second.digest {
            differ.push(format!("{} ({} and {})", first.reference, first.digest, second.digest));
        }
    }
    ensure!(
        differ.is_empty(),
        "not the same in both builds, which are below {} and {COPY}: {}",
        FOLDER,
        differ.join(", ")
    );
    progress::note("both builds are the same, byte for byte");
    Ok(())
}

/// Copies the files that git knows, as they are now, and nothing else. What was compiled of an earlier copy stays.
fn copy_sources(copy: &Path) -> anyhow::Result<()> {
    let files = output(at_root("git").args(["ls-files", "-z"])).context("listing the sources")?;
    for file in files.split_terminator('\0') {
        let (from, to) = (root().join(file), copy.join(file));
        // A file that is removed and not committed yet.
        if !from.exists() {
            continue;
        }
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        }
        fs::copy(&from, &to).with_context(|| format!("copying {}", from.display()))?;
    }
    Ok(())
}

fn read(program: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(program).with_context(|| format!("reading {}", program.display()))
}
