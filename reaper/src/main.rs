//! `jobwarden-reaper`: see [`jobwarden_reaper`].

use std::process::ExitCode;

use clap::Parser as _;
use jobwarden_reaper::args::ReaperArgs;
use jobwarden_serve::{logs::exit_with, tls};
use mimalloc::MiMalloc;

/// Faster than the allocator of musl; `cargo xtask bench reaper` measures its memory.
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
