//! `jobwarden-reaper`: see [`jobwarden_reaper`].

use std::process::ExitCode;

use clap::Parser as _;
use jobwarden_reaper::args::ReaperArgs;
use jobwarden_serve::{logs::exit_with, tls};
use mimalloc::MiMalloc;

/// Faster than musl's own; what it takes is in `cargo xtask bench reaper`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    tls::install_crypto_provider();
    match ReaperArgs::parse().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit_with(&error),
    }
}
