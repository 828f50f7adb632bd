//! Quotes of TDX and SGX, and their collateral.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Algorithm, Bytes, Signature, Signatures, x509};
use crate::vectors::Case;

/// The quote by the attestation key; then, each the same until the platform starts anew or Intel speaks again, the quoting
/// enclave's report by the PCK, the PCK and its authority, both revocation lists, TCB info and QE identity, and the
/// certificate of the key that signed these two.
pub(super) fn quote(case: &Case) -> Result<Signatures> {
    let (by_key, by_pck, chain) = read_quote(case.item("quote.bin")?)?;
    let collateral: Value = serde_json::from_slice(case.item("collateral.json")?)?;
    let text = |name: &str| collateral.get(name).and_then(Value::as_str).with_context(|| format!("no `{name}`"));
    let der = |name: &str| Ok::<_, anyhow::Error>(hex::decode(text(name)?)?);
    let signers = x509::pem(text("tcb_info_issuer_chain")?.as_bytes())?;
    let [_, authority, root, ..] = chain.as_slice() else { bail!("a PCK chain of fewer than three certificates") };
    let [signer, ..] = signers.as_slice() else { bail!("no certificate beside the TCB info") };
    let mut once = vec![by_pck];
    once.extend(x509::chain(&chain)?);
    once.extend(x509::chain(&signers)?);
    once.push(x509::signature(&der("root_ca_crl")?, root)?);
    once.push(x509::signature(&der("pck_crl")?, authority)?);
    for name in ["tcb_info", "qe_identity"] {
        once.push(Signature {
            algorithm: Algorithm::P256Fixed,
            key: x509::key(signer)?,
            message: text(name)?.as_bytes().to_vec(),
            signature: der(&format!("{name}_signature"))?,
        });
    }
    Ok(Signatures { each: vec![by_key], once })
}

/// The two signatures of a quote, and its chain of PCK certificates.
fn read_quote(quote: &[u8]) -> Result<(Signature, Signature, Vec<Vec<u8>>)> {
    let mut bytes = Bytes(quote);
    let version = bytes.u16_le()?;
    bytes.take(46)?;
    match (version, quote.get(4..8)) {
        (3, _) => bytes.take(384)?,
        (4, Some([0x81, 0, 0, 0])) => bytes.take(584)?,
        (5, _) => {
            bytes.take(2)?;
            let length = bytes.u32_le()?;
            bytes.take(length)?
        }
        _ => bail!("a quote of a form that is not known here"),
    };
    let signed = quote.len() - bytes.0.len();
    let message = quote.get(..signed).context("a short quote")?.to_vec();
    bytes.take(4)?;
    let (signature, attestation_key) = (bytes.take(64)?.to_vec(), bytes.take(64)?);
    if version > 3 {
        bytes.take(6)?;
    }
    let (qe_report, qe_signature) = (bytes.take(384)?.to_vec(), bytes.take(64)?.to_vec());
    let authentication = bytes.u16_le()?;
    bytes.take(authentication)?;
    bytes.take(2)?;
    let length = bytes.u32_le()?;
    let chain = x509::pem(bytes.take(length)?)?;
    let Some(pck) = chain.first() else { bail!("a quote without a PCK certificate") };
    let key = [[4].as_slice(), attestation_key].concat();
    let algorithm = Algorithm::P256Fixed;
    let by_key = Signature { algorithm, key, message, signature };
    let by_pck = Signature { algorithm, key: x509::key(pck)?, message: qe_report, signature: qe_signature };
    Ok((by_key, by_pck, chain))
}
