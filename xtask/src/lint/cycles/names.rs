//! The names that each module defines or imports, and the modules that define what a path leads to.

use std::collections::{HashMap, HashSet};

use syn::{ForeignItem, Item, ItemUse, visit::Visit};

use super::{
    tree::{ModuleId, ROOT, Tree, attributes},
    use_items::{Import, ImportName, imports_of},
};

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

    fn path(&self, module: ModuleId, path: &[String], seen: &mut HashSet<(ModuleId, String)>) -> Vec<Resolved> {
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
