//! Certificates that an issuer could sign who keeps no rule: each must be refused for the rule it breaks.

use std::str::FromStr;

use burgrave_types::DomainClass;
use const_oid::AssociatedOid;
use der::asn1::Ia5String;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName};
use x509_cert::name::Name;

use super::issue::{TbsFields, ca_name, extension};
use super::*;
use crate::testing::{NOW, TestDomain, TestRandom, sign};
use crate::{CertificateDer, IdentityKey, SignatureAlgorithm, verify_chain};

/// Verifies an enclave's certificate whose extensions were `spoil`ed before the CA signed it.
fn verify_spoiled(spoil: impl FnOnce(&mut Vec<Extension>)) -> Result<(), IdentityError> {
    let domain = TestDomain::shared(DomainClass::Dev);
    let key = IdentityKey::generate().unwrap();
    let template = domain.template(domain.enclave("a/b"), &key);
    let mut extensions = template.extensions().unwrap();
    spoil(&mut extensions);
    verify(domain, &leaf(domain, key.spki(), extensions))
}

fn leaf(domain: &TestDomain, spki: &[u8], extensions: Vec<Extension>) -> CertificateDer<'static> {
    let fields = TbsFields {
        algorithm: SignatureAlgorithm::EcdsaP384Sha384,
        issuer: ca_name(domain.trust().ca_spki()).unwrap(),
        subject: Name::from_str("CN=spoiled").unwrap(),
        spki,
        not_before: NOW,
        not_after: NOW,
        extensions,
    };
    sign(&fields.into_tbs(&TestRandom).unwrap(), &domain.ca)
}

fn verify(domain: &TestDomain, leaf: &CertificateDer<'_>) -> Result<(), IdentityError> {
    verify_chain(std::slice::from_ref(leaf), &domain.trust(), NOW, ProfileKind::Enclave).map(|_| ())
}

fn without(oid: ObjectIdentifier) -> impl FnOnce(&mut Vec<Extension>) {
    move |extensions| extensions.retain(|extension| extension.extn_id != oid)
}

fn replaced(with: Extension) -> impl FnOnce(&mut Vec<Extension>) {
    move |extensions| {
        extensions.retain(|extension| extension.extn_id != with.extn_id);
        extensions.push(with);
    }
}

#[test]
fn an_unspoiled_certificate_is_taken() {
    assert_eq!(verify_spoiled(|_| ()), Ok(()));
}

#[test]
fn a_certificate_that_lacks_what_its_profile_demands_is_refused() {
    for oid in [BasicConstraints::OID, KeyUsage::OID, ExtendedKeyUsage::OID, SubjectAltName::OID, oids::DOMAIN_CLASS] {
        let result = verify_spoiled(without(oid));
        assert!(matches!(result, Err(IdentityError::ProfileBroken(_))), "{oid}: {result:?}");
    }
    let expected = IdentityError::Profile { expected: ProfileKind::Enclave, found: "none".into() };
    assert_eq!(verify_spoiled(without(oids::PROFILE)), Err(expected));
}

#[test]
fn a_leaf_that_claims_to_be_a_ca_is_refused() {
    let constraints = BasicConstraints { ca: true, path_len_constraint: None };
    let result = verify_spoiled(replaced(extension(BasicConstraints::OID, true, &constraints).unwrap()));
    assert!(matches!(result, Err(IdentityError::ProfileBroken(_))), "{result:?}");
}

#[test]
fn an_enclave_that_also_bears_a_host_name_or_a_second_uri_is_refused() {
    let uri = |text: &str| GeneralName::UniformResourceIdentifier(Ia5String::new(text).unwrap());
    let own = "spiffe://example.org/a/b";
    for second in
        [GeneralName::DnsName(Ia5String::new("a.example").unwrap()), uri("spiffe://example.org/a/c"), uri(own)]
    {
        let names = SubjectAltName(vec![uri(own), second]);
        let result = verify_spoiled(replaced(extension(SubjectAltName::OID, false, &names).unwrap()));
        assert!(matches!(result, Err(IdentityError::ProfileBroken(_))), "{names:?}: {result:?}");
    }
}

#[test]
fn further_key_purposes_are_refused() {
    let purposes = [ProfileKind::Enclave.purposes(), ProfileKind::NodeSigning.purposes()].concat();
    let result =
        verify_spoiled(replaced(extension(ExtendedKeyUsage::OID, false, &ExtendedKeyUsage(purposes)).unwrap()));
    assert!(matches!(result, Err(IdentityError::ProfileBroken(_))), "{result:?}");
}

#[test]
fn a_leaf_for_a_key_of_another_kind_is_refused() {
    let domain = TestDomain::shared(DomainClass::Dev);
    let key = IdentityKey::generate().unwrap();
    let extensions = domain.template(domain.enclave("a/b"), &key).extensions().unwrap();
    let trust = domain.trust();
    let result = verify(domain, &leaf(domain, trust.ca_spki(), extensions));
    assert_eq!(result, Err(IdentityError::Key { what: "certificate's key", expected: "ECDSA P-256" }));
}
