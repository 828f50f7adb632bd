//! The keys of platforms that are trusted: there is no chain, an anchor names one platform and its key.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ParsedPublicKey, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use burgrave_types::claims::HexBytes;
use serde::Deserialize;

use crate::cose::{ES256, ES384, ES512};

/// A platform's attestation key (CPAK), as its vendor endorses it.
#[derive(Clone, Debug)]
pub(crate) struct Anchor {
    implementation: Vec<u8>,
    instance: Vec<u8>,
    curve: Curve,
    point: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Curve {
    P256,
    P384,
    P521,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    implementation_id: HexBytes,
    instance_id: HexBytes,
    pkey: Jwk,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: String,
    x: String,
    y: String,
}

impl Anchor {
    /// Reads a file of anchors: a JSON array of `implementation-id` and `instance-id` (hexadecimal) and `pkey` (a JWK of an EC
    /// key). `None` for anything else. Whether a key is a point of its curve shows when it is used.
    pub(crate) fn read_all(json: &[u8]) -> Option<Vec<Self>> {
        let entries: Vec<Entry> = serde_json::from_slice(json).ok()?;
        entries.into_iter().map(Self::from_entry).collect()
    }

    fn from_entry(entry: Entry) -> Option<Self> {
        let (curve, length) = match entry.pkey.crv.as_str() {
            "P-256" => (Curve::P256, 32),
            "P-384" => (Curve::P384, 48),
            "P-521" => (Curve::P521, 66),
            _ => return None,
        };
        let coordinate = |text: &str| URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == length);
        let (x, y) = (coordinate(&entry.pkey.x)?, coordinate(&entry.pkey.y)?);
        (entry.pkey.kty == "EC").then(|| Self {
            implementation: entry.implementation_id.0,
            instance: entry.instance_id.0,
            curve,
            point: [[4].as_slice(), &x, &y].concat(),
        })
    }

    /// Whether it is for this platform.
    pub(super) fn is_of(&self, implementation: &[u8], instance: &[u8]) -> bool {
        self.implementation == implementation && self.instance == instance
    }

    /// The algorithm that goes with its curve, by number.
    pub(super) fn algorithm(&self) -> i64 {
        match self.curve {
            Curve::P256 => ES256,
            Curve::P384 => ES384,
            Curve::P521 => ES512,
        }
    }

    /// The key; `None` where it is no point of its curve.
    pub(super) fn key(&self) -> Option<ParsedPublicKey> {
        let algorithm: &'static dyn VerificationAlgorithm = match self.curve {
            Curve::P256 => &ECDSA_P256_SHA256_FIXED,
            Curve::P384 => &ECDSA_P384_SHA384_FIXED,
            Curve::P521 => &ECDSA_P521_SHA512_FIXED,
        };
        ParsedPublicKey::new(algorithm, &self.point).ok()
    }
}
