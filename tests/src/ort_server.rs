//! What ORT Server has beside jobwarden: its workers, its broker, and the reader of its queue.

pub mod broker;
pub mod worker;
