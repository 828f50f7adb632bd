//! The software token through its public face: what keys may do, what a file survives, who may open it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, SHA384, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ParsedPublicKey, VerificationAlgorithm};
use burgrave_hsm::{
    Argon2Cost, Hsm, HsmError, KeyAttributes, KeyId, KeyPurpose, SoftwareToken, Token, TokenError, Unlock,
};
use burgrave_types::{DomainClass, Secret};

const ROOT: KeyId = KeyId::new(KeyPurpose::DomainRoot, 1);
const DERIVATION: KeyId = KeyId::new(KeyPurpose::Derivation, 1);
const HEAD: KeyId = KeyId::new(KeyPurpose::HeadSigning, 1);

struct Place {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    Place { path: dir.path().join("token"), _dir: dir }
}

fn passphrase(text: &str) -> Unlock {
    Unlock::Passphrase(Secret::new(text.as_bytes().to_vec()))
}

fn create(path: &Path) -> SoftwareToken {
    SoftwareToken::create_with_cost(path, DomainClass::Dev, &passphrase("right"), Argon2Cost::reduced(64, 1)).unwrap()
}

fn open(path: &Path) -> Result<SoftwareToken, TokenError> {
    SoftwareToken::open(path, &passphrase("right"))
}

#[tokio::test]
async fn keys_and_serial_are_there_after_a_restart() {
    let place = place();
    let token = create(&place.path);
    let serial = token.serial();
    let key = token.generate_key(HEAD, KeyAttributes::TOKEN).await.unwrap();
    let public = token.public_key(&key).await.unwrap();
    token.generate_key(DERIVATION, KeyAttributes::SESSION).await.unwrap();
    drop(token);

    let token = open(&place.path).unwrap();
    assert_eq!(token.serial(), serial);
    let key = token.find_key(HEAD).await.unwrap();
    assert_eq!(token.public_key(&key).await.unwrap(), public);
    let session = token.find_key(DERIVATION).await.unwrap_err();
    assert!(matches!(session, HsmError::KeyNotFound(DERIVATION)), "a session object outlived its session");
    token.health().await.unwrap();
}

#[tokio::test]
async fn signatures_verify_under_the_public_key() {
    let place = place();
    let token = Token::from(create(&place.path));
    let cases: [(_, &'static dyn VerificationAlgorithm, _); 3] = [
        (KeyPurpose::NodeIdentity, &ECDSA_P256_SHA256_ASN1, &SHA256),
        (KeyPurpose::HeadSigning, &ECDSA_P256_SHA256_ASN1, &SHA256),
        (KeyPurpose::IssuingCa, &ECDSA_P384_SHA384_ASN1, &SHA384),
    ];
    for (purpose, algorithm, hash) in cases {
        let key = token.generate_key(KeyId::new(purpose, 1), KeyAttributes::TOKEN).await.unwrap();
        let signature = token.sign(&key, digest(hash, b"message").as_ref()).await.unwrap();
        let public = ParsedPublicKey::new(algorithm, token.public_key(&key).await.unwrap()).unwrap();
        public.verify_sig(b"message", &signature).unwrap();
        assert!(public.verify_sig(b"massage", &signature).is_err());

        let error = token.sign(&key, &[0; 20]).await.unwrap_err().to_string();
        assert!(error.contains("but was given 20"), "{error}");
    }
}

#[tokio::test]
async fn a_wrapped_key_unwraps_to_the_same_key_which_then_cannot_leave() {
    let place = place();
    let token = create(&place.path);
    let root = token.generate_key(ROOT, KeyAttributes::TOKEN).await.unwrap();
    let key = token.generate_key(DERIVATION, KeyAttributes::SESSION_EXTRACTABLE).await.unwrap();
    let before = token.mac(&key, b"input").await.unwrap();
    let wrapped = token.wrap_key(&root, &key).await.unwrap();
    token.destroy_key(&key).await.unwrap();
    assert!(matches!(token.mac(&key, b"input").await.unwrap_err(), HsmError::KeyNotFound(_)));

    let key = token.unwrap_key(&root, &wrapped).await.unwrap();
    assert_eq!(token.mac(&key, b"input").await.unwrap(), before);
    let error = token.wrap_key(&root, &key).await.unwrap_err().to_string();
    assert!(error.contains("`derivation-key v1` may not be wrapped"), "{error}");
}

#[tokio::test]
async fn a_wrapped_key_altered_or_in_the_wrong_place_is_refused() {
    let place = place();
    let token = create(&place.path);
    let root = token.generate_key(ROOT, KeyAttributes::TOKEN).await.unwrap();
    let other_root = token.generate_key(KeyId::new(KeyPurpose::DomainRoot, 2), KeyAttributes::TOKEN).await.unwrap();
    let key = token.generate_key(DERIVATION, KeyAttributes::SESSION_EXTRACTABLE).await.unwrap();
    let wrapped = token.wrap_key(&root, &key).await.unwrap();
    token.destroy_key(&key).await.unwrap();

    let mut flipped = wrapped.clone();
    flipped.blob[3] ^= 1;
    let error = token.unwrap_key(&root, &flipped).await.unwrap_err();
    assert!(matches!(error, HsmError::InvalidCiphertext { key: DERIVATION, wrapping_key: ROOT }), "{error}");

    let error = token.unwrap_key(&other_root, &wrapped).await.unwrap_err();
    assert!(matches!(error, HsmError::InvalidCiphertext { .. }), "{error}");

    let mut unchecked = wrapped.clone();
    unchecked.check.0[0] ^= 1;
    let error = token.unwrap_key(&root, &unchecked).await.unwrap_err();
    assert!(matches!(error, HsmError::CheckValue(DERIVATION)), "{error}");

    // The check value covers purpose and version: a blob cannot be passed off as another key.
    for id in [KeyId::new(KeyPurpose::StateKey, 1), KeyId::new(KeyPurpose::Derivation, 2)] {
        let moved = burgrave_hsm::WrappedKey { key: id, ..wrapped.clone() };
        let error = token.unwrap_key(&root, &moved).await.unwrap_err();
        assert!(matches!(error, HsmError::CheckValue(found) if found == id), "{error}");
    }
    assert!(token.find_key(DERIVATION).await.is_err(), "a refused key was left in the token");
}

#[tokio::test]
async fn each_key_does_one_thing_only() {
    let place = place();
    let token = create(&place.path);
    let root = token.generate_key(ROOT, KeyAttributes::TOKEN).await.unwrap();
    let mac = token.generate_key(DERIVATION, KeyAttributes::SESSION_EXTRACTABLE).await.unwrap();
    let head = token.generate_key(HEAD, KeyAttributes::TOKEN).await.unwrap();
    let wrapped = token.wrap_key(&root, &mac).await.unwrap();

    let refused = [
        token.mac(&root, b"x").await.err(),
        token.sign(&root, &[0; 32]).await.err(),
        token.public_key(&root).await.err(),
        token.wrap_key(&root, &root).await.err(),
        token.wrap_key(&root, &head).await.err(),
        token.wrap_key(&mac, &mac).await.err(),
        token.unwrap_key(&mac, &wrapped).await.err(),
        token.sign(&mac, &[0; 32]).await.err(),
        token.mac(&head, b"x").await.err(),
        token.unwrap_key(&root, &burgrave_hsm::WrappedKey { key: HEAD, ..wrapped.clone() }).await.err(),
    ];
    for (number, error) in refused.into_iter().enumerate() {
        assert!(matches!(error, Some(HsmError::NotPermitted { .. })), "case {number}: {error:?}");
    }
    let extractable_root = KeyAttributes { persistent: true, extractable: true };
    let error = token.generate_key(KeyId::new(KeyPurpose::DomainRoot, 2), extractable_root).await.unwrap_err();
    assert!(matches!(error, HsmError::NotPermitted { .. }), "{error}");
    let error = token.generate_key(ROOT, KeyAttributes::TOKEN).await.unwrap_err();
    assert!(matches!(error, HsmError::KeyExists(ROOT)), "{error}");
}

#[tokio::test]
async fn a_handle_of_another_token_is_refused() {
    let (one, two) = (place(), place());
    let (one, two) = (create(&one.path), create(&two.path));
    let handle = one.generate_key(DERIVATION, KeyAttributes::SESSION).await.unwrap();
    two.generate_key(DERIVATION, KeyAttributes::SESSION).await.unwrap();
    assert!(matches!(two.mac(&handle, b"x").await.unwrap_err(), HsmError::KeyNotFound(_)));
}

#[tokio::test]
async fn a_destroyed_token_key_stays_gone() {
    let place = place();
    let token = create(&place.path);
    let key = token.generate_key(HEAD, KeyAttributes::TOKEN).await.unwrap();
    token.generate_key(ROOT, KeyAttributes::TOKEN).await.unwrap();
    token.destroy_key(&key).await.unwrap();
    drop(token);
    let token = open(&place.path).unwrap();
    assert!(token.find_key(HEAD).await.is_err());
    token.find_key(ROOT).await.unwrap();
}

#[test]
fn a_wrong_passphrase_is_told_from_a_damaged_file() {
    let place = place();
    drop(create(&place.path));
    let error = SoftwareToken::open(&place.path, &passphrase("wrong")).unwrap_err();
    assert!(matches!(error, TokenError::WrongUnlock { .. }), "{error}");
    assert!(!error.to_string().contains("wrong"), "the passphrase stands in `{error}`");

    let mut bytes = fs::read(&place.path).unwrap();
    bytes[40] ^= 1;
    fs::write(&place.path, bytes).unwrap();
    for text in ["right", "wrong"] {
        let error = SoftwareToken::open(&place.path, &passphrase(text)).unwrap_err();
        assert!(matches!(error, TokenError::Damaged { .. }), "{error}");
    }
}

#[test]
fn a_token_is_open_once() {
    let place = place();
    let token = create(&place.path);
    let error = open(&place.path).unwrap_err();
    assert!(matches!(error, TokenError::InUse(_)), "{error}");
    drop(token);
    open(&place.path).unwrap();
}

#[test]
fn a_token_is_never_overwritten() {
    let place = place();
    drop(create(&place.path));
    let error = SoftwareToken::create(&place.path, DomainClass::Dev, &passphrase("right")).unwrap_err();
    assert!(matches!(error, TokenError::Exists(_)), "{error}");
    open(&place.path).unwrap();
}

#[test]
fn files_are_their_owners_alone_and_others_are_refused() {
    let place = place();
    let token = SoftwareToken::create(&place.path, DomainClass::Dev, &Unlock::KeyFile).unwrap();
    drop(token);
    let key = PathBuf::from(format!("{}.key", place.path.display()));
    for path in [&place.path, &key] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
        fs::set_permissions(path, Permissions::from_mode(0o604)).unwrap();
        let error = SoftwareToken::open(&place.path, &Unlock::KeyFile).unwrap_err();
        assert!(matches!(&error, TokenError::Permissions { path: found, .. } if found == path), "{error}");
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }
    SoftwareToken::open(&place.path, &Unlock::KeyFile).unwrap();
}

#[test]
fn a_key_file_opens_its_own_token_only() {
    let (one, two) = (place(), place());
    for place in [&one, &two] {
        drop(SoftwareToken::create(&place.path, DomainClass::Dev, &Unlock::KeyFile).unwrap());
    }
    fs::copy(format!("{}.key", one.path.display()), format!("{}.key", two.path.display())).unwrap();
    let error = SoftwareToken::open(&two.path, &Unlock::KeyFile).unwrap_err();
    assert!(matches!(error, TokenError::WrongUnlock { .. }), "{error}");
}

#[test]
fn a_production_token_has_no_key_beside_it() {
    let place = place();
    let error = SoftwareToken::create(&place.path, DomainClass::Production, &Unlock::KeyFile).unwrap_err();
    assert!(matches!(error, TokenError::KeyFileInProduction), "{error}");
    assert!(!place.path.exists() && !PathBuf::from(format!("{}.key", place.path.display())).exists());
}

#[test]
fn the_other_way_of_unlocking_is_refused_by_name() {
    let place = place();
    drop(create(&place.path));
    let error = SoftwareToken::open(&place.path, &Unlock::KeyFile).unwrap_err().to_string();
    assert!(error.contains("opens with a passphrase, but a key file was given"), "{error}");
}

#[tokio::test]
async fn what_a_killed_writer_left_is_ignored_and_replaced() {
    let place = place();
    let token = create(&place.path);
    token.generate_key(ROOT, KeyAttributes::TOKEN).await.unwrap();
    drop(token);
    let left = PathBuf::from(format!("{}.new", place.path.display()));
    fs::write(&left, b"half a file").unwrap();

    let token = open(&place.path).unwrap();
    token.find_key(ROOT).await.unwrap();
    token.generate_key(HEAD, KeyAttributes::TOKEN).await.unwrap();
    assert!(!left.exists());
    drop(token);
    open(&place.path).unwrap().find_key(HEAD).await.unwrap();
}

#[tokio::test]
async fn a_write_that_fails_leaves_the_token_as_it_was() {
    let place = place();
    let token = create(&place.path);
    token.generate_key(ROOT, KeyAttributes::TOKEN).await.unwrap();
    // A directory in the way of the new file cannot be removed as a file, whoever runs this.
    let in_the_way = PathBuf::from(format!("{}.new", place.path.display()));
    fs::create_dir(&in_the_way).unwrap();
    let error = token.generate_key(HEAD, KeyAttributes::TOKEN).await.unwrap_err();
    assert!(matches!(error, HsmError::Unavailable(_)), "{error}");
    assert!(token.find_key(HEAD).await.is_err(), "a key that is not kept can be used");
    token.health().await.unwrap();
    fs::remove_dir(&in_the_way).unwrap();
    token.generate_key(HEAD, KeyAttributes::TOKEN).await.unwrap();
}

#[tokio::test]
async fn a_full_token_refuses_further_keys_and_still_opens() {
    let place = place();
    let token = create(&place.path);
    let mut made = 0;
    let error = loop {
        match token.generate_key(KeyId::new(KeyPurpose::IssuingCa, made + 1), KeyAttributes::TOKEN).await {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, HsmError::Unavailable(TokenError::Full(_))) && made > 100, "{made}: {error}");
    drop(token);
    open(&place.path).unwrap().find_key(KeyId::new(KeyPurpose::IssuingCa, made)).await.unwrap();
}

#[tokio::test]
async fn health_notices_a_lost_and_a_replaced_file() {
    let place = place();
    let token = create(&place.path);
    let before = fs::read(&place.path).unwrap();
    token.generate_key(ROOT, KeyAttributes::TOKEN).await.unwrap();
    token.health().await.unwrap();

    fs::write(&place.path, before).unwrap();
    let error = token.health().await.unwrap_err();
    assert!(matches!(error, HsmError::Unavailable(TokenError::Replaced(_))), "{error}");
    fs::remove_file(&place.path).unwrap();
    let error = token.health().await.unwrap_err();
    assert!(matches!(error, HsmError::Unavailable(TokenError::Io { .. })), "{error}");
}

#[test]
fn the_default_cost_is_what_the_design_asks() {
    assert_eq!(Argon2Cost::DEFAULT, Argon2Cost::reduced(256 * 1024, 3));
    let place = place();
    drop(SoftwareToken::create(&place.path, DomainClass::Production, &passphrase("right")).unwrap());
    let token = open(&place.path).unwrap();
    assert_eq!(token.class(), DomainClass::Production);
}

#[test]
fn nothing_secret_shows_in_debug_output() {
    let place = place();
    let token = create(&place.path);
    let shown = format!("{token:?} {:?}", passphrase("hunter2"));
    assert!(!shown.contains("hunter2") && shown.contains("Secret<[u8; 32]>"), "{shown}");
}
