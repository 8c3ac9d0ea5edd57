//! What is in each image of the repository.

use jobwarden_tests::job::WORKER_IMAGE;

/// The target of static programs.
pub(super) const TARGET: &str = "x86_64-unknown-linux-musl";

/// The folder of the archives, relative to the workspace's root.
pub(super) const FOLDER: &str = "target/images";

/// The CA certificates that the reaper trusts for sinks without a configured CA (Debian package ca-certificates).
const CA_CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// An image of the repository.
pub(super) struct Recipe {
    pub(super) reference: String,
    /// The Containerfile.
    pub(super) file: &'static str,
    /// The packages whose programs are in it, each of the same name, and the cargo profile.
    pub(super) packages: &'static [&'static str],
    pub(super) profile: &'static str,
    /// A file of the machine that is in it as well.
    pub(super) extra: Option<&'static str>,
    /// It is for users, and not for tests.
    pub(super) is_released: bool,
}

/// The images. The programs of one image are compiled together, and apart from those of the others: the features of a crate are those that
/// this image needs.
pub(super) fn recipes() -> [Recipe; 3] {
    let version = env!("CARGO_PKG_VERSION");
    [
        Recipe {
            reference: format!("jobwarden.io/jobwarden:{version}"),
            file: "Containerfile",
            packages: &["jobwarden", "jobwarden-agent", "jobwarden-reaper", "jobwarden-webhook"],
            profile: "release",
            extra: Some(CA_CERTIFICATES),
            is_released: true,
        },
        Recipe {
            reference: format!("jobwarden.io/jobwarden-sidecar:{version}"),
            file: "sidecar/Containerfile",
            packages: &["jobwarden-sidecar"],
            profile: "sidecar",
            extra: None,
            is_released: true,
        },
        Recipe {
            reference: WORKER_IMAGE.to_owned(),
            file: "tests/worker/Containerfile",
            packages: &["jobwarden-worker"],
            profile: "release",
            extra: None,
            is_released: false,
        },
    ]
}

impl Recipe {
    /// The name without registry and tag.
    pub(super) fn name(&self) -> &str {
        let path = self.reference.split_once(':').map_or(self.reference.as_str(), |(path, _)| path);
        path.rsplit_once('/').map_or(path, |(_, name)| name)
    }
}
