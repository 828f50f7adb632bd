//! Grants: what is taken, and that nothing else is.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod common;

use std::sync::LazyLock;

use burgrave_channel::{ChannelGrant, GrantError, SignedGrant};
use burgrave_identity::{IdentityError, IdentityKey, Profile};
use burgrave_types::{NodeId, SpiffeId};
use common::{MINUTE, NOW, World};
use proptest::prelude::*;

struct Case {
    world: World,
    grant: SignedGrant,
}

static CASE: LazyLock<Case> = LazyLock::new(|| {
    let world = World::new();
    let grant = world.sign(world.grant(&world.enclave("payments/api", 1), &world.enclave("payments/ledger", 2)));
    Case { world, grant }
});

fn verify(bytes: &[u8]) -> Result<SignedGrant, GrantError> {
    SignedGrant::verify(bytes, &CASE.world.trust, NOW)
}

#[test]
fn a_signed_grant_reads_back_with_the_same_digest() {
    let again = verify(CASE.grant.bytes()).unwrap();
    assert_eq!(again, CASE.grant);
}

#[test]
fn a_new_signature_over_the_same_grant_keeps_its_digest() {
    let again = CASE.world.sign(CASE.grant.grant().clone());
    assert_ne!(again.bytes(), CASE.grant.bytes());
    assert_eq!(again.digest(), CASE.grant.digest());
}

#[test]
fn a_grant_is_refused_before_and_after_its_time() {
    for now in [NOW - 2 * MINUTE, NOW + MINUTE] {
        let error = SignedGrant::verify(CASE.grant.bytes(), &CASE.world.trust, now).unwrap_err();
        assert!(matches!(error, GrantError::Validity { .. }), "{error}");
    }
}

#[test]
fn a_grant_by_an_enclave_or_by_another_domain_is_refused() {
    let world = &CASE.world;
    let key = IdentityKey::generate().unwrap();
    let enclave =
        world.certificate(Profile::Enclave { id: "spiffe://example.org/payments/api".parse().unwrap() }, &key);
    let grant = SignedGrant::sign(CASE.grant.grant().clone(), &key, &[enclave]).unwrap();
    let error = verify(grant.bytes()).unwrap_err();
    assert!(matches!(error, GrantError::Identity(IdentityError::Profile { .. })), "{error}");

    let other = World::new().sign(CASE.grant.grant().clone());
    let error = verify(other.bytes()).unwrap_err();
    assert!(matches!(error, GrantError::Identity(IdentityError::Issuer)), "{error}");
}

#[test]
fn a_grant_signed_by_another_node_than_it_names_is_refused() {
    let world = &CASE.world;
    let key = IdentityKey::generate().unwrap();
    let id = SpiffeId::node(world.trust.trust_domain(), NodeId::from_bytes([8; 16]));
    let certificate = world.certificate(Profile::NodeSigning { id }, &key);
    let grant = SignedGrant::sign(CASE.grant.grant().clone(), &key, &[certificate]).unwrap();
    assert!(matches!(verify(grant.bytes()).unwrap_err(), GrantError::Issuer { .. }));
}

#[test]
fn a_signature_by_another_key_under_the_nodes_certificate_is_refused() {
    let key = IdentityKey::generate().unwrap();
    let grant = SignedGrant::sign(CASE.grant.grant().clone(), &key, &CASE.world.node_chain).unwrap();
    assert_eq!(verify(grant.bytes()).unwrap_err(), GrantError::Signature);
}

#[test]
fn a_grant_that_makes_no_sense_is_not_signed() {
    let world = &CASE.world;
    let sign = |change: &dyn Fn(&mut ChannelGrant)| {
        let mut grant = CASE.grant.grant().clone();
        change(&mut grant);
        SignedGrant::sign(grant, &world.node_key, &world.node_chain).unwrap_err()
    };
    for error in [
        sign(&|grant| grant.not_after = grant.not_before),
        sign(&|grant| grant.acceptor = grant.initiator.clone()),
        sign(&|grant| grant.issued_by = grant.initiator.spiffe_id.clone()),
        sign(&|grant| grant.acceptor.spiffe_id = grant.issued_by.clone()),
        sign(&|grant| grant.acceptor.spiffe_id = "spiffe://other.org/payments/ledger".parse().unwrap()),
    ] {
        assert!(matches!(error, GrantError::Broken(_)), "{error}");
    }
}

proptest! {
    #[test]
    fn an_altered_grant_is_refused(at: prop::sample::Index, bit in 0u8..8) {
        let mut bytes = CASE.grant.bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(verify(&bytes).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_no_grant(bytes: Vec<u8>) {
        prop_assert!(verify(&bytes).is_err());
        prop_assert!(ChannelGrant::decode(&bytes).is_err());
    }

    #[test]
    fn a_grant_has_one_encoding(at: prop::sample::Index, bit in 0u8..8) {
        let mut bytes = CASE.grant.grant().encode();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(grant) = ChannelGrant::decode(&bytes) {
            prop_assert_eq!(grant.encode(), bytes);
        }
    }
}
