//! The channel secret: from the pair's key to the two sides.

use burgrave_seal::hpke::{HpkeError, Psk, Sealed, SealedInfo, SealedKind, SealingKey, seal};
use burgrave_seal::{KeyLabel, derive};
use burgrave_types::encoding::Encoder;
use burgrave_types::{Random, Secret};
use zeroize::Zeroizing;

use crate::{Role, SignedGrant};

/// The version of how a channel secret is made and used.
const VERSION: u32 = 1;

/// The secret of the granted channel, below the key that the pair of enclaves has in the grant's epoch.
///
/// The context of the derivation (label `burgrave/channel-secret/v1`) has the fields: channel id (16 bytes), the initiator's
/// and the acceptor's key hash, the grant's digest (32 bytes each), each with its length before it.
pub fn channel_secret(pair_key: &Secret<[u8; 32]>, grant: &SignedGrant) -> Secret<[u8; 32]> {
    let (digest, grant) = (grant.digest(), grant.grant());
    let context = Encoder::new()
        .bytes(grant.channel.as_bytes())
        .bytes(grant.initiator.spki_hash.as_bytes())
        .bytes(grant.acceptor.spki_hash.as_bytes())
        .bytes(digest.as_bytes())
        .finish();
    derive(pair_key, KeyLabel::ChannelSecret, &context)
}

/// Seals a channel secret to the side of `role`: to `recipient`, the sealing key that the instance attested, under its
/// instance key as pre-shared key. Opens for this grant and this role alone.
///
/// # Errors
/// [`HpkeError`] where `recipient` is no key that can be sealed to, or the library fails.
pub fn seal_channel_secret(
    secret: &Secret<[u8; 32]>,
    grant: &SignedGrant,
    role: Role,
    recipient: &[u8; 32],
    instance_key: &Secret<[u8; 32]>,
    random: &dyn Random,
) -> Result<Vec<u8>, HpkeError> {
    let aad = role.as_str().as_bytes();
    Ok(seal(recipient, Some(psk(instance_key)), &info(grant), aad, secret.expose(), random)?.to_bytes())
}

/// Opens what [`seal_channel_secret`] sealed to this instance.
///
/// # Errors
/// [`HpkeError::DoesNotOpen`] where it was altered, or made for another instance, grant or role.
pub fn open_channel_secret(
    sealed: &[u8],
    grant: &SignedGrant,
    role: Role,
    key: &SealingKey,
    instance_key: &Secret<[u8; 32]>,
) -> Result<Secret<[u8; 32]>, HpkeError> {
    let aad = role.as_str().as_bytes();
    let opened = key.open(Some(psk(instance_key)), &info(grant), aad, &Sealed::from_bytes(sealed)?)?;
    let mut secret = Zeroizing::new([0; 32]);
    if opened.expose().len() != secret.len() {
        return Err(HpkeError::DoesNotOpen);
    }
    secret.copy_from_slice(opened.expose());
    Ok(Secret::new(*secret))
}

fn psk(instance_key: &Secret<[u8; 32]>) -> Psk<'_> {
    Psk { psk: instance_key, id: KeyLabel::InstanceKey.as_bytes() }
}

fn info(grant: &SignedGrant) -> Vec<u8> {
    let (digest, grant) = (grant.digest(), grant.grant());
    SealedInfo {
        kind: SealedKind::ChannelSecret,
        id: grant.channel.as_bytes(),
        sender: grant.initiator.spki_hash,
        receiver: grant.acceptor.spki_hash,
        digest: digest.as_bytes(),
        version: VERSION,
    }
    .encode()
}
