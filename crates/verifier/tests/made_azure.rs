//! An Azure machine made in the test: hardware, paravisor and vTPM, each bound to the next, and every bond broken alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod common;
#[allow(dead_code, reason = "a part of it is used here")]
#[path = "made_dcap/platform.rs"]
mod platform;

use std::sync::LazyLock;

use aws_lc_rs::digest::{self, SHA256, SHA384, digest};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA384, RsaEncoding,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use burgrave_types::claims::Proved;
use burgrave_types::{EvidencePart, Tee, Timestamp};
use burgrave_verifier::{
    Cause, Endorsements, Expected, Input, Profile, Roots, Verdict, Verification, detect, inspect, verify,
};
use common::packaged;
use der::Decode;
use x509_cert::Certificate;

const NONCE: &[u8] = b"challenge";

/// An AMD-like authority of the test's own: one RSA key for root and intermediate, whose certificates are those of the
/// packaged test authority with other keys.
struct Authority {
    ark: Vec<u8>,
    ask: Vec<u8>,
    vek: Vec<u8>,
    key: EcdsaKeyPair,
    ak: RsaKeyPair,
}

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
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

fn base(name: &str) -> Vec<u8> {
    std::fs::read(packaged().0.join("snp/synthetic/base").join(name)).unwrap()
}

fn package(name: &str) -> Vec<u8> {
    std::fs::read(packaged().0.join("az-vtpm/az-cvm-vtpm").join(name)).unwrap()
}

fn rsa_sign(key: &RsaKeyPair, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
    signature
}

/// Everything that goes into the evidence.
struct Machine {
    runtime: String,
    /// What the report data carries instead of the runtime data's hash.
    report_data: Option<[u8; 64]>,
    hash: (u32, &'static digest::Algorithm),
    kind: u32,
    version: u32,
    report: Vec<u8>,
    pcrs: Vec<[u8; 32]>,
    quoted: Option<Vec<[u8; 32]>>,
    signer: Option<RsaKeyPair>,
    /// Alters the items when all is made.
    finish: fn(&mut EvidencePart),
}

impl Machine {
    fn new() -> Self {
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

    fn hcl(&self) -> Vec<u8> {
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

    fn quote(&self) -> Vec<u8> {
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

    fn part(&self) -> EvidencePart {
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

    fn verify(&self) -> Verification {
        judge(&self.part(), Expected::Nonce(NONCE))
    }

    #[track_caller]
    fn refused(&self, cause: Cause) -> Verification {
        let verification = self.verify();
        assert_eq!((verification.verdict, verification.cause), (Verdict::Reject, Some(cause)), "{verification:#?}");
        verification
    }
}

fn jwk(kid: &str, key: &RsaKeyPair) -> serde_json::Value {
    let spki = key.public_key().as_der().unwrap();
    let spki = spki::SubjectPublicKeyInfoRef::try_from(spki.as_ref()).unwrap();
    let public = spki.subject_public_key.raw_bytes();
    // An RSAPublicKey of 2048 bits: header, modulus with a leading zero, exponent.
    serde_json::json!({
        "kid": kid, "kty": "RSA", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode(&public[9..265]),
    })
}

fn runtime(keys: &[serde_json::Value]) -> String {
    serde_json::json!({ "keys": keys, "vm-configuration": { "secure-boot": true }, "user-data": "00" }).to_string()
}

fn judge(part: &EvidencePart, expected: Expected<'_>) -> Verification {
    judge_under(&AUTHORITY.ark, part, expected)
}

fn judge_by(profile: &Profile, part: &EvidencePart) -> Verification {
    verify(&Input {
        part,
        endorsements: &Endorsements::default(),
        roots: &Roots::only([&AUTHORITY.ark]).unwrap(),
        profile,
        expected: Expected::Nonce(NONCE),
        at: "2026-03-01T00:00:00Z".parse().unwrap(),
    })
}

fn judge_under(root: &[u8], part: &EvidencePart, expected: Expected<'_>) -> Verification {
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

#[test]
fn a_machine_whose_parts_are_bound_is_accepted_with_the_claims_of_all() {
    let part = Machine::new().part();
    assert_eq!(detect(&part.items), Some(Tee::AzVtpm));
    let verification = judge(&part, Expected::Nonce(NONCE));
    assert_eq!((verification.verdict, verification.authentic), (Verdict::Accept, true), "{verification:#?}");
    assert!(verification.valid_until.is_some());
    let claims = verification.claims.unwrap();
    assert_eq!((claims.tee, claims.debug, claims.privilege), (Tee::AzVtpm, Some(false), Some(0)));
    assert_eq!(claims.launch.measurement.unwrap().0, base("report.bin")[0x90..0xc0]);
    assert_eq!(claims.registers.keys().collect::<Vec<_>>(), ["pcr0", "pcr1", "pcr2"]);
    assert_eq!(claims.binding.unwrap().0, NONCE);
    assert!(claims.proved.contains(&Proved::Boot) && claims.proved.contains(&Proved::Launch));
    assert_eq!(verification.raw["hcl"]["configuration"]["secure-boot"], true);
    assert_eq!(inspect(&part).unwrap().raw, verification.raw);
}

#[test]
fn a_longer_hash_and_a_wrapped_signature_are_taken() {
    let mut machine = Machine::new();
    machine.hash = (2, &SHA384);
    machine.finish = |part| {
        let signature = part.items.get_mut("quote.sig").unwrap();
        *signature = [[0, 0x14, 0, 0x0b, 1, 0].as_slice(), signature].concat();
    };
    assert_eq!(machine.verify().verdict, Verdict::Accept);
}

#[test]
fn the_quote_carries_the_binding() {
    let part = Machine::new().part();
    let mut qualifying_data = [0; 32];
    let binding = judge(&part, Expected::Binding { report_data: &[0; 64], qualifying_data: &qualifying_data });
    assert_eq!((binding.cause, binding.authentic), (Some(Cause::BindingNonce), true));
    qualifying_data[..9].copy_from_slice(NONCE);
    let padded = judge(&part, Expected::Binding { report_data: &[0; 64], qualifying_data: &qualifying_data });
    assert_eq!(padded.cause, Some(Cause::BindingNonce), "exactly these bytes, no padding");
    assert_eq!(judge(&part, Expected::ReportData(&[1; 64])).cause, Some(Cause::BindingReportData));
}

#[test]
fn each_bond_that_is_broken_is_named() {
    let mut machine = Machine::new();
    let mut report_data = [0; 64];
    report_data[..32].copy_from_slice(digest(&SHA256, machine.runtime.as_bytes()).as_ref());
    report_data[63] = 1;
    machine.report_data = Some(report_data);
    machine.refused(Cause::BindingPart);
    machine.report_data = Some([0; 64]);
    assert!(!machine.refused(Cause::BindingPart).authentic);

    // The runtime data of another machine, whose vTPM signed the quote.
    let other = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let mut machine = Machine::new();
    machine.report_data = Some({
        let mut own = [0; 64];
        own[..32].copy_from_slice(digest(&SHA256, machine.runtime.as_bytes()).as_ref());
        own
    });
    machine.runtime = runtime(&[jwk("HCLAkPub", &other)]);
    machine.signer = Some(other);
    machine.refused(Cause::BindingPart);

    // A quote of another vTPM, beside whole evidence.
    let mut machine = Machine::new();
    machine.signer = Some(RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
    assert!(!machine.refused(Cause::SignatureInvalid).authentic);

    let mut machine = Machine::new();
    machine.quoted = Some(vec![[9; 32]; 3]);
    machine.refused(Cause::PcrDigest);
    machine.quoted = None;
    machine.pcrs.truncate(2);
    machine.refused(Cause::PcrSelection);
}

#[test]
fn the_hardware_report_is_held_to_its_own_rules() {
    let mut machine = Machine::new();
    machine.report[0x0a] |= 0x08;
    assert!(machine.refused(Cause::Debug).authentic);
    let mut machine = Machine::new();
    machine.report[0x30] = 2;
    machine.refused(Cause::Privilege);
    // A guest's own report is no paravisor's, whatever a profile takes.
    let profile = Profile { max_vmpl: 3, ..Profile::default() };
    assert_eq!(judge_by(&profile, &machine.part()).cause, Some(Cause::Privilege));
    let mut machine = Machine::new();
    machine.finish = |part| drop(part.items.remove("vcek.der"));
    machine.refused(Cause::ChainUntrusted);
    let mut machine = Machine::new();
    machine.finish = |part| part.items.get_mut("hcl-report.bin").unwrap()[32 + 0x90] ^= 1;
    machine.refused(Cause::SignatureInvalid);
    let mut machine = Machine::new();
    machine.finish = |part| drop(part.items.insert("report.bin".to_owned(), vec![0; 1184]));
    assert_eq!(machine.verify().verdict, Verdict::Accept, "the report is the one that the HCL report holds");
}

#[test]
fn an_hcl_report_of_another_form_is_refused() {
    type Change = fn(&mut Machine);
    let changes: [(Cause, Change); 10] = [
        (Cause::FormatVersion, |machine| machine.version = 3),
        (Cause::FormatAlgorithm, |machine| machine.kind = 1),
        (Cause::FormatAlgorithm, |machine| machine.hash.0 = 0),
        (Cause::FormatMalformed, |machine| machine.runtime = "{".to_owned()),
        (Cause::FormatMalformed, |machine| machine.runtime = runtime(&[])),
        (Cause::FormatMalformed, |machine| machine.runtime = runtime(&[jwk("HCLEkPub", &AUTHORITY.ak)])),
        (Cause::FormatMalformed, |machine| {
            machine.runtime = runtime(&[jwk("HCLAkPub", &AUTHORITY.ak), jwk("HCLAkPub", &AUTHORITY.ak)]);
        }),
        (Cause::FormatMalformed, |machine| {
            machine.finish = |part| part.items.get_mut("hcl-report.bin").unwrap()[0] = b'h';
        }),
        (Cause::FormatMalformed, |machine| {
            machine.finish = |part| part.items.get_mut("hcl-report.bin").unwrap()[16] = 1;
        }),
        (Cause::FormatLength, |machine| machine.runtime = format!("{}{}", machine.runtime, " ".repeat(70_000))),
    ];
    for (which, (cause, change)) in changes.into_iter().enumerate() {
        let mut machine = Machine::new();
        change(&mut machine);
        assert_eq!(machine.verify().cause, Some(cause), "{which}");
    }
    let part = Machine::new().part();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut part = part.clone();
        change(part.items.get_mut("hcl-report.bin").unwrap());
        judge(&part, Expected::Nonce(NONCE)).cause
    };
    assert_eq!(with(&|bytes| bytes.push(0)), None, "the buffer is padded with zeros");
    assert_eq!(with(&|bytes| bytes.push(1)), Some(Cause::FormatLength));
    assert_eq!(with(&|bytes| bytes.truncate(1300)), Some(Cause::FormatLength));
    assert_eq!(with(&|bytes| bytes.truncate(20)), Some(Cause::FormatLength));
    for at in [8, 1216, 1232] {
        assert_eq!(with(&|bytes| bytes[at..at + 4].fill(0xff)), Some(Cause::FormatLength), "{at}");
    }
}

#[test]
fn a_flipped_bit_in_any_part_is_refused() {
    let part = Machine::new().part();
    let used = part.item("hcl-report.bin").unwrap().len();
    for (name, step, length) in [("hcl-report.bin", 7, used), ("quote.msg", 1, 122), ("quote.sig", 5, 256)] {
        for at in (0..length.min(part.item(name).unwrap().len())).step_by(step) {
            let mut altered = part.clone();
            altered.items.get_mut(name).unwrap()[at] ^= 1 << (at % 8);
            let verification = judge(&altered, Expected::Nonce(NONCE));
            assert_eq!(verification.verdict, Verdict::Reject, "{name}, byte {at:#x}");
        }
    }
}

/// The package's quote: signature, message and 24 PCRs, each counted in eight bytes.
fn package_quote(part: &mut EvidencePart) {
    let bytes = package("quote.bin");
    let pcrs = bytes[402..].chunks_exact(32).enumerate();
    let pcrs: serde_json::Map<_, _> =
        pcrs.map(|(index, value)| (index.to_string(), hex::encode(value).into())).collect();
    part.items.insert("quote.sig".to_owned(), bytes[8..264].to_vec());
    part.items.insert("quote.msg".to_owned(), bytes[272..394].to_vec());
    part.items.insert("pcrs-sha256.json".to_owned(), serde_json::to_vec(&pcrs).unwrap());
}

#[test]
fn genuine_parts_of_different_machines_are_read_and_told_apart() {
    let items = [("hcl-report.bin", package("hcl-report-snp.bin")), ("certs.pem", package("certs.pem"))];
    let mut part = EvidencePart::new(Tee::AzVtpm, items);
    package_quote(&mut part);
    let verification = verify(&Input {
        part: &part,
        endorsements: &Endorsements::default(),
        roots: &Roots::vendor(),
        profile: &Profile::default(),
        expected: Expected::Nonce(NONCE),
        at: "2024-01-01T00:00:00Z".parse().unwrap(),
    });
    let passed = |name: &str| verification.checks.iter().any(|check| check.name == name && check.passed);
    assert!(passed("azure.runtime.bound") && passed("tpm.quote.extra_data") && passed("tpm.pcr.digest"));
    // The certificates are another chip's.
    assert_eq!(verification.cause, Some(Cause::ChipMismatch), "{verification:#?}");
}

#[test]
fn a_machine_on_tdx_is_bound_by_the_quote_made_of_its_td_report() {
    let mut machine = Machine::new();
    machine.kind = 4;
    machine.version = 2;
    machine.report = [vec![0x81; 1024], vec![0; 160]].concat();
    let mut part = machine.part();
    let made = platform::td(4, 2).with(|made| {
        made.body[520..552].copy_from_slice(digest(&SHA256, machine.runtime.as_bytes()).as_ref());
        made.body[552..].fill(0);
    });
    part.items.insert("quote.bin".to_owned(), made.quote());
    part.items.insert("collateral.json".to_owned(), made.collateral().to_string().into_bytes());
    let root = platform::KEYS.root.der();
    let verification = judge_under(root, &part, Expected::Nonce(NONCE));
    assert_eq!((verification.verdict, verification.authentic), (Verdict::Accept, true), "{verification:#?}");
    let claims = verification.claims.unwrap();
    assert_eq!(claims.tee, Tee::AzVtpm);
    assert_eq!(claims.launch.measurement.unwrap().0, made.body[136..184]);
    assert!(claims.registers.contains_key("rtmr0") && claims.registers.contains_key("pcr2"), "{:?}", claims.registers);
    // The same quote beside other runtime data.
    let mut other = Machine::new();
    (other.kind, other.version, other.report) = (4, 2, machine.report.clone());
    other.runtime.push(' ');
    let mut swapped = part.clone();
    swapped.items.insert("hcl-report.bin".to_owned(), other.hcl());
    let verification = judge_under(root, &swapped, Expected::Nonce(NONCE));
    assert_eq!((verification.cause, verification.authentic), (Some(Cause::BindingPart), false));
}

#[test]
fn a_td_report_asks_for_the_quote_made_of_it() {
    let mut part = EvidencePart::new(Tee::AzVtpm, [("hcl-report.bin", package("hcl-report-tdx.bin"))]);
    package_quote(&mut part);
    let without = judge(&part, Expected::Nonce(NONCE));
    assert_eq!(without.cause, Some(Cause::FormatMalformed));
    assert!(without.checks.last().unwrap().expected.contains("quote.bin"), "{without:#?}");
    let (folder, rows) = packaged();
    let row = rows.iter().find(|row| row.id == "tdx/v4-b0c06f-uptodate").unwrap();
    // A genuine quote of another TD.
    part.items.extend(row.case(&folder).part.items);
    assert_eq!(judge(&part, Expected::Nonce(NONCE)).cause, Some(Cause::BindingPart));
}
