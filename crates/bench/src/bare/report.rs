//! Reports with fixed offsets: SEV-SNP and NVIDIA.

use anyhow::{Context, Result, bail};

use super::{Algorithm, Bytes, Signature, Signatures, x509};
use crate::vectors::Case;

const MILAN: [&[u8]; 2] =
    [include_bytes!("../../../verifier/roots/milan-ask.der"), include_bytes!("../../../verifier/roots/milan-ark.der")];

/// The report by the VCEK; VCEK and ASK by their issuers.
pub(super) fn snp(case: &Case) -> Result<Signatures> {
    let vcek = case.item("vcek.der")?;
    let chain = [vcek.to_vec()].into_iter().chain(MILAN.map(<[u8]>::to_vec)).collect::<Vec<_>>();
    Ok(Signatures { each: vec![snp_report(case.item("report.bin")?, vcek)?], once: x509::chain(&chain)? })
}

/// An Azure machine's report by its VCEK, and the rest of the chain.
pub(super) fn snp_in_azure(case: &Case) -> Result<Signatures> {
    let (vcek, hcl) = (case.item("vcek.der")?, case.item("hcl-report.bin")?);
    let report = hcl.get(32..32 + 1184).context("an HCL report without a hardware report")?;
    let chain = [vcek.to_vec()].into_iter().chain(MILAN.map(<[u8]>::to_vec)).collect::<Vec<_>>();
    Ok(Signatures { each: vec![snp_report(report, vcek)?], once: x509::chain(&chain)? })
}

/// Bytes 0 to 0x29f are signed; r and s follow, little endian in 72 bytes each.
fn snp_report(report: &[u8], vcek: &[u8]) -> Result<Signature> {
    let mut bytes = Bytes(report);
    let message = bytes.take(0x2a0)?.to_vec();
    let mut signature = Vec::new();
    for _ in 0..2 {
        signature.extend(bytes.take(72)?.iter().take(48).rev());
    }
    Ok(Signature { algorithm: Algorithm::P384Fixed, key: x509::key(vcek)?, message, signature })
}

/// Request and response by the leaf of the chain, whose other certificates each issued the one before.
pub(super) fn nvidia(case: &Case) -> Result<Signatures> {
    let report = case.item("report.bin")?;
    let chain = x509::pem(case.item("chain.pem")?)?;
    let Some(leaf) = chain.first() else { bail!("`chain.pem` holds no certificate") };
    let at = report.len().checked_sub(96).context("a report shorter than a signature")?;
    let (message, signature) = report.split_at(at);
    let each = Signature {
        algorithm: Algorithm::P384Fixed,
        key: x509::key(leaf)?,
        message: message.to_vec(),
        signature: signature.to_vec(),
    };
    Ok(Signatures { each: vec![each], once: x509::chain(&chain)? })
}
