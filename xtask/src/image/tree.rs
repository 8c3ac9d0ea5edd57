//! A folder with the sources of the workspace, and how its static programs are compiled so that the folder does not matter.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use super::recipe::TARGET;
use crate::command::{self, root};

/// What stands in the programs for the folder of the sources, and for that of the crates.
const SOURCES: &str = "/jobwarden";
const CRATES: &str = "/cargo";

/// What C code knows of the time at which it is compiled: nothing. mimalloc has `__TIME__` in a message.
const NO_TIME: [&str; 3] = ["-Wno-builtin-macro-redefined", r#"-D__DATE__="""#, r#"-D__TIME__="""#];

/// A folder with the sources of the workspace.
pub(super) struct Tree(PathBuf);

impl Tree {
    /// The one that this program was compiled from.
    pub(super) fn own() -> Self {
        Self(root())
    }

    /// The one in this folder.
    pub(super) fn at(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// A path below it.
    pub(super) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.join(path)
    }

    /// The folder with the programs of a cargo profile.
    pub(super) fn programs(&self, profile: &str) -> PathBuf {
        self.path("target").join(TARGET).join(profile)
    }

    /// cargo for static programs.
    pub(super) fn cargo(&self, verb: &str) -> Command {
        let mut command = command::cargo();
        // The images are built from this folder, even if the user has configured another target folder.
        command.current_dir(&self.0).arg(verb).arg("--target-dir").arg(self.path("target"));
        command.args(["--quiet", "--locked", "--target", TARGET]);
        let underscored = TARGET.replace('-', "_");
        // ring and mimalloc contain C code, which has to be compiled for musl.
        command.env(format!("CC_{underscored}"), "musl-gcc");
        // Panics name source files. Without these flags they would name folders of this machine.
        let names = self.names();
        let flags = |flag: &str| {
            names.iter().map(|(folder, name)| format!("{flag}{}={name}", folder.display())).collect::<Vec<_>>()
        };
        command.env("CARGO_ENCODED_RUSTFLAGS", flags("--remap-path-prefix=").join("\x1f"));
        let c_flags = [flags("-ffile-prefix-map="), NO_TIME.map(str::to_owned).to_vec()].concat();
        command.env(format!("CFLAGS_{underscored}"), c_flags.join(" "));
        command
    }

    /// The folders of this machine whose names would get into the programs, and what stands for each.
    fn names(&self) -> Vec<(PathBuf, &'static str)> {
        let home = env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
        let crates = env::var_os("CARGO_HOME").map(PathBuf::from).or(home);
        crates.map(|folder| (folder, CRATES)).into_iter().chain([(self.0.clone(), SOURCES)]).collect()
    }
}
