//! An HTTPS client that authenticates with a service account token: for the agent's reports and the reaper's self-beat.
//!
//! The token file is read for each request, because the kubelet renews it. Only the CA bundle of the [`Endpoint`] is trusted.
//! Every step has a timeout. (The sidecar has a client of its own, because it has to be tiny.)

mod connection;
mod endpoint;
mod error;
mod token;
mod token_client;

pub use self::{
    endpoint::{Endpoint, EndpointError},
    error::{PostError, TIMEOUT},
    token::{TokenError, TokenFile},
    token_client::TokenClient,
};

#[cfg(test)]
mod tests;
