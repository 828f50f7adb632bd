//! Signed messages in COSE: Nitro and Arm CCA.

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use minicbor::data::Type;
use minicbor::{Decoder, Encoder};
use serde_json::Value;

use super::{Algorithm, Signature, Signatures, x509};
use crate::vectors::Case;

/// A `COSE_Sign1`.
struct Message<'a> {
    payload: &'a [u8],
    to_be_signed: Vec<u8>,
    signature: &'a [u8],
}

fn message(bytes: &[u8]) -> Result<Message<'_>> {
    let mut decoder = Decoder::new(bytes);
    if decoder.datatype()? == Type::Tag {
        decoder.tag()?;
    }
    decoder.array()?;
    let protected = decoder.bytes()?;
    decoder.skip()?;
    let (payload, signature) = (decoder.bytes()?, decoder.bytes()?);
    let mut to_be_signed = Vec::new();
    let mut encoder = Encoder::new(&mut to_be_signed);
    encoder.array(4)?.str("Signature1")?.bytes(protected)?.bytes(&[])?.bytes(payload)?;
    Ok(Message { payload, to_be_signed, signature })
}

/// The document by the leaf's key; the certificates by each other.
pub(super) fn nitro(case: &Case) -> Result<Signatures> {
    let Message { payload, to_be_signed, signature } = message(case.item("document.cose")?)?;
    let mut decoder = Decoder::new(payload);
    let (mut leaf, mut chain) = (None, Vec::new());
    for _ in 0..decoder.map()?.context("a document of unknown length")? {
        match decoder.str()? {
            "certificate" => leaf = Some(decoder.bytes()?.to_vec()),
            "cabundle" => {
                for _ in 0..decoder.array()?.context("a bundle of unknown length")? {
                    chain.push(decoder.bytes()?.to_vec());
                }
            }
            _ => decoder.skip()?,
        }
    }
    let leaf = leaf.context("a document without a certificate")?;
    let key = x509::key(&leaf)?;
    // The root stands first.
    chain.push(leaf);
    chain.reverse();
    let each = Signature { algorithm: Algorithm::P384Fixed, key, message: to_be_signed, signature: signature.to_vec() };
    Ok(Signatures { each: vec![each], once: x509::chain(&chain)? })
}

/// The platform token by the trust anchor's key, the realm token by the realm's.
pub(super) fn cca(case: &Case) -> Result<Signatures> {
    let (mut platform, mut realm) = (None, None);
    let mut decoder = Decoder::new(case.item("token.cbor")?);
    decoder.tag()?;
    for _ in 0..decoder.map()?.context("a collection of unknown length")? {
        match decoder.u64()? {
            44234 => platform = Some(message(decoder.bytes()?)?),
            44241 => realm = Some(message(decoder.bytes()?)?),
            _ => decoder.skip()?,
        }
    }
    let (platform, realm) = (platform.context("no platform token")?, realm.context("no realm token")?);
    let anchors: Value = serde_json::from_slice(case.item("trust-anchor.json")?)?;
    let jwk = anchors.pointer("/0/pkey").context("no key in the trust anchor")?;
    let coordinate = |name: &str| {
        let text = jwk.get(name).and_then(Value::as_str).context("no coordinate in the trust anchor")?;
        Ok::<_, anyhow::Error>(URL_SAFE_NO_PAD.decode(text)?)
    };
    let algorithm = match jwk.get("crv").and_then(Value::as_str) {
        Some("P-256") => Algorithm::P256Fixed,
        Some("P-384") => Algorithm::P384Fixed,
        other => bail!("a trust anchor on {other:?}, which is not known here"),
    };
    let by_platform = Signature {
        algorithm,
        key: [[4].as_slice(), &coordinate("x")?, &coordinate("y")?].concat(),
        message: platform.to_be_signed,
        signature: platform.signature.to_vec(),
    };
    let by_realm = Signature {
        algorithm: Algorithm::P384Fixed,
        key: realm_key(realm.payload)?,
        message: realm.to_be_signed,
        signature: realm.signature.to_vec(),
    };
    Ok(Signatures { each: vec![by_platform, by_realm], once: Vec::new() })
}

/// Claim 44237: a point, or a COSE_Key with its coordinates under -2 and -3.
fn realm_key(payload: &[u8]) -> Result<Vec<u8>> {
    let mut decoder = Decoder::new(payload);
    for _ in 0..decoder.map()?.context("claims of unknown length")? {
        if decoder.u64()? != 44237 {
            decoder.skip()?;
            continue;
        }
        let key = decoder.bytes()?;
        if key.first() == Some(&4) {
            return Ok(key.to_vec());
        }
        let (mut x, mut y, mut members) = (None, None, Decoder::new(key));
        for _ in 0..members.map()?.context("a key of unknown length")? {
            match members.i64()? {
                -2 => x = Some(members.bytes()?),
                -3 => y = Some(members.bytes()?),
                _ => members.skip()?,
            }
        }
        return Ok([[4].as_slice(), x.context("no x")?, y.context("no y")?].concat());
    }
    bail!("a realm token without a key")
}
