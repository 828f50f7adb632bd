//! Vendors' collateral as a cached, refreshed resource: what a node must hold to judge evidence, where it comes from, when it
//! ends, and that it never goes back.
//!
//! Intel's TCB info, identities of quoting enclaves and revocation lists; AMD's VCEK and VLEK certificates, intermediates and
//! revocation lists; NVIDIA's revocation lists. A [`Store`] keeps what the roots vouch for. Judging evidence takes from memory and waits for nothing:
//! [`Store::supply`] before the verification, [`Store::judged`] after it, [`Store::admitted`] when the instance was admitted. What was missing is listed, and a
//! [`Refresher`] fetches it: from folders that an operator fills ([`Directory`]), from a PCCS or a mirror of it ([`Pccs`]), from
//! AMD's service or a mirror of it ([`Kds`]), from NVIDIA's or a mirror ([`CrlFolder`]). The evidence is refused meanwhile with the verifier's own cause
//! (`collateral.validity`, `chain.untrusted`), and its agent asks again.
//!
//! Left to others: verdicts (`burgrave-verifier` judges every window and signature again, each time), keeping [`Floors`]
//! where nobody can set them back, and the audit log ([`Event`]s go to a [`Listener`]).
//!
//! ```
//! use std::sync::Arc;
//! use burgrave_collateral::{Floors, OfferError, Source, Store};
//! use burgrave_types::{EvidencePart, Tee, Timestamp};
//! use burgrave_verifier::Roots;
//!
//! let store = Store::new(Roots::vendor(), Floors::default(), Arc::new(|event| println!("{event:?}")));
//! let now: Timestamp = "2026-03-01T00:00:00Z".parse()?;
//! assert_eq!(store.offer(b"junk", &Source::Operator, now).unwrap_err(), OfferError::Unreadable);
//!
//! let part = EvidencePart::new(Tee::Tdx, [("quote.bin", vec![0; 5000])]);
//! let supply = store.supply(&part, now);
//! // verify(&Input { part: &supply.part, endorsements: &supply.endorsements, .. }), then `store.judged(..)` and, once admitted, `store.admitted(..)`.
//! assert!(supply.endorsements.dcap.is_some() && supply.left_out.is_empty());
//! # Ok::<(), burgrave_types::ParseError>(())
//! ```
//!
//! Threat notes. Sources are not trusted, not even over HTTPS: what they give counts by its signature, its number and its
//! dates. A source can withhold; then alarms come before the end and refusals at it. It cannot set anything back below a
//! floor, not over a restart either, and cannot make the store forget a newer revocation list. What comes with evidence is
//! its bringer's choice: it serves that evidence, gives way to every other source and moves no floor, so that nobody can
//! lock others out with an early publication of the vendor's. Evidence can ask for things that do not exist: the list of
//! wants is bounded, and so are requests. Answers and files are bounded to 1 MiB before they are parsed. What has ended is
//! still handed to the verifier, which refuses: an ended revocation list is not the same as none.

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

mod amd;
mod crl_folder;
mod directory;
mod fetch;
mod floors;

mod intel;
mod kds;
mod nvidia;
mod offer;
mod pccs;
mod piece;
mod refresher;
mod schedule;
mod spool;
mod status;
mod store;
mod subject;
mod supply;
mod wants;

pub use amd::VekId;
pub use crl_folder::CrlFolder;
pub use directory::Directory;
pub use fetch::{BaseUrl, FetchError, Http, HttpError};
pub use floors::{Floor, Floors, Mark, Number};
pub use kds::Kds;
pub use nvidia::GpuList;
pub use offer::{OfferError, Offered};
pub use pccs::Pccs;
pub use refresher::{Refresher, Sources};
pub use schedule::Pace;
pub use status::{Event, Failure, Level, Status};
pub use store::{Listener, Store};
pub use subject::{Source, Subject};
pub use supply::Supply;
pub use wants::Want;

/// Bytes of a file or an answer that are looked at, at most: 1 MiB. Intel's largest answer has some 30 KiB.
pub const MOST: usize = 1024 * 1024;
