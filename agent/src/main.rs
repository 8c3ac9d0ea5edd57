//! The node agent; see the library of the same name.

use std::process::ExitCode;

use clap::Parser as _;
use jobwarden_agent::{Args, run};
use jobwarden_serve::{logs::exit_with, tls};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tls::install_crypto_provider();
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit_with(&error),
    }
}
