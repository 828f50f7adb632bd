//! A TPM made in the test, with a maker's PKI of its own.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use burgrave_types::{EvidencePart, Tee, Timestamp};
use burgrave_verifier::tpm::{AkProof, Public, ek_digest};
use burgrave_verifier::{Cause, Endorsements, Expected, Input, Profile, Roots, Verification, verify};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData,
    SerialNumber, date_time_ymd,
};

use crate::pki::{self, Issuer};

/// PCRs of a bank.
pub type Pcrs = BTreeMap<u8, Vec<u8>>;

pub const NONCE: [u8; 32] = [9; 32];
pub const RESTRICTED_SIGNING: u32 = 0x0005_0072;
pub const RESTRICTED_DECRYPT: u32 = 0x0003_00b2;
pub const QUOTE: u16 = 0x8018;
pub const CERTIFY: u16 = 0x8017;

/// A TPM's keys and its maker.
pub struct Tpm {
    pub maker: Issuer,
    pub ek: KeyPair,
    pub ak: KeyPair,
    pub ak_attributes: u32,
    pub ek_attributes: u32,
    pub kind: u16,
    pub magic: u32,
    pub qualified_signer: Vec<u8>,
    pub items: Vec<(String, Vec<u8>)>,
    pub endorsements: Endorsements,
    pub profile: Profile,
}

pub fn maker() -> Issuer {
    let mut params = pki::named("TPM maker");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Issuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

pub fn key_certificate(usage: KeyUsagePurpose, purpose: u64) -> CertificateParams {
    let mut params = pki::named("TPM key");
    params.serial_number = Some(SerialNumber::from(42));
    params.key_usages = vec![usage];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, purpose])];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = (date_time_ymd(2025, 1, 1), date_time_ymd(2030, 1, 1));
    params
}

pub fn ek_certificate() -> CertificateParams {
    key_certificate(KeyUsagePurpose::KeyAgreement, 1)
}

pub fn sized(bytes: &[u8]) -> Vec<u8> {
    [u16::try_from(bytes.len()).unwrap().to_be_bytes().as_slice(), bytes].concat()
}

pub fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A `TPMT_PUBLIC` of a P-256 key; an EK has AES-128-CFB for its children, an AK has ECDSA with SHA-256.
pub fn public(key: &KeyPair, attributes: u32) -> Vec<u8> {
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
    pub fn new() -> Self {
        Self {
            maker: maker(),
            ek: KeyPair::generate().unwrap(),
            ak: KeyPair::generate().unwrap(),
            ak_attributes: RESTRICTED_SIGNING,
            ek_attributes: RESTRICTED_DECRYPT,
            kind: QUOTE,
            magic: 0xff54_4347,
            qualified_signer: vec![0; 34],
            items: Vec::new(),
            endorsements: Endorsements::default(),
            profile: Profile::default(),
        }
    }

    pub fn with_ek(mut self, certificate: &CertificateParams) -> Self {
        let certificate = certificate.signed_by(&self.ek, &self.maker).unwrap();
        self.items.push(("ek.pub".to_owned(), public(&self.ek, self.ek_attributes)));
        self.items.push(("ekcert.der".to_owned(), certificate.der().to_vec()));
        self
    }

    pub fn with_ak_certificate(mut self, certificate: &CertificateParams) -> Self {
        let certificate = certificate.signed_by(&self.ak, &self.maker).unwrap();
        self.items.push(("ak-cert.der".to_owned(), certificate.der().to_vec()));
        self
    }

    pub fn with_crl(mut self, revoked: u64, next_update: i32) -> Self {
        let mut list = pki::list(1, next_update, &[revoked]);
        list.this_update = date_time_ymd(2025, 6, 1);
        self.items.push(("maker.crl".to_owned(), list.signed_by(&self.maker).unwrap().der().to_vec()));
        self
    }

    /// Quotes PCR 7 of the SHA-256 bank and PCR 0 of the SHA-384 bank, after `resets` boots.
    pub fn quoted(self, suffix: &str, resets: u32, signature_hash: u16) -> Self {
        let banks =
            [(0x0b, "sha256", Pcrs::from([(7, vec![7; 32])])), (0x0c, "sha384", Pcrs::from([(0, vec![5; 48])]))];
        self.quoted_banks(suffix, resets, signature_hash, &banks)
    }

    /// Quotes PCRs by bank: its `TPM_ALG_ID`, its name and the values.
    pub fn quoted_banks(mut self, suffix: &str, resets: u32, signature_hash: u16, banks: &[(u16, &str, Pcrs)]) -> Self {
        let shown: Vec<u8> = banks.iter().flat_map(|(.., pcrs)| pcrs.values().flatten().copied()).collect();
        let pcr_digest = digest(&SHA256, &shown);
        let clock = [&[0; 8], resets.to_be_bytes().as_slice(), &[0; 4], &[1]].concat();
        let mut selections = u32::try_from(banks.len()).unwrap().to_be_bytes().to_vec();
        for (id, _, pcrs) in banks {
            let bits = pcrs.keys().fold(0u32, |bits, pcr| bits | 1 << pcr);
            selections.extend([&id.to_be_bytes()[..], &[3], &bits.to_le_bytes()[..3]].concat());
        }
        let message = [
            self.magic.to_be_bytes().to_vec(),
            words(&[self.kind]),
            sized(&self.qualified_signer),
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
        let values: serde_json::Map<_, _> = banks
            .iter()
            .map(|(_, name, pcrs)| {
                let pcrs: serde_json::Map<_, _> =
                    pcrs.iter().map(|(pcr, value)| (pcr.to_string(), hex::encode(value).into())).collect();
                ((*name).to_owned(), pcrs.into())
            })
            .collect();
        let values = serde_json::Value::from(values).to_string().into_bytes();
        self.set(&format!("quote{suffix}.msg"), message);
        self.set(&format!("quote{suffix}.sig"), signature);
        self.set(&format!("pcrs{suffix}.json"), values);
        self
    }

    /// Puts an item in, or in another's place.
    pub fn set(&mut self, name: &str, bytes: Vec<u8>) {
        self.items.retain(|(item, _)| item != name);
        self.items.push((name.to_owned(), bytes));
    }

    pub fn part(&self) -> EvidencePart {
        let mut items = self.items.clone();
        items.push(("ak.pub".to_owned(), public(&self.ak, self.ak_attributes)));
        EvidencePart { tee: Tee::Tpm, items: items.into_iter().collect() }
    }

    /// That the EK's TPM opened a credential for the AK.
    pub fn activated(&self) -> AkProof {
        let ak_name = Public::read(&public(&self.ak, self.ak_attributes)).unwrap().name();
        AkProof::Activated { ak_name, ek_digest: ek_digest(&public(&self.ek, self.ek_attributes)) }
    }

    pub fn verify(&self, at: &str) -> Verification {
        self.verify_part(&self.part(), at)
    }

    /// As [`Tpm::verify`], for a part that was altered.
    pub fn verify_part(&self, part: &EvidencePart, at: &str) -> Verification {
        verify(&Input {
            part,
            endorsements: &self.endorsements,
            roots: &Roots::only([self.maker.der()]).unwrap(),
            profile: &self.profile,
            expected: Expected::Nonce(&NONCE),
            at: at.parse::<Timestamp>().unwrap(),
        })
    }

    pub fn cause(&self) -> &'static str {
        self.verify("2026-01-01T00:00:00Z").cause.map_or("none", Cause::as_str)
    }
}
