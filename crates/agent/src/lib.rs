//! What stands beside an application in its enclave: it attests, keeps the link to a node, and opens the node's services to
//! the application.
//!
//! [`Agent::start`] makes an identity key and a sealing key in memory, connects to a node of the one domain that it was
//! started for, attests, and keeps the link: it answers new challenges, reconnects under its SVID, and holds its standing
//! meanwhile. Through it the application encrypts, decrypts, gets keys that are sealed to this instance, and talks to other
//! enclaves over [`ChannelStream`]s that the node relays and cannot read. [`local`] opens the same to programs in other
//! languages (HTTP with JSON on a Unix socket) and forwards ports; the binary `burgrave-agent` is that and a configuration
//! file.
//!
//! Left to others: what is allowed (the node decides, and is asked each time), evidence (`burgrave-attester`), the
//! channel's end-to-end protection (`burgrave-channel`).
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use burgrave_agent::{Agent, AgentConfig};
//! use burgrave_attester::SimulatedAttester;
//! use burgrave_seal::SystemRandom;
//! use burgrave_types::SystemClock;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = AgentConfig {
//!     nodes: vec!["tcp://127.0.0.1:8444".parse()?],
//!     genesis: "9f2c…".parse()?,
//!     enclave: "payments/api".parse()?,
//!     attester: Box::new(SimulatedAttester::of_code("payments-api-1.0")),
//! };
//! let agent = Agent::start(config, Arc::new(SystemClock), Arc::new(SystemRandom))?;
//! agent.wait_attested().await?;
//! let ciphertext = agent.encrypt(&"keyspace/payments/storage".parse()?, b"row 17", b"4111 1111").await?;
//! # Ok(())
//! # }
//! ```
//!
//! Threat notes: the agent fails closed. Without a link, without a live attestation or after a revocation every call is
//! refused with the reason; nothing is allowed from memory, and nothing that was allowed is kept. A node is accepted only
//! by the genesis hash, and cannot make the agent another enclave or replace its instance key; keys never leave memory; a cut
//! channel gives out nothing more of what had arrived, also where its peer had closed it. What a node may make the agent hold is
//! bounded: channels, their unread bytes, unfinished answers, notices. Its own host can always stop it, and sees who it talks to
//! and how much.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "tests may fail loudly"
    )
)]

mod address;
mod agent;
mod attestation;
mod channel;
mod connect;
mod identity;
mod link;
pub mod local;
mod offer;
mod run;
mod sealed;
mod shared;
mod status;

pub use address::NodeAddress;
pub use agent::{Agent, AgentConfig, StartError, Verdict};
pub use channel::ChannelStream;
pub use status::{AgentState, Notice, Status};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks; a panic elsewhere while it was held does not spread (every change under these locks is whole at each step).
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
