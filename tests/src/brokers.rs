//! Real brokers on this machine, and what tests and benchmarks of them need. What fails here panics, as it does in a test.

pub mod certificates;
pub mod ort_reader;
pub mod process;
pub mod proxy;
pub mod rabbitmq_server;
