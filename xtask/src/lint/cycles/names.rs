//! The names that each module defines or imports, and the modules that define what a path leads to.

use std::collections::{HashMap, HashSet};

use syn::{ForeignItem, Item, ItemUse, UseTree, Visibility, visit::Visit};

use super::tree::{ModuleId, ROOT, Tree};

/// The names of all modules of one target.
pub(super) struct Names<'a> {
    tree: &'a Tree,
    scopes: Vec<Scope>,
}

/// The names that can be used in one module without a path.
#[derive(Default)]
struct Scope {
    names: HashMap<String, Vec<Binding>>,
    globs: Vec<Vec<String>>,
}

enum Binding {
    Module(ModuleId),
    /// An item, defined in that module.
    Item(ModuleId),
    /// An imported name, and the path it was imported by.
    Import(Vec<String>),
    /// From another crate.
    External,
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resolved {
    /// A module of this target.
    Module(ModuleId),
    /// An item that this module of the target defines, or a name inside such an item.
    Item(ModuleId),
    /// A name from another crate, a local variable, a type parameter, …
    External,
}

/// One leaf of a `use` tree.
pub(super) struct Import {
    /// With neither `self` at its end nor the `*` of a glob.
    pub(super) path: Vec<String>,
    name: ImportName,
}

enum ImportName {
    Named(String),
    /// `as _`
    Unnamed,
    Glob,
}

/// Collects what every module of `tree` defines and imports.
pub(super) fn collect(tree: &Tree) -> Names<'_> {
    let mut scopes: Vec<Scope> = tree.modules.iter().map(|_| Scope::default()).collect();
    for (id, module) in tree.modules.iter().enumerate() {
        for (name, child) in &module.children {
            scopes[id].bind(name.clone(), Binding::Module(*child));
        }
        for item in &module.items {
            if tree.excludes(attributes(item)) {
                continue;
            }
            if let Item::Macro(rules) = item
                && rules.attrs.iter().any(|attribute| attribute.path().is_ident("macro_export"))
                && let Some(name) = &rules.ident
            {
                scopes[ROOT].bind(name.to_string(), Binding::Item(id));
            }
            match item {
                Item::Use(item) => scopes[id].import(item),
                item => defined(item).into_iter().for_each(|name| scopes[id].bind(name, Binding::Item(id))),
            }
        }
    }
    // Imports inside functions come last, for names of the module itself go first.
    for (module, scope) in tree.modules.iter().zip(&mut scopes) {
        let mut local = LocalImports { tree, found: Vec::new() };
        module.items.iter().filter(|item| !matches!(item, Item::Use(_))).for_each(|item| local.visit_item(item));
        for import in local.found {
            scope.import_local(import);
        }
    }
    Names { tree, scopes }
}

impl Scope {
    fn bind(&mut self, name: String, binding: Binding) {
        self.names.entry(name).or_default().push(binding);
    }

    fn import(&mut self, item: &ItemUse) {
        for Import { path, name } in imports_of(item) {
            match name {
                ImportName::Named(name) if item.leading_colon.is_some() => self.bind(name, Binding::External),
                ImportName::Named(name) => self.bind(name, Binding::Import(path)),
                ImportName::Glob if item.leading_colon.is_none() => self.globs.push(path),
                ImportName::Glob | ImportName::Unnamed => {}
            }
        }
    }

    fn import_local(&mut self, Import { path, name }: Import) {
        match name {
            ImportName::Named(name) if !self.names.contains_key(&name) => self.bind(name, Binding::Import(path)),
            ImportName::Glob => self.globs.push(path),
            ImportName::Named(_) | ImportName::Unnamed => {}
        }
    }
}

struct LocalImports<'a> {
    tree: &'a Tree,
    found: Vec<Import>,
}

impl<'ast> Visit<'ast> for LocalImports<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !self.tree.excludes(attributes(item)) && !matches!(item, Item::Mod(_)) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if item.leading_colon.is_none() {
            self.found.extend(imports_of(item));
        }
    }
}

impl Names<'_> {
    /// What `path`, written in `module`, leads to: more than one thing where a module and a function have the same name.
    pub(super) fn resolve(&self, module: ModuleId, path: &[String]) -> Vec<Resolved> {
        self.path(module, path, &mut HashSet::new())
    }

    fn path<'p>(&self, module: ModuleId, path: &'p [String], seen: &mut HashSet<(ModuleId, String)>) -> Vec<Resolved> {
        let Some((first, rest)) = path.split_first() else { return vec![Resolved::Module(module)] };
        let mut found = match first.as_str() {
            "crate" => vec![Resolved::Module(ROOT)],
            "self" => vec![Resolved::Module(module)],
            "super" => vec![self.tree.modules[module].parent.map_or(Resolved::External, Resolved::Module)],
            "Self" => vec![Resolved::External],
            name => self.name(module, name, seen),
        };
        for segment in rest {
            // A name that has others below it is a module or a type; a function of the same name is not meant.
            if found.iter().any(|found| matches!(found, Resolved::Module(_))) {
                found.retain(|found| matches!(found, Resolved::Module(_)));
            }
            let step = |from: Resolved, seen: &mut HashSet<(ModuleId, String)>| match from {
                Resolved::Module(id) if segment == "super" => {
                    vec![self.tree.modules[id].parent.map_or(Resolved::External, Resolved::Module)]
                }
                Resolved::Module(id) => {
                    let below = self.name(id, segment, seen);
                    // A name that is not in the source is made by a macro of that module.
                    if below.is_empty() { vec![Resolved::Item(id)] } else { below }
                }
                inside => vec![inside],
            };
            found = found.into_iter().flat_map(|from| step(from, seen)).collect();
        }
        found
    }

    /// What `name` means in `module`; nothing if neither the module nor its glob imports know it.
    fn name(&self, module: ModuleId, name: &str, seen: &mut HashSet<(ModuleId, String)>) -> Vec<Resolved> {
        if !seen.insert((module, name.to_owned())) {
            return Vec::new();
        }
        let scope = &self.scopes[module];
        let mut found = Vec::new();
        for binding in scope.names.get(name).into_iter().flatten() {
            match binding {
                Binding::Module(id) => found.push(Resolved::Module(*id)),
                Binding::Item(id) => found.push(Resolved::Item(*id)),
                Binding::External => found.push(Resolved::External),
                Binding::Import(path) => {
                    let imported = self.path(module, path, seen);
                    found.extend(if imported.is_empty() { vec![Resolved::External] } else { imported });
                }
            }
        }
        if found.is_empty() {
            for glob in &scope.globs {
                for target in self.path(module, glob, seen) {
                    if let Resolved::Module(id) = target {
                        found.extend(self.name(id, name, seen));
                    }
                }
            }
        }
        seen.remove(&(module, name.to_owned()));
        found
    }
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

/// The names that `item` defines in its module.
fn defined(item: &Item) -> Vec<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        Item::Macro(item) => return item.ident.iter().map(ToString::to_string).collect(),
        Item::ForeignMod(block) => {
            let name = |item: &ForeignItem| match item {
                ForeignItem::Fn(item) => Some(item.sig.ident.to_string()),
                ForeignItem::Static(item) => Some(item.ident.to_string()),
                ForeignItem::Type(item) => Some(item.ident.to_string()),
                _ => None,
            };
            return block.items.iter().filter_map(name).collect();
        }
        _ => return Vec::new(),
    };
    vec![name.to_string()]
}

/// The attributes of any item.
pub(super) fn attributes(item: &Item) -> &[syn::Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
