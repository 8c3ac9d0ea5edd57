//! `jobwarden-reaper`: see [`jobwarden_reaper`].

use clap::Parser as _;
use jobwarden_reaper::args::Cli;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    jobwarden_serve::tls::install_crypto_provider();
    Cli::parse().run().await?;
    Ok(())
}
