//! `jobwarden-webhook`: see [`jobwarden_webhook`].

use clap::Parser as _;
use jobwarden_webhook::args::WebhookArgs;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    jobwarden_serve::tls::install_crypto_provider();
    WebhookArgs::parse().run().await?;
    Ok(())
}
