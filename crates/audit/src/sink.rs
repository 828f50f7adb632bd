//! Where events go.

use burgrave_types::DecisionId;

use crate::{AuditError, Event};

/// How safe an event must be when `record` returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// On disk. For key releases, certificates, changes, administrators' decisions and attestations.
    Durable,
    /// On disk within a second, or with the next durable event. For plain decisions.
    Batched,
}

/// Takes audit events. Calls may block on the disk.
pub trait AuditSink: Send + Sync {
    /// Records an event.
    ///
    /// # Errors
    /// [`AuditError`] where it could not be recorded as asked; the caller must then deny what the event tells of.
    fn record(&self, event: &Event, durability: Durability) -> Result<(), AuditError>;

    /// Whether events can be recorded now; a node for which this fails is not ready.
    ///
    /// # Errors
    /// [`AuditError`] as the last attempt to write left it.
    fn health(&self) -> Result<(), AuditError>;

    /// The latest events for which `wanted` holds, newest first, at most `limit`. Reads the whole log where it must.
    ///
    /// # Errors
    /// [`AuditError`] where the log cannot be read.
    fn latest(&self, limit: usize, wanted: &dyn Fn(&Event) -> bool) -> Result<Vec<Event>, AuditError>;

    /// The event of a decision, by its id: what `burgrave why` shows after a restart.
    ///
    /// # Errors
    /// As [`AuditSink::latest`].
    fn find_decision(&self, id: DecisionId) -> Result<Option<Event>, AuditError> {
        Ok(self.latest(1, &|event| event.decision_id() == Some(id))?.pop())
    }
}
