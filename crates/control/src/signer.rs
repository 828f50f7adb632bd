//! The node's signing key: made here, an hour at most, under a certificate from the HSM's CA. It signs attestation results
//! and channel grants, so that neither costs an operation of the HSM.

use std::time::Duration;

use burgrave_identity::{CertificateDer, CertificateTemplate, IdentityKey, Profile};
use burgrave_types::{SpiffeId, Timestamp};

use crate::control::{Control, Parts, StartError};

/// How long a certificate lives.
const LIFETIME: Duration = Duration::from_secs(3600);

/// Certificates begin a little in the past, for clocks that differ.
pub(crate) const CLOCK_SKEW: Duration = Duration::from_secs(30);

/// A key and the chain that vouches for it.
pub(crate) struct Signer {
    pub(crate) key: IdentityKey,
    /// The key's certificate and the issuing CA's.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    expires: Timestamp,
}

impl Signer {
    /// A new key under a new certificate.
    pub(crate) async fn issue(parts: &Parts) -> Result<Self, StartError> {
        let key = IdentityKey::generate()?;
        let now = parts.clock.now();
        let expires = now + LIFETIME;
        let id = SpiffeId::node(parts.trust.trust_domain(), parts.node);
        let template = CertificateTemplate {
            profile: Profile::NodeSigning { id },
            class: parts.trust.class(),
            subject_spki: key.spki().to_vec(),
            issuer_spki: parts.trust.ca_spki().to_vec(),
            not_before: now - CLOCK_SKEW,
            not_after: expires,
        };
        let chain = issue(parts, &template).await?;
        Ok(Self { key, chain, expires })
    }

    /// Whether half of its life is over.
    fn is_due(&self, now: Timestamp) -> bool {
        now + LIFETIME / 2 >= self.expires
    }
}

/// A certificate by the domain's CA, with the CA's own behind it.
pub(crate) async fn issue(
    parts: &Parts,
    template: &CertificateTemplate,
) -> Result<Vec<CertificateDer<'static>>, StartError> {
    let tbs = template.to_be_signed(parts.random.as_ref())?;
    let signature = parts.keyring.sign_certificate(tbs.bytes()).await?;
    Ok(vec![tbs.assemble(&signature)?, parts.trust.root_certificate().clone()])
}

impl Control {
    /// Renews the signing key when half of its life is over.
    pub(crate) async fn renew_signer(&self) {
        if !self.signer().is_due(self.now()) {
            return;
        }
        match Signer::issue(self.parts()).await {
            Ok(signer) => self.set_signer(signer),
            Err(error) => tracing::error!(%error, "the node's signing certificate could not be renewed"),
        }
    }
}
