//! Attestation documents of Nitro Enclaves, under a PKI of their own.

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use burgrave_types::{EvidencePart, Tee, Timestamp};
use burgrave_verifier::{Cause, Endorsements, Expected, Input, Profile, Roots, Verdict, Verification, verify};
use rcgen::{CertificateParams, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, date_time_ymd};

use crate::cbor::{Value, encode, sign1};
use crate::pki::{Issuer, authority, named, p384, root, signing};

pub const NONCE: [u8; 32] = [7; 32];
pub const USER_DATA: [u8; 64] = [8; 64];

/// Everything that goes into a document.
#[derive(Clone)]
pub struct Maker {
    pub root: Arc<Issuer>,
    pub leaf_key: Arc<KeyPair>,
    pub leaf: CertificateParams,
    pub authorities: [CertificateParams; 2],
    pub cabundle: Option<Vec<Vec<u8>>>,
    pub certificate: Option<Vec<u8>>,
    pub pcrs: Vec<(Value, Value)>,
    pub fields: Vec<(Value, Value)>,
    pub protected: Vec<u8>,
    pub unprotected: Value,
    pub payload: Option<Vec<u8>>,
    pub roots: Option<Roots>,
    pub profile: Profile,
    pub expected: Expected<'static>,
    pub at: Timestamp,
}

pub fn pcr(index: u64, value: Vec<u8>) -> (Value, Value) {
    (Value::Number(index), Value::Bytes(value))
}

impl Maker {
    pub fn new() -> Self {
        let mut leaf = named("i-0123-enc4567.example");
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.not_after = date_time_ymd(2026, 1, 2);
        Self {
            root: root("root", 2),
            leaf_key: Arc::new(p384()),
            leaf,
            authorities: [authority("region", 1), authority("instance", 0)],
            cabundle: None,
            certificate: None,
            pcrs: vec![pcr(0, vec![1; 48]), pcr(3, vec![3; 48]), pcr(8, vec![2; 48])],
            fields: vec![
                (Value::Text("module_id"), Value::Text("i-0123-enc4567")),
                (Value::Text("timestamp"), Value::Number(1_767_225_600_000)),
                (Value::Text("digest"), Value::Text("SHA384")),
                (Value::Text("public_key"), Value::Null),
                (Value::Text("user_data"), Value::Bytes(USER_DATA.to_vec())),
                (Value::Text("nonce"), Value::Bytes(NONCE.to_vec())),
                (Value::Text("of a later version"), Value::Open(vec![(Value::Number(1), Value::Null)])),
            ],
            protected: vec![0xa1, 0x01, 0x38, 0x22],
            unprotected: Value::Map(Vec::new()),
            payload: None,
            roots: None,
            profile: Profile::default(),
            expected: Expected::Nonce(&NONCE),
            at: "2026-01-01T00:00:00Z".parse().unwrap(),
        }
    }

    pub fn field(&mut self, name: &'static str, value: Value) {
        self.fields.retain(|(key, _)| !matches!(key, Value::Text(text) if *text == name));
        self.fields.push((Value::Text(name), value));
    }

    pub fn chain(&self) -> (Vec<Vec<u8>>, Vec<u8>) {
        let [region, instance] = self.authorities.clone();
        let region = Issuer::signed_by(region, p384(), &*self.root).unwrap();
        let instance = Issuer::signed_by(instance, p384(), &region).unwrap();
        let leaf = self.leaf.signed_by(&*self.leaf_key, &instance).unwrap();
        let bundle = [&*self.root, &region, &instance].map(|issuer| issuer.der().to_vec());
        (bundle.to_vec(), leaf.der().to_vec())
    }

    pub fn document(&self) -> Vec<u8> {
        let (bundle, leaf) = self.chain();
        let bundle = self.cabundle.clone().unwrap_or(bundle);
        let mut fields = self.fields.clone();
        let has = |name: &str| self.fields.iter().any(|(key, _)| matches!(key, Value::Text(text) if *text == name));
        let own = [
            ("pcrs", Value::Map(self.pcrs.clone())),
            ("certificate", Value::Bytes(self.certificate.clone().unwrap_or(leaf))),
            ("cabundle", Value::Array(bundle.into_iter().map(Value::Bytes).collect())),
        ];
        fields.extend(own.into_iter().filter(|(name, _)| !has(name)).map(|(name, value)| (Value::Text(name), value)));
        let payload = self.payload.clone().unwrap_or_else(|| encode(&Value::Open(fields)));
        sign1(&self.protected, &self.unprotected, payload, |message| {
            if self.leaf_key.algorithm() != &PKCS_ECDSA_P384_SHA384 {
                return vec![1; 96];
            }
            signing(&self.leaf_key).sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
        })
    }

    pub fn part(&self) -> EvidencePart {
        EvidencePart::new(Tee::Nitro, [("document.cose", self.document())])
    }

    pub fn judge(&self, document: Vec<u8>) -> Verification {
        let part = EvidencePart::new(Tee::Nitro, [("document.cose", document)]);
        let own = Roots::only([self.root.der()]).unwrap();
        verify(&Input {
            part: &part,
            endorsements: &Endorsements::default(),
            roots: self.roots.as_ref().unwrap_or(&own),
            profile: &self.profile,
            expected: self.expected,
            at: self.at,
        })
    }

    pub fn verify(&self) -> Verification {
        self.judge(self.document())
    }

    #[track_caller]
    pub fn refused(&self, cause: Cause) -> Verification {
        let verification = self.verify();
        assert_eq!((verification.verdict, verification.cause), (Verdict::Reject, Some(cause)), "{verification:#?}");
        verification
    }
}
