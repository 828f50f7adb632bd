//! What is sealed to this instance, opened.

use burgrave_channel::SignedGrant;
use burgrave_identity::spki_hash;
use burgrave_seal::hpke::{Psk, Sealed, SealedInfo, SealedKind};
use burgrave_types::{InstanceId, Problem, ProblemCode, Secret, SpkiHash};

use crate::identity::Identity;

/// The instance key, from the answer to a first attestation.
pub(crate) fn open_instance_key(
    identity: &Identity,
    instance: InstanceId,
    sealed: &[u8],
) -> Result<Secret<[u8; 32]>, Problem> {
    let own = spki_hash(identity.key.spki());
    let info = SealedInfo {
        kind: SealedKind::InstanceKey,
        id: instance.as_bytes(),
        sender: own,
        receiver: own,
        digest: &[],
        version: 1,
    };
    open(identity, None, &info, sealed)
}

/// A key that was released to this instance in answer to `request_id`.
pub(crate) fn open_key(
    identity: &Identity,
    request_id: &[u8; 16],
    version: u32,
    sealed: &[u8],
) -> Result<Secret<[u8; 32]>, Problem> {
    let own = spki_hash(identity.key.spki());
    let info =
        SealedInfo { kind: SealedKind::DerivedKey, id: request_id, sender: own, receiver: own, digest: &[], version };
    open_with_instance_key(identity, &info, sealed)
}

/// The secret of a granted channel.
pub(crate) fn open_channel_secret(
    identity: &Identity,
    grant: &SignedGrant,
    sealed: &[u8],
) -> Result<Secret<[u8; 32]>, Problem> {
    let digest = grant.digest();
    let grant = grant.grant();
    let (sender, receiver): (SpkiHash, SpkiHash) = (grant.initiator.spki_hash, grant.acceptor.spki_hash);
    let info = SealedInfo {
        kind: SealedKind::ChannelSecret,
        id: grant.channel.as_bytes(),
        sender,
        receiver,
        digest: digest.as_bytes(),
        version: 1,
    };
    open_with_instance_key(identity, &info, sealed)
}

fn open_with_instance_key(
    identity: &Identity,
    info: &SealedInfo<'_>,
    sealed: &[u8],
) -> Result<Secret<[u8; 32]>, Problem> {
    let missing =
        || Problem::new(ProblemCode::NotAttested, "this agent holds no instance key").with_fix("attest first");
    let (key, instance) = (identity.instance_key().ok_or_else(missing)?, identity.instance().ok_or_else(missing)?);
    open(identity, Some(Psk { psk: &key, id: instance.as_bytes() }), info, sealed)
}

fn open(
    identity: &Identity,
    psk: Option<Psk<'_>>,
    info: &SealedInfo<'_>,
    sealed: &[u8],
) -> Result<Secret<[u8; 32]>, Problem> {
    let kind = info.kind.as_str();
    let refused = |why: &str| {
        Problem::new(
            ProblemCode::Protocol,
            format!("the {kind} that the node sealed to this instance is refused: {why}"),
        )
        .with_fix("if it happens again, the node or what is between is not to be trusted: tell its operator")
    };
    let sealed = Sealed::from_bytes(sealed).map_err(|error| refused(&error.to_string()))?;
    let opened =
        identity.sealing.open(psk, &info.encode(), &[], &sealed).map_err(|error| refused(&error.to_string()))?;
    let key = zeroize::Zeroizing::new(
        <[u8; 32]>::try_from(opened.expose().as_slice()).map_err(|_| refused("it has not 32 bytes"))?,
    );
    Ok(Secret::new(*key))
}
