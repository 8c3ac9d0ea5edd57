//! The reaper with an allocator that counts bytes, from which `cargo xtask bench reaper` computes the memory per Job.
//!
//! Resident memory does not show that, because new Jobs reuse freed memory. Apart from the count, the program is the one that
//! ships. For each line on standard input, it prints the number of allocated bytes on one line.

#![allow(clippy::print_stdout, reason = "standard output is the interface to the benchmark")]

use std::{io::stdin, thread};

use cap::Cap;
use clap::Parser as _;
use jobwarden_reaper::args::ReaperArgs;
use mimalloc::MiMalloc;

/// The reaper's allocator with a count of allocated bytes.
#[global_allocator]
static ALLOCATOR: Cap<MiMalloc> = Cap::new(MiMalloc, usize::MAX);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    thread::spawn(|| {
        for _ in stdin().lines() {
            println!("{}", ALLOCATOR.allocated());
        }
    });
    jobwarden_serve::tls::install_crypto_provider();
    ReaperArgs::parse().run().await?;
    Ok(())
}
