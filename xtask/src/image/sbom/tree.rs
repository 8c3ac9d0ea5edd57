//! The output of `cargo tree`, and the checksums in `Cargo.lock`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;

/// Of each crate: name and version, licence, repository.
pub(super) const FORMAT: &str = "{p}|{l}|{r}";

/// The crates of a tree, by name and version, as in `serde@1.0.2`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Crates(pub(super) BTreeMap<String, Crate>);

/// A crate.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Crate {
    pub(super) license: String,
    pub(super) repository: String,
    /// What it depends on.
    pub(super) needs: BTreeSet<String>,
    /// It is one of the packages that were asked for.
    pub(super) is_root: bool,
}

impl Crates {
    /// Parses what `cargo tree --prefix depth` prints in [`FORMAT`].
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut crates = Self::default();
        // The crates from the root to the one before, by depth.
        let mut path: Vec<String> = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let wrong = || format!("cargo tree printed {line:?}");
            let digits = line.find(|letter: char| !letter.is_ascii_digit()).with_context(wrong)?;
            let (depth, rest) = line.split_at(digits);
            let depth: usize = depth.parse().with_context(wrong)?;
            let mut fields = rest.splitn(3, '|');
            let mut words = fields.next().with_context(wrong)?.split_whitespace();
            let name = words.next().with_context(wrong)?;
            let version = words.next().and_then(|version| version.strip_prefix('v')).with_context(wrong)?;
            let name = format!("{name}@{version}");
            let license = fields.next().with_context(wrong)?.to_owned();
            // A crate whose dependencies were printed before is marked.
            let repository = fields.next().with_context(wrong)?.trim_end_matches("(*)").trim().to_owned();

            path.truncate(depth);
            if let Some(above) = path.last().and_then(|above| crates.0.get_mut(above)) {
                above.needs.insert(name.clone());
            }
            let known = crates.0.entry(name.clone()).or_default();
            (known.license, known.repository) = (license, repository);
            known.is_root |= depth == 0;
            path.push(name);
        }
        Ok(crates)
    }
}

/// The SHA-256 of each crate from a registry, by name and version.
pub(super) fn checksums(lock: &str) -> BTreeMap<String, String> {
    let packages = lock.split("[[package]]").skip(1);
    let of = |package: &str| {
        let value = |key: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""));
            Some(line?.strip_suffix('"')?.to_owned())
        };
        Some((format!("{}@{}", value("name")?, value("version")?), value("checksum")?))
    };
    packages.filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "\
0jobwarden v0.1.0 (/src/cli)|Apache-2.0|
1anyhow v1.0.9|MIT OR Apache-2.0|https://example.com/anyhow
1tokio v1.4.0|MIT|https://example.com/tokio
2bytes v1.2.0|MIT|https://example.com/bytes

0jobwarden-agent v0.1.0 (/src/agent)|Apache-2.0|
1jobwarden v0.1.0 (/src/cli)|Apache-2.0| (*)
1tokio v1.4.0|MIT|https://example.com/tokio (*)
";

    #[test]
    fn a_tree_has_every_crate_once_with_what_it_needs() {
        let Crates(crates) = Crates::parse(TREE).expect("a tree");
        let names: Vec<_> = crates.keys().map(String::as_str).collect();
        assert_eq!(names, ["anyhow@1.0.9", "bytes@1.2.0", "jobwarden-agent@0.1.0", "jobwarden@0.1.0", "tokio@1.4.0"]);
        let needs = |name: &str| crates[name].needs.iter().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(needs("jobwarden-agent@0.1.0"), ["jobwarden@0.1.0", "tokio@1.4.0"]);
        assert_eq!(needs("tokio@1.4.0"), ["bytes@1.2.0"]);
        assert_eq!(crates["tokio@1.4.0"].repository, "https://example.com/tokio");
        assert!(crates["jobwarden@0.1.0"].is_root && !crates["tokio@1.4.0"].is_root);
    }

    #[test]
    fn what_is_no_tree_is_an_error() {
        assert!(Crates::parse("jobwarden v0.1.0|MIT|").is_err());
        assert!(Crates::parse("0jobwarden|MIT|").is_err());
    }

    #[test]
    fn checksums_are_those_of_crates_from_the_registry() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"registry\"\nchecksum = \"ff\"\n\n\
                    [[package]]\nname = \"ours\"\nversion = \"0.1.0\"\ndependencies = [\n \"a\",\n]\n";
        assert_eq!(checksums(lock), [("a@1.0.0".to_owned(), "ff".to_owned())].into());
    }
}
