use proptest::prelude::*;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey};

use super::*;
use crate::SystemRandom;

fn psk<'a>(key: &'a Secret<[u8; 32]>, id: &'a [u8]) -> Option<Psk<'a>> {
    Some(Psk { psk: key, id })
}

#[test]
fn the_rfc_s_vectors_hold_in_base_and_psk_mode() {
    let vectors: serde_json::Value = serde_json::from_str(include_str!("../../testdata/hpke.json")).unwrap();
    let mut modes = Vec::new();
    for vector in vectors["vectors"].as_array().unwrap() {
        let bytes = |name: &str| hex::decode(vector[name].as_str().unwrap()).unwrap();
        let array = |name: &str| <[u8; 32]>::try_from(bytes(name)).unwrap();
        let key = vector.get("psk").map(|_| Secret::new(array("psk")));
        let id = vector.get("psk_id").map(|_| bytes("psk_id")).unwrap_or_default();
        let with = key.as_ref().map(|psk| Psk { psk, id: &id });
        let ephemeral = PrivateKey::new(&Secret::new(array("skEm"))).unwrap();
        let recipient = PrivateKey::new(&Secret::new(array("skRm"))).unwrap();
        assert_eq!(recipient.public(), &array("pkRm"));
        let (info, aad, pt) = (bytes("info"), bytes("aad"), bytes("pt"));
        let sealed = suite::seal(Aead::Aes128Gcm, &ephemeral, &array("pkRm"), with, &info, &aad, &pt).unwrap();
        assert_eq!(sealed, Sealed { enc: array("enc"), ciphertext: bytes("ct") }, "{}", vector["section"]);
        assert_eq!(suite::open(Aead::Aes128Gcm, &recipient, with, &info, &aad, &sealed).unwrap().expose(), &pt);
        modes.push(with.is_some());
    }
    assert_eq!(modes, [false, true]);
}

#[test]
fn base_mode_with_aes_256_agrees_with_another_implementation() {
    let theirs = DH_KEM_X25519_HKDF_SHA256_AES_256;
    let private = [0x42; 32];
    let ours = SealingKey::from_private_key(&Secret::new(private)).unwrap();
    let public = HpkePublicKey(ours.public().to_vec());
    let (enc, ciphertext) = theirs.seal(b"info", b"aad", b"from them", &public).unwrap();
    let sealed = Sealed { enc: enc.0.try_into().unwrap(), ciphertext };
    assert_eq!(ours.open(None, b"info", b"aad", &sealed).unwrap().expose(), b"from them");

    let sealed = seal(&ours.public(), None, b"info", b"aad", b"from us", &SystemRandom).unwrap();
    let enc = EncapsulatedSecret(sealed.enc.to_vec());
    let opened = theirs.open(&enc, b"info", b"aad", &sealed.ciphertext, &HpkePrivateKey::from(private.to_vec()));
    assert_eq!(opened.unwrap(), b"from us");
}

#[test]
fn without_the_psk_nobody_seals_what_opens() {
    let recipient = SealingKey::generate(&SystemRandom).unwrap();
    let (right, wrong) = (Secret::new([1; 32]), Secret::new([2; 32]));
    let open = |sealed: &Sealed| recipient.open(psk(&right, b"inst"), b"i", b"a", sealed).map(|_| ());
    let seal = |with| seal(&recipient.public(), with, b"i", b"a", b"m", &SystemRandom).unwrap();
    assert_eq!(open(&seal(psk(&right, b"inst"))), Ok(()));
    assert_eq!(open(&seal(psk(&wrong, b"inst"))), Err(HpkeError::DoesNotOpen));
    assert_eq!(open(&seal(psk(&right, b"other"))), Err(HpkeError::DoesNotOpen));
    assert_eq!(open(&seal(None)), Err(HpkeError::DoesNotOpen));
    assert_eq!(recipient.open(psk(&right, b""), b"i", b"a", &seal(None)).unwrap_err(), HpkeError::PskId);
}

#[test]
fn a_key_of_small_order_is_refused() {
    assert_eq!(seal(&[0; 32], None, b"", b"", b"m", &SystemRandom), Err(HpkeError::Recipient));
    let recipient = SealingKey::generate(&SystemRandom).unwrap();
    let sealed = Sealed { enc: [0; 32], ciphertext: vec![0; 32] };
    assert_eq!(recipient.open(None, b"", b"", &sealed).unwrap_err(), HpkeError::DoesNotOpen);
}

#[test]
fn every_altered_bit_and_every_other_purpose_is_refused() {
    let recipient = SealingKey::generate(&SystemRandom).unwrap();
    let stranger = SealingKey::generate(&SystemRandom).unwrap();
    let key = Secret::new([3; 32]);
    let (sender, receiver) = (SpkiHash::from_bytes([1; 32]), SpkiHash::from_bytes([2; 32]));
    let info = SealedInfo { kind: SealedKind::DerivedKey, id: b"req", sender, receiver, digest: &[4; 32], version: 1 };
    let sealed = seal(&recipient.public(), psk(&key, b"k"), &info.encode(), b"a", b"message", &SystemRandom).unwrap();
    let opens = |to: &SealingKey, info: &SealedInfo<'_>, aad: &[u8], sealed: &Sealed| {
        to.open(psk(&key, b"k"), &info.encode(), aad, sealed).is_ok()
    };
    assert!(opens(&recipient, &info, b"a", &sealed));
    assert!(!opens(&stranger, &info, b"a", &sealed));
    assert!(!opens(&recipient, &info, b"b", &sealed));
    for other in [
        SealedInfo { kind: SealedKind::Secret, ..info },
        SealedInfo { id: b"reg", ..info },
        SealedInfo { sender: receiver, receiver: sender, ..info },
        SealedInfo { digest: &[5; 32], ..info },
        SealedInfo { version: 2, ..info },
    ] {
        assert!(!opens(&recipient, &other, b"a", &sealed), "{other:?}");
    }
    let bytes = sealed.to_bytes();
    for bit in 0..bytes.len() * 8 {
        // X25519 ignores the highest bit of a public key, but `enc` also enters the key schedule as it stands.
        let mut altered = bytes.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(!opens(&recipient, &info, b"a", &Sealed::from_bytes(&altered).unwrap()), "bit {bit}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_bytes_never_open(bytes: Vec<u8>) {
        let recipient = SealingKey::from_private_key(&Secret::new([8; 32])).unwrap();
        if let Ok(sealed) = Sealed::from_bytes(&bytes) {
            prop_assert!(recipient.open(None, b"", b"", &sealed).is_err());
        } else {
            prop_assert!(bytes.len() < 32);
        }
    }
}
