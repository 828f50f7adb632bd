//! The node's signing key: made here, under a certificate from the HSM's CA. It signs attestation results and channel
//! grants, so that neither costs an operation of the HSM.
//!
//! A key signs for an hour at most and is then gone. Its certificate lives on until the last result that it signed has
//! ended (SP 800-57 part 1, section 5.3: the recipient's usage period is the longer one), and its public half stays
//! published as long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use burgrave_identity::{CertificateDer, CertificateTemplate, IdentityError, IdentityKey, Profile, jwk, jws};
use burgrave_types::api::KeySet;
use burgrave_types::claims::HexBytes;
use burgrave_types::{Problem, SpiffeId, Timestamp};
use serde_json::Value;

use crate::attestation::lifetime;
use crate::commit::Change;
use crate::control::{Control, Parts, StartError};
use crate::records::{SigningKey, SigningKeysRecord};
use crate::view::View;

/// How long a key signs.
const SIGNS_FOR: Duration = Duration::from_secs(3600);

/// Certificates begin a little in the past, for clocks that differ.
pub(crate) const CLOCK_SKEW: Duration = Duration::from_secs(30);

/// A key and the chain that vouches for it.
pub(crate) struct Signer {
    pub(crate) key: IdentityKey,
    /// The key's certificate and the issuing CA's.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// When the key signs no more.
    retires: Timestamp,
    /// When the certificate ends: no result outlives it.
    pub(crate) until: Timestamp,
    /// Whether its public half is on record.
    durable: AtomicBool,
}

impl Signer {
    /// A new key under a new certificate; results that it signs may live for `longest`.
    pub(crate) async fn issue(parts: &Parts, now: Timestamp, longest: Duration) -> Result<Self, StartError> {
        let key = IdentityKey::generate()?;
        let retires = now + SIGNS_FOR;
        let until = retires + longest;
        let id = SpiffeId::node(parts.trust.trust_domain(), parts.node);
        let template = CertificateTemplate {
            profile: Profile::NodeSigning { id },
            class: parts.trust.class(),
            subject_spki: key.spki().to_vec(),
            issuer_spki: parts.trust.ca_spki().to_vec(),
            not_before: now - CLOCK_SKEW,
            not_after: until,
        };
        let chain = issue(parts, &template).await?;
        Ok(Self { key, chain, retires, until, durable: AtomicBool::new(false) })
    }

    /// Signs an attestation result. Its public half is on record: [`Control::durable_signer`] gives none else.
    pub(crate) fn sign_result(&self, payload: &Value) -> Result<String, IdentityError> {
        jws::sign(payload, jws::TYP_ATTESTATION_RESULT, &self.key, &self.chain)
    }

    /// Whether half of its time is over, or results shall live longer than its certificate would let them.
    fn is_due(&self, now: Timestamp, longest: Duration) -> bool {
        now + SIGNS_FOR / 2 >= self.retires || self.until < self.retires + longest
    }

    fn public(&self) -> SigningKey {
        SigningKey {
            spki: HexBytes(self.key.spki().to_vec()),
            chain: self.chain.iter().map(|certificate| HexBytes(certificate.to_vec())).collect(),
            until: self.until,
        }
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

/// How long a result of any registered enclave may live.
pub(crate) fn longest_result(view: &View) -> Duration {
    let intervals = view.enclaves.values().map(|entry| entry.record.reattest_every_secs);
    lifetime(intervals.max().unwrap_or_default())
}

impl Control {
    /// The keys that attestation results of this domain verify with: those of every node, as long as a result that they
    /// signed may be current. For everybody.
    ///
    /// # Errors
    /// [`burgrave_types::ProblemCode::Unavailable`] where the node does not serve.
    pub fn key_set(&self) -> Result<KeySet, Problem> {
        let (view, now, current) = (self.view()?, self.now(), self.signer().public());
        let recorded = view.signing_keys.values().flat_map(|entry| &entry.record.keys);
        let mut keys: Vec<&SigningKey> = recorded.filter(|key| key.until > now && key.spki != current.spki).collect();
        keys.push(&current);
        let keys = keys.into_iter().filter_map(|key| {
            let chain: Vec<CertificateDer<'_>> = key.chain.iter().map(|der| der.as_bytes().into()).collect();
            jwk(key.spki.as_bytes(), &chain).ok()
        });
        Ok(KeySet { keys: keys.collect() })
    }

    /// The key for a result. Its public half is on record before it signs the first one, so that the result goes on to verify
    /// whenever this process ends; of a key that signs none, nothing is written.
    ///
    /// # Errors
    /// Those of a change of the ledger.
    pub(crate) async fn durable_signer(&self) -> Result<Arc<Signer>, Problem> {
        let signer = self.signer();
        if !signer.durable.load(Ordering::Acquire) {
            self.record_signing_key(&signer).await?;
            signer.durable.store(true, Ordering::Release);
        }
        Ok(signer)
    }

    /// Renews the signing key when its time comes.
    pub(crate) async fn renew_signer(&self) {
        let longest = longest_result(&self.last_view());
        if !self.signer().is_due(self.now(), longest) {
            return;
        }
        match Signer::issue(self.parts(), self.now(), longest).await {
            Ok(signer) => self.set_signer(signer),
            Err(error) => tracing::error!(%error, "the node's signing certificate could not be renewed"),
        }
    }

    async fn record_signing_key(&self, signer: &Signer) -> Result<(), Problem> {
        let (node, key, now) = (self.node(), signer.public(), self.now());
        let changer = format!("node {node}");
        let written = self.change(&changer, |view| {
            let before = view.signing_keys.get(&node);
            // Of several attestations at once, the first has put it there.
            if before.is_some_and(|entry| entry.record.keys.contains(&key)) {
                return Ok((Change::new(), ()));
            }
            let old = before.iter().flat_map(|entry| &entry.record.keys).filter(|old| old.until > now && **old != key);
            let keys = old.cloned().chain([key.clone()]).collect();
            let record = SigningKeysRecord { schema: 1, node, keys };
            let change = match before {
                Some(entry) => Change::new().update(&record, entry.revision),
                None => Change::new().create(&record),
            };
            Ok((change, ()))
        });
        written.await.map(drop)
    }
}
