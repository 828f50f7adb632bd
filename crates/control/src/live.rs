//! What is known of an instance beyond its record: renewals, which are not recorded, and what it lately did.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use burgrave_policy::InstanceFacts;
use burgrave_types::{InstanceId, Operation, ResourceId, ResultDigest, Revision, Timestamp};

use crate::records::InstanceRecord;

/// An instance as the view holds it.
pub(crate) struct InstanceEntry {
    pub(crate) record: InstanceRecord,
    pub(crate) revision: Revision,
    /// Its record as policies see it.
    pub(crate) facts: InstanceFacts,
    /// Shared by all views, since renewals make no new one.
    pub(crate) live: Arc<Live>,
}

impl InstanceEntry {
    pub(crate) fn new(record: InstanceRecord, revision: Revision, live: Arc<Live>) -> Self {
        let facts = InstanceFacts {
            id: record.id,
            enclave: record.enclave_name.clone(),
            release: Some(record.release.to_string()),
            groups: Vec::new(),
            claims: record.claims.clone(),
            conceded: record.conceded.clone(),
        };
        Self { record, revision, facts, live }
    }

    /// The digest of its last attestation result that this node knows of.
    pub(crate) fn result(&self) -> ResultDigest {
        self.live.result().unwrap_or(self.record.result)
    }
}

/// The moving part of an instance.
#[derive(Default)]
pub(crate) struct Live {
    times: ArcSwap<Times>,
    /// When it was last asked to attest again; 0: not since its last attestation.
    asked_at: AtomicI64,
    result: ArcSwapOption<ResultDigest>,
    recent: Mutex<Recent>,
}

/// What was allowed lately: an operation on a resource, and with which instance where it takes a peer.
pub(crate) type Use = (Operation, ResourceId, Option<InstanceId>);

/// Uses, each with its place in the order of all.
#[derive(Default)]
struct Recent {
    order: u64,
    uses: BTreeMap<Use, u64>,
}

/// An attestation and the deadline that came with it.
#[derive(Clone, Copy, Default)]
struct Times {
    attested_at: Timestamp,
    until: Timestamp,
}

impl Live {
    /// Uses that are remembered of an instance, at most.
    const RECENT: usize = 256;

    /// Its last attestation.
    pub(crate) fn attested_at(&self) -> Timestamp {
        self.times.load().attested_at
    }

    /// Its deadline.
    pub(crate) fn until(&self) -> Timestamp {
        self.times.load().until
    }

    /// Takes note of an attestation and its deadline, which may be earlier than the one before. An attestation older than
    /// the last one changes nothing.
    pub(crate) fn attested(&self, attested_at: Timestamp, until: Timestamp) {
        let before = self.times.rcu(|times| {
            if times.attested_at <= attested_at { Arc::new(Times { attested_at, until }) } else { Arc::clone(times) }
        });
        if before.attested_at < attested_at {
            self.asked_at.store(0, Ordering::Release);
        }
    }

    /// The digest of its last attestation result, where this process made it.
    fn result(&self) -> Option<ResultDigest> {
        self.result.load().as_deref().copied()
    }

    /// Keeps the digest of a new attestation result.
    pub(crate) fn set_result(&self, digest: ResultDigest) {
        self.result.store(Some(Arc::new(digest)));
    }

    /// Whether it should be asked to attest now: not more often than every `pause_millis`. If so, that is noted.
    pub(crate) fn ask(&self, now: Timestamp, pause_millis: i64) -> bool {
        let before = self.asked_at.load(Ordering::Acquire);
        let due = before == 0 || now.unix_millis() >= before.saturating_add(pause_millis);
        due && self.asked_at.compare_exchange(before, now.unix_millis(), Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Remembers that something was allowed to it. Of too many, the one that is longest ago is forgotten.
    pub(crate) fn used(&self, operation: Operation, resource: &ResourceId, peer: Option<InstanceId>) {
        let mut recent = self.recent();
        recent.order += 1;
        let order = recent.order;
        recent.uses.insert((operation, resource.clone(), peer), order);
        if recent.uses.len() > Self::RECENT {
            let oldest = recent.uses.iter().min_by_key(|(_, order)| **order).map(|(item, _)| item.clone());
            oldest.map(|item| recent.uses.remove(&item));
        }
    }

    /// What was allowed to it lately, and not taken away since.
    pub(crate) fn uses(&self) -> Vec<Use> {
        self.recent().uses.keys().cloned().collect()
    }

    /// Whether it used a resource lately.
    pub(crate) fn lately_used(&self, resource: &ResourceId) -> bool {
        self.recent().uses.keys().any(|(_, used, _)| used == resource)
    }

    /// Forgets what was taken away.
    pub(crate) fn lost(&self, items: &[(Operation, ResourceId)]) {
        self.recent()
            .uses
            .retain(|(operation, resource, _), _| !items.iter().any(|(lost, of)| lost == operation && of == resource));
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_uses_the_oldest_is_forgotten() {
        let live = Live::default();
        let key = |number: usize| format!("key/payments/k{number}").parse::<ResourceId>().unwrap();
        (0..=Live::RECENT).for_each(|number| live.used(Operation::Encrypt, &key(number), None));
        assert_eq!(live.uses().len(), Live::RECENT);
        assert!(!live.lately_used(&key(0)) && live.lately_used(&key(1)) && live.lately_used(&key(Live::RECENT)));
    }
}
