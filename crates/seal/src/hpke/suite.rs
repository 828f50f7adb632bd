//! RFC 9180 sections 4.1 (DHKEM), 5.1 (key schedule) and 6.1 (single shot), over aws-lc-rs.

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, UnparsedPublicKey, X25519};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use burgrave_types::Secret;
use zeroize::Zeroizing;

use super::{HpkeError, Psk, Sealed};
use crate::hmac_sha256;

const KEM_ID: [u8; 2] = 0x0020u16.to_be_bytes();
const KDF_ID: [u8; 2] = 0x0001u16.to_be_bytes();

/// The AEAD of a suite. The product seals with AES-256-GCM; the RFC's own vectors are for AES-128-GCM.
#[derive(Clone, Copy)]
pub(super) enum Aead {
    #[cfg(test)]
    Aes128Gcm,
    Aes256Gcm,
}

impl Aead {
    const fn id(self) -> [u8; 2] {
        match self {
            #[cfg(test)]
            Self::Aes128Gcm => 1u16.to_be_bytes(),
            Self::Aes256Gcm => 2u16.to_be_bytes(),
        }
    }

    fn algorithm(self) -> &'static aead::Algorithm {
        match self {
            #[cfg(test)]
            Self::Aes128Gcm => &aead::AES_128_GCM,
            Self::Aes256Gcm => &aead::AES_256_GCM,
        }
    }

    fn suite_id(self) -> Vec<u8> {
        [b"HPKE".as_slice(), &KEM_ID, &KDF_ID, &self.id()].concat()
    }
}

/// An X25519 private key with its public key.
pub(super) struct PrivateKey {
    private: agreement::PrivateKey,
    public: [u8; 32],
}

impl PrivateKey {
    pub(super) fn new(private: &Secret<[u8; 32]>) -> Result<Self, HpkeError> {
        let private =
            agreement::PrivateKey::from_private_key(&X25519, private.expose()).map_err(|_| HpkeError::Crypto)?;
        let computed = private.compute_public_key().map_err(|_| HpkeError::Crypto)?;
        let public = computed.as_ref().try_into().map_err(|_| HpkeError::Crypto)?;
        Ok(Self { private, public })
    }

    pub(super) fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The KEM's shared secret (section 4.1). A peer's key of small order gives none.
    fn shared_secret(&self, peer: &[u8; 32], enc: &[u8; 32], recipient: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
        let suite_id = [b"KEM".as_slice(), &KEM_ID].concat();
        let context = [enc.as_slice(), recipient].concat();
        agreement::agree(&self.private, UnparsedPublicKey::new(&X25519, peer), (), |dh| {
            let prk = extract(&suite_id, b"", b"eae_prk", dh);
            let mut secret = Zeroizing::new([0; 32]);
            expand(&suite_id, &prk, b"shared_secret", &context, secret.as_mut_slice()).map(|()| secret).map_err(|_| ())
        })
        .ok()
    }
}

pub(super) fn seal(
    aead: Aead,
    ephemeral: &PrivateKey,
    recipient: &[u8; 32],
    psk: Option<Psk<'_>>,
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Sealed, HpkeError> {
    let enc = ephemeral.public;
    let shared = ephemeral.shared_secret(recipient, &enc, recipient).ok_or(HpkeError::Recipient)?;
    let (key, nonce) = key_schedule(aead, &shared, psk, info)?;
    let mut ciphertext = Vec::with_capacity(plaintext.len() + 16);
    ciphertext.extend_from_slice(plaintext);
    key.seal_in_place_append_tag(nonce, Aad::from(aad), &mut ciphertext).map_err(|_| HpkeError::Crypto)?;
    Ok(Sealed { enc, ciphertext })
}

pub(super) fn open(
    aead: Aead,
    recipient: &PrivateKey,
    psk: Option<Psk<'_>>,
    info: &[u8],
    aad: &[u8],
    sealed: &Sealed,
) -> Result<Secret<Vec<u8>>, HpkeError> {
    let shared = recipient.shared_secret(&sealed.enc, &sealed.enc, &recipient.public).ok_or(HpkeError::DoesNotOpen)?;
    let (key, nonce) = key_schedule(aead, &shared, psk, info)?;
    let mut buffer = Zeroizing::new(sealed.ciphertext.clone());
    let opened = key.open_in_place(nonce, Aad::from(aad), &mut buffer).map_err(|_| HpkeError::DoesNotOpen)?;
    let length = opened.len();
    buffer.truncate(length);
    Ok(Secret::new(std::mem::take(&mut *buffer)))
}

/// The key and nonce of the first and only message (section 5.1); the mode is PSK where there is one, else base.
fn key_schedule(
    aead: Aead,
    shared: &Zeroizing<[u8; 32]>,
    psk: Option<Psk<'_>>,
    info: &[u8],
) -> Result<(LessSafeKey, Nonce), HpkeError> {
    let (mode, psk, psk_id): (u8, &[u8], &[u8]) = match &psk {
        Some(Psk { id: [], .. }) => return Err(HpkeError::PskId),
        Some(Psk { psk, id }) => (1, psk.expose(), id),
        None => (0, b"", b""),
    };
    let suite_id = aead.suite_id();
    let psk_id_hash = extract(&suite_id, b"", b"psk_id_hash", psk_id);
    let info_hash = extract(&suite_id, b"", b"info_hash", info);
    let context = [[mode].as_slice(), psk_id_hash.as_slice(), info_hash.as_slice()].concat();
    let secret = extract(&suite_id, shared.as_slice(), b"secret", psk);
    let mut key = Zeroizing::new(vec![0; aead.algorithm().key_len()]);
    expand(&suite_id, &secret, b"key", &context, &mut key)?;
    let mut nonce = [0; 12];
    expand(&suite_id, &secret, b"base_nonce", &context, &mut nonce)?;
    let key = UnboundKey::new(aead.algorithm(), &key).map_err(|_| HpkeError::Crypto)?;
    Ok((LessSafeKey::new(key), Nonce::assume_unique_for_key(nonce)))
}

/// `LabeledExtract` (section 4): HKDF-Extract is HMAC under the salt.
fn extract(suite_id: &[u8], salt: &[u8], label: &[u8], ikm: &[u8]) -> Zeroizing<[u8; 32]> {
    let input = Zeroizing::new([b"HPKE-v1".as_slice(), suite_id, label, ikm].concat());
    Zeroizing::new(hmac_sha256(salt, &input))
}

/// `LabeledExpand` (section 4) into `out`.
fn expand(
    suite_id: &[u8],
    prk: &Zeroizing<[u8; 32]>,
    label: &[u8],
    context: &[u8],
    out: &mut [u8],
) -> Result<(), HpkeError> {
    struct Length(usize);
    impl KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let length = u16::try_from(out.len()).map_err(|_| HpkeError::Crypto)?.to_be_bytes();
    let prk = Prk::new_less_safe(HKDF_SHA256, prk.as_slice());
    let info = [length.as_slice(), b"HPKE-v1", suite_id, label, context];
    let okm = prk.expand(&info, Length(out.len())).map_err(|_| HpkeError::Crypto)?;
    okm.fill(out).map_err(|_| HpkeError::Crypto)
}
