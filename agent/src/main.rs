//! The node agent; see the library of the same name.

use clap::Parser as _;
use jobwarden_agent::{Args, run};
use jobwarden_serve::tls;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    args.log.init()?;
    tls::install_crypto_provider();
    run(args).await?;
    Ok(())
}
