//! The reaper, with a count of the bytes that are allocated: what `cargo xtask bench reaper` takes the memory of a Job from.
//!
//! Resident memory does not tell that: new Jobs fill the gaps that others have left. It differs from the program that ships in the
//! count alone. For each line that it reads from standard input, it writes a line with the bytes allocated then, as they were asked
//! for.

#![allow(clippy::print_stdout, reason = "speaks to the program that started it")]

use std::{io::stdin, thread};

use cap::Cap;
use clap::Parser as _;
use jobwarden_reaper::args::ReaperArgs;
use mimalloc::MiMalloc;

/// The reaper's, counted.
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
