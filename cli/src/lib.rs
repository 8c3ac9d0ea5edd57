//! The command line of jobwarden, for people. Under the name `kubectl-jobwarden` it is a plugin of kubectl.
//!
//! ```text
//!  command_line ──► check        Is the installation healthy?       ──► API server
//!                   explain      Why does a Job have its verdict?   ──► API server ──► leading reaper
//!                   breaker      Which losses are held? Release     ──► API server ──► leading reaper
//!                   release      Remove the finalizer from Jobs     ──► API server
//!                   inject       What does admission change?            files only
//!                   uninject     Undo that                              files only
//!                   completions, man
//! ```

mod breaker;
mod check;
mod cluster;
mod command_line;
mod completions;
mod explain;
mod inject;
mod leader;
mod man;
mod objects;
mod output;
mod release;
mod uninject;

pub use self::command_line::{Program, command, run};
