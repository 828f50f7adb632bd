//! An Azure machine made in the test: hardware, paravisor and vTPM, each bound to the next, under an authority of the test's own.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::sync::LazyLock;

use aws_lc_rs::digest::{self, SHA256, digest};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA384, RsaEncoding,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use burgrave_types::{EvidencePart, Tee, Timestamp};
use burgrave_verifier::{Cause, Endorsements, Expected, Input, Profile, Roots, Verdict, Verification, verify};
use der::Decode;
use x509_cert::Certificate;

use crate::common::packaged;

pub(crate) const NONCE: &[u8] = b"challenge";

/// An AMD-like authority of the test's own: one RSA key for root and intermediate, whose certificates are those of the
/// packaged test authority with other keys.
pub(crate) struct Authority {
    pub(crate) ark: Vec<u8>,
    pub(crate) ask: Vec<u8>,
    pub(crate) vek: Vec<u8>,
    pub(crate) key: EcdsaKeyPair,
    pub(crate) ak: RsaKeyPair,
}

pub(crate) static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
    let rsa = RsaKeyPair::generate(KeySize::Rsa4096).unwrap();
    let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let certificate = |name: &str, public: &[u8]| {
        let mut der = base(name);
        let parsed = Certificate::from_der(&der).unwrap();
        let old = parsed.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes().to_vec();
        let at = der.windows(old.len()).position(|window| window == old).unwrap();
        der[at..at + public.len()].copy_from_slice(public);
        let signed = 8 + usize::from(u16::from_be_bytes([der[6], der[7]]));
        let signature = rsa_sign(&rsa, &RSA_PSS_SHA384, &der[4..signed]);
        let end = der.len() - signature.len();
        der[end..].copy_from_slice(&signature);
        der
    };
    let public = rsa.public_key().as_ref().to_vec();
    Authority {
        ark: certificate("test-ark.der", &public),
        ask: certificate("ask.der", &public),
        vek: certificate("vek.der", key.public_key().as_ref()),
        key,
        ak: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
    }
});

pub(crate) fn base(name: &str) -> Vec<u8> {
    std::fs::read(packaged().0.join("snp/synthetic/base").join(name)).unwrap()
}

pub(crate) fn package(name: &str) -> Vec<u8> {
    std::fs::read(packaged().0.join("az-vtpm/az-cvm-vtpm").join(name)).unwrap()
}

pub(crate) fn rsa_sign(key: &RsaKeyPair, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
    signature
}

/// Everything that goes into the evidence.
pub(crate) struct Machine {
    pub(crate) runtime: String,
    /// What the report data carries instead of the runtime data's hash.
    pub(crate) report_data: Option<[u8; 64]>,
    pub(crate) hash: (u32, &'static digest::Algorithm),
    pub(crate) kind: u32,
    pub(crate) version: u32,
    pub(crate) report: Vec<u8>,
    pub(crate) pcrs: Vec<[u8; 32]>,
    pub(crate) quoted: Option<Vec<[u8; 32]>>,
    pub(crate) signer: Option<RsaKeyPair>,
    /// Alters the items when all is made.
    pub(crate) finish: fn(&mut EvidencePart),
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self {
            runtime: runtime(&[jwk("HCLAkPub", &AUTHORITY.ak)]),
            report_data: None,
            hash: (1, &SHA256),
            kind: 2,
            version: 1,
            report: base("report.bin"),
            pcrs: vec![[1; 32], [2; 32], [3; 32]],
            quoted: None,
            signer: None,
            finish: |_| {},
        }
    }

    pub(crate) fn hcl(&self) -> Vec<u8> {
        let mut report = self.report.clone();
        let digest = digest(self.hash.1, self.runtime.as_bytes());
        let mut report_data = [0; 64];
        report_data[..digest.as_ref().len()].copy_from_slice(digest.as_ref());
        if self.kind == 2 {
            report[0x50..0x90].copy_from_slice(&self.report_data.unwrap_or(report_data));
            let signature = AUTHORITY.key.sign(&SystemRandom::new(), &report[..0x2a0]).unwrap();
            for (at, half) in [(0x2a0, &signature.as_ref()[..48]), (0x2e8, &signature.as_ref()[48..])] {
                report[at..at + 48].copy_from_slice(&half.iter().rev().copied().collect::<Vec<_>>());
            }
        }
        let length = u32::try_from(self.runtime.len()).unwrap();
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
        [
            b"HCLA".to_vec(),
            words(&[self.version, 1236 + length, 2, 0, 0, 0, 0]),
            report,
            words(&[20 + length, 1, self.kind, self.hash.0, length]),
            self.runtime.clone().into_bytes(),
            vec![0; 99],
        ]
        .concat()
    }

    pub(crate) fn quote(&self) -> Vec<u8> {
        let sized = |bytes: &[u8]| [u16::try_from(bytes.len()).unwrap().to_be_bytes().as_slice(), bytes].concat();
        let quoted = self.quoted.as_ref().unwrap_or(&self.pcrs).concat();
        let selection = [0, 0, 0, 1, 0, 0x0b, 3, 0b111, 0, 0];
        [
            vec![0xff, 0x54, 0x43, 0x47, 0x80, 0x18],
            sized(&[0; 34]),
            sized(NONCE),
            vec![0; 17],
            vec![7; 8],
            selection.to_vec(),
            sized(digest(&SHA256, &quoted).as_ref()),
        ]
        .concat()
    }

    pub(crate) fn part(&self) -> EvidencePart {
        let quote = self.quote();
        let signature = rsa_sign(self.signer.as_ref().unwrap_or(&AUTHORITY.ak), &RSA_PKCS1_SHA256, &quote);
        let pcrs: serde_json::Map<_, _> =
            self.pcrs.iter().enumerate().map(|(index, value)| (index.to_string(), hex::encode(value).into())).collect();
        let mut part = EvidencePart::new(
            Tee::AzVtpm,
            [
                ("hcl-report.bin", self.hcl()),
                ("quote.msg", quote),
                ("quote.sig", signature),
                ("pcrs-sha256.json", serde_json::to_vec(&pcrs).unwrap()),
                ("vcek.der", AUTHORITY.vek.clone()),
                ("ask.der", AUTHORITY.ask.clone()),
            ],
        );
        (self.finish)(&mut part);
        part
    }

    pub(crate) fn verify(&self) -> Verification {
        judge(&self.part(), Expected::Nonce(NONCE))
    }

    #[track_caller]
    pub(crate) fn refused(&self, cause: Cause) -> Verification {
        let verification = self.verify();
        assert_eq!((verification.verdict, verification.cause), (Verdict::Reject, Some(cause)), "{verification:#?}");
        verification
    }
}

pub(crate) fn jwk(kid: &str, key: &RsaKeyPair) -> serde_json::Value {
    let spki = key.public_key().as_der().unwrap();
    let spki = spki::SubjectPublicKeyInfoRef::try_from(spki.as_ref()).unwrap();
    let public = spki.subject_public_key.raw_bytes();
    // An RSAPublicKey of 2048 bits: header, modulus with a leading zero, exponent.
    serde_json::json!({
        "kid": kid, "kty": "RSA", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode(&public[9..265]),
    })
}

pub(crate) fn runtime(keys: &[serde_json::Value]) -> String {
    serde_json::json!({ "keys": keys, "vm-configuration": { "secure-boot": true }, "user-data": "00" }).to_string()
}

pub(crate) fn judge(part: &EvidencePart, expected: Expected<'_>) -> Verification {
    judge_under(&AUTHORITY.ark, part, expected)
}

pub(crate) fn judge_by(profile: &Profile, part: &EvidencePart) -> Verification {
    verify(&Input {
        part,
        endorsements: &Endorsements::default(),
        roots: &Roots::only([&AUTHORITY.ark]).unwrap(),
        profile,
        expected: Expected::Nonce(NONCE),
        at: "2026-03-01T00:00:00Z".parse().unwrap(),
    })
}

pub(crate) fn judge_under(root: &[u8], part: &EvidencePart, expected: Expected<'_>) -> Verification {
    let at: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
    verify(&Input {
        part,
        endorsements: &Endorsements::default(),
        roots: &Roots::only([root]).unwrap(),
        profile: &Profile::default(),
        expected,
        at,
    })
}
