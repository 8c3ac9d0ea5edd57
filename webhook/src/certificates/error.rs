//! What can go wrong with certificates.

/// Why certificates could not be reconciled.
#[derive(Debug, thiserror::Error)]
pub(super) enum CertificateError {
    /// A request to the API server failed.
    #[error("cannot {verb} the {kind} {name}")]
    Api {
        /// The verb.
        verb: &'static str,
        /// Kind of the object.
        kind: &'static str,
        /// Name of the object.
        name: String,
        /// The API server's error.
        source: kube::Error,
    },
    /// Every update was rejected because of a concurrent change.
    #[error("conflict: the Secret {0} keeps being modified concurrently; check whether another controller writes it")]
    Contended(&'static str),
    /// Key generation or signing failed.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    /// The TLS server rejected a certificate that passed all checks.
    #[error("cannot serve the certificate of the Secret {0}")]
    Serve(&'static str, #[source] jobwarden_serve::tls::TlsError),
    /// An object of the installation does not exist.
    #[error("{kind} {name} not found; the Helm chart and install.yaml create it")]
    Missing {
        /// Kind of the object.
        kind: &'static str,
        /// Name of the object.
        name: String,
    },
    /// An object that the webhook fills was deleted. It has no right to create one: such a right cannot be limited to names.
    #[error(
        "{kind} {namespace}/{name} not found: it was deleted, and the webhook may only fill it; create it empty: kubectl -n {namespace} create {create} {name}"
    )]
    Deleted {
        /// Kind of the object.
        kind: &'static str,
        /// What `kubectl create` calls it.
        create: &'static str,
        /// Name of the object.
        name: &'static str,
        /// Its namespace.
        namespace: String,
    },
    /// A Secret that is managed externally cannot be used.
    #[error("the Secret {name} is unusable: {reason}; it is not repaired here because of --certificates=external")]
    Foreign {
        /// Name of the Secret.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The `caBundle` does not verify the certificate that is served.
    #[error(
        "the API server does not trust the served certificate, by the caBundle of {webhook} in the webhook configuration: {reason}"
    )]
    Distrusted {
        /// Name of the webhook in the configuration.
        webhook: String,
        /// Why verification fails.
        reason: String,
    },
    /// Sidecars need an address to connect to.
    #[error("the Service {0} has no ClusterIP yet; it needs one and must not be headless")]
    NoClusterIp(String),
}

/// Why the contents of a Secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("it has no {0}")]
    Missing(&'static str),
    #[error("its {0} is not PEM")]
    NotPem(&'static str),
    #[error("its tls.crt is not a certificate")]
    NotACertificate,
    #[error("its tls.crt is not a certificate authority")]
    NotAnAuthority,
    #[error("its key does not belong to its certificate")]
    Pair,
    #[error("its ca.crt is out of date")]
    OtherBundle,
    #[error("its certificate is not valid for {name}: {reason}")]
    Refused { name: String, reason: rustls::Error },
    #[error("it expires soon or has expired")]
    Expiring,
    #[error("the next step of its rotation is due")]
    Due,
    #[error("a part of it is corrupt or has expired")]
    Corrupt,
}
