//! SEV-SNP: an authority like AMD's, whose certificates are those of the packaged test authority with other keys.

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PSS_SHA384, RsaEncoding};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::packaged;

/// One RSA key for root and intermediate, and the chip's.
pub struct Authority {
    pub ark: Vec<u8>,
    pub ask: Vec<u8>,
    pub vek: Vec<u8>,
    pub key: EcdsaKeyPair,
}

/// The one authority of a test process: an RSA key takes a second to make.
pub static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
    let rsa = RsaKeyPair::generate(KeySize::Rsa4096).unwrap();
    let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    // The key's bit string is replaced by another of its length, and the whole is signed anew.
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
    }
});

/// A file of the packaged test authority.
pub fn base(name: &str) -> Vec<u8> {
    packaged(&format!("snp/synthetic/base/{name}"))
}

/// Puts the signature of the chip's key into a report (AMD 56860: r and s little endian, 72 bytes each).
pub fn sign_report(report: &mut [u8]) {
    let signature = AUTHORITY.key.sign(&SystemRandom::new(), &report[..0x2a0]).unwrap();
    for (at, half) in [(0x2a0, &signature.as_ref()[..48]), (0x2e8, &signature.as_ref()[48..])] {
        report[at..at + 48].copy_from_slice(&half.iter().rev().copied().collect::<Vec<_>>());
    }
}

/// An RSA signature of any encoding.
pub fn rsa_sign(key: &RsaKeyPair, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
    signature
}
