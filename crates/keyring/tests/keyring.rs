//! A domain's keys through their public face: who gets which key, what a restart keeps, what a wrong store meets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

use std::collections::HashSet;
use std::path::PathBuf;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ParsedPublicKey, VerificationAlgorithm};
use burgrave_hsm::{SoftwareToken, Token, Unlock};
use burgrave_keyring::{EnclaveKeyInput, IdentityInput, Keyring, KeyringError, WrappedKeys};
use burgrave_types::claims::HexBytes;
use burgrave_types::{DomainClass, EnclaveUid, GenesisHash, KeyUid, ReferenceDigest, Secret, SpkiHash, Tee, Timestamp};

const DOMAIN: GenesisHash = GenesisHash::from_bytes([7; 32]);
const NOW: Timestamp = Timestamp::from_unix_secs(1_800_000_000);

struct Place {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { path: dir.path().join("token"), _dir: dir }
    }

    fn create(&self) -> Token {
        SoftwareToken::create(&self.path, DomainClass::Dev, &Unlock::KeyFile).unwrap().into()
    }

    fn open(&self) -> Token {
        SoftwareToken::open(&self.path, &Unlock::KeyFile).unwrap().into()
    }
}

fn enclave(number: u8) -> EnclaveKeyInput {
    EnclaveKeyInput {
        enclave: EnclaveUid::from_bytes([number; 16]),
        identity: IdentityInput::Name,
        keyspace: "payments/storage".parse().unwrap(),
        version: 1,
    }
}

fn signer(tee: Tee, signer: u8, product_id: Option<&str>) -> IdentityInput {
    IdentityInput::Signer { tee, signer: HexBytes(vec![signer; 32]), product_id: product_id.map(str::to_owned) }
}

#[tokio::test]
async fn every_enclave_identity_keyspace_and_version_has_a_key_of_its_own() {
    let place = Place::new();
    let keyring = Keyring::create(place.create()).await.unwrap();
    let mut inputs = vec![enclave(1), enclave(2)];
    inputs.push(EnclaveKeyInput { version: 2, ..enclave(1) });
    inputs.push(EnclaveKeyInput { keyspace: "payments/archive".parse().unwrap(), ..enclave(1) });
    for identity in [
        signer(Tee::Sgx, 1, None),
        signer(Tee::Sgx, 1, Some("")),
        signer(Tee::Sgx, 1, Some("7")),
        signer(Tee::Sgx, 2, None),
        signer(Tee::Snp, 1, None),
        IdentityInput::Measurement(ReferenceDigest::from_bytes([1; 32])),
        IdentityInput::Measurement(ReferenceDigest::from_bytes([2; 32])),
    ] {
        inputs.push(EnclaveKeyInput { identity, ..enclave(1) });
    }
    let mut keys = HashSet::new();
    for input in &inputs {
        let key = keyring.enclave_key(&DOMAIN, input, NOW).await.unwrap();
        assert!(keys.insert(*key.expose()), "{input:?} has a key that another has");
        assert_eq!(keyring.enclave_key(&DOMAIN, input, NOW).await.unwrap(), key);
    }
    let other_domain = GenesisHash::from_bytes([8; 32]);
    assert!(keys.insert(*keyring.enclave_key(&other_domain, &enclave(1), NOW).await.unwrap().expose()));
}

#[tokio::test]
async fn an_enclave_made_again_under_its_name_does_not_get_the_old_key() {
    let place = Place::new();
    let keyring = Keyring::create(place.create()).await.unwrap();
    // A name is no part of the input: only the uid is, and that is new.
    let (before, after) = (enclave(1), enclave(2));
    assert_eq!(before.keyspace, after.keyspace);
    let old = keyring.enclave_key(&DOMAIN, &before, NOW).await.unwrap();
    assert_ne!(keyring.enclave_key(&DOMAIN, &after, NOW).await.unwrap(), old);
}

#[tokio::test]
async fn every_kind_of_key_is_the_same_after_a_restart() {
    async fn all(keyring: &Keyring) -> Vec<Secret<[u8; 32]>> {
        let (a, b) = (EnclaveUid::from_bytes([1; 16]), EnclaveUid::from_bytes([2; 16]));
        vec![
            keyring.enclave_key(&DOMAIN, &enclave(1), NOW).await.unwrap(),
            keyring.named_key(&DOMAIN, KeyUid::from_bytes([1; 16]), 1, NOW).await.unwrap(),
            keyring.named_key(&DOMAIN, KeyUid::from_bytes([1; 16]), 2, NOW).await.unwrap(),
            keyring.instance_key(&DOMAIN, &SpkiHash::from_bytes([1; 32])).await.unwrap(),
            keyring.pair_key(&DOMAIN, a, b, 1, NOW).await.unwrap(),
            keyring.pair_key(&DOMAIN, a, b, 2, NOW).await.unwrap(),
            keyring.pair_key(&DOMAIN, a, a, 1, NOW).await.unwrap(),
            keyring.record_key(&DOMAIN, 1).await.unwrap(),
            keyring.record_key(&DOMAIN, 2).await.unwrap(),
        ]
    }
    let place = Place::new();
    let keyring = Keyring::create(place.create()).await.unwrap();
    let (stored, before) = (keyring.wrapped_keys().encode(), all(&keyring).await);
    let public = keyring.public_keys().clone();
    drop(keyring);

    let keyring = Keyring::open(place.open(), &WrappedKeys::decode(&stored).unwrap()).await.unwrap();
    assert_eq!(all(&keyring).await, before);
    assert_eq!(keyring.public_keys(), &public);
    assert_eq!(keyring.wrapped_keys().encode(), stored);
    assert_eq!(before.iter().map(|key| *key.expose()).collect::<HashSet<_>>().len(), before.len());
    keyring.health().await.unwrap();
}

#[tokio::test]
async fn two_domains_with_one_genesis_hash_still_have_different_keys() {
    let (one, two) = (Place::new(), Place::new());
    let one = Keyring::create(one.create()).await.unwrap();
    let two = Keyring::create(two.create()).await.unwrap();
    let key = one.enclave_key(&DOMAIN, &enclave(1), NOW).await.unwrap();
    assert_ne!(two.enclave_key(&DOMAIN, &enclave(1), NOW).await.unwrap(), key);
}

#[tokio::test]
async fn a_pair_has_one_key_whichever_side_asks() {
    let place = Place::new();
    let keyring = Keyring::create(place.create()).await.unwrap();
    let (a, b) = (EnclaveUid::from_bytes([1; 16]), EnclaveUid::from_bytes([2; 16]));
    let key = keyring.pair_key(&DOMAIN, a, b, 1, NOW).await.unwrap();
    assert_eq!(keyring.pair_key(&DOMAIN, b, a, 1, NOW).await.unwrap(), key);
}

#[tokio::test]
async fn a_signer_identity_without_a_signer_is_refused() {
    let place = Place::new();
    let keyring = Keyring::create(place.create()).await.unwrap();
    let identity = IdentityInput::Signer { tee: Tee::Sgx, signer: HexBytes(Vec::new()), product_id: None };
    let error = keyring.enclave_key(&DOMAIN, &EnclaveKeyInput { identity, ..enclave(1) }, NOW).await.unwrap_err();
    assert!(matches!(error, KeyringError::NoSigner), "{error}");
}

#[tokio::test]
async fn signatures_verify_under_the_published_keys() {
    let place = Place::new();
    let keyring = Keyring::create(place.create()).await.unwrap();
    let public = keyring.public_keys();
    let p256: &'static dyn VerificationAlgorithm = &ECDSA_P256_SHA256_ASN1;
    let p384: &'static dyn VerificationAlgorithm = &ECDSA_P384_SHA384_ASN1;
    for (algorithm, key, signature) in [
        (p384, &public.issuing_ca, keyring.sign_certificate(b"message").await.unwrap()),
        (p256, &public.head_signing, keyring.sign_head(b"message").await.unwrap()),
        (p256, &public.node_identity, keyring.sign_as_node(b"message").await.unwrap()),
    ] {
        let key = ParsedPublicKey::new(algorithm, key).unwrap();
        key.verify_sig(b"message", &signature).unwrap();
        assert!(key.verify_sig(b"another", &signature).is_err());
    }
}

#[tokio::test]
async fn a_token_serves_one_domain() {
    let place = Place::new();
    drop(Keyring::create(place.create()).await.unwrap());
    let error = Keyring::create(place.open()).await.unwrap_err();
    assert!(matches!(error, KeyringError::TokenInUse), "{error}");
}

#[tokio::test]
async fn another_domains_token_is_refused_with_a_clear_word() {
    let (one, two) = (Place::new(), Place::new());
    let stored = Keyring::create(one.create()).await.unwrap().wrapped_keys().clone();
    drop(Keyring::create(two.create()).await.unwrap());
    let error = Keyring::open(two.open(), &stored).await.unwrap_err();
    assert!(matches!(error, KeyringError::WrongRoot { .. }), "{error}");
    assert!(error.to_string().contains("the token is another domain's"), "{error}");

    let empty = Place::new();
    let error = Keyring::open(empty.create(), &stored).await.unwrap_err().to_string();
    assert!(error.contains("holds no key `domain-root v1`"), "{error}");
}

#[tokio::test]
async fn stored_keys_with_a_flipped_bit_anywhere_are_refused() {
    let place = Place::new();
    let stored = Keyring::create(place.create()).await.unwrap().wrapped_keys().encode();
    for at in 0..stored.len() {
        let mut altered = stored.clone();
        altered[at] ^= 1 << (at % 8);
        let opened = match WrappedKeys::decode(&altered) {
            Ok(wrapped) => Keyring::open(place.open(), &wrapped).await.map(|_| ()),
            Err(error) => Err(error),
        };
        assert!(opened.is_err(), "byte {at}");
    }
}

#[tokio::test]
async fn stored_keys_that_lack_one_are_refused_by_name() {
    let place = Place::new();
    let stored = Keyring::create(place.create()).await.unwrap().wrapped_keys().encode();
    // The last of the three entries, its count put right.
    let name_and_count = 4 + "burgrave-wrapped-keys-v1".len() + 12;
    let entry = |purpose: &str| 4 + purpose.len() + 12 + 12 + 44 + 12;
    let mut short = stored[..name_and_count + entry("derivation-key") + entry("state-key")].to_vec();
    short[name_and_count - 1] = 2;
    let error = Keyring::open(place.open(), &WrappedKeys::decode(&short).unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("lack a `channel-key`"), "{error}");
}

#[test]
fn a_keyring_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Keyring>();
}
