//! The command line of jobwarden, for people. Under the name `kubectl-jobwarden` it is a plugin of kubectl.
//!
//! ```text
//!  command_line ──► check        Is the installation healthy?       ──► API server
//!                   explain      Why does a Job have its verdict?   ──► API server ──► leading reaper
//!                   breaker      Which losses are held? Release     ──► API server ──► leading reaper
//!                   sinks        How do the sinks do? Test one      ──► API server ──► leading reaper
//!                   outcomes     What was recorded? Deliver again   ──► API server
//!                   release      Remove the finalizer from Jobs     ──► API server
//!                   inject       What does admission change?            files only
//!                   uninject     Undo that                              files only
//!                   listen       What does a sink send?             own port ◄── leading reaper
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
mod listen;
mod man;
mod objects;
mod operator;
mod outcomes;
mod output;
mod release;
mod sinks;
mod table;
mod text;
mod uninject;
mod usage;

pub use self::command_line::{Program, command, run};
