//! `jobwarden-reaper`: see [`jobwarden_reaper`].

use clap::Parser as _;
use jobwarden_reaper::args::Cli;
use mimalloc::MiMalloc;

/// Faster than the allocator of musl; `cargo xtask bench reaper` measures its memory.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    jobwarden_serve::tls::install_crypto_provider();
    Cli::parse().run().await?;
    Ok(())
}
