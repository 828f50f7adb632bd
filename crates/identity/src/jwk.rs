//! Public keys as JSON Web Keys, for those who verify statements without our certificates.

use burgrave_types::api::{Jwk, KeySet};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use rustls_pki_types::CertificateDer;

use crate::key::{point_of_p256, sha256, spki_of_p256};
use crate::{IdentityError, SignatureAlgorithm, check_spki};

/// The JWK of an ECDSA P-256 key in a SubjectPublicKeyInfo (DER), with the chain that vouches for it.
///
/// # Errors
/// [`IdentityError::Key`] where it is another kind of key.
pub fn jwk(spki: &[u8], chain: &[CertificateDer<'_>]) -> Result<Jwk, IdentityError> {
    let (x, y) = coordinates(spki)?;
    Ok(Jwk {
        kty: "EC".to_owned(),
        crv: "P-256".to_owned(),
        kid: thumbprint_of(&x, &y),
        x,
        y,
        alg: "ES256".to_owned(),
        usage: "sig".to_owned(),
        x5c: chain.iter().map(|certificate| BASE64.encode(certificate)).collect(),
    })
}

/// The key that a JWK holds, as a SubjectPublicKeyInfo in DER; `x5c` is not looked at.
///
/// # Errors
/// [`IdentityError::Token`] where it is no key for ES256, or its `kid` is another key's.
pub fn spki_of_jwk(jwk: &Jwk) -> Result<Vec<u8>, IdentityError> {
    let refused = |why: &str| IdentityError::Token(format!("the key `{}` {why}", jwk.kid));
    if (jwk.kty.as_str(), jwk.crv.as_str(), jwk.alg.as_str()) != ("EC", "P-256", "ES256") {
        return Err(refused("is not an ECDSA P-256 key for ES256"));
    }
    let decode = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).ok().filter(|bytes| bytes.len() == 32);
    let (x, y) = decode(&jwk.x).zip(decode(&jwk.y)).ok_or_else(|| refused("has no coordinates of 32 bytes"))?;
    if thumbprint_of(&jwk.x, &jwk.y) != jwk.kid {
        return Err(refused("has a `kid` that is not its thumbprint"));
    }
    let point = [&[4], x.as_slice(), y.as_slice()].concat();
    let spki = spki_of_p256(&point)?;
    check_spki("key set", &spki, SignatureAlgorithm::EcdsaP256Sha256)?;
    Ok(spki)
}

/// The key of that `kid` in a set.
///
/// # Errors
/// [`IdentityError::Token`] where there is none, or as [`spki_of_jwk`].
pub(crate) fn find(set: &KeySet, kid: &str) -> Result<Vec<u8>, IdentityError> {
    let unknown = || IdentityError::Token(format!("its key `{kid}` is not in the key set; fetch the set again"));
    spki_of_jwk(set.keys.iter().find(|key| key.kid == kid).ok_or_else(unknown)?)
}

/// The thumbprint of an ECDSA P-256 key (RFC 7638 with SHA-256), Base64url.
///
/// # Errors
/// [`IdentityError::Key`] where it is another kind of key.
pub fn thumbprint(spki: &[u8]) -> Result<String, IdentityError> {
    let (x, y) = coordinates(spki)?;
    Ok(thumbprint_of(&x, &y))
}

/// RFC 7638 section 3: the required members in lexicographic order, no white space.
fn thumbprint_of(x: &str, y: &str) -> String {
    BASE64URL_NOPAD.encode(&sha256(format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#).as_bytes()))
}

fn coordinates(spki: &[u8]) -> Result<(String, String), IdentityError> {
    let point = point_of_p256(spki)?;
    let (x, y) = point.get(1..).unwrap_or_default().split_at_checked(32).unwrap_or_default();
    Ok((BASE64URL_NOPAD.encode(x), BASE64URL_NOPAD.encode(y)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IdentityKey;

    #[test]
    fn a_key_is_the_same_after_its_json() {
        let key = IdentityKey::generate().unwrap();
        let written = serde_json::to_string(&jwk(key.spki(), &[]).unwrap()).unwrap();
        let read: Jwk = serde_json::from_str(&written).unwrap();
        assert_eq!(spki_of_jwk(&read).unwrap(), key.spki());
        assert_eq!(read.kid, thumbprint(key.spki()).unwrap());
    }

    /// The P-256 key of RFC 7515 appendix A.3; its thumbprint is RFC 7638's rule applied to it.
    #[test]
    fn the_thumbprint_is_over_the_required_members_alone() {
        let (x, y) = ("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
        assert_eq!(thumbprint_of(x, y), "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U");
    }

    #[test]
    fn a_key_with_another_ones_name_kind_or_point_is_refused() {
        let (key, other) = (IdentityKey::generate().unwrap(), IdentityKey::generate().unwrap());
        let good = jwk(key.spki(), &[]).unwrap();
        let kid = thumbprint(other.spki()).unwrap();
        for bad in [
            Jwk { kid, ..good.clone() },
            Jwk { kty: "RSA".to_owned(), ..good.clone() },
            Jwk { alg: "none".to_owned(), ..good.clone() },
            Jwk { x: good.x[1..].to_owned(), ..good.clone() },
        ] {
            assert!(spki_of_jwk(&bad).is_err(), "{bad:?}");
        }
    }
}
