//! What enclaves and people may do: the Cedar schema, decisions, and their explanation.
//!
//! Cedar is the language of record. [`validate()`] takes a text in as a policy, [`SimpleRule`] writes the usual ones without
//! Cedar, [`PolicySnapshot`] holds the policies of one moment and [decides](PolicySnapshot::authorize), and [`explain()`]
//! says why and what would alter it. Everything that Cedar has no word for (who is who, whether an instance is fresh or
//! revoked, which node may serve) is left to `burgrave-control`, which asks only once that is known; so is storing
//! policies, and asking both sides of a channel. The words for authors are in `docs/policy.md`.
//!
//! ```
//! use std::time::Duration;
//!
//! use burgrave_policy::{
//!     Context, InstanceFacts, PolicyRecord, PolicySnapshot, Principal, Request, RuleEffect, SimpleRule, Tier,
//! };
//! use burgrave_types::{InstanceId, NodeId, Operation, PolicyId, ResourceId, Timestamp};
//! # use burgrave_types::claims::{Claims, LaunchClaims, TcbClaims, TcbStatus, Tee};
//! # let claims = Claims {
//! #     tee: Tee::Snp, product: None, platform_id: None, tcb: TcbClaims::new(TcbStatus::UpToDate), debug: Some(false),
//! #     migratable: None, privilege: None, launch: LaunchClaims::default(), registers: Default::default(), config: None,
//! #     binding: None, boot: None, td: None, proved: Default::default(),
//! # };
//!
//! let rule = SimpleRule::parse(RuleEffect::Allow, "payments/api decrypt key/payments/pii max-age=1h")?;
//! let snapshot = PolicySnapshot::build([PolicyRecord {
//!     id: PolicyId::from_bytes([1; 16]),
//!     tier: Tier::Namespace("payments".parse()?),
//!     name: "api reads personal data".to_owned(),
//!     text: rule.to_cedar(),
//! }])?;
//!
//! let instance = InstanceFacts {
//!     id: InstanceId::from_bytes([2; 16]),
//!     enclave: "payments/api".parse()?,
//!     release: Some("1.2.0".to_owned()),
//!     groups: vec![],
//!     claims,
//!     conceded: [].into(),
//! };
//! let mut request = Request {
//!     principal: Principal::Instance(&instance),
//!     operation: Operation::Decrypt,
//!     resource: "key/payments/pii".parse::<ResourceId>()?.into(),
//!     context: Context {
//!         now: Timestamp::from_unix_secs(1_800_000_000),
//!         attestation_age: Some(Duration::from_secs(60)),
//!         node: NodeId::from_bytes([3; 16]),
//!         peer: None,
//!     },
//! };
//! assert!(snapshot.authorize(&request).allowed);
//!
//! request.context.attestation_age = Some(Duration::from_secs(4020));
//! let decision = snapshot.authorize(&request);
//! assert!(!decision.allowed);
//! assert_eq!(decision.near_misses[0].found, "context.attAgeSecs is 4020");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Threat notes: the answer is no unless a policy permits; a forbid wins over every permit, and one that fails while it is
//! evaluated denies (stock Cedar would skip it). Two guards stand in every snapshot ([`STANDING`]). Policies come from
//! authors who are trusted only with their tier: a text is bounded ([`MAX_POLICY_BYTES`]), validated strictly, and a
//! namespace's policy can neither grant to nor grant on anything outside its namespace. Claims come from evidence and are
//! values to Cedar, never text that it parses. A decision's explanation names policies and other enclaves: it is for
//! administrators. Validation and decision are pure; both are fit as fuzz bodies as they stand ([`validate()`] over any
//! text, [`SimpleRule::parse`] over any words).

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "tests may fail loudly"))]

mod cedar;
mod condition;
mod decision;
mod error;
mod explain;
mod nesting;
mod request;
mod rule;
mod snapshot;
mod validate;

pub use cedar::SCHEMA;
pub use decision::{Decision, Fault, NearMiss, Part, PolicyRef};
pub use error::PolicyError;
pub use explain::explain;
pub use request::{AdminFacts, CandidateFacts, Context, InstanceFacts, Principal, Request, Resource};
pub use rule::{Conditions, ResourceSelector, RuleEffect, Selector, SimpleRule};
pub use snapshot::{PolicyRecord, PolicySnapshot, STANDING};
pub use validate::{MAX_POLICY_BYTES, Tier, ValidPolicy, validate};
