//! Who is who in a trust domain: keys, the genesis record, certificates, and the TLS verifiers built on them.
//!
//! A domain is named by the hash of its [`Genesis`] record. That record, signed by the operators and by the first node,
//! names the issuing CA, and it travels inside the CA's certificate. So whoever holds a certificate chain and the 32
//! bytes of a [`GenesisHash`](burgrave_types::GenesisHash) can verify everything else offline: [`DomainTrust::from_chain`] first,
//! [`verify_chain`] then. [`tls`] turns this into rustls configurations, one verifier per kind of peer; [`jws`] into
//! signed statements, of which [`AttestationResult`] is the one that relying parties read.
//!
//! Left to others: the CA's private key lives in an HSM, so issuing is two steps ([`CertificateTemplate::to_be_signed`],
//! [`Tbs::assemble`]) with the signature made elsewhere between them. What a verified peer may do is policy's question.
//!
//! ```
//! use burgrave_identity::{IdentityKey, SignatureAlgorithm, verify_signature};
//!
//! let key = IdentityKey::generate()?;
//! let signature = key.sign_der(b"hello")?;
//! verify_signature(key.spki(), SignatureAlgorithm::EcdsaP256Sha256, b"hello", &signature)?;
//! assert!(verify_signature(key.spki(), SignatureAlgorithm::EcdsaP256Sha256, b"hallo", &signature).is_err());
//! # Ok::<(), burgrave_identity::IdentityError>(())
//! ```
//!
//! Threat notes: there is no fallback to public CAs or host names; a chain is one leaf under the pinned CA, its profile
//! exactly the one asked for, its class the domain's. Unknown critical extensions, second URIs and public keys in other
//! than their canonical form are refused. Time comes from a [`Clock`](burgrave_types::Clock), never from the TLS library.

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

mod certificate;
mod error;
mod genesis;
mod jwk;
pub mod jws;
mod key;
mod result;
pub mod tls;
mod trust;
mod verify;

#[cfg(test)]
mod testing;

pub use certificate::{CertificateTemplate, Profile, ProfileKind, Tbs, self_signed_identity, verify_self_signed};
pub use error::IdentityError;
pub use genesis::{Genesis, GenesisBody, OperatorSignature};
pub use jwk::{jwk, spki_of_jwk, thumbprint};
pub use key::{
    IdentityKey, SignatureAlgorithm, check_spki, signature_der_from_fixed, signature_fixed_from_der, spki_hash,
    verify_signature,
};
pub use result::{
    Anchor, AttestationResult, RefusedResult, ResultCause, Summary as ResultSummary, Wanted as WantedResult,
    fuzz_result_claims,
};
pub use rustls_pki_types::CertificateDer;
pub use trust::{DomainTrust, TrustChain};
pub use verify::{VerifiedIdentity, verify_chain};
