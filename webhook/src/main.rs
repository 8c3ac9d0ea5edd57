//! `jobwarden-webhook`: see [`jobwarden_webhook`].

use std::{
    io::{Write as _, stderr},
    process::ExitCode,
};

use clap::Parser as _;
use jobwarden_serve::logs::with_causes;
use jobwarden_webhook::args::WebhookArgs;
use mimalloc::MiMalloc;

/// Faster than musl's allocator; `cargo xtask bench webhook` measures the difference.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// One thread answers more reviews than an API server sends; `cargo xtask bench webhook` measures the cost of one.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    jobwarden_serve::tls::install_crypto_provider();
    match WebhookArgs::parse().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line without a backtrace, whatever RUST_BACKTRACE is: such errors are about files and clusters.
            let _ = writeln!(stderr(), "error: {}", with_causes(&error));
            ExitCode::FAILURE
        }
    }
}
