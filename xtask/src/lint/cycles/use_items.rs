//! `use` items, taken apart.

use syn::{ItemUse, UseTree, Visibility};

/// One leaf of a `use` tree.
pub(super) struct Import {
    /// With neither `self` at its end nor the `*` of a glob.
    pub(super) path: Vec<String>,
    pub(super) name: ImportName,
}

/// The name that an import binds.
pub(super) enum ImportName {
    Named(String),
    /// `as _`
    Unnamed,
    Glob,
}

/// The leaves of a `use` item.
pub(super) fn imports_of(item: &ItemUse) -> Vec<Import> {
    let mut found = Vec::new();
    leaves(&item.tree, &mut Vec::new(), &mut found);
    found
}

fn leaves(tree: &UseTree, prefix: &mut Vec<String>, found: &mut Vec<Import>) {
    let leaf = |prefix: &[String], name: String, alias: ImportName| {
        let mut path = prefix.to_vec();
        if name != "self" || path.is_empty() {
            path.push(name);
        }
        Import { path, name: alias }
    };
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            leaves(&path.tree, prefix, found);
            prefix.pop();
        }
        UseTree::Name(name) => {
            let name = name.ident.to_string();
            let bound = if name == "self" { prefix.last().cloned().unwrap_or_default() } else { name.clone() };
            found.push(leaf(prefix, name, ImportName::Named(bound)));
        }
        UseTree::Rename(rename) => {
            let alias = rename.rename.to_string();
            let alias = if alias == "_" { ImportName::Unnamed } else { ImportName::Named(alias) };
            found.push(leaf(prefix, rename.ident.to_string(), alias));
        }
        UseTree::Glob(_) => found.push(Import { path: prefix.clone(), name: ImportName::Glob }),
        UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, prefix, found)),
    }
}

/// Whether others may import what this imports: such an import is no use of its own.
pub(super) fn is_reexport(item: &ItemUse) -> bool {
    match &item.vis {
        Visibility::Inherited => false,
        Visibility::Public(_) => true,
        Visibility::Restricted(restricted) => !restricted.path.is_ident("self"),
    }
}
