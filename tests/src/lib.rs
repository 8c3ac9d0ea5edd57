//! What jobwarden's end-to-end tests share: a cluster of the testbed with jobwarden installed, Jobs whose workers do what a
//! test wants, a receiver of notifications, other people's webhooks, and the chaos campaign with its oracle.

pub mod beat_server;
pub mod brokers;
pub mod campaign;
pub mod corpus;
pub mod delivery_account;
pub mod documentation;
pub mod environment;
pub mod faults;
pub mod https_client;
pub mod install;
pub mod job;
pub mod job_outcomes;
pub mod metrics;
pub mod mutating_webhook;
pub mod ort_server;
pub mod reaper_api;
pub mod reaper_config;
pub mod receiver;
pub mod scenarios;
pub mod shared_cluster;
pub mod tls_server;
pub mod wait;
