//! What is asked of the policy: who, what, of which resource, under which circumstances.

use std::collections::BTreeSet;
use std::time::Duration;

use burgrave_types::{
    Claims, Concession, EnclaveName, InstanceId, NodeId, Operation, ResourceId, ResourceKind, Segment, Timestamp,
};

/// One question to the policy. The node fills it from what it knows; nothing in it comes from the caller unchecked.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Who asks.
    pub principal: Principal<'a>,
    /// What for.
    pub operation: Operation,
    /// Of what.
    pub resource: Resource,
    /// Under which circumstances.
    pub context: Context<'a>,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub enum Principal<'a> {
    /// An attested instance: may use keys and communicate.
    Instance(&'a InstanceFacts),
    /// Somebody whose evidence was verified and appraised just now: may only attest.
    Candidate(&'a CandidateFacts),
    /// A person: may only administer.
    Admin(&'a AdminFacts),
}

/// What the node knows of an attested instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InstanceFacts {
    /// Its id.
    pub id: InstanceId,
    /// The registration that it is an instance of.
    pub enclave: EnclaveName,
    /// The release that its evidence matched, e.g. `1.2.0`.
    pub release: Option<String>,
    /// The groups that its enclave is in, as `<namespace>/<name>`.
    pub groups: Vec<String>,
    /// What its evidence said.
    pub claims: Claims,
    /// What of that its registration lets pass, against the standing guards.
    pub conceded: BTreeSet<Concession>,
}

/// What the node knows of an instance that is about to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CandidateFacts {
    /// The registration that it wants to be an instance of.
    pub enclave: EnclaveName,
    /// The release that its evidence matched.
    pub release: Option<String>,
    /// The groups that the enclave is in, as `<namespace>/<name>`.
    pub groups: Vec<String>,
    /// What its evidence said.
    pub claims: Claims,
    /// What of that its registration lets pass, against the standing guards.
    pub conceded: BTreeSet<Concession>,
}

/// What the node knows of an administrator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdminFacts {
    /// The administrator's name.
    pub name: Segment,
    /// The roles held. `admin` may administer everything.
    pub roles: Vec<Segment>,
}

/// What the operation acts on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Resource {
    /// A key, keyspace, channel or enclave.
    Named {
        /// Which.
        id: ResourceId,
        /// The enclave that receives on it, for a channel: required there.
        owner: Option<EnclaveName>,
        /// The groups of the enclave that it is or belongs to, as `<namespace>/<name>`.
        groups: Vec<String>,
    },
    /// A whole namespace, for `administer`.
    Namespace(Segment),
    /// The trust domain itself, for `administer`.
    Domain,
}

impl From<ResourceId> for Resource {
    /// The resource of this id, in no group; a channel belongs to the enclave after which it is named.
    fn from(id: ResourceId) -> Self {
        let owner = match (id.kind, id.name.parts()) {
            (ResourceKind::Channel, [enclave, ..]) => {
                Some(EnclaveName::new(id.name.namespace().clone(), enclave.clone()))
            }
            _ => None,
        };
        Self::Named { id, owner, groups: Vec::new() }
    }
}

/// The circumstances.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The time of the decision.
    pub now: Timestamp,
    /// How long ago the asking instance was attested: required where an instance asks.
    pub attestation_age: Option<Duration>,
    /// The node that decides.
    pub node: NodeId,
    /// The other side and how long ago it was attested: required for `send` and `receive`.
    pub peer: Option<(&'a InstanceFacts, Duration)>,
}

impl Principal<'_> {
    /// The principal as people name it.
    pub fn name(&self) -> String {
        match self {
            Self::Instance(facts) => facts.enclave.to_string(),
            Self::Candidate(facts) => facts.enclave.to_string(),
            Self::Admin(facts) => facts.name.to_string(),
        }
    }
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Named { id, .. } => id.fmt(f),
            Self::Namespace(name) => write!(f, "namespace/{name}"),
            Self::Domain => f.write_str("domain"),
        }
    }
}
