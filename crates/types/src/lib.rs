//! The vocabulary of Burgrave: what every other crate speaks of.
//!
//! Ids, names, times, digests, claims, secrets, operations and problems, each a type of its own, parsed once at the
//! edge and valid from then on. This crate does no I/O, holds no key and decides nothing; it leaves cryptography to
//! `burgrave-seal` and `burgrave-identity`, and meaning to the crates above.
//!
//! ```
//! use burgrave_types::{EnclaveName, TrustDomain};
//!
//! let domain: TrustDomain = "example.org".parse()?;
//! let enclave: EnclaveName = "payments/api".parse()?;
//! assert_eq!(enclave.spiffe_id(&domain).to_string(), "spiffe://example.org/payments/api");
//! # Ok::<(), burgrave_types::ParseError>(())
//! ```
//!
//! Threat notes: a [`Secret`] never shows its content in `Debug`, has no `Serialize`, is compared in constant time and
//! is wiped when dropped. A [`Problem`] carries only what its caller may see; what an operator needs beyond that goes to
//! the log.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may fail loudly")
)]

pub mod api;
pub mod certificate_table;
pub mod claims;
pub mod digest;
pub mod enclave;
pub mod encoding;
mod error;
pub mod evidence;
mod id;
mod name;
#[cfg(feature = "openapi")]
mod openapi;
pub mod operation;
pub mod problem;
mod random;
mod registers;
mod secret;
pub mod simulated;
mod time;

pub use claims::{Claims, Tee};
pub use digest::{
    ChangesDigest, EvidenceDigest, GenesisHash, GrantDigest, HeadHash, RecordDigest, ReferenceDigest, ResultDigest,
    SpkiHash,
};
pub use enclave::{Concession, DomainClass, KeyIdentity, ReleaseState, Standing};
pub use error::ParseError;
pub use evidence::{Evidence, EvidencePart};
pub use id::{ChannelId, DecisionId, EnclaveUid, InstanceId, KeyUid, NodeId, PolicyId};
pub use name::{EnclaveName, ResourceName, Segment, SpiffeId, TrustDomain};
pub use operation::{Operation, ResourceId, ResourceKind};
pub use problem::{Problem, ProblemCode};
pub use random::Random;
pub use registers::Registers;
pub use secret::Secret;
pub use time::{Clock, Revision, SystemClock, Timestamp};
