//! The modules of one target, read from its source files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use syn::{Attribute, Expr, ExprLit, Item, ItemMod, Lit, Meta, Token, punctuated::Punctuated};

/// Index of a module in [`Tree::modules`].
pub(super) type ModuleId = usize;

/// The root module of every target.
pub(super) const ROOT: ModuleId = 0;

/// All modules of one target, the root first.
pub(super) struct Tree {
    pub(super) modules: Vec<Module>,
    /// Whether the target is a test: code under `#[test]` and `#[cfg(test)]` counts there.
    is_test: bool,
}

/// One module, a file or inline.
pub(super) struct Module {
    /// Its path from the root, such as `api::view`; `crate` for the root.
    pub(super) name: String,
    pub(super) parent: Option<ModuleId>,
    /// The child modules and their names.
    pub(super) children: Vec<(String, ModuleId)>,
    pub(super) file: PathBuf,
    /// Its items other than modules.
    pub(super) items: Vec<Item>,
}

/// Where the files of child modules are looked for.
struct Folders {
    /// The folder of child modules.
    children: PathBuf,
    /// What `#[path]` is relative to.
    attribute: PathBuf,
}

/// Reads the target whose first source file is `root`.
pub(super) fn load(root: &Path, is_test: bool) -> anyhow::Result<Tree> {
    let mut tree = Tree { modules: Vec::new(), is_test };
    let folder = root.parent().unwrap_or(Path::new("")).to_owned();
    let folders = Folders { children: folder.clone(), attribute: folder };
    tree.add("crate".to_owned(), None, root.to_owned(), parse(root)?, &folders)?;
    Ok(tree)
}

fn parse(file: &Path) -> anyhow::Result<Vec<Item>> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(syn::parse_file(&text).with_context(|| format!("cannot parse {}", file.display()))?.items)
}

impl Tree {
    fn add(
        &mut self,
        name: String,
        parent: Option<ModuleId>,
        file: PathBuf,
        items: Vec<Item>,
        folders: &Folders,
    ) -> anyhow::Result<ModuleId> {
        let id = self.modules.len();
        self.modules.push(Module { name, parent, children: Vec::new(), file, items: Vec::new() });
        for item in items {
            match item {
                Item::Mod(child) if !self.excludes(&child.attrs) => self.add_child(id, child, folders)?,
                Item::Mod(_) => {}
                item => self.modules[id].items.push(item),
            }
        }
        Ok(id)
    }

    fn add_child(&mut self, parent: ModuleId, child: ItemMod, folders: &Folders) -> anyhow::Result<()> {
        let name = child.ident.to_string();
        let (file, items, folders) = if let Some((_, items)) = child.content {
            let folder = folders.children.join(&name);
            (self.modules[parent].file.clone(), items, Folders { children: folder.clone(), attribute: folder })
        } else {
            let file = file_of(&name, &child.attrs, folders);
            let items = parse(&file).with_context(|| format!("module `{name}` of `{}`", self.modules[parent].name))?;
            let folder = file.parent().unwrap_or(Path::new("")).to_owned();
            // `mod.rs` and files named by `#[path]` hold their children beside them.
            let beside = file.ends_with("mod.rs") || path_attribute(&child.attrs).is_some();
            let children = if beside { folder.clone() } else { folder.join(&name) };
            (file, items, Folders { children, attribute: folder })
        };
        let path = if parent == ROOT { name.clone() } else { format!("{}::{name}", self.modules[parent].name) };
        let id = self.add(path, Some(parent), file, items, &folders)?;
        self.modules[parent].children.push((name, id));
        Ok(())
    }

    /// The module and the modules around it, the root first.
    pub(super) fn lineage(&self, module: ModuleId) -> Vec<ModuleId> {
        let mut lineage: Vec<ModuleId> =
            std::iter::successors(Some(module), |module| self.modules[*module].parent).collect();
        lineage.reverse();
        lineage
    }

    /// Whether code with these attributes is compiled for tests only, in a target that is no test.
    pub(super) fn excludes(&self, attributes: &[Attribute]) -> bool {
        let test_only = |attribute: &Attribute| match &attribute.meta {
            Meta::List(list) if list.path.is_ident("cfg") => {
                list.parse_args::<Meta>().is_ok_and(|meta| requires_test(&meta))
            }
            meta => meta.path().segments.last().is_some_and(|last| last.ident == "test"),
        };
        !self.is_test && attributes.iter().any(test_only)
    }
}

/// Whether a `cfg` predicate is about tests: `test`, `any(test, …)` or `all(test, …)`, but not `not(test)`.
fn requires_test(predicate: &Meta) -> bool {
    match predicate {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("any") || list.path.is_ident("all") => list
            .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
            .is_ok_and(|predicates| predicates.iter().any(requires_test)),
        _ => false,
    }
}

fn file_of(name: &str, attributes: &[Attribute], folders: &Folders) -> PathBuf {
    if let Some(path) = path_attribute(attributes) {
        return folders.attribute.join(path);
    }
    let name = name.strip_prefix("r#").unwrap_or(name);
    let folder = folders.children.join(name);
    let file = folder.with_extension("rs");
    if file.exists() { file } else { folder.join("mod.rs") }
}

fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    })
}

/// The attributes of any item.
pub(super) fn attributes(item: &Item) -> &[Attribute] {
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
