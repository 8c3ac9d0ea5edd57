//! Import cycles between the modules of one crate.
//!
//! Nodes are the modules of one compilation target, files and inline modules alike. An edge leads from the module whose code holds a path
//! to the module that defines the item behind that path, with re-exports and glob imports followed. `mod child;` and re-exports
//! (`pub use`, `pub(crate) use`) are no edges. Code that only tests compile is left out.
//!
//! The graph is checked twice: module by module, and between siblings, each taken together with all modules below it. The second finds
//! `api -> explain::ask -> …` where `explain` itself is used by `api`.
//!
//! `cargo modules … --acyclic` answers a similar question, but it builds rust-analyzer from source, which takes minutes on a CI machine,
//! and its releases lag behind stable Rust; this check parses the workspace in a second or two.
//!
//! Limits: names that a procedural macro makes are taken to be defined in the module where the path ends, and a method call
//! (`value.method()`) is no edge: the path that names the type is.

mod graph;
mod names;
mod paths;
#[cfg(test)]
mod tests;
mod tree;
mod use_items;

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::bail;

use self::graph::{Cycle, Graph};
use super::targets::{Package, Target};

/// Check crates for import cycles between their modules (part of `lint`)
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folders of the crates; every crate of the workspace if none is given
    folders: Vec<PathBuf>,
}

/// Checks the crates that `args` name, and prints each cycle.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let packages = if args.folders.is_empty() {
        Package::all()?
    } else {
        args.folders.iter().map(|folder| Package::at(folder)).collect::<anyhow::Result<_>>()?
    };
    check(&packages)
}

/// Fails if a module of one of `packages` imports, directly or through others, from a module that imports from it.
pub(super) fn check(packages: &[Package]) -> anyhow::Result<()> {
    let mut cycles = 0;
    for package in packages {
        for target in &package.targets {
            for cycle in cycles_of(&target.root, target.is_test())? {
                cycles += 1;
                println!("{}", report(&package.name, target, &cycle, &package.folder)?);
            }
        }
    }
    if cycles > 0 {
        bail!("{cycles} import cycle(s) between modules");
    }
    Ok(())
}

/// The cycles between single modules, then those that show only when each module is taken together with all below it.
fn cycles_of(root: &Path, is_test: bool) -> anyhow::Result<Vec<Cycle>> {
    let tree = tree::load(root, is_test)?;
    let names = names::collect(&tree);
    let graph = Graph::new(paths::imports(&tree, &names));
    let mut cycles = graph.cycles(&tree);
    let siblings = graph.of_siblings(&tree).cycles(&tree);
    let known: Vec<_> = cycles.iter().map(|cycle| cycle.modules.clone()).collect();
    cycles.extend(siblings.into_iter().filter(|cycle| !known.contains(&cycle.modules)));
    Ok(cycles)
}

/// The cycle in one line, then one import for each arrow.
fn report(package: &str, target: &Target, cycle: &Cycle, folder: &Path) -> anyhow::Result<String> {
    let name = package.strip_prefix("jobwarden-").unwrap_or(package);
    let place =
        if target.is_library() { name.to_owned() } else { format!("{name} ({} {})", target.kind(), target.name) };
    let mut text = format!("{place}: cycle {}", cycle.modules.join(" -> "));
    let relative = |file: &Path| file.strip_prefix(folder).unwrap_or(file).display().to_string();
    for import in &cycle.imports {
        write!(text, "\n  {} -> {}: {}:{}", import.from, import.to, relative(&import.file), import.line)?;
    }
    if !cycle.others.is_empty() {
        text.push_str("\n  further imports among the same modules:");
    }
    for import in &cycle.others {
        write!(text, "\n    {} -> {}: {}:{}", import.from, import.to, relative(&import.file), import.line)?;
    }
    Ok(text)
}
