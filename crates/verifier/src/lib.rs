//! Evidence to claims to appraisal to attestation result: what an attested instance is, and why one is believed.
//!
//! [`verify`] takes the bytes of one part of evidence, what endorses them, what is trusted and the time, and says whether
//! the evidence is authentic, whether the profile takes it, what it claims, how long that may be relied on, and how each
//! check came out. [`appraise()`] then finds the release whose reference value the claims match, or says what differed in the
//! nearest one ([`Appraisal::explained`]: in which event, and which other release is so), and [`attestation_result`] writes the answer down as an EAR. There is a
//! module per TEE.
//!
//! Left to others: fetching evidence (`burgrave-attester`) and collateral, the challenge and its freshness, which
//! platforms and releases a registration lists (`burgrave-control`), signing of results (`burgrave-identity`). Nothing
//! here does I/O or reads a clock: the same bytes at the same time give the same answer, on a node or offline.
//!
//! ```
//! use burgrave_types::{EvidencePart, Tee};
//! use burgrave_verifier::{Endorsements, Expected, Input, Profile, Roots, Verdict, verify};
//!
//! let part = EvidencePart::new(Tee::Snp, [("report.bin", vec![0; 1184]), ("vcek.der", vec![])]);
//! let verification = verify(&Input {
//!     part: &part,
//!     endorsements: &Endorsements::default(),
//!     roots: &Roots::vendor(),
//!     profile: &Profile::default(),
//!     expected: Expected::None,
//!     at: "2026-03-01T00:00:00Z".parse()?,
//! });
//! assert_eq!(verification.verdict, Verdict::Reject);
//! assert_eq!(verification.cause.unwrap().as_str(), "format.version");
//! # Ok::<(), burgrave_types::ParseError>(())
//! ```
//!
//! Threat notes: evidence is an attacker's input. Roots come from the caller alone; a root inside the evidence is never
//! one. Signatures are checked over the bytes that came, never over a re-encoding; bytes that no signature covers must
//! hold the one value that the format gives them. Cheap checks come first, and nothing is accepted before the signature.
//! Anything unknown (version, algorithm, critical extension) is refused. Every number that an input states is bounded by the
//! input's own length before it is used, so that parsing takes time and memory in proportion to the input.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may fail loudly")
)]

mod appraise;
pub mod azure;
mod cause;
mod cbor;
pub mod cca;
mod check;
mod cose;
pub mod dcap;
pub mod eventlog;
pub mod files;
pub mod ima;
mod lists;
pub mod nitro;
pub mod nvidia;
mod path;
mod policy;
mod profile;
mod raw;
mod reader;
mod result;
mod run_time;
mod simulated;
pub mod snp;
mod text;
pub mod tpm;
mod trust;
mod verification;
mod x509;

pub use appraise::{Appraisal, Difference, EventDifference, Known, ReferenceLog, appraise, reference_digest};
pub use cause::Cause;
pub use check::Check;
pub use files::detect;
pub use profile::{BootLogProfile, DcapProfile, Profile, SnpProfile, TdxProfile, TpmProfile, TpmTrust};
pub use raw::Raw;
pub use result::{EAT_PROFILE, ResultInputs, attestation_result};
pub use run_time::{FileDigest, FileKey, RunTimeProfile};
pub use text::Text;
pub use trust::{Endorsement, Endorsements, Roots};
pub use verification::{Expected, Input, Inspected, Verdict, Verification, fuzz_verify, inspect, verify, verify_whole};
pub use x509::{Certificate, Crl};
