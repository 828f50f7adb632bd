//! From a challenge to an SVID.

use std::sync::{Arc, Mutex};

use burgrave_attester::{Attester, AttesterError, BindingData};
use burgrave_identity::DomainTrust;
use burgrave_protocol::message::MessageError;
use burgrave_protocol::wire::{self, response::Outcome};
use burgrave_seal::binding::part_nonce;
use burgrave_seal::{AttestationBinding, sha256};
use burgrave_types::{EnclaveName, Evidence, GenesisHash, InstanceId, Problem, ProblemCode, SpiffeId, Timestamp};

use crate::connect::Connected;
use crate::identity::{Given, Identity};
use crate::link::{Link, unexpected};
use crate::{lock, sealed};

/// Who attests, as what, over which link.
pub(crate) struct Attestation<'a> {
    pub(crate) genesis: GenesisHash,
    pub(crate) enclave: &'a EnclaveName,
    pub(crate) identity: &'a Identity,
    pub(crate) attester: &'a Arc<Mutex<Box<dyn Attester>>>,
    pub(crate) link: &'a Arc<Link>,
    pub(crate) exporter: &'a [u8; 32],
    pub(crate) trust: &'a DomainTrust,
    pub(crate) now: Timestamp,
}

/// What an attestation gave.
pub(crate) struct Admission {
    pub(crate) instance: InstanceId,
    pub(crate) spiffe_id: SpiffeId,
    pub(crate) until: Timestamp,
    pub(crate) interval: std::time::Duration,
    pub(crate) result: String,
    pub(crate) revision: u64,
}

impl Connected {
    /// The parts of this connection that an attestation is about.
    pub(crate) fn attestation<'a>(
        &'a self,
        genesis: GenesisHash,
        enclave: &'a EnclaveName,
        identity: &'a Identity,
        attester: &'a Arc<Mutex<Box<dyn Attester>>>,
        now: Timestamp,
    ) -> Attestation<'a> {
        let Self { link, exporter, trust, .. } = self;
        Attestation { genesis, enclave, identity, attester, link, exporter, trust, now }
    }
}

impl Attestation<'_> {
    /// Asks for a challenge.
    pub(crate) async fn challenge(&self) -> Result<wire::Challenge, Problem> {
        match self.link.request(wire::AskChallenge { enclave: self.enclave.to_string() }.into()).await? {
            Outcome::Challenge(challenge) => Ok(challenge),
            _ => Err(unexpected("AskChallenge")),
        }
    }

    /// Answers a challenge with evidence, and takes the SVID that it earns. Of the TEE's run-time log the next evidence then
    /// carries what is new; after any failure but a log that was cut, all of it.
    ///
    /// # Errors
    /// The node's refusal; `unavailable` where the TEE gives no evidence.
    pub(crate) async fn answer(&self, challenge: wire::Challenge) -> Result<Admission, Problem> {
        let admission = self.prove(challenge).await;
        // A log that was cut was taken as far as it went.
        let incomplete = |problem: &Problem| problem.cause.as_deref() == Some(crate::run::LOG_INCOMPLETE);
        let taken = admission.as_ref().err().is_none_or(incomplete);
        self.with_tee(move |tee| {
            if taken {
                tee.log_taken();
            } else {
                tee.log_forgotten();
            }
            Ok(())
        })
        .await?;
        admission
    }

    /// Says that this node may know nothing of the TEE's run-time log.
    pub(crate) async fn begin(&self) -> Result<(), Problem> {
        self.with_tee(|tee| {
            tee.log_forgotten();
            Ok(())
        })
        .await
    }

    async fn prove(&self, challenge: wire::Challenge) -> Result<Admission, Problem> {
        let sealing_key = self.identity.sealing.public();
        let nonce = challenge.nonce.clone();
        let parts = self.with_tee(move |tee| tee.parts(&|kind| part_nonce(&nonce, kind))).await?;
        let other_parts: Vec<[u8; 32]> = parts.iter().map(|part| sha256(&part.encode())).collect();
        let binding = AttestationBinding {
            genesis: self.genesis,
            enclave: self.enclave,
            nonce: &challenge.nonce,
            exporter: self.exporter,
            identity_spki: self.identity.key.spki(),
            sealing_key: &sealing_key,
            other_parts: &other_parts,
        };
        let data = BindingData { report_data: binding.report_data(), qualifying_data: binding.qualifying_data() };
        let lead = self.with_tee(move |tee| tee.evidence(&data)).await?.lead;
        let evidence = Evidence { lead, others: parts };
        let request = wire::Attest {
            enclave: self.enclave.to_string(),
            nonce: challenge.nonce,
            sealing_key: sealing_key.to_vec(),
            evidence: evidence.encode(),
            renews: self.identity.instance().map(|id| id.as_bytes().to_vec()).unwrap_or_default(),
        };
        match self.link.request(request.into()).await? {
            Outcome::Attested(attested) => self.admit(attested),
            Outcome::Activation(activation) => self.activate(activation).await,
            _ => Err(unexpected("Attest")),
        }
    }

    async fn activate(&self, activation: wire::Activation) -> Result<Admission, Problem> {
        let wire::Activation { id_object, encrypted_secret, ticket } = activation;
        let secret = self.with_tee(move |tee| tee.activate_credential(&id_object, &encrypted_secret)).await?;
        let request = wire::Activate { ticket, secret: secret.expose().clone() };
        match self.link.request(request.into()).await? {
            Outcome::Attested(attested) => self.admit(attested),
            _ => Err(unexpected("Activate")),
        }
    }

    fn admit(&self, attested: wire::Attested) -> Result<Admission, Problem> {
        let broken = |error: MessageError| Problem::new(ProblemCode::Protocol, error.to_string());
        let instance = InstanceId::from_bytes(wire::fixed("instance id", &attested.instance).map_err(broken)?);
        let instance_key = match attested.sealed_instance_key.as_slice() {
            [] => None,
            sealed => Some(sealed::open_instance_key(self.identity, instance, sealed)?),
        };
        let given = Given { instance, chain: attested.svid, instance_key };
        let expected = self.enclave.spiffe_id(self.trust.trust_domain());
        let verified = self.identity.admit(given, &expected, self.trust, self.now)?;
        Ok(Admission {
            instance,
            spiffe_id: verified.spiffe_id,
            until: wire::time(attested.until),
            interval: std::time::Duration::from_millis(attested.interval),
            result: attested.result,
            revision: attested.revision,
        })
    }

    /// Runs what may block on the TEE in a thread of its own.
    async fn with_tee<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Attester) -> Result<T, AttesterError> + Send + 'static,
    ) -> Result<T, Problem> {
        let attester = Arc::clone(self.attester);
        let done = tokio::task::spawn_blocking(move || work(lock(&attester).as_mut())).await;
        let failed = |detail: String| Problem::new(ProblemCode::Unavailable, detail);
        done.map_err(|_| failed("the attester stopped unexpectedly".to_owned()))?
            .map_err(|error| failed(format!("the TEE gave no evidence: {error}")))
    }
}
