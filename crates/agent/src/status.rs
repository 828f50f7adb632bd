//! How the agent stands, and what it was told.

use std::time::Duration;

use burgrave_types::{
    EnclaveName, GenesisHash, InstanceId, NodeId, Operation, Problem, ResourceId, Revision, SpiffeId, Timestamp,
};
use serde::Serialize;

/// How far the agent is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgentState {
    /// It has no link to a node.
    Connecting,
    /// It has a link, and is not attested.
    Attesting,
    /// It is attested and has a link.
    Attested,
    /// Its access was ended; it does not try again.
    Revoked,
    /// It was stopped.
    Stopped,
}

/// How the agent stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Status {
    /// How far it is.
    pub state: AgentState,
    /// The enclave that it attests as.
    pub enclave: EnclaveName,
    /// The domain that it was started for.
    pub genesis: GenesisHash,
    /// The node that it has a link to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// The instance that it is, once it was attested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// The name that its SVID bears.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spiffe_id: Option<SpiffeId>,
    /// The deadline of its attestation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// How often the node asks it to attest again.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "whole_secs", rename = "interval_secs")]
    pub interval: Option<Duration>,
    /// The signed result of its last attestation (EAR, as JWS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attestation_result: Option<String>,
    /// The highest ledger revision that it was told.
    pub revision: Revision,
    /// How often it was attested since it started.
    pub attestations: u64,
    /// Why it is not attested, or what failed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// What the node told unasked. Whoever holds a key or relies on an answer drops it on the matching notice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// The rules changed, and these are no longer allowed.
    Lost {
        /// The revision from which it holds.
        revision: Revision,
        /// What is lost.
        lost: Vec<(Operation, ResourceId)>,
    },
    /// A key has a new version.
    KeyVersion {
        /// The key.
        resource: ResourceId,
        /// The version that is active.
        version: u32,
    },
    /// The access was ended: drop everything.
    Revoked(Problem),
}

fn whole_secs<S: serde::Serializer>(interval: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    interval.map(|interval| interval.as_secs()).serialize(serializer)
}
