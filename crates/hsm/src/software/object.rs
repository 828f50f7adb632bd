//! A key in the memory of an open software token.

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap};
use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair,
};
use aws_lc_rs::{error::Unspecified, hmac};
use burgrave_types::Secret;
use zeroize::Zeroizing;

use crate::error::FileFault;
use crate::file::Entry;
use crate::{HsmError, KeyAlgorithm, KeyAttributes, KeyCheckValue, KeyId, WrappedKey};

/// A key, ready for the one operation that it is good for.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) id: KeyId,
    pub(super) attributes: KeyAttributes,
    key: Key,
}

#[derive(Debug)]
enum Key {
    Wrap(Secret<[u8; 32]>),
    /// The bytes are kept beside the prepared key only where they may be wrapped.
    Mac {
        key: Box<hmac::Key>,
        extractable: Option<Secret<[u8; 32]>>,
    },
    Sign(EcdsaKeyPair, &'static digest::Algorithm),
}

impl Object {
    /// A new key, from the system's randomness.
    pub(super) fn generate(id: KeyId, attributes: KeyAttributes) -> Result<Self, HsmError> {
        if !id.purpose.permits(attributes) {
            return Err(HsmError::NotPermitted { key: id, operation: "be made with these attributes" });
        }
        let failed = |_| HsmError::Device("generate a key");
        let key = match id.purpose.algorithm() {
            KeyAlgorithm::Aes256Wrap => Key::Wrap(random_key()?),
            KeyAlgorithm::HmacSha256 => Key::mac(random_key()?, attributes.extractable),
            curve @ (KeyAlgorithm::EcdsaP256 | KeyAlgorithm::EcdsaP384) => {
                let (algorithm, digest) = signing(curve);
                Key::Sign(EcdsaKeyPair::generate(algorithm).map_err(failed)?, digest)
            }
        };
        Ok(Self { id, attributes, key })
    }

    /// A kept key, as [`Object::entry`] gave it.
    pub(super) fn load(entry: &Entry) -> Result<Self, FileFault> {
        let material = entry.material.expose();
        let key = match entry.id.purpose.algorithm() {
            KeyAlgorithm::Aes256Wrap => {
                let key = Zeroizing::new(<[u8; 32]>::try_from(material.as_slice()).map_err(|_| FileFault::Key)?);
                Key::Wrap(Secret::new(*key))
            }
            KeyAlgorithm::HmacSha256 => return Err(FileFault::Key),
            curve @ (KeyAlgorithm::EcdsaP256 | KeyAlgorithm::EcdsaP384) => {
                let (algorithm, digest) = signing(curve);
                Key::Sign(EcdsaKeyPair::from_pkcs8(algorithm, material).map_err(|_| FileFault::Key)?, digest)
            }
        };
        Ok(Self { id: entry.id, attributes: KeyAttributes::TOKEN, key })
    }

    /// An unwrapped key: a session object that cannot leave again.
    pub(super) fn session(id: KeyId, key: Secret<[u8; 32]>) -> Self {
        let attributes = KeyAttributes::SESSION;
        Self { id, attributes, key: Key::mac(key, attributes.extractable) }
    }

    /// What is kept of it: nothing of a session object.
    pub(super) fn entry(&self) -> Result<Option<Entry>, HsmError> {
        if !self.attributes.persistent {
            return Ok(None);
        }
        let material = match &self.key {
            Key::Wrap(key) => key.expose().to_vec(),
            Key::Sign(pair, _) => pair.to_pkcs8v1().map_err(|_| HsmError::Device("write a key"))?.as_ref().to_vec(),
            Key::Mac { .. } => return Err(self.not_permitted("be kept in the token")),
        };
        Ok(Some(Entry { id: self.id, material: Secret::new(material) }))
    }

    pub(super) fn public_key(&self) -> Result<Vec<u8>, HsmError> {
        let Key::Sign(pair, _) = &self.key else { return Err(self.not_permitted("give a public key")) };
        let der: PublicKeyX509Der<'_> =
            pair.public_key().as_der().map_err(|_| HsmError::Device("encode a public key"))?;
        Ok(der.as_ref().to_vec())
    }

    pub(super) fn mac(&self, message: &[u8]) -> Result<Secret<[u8; 32]>, HsmError> {
        let Key::Mac { key, .. } = &self.key else { return Err(self.not_permitted("make an HMAC")) };
        let mut tag = Zeroizing::new([0; 32]);
        hmac::sign_to_buffer(key, message, &mut *tag).map_err(|_| HsmError::Device("make an HMAC"))?;
        Ok(Secret::new(*tag))
    }

    pub(super) fn sign(&self, digest: &[u8]) -> Result<Vec<u8>, HsmError> {
        let Key::Sign(pair, algorithm) = &self.key else { return Err(self.not_permitted("sign")) };
        let digest = Digest::import_less_safe(digest, algorithm).map_err(|_| HsmError::DigestLength {
            key: self.id,
            expected: algorithm.output_len(),
            found: digest.len(),
        })?;
        let signature = pair.sign_digest(&digest).map_err(|_| HsmError::Device("sign"))?;
        Ok(signature.as_ref().to_vec())
    }

    pub(super) fn check_value(&self) -> Result<KeyCheckValue, HsmError> {
        self.mac(&KeyCheckValue::input(self.id)).map(|mac| KeyCheckValue::from_mac(&mac))
    }

    pub(super) fn wrap(&self, key: &Self) -> Result<WrappedKey, HsmError> {
        let wrapping = self.wrapping_key("wrap keys")?;
        let Key::Mac { extractable: Some(bytes), .. } = &key.key else {
            return Err(key.not_permitted("be wrapped"));
        };
        let mut blob = [0; 40];
        wrapping.wrap(bytes.expose(), &mut blob).map_err(|_| HsmError::Device("wrap a key"))?;
        Ok(WrappedKey { key: key.id, wrapping_key: self.id, blob, check: key.check_value()? })
    }

    pub(super) fn unwrap(&self, wrapped: &WrappedKey) -> Result<Self, HsmError> {
        let unwrapping = self.wrapping_key("unwrap keys")?;
        if wrapped.key.purpose.algorithm() != KeyAlgorithm::HmacSha256 {
            return Err(HsmError::NotPermitted { key: wrapped.key, operation: "be unwrapped" });
        }
        let invalid = || HsmError::InvalidCiphertext { key: wrapped.key, wrapping_key: self.id };
        let mut bytes = Zeroizing::new([0; 32]);
        if wrapped.wrapping_key != self.id
            || unwrapping.unwrap(&wrapped.blob, &mut *bytes).map_err(|Unspecified| invalid())?.len() != 32
        {
            return Err(invalid());
        }
        let object = Self::session(wrapped.key, Secret::new(*bytes));
        if object.check_value()? == wrapped.check { Ok(object) } else { Err(HsmError::CheckValue(wrapped.key)) }
    }

    fn wrapping_key(&self, operation: &'static str) -> Result<AesKek, HsmError> {
        let Key::Wrap(key) = &self.key else { return Err(self.not_permitted(operation)) };
        AesKek::new(&AES_256, key.expose()).map_err(|_| HsmError::Device(operation))
    }

    fn not_permitted(&self, operation: &'static str) -> HsmError {
        HsmError::NotPermitted { key: self.id, operation }
    }
}

impl Key {
    fn mac(bytes: Secret<[u8; 32]>, extractable: bool) -> Self {
        let key = Box::new(hmac::Key::new(hmac::HMAC_SHA256, bytes.expose()));
        Self::Mac { key, extractable: extractable.then_some(bytes) }
    }
}

fn signing(algorithm: KeyAlgorithm) -> (&'static EcdsaSigningAlgorithm, &'static digest::Algorithm) {
    if algorithm == KeyAlgorithm::EcdsaP384 {
        (&ECDSA_P384_SHA384_ASN1_SIGNING, &digest::SHA384)
    } else {
        (&ECDSA_P256_SHA256_ASN1_SIGNING, &digest::SHA256)
    }
}

fn random_key() -> Result<Secret<[u8; 32]>, HsmError> {
    let mut key = Zeroizing::new([0; 32]);
    rand::SecureRandom::fill(&SystemRandom::new(), &mut *key).map_err(|_| HsmError::Device("generate a key"))?;
    Ok(Secret::new(*key))
}
