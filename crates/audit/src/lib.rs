//! The audit trail: what happened, as one JSON object a line, under a published schema (`docs/audit-schema.json`).
//!
//! An [`Event`] says when, at which node and what: a change, an attestation, a decision, a channel, a release, a step of
//! the node's life. An [`AuditSink`] takes events; [`FileAudit`] keeps them in a file, [`MemoryAudit`] in memory for
//! tests. What must be on disk before an answer leaves is recorded [`Durability::Durable`]; plain decisions may be
//! [`Durability::Batched`], of which a crash loses at most a second, and the log then says that there is a gap.
//!
//! Who may read the log, and what is worth an event, is left to the crates above. **Where an event cannot be recorded, the
//! caller denies** what it was about to do.
//!
//! ```
//! use burgrave_audit::{AuditSink, Durability, Event, Kind, Lifecycle, LifecycleStep, MemoryAudit};
//! use burgrave_types::{NodeId, Timestamp};
//!
//! let audit = MemoryAudit::default();
//! let started = Lifecycle { step: LifecycleStep::Started, detail: "software token".to_owned() };
//! let event = Event::new(Timestamp::from_unix_secs(1_772_323_200), NodeId::from_bytes([7; 16]), Kind::Lifecycle(started));
//! audit.record(&event, Durability::Durable)?;
//! assert_eq!(
//!     event.to_line()?,
//!     r#"{"schema":"burgrave-audit-v1","time":"2026-03-01T00:00:00Z","node":"node_a4dqobyha4dqobyha4dqobyha4","kind":"lifecycle","detail":{"step":"started","detail":"software token"}}"#
//! );
//! # Ok::<(), burgrave_audit::AuditError>(())
//! ```
//!
//! Threat notes: no field of an event can hold a key, a secret or a plaintext; texts that callers give are for names,
//! reasons and causes. A file alone proves nothing against the one who owns it: until the log is a signed Merkle tree, its
//! host can cut or rewrite it. It is written for its owner alone (mode 0600), by one process.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "tests may fail loudly"
    )
)]

mod error;
mod event;
mod file;
mod memory;
mod sink;

#[cfg(test)]
mod schema;

pub use error::AuditError;
pub use event::{
    Attestation, Change, ChannelEvent, ChannelStep, Check, CollateralEvent, CollateralStep, Decision, Event, Kind,
    Lifecycle, LifecycleStep, LogEvent, LogStep, NearMiss, Outcome, Part, Party, RecordAction, RecordChange, Refusals,
    Release, Released, SCHEMA,
};
pub use file::FileAudit;
pub use memory::MemoryAudit;
pub use sink::{AuditSink, Durability};
