//! The keys of this instance: made in memory, never written, never shown.

use std::sync::{Arc, Mutex, OnceLock};

use burgrave_identity::tls::CredentialSlot;
use burgrave_identity::{
    CertificateDer, DomainTrust, IdentityError, IdentityKey, ProfileKind, VerifiedIdentity, self_signed_identity,
    verify_chain,
};
use burgrave_seal::hpke::{HpkeError, SealingKey};
use burgrave_seal::sha256;
use burgrave_types::{Clock, InstanceId, Problem, ProblemCode, Random, Secret, SpiffeId, Timestamp};

use crate::lock;

/// The instance's keys and what it was given for them.
pub(crate) struct Identity {
    pub(crate) key: IdentityKey,
    pub(crate) sealing: SealingKey,
    self_signed: Arc<CredentialSlot>,
    /// SHA-256 of the first instance key. The key belongs to the identity key for as long as that lives, so another is none,
    /// whatever was forgotten in between.
    instance_key: OnceLock<Secret<[u8; 32]>>,
    admitted: Mutex<Option<Admitted>>,
}

#[derive(Clone)]
struct Admitted {
    instance: InstanceId,
    svid: Arc<CredentialSlot>,
    svid_ends: Timestamp,
    instance_key: Arc<Secret<[u8; 32]>>,
}

/// What an attestation gave.
pub(crate) struct Given {
    /// The instance.
    pub(crate) instance: InstanceId,
    /// Its SVID and the intermediates, DER, leaf first.
    pub(crate) chain: Vec<Vec<u8>>,
    /// Its instance key, with a first attestation.
    pub(crate) instance_key: Option<Secret<[u8; 32]>>,
}

/// What to do about a node that lies.
const NOT_TO_BE_TRUSTED: &str =
    "the node is not to be trusted: tell its operator; if the domain was made anew from a backup, restart the agent";

/// Why no keys could be made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The identity key or its certificate.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The sealing key.
    #[error(transparent)]
    Sealing(#[from] HpkeError),
}

impl Identity {
    pub(crate) fn generate(clock: &dyn Clock, random: &dyn Random) -> Result<Self, KeyError> {
        let key = IdentityKey::generate()?;
        let certificate = self_signed_identity(&key, clock.now(), random)?;
        let self_signed = CredentialSlot::new(vec![certificate], &key)?;
        let sealing = SealingKey::generate(random)?;
        Ok(Self { key, sealing, self_signed, instance_key: OnceLock::new(), admitted: Mutex::new(None) })
    }

    /// What to show on the next link: the SVID while it lives, else the self-signed certificate of the same key.
    pub(crate) fn link_credential(&self, now: Timestamp) -> Arc<CredentialSlot> {
        match &*lock(&self.admitted) {
            Some(admitted) if now < admitted.svid_ends => Arc::clone(&admitted.svid),
            _ => Arc::clone(&self.self_signed),
        }
    }

    /// What to show inside channels, once there is an SVID.
    pub(crate) fn svid(&self) -> Option<Arc<CredentialSlot>> {
        lock(&self.admitted).as_ref().map(|admitted| Arc::clone(&admitted.svid))
    }

    /// The instance that this is, once it was attested.
    pub(crate) fn instance(&self) -> Option<InstanceId> {
        lock(&self.admitted).as_ref().map(|admitted| admitted.instance)
    }

    /// The key under which things are sealed to this instance, once it has one.
    pub(crate) fn instance_key(&self) -> Option<Arc<Secret<[u8; 32]>>> {
        lock(&self.admitted).as_ref().map(|admitted| Arc::clone(&admitted.instance_key))
    }

    /// Takes what an attestation as `expected` gave. The instance key comes with a first one alone; a renewal keeps the one that
    /// is there.
    ///
    /// # Errors
    /// Where the SVID is not this domain's for this key and this enclave, no instance key is known, or another than before is
    /// given. What is held stays as it is.
    pub(crate) fn admit(
        &self,
        given: Given,
        expected: &SpiffeId,
        trust: &DomainTrust,
        now: Timestamp,
    ) -> Result<VerifiedIdentity, Problem> {
        let refused = |error: IdentityError| {
            Problem::new(ProblemCode::Protocol, format!("the node gave an SVID that cannot be used: {error}"))
        };
        let Given { instance, chain, instance_key } = given;
        let chain: Vec<CertificateDer<'static>> = chain.into_iter().map(CertificateDer::from).collect();
        let verified = verify_chain(&chain, trust, now, ProfileKind::Enclave).map_err(refused)?;
        if verified.spiffe_id != *expected {
            let detail = format!("the node gave an SVID for `{}`; this enclave is `{expected}`", verified.spiffe_id);
            return Err(Problem::new(ProblemCode::Protocol, detail).with_fix(NOT_TO_BE_TRUSTED));
        }
        let svid = CredentialSlot::new(chain, &self.key).map_err(refused)?;
        let mut admitted = lock(&self.admitted);
        let held = admitted.as_ref().filter(|held| held.instance == instance);
        let instance_key = match (instance_key, held) {
            (Some(key), _) => {
                let digest = Secret::new(sha256(key.expose()));
                if *self.instance_key.get_or_init(|| digest.clone()) != digest {
                    let detail = "the node gave another instance key than the one that this instance has";
                    return Err(Problem::new(ProblemCode::Protocol, detail).with_fix(NOT_TO_BE_TRUSTED));
                }
                Arc::new(key)
            }
            (None, Some(held)) => Arc::clone(&held.instance_key),
            (None, None) => {
                let detail = "the node renewed an attestation of an instance whose key this agent does not hold";
                return Err(Problem::new(ProblemCode::Protocol, detail).with_fix("restart the agent"));
            }
        };
        *admitted = Some(Admitted { instance, svid, svid_ends: verified.not_after, instance_key });
        Ok(verified)
    }

    /// Forgets what attestation gave: the instance is no more.
    pub(crate) fn forget(&self) {
        *lock(&self.admitted) = None;
    }
}
