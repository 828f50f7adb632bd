//! An agent: the keys that an instance makes, and how it attests over them.

use burgrave_attester::{Attester, BindingData, SimulatedAttester};
use burgrave_control::{AttestRequest, AttestStep, Attested, Challenge, LinkBinding};
use burgrave_identity::{CertificateDer, IdentityKey, ProfileKind, VerifiedIdentity, verify_chain};
use burgrave_seal::binding::part_nonce;
use burgrave_seal::hpke::{Psk, Sealed, SealedInfo, SealedKind, SealingKey};
use burgrave_seal::{AttestationBinding, SystemRandom, sha256};
use burgrave_types::{Clock, EnclaveName, Evidence, EvidencePart, GenesisHash, InstanceId, Problem, Secret};

use crate::node::Node;

pub(crate) struct Agent {
    pub(crate) enclave: EnclaveName,
    pub(crate) identity: IdentityKey,
    pub(crate) sealing: SealingKey,
    pub(crate) exporter: [u8; 32],
    pub(crate) attester: Box<dyn Attester>,
    pub(crate) instance: Option<InstanceId>,
    pub(crate) instance_key: Option<Secret<[u8; 32]>>,
    pub(crate) svid: Vec<CertificateDer<'static>>,
}

impl Agent {
    /// An agent whose code is named like its enclave.
    pub(crate) fn new(enclave: &str) -> Self {
        Self::with(enclave, SimulatedAttester::of_code(enclave).platform_id(crate::node::hex(&[9; 8])))
    }

    pub(crate) fn with(enclave: &str, attester: impl Attester + 'static) -> Self {
        Self {
            enclave: enclave.parse().unwrap(),
            identity: IdentityKey::generate().unwrap(),
            sealing: SealingKey::generate(&SystemRandom).unwrap(),
            exporter: [3; 32],
            attester: Box::new(attester),
            instance: None,
            instance_key: None,
            svid: Vec::new(),
        }
    }

    /// One that is attested and linked.
    pub(crate) async fn attested(node: &Node, enclave: &str) -> Self {
        let mut agent = Self::new(enclave);
        agent.attest(node).await.unwrap();
        node.link(agent.id());
        agent
    }

    /// One that is attested and linked, on the platform `platform` (others are on 9).
    pub(crate) async fn attested_on(node: &Node, enclave: &str, platform: u8) -> Self {
        let attester = SimulatedAttester::of_code(enclave).platform_id(crate::node::hex(&[platform; 8]));
        let mut agent = Self::with(enclave, attester);
        agent.attest(node).await.unwrap();
        node.link(agent.id());
        agent
    }

    pub(crate) fn id(&self) -> InstanceId {
        self.instance.unwrap()
    }

    pub(crate) fn link(&self) -> LinkBinding {
        LinkBinding { exporter: self.exporter, identity_spki: self.identity.spki().to_vec() }
    }

    /// Asks for a challenge alone.
    pub(crate) fn try_challenge(&self, node: &Node) -> Result<Challenge, Problem> {
        node.control.challenge(&self.enclave, &self.link())
    }

    /// A request that answers a fresh challenge.
    pub(crate) fn request(&mut self, node: &Node) -> AttestRequest {
        let challenge = self.try_challenge(node).unwrap();
        self.answer(node.trust.genesis_hash(), &challenge.nonce)
    }

    /// A request over this nonce, bound to what the agent believes its domain and link to be.
    pub(crate) fn answer(&mut self, genesis: GenesisHash, nonce: &[u8]) -> AttestRequest {
        self.answer_with(genesis, nonce, |_| {})
    }

    /// As [`Agent::answer`], with other parts beside the lead than the machine has.
    pub(crate) fn answer_with(
        &mut self,
        genesis: GenesisHash,
        nonce: &[u8],
        change: impl FnOnce(&mut Vec<EvidencePart>),
    ) -> AttestRequest {
        let (sealing_key, link) = (self.sealing.public(), self.link());
        let mut parts = self.attester.parts(&|tee| part_nonce(nonce, tee)).unwrap();
        change(&mut parts);
        let other_parts: Vec<[u8; 32]> = parts.iter().map(|part| sha256(&part.encode())).collect();
        let binding = AttestationBinding {
            genesis,
            enclave: &self.enclave,
            nonce,
            exporter: &link.exporter,
            identity_spki: &link.identity_spki,
            sealing_key: &sealing_key,
            other_parts: &other_parts,
        };
        let binding = BindingData { report_data: binding.report_data(), qualifying_data: binding.qualifying_data() };
        let evidence = Evidence { lead: self.attester.evidence(&binding).unwrap().lead, others: parts };
        let (enclave, renews) = (self.enclave.clone(), self.instance);
        AttestRequest { enclave, nonce: nonce.to_vec(), sealing_key, evidence, link, renews }
    }

    /// Attests, first or again, proving the TPM's key where that is asked for.
    pub(crate) async fn attest(&mut self, node: &Node) -> Result<Attested, Problem> {
        let request = self.request(node);
        let attested = match node.control.attest(request).await? {
            AttestStep::Attested(attested) => *attested,
            AttestStep::Activate(step) => {
                let secret = self.attester.activate_credential(&step.id_object, &step.encrypted_secret).unwrap();
                node.control.activate(&step.ticket, secret.expose(), &self.link()).await?
            }
        };
        self.instance = Some(attested.instance);
        self.svid = attested.svid_chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
        if let Some(sealed) = &attested.sealed_instance_key {
            let own = self.identity.spki_hash();
            let id = attested.instance;
            let info = SealedInfo {
                kind: SealedKind::InstanceKey,
                id: id.as_bytes(),
                sender: own,
                receiver: own,
                digest: &[],
                version: 1,
            };
            self.instance_key = Some(self.open(None, &info, sealed));
        }
        Ok(attested)
    }

    /// Who the agent's SVID says it is.
    pub(crate) fn identity(&self, node: &Node) -> VerifiedIdentity {
        verify_chain(&self.svid, &node.trust, node.clock.now(), ProfileKind::Enclave).unwrap()
    }

    /// Asks for the key itself.
    pub(crate) async fn derive(&self, node: &Node, resource: &str) -> Result<(u32, Secret<[u8; 32]>), Problem> {
        let request_id = [5; 16];
        let released = node.control.derive(self.id(), &resource.parse().unwrap(), request_id).await?;
        let own = self.identity.spki_hash();
        let info = SealedInfo {
            kind: SealedKind::DerivedKey,
            id: &request_id,
            sender: own,
            receiver: own,
            digest: &[],
            version: released.version,
        };
        let id = self.id();
        let psk = Psk { psk: self.instance_key.as_ref().unwrap(), id: id.as_bytes() };
        Ok((released.version, self.open(Some(psk), &info, &released.sealed)))
    }

    pub(crate) async fn encrypt(&self, node: &Node, resource: &str, plaintext: &[u8]) -> Result<Vec<u8>, Problem> {
        node.control.encrypt(self.id(), &resource.parse().unwrap(), b"row 1", plaintext).await
    }

    pub(crate) async fn decrypt(&self, node: &Node, ciphertext: &[u8]) -> Result<Vec<u8>, Problem> {
        Ok(node.control.decrypt(self.id(), ciphertext, b"row 1").await?.expose().clone())
    }

    fn open(&self, psk: Option<Psk<'_>>, info: &SealedInfo<'_>, sealed: &[u8]) -> Secret<[u8; 32]> {
        let opened = self.sealing.open(psk, &info.encode(), &[], &Sealed::from_bytes(sealed).unwrap()).unwrap();
        Secret::new(opened.expose().as_slice().try_into().unwrap())
    }
}
