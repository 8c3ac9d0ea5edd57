//! `jobwarden`: see the library of the same name.

use std::{env, process::ExitCode};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    jobwarden_serve::tls::install_crypto_provider();
    jobwarden::run(env::args_os()).await
}
