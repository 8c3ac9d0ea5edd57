//! The paths in the code of each module: which module uses what another defines, and where.

use std::collections::{BTreeMap, HashSet};

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};
use syn::{
    Attribute, Block, ImplItem, Item, ItemMod, ItemUse, Lit, Macro, Meta, PatIdent, Path, Signature, TraitItem,
    VisRestricted,
    visit::{self, Visit},
};

use super::{
    names::{Names, Resolved},
    tree::{ModuleId, Tree, attributes},
    use_items::{imports_of, is_reexport},
};

/// The first import, for each pair of modules (the one that imports, the one that defines).
pub(super) type Imports = BTreeMap<(ModuleId, ModuleId), Place>;

/// Where an import is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) module: ModuleId,
    pub(super) line: usize,
}

/// Collects every use that one module of `tree` makes of another.
pub(super) fn imports(tree: &Tree, names: &Names) -> Imports {
    let mut imports = Imports::new();
    for (module, source) in tree.modules.iter().enumerate() {
        let mut visitor = Visitor { tree, names, module, variables: HashSet::new(), imports: &mut imports };
        // Imports first, so that the line of an import is the one that is reported.
        let (imports, code): (Vec<_>, Vec<_>) = source.items.iter().partition(|item| matches!(item, Item::Use(_)));
        for item in imports.into_iter().chain(code) {
            visitor.visit_item(item);
        }
    }
    imports
}

struct Visitor<'a> {
    tree: &'a Tree,
    names: &'a Names<'a>,
    module: ModuleId,
    /// The variables of the function at hand: they hide functions and constants of the same name.
    variables: HashSet<String>,
    imports: &'a mut Imports,
}

impl Visitor<'_> {
    /// Notes the use of what `path` leads to.
    fn path(&mut self, path: &[String], line: usize) {
        if let [name] = path
            && self.variables.contains(name)
        {
            return;
        }
        for resolved in self.names.resolve(self.module, path) {
            if let Resolved::Item(definer) = resolved
                && definer != self.module
            {
                self.imports.entry((self.module, definer)).or_insert(Place { module: self.module, line });
            }
        }
    }

    /// Notes what looks like a path in the input of a macro.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut position = 0;
        while position < tokens.len() {
            match &tokens[position] {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(first) => {
                    let path = path_at(&tokens[position..]);
                    let called = |token: &TokenTree| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis);
                    let after = tokens.get(position + 3 * path.len() - 2);
                    // A single lowercase word may be a field, a keyword or an argument's name.
                    let telling = path.len() > 1 || starts_uppercase(first) || after.is_some_and(called);
                    if telling && !follows(&tokens[..position], &['.', ':', '\'']) {
                        self.path(&path, first.span().start().line);
                    }
                    position += 3 * (path.len() - 1);
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
            position += 1;
        }
    }

    /// Notes paths that are written as strings in attributes, as in `#[serde(with = "crate::seconds")]`.
    fn strings(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.strings(group.stream()),
                TokenTree::Literal(literal) => {
                    let line = literal.span().start().line;
                    if let Lit::Str(text) = Lit::new(literal)
                        && let Ok(path) = text.parse::<Path>()
                    {
                        // What serde's `with` names is a module, whose functions are what is used.
                        let mut path = segments(&path);
                        if let [Resolved::Module(_)] = self.names.resolve(self.module, &path)[..] {
                            path.push("serialize".to_owned());
                        }
                        self.path(&path, line);
                    }
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
        }
    }

    fn function(&mut self, signature: &Signature, block: Option<&Block>, visit: impl FnOnce(&mut Self)) {
        let mut bound = Variables(self.variables.clone());
        bound.visit_signature(signature);
        if let Some(block) = block {
            bound.visit_block(block);
        }
        let outer = std::mem::replace(&mut self.variables, bound.0);
        visit(self);
        self.variables = outer;
    }
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if self.tree.excludes(attributes(item)) {
            return;
        }
        match item {
            Item::Fn(function) => {
                self.function(&function.sig, Some(&function.block), |this| visit::visit_item(this, item));
            }
            _ => visit::visit_item(self, item),
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes = match item {
            ImplItem::Const(item) => &item.attrs,
            ImplItem::Fn(item) => &item.attrs,
            ImplItem::Type(item) => &item.attrs,
            ImplItem::Macro(item) => &item.attrs,
            _ => return,
        };
        if self.tree.excludes(attributes) {
            return;
        }
        match item {
            ImplItem::Fn(function) => {
                self.function(&function.sig, Some(&function.block), |this| visit::visit_impl_item(this, item));
            }
            _ => visit::visit_impl_item(self, item),
        }
    }

    fn visit_trait_item(&mut self, item: &'ast TraitItem) {
        match item {
            TraitItem::Fn(function) => {
                self.function(&function.sig, function.default.as_ref(), |this| visit::visit_trait_item(this, item));
            }
            _ => visit::visit_trait_item(self, item),
        }
    }

    /// Modules inside functions are left out, for paths in them start elsewhere.
    fn visit_item_mod(&mut self, _: &'ast ItemMod) {}

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if is_reexport(item) || item.leading_colon.is_some() {
            return;
        }
        let line = item.use_token.span.start().line;
        for import in imports_of(item) {
            self.path(&import.path, line);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !self.tree.excludes(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_field_value(&mut self, value: &'ast syn::FieldValue) {
        if !self.tree.excludes(&value.attrs) {
            visit::visit_field_value(self, value);
        }
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        if !self.tree.excludes(&variant.attrs) {
            visit::visit_variant(self, variant);
        }
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if !self.tree.excludes(&arm.attrs) {
            visit::visit_arm(self, arm);
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if !self.tree.excludes(&local.attrs) {
            visit::visit_local(self, local);
        }
    }

    /// `pub(in path)` uses nothing of the module it names.
    fn visit_vis_restricted(&mut self, _: &'ast VisRestricted) {}

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        match &attribute.meta {
            Meta::List(list) => {
                self.tokens(list.tokens.clone());
                self.strings(list.tokens.clone());
            }
            // Among them every doc comment.
            Meta::NameValue(_) | Meta::Path(_) => {}
        }
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        // A single name may be a macro of the standard library, beside a function of the same name here.
        if call.path.segments.len() > 1 {
            self.visit_path(&call.path);
        }
        self.tokens(call.tokens.clone());
    }

    fn visit_path(&mut self, path: &'ast Path) {
        if path.leading_colon.is_none()
            && let Some(first) = path.segments.first()
        {
            self.path(&segments(path), first.ident.span().start().line);
        }
        visit::visit_path(self, path);
    }
}

/// The names that patterns bind.
struct Variables(HashSet<String>);

impl<'ast> Visit<'ast> for Variables {
    fn visit_pat_ident(&mut self, pattern: &'ast PatIdent) {
        if !starts_uppercase(&pattern.ident) {
            self.0.insert(pattern.ident.to_string());
        }
        visit::visit_pat_ident(self, pattern);
    }
}

fn segments(path: &Path) -> Vec<String> {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}

/// The longest `a::b::c` at the start of `tokens`.
fn path_at(tokens: &[TokenTree]) -> Vec<String> {
    let mut path = Vec::new();
    let mut rest = tokens;
    while let [TokenTree::Ident(name), after @ ..] = rest {
        path.push(name.to_string());
        match after {
            [TokenTree::Punct(one), TokenTree::Punct(two), next @ ..]
                if one.as_char() == ':' && two.as_char() == ':' =>
            {
                rest = next;
            }
            _ => break,
        }
    }
    path
}

/// Whether the last of `tokens` is one of `signs`.
fn follows(tokens: &[TokenTree], signs: &[char]) -> bool {
    matches!(tokens.last(), Some(TokenTree::Punct(sign)) if signs.contains(&sign.as_char()))
}

fn starts_uppercase(name: &Ident) -> bool {
    name.to_string().starts_with(char::is_uppercase)
}
