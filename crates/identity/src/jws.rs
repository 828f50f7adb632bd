//! Signed JSON: attestation results and other statements of a node, as compact JWS (RFC 7515) with ES256.
//!
//! The header has `alg`, `typ` and `x5c` and nothing else; `x5c` is the node-signing certificate and the issuing CA's. So
//! a token verifies offline with the genesis hash. `typ` keeps one kind of statement from being taken for another.

use burgrave_types::Timestamp;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

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
    let header = Header { alg: "ES256".into(), typ: typ.into(), x5c };
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
    let refused = |why: &str| IdentityError::Token(why.to_owned());
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
    let chain = header.x5c.iter().map(|text| BASE64.decode(text.as_bytes()).map(CertificateDer::from));
    let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(|_| refused("a certificate in it is not Base64"))?;
    let signer = verify_chain(&chain, trust, now, ProfileKind::NodeSigning)?;
    let p256 = SignatureAlgorithm::EcdsaP256Sha256;
    let signature = signature_der_from_fixed(p256, &decode(signature)?)?;
    verify_signature_of("signed token", &signer.spki, p256, signed.as_bytes(), &signature)?;
    let payload =
        serde_json::from_slice(&decode(payload)?).map_err(|why| IdentityError::encoding("token's payload", why))?;
    Ok((signer, payload))
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
    fn other_algorithms_and_headers_are_refused() {
        let domain = TestDomain::shared(DomainClass::Dev);
        let (token, _, chain) = signed(domain);
        let x5c = json!(chain.iter().map(|c| BASE64.encode(c)).collect::<Vec<_>>()).to_string();
        for (header, word) in [
            (format!(r#"{{"alg":"none","typ":"{TYP}","x5c":{x5c}}}"#), "algorithm"),
            (format!(r#"{{"alg":"HS256","typ":"{TYP}","x5c":{x5c}}}"#), "algorithm"),
            (format!(r#"{{"alg":"ES256","alg":"ES256","typ":"{TYP}","x5c":{x5c}}}"#), "duplicate"),
            (format!(r#"{{"alg":"ES256","typ":"{TYP}","x5c":{x5c},"jwk":{{}}}}"#), "unknown field"),
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
