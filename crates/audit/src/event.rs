//! What an event is.

use std::collections::BTreeSet;

use burgrave_types::{
    ChannelId, Claims, Concession, DecisionId, EnclaveName, EvidenceDigest, HeadHash, InstanceId, NodeId, Operation,
    ResourceId, ResultDigest, Revision, Tee, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::AuditError;

/// The schema's name, in every event.
pub const SCHEMA: &str = "burgrave-audit-v1";

/// Something that happened, as a line of the audit log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Event {
    schema: Schema,
    /// When it happened.
    pub time: Timestamp,
    /// The node at which it happened.
    pub node: NodeId,
    /// What happened.
    #[serde(flatten)]
    pub kind: Kind,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", content = "detail", rename_all = "kebab-case")]
pub enum Kind {
    /// The domain's records changed.
    Change(Change),
    /// Evidence was judged.
    Attestation(Box<Attestation>),
    /// The policy decided.
    Decision(Box<Decision>),
    /// A channel between two instances began or ended.
    Channel(ChannelEvent),
    /// A key or secret left the node.
    Release(Release),
    /// Attestations were refused that have no line of their own.
    Refusals(Refusals),
    /// Something happened to vendors' collateral.
    Collateral(CollateralEvent),
    /// A step of the node's life.
    Lifecycle(Lifecycle),
    /// Something about the log itself.
    Log(LogEvent),
}

/// A transaction on the ledger.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Who asked for it.
    pub changer: String,
    /// The ledger position after it.
    pub revision: Revision,
    /// The hash of the head that covers it.
    pub head: HeadHash,
    /// The records that it touched.
    pub records: Vec<RecordChange>,
}

/// What a transaction did to one record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordChange {
    /// The record: `enclave/payments/api`.
    pub path: String,
    /// What was done to it.
    pub action: RecordAction,
}

/// What is done to a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordAction {
    /// It was made or changed.
    Put,
    /// It was deleted.
    Delete,
}

/// Whether evidence was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was taken: the instance is fresh.
    Accepted,
    /// The evidence was refused; `cause` says why.
    Rejected,
}

/// Evidence and what was made of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    /// The enclave that the evidence was for.
    pub enclave: EnclaveName,
    /// The instance, where there is one (a refused first attestation has none).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// The TEE that the evidence claims.
    pub tee: Tee,
    /// How it ended.
    pub outcome: Outcome,
    /// The stable code of the first check that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The checks that were made.
    pub checks: Vec<Check>,
    /// The evidence as received.
    pub evidence: EvidenceDigest,
    /// The signed attestation result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<ResultDigest>,
    /// What the evidence says, where its signatures held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<Claims>,
    /// The parts beside the lead that were judged, in their order: seven at most, by the bounds on evidence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// The deadline of the next attestation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
}

/// A part of evidence beside the lead (a GPU), and what was made of it. Its checks stand among those of the whole, under names
/// that begin with `parts.` and its number.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// What it claims to come from.
    pub tee: Tee,
    /// How it ended, by itself.
    pub outcome: Outcome,
    /// The stable code of the first check that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What it says, where its signatures held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<Claims>,
}

/// One check of evidence.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Its stable code: `pcr.digest`.
    pub name: String,
    /// Whether it passed.
    pub passed: bool,
    /// What was expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
}

/// A decision of the policy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Its id.
    pub id: DecisionId,
    /// Who asked: an instance's id, `candidate` and an enclave, or `admin` and a name.
    pub principal: String,
    /// The enclave, where an enclave asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enclave: Option<EnclaveName>,
    /// What was asked.
    pub operation: Operation,
    /// Of what.
    pub resource: String,
    /// With which peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<EnclaveName>,
    /// Whether it was allowed.
    pub allowed: bool,
    /// Why, in a line.
    pub reason: String,
    /// The policies that made it.
    pub determining: Vec<String>,
    /// What failed while deciding.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
    /// The permits that came near, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub near_misses: Vec<NearMiss>,
    /// The ledger position that the policies were read at.
    pub policy_revision: Revision,
    /// The claims that were seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<Claims>,
    /// What of them only the registration let pass: policies see it beside them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub conceded: BTreeSet<Concession>,
    /// How old the attestation was, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation_age_secs: Option<u64>,
    /// The deadline of the attestation it was made on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fresh_until: Option<Timestamp>,
    /// The answer's own deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
}

/// A permit that did not apply, but nearly.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NearMiss {
    /// The permit.
    pub policy: String,
    /// What it asks for.
    pub condition: String,
    /// What was found instead.
    pub found: String,
}

/// One end of a channel.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Party {
    /// The enclave.
    pub enclave: EnclaveName,
    /// Its instance.
    pub instance: InstanceId,
}

/// A step in a channel's life.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelEvent {
    /// The channel.
    pub id: ChannelId,
    /// Who asked for it.
    pub initiator: Party,
    /// Who accepted it.
    pub acceptor: Party,
    /// What happened.
    pub step: ChannelStep,
    /// Why it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What happens to channels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelStep {
    /// Both ends were given a grant.
    Opened,
    /// The node ended it: a policy change, a revocation, a stale end.
    Cut,
    /// One of its ends ended it.
    Closed,
}

/// A key or secret that left the node, sealed to an attested key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// What it was.
    pub what: Released,
    /// To whom.
    pub to: Party,
    /// The resource.
    pub resource: ResourceId,
    /// The version of the key or secret.
    pub version: u64,
    /// The decision that allowed it.
    pub decision: DecisionId,
}

/// What can leave a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Released {
    /// A derived key.
    Key,
    /// A stored secret.
    Secret,
}

/// Refused attestations beyond those that have a line each: whoever can reach a node can have it refuse, and shall not fill
/// its disk by that.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusals {
    /// The stable code of the cause.
    pub cause: String,
    /// How many more there were.
    pub more: u64,
    /// Since when; until the time of the event.
    pub since: Timestamp,
    /// Whose they were, where an instance's identity key bore them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
}

/// What happened to a piece of vendors' collateral, or to a source of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollateralEvent {
    /// What happened.
    pub step: CollateralStep,
    /// To what, in words: a revocation list, TCB info, a source.
    pub subject: String,
    /// More about it: numbers, dates, source, cause.
    pub detail: String,
}

/// What happens to collateral.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CollateralStep {
    /// A source gave something new, and it counts.
    Refreshed,
    /// It ends soon.
    Ending,
    /// It has ended.
    Ended,
    /// A source gave something older than was seen before; it was not taken.
    RolledBack,
    /// A source could not be asked.
    SourceFailed,
    /// What a source gave was not taken.
    Refused,
    /// What is held is of no use any more.
    Unusable,
}

impl CollateralStep {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refreshed => "refreshed",
            Self::Ending => "ending",
            Self::Ended => "ended",
            Self::RolledBack => "rolled-back",
            Self::SourceFailed => "source-failed",
            Self::Refused => "refused",
            Self::Unusable => "unusable",
        }
    }

    /// Whether an operator should look.
    pub const fn is_alarm(self) -> bool {
        !matches!(self, Self::Refreshed)
    }
}

/// A step of the node's life.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lifecycle {
    /// Which.
    pub step: LifecycleStep,
    /// More about it: version, token, cause.
    pub detail: String,
}

/// Steps of a node's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LifecycleStep {
    /// The domain was made.
    Founded,
    /// The node began to serve.
    Started,
    /// The node stopped serving of its own will.
    Stopped,
    /// The node refuses to serve; the detail says why.
    Fenced,
}

/// Something about the log itself, written by the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogEvent {
    /// What.
    pub step: LogStep,
    /// Bytes of an unfinished line that were cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_bytes: Option<u64>,
}

/// What happens to the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogStep {
    /// It was closed in order: nothing is missing before this line.
    Closed,
    /// It was not closed in order: batched events of up to a second may be missing before this line.
    Gap,
}

impl Event {
    /// Bytes of a line, its end included, at most.
    pub const MAX_LINE: usize = 1024 * 1024;

    /// An event.
    pub fn new(time: Timestamp, node: NodeId, kind: Kind) -> Self {
        Self { schema: Schema::V1, time, node, kind }
    }

    /// The event as a line of JSON, without the line's end.
    ///
    /// # Errors
    /// [`AuditError::TooLarge`] beyond [`Event::MAX_LINE`].
    pub fn to_line(&self) -> Result<String, AuditError> {
        let line = serde_json::to_string(self).map_err(AuditError::Encode)?;
        if line.len() < Self::MAX_LINE {
            Ok(line)
        } else {
            Err(AuditError::TooLarge { found: line.len(), limit: Self::MAX_LINE - 1 })
        }
    }

    /// Reads a line.
    ///
    /// # Errors
    /// [`AuditError::Line`] for anything that [`Event::to_line`] does not write: another schema, an unknown field of a
    /// detail.
    pub fn from_line(line: &[u8]) -> Result<Self, AuditError> {
        serde_json::from_slice(line).map_err(AuditError::Line)
    }

    /// The id of the decision, where this is one.
    pub fn decision_id(&self) -> Option<DecisionId> {
        match &self.kind {
            Kind::Decision(decision) => Some(decision.id),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Schema {
    #[serde(rename = "burgrave-audit-v1")]
    V1,
}
