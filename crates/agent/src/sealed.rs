//! What is sealed to this instance, opened.

use burgrave_channel::{Role, SignedGrant};
use burgrave_identity::spki_hash;
use burgrave_seal::hpke::{Psk, Sealed, SealedInfo, SealedKind};
use burgrave_types::{InstanceId, Problem, ProblemCode, Secret};
use zeroize::Zeroizing;

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

/// The secret of a granted channel, for the side of `role`.
pub(crate) fn open_channel_secret(
    identity: &Identity,
    grant: &SignedGrant,
    role: Role,
    sealed: &[u8],
) -> Result<Secret<[u8; 32]>, Problem> {
    let key = identity.instance_key().ok_or_else(missing)?;
    burgrave_channel::open_channel_secret(sealed, grant, role, &identity.sealing, &key)
        .map_err(|error| refused(SealedKind::ChannelSecret, &error.to_string()))
}

fn open_with_instance_key(
    identity: &Identity,
    info: &SealedInfo<'_>,
    sealed: &[u8],
) -> Result<Secret<[u8; 32]>, Problem> {
    let (key, instance) = (identity.instance_key().ok_or_else(missing)?, identity.instance().ok_or_else(missing)?);
    open(identity, Some(Psk { psk: &key, id: instance.as_bytes() }), info, sealed)
}

fn open(
    identity: &Identity,
    psk: Option<Psk<'_>>,
    info: &SealedInfo<'_>,
    sealed: &[u8],
) -> Result<Secret<[u8; 32]>, Problem> {
    let refused = |why: &str| refused(info.kind, why);
    let sealed = Sealed::from_bytes(sealed).map_err(|error| refused(&error.to_string()))?;
    let opened =
        identity.sealing.open(psk, &info.encode(), &[], &sealed).map_err(|error| refused(&error.to_string()))?;
    let key = <[u8; 32]>::try_from(opened.expose().as_slice()).map_err(|_| refused("it has not 32 bytes"))?;
    Ok(Secret::new(*Zeroizing::new(key)))
}

fn missing() -> Problem {
    Problem::new(ProblemCode::NotAttested, "this agent holds no instance key").with_fix("attest first")
}

fn refused(kind: SealedKind, why: &str) -> Problem {
    let detail = format!("the {} that the node sealed to this instance is refused: {why}", kind.as_str());
    Problem::new(ProblemCode::Protocol, detail)
        .with_fix("if it happens again, the node or what is between is not to be trusted: tell its operator")
}
