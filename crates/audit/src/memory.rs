//! Events in memory, for tests.

use std::sync::{Mutex, PoisonError};

use crate::{AuditError, AuditSink, Durability, Event};

/// Keeps events in memory.
#[derive(Debug, Default)]
pub struct MemoryAudit {
    events: Mutex<Vec<(Event, Durability)>>,
}

impl MemoryAudit {
    /// All events so far, oldest first, each with the durability it was recorded with.
    pub fn events(&self) -> Vec<(Event, Durability)> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl AuditSink for MemoryAudit {
    fn record(&self, event: &Event, durability: Durability) -> Result<(), AuditError> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push((event.clone(), durability));
        Ok(())
    }

    fn health(&self) -> Result<(), AuditError> {
        Ok(())
    }

    fn latest(&self, limit: usize, wanted: &dyn Fn(&Event) -> bool) -> Result<Vec<Event>, AuditError> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(events.iter().rev().map(|(event, _)| event).filter(|event| wanted(event)).take(limit).cloned().collect())
    }
}
