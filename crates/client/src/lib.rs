//! The typed client of a node's REST interface (`/v1`).
//!
//! A [`Client`] knows a node by its trust domain's genesis hash and by nothing else: no host name, no public CA. A server
//! that cannot show the chain from that genesis gets no byte of a request. [`Contexts`] keeps, per user, which servers
//! there are and how to log in.
//!
//! Left to others: what the answers mean (`burgrave-types::api`), showing them (`burgrave`).
//!
//! ```no_run
//! # async fn example() -> Result<(), burgrave_types::Problem> {
//! use burgrave_client::{Client, Credential, Server};
//! let server = Server { url: "https://127.0.0.1:8443".parse()?, genesis: "00".repeat(32).parse().map_err(|_| unreachable!())? };
//! let client = Client::new(server, Credential::None)?;
//! println!("{}", client.domain().await?.trust_domain);
//! # Ok(())
//! # }
//! ```
//!
//! Threat notes: tokens and keys come from files that only their owner can read, are kept in `Secret`, and are sent only
//! after the node has proven its domain. Answers are bounded in size and time.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "tests may fail loudly"
    )
)]

mod connection;
mod contexts;
mod credential;
mod events;
mod routes;
mod server;

/// Decoders, as functions that a fuzzer can call.
pub mod fuzz {
    /// Reads `bytes` as the answer of each route; returns as how many of them they pass.
    pub fn answer(bytes: &[u8]) -> usize {
        crate::routes::read_as_each_answer(bytes)
    }

    /// Reads `bytes` as a stream of events, whole and cut in pieces as their first byte says: it must be the same events.
    /// Returns how many of them there are that can be read.
    pub fn events(bytes: &[u8]) -> usize {
        crate::events::read_cut(bytes)
    }
}

pub use contexts::{Context, Contexts};
pub use credential::Credential;
pub use events::Events;
pub use routes::Client;
pub use server::{Server, Url};
