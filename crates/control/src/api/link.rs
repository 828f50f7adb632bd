//! The agent link's side of the door.

use std::time::Duration;

use burgrave_types::{
    ChannelId, DecisionId, EnclaveName, Evidence, InstanceId, Operation, Problem, ResourceId, Revision, Standing,
    Timestamp,
};

/// What ties a request to the one TLS connection that it came over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkBinding {
    /// The TLS exporter of the connection, label `EXPORTER-burgrave-attest-v1`.
    pub exporter: [u8; 32],
    /// The SubjectPublicKeyInfo (DER) of the client certificate: the instance's identity key, proven by the handshake.
    pub identity_spki: Vec<u8>,
}

/// What a node asks an attester to answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Challenge {
    /// The nonce. Opaque to everybody but the node that made it.
    pub nonce: Vec<u8>,
    /// The end of its validity.
    pub expires: Timestamp,
    /// The PCRs that a TPM shall quote, by index. Always the same, so that a challenge tells nothing of a registration.
    pub pcrs: Vec<u8>,
}

/// A request to become, or to stay, an instance of an enclave.
#[derive(Clone, Debug)]
pub struct AttestRequest {
    /// The enclave that the caller says it is.
    pub enclave: EnclaveName,
    /// The nonce of the challenge that is answered.
    pub nonce: Vec<u8>,
    /// The public X25519 key that was made inside the TEE, to which secrets are sealed.
    pub sealing_key: [u8; 32],
    /// The evidence; its binding covers genesis, enclave, nonce, exporter, identity key and sealing key.
    pub evidence: Evidence,
    /// The connection that the request came over.
    pub link: LinkBinding,
    /// The instance whose attestation this renews; `None` for a first attestation.
    pub renews: Option<InstanceId>,
}

/// How an attestation goes on.
#[derive(Debug)]
pub enum AttestStep {
    /// The instance is attested.
    Attested(Box<Attested>),
    /// The TPM must first prove that the attestation key is its own (TPM2_ActivateCredential).
    Activate(Activation),
}

/// A credential that only the right TPM can open (TPM 2.0 Part 1, section 24).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Activation {
    /// TPM2B_ID_OBJECT.
    pub id_object: Vec<u8>,
    /// TPM2B_ENCRYPTED_SECRET.
    pub encrypted_secret: Vec<u8>,
    /// What the node already verified, under its own MAC: to be handed back with the secret. The node keeps nothing.
    pub ticket: Vec<u8>,
}

/// An attestation that succeeded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attested {
    /// The instance.
    pub instance: InstanceId,
    /// The X.509-SVID over the identity key, leaf first, DER.
    pub svid_chain: Vec<Vec<u8>>,
    /// The attestation result: a signed EAR (JWS, compact). Its SHA-256 is the result digest.
    pub attestation_result: String,
    /// The deadline: attested again before it, or stale.
    pub until: Timestamp,
    /// How often the registration wants an attestation.
    pub interval: Duration,
    /// The instance key, sealed (HPKE base mode) to the sealing key; with a first attestation alone.
    pub sealed_instance_key: Option<Vec<u8>>,
    /// The ledger position that this was decided at.
    pub revision: Revision,
}

/// What an instance that reconnects under its SVID still is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resumed {
    /// The instance.
    pub instance: InstanceId,
    /// The enclave.
    pub enclave: EnclaveName,
    /// Its standing, which a reconnect neither renews nor shortens.
    pub standing: Standing,
    /// The deadline of its last attestation.
    pub until: Timestamp,
    /// How often the registration wants an attestation.
    pub interval: Duration,
    /// The ledger position.
    pub revision: Revision,
}

/// A key that left the node for the enclave it belongs to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReleasedKey {
    /// The key's version.
    pub version: u32,
    /// The 32 bytes, sealed in HPKE PSK mode to the attested sealing key under the instance key.
    pub sealed: Vec<u8>,
}

/// The answer to `evaluatePolicy(enclave, resource, operation)`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The decision, for `burgrave why`.
    pub decision_id: DecisionId,
    /// The policies that made it; empty where none permitted.
    pub determining: Vec<String>,
    /// Until when the answer may be kept at most, should nothing be pushed before.
    pub valid_until: Timestamp,
    /// The ledger position that it was decided at.
    pub revision: Revision,
}

/// A channel that both sides may now open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenedChannel {
    /// The channel; accepted once.
    pub channel: ChannelId,
    /// The grant, signed by the node.
    pub grant: Vec<u8>,
    /// The channel secret, sealed to the initiator.
    pub initiator_secret: Vec<u8>,
    /// The instance that accepts.
    pub acceptor: InstanceId,
    /// The channel secret, sealed to the acceptor.
    pub acceptor_secret: Vec<u8>,
    /// Bytes that each side may send at most.
    pub byte_limit: u64,
    /// When the channel ends in any case.
    pub not_after: Timestamp,
}

/// What the edge gives to control: who is connected, and the hands to cut and to tell.
///
/// All methods are synchronous and must not call back into [`crate::Control`]. `cut` and `disconnect` hold when they
/// return: a change by an administrator is answered only after them.
pub trait LinkDirectory: Send + Sync {
    /// Whether the instance has a link at this node.
    fn is_linked(&self, instance: InstanceId) -> bool;
    /// Cuts a channel on both sides: when it returns, nothing more is accepted from a sender, and queued bytes are purged.
    fn cut(&self, channel: ChannelId, reason: &Problem);
    /// Pushes a notice, ahead of data. One that cannot be delivered is dropped: the next decision holds in any case.
    fn notify(&self, instance: InstanceId, notice: Notice);
    /// Ends the instance's link.
    fn disconnect(&self, instance: InstanceId, reason: &Problem);
    /// Ends all links, attested or not, and cuts all channels: the node serves no more. Holds when it returns, like `cut`.
    fn end_all(&self, reason: &Problem);
}

/// What is pushed to an instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// The rules changed; what stands in `lost` was allowed to it and is no longer: keys and verdicts for it are dropped.
    Revision {
        /// The new position.
        revision: Revision,
        /// What it lost.
        lost: Vec<(Operation, ResourceId)>,
    },
    /// It shall attest again.
    Reattest {
        /// The challenge to answer.
        challenge: Challenge,
    },
    /// Its access ended.
    Revoked {
        /// Why.
        reason: Problem,
    },
    /// A key that it uses has a new version.
    KeyVersion {
        /// The key.
        resource: ResourceId,
        /// The version to encrypt under from now on.
        version: u32,
    },
}
