//! Credential protection: a secret that only the TPM with this EK and this AK can open (TPM 2.0 part 1, section 24).

use aws_lc_rs::agreement::{self, ECDH_P256, ECDH_P384, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512, OaepPublicEncryptingKey,
    PublicEncryptingKey,
};
use burgrave_types::{Random, Secret};

use super::structures::{Curve, Hash, Key, Public};

/// What the TPM takes in `TPM2_ActivateCredential`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credential {
    /// A `TPM2B_ID_OBJECT`, its length included.
    pub id_object: Vec<u8>,
    /// A `TPM2B_ENCRYPTED_SECRET`, its length included.
    pub encrypted_secret: Vec<u8>,
}

/// Why no credential could be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CredentialError {
    /// The EK's public area cannot be read.
    #[error(
        "the endorsement key is not a TPMT_PUBLIC of an RSA, P-256 or P-384 key; send `ek.pub` as the TPM gives it"
    )]
    Malformed,
    /// The EK does not protect other objects.
    #[error(
        "the key has the attributes {found:#010x}, which are not those of an endorsement key: restricted, decrypt, fixedTPM, \
         fixedParent, sensitiveDataOrigin, not sign"
    )]
    Attributes {
        /// The attributes.
        found: u32,
    },
    /// The EK's algorithms are not ones of the EK Credential Profile.
    #[error(
        "the endorsement key's algorithms are not of the EK Credential Profile: AES-128 or AES-256 in CFB mode is expected"
    )]
    Algorithm,
    /// The AK's name is not an algorithm and a digest.
    #[error("the attestation key's name is not a two-byte algorithm with a digest of its width")]
    Name,
    /// The library refused the key.
    #[error("the endorsement key cannot be used: it is no valid RSA key or no point of its curve")]
    Key,
}

/// Makes a credential that holds `secret`: the TPM of the EK `ek_public` (a `TPMT_PUBLIC`) opens it only while it holds the
/// object named `ak_name` ([`Public::name`]). Check the AK's attributes first: the name covers them.
///
/// `random` gives the seed (RSA) or the ephemeral key (ECC); RSA-OAEP padding comes from the library.
///
/// # Errors
/// [`CredentialError`] where the EK is not one or cannot be used, or the name is none.
pub fn make_credential(
    ek_public: &[u8],
    ak_name: &[u8],
    secret: &[u8; 32],
    random: &dyn Random,
) -> Result<Credential, CredentialError> {
    let ek = Public::read(ek_public).ok_or(CredentialError::Malformed)?;
    if !ek.attributes.are_of_endorsement_key() {
        return Err(CredentialError::Attributes { found: ek.attributes.0 });
    }
    let (algorithm, name_digest) = ak_name.split_first_chunk::<2>().ok_or(CredentialError::Name)?;
    let name_hash = Hash::from_id(u16::from_be_bytes(*algorithm)).ok_or(CredentialError::Name)?;
    if name_digest.len() != name_hash.length() {
        return Err(CredentialError::Name);
    }
    let (seed, encrypted_secret) = match &ek.key {
        Key::Rsa { .. } => rsa_seed(&ek, random)?,
        Key::Ecc { curve, x, y } => ecc_seed(ek.name_algorithm, *curve, x, y, random)?,
    };
    let id_object = protect(&ek, &seed, ak_name, secret)?;
    Ok(Credential { id_object: sized(&id_object), encrypted_secret: sized(&encrypted_secret) })
}

/// Section 24.4 and 24.5: encrypts the secret under a key of the seed and the name, then authenticates both.
fn protect(ek: &Public, seed: &Secret<Vec<u8>>, ak_name: &[u8], secret: &[u8; 32]) -> Result<Vec<u8>, CredentialError> {
    let (bits, cipher) = match ek.symmetric_bits {
        Some(128) => (128, &AES_128),
        Some(256) => (256, &AES_256),
        _ => return Err(CredentialError::Algorithm),
    };
    let hash = ek.name_algorithm;
    let key = kdfa(hash, seed.expose(), "STORAGE", ak_name, bits);
    let mut identity = sized(secret);
    UnboundCipherKey::new(cipher, key.expose())
        .and_then(EncryptingKey::cfb128)
        .and_then(|key| key.less_safe_encrypt(&mut identity, EncryptionContext::Iv128(FixedLength::from([0; 16]))))
        .map_err(|_| CredentialError::Algorithm)?;
    let bits = u32::try_from(hash.length() * 8).map_err(|_| CredentialError::Algorithm)?;
    let key = kdfa(hash, seed.expose(), "INTEGRITY", &[], bits);
    let mut outer = hmac::Context::with_key(&hmac::Key::new(hmac_algorithm(hash), key.expose()));
    outer.update(&identity);
    outer.update(ak_name);
    Ok([sized(outer.sign().as_ref()), identity].concat())
}

/// Part 1, annex B.10.4: a random seed in RSA-OAEP with the label `IDENTITY`, its NUL included.
fn rsa_seed(ek: &Public, random: &dyn Random) -> Result<(Secret<Vec<u8>>, Vec<u8>), CredentialError> {
    let padding = match ek.name_algorithm {
        Hash::Sha256 => &OAEP_SHA256_MGF1SHA256,
        Hash::Sha384 => &OAEP_SHA384_MGF1SHA384,
        Hash::Sha512 => &OAEP_SHA512_MGF1SHA512,
        Hash::Sha1 => return Err(CredentialError::Algorithm),
    };
    let spki = ek.subject_public_key_info().ok_or(CredentialError::Key)?;
    let key = PublicEncryptingKey::from_der(&spki).map_err(|_| CredentialError::Key)?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| CredentialError::Key)?;
    let mut seed = vec![0; ek.name_algorithm.length()];
    random.fill(&mut seed);
    let seed = Secret::new(seed);
    let mut out = vec![0; key.ciphertext_size()];
    let encrypted =
        key.encrypt(padding, seed.expose(), &mut out, Some(b"IDENTITY\0")).map_err(|_| CredentialError::Key)?;
    let encrypted = encrypted.to_vec();
    Ok((seed, encrypted))
}

/// Part 1, annex C.6.4: an ephemeral key; the seed is KDFe over the shared abscissa; the encrypted secret is the point.
fn ecc_seed(
    hash: Hash,
    curve: Curve,
    x: &[u8],
    y: &[u8],
    random: &dyn Random,
) -> Result<(Secret<Vec<u8>>, Vec<u8>), CredentialError> {
    let algorithm = match curve {
        Curve::P256 => &ECDH_P256,
        Curve::P384 => &ECDH_P384,
    };
    let ephemeral = ephemeral_key(algorithm, curve, random)?;
    let public = ephemeral.compute_public_key().map_err(|_| CredentialError::Key)?;
    let mut coordinates = public.as_ref().get(1..).unwrap_or_default().chunks_exact(curve.length());
    let (Some(own_x), Some(own_y)) = (coordinates.next(), coordinates.next()) else { return Err(CredentialError::Key) };
    let peer = UnparsedPublicKey::new(algorithm, [&[4], x, y].concat());
    let seed = agreement::agree(&ephemeral, peer, CredentialError::Key, |shared| {
        let input = [&1u32.to_be_bytes(), shared, b"IDENTITY\0", own_x, x].concat();
        Ok(Secret::new(hash.digest(Secret::new(input).expose())))
    })?;
    Ok((seed, [sized(own_x), sized(own_y)].concat()))
}

/// A uniform scalar: candidates that are zero or not below the curve's order are refused by the library and drawn anew.
fn ephemeral_key(
    algorithm: &'static agreement::Algorithm,
    curve: Curve,
    random: &dyn Random,
) -> Result<PrivateKey, CredentialError> {
    for _ in 0..64 {
        let mut scalar = vec![0; curve.length()];
        random.fill(&mut scalar);
        let scalar = Secret::new(scalar);
        if let Ok(key) = PrivateKey::from_private_key(algorithm, scalar.expose()) {
            return Ok(key);
        }
    }
    Err(CredentialError::Key)
}

/// KDFa (part 1, section 11.4.10.2): SP 800-108 in counter mode with HMAC; contextV is empty in both uses here.
fn kdfa(hash: Hash, key: &[u8], label: &str, context: &[u8], bits: u32) -> Secret<Vec<u8>> {
    let key = hmac::Key::new(hmac_algorithm(hash), key);
    let length = usize::try_from(bits / 8).unwrap_or(0);
    let mut out = Vec::with_capacity(length + hash.length());
    for counter in 1u32.. {
        if out.len() >= length {
            break;
        }
        let mut block = hmac::Context::with_key(&key);
        block.update(&counter.to_be_bytes());
        block.update(label.as_bytes());
        block.update(&[0]);
        block.update(context);
        block.update(&bits.to_be_bytes());
        out.extend_from_slice(block.sign().as_ref());
    }
    out.truncate(length);
    Secret::new(out)
}

fn hmac_algorithm(hash: Hash) -> hmac::Algorithm {
    match hash {
        Hash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Hash::Sha256 => hmac::HMAC_SHA256,
        Hash::Sha384 => hmac::HMAC_SHA384,
        Hash::Sha512 => hmac::HMAC_SHA512,
    }
}

/// A `TPM2B`: the bytes with their length before them. All that is made here is far shorter than 64 KiB.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [length.to_be_bytes().as_slice(), bytes].concat()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::cipher::{DecryptingKey, DecryptionContext};
    use aws_lc_rs::rsa::{KeySize, OaepPrivateDecryptingKey, PrivateDecryptingKey};

    use super::*;

    /// Counts up, so that every test makes the same credential.
    struct Counter;

    impl Random for Counter {
        fn fill(&self, out: &mut [u8]) {
            for (at, byte) in (1u8..).zip(out) {
                *byte = at;
            }
        }
    }

    const SECRET: [u8; 32] = [0x5e; 32];

    fn name() -> Vec<u8> {
        [&[0x00, 0x0b], [7; 32].as_slice()].concat()
    }

    fn rsa_ek(modulus: &[u8]) -> Vec<u8> {
        let mut ek = vec![0x00, 0x01, 0x00, 0x0b, 0x00, 0x03, 0x00, 0xb2, 0x00, 0x00];
        ek.extend([0x00, 0x06, 0x00, 0x80, 0x00, 0x43, 0x00, 0x10, 0x08, 0x00, 0, 0, 0, 0]);
        ek.extend(sized(modulus));
        ek
    }

    fn ecc_ek(hash: u16, bits: u16, curve: u16, x: &[u8], y: &[u8]) -> Vec<u8> {
        let mut ek = [0x0023, hash].map(u16::to_be_bytes).concat();
        ek.extend([0x00, 0x03, 0x00, 0xb2, 0x00, 0x00]);
        ek.extend([0x0006, bits, 0x0043, 0x0010, curve, 0x0010].map(u16::to_be_bytes).concat());
        ek.extend([sized(x), sized(y)].concat());
        ek
    }

    /// The TPM's side (part 1, section 24.6): the HMAC is checked first, under the name of the object it holds.
    fn open(hash: Hash, bits: u32, seed: &[u8], name: &[u8], id_object: &[u8]) -> Option<Vec<u8>> {
        let (length, rest) = id_object[2..].split_first_chunk::<2>()?;
        let (tag, identity) = rest.split_at(usize::from(u16::from_be_bytes(*length)));
        let key = kdfa(hash, seed, "INTEGRITY", &[], u32::try_from(hash.length() * 8).unwrap());
        let message = [identity, name].concat();
        hmac::verify(&hmac::Key::new(hmac_algorithm(hash), key.expose()), &message, tag).ok()?;
        let key = kdfa(hash, seed, "STORAGE", name, bits);
        let cipher = if bits == 128 { &AES_128 } else { &AES_256 };
        let key = DecryptingKey::cfb128(UnboundCipherKey::new(cipher, key.expose()).unwrap()).unwrap();
        let mut identity = identity.to_vec();
        let context = DecryptionContext::Iv128(FixedLength::from([0; 16]));
        let plain = key.decrypt(&mut identity, context).unwrap();
        Some(plain[2..].to_vec())
    }

    #[test]
    fn an_rsa_endorsement_key_opens_the_credential_for_this_name_and_for_no_other() {
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        let public =
            aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(&private.public_key());
        let spki = public.unwrap();
        let modulus = spki.as_ref()[33..][..256].to_vec();
        let credential = make_credential(&rsa_ek(&modulus), &name(), &SECRET, &Counter).unwrap();
        let key = OaepPrivateDecryptingKey::new(private).unwrap();
        let mut seed = vec![0; 256];
        let label = Some(b"IDENTITY\0".as_slice());
        let seed = key.decrypt(&OAEP_SHA256_MGF1SHA256, &credential.encrypted_secret[2..], &mut seed, label).unwrap();
        let opened = open(Hash::Sha256, 128, seed, &name(), &credential.id_object);
        assert_eq!(opened.as_deref(), Some(SECRET.as_slice()));
        let mut other = name();
        other[5] ^= 1;
        assert_eq!(open(Hash::Sha256, 128, seed, &other, &credential.id_object), None);
    }

    #[test]
    fn elliptic_endorsement_keys_open_the_credential() {
        for (algorithm, curve, id, hash, bits) in
            [(&ECDH_P256, Curve::P256, 3, Hash::Sha256, 128), (&ECDH_P384, Curve::P384, 4, Hash::Sha384, 256)]
        {
            let private = PrivateKey::generate(algorithm).unwrap();
            let point = private.compute_public_key().unwrap().as_ref().to_vec();
            let (x, y) = point[1..].split_at(curve.length());
            let ek = ecc_ek(hash.id(), bits, id, x, y);
            let credential = make_credential(&ek, &name(), &SECRET, &Counter).unwrap();
            let ephemeral = &credential.encrypted_secret[2..];
            let (own_x, own_y) = (&ephemeral[2..][..curve.length()], &ephemeral[4 + curve.length()..]);
            let peer = UnparsedPublicKey::new(algorithm, [&[4], own_x, own_y].concat());
            let seed = agreement::agree(&private, peer, (), |shared| {
                Ok(hash.digest(&[&[0, 0, 0, 1], shared, b"IDENTITY\0", own_x, x].concat()))
            });
            let opened = open(hash, u32::from(bits), &seed.unwrap(), &name(), &credential.id_object);
            assert_eq!(opened.as_deref(), Some(SECRET.as_slice()), "{curve:?}");
        }
    }

    #[test]
    fn no_credential_is_made_for_what_is_no_endorsement_key_or_no_name() {
        let ek = rsa_ek(&[0xff; 256]);
        let refused = |ek: &[u8], name: &[u8]| make_credential(ek, name, &SECRET, &Counter).unwrap_err();
        assert_eq!(refused(&ek[1..], &name()), CredentialError::Malformed);
        assert_eq!(refused(&ek, &[0x00, 0x0b, 1]), CredentialError::Name);
        let mut signing = ek.clone();
        signing[5] = 0x07;
        assert!(matches!(refused(&signing, &name()), CredentialError::Attributes { .. }));
        let off_curve = ecc_ek(0x000b, 128, 3, &[1; 32], &[1; 32]);
        assert_eq!(refused(&off_curve, &name()), CredentialError::Key);
    }
}
