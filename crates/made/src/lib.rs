//! Machines of each TEE made in tests, under roots of their own: evidence whose every field a test may set before it is signed,
//! and the authorities, lists and collateral that go with it.
//!
//! For tests alone: a `[dev-dependencies]` of whoever judges evidence or makes it. What is made here is as honest or as
//! dishonest as the test wants; genuine evidence stands in the verifier's `testdata/`.
//!
//! ```
//! use burgrave_made::nvidia::Gpu;
//! use burgrave_verifier::{Cause, Verdict};
//!
//! let mut gpu = Gpu::new();
//! assert_eq!(gpu.verify().verdict, Verdict::Accept);
//! gpu.response[0] = 0x12;
//! assert_eq!(gpu.verify().cause, Some(Cause::FormatVersion));
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::new_without_default,
    missing_docs,
    reason = "it is a part of tests: it may fail loudly, and the fields' names are the formats' own"
)]

pub mod amd;
pub mod azure;
pub mod cbor;
pub mod intel;
pub mod nitro;
pub mod nvidia;
pub mod pki;
pub mod tpm;

/// A file of the packaged evidence (`testdata/` of the verifier).
pub fn packaged(name: &str) -> Vec<u8> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../verifier/testdata");
    std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}
