//! Signed JSON: attestation results and other statements of a node, as compact JWS (RFC 7515) with ES256.
//!
//! The header has `alg`, `typ`, `kid` and `x5c` and nothing else; `x5c` is the node-signing certificate and the issuing CA's,
//! `kid` the key's thumbprint (RFC 7638; tokens of the first format lack it). So a token verifies offline with the genesis
//! hash, or, by whoever knows nothing of our certificates, with the key set that nodes publish. `typ` keeps one kind of
//! statement from being taken for another.

use burgrave_types::api::KeySet;
use burgrave_types::{GenesisHash, Timestamp};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use crate::jwk::{self, thumbprint};
use crate::key::verify_signature_of;
use crate::{
    DomainTrust, IdentityError, IdentityKey, ProfileKind, SignatureAlgorithm, VerifiedIdentity,
    signature_der_from_fixed, verify_chain,
};

/// `typ` of an attestation result (an EAR, which is an EAT: RFC 9711 section 9).
pub const TYP_ATTESTATION_RESULT: &str = "eat+jwt";

/// Bytes of a token, at most.
pub const MAX_BYTES: usize = 1024 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    #[serde(default)]
    kid: Option<String>,
    x5c: Vec<String>,
}

/// Signs `payload` with a node-signing key, whose certificate is the first of `chain`, the issuing CA's the second.
///
/// # Errors
/// [`IdentityError::Encoding`] where the payload is no JSON, [`IdentityError::Crypto`] where the library fails.
pub fn sign(
    payload: &serde_json::Value,
    typ: &str,
    key: &IdentityKey,
    chain: &[CertificateDer<'_>],
) -> Result<String, IdentityError> {
    let encoding = |why: serde_json::Error| IdentityError::encoding("signed token", why);
    let x5c = chain.iter().map(|certificate| BASE64.encode(certificate)).collect();
    let header = Header { alg: "ES256".into(), typ: typ.into(), kid: Some(thumbprint(key.spki())?), x5c };
    let header = BASE64URL_NOPAD.encode(&serde_json::to_vec(&header).map_err(encoding)?);
    let payload = BASE64URL_NOPAD.encode(&serde_json::to_vec(payload).map_err(encoding)?);
    let signed = format!("{header}.{payload}");
    let signature = BASE64URL_NOPAD.encode(&key.sign_fixed(signed.as_bytes())?);
    Ok(format!("{signed}.{signature}"))
}

/// Verifies a token of kind `typ`: algorithm, certificate (profile node-signing, of the domain, valid at `now`),
/// signature. Returns who signed it and what it says; the payload's own times are the caller's to check.
///
/// # Errors
/// [`IdentityError::Token`] for what is not a token of ours; else as [`verify_chain`] and [`IdentityError::Signature`].
pub fn verify(
    token: &str,
    typ: &str,
    trust: &DomainTrust,
    now: Timestamp,
) -> Result<(VerifiedIdentity, serde_json::Value), IdentityError> {
    let token = Token::read(token, typ)?;
    let chain = token.header.x5c.iter().map(|text| BASE64.decode(text.as_bytes()).map(CertificateDer::from));
    let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(|_| refused("a certificate in it is not Base64"))?;
    let signer = verify_chain(&chain, trust, now, ProfileKind::NodeSigning)?;
    if token.header.kid.is_some_and(|kid| thumbprint(&signer.spki).ok() != Some(kid)) {
        return Err(refused("its `kid` is not the key of its certificate"));
    }
    let payload = token.signed.verify(&signer.spki)?;
    Ok((signer, payload))
}

/// Verifies a token of kind `typ` with a published key set alone, as any JOSE library would: algorithm, key by `kid`,
/// signature. The set is trusted as it is; the payload's own times are the caller's to check.
///
/// # Errors
/// [`IdentityError::Token`] for what is not a token of ours or signed by none of the keys, [`IdentityError::Signature`].
pub fn verify_with_keys(token: &str, typ: &str, keys: &KeySet) -> Result<serde_json::Value, IdentityError> {
    let token = Token::read(token, typ)?;
    let kid = token.header.kid.ok_or_else(|| refused("it does not name its key"))?;
    token.signed.verify(&jwk::find(keys, &kid)?)
}

/// The domain that a token says it is from: its own word, until the genesis hash of it is held against a pinned one, which
/// this does.
///
/// # Errors
/// [`IdentityError::Token`] where it carries no chain; else as [`DomainTrust::from_chain`].
pub fn trust_of(token: &str, typ: &str, genesis: &GenesisHash) -> Result<DomainTrust, IdentityError> {
    let token = Token::read(token, typ)?;
    let ca = token.header.x5c.last().ok_or(IdentityError::NoCertificate)?;
    let ca = BASE64.decode(ca.as_bytes()).map_err(|_| refused("a certificate in it is not Base64"))?;
    DomainTrust::from_chain(&CertificateDer::from(ca), genesis)
}

/// A token in its parts.
struct Token<'a> {
    header: Header,
    signed: Signed<'a>,
}

/// What a signature is over.
struct Signed<'a> {
    signed: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Token<'a> {
    fn read(token: &'a str, typ: &str) -> Result<Self, IdentityError> {
        if token.len() > MAX_BYTES {
            return Err(refused("it has more than a mebibyte"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or_else(|| refused("it has not three parts"))?;
        let (header, payload) = signed.split_once('.').ok_or_else(|| refused("it has not three parts"))?;
        let header = parse_header(&decode(header)?)?;
        if header.alg != "ES256" {
            return Err(refused("its algorithm is not ES256"));
        }
        if header.typ != typ {
            return Err(IdentityError::Token(format!("it is not of the kind `{typ}`")));
        }
        Ok(Self { header, signed: Signed { signed, payload, signature } })
    }
}

impl Signed<'_> {
    fn verify(&self, spki: &[u8]) -> Result<serde_json::Value, IdentityError> {
        let p256 = SignatureAlgorithm::EcdsaP256Sha256;
        let signature = signature_der_from_fixed(p256, &decode(self.signature)?)?;
        verify_signature_of("signed token", spki, p256, self.signed.as_bytes(), &signature)?;
        serde_json::from_slice(&decode(self.payload)?).map_err(|why| IdentityError::encoding("token's payload", why))
    }
}

fn refused(why: &str) -> IdentityError {
    IdentityError::Token(why.to_owned())
}

fn parse_header(bytes: &[u8]) -> Result<Header, IdentityError> {
    serde_json::from_slice(bytes).map_err(|why| IdentityError::encoding("token's header", why))
}

fn decode(part: &str) -> Result<Vec<u8>, IdentityError> {
    let refused = |_| IdentityError::Token("a part of it is not Base64url without padding".to_owned());
    BASE64URL_NOPAD.decode(part.as_bytes()).map_err(refused)
}

#[cfg(test)]
mod tests {
    use burgrave_types::DomainClass;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::testing::{NOW, TestDomain};

    const TYP: &str = TYP_ATTESTATION_RESULT;

    fn signed(domain: &TestDomain) -> (String, IdentityKey, Vec<CertificateDer<'static>>) {
        let key = IdentityKey::generate().unwrap();
        let chain = domain.chain(domain.node_signing(), &key);
        (sign(&json!({"ear.status": "affirming"}), TYP, &key, &chain).unwrap(), key, chain)
    }

    /// The token with another header, under its old signature.
    fn with_header(token: &str, header: &str) -> String {
        let (_, rest) = token.split_once('.').unwrap();
        format!("{}.{rest}", BASE64URL_NOPAD.encode(header.as_bytes()))
    }

    #[test]
    fn a_token_verifies_with_the_genesis_hash_alone() {
        let domain = TestDomain::new(DomainClass::Production);
        let (token, key, _) = signed(&domain);
        let (signer, payload) = verify(&token, TYP, &domain.trust(), NOW).unwrap();
        assert_eq!(signer.spki, key.spki());
        assert_eq!(payload, json!({"ear.status": "affirming"}));
    }

    #[test]
    fn a_token_verifies_with_the_published_keys_alone() {
        let domain = TestDomain::shared(DomainClass::Dev);
        let (token, key, chain) = signed(domain);
        let keys = KeySet { keys: vec![jwk::jwk(key.spki(), &chain).unwrap()] };
        assert_eq!(verify_with_keys(&token, TYP, &keys).unwrap(), json!({"ear.status": "affirming"}));
        let other = IdentityKey::generate().unwrap();
        let others = KeySet { keys: vec![jwk::jwk(other.spki(), &[]).unwrap()] };
        assert!(verify_with_keys(&token, TYP, &others).unwrap_err().to_string().contains("fetch the set again"));
        assert!(verify_with_keys(&token, "JWT", &keys).is_err());
        let (signed, _) = token.rsplit_once('.').unwrap();
        let forged = format!("{signed}.{}", BASE64URL_NOPAD.encode(&other.sign_fixed(signed.as_bytes()).unwrap()));
        assert_eq!(verify_with_keys(&forged, TYP, &keys), Err(IdentityError::Signature("signed token")));
    }

    #[test]
    fn a_token_brings_its_own_domain_which_counts_under_the_pinned_hash_alone() {
        let domain = TestDomain::shared(DomainClass::Dev);
        let (token, ..) = signed(domain);
        let genesis = domain.trust().genesis_hash();
        let trust = trust_of(&token, TYP, &genesis).unwrap();
        verify(&token, TYP, &trust, NOW).unwrap();
        let other = TestDomain::new(DomainClass::Dev).trust().genesis_hash();
        assert!(matches!(trust_of(&token, TYP, &other), Err(IdentityError::OtherGenesis { .. })));
    }

    #[test]
    fn other_algorithms_and_headers_are_refused() {
        let domain = TestDomain::shared(DomainClass::Dev);
        let (token, _, chain) = signed(domain);
        let x5c = json!(chain.iter().map(|c| BASE64.encode(c)).collect::<Vec<_>>()).to_string();
        for (header, word) in [
            (format!(r#"{{"alg":"none","typ":"{TYP}","x5c":{x5c}}}"#), "algorithm"),
            (format!(r#"{{"alg":"HS256","typ":"{TYP}","x5c":{x5c}}}"#), "algorithm"),
            (format!(r#"{{"alg":"ES256","alg":"ES256","typ":"{TYP}","x5c":{x5c}}}"#), "duplicate"),
            (format!(r#"{{"alg":"ES256","typ":"{TYP}","x5c":{x5c},"jwk":{{}}}}"#), "unknown field"),
            (format!(r#"{{"alg":"ES256","typ":"{TYP}","kid":"other","x5c":{x5c}}}"#), "kid"),
            (format!(r#"{{"alg":"ES256","typ":"JWT","x5c":{x5c}}}"#), "kind"),
            (format!(r#"{{"alg":"ES256","typ":"{TYP}","x5c":[]}}"#), "no certificate"),
        ] {
            let error = verify(&with_header(&token, &header), TYP, &domain.trust(), NOW).unwrap_err();
            assert!(error.to_string().contains(word), "{header}: {error}");
        }
    }

    #[test]
    fn a_token_of_another_profile_domain_or_time_is_refused() {
        let domain = TestDomain::shared(DomainClass::Dev);
        let other = TestDomain::new(DomainClass::Dev);
        let (token, ..) = signed(domain);
        assert!(matches!(verify(&token, TYP, &other.trust(), NOW), Err(IdentityError::OtherGenesis { .. })));
        let late = NOW + std::time::Duration::from_secs(86_400);
        assert!(matches!(verify(&token, TYP, &domain.trust(), late), Err(IdentityError::Validity { .. })));
        let key = IdentityKey::generate().unwrap();
        let token = sign(&json!({}), TYP, &key, &domain.chain(domain.node(), &key)).unwrap();
        assert!(matches!(verify(&token, TYP, &domain.trust(), NOW), Err(IdentityError::Profile { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn an_altered_token_is_refused(at: proptest::sample::Index, letter in "[A-Za-z0-9_.-]") {
            let domain = TestDomain::shared(DomainClass::Dev);
            let (token, ..) = signed(domain);
            let at = at.index(token.len());
            let altered = format!("{}{letter}{}", &token[..at], &token[at + 1..]);
            prop_assume!(altered != token);
            prop_assert!(verify(&altered, TYP, &domain.trust(), NOW).is_err());
        }

        #[test]
        fn arbitrary_text_never_panics(text: String) {
            let domain = TestDomain::shared(DomainClass::Dev);
            prop_assert!(verify(&text, TYP, &domain.trust(), NOW).is_err());
        }
    }
}
