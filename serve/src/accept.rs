//! HTTP/1.1 servers, plain or over TLS, for clients that may be slow, numerous or hostile: everything that a client can hold has a
//! limit.
//!
//! Life of a connection: accepted → a place among the newcomers of its source → TLS handshake within its timeout → head of the first
//! request within its timeout → requests, with rests and an idle timeout between them → closed by the client, by the idle timeout,
//! by the drain, after a response 4xx, because it is too slow, or because another connection needs its slot. [`read_body`] limits the
//! size and duration of one request body, a [`Budget`] the memory of all bodies together.
//!
//! # Sources
//!
//! The peer's address is the source of a connection. No source can keep others out: when slots run out, the oldest idle connection of the
//! source with most of them is closed, and the newcomer gets in (`slots.rs`). A connection is a *newcomer* until its first successful
//! response. Each source may have a limited number of them, and one that ends without a success counts for a while longer: that limits
//! failed handshakes and authentications. `docs/design/0013-ports.md` says why.
//!
//! # Drain
//!
//! A pod that terminates receives new connections until every kube-proxy has removed it from its Service, which takes up to
//! some seconds after SIGTERM. A server that closed its listener earlier would refuse those connections. So after a shutdown
//! request a [`Server`]
//!
//! 1. keeps accepting, and answers every request with `Connection: close`, so that clients reconnect through the Service and the
//!    connections that arrive show whether any proxy still routes to this pod;
//! 2. closes the listener once no connection has arrived for `--drain-delay`, at the latest `--drain-delay` plus half of
//!    `--drain-timeout` after the request;
//! 3. closes idle connections and finishes the requests in flight, at the latest `--drain-delay` plus `--drain-timeout` after the
//!    request. What is left then is aborted.

mod accept_loop;
mod activity;
mod body;
mod connection;
mod drain;
mod limits;
mod listener;
mod metrics;
mod server;
mod service;
mod slots;
mod source;
mod stage;
mod transport;

pub use self::{
    body::{BODY_TIMEOUT, BodyError, Budget, Held, read_body},
    limits::{LimitArgs, Limits},
    listener::listen,
    metrics::{Closing, Metrics, Refusal},
    server::Server,
    service::HttpService,
    transport::{Plain, Stream, Tls, Transport},
};

#[cfg(test)]
mod tests;
