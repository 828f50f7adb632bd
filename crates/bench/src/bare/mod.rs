//! The signatures that evidence stands or falls with, cut out of it by readers of their own: the limit must not share code with
//! what is held against it.

mod cose;
mod dcap;
mod report;
mod tpm;
mod x509;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_FIXED, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, UnparsedPublicKey,
    VerificationAlgorithm,
};
use burgrave_types::Tee;

use crate::measure::timed;
use crate::vectors::Case;

/// What a signature was made with. The names ending in `Fixed` have r and s in the curve's width, the others in DER.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Algorithm {
    P256Fixed,
    P256Der,
    P384Fixed,
    P384Der,
    RsaSha256,
    RsaPssSha256,
    RsaPssSha384,
}

impl Algorithm {
    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::P256Fixed => &ECDSA_P256_SHA256_FIXED,
            Self::P256Der => &ECDSA_P256_SHA256_ASN1,
            Self::P384Fixed => &ECDSA_P384_SHA384_FIXED,
            Self::P384Der => &ECDSA_P384_SHA384_ASN1,
            Self::RsaSha256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::RsaPssSha256 => &RSA_PSS_2048_8192_SHA256,
            Self::RsaPssSha384 => &RSA_PSS_2048_8192_SHA384,
        }
    }
}

/// A signature with what it covers and the key that made it: a point, or an `RSAPublicKey` in DER.
#[derive(Clone, Debug)]
struct Signature {
    algorithm: Algorithm,
    key: Vec<u8>,
    message: Vec<u8>,
    signature: Vec<u8>,
}

impl Signature {
    /// For people: algorithm and size.
    fn name(&self) -> String {
        match self.algorithm {
            Algorithm::P256Fixed | Algorithm::P256Der => "P-256".to_owned(),
            Algorithm::P384Fixed | Algorithm::P384Der => "P-384".to_owned(),
            Algorithm::RsaSha256 | Algorithm::RsaPssSha256 | Algorithm::RsaPssSha384 => {
                format!("RSA-{}", self.signature.len() * 8)
            }
        }
    }
}

/// The signatures of one piece of evidence.
#[derive(Debug, Default)]
pub(crate) struct Signatures {
    /// Those that stand in each evidence. Their keys are the platform's, and a verifier may hold them ready.
    each: Vec<Signature>,
    /// Those of certificates, revocation lists and collateral, which a verifier checks once.
    once: Vec<Signature>,
}

impl Signatures {
    /// Finds them.
    ///
    /// # Errors
    /// Where the evidence has another form than the readers know, or a signature does not verify: what is measured then would
    /// be no limit.
    pub(crate) fn of(case: &Case) -> Result<Self> {
        let found = match case.part.tee {
            Tee::Snp => report::snp(case)?,
            Tee::Tdx | Tee::Sgx => dcap::quote(case)?,
            Tee::Nitro => cose::nitro(case)?,
            Tee::Tpm => tpm::quote(case)?,
            Tee::AzVtpm => tpm::azure(case)?,
            Tee::Cca => cose::cca(case)?,
            Tee::NvidiaGpu => report::nvidia(case)?,
            Tee::Simulated => bail!("a simulated TEE has no limit"),
        };
        for one in found.each.iter().chain(&found.once) {
            let key = UnparsedPublicKey::new(one.algorithm.verification(), &one.key);
            let verified = key.verify(&one.message, &one.signature);
            verified.ok().with_context(|| format!("a {} signature of the limit does not verify", one.name()))?;
        }
        Ok(found)
    }

    /// Work that verifies those that stand in each evidence, under keys that were read before.
    pub(crate) fn warm(&self) -> Result<impl FnMut(u32) -> Duration> {
        let mut ready = Vec::new();
        for one in &self.each {
            let key = ParsedPublicKey::new(one.algorithm.verification(), &one.key);
            ready.push((key.ok().context("a key of the limit is none")?, one));
        }
        Ok(move |times| {
            timed(times, || {
                for (key, one) in &ready {
                    let _ = std::hint::black_box(key.verify_sig(&one.message, &one.signature));
                }
            })
        })
    }

    /// Work that verifies all of them, and reads their keys for it.
    pub(crate) fn cold(&self) -> impl FnMut(u32) -> Duration {
        move |times| {
            timed(times, || {
                for one in self.each.iter().chain(&self.once) {
                    let key = UnparsedPublicKey::new(one.algorithm.verification(), &one.key);
                    let _ = std::hint::black_box(key.verify(&one.message, &one.signature));
                }
            })
        }
    }

    /// Which they are, e.g. `1 × P-384`.
    pub(crate) fn describe(&self, warm: bool) -> String {
        let mut counts = BTreeMap::<String, usize>::new();
        let once: &[Signature] = if warm { &[] } else { &self.once };
        for one in self.each.iter().chain(once) {
            *counts.entry(one.name()).or_default() += 1;
        }
        counts.iter().map(|(name, count)| format!("{count} × {name}")).collect::<Vec<_>>().join(", ")
    }
}

/// Takes bytes off the front of others.
#[derive(Clone, Copy, Debug)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length).context("the evidence is shorter than its form has it")?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into()?)
    }

    fn u16_le(&mut self) -> Result<usize> {
        Ok(usize::from(u16::from_le_bytes(self.array()?)))
    }

    fn u16_be(&mut self) -> Result<usize> {
        Ok(usize::from(u16::from_be_bytes(self.array()?)))
    }

    fn u32_le(&mut self) -> Result<usize> {
        Ok(usize::try_from(u32::from_le_bytes(self.array()?))?)
    }
}
