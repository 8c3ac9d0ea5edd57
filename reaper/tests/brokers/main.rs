//! The sinks for brokers against real ones: Debian's RabbitMQ, and Apache Artemis.
//!
//! They need `rabbitmq-server`, a Java runtime and Maven, so they are ignored unless asked for; `cargo xtask test` runs them. They start
//! processes with ports and data of their own, one test at a time:
//!
//! ```text
//! cargo test -p jobwarden-reaper --test brokers -- --ignored --test-threads=1
//! ```

mod artemis;
mod artemis_server;
mod artifacts;
mod logs;
mod messages;
mod ort_reader;
mod rabbitmq;
mod storm;

use jobwarden_tests::brokers::{certificates, process, proxy, rabbitmq_server};
