//! From a certificate chain to who the peer is.

use burgrave_types::{DomainClass, SpiffeId, SpkiHash, Timestamp};
use rustls_pki_types::CertificateDer;

use crate::certificate::{ParsedCertificate, check_validity};
use crate::{DomainTrust, IdentityError, ProfileKind, SignatureAlgorithm, check_spki, spki_hash};

/// A verified holder of a certificate of the domain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedIdentity {
    /// Its name.
    pub spiffe_id: SpiffeId,
    /// What the certificate is for.
    pub profile: ProfileKind,
    /// Its public key (ECDSA P-256, SPKI in DER).
    pub spki: Vec<u8>,
    /// SHA-256 of its public key.
    pub spki_hash: SpkiHash,
    /// The domain's class.
    pub class: DomainClass,
    /// First instant of the certificate's validity.
    pub not_before: Timestamp,
    /// Last instant of the certificate's validity.
    pub not_after: Timestamp,
}

/// Verifies a chain, leaf first, against the domain: the leaf's signature by the domain's CA, validity of both at `now`,
/// issuer, constraints, key usage and purposes exactly those of `profile`, one name, the domain's class.
///
/// The chain is the leaf alone, or the leaf and the CA's certificate, which must be for the domain's CA key.
///
/// # Errors
/// [`IdentityError`] for the first check that fails.
pub fn verify_chain(
    chain: &[CertificateDer<'_>],
    trust: &DomainTrust,
    now: Timestamp,
    profile: ProfileKind,
) -> Result<VerifiedIdentity, IdentityError> {
    let leaf = match chain {
        [leaf] => leaf,
        [leaf, ca] if ca == trust.root_certificate() => leaf,
        [leaf, ca] => {
            DomainTrust::from_chain(ca, &trust.genesis_hash())?;
            leaf
        }
        [] => return Err(IdentityError::NoCertificate),
        _ => return Err(IdentityError::ChainLength(chain.len())),
    };
    let leaf = ParsedCertificate::parse(leaf)?;
    leaf.expect_profile(profile)?;
    leaf.expect_issuer(trust.ca_spki())?;
    leaf.verify_signature(
        "certificate by the domain's issuing CA",
        trust.ca_spki(),
        SignatureAlgorithm::EcdsaP384Sha384,
    )?;
    trust.check_validity(now)?;
    check_validity("certificate", leaf.not_before, leaf.not_after, now)?;
    leaf.expect_class(trust.class())?;
    let spiffe_id = leaf.spiffe_id(trust.trust_domain(), profile)?;
    check_spki("certificate's key", &leaf.spki, SignatureAlgorithm::EcdsaP256Sha256)?;
    let (not_before, not_after) = (leaf.not_before, leaf.not_after);
    let (spki_hash, class) = (spki_hash(&leaf.spki), trust.class());
    Ok(VerifiedIdentity { spiffe_id, profile, spki: leaf.spki, spki_hash, class, not_before, not_after })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::{HOUR, NOW, TestDomain, TestRandom, flip, sign};
    use crate::{CertificateTemplate, IdentityKey, Profile, self_signed_identity, verify_self_signed};

    fn verify(domain: &TestDomain, chain: &[CertificateDer<'_>], kind: ProfileKind) -> Result<SpiffeId, IdentityError> {
        verify_chain(chain, &domain.trust(), NOW, kind).map(|identity| identity.spiffe_id)
    }

    fn profiles(domain: &TestDomain) -> [Profile; 4] {
        [domain.node(), domain.node_signing(), domain.enclave("payments/api"), domain.admin()]
    }

    /// A certificate as an issuer would sign it that keeps no rule of ours: `from` in the signed bytes becomes `to`.
    fn forged(
        domain: &TestDomain,
        template: &CertificateTemplate,
        from: &[u8],
        to: &[u8],
    ) -> Vec<CertificateDer<'static>> {
        let tbs = template.to_be_signed(&TestRandom).unwrap().replace(from, to);
        vec![sign(&tbs, &domain.ca), domain.ca_certificate.clone()]
    }

    #[test]
    fn each_profile_verifies_as_itself_and_as_nothing_else() {
        let domain = TestDomain::shared(DomainClass::Production);
        for profile in profiles(domain) {
            let key = IdentityKey::generate().unwrap();
            let kind = profile.kind();
            let chain = domain.chain(profile, &key);
            let identity = verify_chain(&chain, &domain.trust(), NOW, kind).unwrap();
            assert_eq!((identity.spki_hash, identity.profile), (key.spki_hash(), kind));
            assert_eq!((identity.not_before, identity.not_after), (NOW - HOUR, NOW + HOUR));
            assert_eq!(verify(domain, &chain[..1], kind).unwrap(), identity.spiffe_id);
            for other in ProfileKind::ALL.into_iter().filter(|other| *other != kind) {
                let expected = IdentityError::Profile { expected: other, found: kind.to_string() };
                assert_eq!(verify(domain, &chain, other), Err(expected));
            }
        }
    }

    #[test]
    fn a_certificate_outside_its_validity_is_refused() {
        let domain = TestDomain::shared(DomainClass::Dev);
        let key = IdentityKey::generate().unwrap();
        let chain = domain.chain(domain.enclave("a/b"), &key);
        let at = |now| verify_chain(&chain, &domain.trust(), now, ProfileKind::Enclave).map(|_| ());
        assert_eq!(at(NOW - HOUR), Ok(()));
        assert_eq!(at(NOW + HOUR), Ok(()));
        let message = at(NOW + HOUR + Duration::from_secs(1)).unwrap_err().to_string();
        assert!(message.contains("a new one is needed"), "{message}");
        let message = at(NOW - HOUR - Duration::from_millis(1)).unwrap_err().to_string();
        assert!(message.contains("clock"), "{message}");
    }

    #[test]
    fn a_leaf_that_outlives_its_ca_ends_with_it() {
        let domain = TestDomain::shared(DomainClass::Dev);
        let key = IdentityKey::generate().unwrap();
        let mut template = domain.template(domain.enclave("a/b"), &key);
        template.not_after = NOW + 1000 * HOUR;
        let error = verify_chain(&domain.issue(&template), &domain.trust(), NOW + 25 * HOUR, ProfileKind::Enclave);
        assert!(matches!(error, Err(IdentityError::Validity { what: "issuing CA's certificate", .. })), "{error:?}");
    }

    #[test]
    fn a_certificate_of_another_domain_is_refused() {
        let (ours, theirs) = (TestDomain::shared(DomainClass::Dev), TestDomain::new(DomainClass::Dev));
        let key = IdentityKey::generate().unwrap();
        let chain = theirs.chain(theirs.enclave("a/b"), &key);
        assert!(matches!(verify(ours, &chain, ProfileKind::Enclave), Err(IdentityError::OtherGenesis { .. })));
        assert_eq!(verify(ours, &chain[..1], ProfileKind::Enclave), Err(IdentityError::Issuer));
        // Their leaf with our CA's name on it.
        let template = CertificateTemplate {
            issuer_spki: ours.trust().ca_spki().to_vec(),
            ..theirs.template(theirs.enclave("a/b"), &key)
        };
        let tbs = template.to_be_signed(&TestRandom).unwrap();
        let chain = [sign(&tbs, &theirs.ca), ours.ca_certificate.clone()];
        assert!(matches!(verify(ours, &chain, ProfileKind::Enclave), Err(IdentityError::Signature(_))));
    }

    #[test]
    fn a_dev_certificate_is_worth_nothing_in_a_production_domain() {
        let domain = TestDomain::shared(DomainClass::Production);
        let key = IdentityKey::generate().unwrap();
        let mut template = domain.template(domain.enclave("a/b"), &key);
        template.class = DomainClass::Dev;
        let expected = IdentityError::Class { expected: DomainClass::Production, found: DomainClass::Dev };
        assert_eq!(verify(domain, &domain.issue(&template), ProfileKind::Enclave), Err(expected));
    }

    #[test]
    fn a_name_that_its_profile_may_not_bear_is_neither_issued_nor_taken() {
        let domain = TestDomain::shared(DomainClass::Dev);
        let key = IdentityKey::generate().unwrap();
        let node: SpiffeId = SpiffeId::node(domain.name(), domain.genesis.body.node_id);
        let template = domain.template(Profile::Enclave { id: node }, &key);
        assert!(matches!(template.to_be_signed(&TestRandom), Err(IdentityError::ProfileBroken(_))));
        let template = domain.template(domain.enclave("payments/root1"), &key);
        let chain = forged(domain, &template, b"payments/root1", b"burgrave/root1");
        assert!(matches!(verify(domain, &chain, ProfileKind::Enclave), Err(IdentityError::ProfileBroken(_))));
        let chain = forged(domain, &template, b"spiffe://example.org/", b"spiffe://exbmple.org/");
        assert!(matches!(verify(domain, &chain, ProfileKind::Enclave), Err(IdentityError::Domain { .. })));
    }

    /// Each altered as an issuer that breaks the rules would sign it, so the signature holds and the rule alone refuses.
    #[test]
    fn what_breaks_its_profile_is_refused_though_signed() {
        let domain = TestDomain::shared(DomainClass::Dev);
        let key = IdentityKey::generate().unwrap();
        let template = domain.template(domain.enclave("a/b"), &key);
        let cases: [(&str, &[u8], &[u8]); 5] = [
            // keyUsage: digitalSignature becomes keyCertSign (BIT STRING 07 80 -> 02 04).
            ("key usage", &[0x03, 0x02, 0x07, 0x80], &[0x03, 0x02, 0x02, 0x04]),
            // extKeyUsage: the last arc of id-kp-clientAuth (2) becomes codeSigning (3).
            ("purposes", &[0x2b, 6, 1, 5, 5, 7, 3, 2], &[0x2b, 6, 1, 5, 5, 7, 3, 3]),
            // authorityKeyIdentifier (2.5.29.35) becomes nameConstraints (2.5.29.30), which is unknown, and not critical.
            ("unknown, not critical", &[0x55, 0x1d, 0x23], &[0x55, 0x1d, 0x1e]),
            // basicConstraints becomes an extension of another name, still critical.
            ("unknown critical", &[0x55, 0x1d, 0x13], &[0x55, 0x1d, 0x24]),
            // The subject's key identifier becomes a second authority key identifier.
            ("twice", &[0x55, 0x1d, 0x0e], &[0x55, 0x1d, 0x23]),
        ];
        for (name, from, to) in cases {
            let result = verify(domain, &forged(domain, &template, from, to), ProfileKind::Enclave);
            match name {
                "unknown, not critical" => assert!(result.is_ok(), "{name}: {result:?}"),
                _ => assert!(matches!(result, Err(IdentityError::ProfileBroken(_))), "{name}: {result:?}"),
            }
        }
    }

    #[test]
    fn each_certificate_bears_exactly_one_uri() {
        let domain = TestDomain::shared(DomainClass::Dev);
        let key = IdentityKey::generate().unwrap();
        let tagged = |tag: u8, name: &str| [&[tag, u8::try_from(name.len()).unwrap()], name.as_bytes()].concat();
        // GeneralName: [6] is a URI, [2] a host name.
        let id = "spiffe://example.org/a/b";
        let chain = forged(domain, &domain.template(domain.enclave("a/b"), &key), &tagged(0x86, id), &tagged(0x82, id));
        assert!(matches!(verify(domain, &chain, ProfileKind::Enclave), Err(IdentityError::ProfileBroken(_))));
        let id = SpiffeId::node(domain.name(), domain.genesis.body.node_id);
        let profile = Profile::Node { id, dns_names: vec!["spiffe://d/a/b".into()], ip_addresses: Vec::new() };
        let (host, uri) = (tagged(0x82, "spiffe://d/a/b"), tagged(0x86, "spiffe://d/a/b"));
        let chain = forged(domain, &domain.template(profile, &key), &host, &uri);
        assert!(matches!(verify(domain, &chain, ProfileKind::Node), Err(IdentityError::ProfileBroken(_))));
    }

    /// A domain, a certificate and a result of the first format: whatever comes later must still verify them.
    #[test]
    fn the_recorded_domain_still_verifies() {
        let pinned = include_str!("../testdata/compat/genesis-hash.txt").trim().parse().unwrap();
        let ca: CertificateDer<'_> = include_bytes!("../testdata/compat/ca.der").as_slice().into();
        let leaf: CertificateDer<'_> = include_bytes!("../testdata/compat/enclave.der").as_slice().into();
        let trust = DomainTrust::from_chain(&ca, &pinned).unwrap();
        assert_eq!((trust.class(), trust.genesis().body.quorum), (DomainClass::Production, 2));
        let enclave = verify_chain(&[leaf, ca], &trust, NOW, ProfileKind::Enclave).unwrap();
        assert_eq!(enclave.spiffe_id.to_string(), "spiffe://example.org/payments/api");
        let token = include_str!("../testdata/compat/result.jwt");
        let (_, payload) = crate::jws::verify(token, crate::jws::TYP_ATTESTATION_RESULT, &trust, NOW).unwrap();
        assert_eq!(payload["ear.status"], "affirming");
    }

    #[test]
    fn a_chain_of_another_shape_is_refused() {
        let domain = TestDomain::shared(DomainClass::Dev);
        let key = IdentityKey::generate().unwrap();
        let mut chain = domain.chain(domain.enclave("a/b"), &key);
        assert_eq!(verify(domain, &[], ProfileKind::Enclave), Err(IdentityError::NoCertificate));
        chain.push(domain.ca_certificate.clone());
        assert_eq!(verify(domain, &chain, ProfileKind::Enclave), Err(IdentityError::ChainLength(3)));
        let leaf = chain[0].clone();
        assert!(verify(domain, &[leaf.clone(), leaf], ProfileKind::Enclave).is_err());
    }

    #[test]
    fn an_unattested_agent_proves_its_key_and_nothing_else() {
        let key = IdentityKey::generate().unwrap();
        let certificate = self_signed_identity(&key, NOW, &TestRandom).unwrap();
        assert_eq!(verify_self_signed(&certificate, NOW).unwrap(), key.spki());
        assert!(matches!(verify_self_signed(&certificate, NOW - 2 * HOUR), Err(IdentityError::Validity { .. })));
        for at in 0..certificate.len() {
            assert!(verify_self_signed(&flip(&certificate, at), NOW).is_err(), "byte {at}");
        }
        let domain = TestDomain::shared(DomainClass::Dev);
        for kind in ProfileKind::ALL {
            assert!(verify(domain, std::slice::from_ref(&certificate), kind).is_err());
        }
    }

    #[test]
    fn every_altered_byte_of_a_leaf_is_refused() {
        let domain = TestDomain::shared(DomainClass::Dev);
        let key = IdentityKey::generate().unwrap();
        let chain = domain.chain(domain.node(), &key);
        for at in 0..chain[0].len() {
            assert!(verify(domain, &[flip(&chain[0], at)], ProfileKind::Node).is_err(), "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_certificates_never_panic(bytes: Vec<u8>) {
            let domain = TestDomain::shared(DomainClass::Dev);
            prop_assert!(verify(domain, &[bytes.into()], ProfileKind::Enclave).is_err());
        }
    }
}
