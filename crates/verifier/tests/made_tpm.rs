//! A TPM made in the test, with a maker's PKI of its own: what emulators and recorded quotes do not show.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use burgrave_types::{EvidencePart, Tee, Timestamp};
use burgrave_verifier::tpm::{AkProof, Public, boot_counts, ek_digest};
use burgrave_verifier::{Cause, Endorsements, Expected, Input, Profile, Roots, Verdict, Verification, verify};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, ExtendedKeyUsagePurpose,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData, RevokedCertParams, SerialNumber, date_time_ymd,
};

const NONCE: [u8; 32] = [9; 32];
const RESTRICTED_SIGNING: u32 = 0x0005_0072;
const RESTRICTED_DECRYPT: u32 = 0x0003_00b2;
const QUOTE: u16 = 0x8018;
const CERTIFY: u16 = 0x8017;

/// A TPM's keys and its maker.
struct Tpm {
    maker: CertifiedIssuer<'static, KeyPair>,
    ek: KeyPair,
    ak: KeyPair,
    ak_attributes: u32,
    ek_attributes: u32,
    kind: u16,
    magic: u32,
    items: Vec<(String, Vec<u8>)>,
    endorsements: Endorsements,
}

fn maker() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "TPM maker");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2040, 1, 1));
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn key_certificate(usage: KeyUsagePurpose, purpose: u64) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "TPM key");
    params.serial_number = Some(SerialNumber::from(42));
    params.key_usages = vec![usage];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, purpose])];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = (date_time_ymd(2025, 1, 1), date_time_ymd(2030, 1, 1));
    params
}

fn ek_certificate() -> CertificateParams {
    key_certificate(KeyUsagePurpose::KeyAgreement, 1)
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [u16::try_from(bytes.len()).unwrap().to_be_bytes().as_slice(), bytes].concat()
}

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A `TPMT_PUBLIC` of a P-256 key; an EK has AES-128-CFB for its children, an AK has ECDSA with SHA-256.
fn public(key: &KeyPair, attributes: u32) -> Vec<u8> {
    let point = key.der_bytes();
    let parameters = if attributes & (1 << 17) == 0 {
        words(&[0x0010, 0x0018, 0x000b, 0x0003, 0x0010])
    } else {
        words(&[0x0006, 128, 0x0043, 0x0010, 0x0003, 0x0010])
    };
    let header = [words(&[0x0023, 0x000b]), attributes.to_be_bytes().to_vec(), vec![0, 0]].concat();
    [header, parameters, sized(&point[1..33]), sized(&point[33..65])].concat()
}

impl Tpm {
    fn new() -> Self {
        Self {
            maker: maker(),
            ek: KeyPair::generate().unwrap(),
            ak: KeyPair::generate().unwrap(),
            ak_attributes: RESTRICTED_SIGNING,
            ek_attributes: RESTRICTED_DECRYPT,
            kind: QUOTE,
            magic: 0xff54_4347,
            items: Vec::new(),
            endorsements: Endorsements::default(),
        }
    }

    fn with_ek(mut self, certificate: &CertificateParams) -> Self {
        let certificate = certificate.signed_by(&self.ek, &self.maker).unwrap();
        self.items.push(("ek.pub".to_owned(), public(&self.ek, self.ek_attributes)));
        self.items.push(("ekcert.der".to_owned(), certificate.der().to_vec()));
        self
    }

    fn with_ak_certificate(mut self, certificate: &CertificateParams) -> Self {
        let certificate = certificate.signed_by(&self.ak, &self.maker).unwrap();
        self.items.push(("ak-cert.der".to_owned(), certificate.der().to_vec()));
        self
    }

    fn with_crl(mut self, revoked: u64, next_update: i32) -> Self {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(revoked),
            revocation_time: date_time_ymd(2025, 6, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2025, 6, 1),
            next_update: date_time_ymd(next_update, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        self.items.push(("maker.crl".to_owned(), list.signed_by(&self.maker).unwrap().der().to_vec()));
        self
    }

    /// Quotes PCR 7 of the SHA-256 bank and PCR 0 of the SHA-384 bank, after `resets` boots.
    fn quoted(mut self, suffix: &str, resets: u32, signature_hash: u16) -> Self {
        let (sha256, sha384) = ([7; 32], [5; 48]);
        let pcr_digest = digest(&SHA256, &[sha256.as_slice(), &sha384].concat());
        let clock = [&[0; 8], resets.to_be_bytes().as_slice(), &[0; 4], &[1]].concat();
        let selections = [&[0, 0, 0, 2, 0, 0x0b, 3, 0x80, 0, 0], [0, 0x0c, 3, 1, 0, 0].as_slice()].concat();
        let message = [
            self.magic.to_be_bytes().to_vec(),
            words(&[self.kind]),
            sized(&[0; 34]),
            sized(&NONCE),
            clock,
            vec![1; 8],
            selections,
            sized(pcr_digest.as_ref()),
        ]
        .concat();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, self.ak.serialized_der()).unwrap();
        let signature = key.sign(&SystemRandom::new(), &message).unwrap();
        let (r, s) = signature.as_ref().split_at(32);
        let signature = [words(&[0x0018, signature_hash]), sized(r), sized(s)].concat();
        let values =
            serde_json::json!({ "sha256": { "7": hex::encode(sha256) }, "sha384": { "0": hex::encode(sha384) } });
        self.items.push((format!("quote{suffix}.msg"), message));
        self.items.push((format!("quote{suffix}.sig"), signature));
        self.items.push((format!("pcrs{suffix}.json"), values.to_string().into_bytes()));
        self
    }

    fn part(&self) -> EvidencePart {
        let mut items = self.items.clone();
        items.push(("ak.pub".to_owned(), public(&self.ak, self.ak_attributes)));
        EvidencePart { tee: Tee::Tpm, items: items.into_iter().collect() }
    }

    fn verify(&self, at: &str) -> Verification {
        verify(&Input {
            part: &self.part(),
            endorsements: &self.endorsements,
            roots: &Roots::only([self.maker.der()]).unwrap(),
            profile: &Profile::default(),
            expected: Expected::Nonce(&NONCE),
            at: at.parse::<Timestamp>().unwrap(),
        })
    }

    fn cause(&self) -> &'static str {
        self.verify("2026-01-01T00:00:00Z").cause.map_or("none", Cause::as_str)
    }
}

fn genuine() -> Tpm {
    Tpm::new().with_ek(&ek_certificate()).quoted("", 3, 0x000b)
}

#[test]
fn a_quote_over_two_banks_is_taken_and_names_each_register_by_its_bank() {
    let tpm = genuine();
    let verification = tpm.verify("2026-01-01T00:00:00Z");
    assert_eq!(verification.verdict, Verdict::Accept, "{:?}", verification.checks);
    let registers = verification.claims.unwrap().registers;
    assert_eq!(registers.keys().map(String::as_str).collect::<Vec<_>>(), ["pcr7", "sha384:pcr0"]);
    assert_eq!(verification.valid_until.unwrap().to_string(), "2030-01-01T00:00:00Z");
    assert_eq!(boot_counts(&tpm.part()), Some((3, 0)));
}

#[test]
fn an_endorsement_key_certificate_must_be_for_that_use_and_hold_now() {
    let with = |change: fn(&mut CertificateParams)| {
        let mut certificate = ek_certificate();
        change(&mut certificate);
        Tpm::new().with_ek(&certificate).quoted("", 3, 0x000b).cause()
    };
    assert_eq!(with(|_| ()), "none");
    let server = |certificate: &mut CertificateParams| {
        certificate.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    };
    assert_eq!(with(server), "certificate.kind");
    assert_eq!(
        with(|certificate| certificate.key_usages = vec![KeyUsagePurpose::DigitalSignature]),
        "certificate.kind"
    );
    assert_eq!(with(|certificate| certificate.not_after = date_time_ymd(2025, 12, 1)), "certificate.validity");
    assert_eq!(with(|certificate| certificate.not_before = date_time_ymd(2026, 2, 1)), "certificate.validity");
    assert_eq!(with(|certificate| certificate.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), "chain.constraint");
}

#[test]
fn a_maker_that_only_bears_the_name_of_a_root_is_not_believed() {
    let tpm = Tpm { maker: maker(), ..genuine() };
    assert!(["chain.signature", "chain.untrusted"].contains(&tpm.cause()), "{}", tpm.cause());
}

#[test]
fn a_revocation_list_counts_when_it_is_at_hand() {
    assert_eq!(genuine().with_crl(41, 2027).cause(), "none");
    assert_eq!(genuine().with_crl(42, 2027).cause(), "certificate.revoked");
    assert_eq!(genuine().with_crl(41, 2026).cause(), "crl.validity");
}

#[test]
fn an_attestation_key_certificate_vouches_for_that_key_alone() {
    let ak_certificate = key_certificate(KeyUsagePurpose::DigitalSignature, 3);
    let mut alone = Tpm::new().with_ak_certificate(&ak_certificate).quoted("", 3, 0x000b);
    alone.endorsements.ak_proof = AkProof::None;
    let verification = alone.verify("2026-01-01T00:00:00Z");
    assert_eq!(verification.verdict, Verdict::Accept, "{:?}", verification.checks);
    assert_eq!(verification.claims.unwrap().platform_id, None);

    // With the EK of another TPM beside it, it would borrow that TPM's name.
    let mut borrowed = genuine().with_ak_certificate(&ak_certificate);
    borrowed.endorsements.ak_proof = AkProof::None;
    assert_eq!(borrowed.cause(), "ak.unbound");
    let ak_name = Public::read(&public(&borrowed.ak, RESTRICTED_SIGNING)).unwrap().name();
    let ek_digest = ek_digest(&public(&borrowed.ek, RESTRICTED_DECRYPT));
    borrowed.endorsements.ak_proof = AkProof::Activated { ak_name, ek_digest };
    assert_eq!(borrowed.cause(), "none");

    let wrong_use = key_certificate(KeyUsagePurpose::KeyAgreement, 3);
    assert_eq!(genuine().with_ak_certificate(&wrong_use).cause(), "certificate.kind");
}

#[test]
fn keys_without_the_attributes_of_their_role_are_refused() {
    for bit in [1, 4, 5, 16, 18] {
        let tpm = Tpm { ak_attributes: RESTRICTED_SIGNING & !(1 << bit), ..genuine() };
        assert_eq!(tpm.cause(), "ak.attributes", "AK without bit {bit}");
    }
    for ek_attributes in
        [RESTRICTED_DECRYPT & !(1 << 16), RESTRICTED_DECRYPT | (1 << 18), RESTRICTED_DECRYPT & !(1 << 1)]
    {
        let tpm = Tpm { ek_attributes, ..Tpm::new() }.with_ek(&ek_certificate()).quoted("", 3, 0x000b);
        assert_eq!(tpm.cause(), "ak.attributes", "EK {ek_attributes:#x}");
    }
}

#[test]
fn what_is_signed_by_the_key_but_is_no_quote_of_a_tpm_is_refused() {
    let with =
        |kind, magic, hash| Tpm { kind, magic, ..Tpm::new() }.with_ek(&ek_certificate()).quoted("", 3, hash).cause();
    assert_eq!(with(CERTIFY, 0xff54_4347, 0x000b), "quote.structure");
    assert_eq!(with(QUOTE, 0xff54_4348, 0x000b), "quote.structure");
    assert_eq!(with(QUOTE, 0xff54_4347, 0x0004), "format.algorithm");
    assert_eq!(with(QUOTE, 0xff54_4347, 0x000c), "format.algorithm");
}

#[test]
fn quotes_of_different_boots_do_not_stand_together() {
    assert_eq!(genuine().quoted("-again", 3, 0x000b).cause(), "none");
    let mixed = genuine().quoted("-again", 4, 0x000b);
    assert_eq!(mixed.cause(), "quote.structure");
    assert_eq!(boot_counts(&mixed.part()), None);
}
