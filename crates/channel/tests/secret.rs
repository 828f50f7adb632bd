//! The channel secret: who gets it, and who does not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod common;

use burgrave_channel::{Role, channel_secret, open_channel_secret, seal_channel_secret};
use burgrave_seal::SystemRandom;
use burgrave_seal::hpke::{HpkeError, SealingKey};
use burgrave_types::Secret;
use common::World;

#[test]
fn a_channel_secret_opens_for_the_instance_grant_and_role_it_was_sealed_for() {
    let world = World::new();
    let (api, ledger) = (world.enclave("payments/api", 1), world.enclave("payments/ledger", 2));
    let (grant, other) = (world.sign(world.grant(&api, &ledger)), world.sign(world.grant(&api, &ledger)));
    let (key, instance_key) = (SealingKey::generate(&SystemRandom).unwrap(), Secret::new([4; 32]));
    let secret = channel_secret(&Secret::new([1; 32]), &grant);
    let seal = |role| seal_channel_secret(&secret, &grant, role, &key.public(), &instance_key, &SystemRandom).unwrap();
    let sealed = seal(Role::Acceptor);

    let opened = open_channel_secret(&sealed, &grant, Role::Acceptor, &key, &instance_key).unwrap();
    assert_eq!(opened, secret);

    let refused = |sealed: &[u8], grant, role, key, instance_key: [u8; 32]| {
        open_channel_secret(sealed, grant, role, key, &Secret::new(instance_key)).unwrap_err()
    };
    let stranger = SealingKey::generate(&SystemRandom).unwrap();
    let mut altered = sealed.clone();
    altered[40] ^= 1;
    for error in [
        refused(&sealed, &grant, Role::Initiator, &key, [4; 32]),
        refused(&sealed, &other, Role::Acceptor, &key, [4; 32]),
        refused(&sealed, &grant, Role::Acceptor, &stranger, [4; 32]),
        refused(&sealed, &grant, Role::Acceptor, &key, [5; 32]),
        refused(&altered, &grant, Role::Acceptor, &key, [4; 32]),
        refused(&sealed[..20], &grant, Role::Acceptor, &key, [4; 32]),
    ] {
        assert_eq!(error, HpkeError::DoesNotOpen);
    }
}

#[test]
fn each_channel_pair_and_epoch_has_another_secret() {
    let world = World::new();
    let (api, ledger) = (world.enclave("payments/api", 1), world.enclave("payments/ledger", 2));
    let grant = world.grant(&api, &ledger);
    let signed = world.sign(grant.clone());
    let secret = channel_secret(&Secret::new([1; 32]), &signed);
    assert_eq!(channel_secret(&Secret::new([1; 32]), &signed), secret);
    assert_ne!(channel_secret(&Secret::new([2; 32]), &signed), secret);
    let mut next_epoch = grant;
    next_epoch.epoch += 1;
    assert_ne!(channel_secret(&Secret::new([1; 32]), &world.sign(next_epoch)), secret);
}
