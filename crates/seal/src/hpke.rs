//! HPKE (RFC 9180), single shot, in base mode and in PSK mode: what is sealed to a key that an enclave attested.
//!
//! The suite is DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. In PSK mode the sender proves that it knows the
//! pre-shared key (an instance key, say), so that a CA alone cannot seal anything to an instance. What is sealed is bound
//! to its purpose by [`SealedInfo`].

mod suite;

use burgrave_types::encoding::Encoder;
use burgrave_types::{Random, Secret, SpkiHash};

use suite::{Aead, PrivateKey};

/// A pre-shared key and the name that both sides have for it.
#[derive(Clone, Copy, Debug)]
pub struct Psk<'a> {
    /// The key: 32 bytes with as much entropy (RFC 9180 section 9.5).
    pub psk: &'a Secret<[u8; 32]>,
    /// Its name, not empty.
    pub id: &'a [u8],
}

/// A message sealed to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The encapsulated key.
    pub enc: [u8; 32],
    /// Ciphertext and tag.
    pub ciphertext: Vec<u8>,
}

impl Sealed {
    /// `enc ‖ ciphertext`.
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.enc.as_slice(), &self.ciphertext].concat()
    }

    /// Reads what [`Sealed::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`HpkeError::DoesNotOpen`] where it is shorter than an encapsulated key.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, HpkeError> {
        let (enc, ciphertext) = bytes.split_first_chunk::<32>().ok_or(HpkeError::DoesNotOpen)?;
        Ok(Self { enc: *enc, ciphertext: ciphertext.to_vec() })
    }
}

/// Why a message could not be sealed or opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HpkeError {
    /// The recipient's public key is no X25519 key that anything can be sealed to.
    #[error("the recipient's sealing key is not a usable X25519 public key")]
    Recipient,
    /// A pre-shared key has no name.
    #[error("a pre-shared key needs an id that is not empty")]
    PskId,
    /// It was altered, or was sealed to another key, under another pre-shared key or for another purpose; no more is told.
    #[error("the sealed message does not open: it was altered, or was made for another key, pre-shared key or purpose")]
    DoesNotOpen,
    /// The cryptographic library failed, or the message is too long for it.
    #[error("sealing failed in the cryptographic library")]
    Crypto,
}

/// Seals `plaintext` to `recipient`, an X25519 public key; with `psk` in PSK mode, else in base mode.
///
/// `info` says what for ([`SealedInfo::encode`]); `aad` is authenticated beside it. The ephemeral key comes from `random`.
///
/// # Errors
/// [`HpkeError::Recipient`], [`HpkeError::PskId`] or [`HpkeError::Crypto`].
pub fn seal(
    recipient: &[u8; 32],
    psk: Option<Psk<'_>>,
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
    random: &dyn Random,
) -> Result<Sealed, HpkeError> {
    let ephemeral = PrivateKey::new(&random_key(random))?;
    suite::seal(Aead::Aes256Gcm, &ephemeral, recipient, psk, info, aad, plaintext)
}

/// An X25519 key pair that messages are sealed to; the private half stays where it was made.
pub struct SealingKey(PrivateKey);

impl SealingKey {
    /// A new key pair from `random`.
    ///
    /// # Errors
    /// [`HpkeError::Crypto`] where the library fails.
    pub fn generate(random: &dyn Random) -> Result<Self, HpkeError> {
        Self::from_private_key(&random_key(random))
    }

    /// The key pair with this private key (RFC 7748 section 5).
    ///
    /// # Errors
    /// [`HpkeError::Crypto`] where the library fails.
    pub fn from_private_key(private: &Secret<[u8; 32]>) -> Result<Self, HpkeError> {
        PrivateKey::new(private).map(Self)
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        *self.0.public()
    }

    /// Opens what [`seal`] sealed to this key with the same `psk`, `info` and `aad`. With `psk` only PSK mode opens.
    ///
    /// # Errors
    /// [`HpkeError::PskId`] or [`HpkeError::DoesNotOpen`].
    pub fn open(
        &self,
        psk: Option<Psk<'_>>,
        info: &[u8],
        aad: &[u8],
        sealed: &Sealed,
    ) -> Result<Secret<Vec<u8>>, HpkeError> {
        suite::open(Aead::Aes256Gcm, &self.0, psk, info, aad, sealed)
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealingKey")
    }
}

/// What a sealed message is for: no message opens as one of another kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SealedKind {
    /// The instance key, given at attestation.
    InstanceKey,
    /// A derived key that policy releases.
    DerivedKey,
    /// A stored secret.
    Secret,
    /// The secret of a channel.
    ChannelSecret,
}

impl SealedKind {
    /// The word that stands in the info.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InstanceKey => "instance-key",
            Self::DerivedKey => "derived-key",
            Self::Secret => "secret",
            Self::ChannelSecret => "channel-secret",
        }
    }
}

/// The `info` of what is sealed to an instance: both sides build it from what they know, so a message for another
/// request, channel, pair of keys or grant does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedInfo<'a> {
    /// What it is.
    pub kind: SealedKind,
    /// The request's or channel's id.
    pub id: &'a [u8],
    /// The sender's key: the node's, or for a channel secret the initiator's.
    pub sender: SpkiHash,
    /// The receiver's key: the instance's, or for a channel secret the acceptor's.
    pub receiver: SpkiHash,
    /// SHA-256 of the grant or answer that it belongs to; empty where there is none.
    pub digest: &'a [u8],
    /// The version of what is sealed: a key's version, a protocol's.
    pub version: u32,
}

impl SealedInfo<'_> {
    /// The bytes (see [`burgrave_types::encoding`]).
    pub fn encode(&self) -> Vec<u8> {
        Encoder::new()
            .text("burgrave-sealed-v1")
            .text(self.kind.as_str())
            .bytes(self.id)
            .bytes(self.sender.as_bytes())
            .bytes(self.receiver.as_bytes())
            .bytes(self.digest)
            .u64(u64::from(self.version))
            .finish()
    }
}

/// A private key: any 32 bytes are one (RFC 7748 section 5).
fn random_key(random: &dyn Random) -> Secret<[u8; 32]> {
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    random.fill(bytes.as_mut_slice());
    Secret::new(*bytes)
}

#[cfg(test)]
mod tests;
