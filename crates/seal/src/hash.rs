//! Hashes and MACs under plain names.

use aws_lc_rs::{digest, hmac};

/// SHA-256 (FIPS 180-4).
pub fn sha256(input: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, input).as_ref());
    hash
}

/// SHA-512 (FIPS 180-4).
pub fn sha512(input: &[u8]) -> [u8; 64] {
    let mut hash = [0; 64];
    hash.copy_from_slice(digest::digest(&digest::SHA512, input).as_ref());
    hash
}

/// HMAC-SHA-256 (FIPS 198-1) of `message` under `key`.
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut tag = [0; 32];
    tag.copy_from_slice(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref());
    tag
}

/// Whether `tag` is the HMAC-SHA-256 of `message` under `key`: all 32 bytes of it, compared in constant time.
#[must_use]
pub fn verify_hmac(key: &[u8], message: &[u8], tag: &[u8]) -> bool {
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), message, tag).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_match_their_standards_examples() {
        // FIPS 180-4 examples for the message "abc"; RFC 4231 test case 2.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex::encode(sha256(b"abc")), abc);
        let abc = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                   2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
        assert_eq!(hex::encode(sha512(b"abc")), abc);
        let tag = hmac_sha256(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex::encode(tag), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn a_cut_or_altered_tag_is_refused() {
        let tag = hmac_sha256(b"k", b"m");
        assert!(verify_hmac(b"k", b"m", &tag));
        assert!(!verify_hmac(b"k", b"m", &tag[..16]));
        assert!(!verify_hmac(b"k", b"n", &tag));
        assert!(!verify_hmac(b"l", b"m", &tag));
    }
}
