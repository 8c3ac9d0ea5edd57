use std::fs;

use serde_json::json;
use tempfile::TempDir;

use super::*;

const MANIFEST: &str = r#"
[package]
name = "planted"
version = "0.1.0"
edition = "2024"

[workspace]

[[test]]
name = "slow"
test = false
harness = false

[[bench]]
name = "speed"
bench = false
harness = false
"#;

/// A program, and one that has a function nobody calls.
const PROGRAM: [&str; 2] = ["//! Planted.\n\nfn main() {}\n", "//! Planted.\n\nfn main() {}\n\nfn unused() {}\n"];

/// Code without `main`, and such code that has a function nobody calls.
const LIBRARY: [&str; 2] = ["//! Planted.\n", "//! Planted.\n\n#[cfg(test)]\nfn unused() {}\n"];

/// Every file that a warning can hide in, clean and with a warning. `cargo test` and `cargo bench` leave out the last two.
const SOURCES: [(&str, [&str; 2]); 6] = [
    ("src/lib.rs", LIBRARY),
    ("src/main.rs", PROGRAM),
    ("examples/shown.rs", PROGRAM),
    ("tests/quick.rs", LIBRARY),
    ("tests/slow.rs", PROGRAM),
    ("benches/speed.rs", PROGRAM),
];

struct Planted(TempDir);

impl Planted {
    fn clean() -> Self {
        let planted = Self(tempfile::tempdir().expect("a temporary folder can be created"));
        planted.write("Cargo.toml", MANIFEST);
        for (source, [clean, _]) in SOURCES {
            planted.write(source, clean);
        }
        planted
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.0.path().join(file);
        fs::create_dir_all(path.parent().expect("it lies in the temporary folder")).expect("the folder can be created");
        fs::write(path, text).expect("the file can be written");
    }

    fn workspace(&self) -> Workspace {
        Workspace::of(&self.0.path().join("Cargo.toml")).expect("cargo reads the manifest")
    }

    fn check(&self) -> anyhow::Result<()> {
        check(&self.workspace(), Some(&self.0.path().join("target")))
    }
}

#[test]
fn a_warning_in_any_target_fails() {
    let planted = Planted::clean();
    planted.check().expect("there is no warning yet");
    for (source, [clean, warning]) in SOURCES {
        planted.write(source, warning);
        assert!(planted.check().is_err(), "a warning in {source} is not seen");
        planted.write(source, clean);
    }
    planted.check().expect("every warning is gone again");
}

#[test]
fn a_target_that_cargo_does_not_report_fails() {
    let planted = Planted::clean();
    let mut workspace = planted.workspace();
    let root = planted.0.path().join("src/forgotten.rs");
    let forgotten = json!({"name": "forgotten", "kind": ["bin"], "src_path": root});
    workspace.packages[0].targets.push(serde_json::from_value(forgotten).expect("it has the form of a target"));

    let error = check(&workspace, Some(&planted.0.path().join("target"))).expect_err("no such target was checked");

    assert!(error.to_string().contains("bin forgotten"), "{error}");
}

#[test]
fn targets_that_cargo_test_leaves_out_are_selected_by_name() {
    let workspaces = Workspace::all().expect("cargo reads the manifests");
    assert!(workspaces.len() > 1, "the fuzz targets are a workspace of their own");
    for workspace in &workspaces {
        let targets: BTreeSet<&Target> = workspace.packages.iter().flat_map(|package| &package.targets).collect();
        let selected = selections(&targets).concat();
        for target in targets.iter().filter(|target| matches!(target.kind(), "test" | "bench" | "example")) {
            let name = format!("--{}={}", target.kind(), target.name);
            assert!(selected.contains(&name), "{target} is not selected");
        }
    }
}
