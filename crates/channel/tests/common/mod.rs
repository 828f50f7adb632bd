//! A trust domain with a node and enclaves, for the tests of channels.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use burgrave_channel::{AcceptedIds, ChannelGrant, GrantSide, Setup, SignedGrant};
use burgrave_identity::tls::CredentialSlot;
use burgrave_identity::{
    CertificateDer, CertificateTemplate, DomainTrust, Genesis, GenesisBody, IdentityKey, OperatorSignature, Profile,
    TrustChain,
};
use burgrave_seal::SystemRandom;
use burgrave_types::{ChannelId, DomainClass, InstanceId, NodeId, ResultDigest, Revision, Secret, SpiffeId, Timestamp};

pub(crate) const NOW: Timestamp = Timestamp::from_unix_secs(1_800_000_000);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// A domain with its CA in memory, and the node that issues grants.
pub(crate) struct World {
    ca: EcdsaKeyPair,
    pub(crate) trust: DomainTrust,
    pub(crate) node: SpiffeId,
    pub(crate) node_key: IdentityKey,
    pub(crate) node_chain: Vec<CertificateDer<'static>>,
}

/// An attested instance.
pub(crate) struct Enclave {
    pub(crate) side: GrantSide,
    pub(crate) credential: Arc<CredentialSlot>,
    pub(crate) key: IdentityKey,
}

impl World {
    pub(crate) fn new() -> Self {
        let (operator, node_identity) = (IdentityKey::generate().unwrap(), IdentityKey::generate().unwrap());
        let ca = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap();
        let body = GenesisBody {
            trust_domain: "example.org".parse().unwrap(),
            class: DomainClass::Dev,
            operators: vec![operator.spki().to_vec()],
            quorum: 1,
            node_id: NodeId::from_bytes([7; 16]),
            node_identity: node_identity.spki().to_vec(),
            issuing_ca: spki(&ca),
            head_signing: IdentityKey::generate().unwrap().spki().to_vec(),
            created: NOW - MINUTE,
        };
        let signature = operator.sign_der(&body.encode()).unwrap();
        let genesis = Genesis {
            node_signature: node_identity.sign_der(&body.encode()).unwrap(),
            operator_signatures: vec![OperatorSignature { operator: 0, signature }],
            body,
        };
        let root = Profile::IssuingCa { trust_chain: TrustChain::new(genesis.clone()) };
        let trust = DomainTrust::from_chain(&issue(&ca, root, spki(&ca)), &genesis.hash()).unwrap();
        let node = SpiffeId::node(trust.trust_domain(), NodeId::from_bytes([7; 16]));
        let node_key = IdentityKey::generate().unwrap();
        let node_chain = vec![issue(&ca, Profile::NodeSigning { id: node.clone() }, node_key.spki().to_vec())];
        Self { ca, trust, node, node_key, node_chain }
    }

    pub(crate) fn enclave(&self, name: &str, instance: u8) -> Enclave {
        let key = IdentityKey::generate().unwrap();
        let id: SpiffeId = format!("spiffe://example.org/{name}").parse().unwrap();
        let leaf = issue(&self.ca, Profile::Enclave { id: id.clone() }, key.spki().to_vec());
        let side = GrantSide {
            spiffe_id: id,
            instance: InstanceId::from_bytes([instance; 16]),
            spki_hash: key.spki_hash(),
            result_digest: ResultDigest::from_bytes([instance; 32]),
        };
        Enclave { side, credential: CredentialSlot::new(vec![leaf], &key).unwrap(), key }
    }

    pub(crate) fn grant(&self, initiator: &Enclave, acceptor: &Enclave) -> ChannelGrant {
        ChannelGrant {
            channel: ChannelId::random(&SystemRandom),
            initiator: initiator.side.clone(),
            acceptor: acceptor.side.clone(),
            policy_revision: Revision(3),
            epoch: 1,
            not_before: NOW - MINUTE,
            not_after: NOW + MINUTE,
            byte_limit: 1 << 30,
            issued_by: self.node.clone(),
        }
    }

    pub(crate) fn sign(&self, grant: ChannelGrant) -> SignedGrant {
        SignedGrant::sign(grant, &self.node_key, &self.node_chain).unwrap()
    }

    pub(crate) fn setup(&self, grant: &SignedGrant, enclave: &Enclave) -> Setup {
        Setup {
            grant: SignedGrant::verify(grant.bytes(), &self.trust, NOW).unwrap(),
            secret: Secret::new([9; 32]),
            trust: self.trust.clone(),
            credential: enclave.credential.clone(),
        }
    }

    pub(crate) fn certificate(&self, profile: Profile, key: &IdentityKey) -> CertificateDer<'static> {
        issue(&self.ca, profile, key.spki().to_vec())
    }
}

pub(crate) fn fresh() -> AcceptedIds {
    AcceptedIds::new(64)
}

fn spki(key: &EcdsaKeyPair) -> Vec<u8> {
    let der: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    der.as_ref().to_vec()
}

fn issue(ca: &EcdsaKeyPair, profile: Profile, subject_spki: Vec<u8>) -> CertificateDer<'static> {
    let template = CertificateTemplate {
        profile,
        class: DomainClass::Dev,
        subject_spki,
        issuer_spki: spki(ca),
        not_before: NOW - MINUTE,
        not_after: NOW + 60 * MINUTE,
    };
    let tbs = template.to_be_signed(&SystemRandom).unwrap();
    tbs.assemble(ca.sign(&aws_lc_rs::rand::SystemRandom::new(), tbs.bytes()).unwrap().as_ref()).unwrap()
}
