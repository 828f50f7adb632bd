//! Sealed records under chained heads that the HSM signs: what a domain is, kept where nobody needs to be trusted.
//!
//! A [`Ledger`] keeps records ([`RecordPath`] to bytes) in a [`Store`](burgrave_store::Store). Each group of changes is one
//! transaction under one [`Head`]: the head names the digest of every record the group wrote, and the head before it; the
//! HSM signs it. At [`Ledger::read_unsealed`] the whole chain is verified and the store must hold exactly what it says;
//! from then on each transaction of the store, one's own included, is verified in the same way before it is believed, and
//! reaches the subscribers ([`Feed`]) from which views are built.
//!
//! What a record's body means is left to the crates above, and so is who may change it; the keys come from
//! `burgrave-keyring`. A domain begins with [`Ledger::create`]; each later start is two steps, because the keys that open
//! the records stand in the store themselves, unsealed but under the head:
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use burgrave_hsm::Token;
//! # use burgrave_keyring::Keyring;
//! # use burgrave_ledger::{Ledger, Change, FeedItem, RecordPath};
//! # use burgrave_store::Store;
//! # use burgrave_types::{Clock, GenesisHash, Random};
//! # async fn start(store: Arc<dyn Store>, token: Token, genesis: GenesisHash, clock: Arc<dyn Clock>, random: Arc<dyn Random>)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! let unsealed = Ledger::read_unsealed(store, Some(genesis)).await?;
//! let keyring = Arc::new(Keyring::open(token, unsealed.wrapped_keys()).await?);
//! let ledger = Ledger::open(unsealed, keyring, clock, random).await?;
//!
//! let mut feed = ledger.subscribe();
//! let FeedItem::Snapshot { records, .. } = feed.next().await? else { return Ok(()) };
//! let path: RecordPath = "enclave/payments/api".parse()?;
//! let applied = ledger.transact(Change::by("admin root").put(path, "{}")).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Threat notes. Who holds the store sees paths, sizes and times, and can deny service. A record that is altered, removed,
//! moved, put in another's place or replaced by an older one, and a head that is altered or taken out, is found when the
//! ledger opens or when it follows, and named. What a single node cannot find by itself is the whole store rolled back to
//! an earlier state of its own: that state was signed. Agents, peers and the token's anchor, which remember a later head,
//! find it; with a software token on the same disk only agents do. A chain is verified by its links and its last
//! signature; who can have the HSM sign can write any history from there on.

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

mod chain;
mod change;
mod error;
mod feed;
mod follow;
mod head;
mod layout;
mod ledger;
mod path;
mod sealing;
mod state;
#[cfg(test)]
mod tests;

pub use change::{Applied, Change, Expect, Record};
pub use error::{Fence, HeadFault, LedgerError, Tampering, TransactError};
pub use feed::{Feed, FeedItem};
pub use head::{Head, SignedHead};
pub use ledger::{Ledger, Unsealed};
pub use path::{RecordKind, RecordPath};

/// Decoders of what a store may have altered, as functions that a fuzzer can call.
pub mod fuzz {
    /// Reads `bytes` as a link of the chain: a signed head and its changes.
    pub fn link(bytes: &[u8]) {
        let _ = crate::layout::Link::decode(bytes);
    }

    /// Reads `bytes` as a stored record, as far as that goes without its key.
    pub fn record(bytes: &[u8]) {
        let _ = crate::sealing::Sealed::decode(bytes);
    }
}
