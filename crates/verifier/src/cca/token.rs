//! The claims of both tokens, read where they stand.

use std::collections::BTreeMap;

use minicbor::Decoder;
use minicbor::data::Type;

use crate::Cause;
use crate::cbor::{self, Key};
use crate::tpm::Hash;

/// The client that asks the platform for tokens which bind realms (RMM 2.0, CCA platform client ID).
const REALM_MANAGEMENT: i64 = 1;

/// Why a token is not taken.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) cause: Cause,
    pub(super) expected: &'static str,
    pub(super) found: String,
}

/// Which edition of the claims a token has, by its profile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Edition {
    /// RMM 1.0.
    First,
    /// RMM 2.0 as of 2024, which adds to the first.
    Second,
}

/// A firmware component of the platform.
#[derive(Debug, Default)]
pub(super) struct Component<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) measurement: &'a [u8],
    pub(super) version: Option<&'a str>,
    pub(super) signer: &'a [u8],
    /// The algorithm of its measurement, where it is not the platform's.
    hash: Option<&'a str>,
}

/// What the platform says of itself.
#[derive(Debug)]
pub(super) struct Platform<'a> {
    pub(super) profile: &'a str,
    pub(super) edition: Edition,
    /// The hash of the realm attestation key.
    pub(super) challenge: &'a [u8],
    /// Which implementation of the architecture it is.
    pub(super) implementation: &'a [u8],
    /// Which instance of it.
    pub(super) instance: &'a [u8],
    pub(super) config: &'a [u8],
    pub(super) lifecycle: u16,
    /// The algorithm of its components' measurements.
    pub(super) hash: Hash,
    pub(super) components: Vec<Component<'a>>,
    /// The digests of what devices that were added at run time say of themselves.
    pub(super) extensions: Vec<&'a [u8]>,
    pub(super) verification_service: Option<&'a str>,
}

impl<'a> Platform<'a> {
    /// Reads the claims, with nothing after them.
    pub(super) fn read(payload: &'a [u8]) -> Result<Self, Refusal> {
        let claims = Claims::read(payload)?;
        let profile = claims.text(265)?;
        let edition = match profile {
            "http://arm.com/CCA-SSD/1.0.0" | "tag:arm.com,2023:cca_platform#1.0.0" => Edition::First,
            "tag:arm.com,2024:cca_platform#2.0.0" => Edition::Second,
            _ => {
                let expected = "profile `http://arm.com/CCA-SSD/1.0.0`, `tag:arm.com,2023:cca_platform#1.0.0` or \
                                `tag:arm.com,2024:cca_platform#2.0.0`";
                return Err(Refusal { cause: Cause::FormatVersion, expected, found: format!("`{profile}`") });
            }
        };
        if edition == Edition::Second || claims.has(2394) {
            let client = claims.decode(2394, |decoder| decoder.i64().ok())?;
            if client != REALM_MANAGEMENT {
                let expected =
                    "a token that the realm management domain (client 1) asked for: another's binds no realm";
                return Err(Refusal { cause: Cause::BindingPart, expected, found: format!("client {client}") });
            }
        }
        let lifecycle = claims.decode(2395, |decoder| decoder.u16().ok())?;
        let components = claims.decode(2399, |decoder| cbor::array(decoder, component))?;
        let extensions = match claims.has(2404) {
            true => claims.decode(2404, |decoder| cbor::array(decoder, extension))?,
            false => Vec::new(),
        };
        let platform = Self {
            profile,
            edition,
            challenge: claims.digest(10)?,
            implementation: claims.bytes(2396, 32)?,
            instance: claims.bytes(256, 33)?,
            config: claims.decode(2401, |decoder| decoder.bytes().ok())?,
            lifecycle,
            hash: claims.hash(2402)?,
            components,
            extensions,
            verification_service: claims.optional(2400, Claims::text)?,
        };
        for named in platform.components.iter().filter_map(|component| component.hash) {
            hash_of_name(named).ok_or_else(|| unknown_hash(named))?;
        }
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

    /// The first component whose measurement is not as long as what it is said to be computed with gives.
    pub(super) fn odd_component(&self) -> Option<&Component<'a>> {
        let hash_of = |component: &Component<'_>| component.hash.and_then(hash_of_name).unwrap_or(self.hash);
        self.components.iter().find(|component| component.measurement.len() != hash_of(component).length())
    }
}

/// The digest of the measurements of a device that was added at run time.
fn extension<'a>(decoder: &mut Decoder<'a>) -> Option<&'a [u8]> {
    let mut digest = None;
    cbor::map(decoder, |decoder, key| {
        match key {
            Key::Number(2) => digest = Some(decoder.bytes().ok()?),
            _ => cbor::skip(decoder)?,
        }
        Some(())
    })?;
    digest.filter(|digest| is_digest(digest))
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
            6 => component.hash = Some(decoder.str().ok()?),
            _ => cbor::skip(decoder)?,
        }
        Some(())
    })?;
    Some(component)
}

/// What the realm's manager says of the realm.
#[derive(Debug)]
pub(super) struct Realm<'a> {
    /// None where it leaves its profile to the platform's.
    pub(super) edition: Option<Edition>,
    /// The challenger's bytes.
    pub(super) challenge: &'a [u8],
    /// What the host gave the realm at its start.
    pub(super) personalization: &'a [u8],
    /// What was launched.
    pub(super) initial: &'a [u8],
    /// What the realm measured since.
    pub(super) extensible: Vec<&'a [u8]>,
    /// The algorithm of both.
    pub(super) hash: Hash,
    /// Whether its memory is encrypted under a key of its own; none where it does not say.
    pub(super) private_memory_key: Option<bool>,
    /// The digest of what the devices that it uses say of themselves.
    pub(super) devices: Option<&'a [u8]>,
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
        let edition = match claims.optional(265, Claims::text)? {
            None => None,
            Some("tag:arm.com,2023:realm#1.0.0") => Some(Edition::First),
            Some("tag:arm.com,2024:realm#2.0.0") => Some(Edition::Second),
            Some(profile) => {
                let expected = "profile `tag:arm.com,2023:realm#1.0.0` or `tag:arm.com,2024:realm#2.0.0`, or none";
                return Err(Refusal { cause: Cause::FormatVersion, expected, found: format!("`{profile}`") });
            }
        };
        let key = claims.decode(44237, |decoder| decoder.bytes().ok())?;
        let Some(point) = point(key) else {
            let expected = "a realm attestation key on P-384: an uncompressed point or a COSE_Key";
            return Err(Refusal { cause: Cause::FormatMalformed, expected, found: "something else".to_owned() });
        };
        let key_hash = claims.hash(44240)?;
        let initial = claims.digest(44238)?;
        let extensible = claims.decode(44239, |decoder| cbor::array(decoder, |decoder| decoder.bytes().ok()))?;
        if extensible.len() != 4 || !extensible.iter().all(|value| value.len() == initial.len()) {
            let expected = "four extensible measurements, as long as the initial one";
            let lengths: Vec<_> = extensible.iter().map(|value| value.len()).collect();
            return Err(Refusal { cause: Cause::FormatLength, expected, found: format!("of {lengths:?} bytes") });
        }
        Ok(Self {
            challenge: claims.bytes(10, 64)?,
            edition,
            personalization: claims.bytes(44235, 64)?,
            initial,
            extensible,
            hash: claims.hash(44236)?,
            private_memory_key: claims.optional(44243, Claims::memory_key)?,
            devices: claims.optional(44257, Claims::digest)?,
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

fn unknown_hash(named: &str) -> Refusal {
    let expected = "hashes by sha-256, sha-384 or sha-512";
    Refusal { cause: Cause::FormatAlgorithm, expected, found: format!("`{named}`") }
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

    /// What `read` reads of a claim that may be absent.
    fn optional<T>(&self, label: i64, read: impl Fn(&Self, i64) -> Result<T, Refusal>) -> Result<Option<T>, Refusal> {
        self.has(label).then(|| read(self, label)).transpose()
    }

    fn hash(&self, label: i64) -> Result<Hash, Refusal> {
        let named = self.text(label)?;
        hash_of_name(named).ok_or_else(|| unknown_hash(named))
    }

    /// Whether a realm's memory has a key of its own: a number in Arm's specification, a word in others' tokens.
    fn memory_key(&self, label: i64) -> Result<bool, Refusal> {
        self.decode(label, |decoder| match decoder.datatype().ok()? {
            Type::String => match decoder.str().ok()? {
                "shared" => Some(false),
                "private" => Some(true),
                _ => None,
            },
            _ => match decoder.u8().ok()? {
                0 => Some(false),
                1 => Some(true),
                _ => None,
            },
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
