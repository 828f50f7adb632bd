//! Quotes of TPMs, and of the vTPMs of Azure's machines.

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use burgrave_verifier::tpm::{Key, Public};
use der::asn1::UintRef;
use der::{Encode, Sequence};
use serde_json::Value;

use super::{Algorithm, Bytes, Signature, Signatures, report, x509};
use crate::vectors::Case;

/// `RSAPublicKey` (RFC 8017, appendix A.1.1).
#[derive(Sequence)]
struct RsaKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

fn rsa_key(modulus: &[u8], exponent: &[u8]) -> Result<Vec<u8>> {
    Ok(RsaKey { modulus: UintRef::new(modulus)?, exponent: UintRef::new(exponent)? }.to_der()?)
}

/// The quote by the AK; the EK's certificate and that of its issuer.
pub(super) fn quote(case: &Case) -> Result<Signatures> {
    let ak = Public::read(case.item("ak.pub")?).context("`ak.pub` is no key")?;
    let ek = Public::read(case.item("ek.pub")?).context("`ek.pub` is no key")?;
    let mut bytes = Bytes(case.item("quote.sig")?);
    let (scheme, hash) = (bytes.u16_be()?, bytes.u16_be()?);
    let mut number = |width: usize| {
        let length = bytes.u16_be()?;
        let number = bytes.take(length)?;
        let zeros = width.checked_sub(length).context("a number that is longer than its curve's")?;
        Ok::<_, anyhow::Error>([vec![0; zeros].as_slice(), number].concat())
    };
    let (algorithm, key, signature) = match (&ak.key, scheme, hash) {
        (Key::Rsa { modulus, exponent }, 0x14, 0x0b) => {
            (Algorithm::RsaSha256, rsa_key(modulus, &exponent.to_be_bytes())?, number(modulus.len())?)
        }
        (Key::Rsa { modulus, exponent }, 0x16, 0x0b) => {
            (Algorithm::RsaPssSha256, rsa_key(modulus, &exponent.to_be_bytes())?, number(modulus.len())?)
        }
        (Key::Ecc { x, y, .. }, 0x18, 0x0b) if x.len() == 32 => {
            (Algorithm::P256Fixed, [[4].as_slice(), x, y].concat(), [number(32)?, number(32)?].concat())
        }
        _ => bail!("a quote with an algorithm that is not known here"),
    };
    let each = Signature { algorithm, key, message: case.item("quote.msg")?.to_vec(), signature };
    let part_of_key = match &ek.key {
        Key::Rsa { modulus, .. } => modulus,
        Key::Ecc { x, .. } => x,
    };
    let certificates = ["ekcert-rsa.der", "ekcert-ecc.der"].into_iter().filter_map(|name| case.part.item(name));
    let of_ek = |der: &&[u8]| x509::key(der).is_ok_and(|key| contains(&key, part_of_key));
    let leaf = certificates.into_iter().find(of_ek).context("no certificate of the EK")?;
    let mut chain = vec![leaf.to_vec()];
    chain.extend(x509::pem(case.item("issuer.pem")?)?);
    chain.extend(x509::pem(case.item("test-root.pem")?)?);
    Ok(Signatures { each: vec![each], once: x509::chain(&chain)? })
}

/// The quote by the key of the runtime data, and the hardware's report.
pub(super) fn azure(case: &Case) -> Result<Signatures> {
    let mut found = report::snp_in_azure(case)?;
    let hcl = case.item("hcl-report.bin")?;
    let mut bytes = Bytes(hcl);
    bytes.take(32 + 1184 + 16)?;
    let length = bytes.u32_le()?;
    let runtime: Value = serde_json::from_slice(bytes.take(length)?)?;
    let keys = runtime.get("keys").and_then(Value::as_array).context("runtime data without keys")?;
    let jwk = keys.iter().find(|key| key.get("kid").and_then(Value::as_str) == Some("HCLAkPub")).context("no AK")?;
    let number = |name: &str| {
        let text = jwk.get(name).and_then(Value::as_str).context("an AK that is no RSA key")?;
        Ok::<_, anyhow::Error>(URL_SAFE_NO_PAD.decode(text)?)
    };
    found.each.push(Signature {
        algorithm: Algorithm::RsaSha256,
        key: rsa_key(&number("n")?, &number("e")?)?,
        message: case.item("quote.msg")?.to_vec(),
        signature: case.item("quote.sig")?.to_vec(),
    });
    Ok(found)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
