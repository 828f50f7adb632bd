//! A channel between two enclaves through a node that sees only ciphertext.
//!
//! A node that permits a channel signs a [`ChannelGrant`] and gives both sides a channel secret. Over the bytes that the
//! node relays, the two sides then run mutual TLS 1.3 with each other, each pinned to the other's key by the grant, and
//! confirm with the channel secret that both hold the same grant: [`Endpoint`]. After that it is a byte stream.
//!
//! Nothing here does I/O or reads a clock: bytes and the time come in as arguments, bytes go out by
//! [`Endpoint::take_output`]. Which channels are permitted is `burgrave-control`'s question; carrying the bytes is the
//! link's.
//!
//! ```
//! use burgrave_channel::{ChannelError, Endpoint};
//! use burgrave_types::Timestamp;
//!
//! /// What the link brought goes in; what comes out goes to the link, an alert after an error too.
//! fn turn(end: &mut Endpoint, brought: &[u8], now: Timestamp, link: &mut Vec<u8>) -> Result<(), ChannelError> {
//!     let result = end.feed(brought, now);
//!     link.extend(end.take_output());
//!     result
//! }
//! ```
//!
//! Threat notes: who relays can delay and cut, and learns sizes; it cannot read, alter, reorder or shorten unnoticed. Whoever
//! holds the CA alone cannot stand between, for want of the channel secret; a node's memory yields both, and then only a
//! channel whose sides verify each other's evidence holds. A channel id is accepted once ([`AcceptedIds`]); there is no
//! resumption and no early data; what arrives before both confirmations is refused. After any error an endpoint gives out
//! nothing more of what it received.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may fail loudly")
)]

mod accepted;
mod endpoint;
mod error;
mod grant;
mod secret;

pub use accepted::{AcceptError, AcceptedIds};
pub use endpoint::{Endpoint, Received, Setup, State};
pub use error::ChannelError;
pub use grant::{ChannelGrant, GrantError, GrantSide, MAX_GRANT_BYTES, Role, SignedGrant};
pub use secret::{channel_secret, open_channel_secret, seal_channel_secret};
