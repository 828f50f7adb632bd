//! Certificates: profiles, issue in two steps, and strict reading.
//!
//! All extensions of ours are non-critical, so that any TLS stack takes the certificates; our verifiers demand them.
//! Their arcs come from the UUID 7b06f65b-291c-468c-b6fb-70a6599f4f9d, split into small numbers below
//! 1.2.840.113556.1.8000.2554 (open to everybody): common parsers refuse the 128-bit arc that 2.25 would need.

mod issue;
mod parse;
mod self_signed;
#[cfg(test)]
mod tests;

use std::fmt;

use burgrave_types::{SpiffeId, Timestamp};
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280::{ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH};

use crate::IdentityError;

pub use issue::{CertificateTemplate, Profile, Tbs};
pub(crate) use parse::ParsedCertificate;
pub use self_signed::{self_signed_identity, verify_self_signed};

/// Names of our extensions and of our own key purpose.
pub(crate) mod oids {
    use const_oid::ObjectIdentifier;

    /// The domain class, a UTF8String: `dev` or `production`.
    pub(crate) const DOMAIN_CLASS: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("1.2.840.113556.1.8000.2554.31494.63067.10524.18060.46843.7382617.10440605.1");
    /// The trust chain, an OCTET STRING; in the issuing CA's certificate.
    pub(crate) const TRUST_CHAIN: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("1.2.840.113556.1.8000.2554.31494.63067.10524.18060.46843.7382617.10440605.2");
    /// The profile, a UTF8String: one of the words of `ProfileKind`.
    pub(crate) const PROFILE: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("1.2.840.113556.1.8000.2554.31494.63067.10524.18060.46843.7382617.10440605.3");
    /// Key purpose: signs attestation results and grants.
    pub(crate) const KP_NODE_SIGNING: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("1.2.840.113556.1.8000.2554.31494.63067.10524.18060.46843.7382617.10440605.4.1");
}

/// What a certificate is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ProfileKind {
    /// The domain's issuing CA: self-signed, P-384, carries the trust chain.
    IssuingCa,
    /// A node's TLS certificate.
    Node,
    /// A node's key for attestation results and grants; no TLS.
    NodeSigning,
    /// An attested instance of an enclave: an X.509-SVID.
    Enclave,
    /// An administrator's client certificate.
    Admin,
    /// The self-signed certificate of an agent that has not attested yet.
    Unattested,
}

impl ProfileKind {
    /// All profiles.
    pub const ALL: [Self; 6] =
        [Self::IssuingCa, Self::Node, Self::NodeSigning, Self::Enclave, Self::Admin, Self::Unattested];

    /// The word that stands in certificates.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IssuingCa => "issuing-ca",
            Self::Node => "node",
            Self::NodeSigning => "node-signing",
            Self::Enclave => "enclave",
            Self::Admin => "admin",
            Self::Unattested => "unattested",
        }
    }

    /// The extended key usage: exactly these purposes (RFC 5280 section 4.2.1.12).
    pub(crate) const fn purposes(self) -> &'static [ObjectIdentifier] {
        match self {
            Self::IssuingCa => &[],
            Self::Node | Self::Enclave => &[ID_KP_SERVER_AUTH, ID_KP_CLIENT_AUTH],
            Self::NodeSigning => &[oids::KP_NODE_SIGNING],
            Self::Admin | Self::Unattested => &[ID_KP_CLIENT_AUTH],
        }
    }

    /// Whether `id` is a name that this profile may bear.
    pub(crate) fn may_bear(self, id: &SpiffeId) -> bool {
        match self {
            Self::IssuingCa | Self::Unattested => false,
            Self::Node | Self::NodeSigning => id.node_id().is_some(),
            Self::Enclave => id.enclave().is_some(),
            Self::Admin => id.administrator().is_some(),
        }
    }
}

impl fmt::Display for ProfileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Refuses the use of a certificate outside its validity, both ends included (RFC 5280 section 4.1.2.5).
pub(crate) fn check_validity(
    what: &'static str,
    not_before: Timestamp,
    not_after: Timestamp,
    now: Timestamp,
) -> Result<(), IdentityError> {
    if now < not_before || now.unix_secs() > not_after.unix_secs() {
        return Err(IdentityError::Validity { what, not_before, not_after, now });
    }
    Ok(())
}
