//! An Azure machine made in the test: hardware, paravisor and vTPM, each bound to the next.

use std::sync::LazyLock;

use aws_lc_rs::digest::{self, SHA256, digest};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use burgrave_types::{EvidencePart, Tee, Timestamp};
use burgrave_verifier::{Cause, Endorsements, Expected, Input, Profile, Roots, Verdict, Verification, verify};

use crate::amd::{AUTHORITY, base, rsa_sign, sign_report};

pub const NONCE: &[u8] = b"challenge";

/// The vTPM's attestation key.
pub static AK: LazyLock<RsaKeyPair> = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());

/// Everything that goes into the evidence.
pub struct Machine {
    pub runtime: String,
    /// What the report data carries instead of the runtime data's hash.
    pub report_data: Option<[u8; 64]>,
    pub hash: (u32, &'static digest::Algorithm),
    pub kind: u32,
    pub version: u32,
    pub report: Vec<u8>,
    /// What the quote is over beside the PCRs.
    pub nonce: Vec<u8>,
    pub pcrs: Vec<[u8; 32]>,
    pub quoted: Option<Vec<[u8; 32]>>,
    pub signer: Option<RsaKeyPair>,
    /// Alters the items when all is made.
    pub finish: fn(&mut EvidencePart),
}

impl Machine {
    pub fn new() -> Self {
        Self {
            runtime: runtime(&[jwk("HCLAkPub", &AK)]),
            report_data: None,
            hash: (1, &SHA256),
            kind: 2,
            version: 1,
            report: base("report.bin"),
            nonce: NONCE.to_vec(),
            pcrs: vec![[1; 32], [2; 32], [3; 32]],
            quoted: None,
            signer: None,
            finish: |_| {},
        }
    }

    pub fn hcl(&self) -> Vec<u8> {
        let mut report = self.report.clone();
        let digest = digest(self.hash.1, self.runtime.as_bytes());
        let mut report_data = [0; 64];
        report_data[..digest.as_ref().len()].copy_from_slice(digest.as_ref());
        if self.kind == 2 {
            report[0x50..0x90].copy_from_slice(&self.report_data.unwrap_or(report_data));
            sign_report(&mut report);
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

    pub fn quote(&self) -> Vec<u8> {
        let sized = |bytes: &[u8]| [u16::try_from(bytes.len()).unwrap().to_be_bytes().as_slice(), bytes].concat();
        let quoted = self.quoted.as_ref().unwrap_or(&self.pcrs).concat();
        let selection = [0, 0, 0, 1, 0, 0x0b, 3, 0b111, 0, 0];
        [
            vec![0xff, 0x54, 0x43, 0x47, 0x80, 0x18],
            sized(&[0; 34]),
            sized(&self.nonce),
            vec![0; 17],
            vec![7; 8],
            selection.to_vec(),
            sized(digest(&SHA256, &quoted).as_ref()),
        ]
        .concat()
    }

    pub fn part(&self) -> EvidencePart {
        let quote = self.quote();
        let signature = rsa_sign(self.signer.as_ref().unwrap_or(&AK), &RSA_PKCS1_SHA256, &quote);
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

    pub fn verify(&self) -> Verification {
        judge(&self.part(), Expected::Nonce(NONCE))
    }

    #[track_caller]
    pub fn refused(&self, cause: Cause) -> Verification {
        let verification = self.verify();
        assert_eq!((verification.verdict, verification.cause), (Verdict::Reject, Some(cause)), "{verification:#?}");
        verification
    }
}

pub fn jwk(kid: &str, key: &RsaKeyPair) -> serde_json::Value {
    // An RSAPublicKey of 2048 bits: header, modulus with a leading zero, exponent.
    let public = key.public_key().as_ref();
    serde_json::json!({
        "kid": kid, "kty": "RSA", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode(&public[9..265]),
    })
}

pub fn runtime(keys: &[serde_json::Value]) -> String {
    serde_json::json!({ "keys": keys, "vm-configuration": { "secure-boot": true }, "user-data": "00" }).to_string()
}

pub fn judge(part: &EvidencePart, expected: Expected<'_>) -> Verification {
    judge_under(&AUTHORITY.ark, part, expected)
}

pub fn judge_by(profile: &Profile, part: &EvidencePart) -> Verification {
    verify(&Input {
        part,
        endorsements: &Endorsements::default(),
        roots: &Roots::only([&AUTHORITY.ark]).unwrap(),
        profile,
        expected: Expected::Nonce(NONCE),
        at: "2026-03-01T00:00:00Z".parse().unwrap(),
    })
}

pub fn judge_under(root: &[u8], part: &EvidencePart, expected: Expected<'_>) -> Verification {
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
