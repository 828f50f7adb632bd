//! How bytes are sealed: ciphertext envelopes, HPKE, key derivation, and the hash that binds evidence to a key and a link.
//!
//! Four formats, each written down with vectors, so that another implementation can be checked against ours:
//! [`envelope`] (XAES-256-GCM with a header that says which key), [`hpke`] (RFC 9180, base and PSK mode, to the key that
//! an enclave attested), [`kdf`] (SP 800-108, the same bytes that an HSM would MAC), [`binding`] (what stands in report
//! data). Everything is built from aws-lc-rs; nothing here does I/O, holds a clock or decides who may have a key: that is
//! the keyring's and the policy's part.
//!
//! ```
//! use burgrave_seal::{SystemRandom, envelope};
//! use burgrave_types::Secret;
//!
//! let key = Secret::new([7; 32]);
//! let header = envelope::EnvelopeHeader { key: "keyspace/payments/storage".into(), version: 1 };
//! let sealed = envelope::seal(&key, &header, b"row 17", b"secret", &SystemRandom)?;
//! let parsed = envelope::Envelope::parse(&sealed)?;
//! assert_eq!((parsed.key(), parsed.version()), ("keyspace/payments/storage", 1));
//! assert_eq!(envelope::open(&key, &parsed, b"row 17")?.expose(), b"secret");
//! # Ok::<(), envelope::EnvelopeError>(())
//! ```
//!
//! Threat notes: nonces are 192 random bits, safe at any volume; every byte of a header is authenticated; an opening
//! that fails says nothing about why. Derivation labels are a closed set and every field has its length before it, so no
//! two purposes share an input. What is opened comes back as a [`Secret`](burgrave_types::Secret).

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

pub mod binding;
pub mod envelope;
mod hash;
pub mod hpke;
pub mod kdf;
mod random;
mod xaes;

pub use binding::AttestationBinding;
pub use hash::{hmac_sha256, sha256, sha512, verify_hmac};
pub use kdf::{KeyLabel, derive, fixed_input};
pub use random::SystemRandom;
