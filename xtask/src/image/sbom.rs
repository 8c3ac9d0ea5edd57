//! What is in an image: a software bill of materials as `CycloneDX` JSON (<https://cyclonedx.org/docs/1.6/json/>).
//!
//! It is made from `cargo tree`, which resolves features as the build does. `cargo metadata`, which the usual generators read, joins the
//! features of all packages, those of tests among them, and names a third more crates for the sidecar than are in it. There are no times and no
//! random numbers in it: equal sources make equal files.

mod tree;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::Context as _;
use jobwarden_testbed::progress;
use serde_json::{Value, json};

use self::tree::{Crate, Crates};
use super::recipe::{Recipe, TARGET};
use crate::command::{at_root, cargo, output, root};

/// Writes what is in an image to a file in `folder`.
pub(super) fn write(recipe: &Recipe, folder: &Path) -> anyhow::Result<()> {
    let crates = |edges| {
        let mut command = cargo();
        command.args([
            "tree",
            "--locked",
            "--target",
            TARGET,
            "--prefix",
            "depth",
            "--format",
            tree::FORMAT,
            "--edges",
            edges,
        ]);
        command.args(recipe.packages.iter().flat_map(|package| ["--package", package]));
        Crates::parse(&output(&mut command)?)
    };
    let lock = fs::read_to_string(root().join("Cargo.lock")).context("reading Cargo.lock")?;
    let mut others = vec![standard_library()?];
    if recipe.extra.is_some() {
        others.push(ca_certificates()?);
    }
    let bom = bom(recipe.name(), &crates("normal")?, &crates("normal,no-proc-macro")?, &tree::checksums(&lock), others);
    let place = folder.join(format!("{}.cdx.json", recipe.name()));
    let text = serde_json::to_string_pretty(&bom).context("a bill of materials is plain")?;
    fs::write(&place, format!("{text}\n")).with_context(|| format!("writing {}", place.display()))?;
    progress::note(format!("{}: {}", recipe.reference, place.strip_prefix(root()).unwrap_or(&place).display()));
    Ok(())
}

/// The bill of an image with the crates `shipped`. Of `all`, the others are procedural macros and what these need: they run in the compiler
/// alone.
fn bom(image: &str, all: &Crates, shipped: &Crates, checksums: &BTreeMap<String, String>, others: Vec<Value>) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    let scope = |name: &String| if shipped.0.contains_key(name) { "required" } else { "excluded" };
    let crates = all.0.iter().map(|(name, it)| component(name, it, scope(name), checksums.get(name)));
    let references = |names: &BTreeSet<String>| names.iter().map(|name| reference(name)).collect::<Vec<_>>();
    let roots = all.0.iter().filter(|(_, it)| it.is_root).map(|(name, _)| name.clone()).collect();
    let mut dependencies = vec![json!({"ref": image, "dependsOn": references(&roots)})];
    dependencies
        .extend(all.0.iter().map(|(name, it)| json!({"ref": reference(name), "dependsOn": references(&it.needs)})));
    let components: Vec<_> = crates.chain(others).collect();
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "container", "bom-ref": image, "name": image, "version": version, "licenses": [{"expression": "Apache-2.0"}],
            },
            "tools": {"components": [{"type": "application", "name": "cargo xtask image", "version": version}]},
        },
        "components": components,
        "dependencies": dependencies,
    })
}

fn component(name: &str, it: &Crate, scope: &str, checksum: Option<&String>) -> Value {
    let (plain, version) = name.split_once('@').unwrap_or((name, ""));
    let mut component = json!({
        "type": if it.is_root { "application" } else { "library" },
        "bom-ref": reference(name),
        "name": plain,
        "version": version,
        "scope": scope,
        // Some crates still write `MIT/Apache-2.0`, which is no expression of SPDX.
        "licenses": [{"expression": it.license.replace('/', " OR ")}],
    });
    // Crates of this repository are in no registry.
    if let Some(checksum) = checksum {
        component["purl"] = reference(name).into();
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    if !it.repository.is_empty() {
        component["externalReferences"] = json!([{"type": "vcs", "url": it.repository}]);
    }
    component
}

fn reference(name: &str) -> String {
    // A build's metadata, as in 1.0.0+5, is escaped in a package URL.
    format!("pkg:cargo/{}", name.replace('+', "%2B"))
}

/// Rust's standard library, with the C library musl that its target brings.
fn standard_library() -> anyhow::Result<Value> {
    let version = output(at_root("rustc").arg("--version"))?;
    let version = version.split_whitespace().nth(1).context("`rustc --version` names no version")?;
    Ok(json!({
        "type": "library",
        "bom-ref": "rust-std",
        "name": "rust-std",
        "version": version,
        "scope": "required",
        "description": format!("Rust's standard library for {TARGET}, with musl"),
        "licenses": [{"expression": "(MIT OR Apache-2.0) AND MIT"}],
        "purl": format!("pkg:generic/rust-std@{version}"),
    }))
}

/// The Debian package with the CA certificates.
fn ca_certificates() -> anyhow::Result<Value> {
    let version = output(at_root("dpkg-query").args(["--show", "--showformat=${Version}", "ca-certificates"]));
    let version = version.context("asking for the version of ca-certificates")?;
    Ok(json!({
        "type": "data",
        "bom-ref": "ca-certificates",
        "name": "ca-certificates",
        "version": version,
        "scope": "required",
        "description": "The certificates of public CAs, for sinks without a caFile",
        "licenses": [{"expression": "MPL-2.0 AND GPL-2.0-or-later"}],
        "purl": format!("pkg:deb/debian/ca-certificates@{}", version.replace('+', "%2B")),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_in_the_compiler_alone_is_excluded_and_all_else_required() {
        let all = "0jobwarden-sidecar v0.1.0 (/src/sidecar)|Apache-2.0|\n1serde v1.0.2|MIT/Apache-2.0|https://example.com/serde\n\
                   2serde_derive v1.0.2 (proc-macro)|MIT|\n";
        let shipped = "0jobwarden-sidecar v0.1.0 (/src/sidecar)|Apache-2.0|\n1serde v1.0.2|MIT/Apache-2.0|https://example.com/serde\n";
        let [all, shipped] = [all, shipped].map(|text| Crates::parse(text).expect("a tree"));
        let checksums = BTreeMap::from([("serde@1.0.2".to_owned(), "ab".to_owned())]);
        let bom = bom("jobwarden-sidecar", &all, &shipped, &checksums, Vec::new());
        let scopes: Vec<_> =
            bom["components"].as_array().expect("a list").iter().map(|it| (&it["name"], &it["scope"])).collect();
        let expected = [("jobwarden-sidecar", "required"), ("serde", "required"), ("serde_derive", "excluded")];
        assert_eq!(
            scopes,
            expected.map(|(name, scope)| (json!(name), json!(scope))).iter().map(|(a, b)| (a, b)).collect::<Vec<_>>()
        );
        let serde = &bom["components"][1];
        assert_eq!(serde["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!((&serde["purl"], &serde["hashes"][0]["content"]), (&json!("pkg:cargo/serde@1.0.2"), &json!("ab")));
        assert_eq!(bom["components"][0].get("purl"), None, "our own crates are in no registry");
        assert_eq!(
            bom["dependencies"][0],
            json!({"ref": "jobwarden-sidecar", "dependsOn": ["pkg:cargo/jobwarden-sidecar@0.1.0"]})
        );
        assert_eq!(
            bom["dependencies"][2],
            json!({"ref": "pkg:cargo/serde@1.0.2", "dependsOn": ["pkg:cargo/serde_derive@1.0.2"]})
        );
    }

    #[test]
    fn an_image_has_the_name_at_the_end_of_its_reference() {
        let names = super::super::recipes().map(|recipe| recipe.name().to_owned());
        assert_eq!(names, ["jobwarden", "jobwarden-sidecar", "test-worker"]);
    }
}
