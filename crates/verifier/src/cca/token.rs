//! The two tokens of a collection, read where they stand.

use std::collections::BTreeMap;

use minicbor::Decoder;

use crate::Cause;
use crate::cbor::{self, Key};
use crate::tpm::Hash;

/// The collection in RMM 1.0 and drafts 00 and 01 of the token's specification.
const COLLECTION: u64 = 399;
/// The collection since draft 02 (a CMW): each token stands beside its media type.
const CMW_COLLECTION: u64 = 907;
/// `application/eat+cwt`, as a CoAP content format.
const EAT_CWT: u64 = 263;
const PLATFORM: Key<'static> = Key::Number(44234);
const REALM: Key<'static> = Key::Number(44241);
/// A device's claims in a CMW: nobody signs them, and nothing here is drawn from them.
const DEVICE: Key<'static> = Key::Number(44258);

/// Whether bytes begin as a collection.
pub(super) fn looks_like_collection(bytes: &[u8]) -> bool {
    let tag = Decoder::new(bytes).tag().map(|tag| tag.as_u64());
    matches!(tag, Ok(COLLECTION | CMW_COLLECTION))
}

/// Both tokens, each a `COSE_Sign1`. `None` where bytes are no collection or something follows it.
pub(super) fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut decoder = Decoder::new(bytes);
    let tag = decoder.tag().ok()?.as_u64();
    let (mut platform, mut realm) = (None, None);
    cbor::map(&mut decoder, |decoder, key| match (key, tag) {
        (PLATFORM, _) => {
            platform = Some(element(decoder, tag)?);
            Some(())
        }
        (REALM, _) => {
            realm = Some(element(decoder, tag)?);
            Some(())
        }
        (DEVICE, CMW_COLLECTION) => cbor::skip(decoder),
        _ => None,
    })?;
    cbor::is_at_end(&decoder).then_some((platform?, realm?))
}

fn element<'a>(decoder: &mut Decoder<'a>, tag: u64) -> Option<&'a [u8]> {
    match tag {
        COLLECTION => decoder.bytes().ok(),
        CMW_COLLECTION if decoder.array().ok()? == Some(2) && decoder.u64().ok()? == EAT_CWT => decoder.bytes().ok(),
        _ => None,
    }
}

/// Why a token is not taken.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) cause: Cause,
    pub(super) expected: &'static str,
    pub(super) found: String,
}

/// A firmware component of the platform.
#[derive(Debug, Default)]
pub(super) struct Component<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) measurement: &'a [u8],
    pub(super) version: Option<&'a str>,
    pub(super) signer: &'a [u8],
}

/// What the platform says of itself.
#[derive(Debug)]
pub(super) struct Platform<'a> {
    pub(super) profile: &'a str,
    /// The hash of the realm attestation key.
    pub(super) challenge: &'a [u8],
    /// Which implementation of the architecture it is.
    pub(super) implementation: &'a [u8],
    /// Which instance of it.
    pub(super) instance: &'a [u8],
    pub(super) config: &'a [u8],
    pub(super) lifecycle: u16,
    pub(super) hash: &'a str,
    pub(super) components: Vec<Component<'a>>,
    pub(super) verification_service: Option<&'a str>,
}

impl<'a> Platform<'a> {
    /// Reads the claims, with nothing after them.
    pub(super) fn read(payload: &'a [u8]) -> Result<Self, Refusal> {
        let claims = Claims::read(payload)?;
        let profile = claims.text(265)?;
        if !matches!(profile, "http://arm.com/CCA-SSD/1.0.0" | "tag:arm.com,2023:cca_platform#1.0.0") {
            let expected = "profile `http://arm.com/CCA-SSD/1.0.0` or `tag:arm.com,2023:cca_platform#1.0.0`";
            return Err(Refusal { cause: Cause::FormatVersion, expected, found: format!("`{profile}`") });
        }
        let lifecycle = claims.decode(2395, |decoder| decoder.u16().ok())?;
        let components = claims.decode(2399, |decoder| cbor::array(decoder, component))?;
        let platform = Self {
            profile,
            challenge: claims.digest(10)?,
            implementation: claims.bytes(2396, 32)?,
            instance: claims.bytes(256, 33)?,
            config: claims.decode(2401, |decoder| decoder.bytes().ok())?,
            lifecycle,
            hash: claims.text(2402)?,
            components,
            verification_service: claims.has(2400).then(|| claims.text(2400)).transpose()?,
        };
        let odd = platform.components.iter().find(|one| !is_digest(one.measurement) || !is_digest(one.signer));
        if let Some(odd) = odd {
            let found = format!("{} and {} bytes", odd.measurement.len(), odd.signer.len());
            let expected = "components with a measurement and a signer of 32, 48 or 64 bytes";
            return Err(Refusal { cause: Cause::FormatLength, expected, found });
        }
        if platform.components.is_empty() || platform.instance.first() != Some(&1) {
            let expected = "components, and an instance id of type 1";
            return Err(Refusal { cause: Cause::FormatMalformed, expected, found: "something else".to_owned() });
        }
        Ok(platform)
    }
}

fn component<'a>(decoder: &mut Decoder<'a>) -> Option<Component<'a>> {
    let mut component = Component::default();
    cbor::map(decoder, |decoder, key| {
        let Key::Number(key) = key else { return None };
        match key {
            1 => component.name = Some(decoder.str().ok()?),
            2 => component.measurement = decoder.bytes().ok()?,
            4 => component.version = Some(decoder.str().ok()?),
            5 => component.signer = decoder.bytes().ok()?,
            _ => cbor::skip(decoder)?,
        }
        Some(())
    })?;
    Some(component)
}

/// What the realm's manager says of the realm.
#[derive(Debug)]
pub(super) struct Realm<'a> {
    /// The challenger's bytes.
    pub(super) challenge: &'a [u8],
    /// What the host gave the realm at its start.
    pub(super) personalization: &'a [u8],
    /// What was launched.
    pub(super) initial: &'a [u8],
    /// What the realm measured since.
    pub(super) extensible: Vec<&'a [u8]>,
    pub(super) hash: &'a str,
    /// The realm attestation key as the claim holds it: what the platform's challenge is the hash of.
    pub(super) key: &'a [u8],
    /// That key as a point on P-384.
    pub(super) point: Vec<u8>,
    /// The algorithm of that hash.
    pub(super) key_hash: Hash,
}

impl<'a> Realm<'a> {
    /// Reads the claims, with nothing after them.
    pub(super) fn read(payload: &'a [u8]) -> Result<Self, Refusal> {
        let claims = Claims::read(payload)?;
        if claims.has(265) {
            let profile = claims.text(265)?;
            if profile != "tag:arm.com,2023:realm#1.0.0" {
                let expected = "profile `tag:arm.com,2023:realm#1.0.0`, or none";
                return Err(Refusal { cause: Cause::FormatVersion, expected, found: format!("`{profile}`") });
            }
        }
        let key = claims.decode(44237, |decoder| decoder.bytes().ok())?;
        let Some(point) = point(key) else {
            let expected = "a realm attestation key on P-384: an uncompressed point or a COSE_Key";
            return Err(Refusal { cause: Cause::FormatMalformed, expected, found: "something else".to_owned() });
        };
        let named = claims.text(44240)?;
        let Some(key_hash) = hash_of_name(named) else {
            let expected = "sha-256, sha-384 or sha-512 for the realm attestation key";
            return Err(Refusal { cause: Cause::FormatAlgorithm, expected, found: format!("`{named}`") });
        };
        let extensible = claims.decode(44239, |decoder| cbor::array(decoder, |decoder| decoder.bytes().ok()))?;
        if extensible.len() != 4 || !extensible.iter().all(|value| is_digest(value)) {
            let expected = "four extensible measurements of 32, 48 or 64 bytes";
            let lengths: Vec<_> = extensible.iter().map(|value| value.len()).collect();
            return Err(Refusal { cause: Cause::FormatLength, expected, found: format!("of {lengths:?} bytes") });
        }
        Ok(Self {
            challenge: claims.bytes(10, 64)?,
            personalization: claims.bytes(44235, 64)?,
            initial: claims.digest(44238)?,
            extensible,
            hash: claims.text(44236)?,
            key,
            point,
            key_hash,
        })
    }
}

/// The point of a P-384 key: as it is, or in a COSE_Key (RFC 9053, section 7.1.1).
fn point(key: &[u8]) -> Option<Vec<u8>> {
    if key.len() == 97 && key.first() == Some(&4) {
        return Some(key.to_vec());
    }
    let (mut is_ec, mut is_p384, mut x, mut y) = (false, false, None, None);
    let mut decoder = Decoder::new(key);
    cbor::map(&mut decoder, |decoder, label| {
        match label {
            Key::Number(1) => is_ec = decoder.u8().ok()? == 2,
            Key::Number(-1) => is_p384 = decoder.u8().ok()? == 2,
            Key::Number(-2) => x = Some(decoder.bytes().ok()?),
            Key::Number(-3) => y = Some(decoder.bytes().ok()?),
            _ => cbor::skip(decoder)?,
        }
        Some(())
    })?;
    let (x, y) = (x?, y?);
    let whole = is_ec && is_p384 && x.len() == 48 && y.len() == 48 && cbor::is_at_end(&decoder);
    whole.then(|| [&[4], x, y].concat())
}

/// A hash algorithm by the name that claims use (IANA, Named Information Hash Algorithms).
fn hash_of_name(name: &str) -> Option<Hash> {
    match name {
        "sha-256" => Some(Hash::Sha256),
        "sha-384" => Some(Hash::Sha384),
        "sha-512" => Some(Hash::Sha512),
        _ => None,
    }
}

fn is_digest(bytes: &[u8]) -> bool {
    matches!(bytes.len(), 32 | 48 | 64)
}

/// Claims by label; each value where it stands.
struct Claims<'a>(BTreeMap<i64, &'a [u8]>);

impl<'a> Claims<'a> {
    fn read(payload: &'a [u8]) -> Result<Self, Refusal> {
        let mut claims = BTreeMap::new();
        let mut decoder = Decoder::new(payload);
        let read = cbor::map(&mut decoder, |decoder, key| {
            let start = decoder.position();
            cbor::skip(decoder)?;
            let value = payload.get(start..decoder.position())?;
            // No claim here has a text for its name.
            if let Key::Number(key) = key {
                claims.insert(key, value);
            }
            Some(())
        });
        if read.is_none() || !cbor::is_at_end(&decoder) {
            let found = format!("something else at about byte {}", decoder.position());
            return Err(Refusal {
                cause: Cause::FormatMalformed,
                expected: "a map of claims, none of them twice",
                found,
            });
        }
        Ok(Self(claims))
    }

    fn has(&self, label: i64) -> bool {
        self.0.contains_key(&label)
    }

    fn decode<T>(&self, label: i64, read: impl FnOnce(&mut Decoder<'a>) -> Option<T>) -> Result<T, Refusal> {
        let value = self.0.get(&label).copied();
        let found = if value.is_some() { "another type of value" } else { "no such claim" };
        value.and_then(|value| read(&mut Decoder::new(value))).ok_or_else(|| Refusal {
            cause: Cause::FormatMalformed,
            expected: "every claim that is mandatory, with a value of its type",
            found: format!("{found}: {label}"),
        })
    }

    fn text(&self, label: i64) -> Result<&'a str, Refusal> {
        self.decode(label, |decoder| decoder.str().ok())
    }

    fn bytes(&self, label: i64, length: usize) -> Result<&'a [u8], Refusal> {
        let bytes = self.decode(label, |decoder| decoder.bytes().ok())?;
        self.held(label, bytes, bytes.len() == length)
    }

    fn digest(&self, label: i64) -> Result<&'a [u8], Refusal> {
        let bytes = self.decode(label, |decoder| decoder.bytes().ok())?;
        self.held(label, bytes, is_digest(bytes))
    }

    fn held(&self, label: i64, bytes: &'a [u8], holds: bool) -> Result<&'a [u8], Refusal> {
        if holds {
            return Ok(bytes);
        }
        Err(Refusal {
            cause: Cause::FormatLength,
            expected: "claims of their lengths: challenge and personalization 64 bytes, implementation 32, instance 33, \
                       measurements 32, 48 or 64",
            found: format!("{} bytes in claim {label}", bytes.len()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_points_and_as_cose_keys_of_their_curve_alone() {
        let raw = [[4].as_slice(), &[7; 96]].concat();
        assert_eq!(point(&raw), Some(raw.clone()));
        let cose = |curve: u8, x: usize| {
            [[0xa4, 1, 2, 0x20, curve, 0x21, 0x58, 48].as_slice(), &vec![7; x], &[0x22, 0x58, 48], &[7; 48]].concat()
        };
        assert_eq!(point(&cose(2, 48)), Some(raw));
        assert_eq!(point(&cose(1, 48)), None);
        assert_eq!(point(&cose(2, 47)), None);
        assert_eq!(point(&[2; 97]), None);
        assert_eq!(point(&[]), None);
    }
}
