//! `jobwarden-webhook`: see [`jobwarden_webhook`].

use std::{
    io::{Write as _, stderr},
    process::ExitCode,
};

use clap::Parser as _;
use jobwarden_serve::logs::with_causes;
use jobwarden_webhook::args::WebhookArgs;
use mimalloc::MiMalloc;

/// Faster than musl's own; what it takes is in `cargo xtask bench webhook`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// One thread answers more reviews than an API server sends: `cargo xtask bench webhook` says what one costs.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    jobwarden_serve::tls::install_crypto_provider();
    let error = match WebhookArgs::parse().run().await {
        Ok(status) => return status,
        Err(error) => error,
    };
    // A sentence and no backtrace, whatever RUST_BACKTRACE says: it is about files and clusters, not about this program.
    let _ = writeln!(stderr(), "error: {}", with_causes(&error));
    ExitCode::FAILURE
}
