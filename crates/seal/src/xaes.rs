//! XAES-256-GCM (C2SP, `XAES-256-GCM.md`): AES-256-GCM under a key of its own for each message, from a 192-bit nonce.
//!
//! The derived key is `CMAC(K, 00 01 58 00 ‖ N[..12]) ‖ CMAC(K, 00 02 58 00 ‖ N[..12])`, which is SP 800-108 in counter
//! mode with CMAC; the message is sealed with AES-256-GCM under it and the nonce `N[12..]`.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cmac;
use aws_lc_rs::error::Unspecified;
use burgrave_types::Secret;

pub(crate) const NONCE_LEN: usize = 24;
pub(crate) const TAG_LEN: usize = 16;

pub(crate) fn seal(
    key: &Secret<[u8; 32]>,
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, Unspecified> {
    let (cipher, nonce) = message_key(key, nonce)?;
    // Room for the tag from the start: growing would leave a copy of the plaintext behind.
    let mut buffer = Vec::with_capacity(plaintext.len() + TAG_LEN);
    buffer.extend_from_slice(plaintext);
    cipher.seal_in_place_append_tag(nonce, Aad::from(aad), &mut buffer)?;
    Ok(buffer)
}

pub(crate) fn open(
    key: &Secret<[u8; 32]>,
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    ciphertext: &[u8],
) -> Result<Secret<Vec<u8>>, Unspecified> {
    let (cipher, nonce) = message_key(key, nonce)?;
    let mut buffer = zeroize::Zeroizing::new(ciphertext.to_vec());
    let length = cipher.open_in_place(nonce, Aad::from(aad), &mut buffer)?.len();
    buffer.truncate(length);
    Ok(Secret::new(std::mem::take(&mut *buffer)))
}

fn message_key(key: &Secret<[u8; 32]>, nonce: &[u8; NONCE_LEN]) -> Result<(LessSafeKey, Nonce), Unspecified> {
    let (prefix, rest) = nonce.split_at(12);
    let prf = cmac::Key::new(cmac::AES_256, key.expose())?;
    let mut derived = zeroize::Zeroizing::new([0; 32]);
    for (counter, half) in (1u8..).zip(derived.chunks_exact_mut(16)) {
        let mut block = [0; 16];
        block[1] = counter;
        block[2] = b'X';
        block[4..].copy_from_slice(prefix);
        half.copy_from_slice(cmac::sign(&prf, &block)?.as_ref());
    }
    let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, derived.as_slice())?);
    Ok((cipher, Nonce::try_assume_unique_for_key(rest)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of the specification, section "Test vectors".
    #[test]
    fn the_specification_s_vectors_hold() {
        let nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX";
        let cases: [(u8, &[u8], &str); 2] = [
            (1, b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
            (3, b"c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
        ];
        for (byte, aad, expected) in cases {
            let key = Secret::new([byte; 32]);
            let sealed = seal(&key, nonce, aad, b"XAES-256-GCM").unwrap();
            assert_eq!(hex::encode(&sealed), expected);
            assert_eq!(open(&key, nonce, aad, &sealed).unwrap().expose(), b"XAES-256-GCM");
        }
    }

    #[test]
    fn every_part_of_the_nonce_matters() {
        let key = Secret::new([9; 32]);
        let sealed = seal(&key, &[0; 24], b"", b"m").unwrap();
        for at in 0..NONCE_LEN {
            let mut nonce = [0; NONCE_LEN];
            nonce[at] = 1;
            assert!(open(&key, &nonce, b"", &sealed).is_err(), "byte {at}");
        }
    }
}
