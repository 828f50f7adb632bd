//! The services of a node, over a view that is built from the ledger: registry, attestation, authorizer, keys, channels,
//! revocation.
//!
//! Edges (the agent link, REST) turn bytes into calls of [`Control`] and answers into bytes; they have no other door, so
//! none of them can go round the authorizer. Records flow from the ledger into the view; requests read only the view;
//! every change is a transaction on the ledger, and the call that made it returns when the view has it. So what an
//! administrator was told holds for every decision that is asked for afterwards.
//!
//! Left to others: sockets, HTTP and TLS (`burgrave-edge`), storage and its seal (`burgrave-ledger`), keys
//! (`burgrave-keyring`), the policy language (`burgrave-policy`), evidence (`burgrave-verifier`). Time and randomness come in
//! as arguments.
//!
//! ```no_run
//! # use std::sync::Arc;
//! use burgrave_control::{AdminIdentity, Control, LinkDirectory, NewRule, Parts, RuleEffect};
//!
//! # async fn serve(parts: Parts, links: Arc<dyn LinkDirectory>) -> Result<(), Box<dyn std::error::Error>> {
//! let control = Control::start(parts).await?;
//! control.set_links(links);
//! let admin = AdminIdentity { name: "root".parse()?, roles: vec!["admin".to_owned()] };
//! let rule = "payments/api decrypt key/payments/pii max-age=1h".to_owned();
//! let policy = control.create_rule(&admin, NewRule { effect: RuleEffect::Allow, rule, description: String::new() }).await?;
//! // From here on every decision is made under it; without it, and after this, under it no longer.
//! control.delete_policy(&admin, policy.id, Some(policy.revision)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Threat notes: a decision is denied unless a policy permits it, and whenever something fails: a standing that has run
//! out, a view that is behind, an audit log that cannot be written. An enclave that is not registered is refused in the
//! same words as one that is not let in, and a TPM that no registration lists like one of an enclave that there is none of;
//! a channel to a name that the caller may not send to is denied in the same words whether or not there is such an enclave.
//! Whoever has genuine hardware, or knows the public endorsement key of a listed TPM, can learn that an enclave is
//! registered, and what its releases would have to measure; how long an answer takes is not hidden. Secrets leave only sealed to the key that was attested, or as the plaintext that
//! was asked for.

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

mod admin;
mod api;
mod attestation;
mod authorizer;
mod challenge;
mod channels;
mod commit;
mod control;
mod decisions;
mod endorser;
mod feed;
mod keys;
mod live;
mod notify;
mod records;
mod refusals;
mod revocation;
mod signer;
mod status;
mod tick;
mod view;
mod why;

/// Decoders, as functions that a fuzzer can call.
pub mod fuzz {
    /// Reads `bytes` as a record of each kind.
    pub fn record(bytes: &[u8]) {
        crate::records::read_as_each_kind(bytes);
    }
}

pub use api::*;
pub use control::{Control, Parts, StartError};
pub use endorser::Endorser;
pub use records::RecordError;
pub use view::ViewError;
