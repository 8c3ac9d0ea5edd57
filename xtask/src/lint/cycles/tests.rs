use std::{fs, path::Path};

use tempfile::TempDir;

use super::*;

/// Writes a crate of `files`, each a path below `src` and its text.
fn planted(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder can be created");
    for (file, text) in files {
        let path = folder.path().join("src").join(file);
        fs::create_dir_all(path.parent().expect("it lies in the temporary folder")).expect("the folder can be created");
        fs::write(path, text).expect("the file can be written");
    }
    folder
}

fn found(root: &Path, is_test: bool) -> Vec<String> {
    let cycles = cycles_of(root, is_test).expect("the planted crate is valid");
    cycles.iter().map(|cycle| cycle.modules.join(" -> ")).collect()
}

/// The cycles of a library of `files`.
fn cycles(files: &[(&str, &str)]) -> Vec<String> {
    found(&planted(files).path().join("src/lib.rs"), false)
}

/// The cycles of a library with modules `a` and `b`.
fn cycles_between(a: &str, b: &str) -> Vec<String> {
    cycles(&[("lib.rs", "mod a; mod b;"), ("a.rs", a), ("b.rs", b)])
}

const NONE: [&str; 0] = [];

#[test]
fn two_modules_that_import_from_each_other_are_a_cycle() {
    assert_eq!(cycles_between("use crate::b::B; pub struct A;", "use crate::a::A; pub struct B;"), ["a -> b -> a"]);
}

#[test]
fn modules_that_import_in_one_direction_are_no_cycle() {
    assert_eq!(cycles_between("use crate::b::B; pub struct A;", "pub struct B;"), NONE);
}

#[test]
fn paths_in_code_count_like_imports() {
    assert_eq!(
        cycles_between("pub struct A(crate::b::B);", "pub struct B; fn f() { let _ = super::a::A; }"),
        ["a -> b -> a"]
    );
}

#[test]
fn a_path_through_an_imported_module_counts() {
    let a = "use crate::b; pub fn one() { b::two(); }";
    assert_eq!(cycles_between(a, "use crate::a; pub fn two() { a::one(); }"), ["a -> b -> a"]);
}

#[test]
fn the_import_of_a_module_alone_is_no_use_of_it() {
    assert_eq!(cycles_between("use crate::b; pub struct A;", "pub struct B(crate::a::A);"), NONE);
}

#[test]
fn paths_in_the_input_of_a_macro_count() {
    let a = r#"pub fn one() { println!("{}", crate::b::two()); }"#;
    assert_eq!(cycles_between(a, "pub fn two() -> u8 { assert!(crate::a::one() == ()); 2 }"), ["a -> b -> a"]);
}

#[test]
fn a_parent_and_a_child_that_use_each_other_are_a_cycle() {
    let files = [
        ("lib.rs", "mod parent;"),
        ("parent.rs", "mod child; pub struct Shared; pub fn run() { child::work(&Shared) }"),
        ("parent/child.rs", "use super::Shared; pub fn work(_: &Shared) {}"),
    ];
    assert_eq!(cycles(&files), ["parent -> parent::child -> parent"]);
}

#[test]
fn a_parent_that_only_declares_and_reexports_its_child_is_no_cycle() {
    let files = [
        ("lib.rs", "mod parent;"),
        ("parent.rs", "mod child; pub struct Shared; pub use self::child::Work; pub(crate) use child::Rest;"),
        ("parent/child.rs", "use super::Shared; pub struct Work(Shared); pub struct Rest;"),
    ];
    assert_eq!(cycles(&files), NONE);
}

#[test]
fn a_private_import_from_a_child_is_a_use() {
    let files = [
        ("lib.rs", "mod parent;"),
        ("parent.rs", "mod child; pub struct Shared; use self::child::Work;"),
        ("parent/child.rs", "use super::Shared; pub struct Work(Shared);"),
    ];
    assert_eq!(cycles(&files), ["parent -> parent::child -> parent"]);
}

#[test]
fn a_reexport_is_followed_to_where_the_item_is_defined() {
    let files = [
        ("lib.rs", "mod facade; mod a; mod b;"),
        ("facade.rs", "pub use crate::a::A; pub use crate::b::*;"),
        ("a.rs", "use crate::facade::B; pub struct A;"),
        ("b.rs", "use crate::facade::A; pub struct B;"),
    ];
    assert_eq!(cycles(&files), ["a -> b -> a"]);
}

#[test]
fn a_facade_that_others_import_through_is_not_part_of_a_cycle() {
    let files = [
        ("lib.rs", "mod facade; mod a; mod b; pub struct Root(facade::A);"),
        ("facade.rs", "pub use crate::a::A;"),
        ("a.rs", "pub struct A;"),
        ("b.rs", "use crate::facade::A; pub struct B(A);"),
    ];
    assert_eq!(cycles(&files), NONE);
}

#[test]
fn names_from_a_glob_import_count_where_they_are_used() {
    let used = "use crate::b::*; pub struct A; pub fn f(_: B) {}";
    assert_eq!(cycles_between(used, "use crate::a::A; pub struct B;"), ["a -> b -> a"]);
    let unused = "use crate::b::*; pub struct A;";
    assert_eq!(cycles_between(unused, "use crate::a::A; pub struct B;"), NONE);
}

#[test]
fn nested_groups_and_renames_are_understood() {
    let a = "use crate::{b::{self as other, inner::{B as Renamed}}, c::C}; pub struct A(Renamed);";
    let files = [
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", a),
        ("b.rs", "pub mod inner;"),
        ("b/inner.rs", "use crate::a::{A as _}; pub struct B;"),
        ("c.rs", "pub struct C;"),
    ];
    assert_eq!(cycles(&files), ["a -> b::inner -> a", "a -> b -> a"]);
}

#[test]
fn a_restricted_visibility_is_no_use_of_the_module_it_names() {
    let files = [
        ("lib.rs", "mod parent;"),
        ("parent.rs", "mod child; pub struct Shared; fn f() { child::g() }"),
        ("parent/child.rs", "pub(in crate::parent) fn g() {} pub(super) struct Inner;"),
    ];
    assert_eq!(cycles(&files), NONE);
}

#[test]
fn test_code_is_left_out_of_a_library() {
    for attribute in ["#[cfg(test)]", "#[cfg(any(test, feature = \"mock\"))]", "#[cfg(all(test, unix))]", "#[test]"] {
        let a = format!("pub struct A; {attribute} fn f() {{ crate::b::g() }}");
        assert_eq!(cycles_between(&a, "pub fn g() {} pub struct B(crate::a::A);"), NONE, "{attribute}");
    }
    let a = "pub struct A; #[cfg(not(test))] fn f() { crate::b::g() }";
    assert_eq!(cycles_between(a, "pub fn g() {} pub struct B(crate::a::A);"), ["a -> b -> a"]);
}

#[test]
fn files_that_only_tests_compile_are_not_read() {
    let files = [("lib.rs", "mod a; #[cfg(test)] mod missing;"), ("a.rs", "#[cfg(test)] mod tests; pub struct A;")];
    assert_eq!(cycles(&files), NONE);
}

#[test]
fn test_functions_count_in_a_test_target() {
    let folder = planted(&[
        ("main.rs", "mod a; pub struct Scene; #[test] fn all() { a::run(Scene) }"),
        ("a.rs", "use crate::Scene; pub fn run(_: Scene) {}"),
    ]);
    let root = folder.path().join("src/main.rs");
    assert_eq!(found(&root, true), ["crate -> a -> crate"]);
    assert_eq!(found(&root, false), NONE);
}

#[test]
fn inline_modules_are_nodes_of_their_own() {
    let text = "mod a { pub struct A(super::b::B); } mod b { use super::a::A; pub struct B; }";
    assert_eq!(cycles(&[("lib.rs", text)]), ["a -> b -> a"]);
}

#[test]
fn a_variable_hides_a_function_of_the_same_name() {
    let files = [
        ("lib.rs", "mod parent;"),
        ("parent.rs", "mod judge; pub use judge::judge; pub struct S; fn f(judge: u8) -> u8 { judge }"),
        ("parent/judge.rs", "use super::S; pub fn judge(_: S) {}"),
    ];
    assert_eq!(cycles(&files), NONE);
}

#[test]
fn a_function_and_a_module_of_the_same_name_are_told_apart() {
    let files = [
        ("lib.rs", "mod judge; mod other;"),
        ("judge.rs", "pub mod row; pub use row::row;"),
        ("judge/row.rs", "pub fn row() {} pub struct Row;"),
        ("other.rs", "use crate::judge::{row, row::Row};"),
    ];
    assert_eq!(cycles(&files), NONE);
}

#[test]
fn names_from_other_crates_are_no_uses() {
    let a = "use http::Uri; use ::b::Other; pub struct A(std::time::Duration, Uri);";
    assert_eq!(cycles_between(a, "use crate::a::A; pub struct B;"), NONE);
}

#[test]
fn a_path_in_an_attribute_counts() {
    let a = r#"pub struct A { #[serde(with = "crate::b")] one: u8 }"#;
    assert_eq!(cycles_between(a, "use crate::a::A; pub fn serialize() {}"), ["a -> b -> a"]);
}

#[test]
fn what_a_macro_of_this_crate_expands_to_counts() {
    let a = "pub struct A; macro_rules! b { () => { $crate::b::B } }";
    assert_eq!(cycles_between(a, "pub struct B; fn f(_: crate::a::A) {}"), ["a -> b -> a"]);
}

#[test]
fn siblings_with_all_below_them_are_checked_too() {
    let files = [
        ("lib.rs", "mod api; mod explain;"),
        ("api.rs", "use crate::explain::explain; pub struct Model;"),
        ("explain.rs", "mod ask; pub fn explain() {}"),
        ("explain/ask.rs", "use crate::api::Model;"),
    ];
    assert_eq!(cycles(&files), ["api -> explain -> api"]);
}

#[test]
fn modules_are_found_where_rustc_looks_for_them() {
    let files = [
        ("lib.rs", "mod a; #[path = \"elsewhere.rs\"] mod b; mod inline { pub mod c; }"),
        ("a/mod.rs", "pub mod deep; use crate::b::B;"),
        ("a/deep.rs", "pub struct Deep;"),
        ("elsewhere.rs", "use crate::inline::c::C; pub struct B;"),
        ("inline/c.rs", "use crate::a::deep::Deep; pub struct C;"),
    ];
    assert_eq!(cycles(&files), ["a -> b -> inline -> a"]);
}

#[test]
fn the_report_names_a_line_for_each_arrow() {
    let folder = planted(&[
        ("lib.rs", "mod a;\nmod b;\n"),
        ("a.rs", "use std::fmt;\n\nuse crate::b::B;\npub struct A(B);\n"),
        ("b.rs", "pub struct B;\n\npub fn f(_: crate::a::A) {}\n"),
    ]);
    let root = folder.path().join("src/lib.rs");
    let target = serde_json::json!({"name": "planted", "kind": ["lib"], "src_path": root});
    let target: Target = serde_json::from_value(target).expect("it has the form of a target");
    let cycles = cycles_of(&root, false).expect("the planted crate is valid");
    let text = report("jobwarden-planted", &target, &cycles[0], folder.path()).expect("it is text");
    assert_eq!(text, "planted: cycle a -> b -> a\n  a -> b: src/a.rs:3\n  b -> a: src/b.rs:3");
}
