//! Arm CCA tokens made in the test, under keys of its own: both profiles and collections, and each rule broken alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod firmware;
mod shape;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use burgrave_made::cbor::{Value, encode, sign1};
use burgrave_types::claims::TcbStatus;
use burgrave_types::{EvidencePart, Tee};
use burgrave_verifier::{Cause, Endorsements, Expected, Input, Profile, Roots, Verdict, Verification, detect, verify};

const CHALLENGE: [u8; 64] = [5; 64];
const ES256: &[u8] = &[0xa1, 0x01, 0x26];
const ES384: &[u8] = &[0xa1, 0x01, 0x38, 0x22];
const ES512: &[u8] = &[0xa1, 0x01, 0x38, 0x23];

/// Everything that goes into a collection.
struct Maker {
    platform_key: EcdsaKeyPair,
    curve: &'static str,
    realm_key: EcdsaKeyPair,
    platform: Vec<(Value, Value)>,
    realm: Vec<(Value, Value)>,
    /// What the platform token's challenge is instead of the hash of the realm's key.
    challenge: Option<Vec<u8>>,
    platform_protected: Vec<u8>,
    realm_protected: Vec<u8>,
    tag: u16,
    anchors: Option<String>,
    profile: Profile,
    expected: Expected<'static>,
    further: Vec<(Value, Value)>,
}

fn number(number: u64) -> Value {
    Value::Number(number)
}

fn bytes(byte: u8, length: usize) -> Value {
    Value::Bytes(vec![byte; length])
}

fn component(name: &'static str, byte: u8) -> Value {
    let fields = [
        (number(1), Value::Text(name)),
        (number(2), bytes(byte, 32)),
        (number(4), Value::Text("1.0")),
        (number(5), bytes(9, 32)),
        (number(6), Value::Text("sha-256")),
    ];
    Value::Map(fields.into_iter().filter(|(_, value)| !matches!(value, Value::Text(""))).collect())
}

impl Maker {
    fn new() -> Self {
        let realm_key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        let instance = [vec![1], vec![2; 32]].concat();
        Self {
            platform_key: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
            curve: "P-384",
            platform: vec![
                (number(265), Value::Text("tag:arm.com,2023:cca_platform#1.0.0")),
                (number(2396), bytes(7, 32)),
                (number(256), Value::Bytes(instance)),
                (number(2401), bytes(0xcf, 4)),
                (number(2395), number(0x3001)),
                (number(2402), Value::Text("sha-256")),
                (number(2399), Value::Array(vec![component("RMM", 3), component("BL", 4), component("BL", 5)])),
                (number(2400), Value::Text("https://verifier.example")),
            ],
            realm: vec![
                (number(265), Value::Text("tag:arm.com,2023:realm#1.0.0")),
                (number(10), Value::Bytes(CHALLENGE.to_vec())),
                (number(44235), bytes(6, 64)),
                (number(44236), Value::Text("sha-256")),
                (number(44237), Value::Bytes(realm_key.public_key().as_ref().to_vec())),
                (number(44238), bytes(1, 32)),
                (number(44239), Value::Array(vec![bytes(2, 32), bytes(0, 32), bytes(0, 32), bytes(0, 32)])),
                (number(44240), Value::Text("sha-256")),
            ],
            realm_key,
            challenge: None,
            platform_protected: ES384.to_vec(),
            realm_protected: ES384.to_vec(),
            tag: 399,
            anchors: None,
            profile: Profile::default(),
            expected: Expected::ReportData(&CHALLENGE),
            further: Vec::new(),
        }
    }

    fn claim(&mut self, label: u64, value: Value) {
        let claims = if label >= 44000 || label == 10 { &mut self.realm } else { &mut self.platform };
        claims.retain(|(key, _)| !matches!(key, Value::Number(number) if *number == label));
        claims.push((number(label), value));
    }

    fn without(&mut self, label: u64) {
        for claims in [&mut self.realm, &mut self.platform] {
            claims.retain(|(key, _)| !matches!(key, Value::Number(number) if *number == label));
        }
    }

    fn token(&self) -> Vec<u8> {
        let sign =
            |key: &EcdsaKeyPair, message: &[u8]| key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec();
        let claimed_key = self.realm.iter().find_map(|(key, value)| match (key, value) {
            (Value::Number(44237), Value::Bytes(key)) => Some(key.clone()),
            _ => None,
        });
        let hash = digest(&SHA256, &claimed_key.unwrap_or_default()).as_ref().to_vec();
        let mut platform = self.platform.clone();
        platform.push((number(10), Value::Bytes(self.challenge.clone().unwrap_or(hash))));
        let header = Value::Map(vec![(number(4), bytes(1, 3))]);
        let platform = sign1(&self.platform_protected, &header, encode(&Value::Map(platform)), |message| {
            sign(&self.platform_key, message)
        });
        let realm = encode(&Value::Open(self.realm.clone()));
        let realm =
            sign1(&self.realm_protected, &Value::Map(Vec::new()), realm, |message| sign(&self.realm_key, message));
        let element = |token: Vec<u8>| {
            let token = Value::Bytes([vec![0xd2], token].concat());
            if self.tag == 907 { Value::Array(vec![number(263), token]) } else { token }
        };
        let mut elements = vec![(number(44234), element(platform)), (number(44241), element(realm))];
        elements.extend(self.further.clone());
        [[0xd9].as_slice(), &self.tag.to_be_bytes(), &encode(&Value::Map(elements))].concat()
    }

    fn anchors(&self) -> String {
        let point = self.platform_key.public_key().as_ref();
        let (x, y) = point[1..].split_at(point.len() / 2);
        serde_json::json!([
            anchor("00".repeat(32), "01".to_owned() + &"ff".repeat(32), "P-384", &[0; 48], &[0; 48]),
            anchor("07".repeat(32), "01".to_owned() + &"02".repeat(32), self.curve, x, y),
        ])
        .to_string()
    }

    fn judge(&self, token: Vec<u8>) -> Verification {
        let part = EvidencePart::new(Tee::Cca, [("token.cbor", token)]);
        let anchors = self.anchors.clone().unwrap_or_else(|| self.anchors());
        verify(&Input {
            part: &part,
            endorsements: &Endorsements::default(),
            roots: &Roots::only([anchors]).unwrap(),
            profile: &self.profile,
            expected: self.expected,
            at: "2026-03-01T00:00:00Z".parse().unwrap(),
        })
    }

    fn verify(&self) -> Verification {
        self.judge(self.token())
    }

    #[track_caller]
    fn accepted(&self) -> Verification {
        let verification = self.verify();
        assert_eq!((verification.verdict, verification.authentic), (Verdict::Accept, true), "{verification:#?}");
        verification
    }

    #[track_caller]
    fn refused(&self, cause: Cause) -> Verification {
        let verification = self.verify();
        assert_eq!((verification.verdict, verification.cause), (Verdict::Reject, Some(cause)), "{verification:#?}");
        verification
    }
}

fn anchor(implementation: String, instance: String, curve: &str, x: &[u8], y: &[u8]) -> serde_json::Value {
    let key = serde_json::json!({
        "kty": "EC", "crv": curve, "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
    });
    serde_json::json!({ "implementation-id": implementation, "instance-id": instance, "pkey": key })
}

#[test]
fn a_realm_on_a_secured_platform_is_accepted_with_the_claims_of_both() {
    let maker = Maker::new();
    let verification = maker.accepted();
    assert_eq!(verification.valid_until, None);
    let claims = verification.claims.unwrap();
    assert_eq!((claims.debug, claims.tcb.status), (Some(false), TcbStatus::VendorManaged));
    assert_eq!(claims.platform_id.unwrap().0, [vec![1], vec![2; 32]].concat());
    assert_eq!(claims.launch.measurement.unwrap().0, [1; 32]);
    assert_eq!((claims.config.unwrap().0, claims.binding.unwrap().0), (vec![6; 64], CHALLENGE.to_vec()));
    let names: Vec<_> = claims.registers.keys().map(String::as_str).collect();
    let components = ["platform:#1", "platform:#2", "platform:RMM"];
    let signers = ["signer:#1", "signer:#2", "signer:RMM"];
    assert_eq!(names, [&components[..], &["rem0", "rem1", "rem2", "rem3"], &signers].concat());
    assert_eq!(claims.registers["rem0"].0, [2; 32]);
    let items = [("anything".to_owned(), maker.token())].into();
    assert_eq!(detect(&items), Some(Tee::Cca));
}

#[test]
fn a_platform_may_have_several_anchors() {
    let maker = Maker::new();
    let own: serde_json::Value = serde_json::from_str(&maker.anchors()).unwrap();
    let old = anchor("07".repeat(32), "01".to_owned() + &"02".repeat(32), "P-384", &[1; 48], &[1; 48]);
    let rolled: serde_json::Value = serde_json::from_str(&Maker::new().anchors()).unwrap();
    let mut several = Maker { anchors: Some(serde_json::json!([old, rolled[1], own[1]]).to_string()), ..maker };
    several.accepted();
    several.anchors = Some(serde_json::json!([old, rolled[1]]).to_string());
    several.refused(Cause::SignatureInvalid);
}

#[test]
fn a_realm_token_that_the_platform_does_not_vouch_for_is_refused() {
    let mut maker = Maker::new();
    maker.challenge = Some(vec![0; 32]);
    assert!(!maker.refused(Cause::BindingPart).authentic);
    // A realm key of the attacker's beside a genuine platform token.
    let (genuine, mut other) = (Maker::new(), Maker::new());
    other.challenge = Some(digest(&SHA256, genuine.realm_key.public_key().as_ref()).as_ref().to_vec());
    other.refused(Cause::BindingPart);
    // The genuine key claimed, and another one signing.
    let mut forged = Maker::new();
    forged.realm_key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    forged.refused(Cause::SignatureInvalid);
}

#[test]
fn only_the_anchor_of_the_very_platform_counts() {
    let mut maker = Maker::new();
    let own = maker.anchors();
    for other in [own.replace(&"07".repeat(32), &"08".repeat(32)), own.replace(&"02".repeat(32), &"03".repeat(32))] {
        maker.anchors = Some(other);
        maker.refused(Cause::ChainUntrusted);
    }
    maker.anchors = Some(Maker::new().anchors());
    maker.refused(Cause::SignatureInvalid);
    // No point of the curve.
    let broken = anchor("07".repeat(32), "01".to_owned() + &"02".repeat(32), "P-384", &[1; 48], &[1; 48]);
    maker.anchors = Some(serde_json::json!([broken]).to_string());
    maker.refused(Cause::ChainUntrusted);
    // Anchors among the evidence are nobody's word.
    let part = EvidencePart::new(Tee::Cca, [("token.cbor", maker.token()), ("trust-anchor.json", own.into_bytes())]);
    let verification = verify(&Input {
        part: &part,
        endorsements: &Endorsements::default(),
        roots: &Roots::vendor(),
        profile: &Profile::default(),
        expected: Expected::None,
        at: "2026-03-01T00:00:00Z".parse().unwrap(),
    });
    assert_eq!(verification.cause, Some(Cause::ChainUntrusted));
}

#[test]
fn what_is_no_list_of_anchors_becomes_no_root() {
    let good = anchor("07".repeat(32), "01".to_owned(), "P-256", &[1; 32], &[1; 32]);
    let lists = [
        serde_json::json!([]),
        serde_json::json!({}),
        serde_json::json!({ "platform": [{ "implementation-id": "07", "sw-components": [] }] }),
        serde_json::json!({ "platform": [] }),
        serde_json::json!([good, { "implementation-id": "00" }]),
        serde_json::json!([anchor("0".to_owned(), "01".to_owned(), "P-256", &[1; 32], &[1; 32])]),
        serde_json::json!([anchor("07".to_owned(), "01".to_owned(), "P-256", &[1; 31], &[1; 32])]),
        serde_json::json!([anchor("07".to_owned(), "01".to_owned(), "secp256k1", &[1; 32], &[1; 32])]),
    ];
    for list in lists {
        assert!(Roots::only([list.to_string()]).is_err(), "{list}");
    }
}

#[test]
fn a_platform_out_of_service_is_refused_and_one_in_debug_by_the_profile() {
    for state in [0x0000, 0x1000, 0x20ff, 0x2fff, 0x3100, 0x6000, 0xffff] {
        let mut maker = Maker::new();
        maker.claim(2395, number(state));
        assert!(!maker.refused(Cause::CertificateKind).authentic, "{state:#x}");
        maker.profile.allow_debug = true;
        maker.refused(Cause::CertificateKind);
    }
    for state in [0x4000, 0x50ff] {
        let mut maker = Maker::new();
        maker.claim(2395, number(state));
        assert!(maker.refused(Cause::Debug).authentic, "{state:#x}");
        maker.profile.allow_debug = true;
        assert_eq!(maker.accepted().claims.unwrap().debug, Some(true));
    }
}

#[test]
fn the_challenge_is_exactly_what_was_asked_for() {
    const PADDED: [u8; 64] = {
        let mut padded = [0; 64];
        padded[0] = 5;
        padded
    };
    let mut maker = Maker::new();
    maker.expected = Expected::Binding { report_data: &CHALLENGE, qualifying_data: &[0; 32] };
    maker.accepted();
    maker.expected = Expected::ReportData(&[5; 63]);
    assert!(maker.refused(Cause::BindingReportData).authentic);
    maker.expected = Expected::Nonce(&[5; 65]);
    maker.refused(Cause::BindingNonce);
    maker.claim(10, Value::Bytes(PADDED.to_vec()));
    maker.expected = Expected::Nonce(&[5]);
    maker.accepted();
}
