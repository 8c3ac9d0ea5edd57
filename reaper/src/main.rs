//! `jobwarden-reaper`: see [`jobwarden_reaper`].

use clap::Parser as _;
use jobwarden_reaper::args::ReaperArgs;
use mimalloc::MiMalloc;

/// Faster than musl's own; what it takes is in `cargo xtask bench reaper`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    jobwarden_serve::tls::install_crypto_provider();
    ReaperArgs::parse().run().await?;
    Ok(())
}
