//! Whole domains for this crate's tests, with the keys that an HSM would hold.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use burgrave_types::{Clock, DomainClass, NodeId, Random, SpiffeId, Timestamp, TrustDomain};
use rustls_pki_types::CertificateDer;

use crate::{
    CertificateTemplate, DomainTrust, Genesis, GenesisBody, IdentityKey, OperatorSignature, Profile, Tbs, TrustChain,
};

pub(crate) const NOW: Timestamp = Timestamp::from_unix_secs(1_800_000_000);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) struct TestRandom;

impl Random for TestRandom {
    fn fill(&self, out: &mut [u8]) {
        SystemRandom::new().fill(out).unwrap();
    }
}

/// A clock that stands still.
pub(crate) struct Still(pub(crate) Timestamp);

impl Clock for Still {
    fn now(&self) -> Timestamp {
        self.0
    }
}

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(Still(NOW))
}

pub(crate) struct TestDomain {
    pub(crate) genesis: Genesis,
    pub(crate) ca: EcdsaKeyPair,
    pub(crate) ca_certificate: CertificateDer<'static>,
    pub(crate) node_identity: IdentityKey,
    pub(crate) operators: Vec<IdentityKey>,
}

impl TestDomain {
    pub(crate) fn new(class: DomainClass) -> Self {
        Self::with_operators(class, 1, 1)
    }

    /// One domain per class for tests that only read it.
    pub(crate) fn shared(class: DomainClass) -> &'static Self {
        static DEV: LazyLock<TestDomain> = LazyLock::new(|| TestDomain::new(DomainClass::Dev));
        static PRODUCTION: LazyLock<TestDomain> = LazyLock::new(|| TestDomain::new(DomainClass::Production));
        match class {
            DomainClass::Dev => &DEV,
            DomainClass::Production => &PRODUCTION,
        }
    }

    pub(crate) fn with_operators(class: DomainClass, operators: usize, quorum: u32) -> Self {
        let operators: Vec<_> = (0..operators).map(|_| IdentityKey::generate().unwrap()).collect();
        let node_identity = IdentityKey::generate().unwrap();
        let ca = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap();
        let body = GenesisBody {
            trust_domain: "example.org".parse().unwrap(),
            class,
            operators: operators.iter().map(|key| key.spki().to_vec()).collect(),
            quorum,
            node_id: NodeId::from_bytes([7; 16]),
            node_identity: node_identity.spki().to_vec(),
            issuing_ca: ca_spki(&ca),
            head_signing: IdentityKey::generate().unwrap().spki().to_vec(),
            created: NOW - HOUR,
        };
        let genesis = sign_genesis(body, &operators, &node_identity);
        let ca_certificate = ca_certificate(&TrustChain::new(genesis.clone()), &ca);
        Self { genesis, ca, ca_certificate, node_identity, operators }
    }

    pub(crate) fn trust(&self) -> DomainTrust {
        DomainTrust::from_chain(&self.ca_certificate, &self.genesis.hash()).unwrap()
    }

    pub(crate) fn name(&self) -> &TrustDomain {
        &self.genesis.body.trust_domain
    }

    pub(crate) fn node(&self) -> Profile {
        let id = SpiffeId::node(self.name(), self.genesis.body.node_id);
        let dns_names = vec!["localhost".to_owned()];
        Profile::Node { id, dns_names, ip_addresses: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()] }
    }

    pub(crate) fn node_signing(&self) -> Profile {
        Profile::NodeSigning { id: SpiffeId::node(self.name(), self.genesis.body.node_id) }
    }

    pub(crate) fn enclave(&self, name: &str) -> Profile {
        Profile::Enclave { id: format!("spiffe://{}/{name}", self.name()).parse().unwrap() }
    }

    pub(crate) fn admin(&self) -> Profile {
        Profile::Admin { id: SpiffeId::admin(self.name(), &"root".parse().unwrap()) }
    }

    pub(crate) fn template(&self, profile: Profile, key: &IdentityKey) -> CertificateTemplate {
        CertificateTemplate {
            profile,
            class: self.genesis.body.class,
            subject_spki: key.spki().to_vec(),
            issuer_spki: ca_spki(&self.ca),
            not_before: NOW - HOUR,
            not_after: NOW + HOUR,
        }
    }

    /// A leaf for `key` and the CA's certificate.
    pub(crate) fn chain(&self, profile: Profile, key: &IdentityKey) -> Vec<CertificateDer<'static>> {
        self.issue(&self.template(profile, key))
    }

    pub(crate) fn issue(&self, template: &CertificateTemplate) -> Vec<CertificateDer<'static>> {
        let tbs = template.to_be_signed(&TestRandom).unwrap();
        vec![sign(&tbs, &self.ca), self.ca_certificate.clone()]
    }
}

pub(crate) fn ca_spki(ca: &EcdsaKeyPair) -> Vec<u8> {
    let der: PublicKeyX509Der<'_> = ca.public_key().as_der().unwrap();
    der.as_ref().to_vec()
}

pub(crate) fn sign(tbs: &Tbs, ca: &EcdsaKeyPair) -> CertificateDer<'static> {
    tbs.assemble(ca.sign(&SystemRandom::new(), tbs.bytes()).unwrap().as_ref()).unwrap()
}

/// A CA certificate for the key `ca`, whatever the chain says of it.
pub(crate) fn ca_certificate(chain: &TrustChain, ca: &EcdsaKeyPair) -> CertificateDer<'static> {
    let spki = ca_spki(ca);
    let mut honest = chain.clone();
    honest.genesis.body.issuing_ca.clone_from(&spki);
    let template = CertificateTemplate {
        class: chain.genesis.body.class,
        profile: Profile::IssuingCa { trust_chain: honest.clone() },
        subject_spki: spki.clone(),
        issuer_spki: spki,
        not_before: NOW - HOUR,
        not_after: NOW + 24 * HOUR,
    };
    let tbs = template.to_be_signed(&TestRandom).unwrap();
    // The two chains differ in the CA key alone, so one can be put in the other's place.
    let (from, to) = (honest.encode(), chain.encode());
    sign(&tbs.replace(&from, &to), ca)
}

pub(crate) fn sign_genesis(body: GenesisBody, operators: &[IdentityKey], node: &IdentityKey) -> Genesis {
    let signed = body.encode();
    let sign = |(n, key): (usize, &IdentityKey)| OperatorSignature {
        operator: u32::try_from(n).unwrap(),
        signature: key.sign_der(&signed).unwrap(),
    };
    let operator_signatures = operators.iter().enumerate().take(body.quorum.max(1) as usize).map(sign).collect();
    let node_signature = node.sign_der(&signed).unwrap();
    Genesis { body, operator_signatures, node_signature }
}

/// The certificate with the lowest bit of byte `at` flipped.
pub(crate) fn flip(certificate: &CertificateDer<'_>, at: usize) -> CertificateDer<'static> {
    let mut bytes = certificate.to_vec();
    bytes[at] ^= 1;
    bytes.into()
}
