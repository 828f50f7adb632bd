//! The record of decisions: a ring in memory of the latest, the audit log behind it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use burgrave_audit::{Decision as Audited, Durability, Event, Kind, NearMiss};
use burgrave_policy::{Decision, Principal, Request};
use burgrave_types::{DecisionId, Operation, Problem, ProblemCode, Revision, Timestamp};

use crate::Control;

/// A decision on its way into the record.
pub(crate) struct Recorded {
    pub(crate) event: Audited,
    at: Timestamp,
}

/// A decision that is remembered with all that explains it.
pub(crate) struct Remembered {
    pub(crate) event: Event,
    pub(crate) decision: Decision,
}

/// The latest decisions of this process, and how many there were.
#[derive(Default)]
pub(crate) struct Decisions {
    ring: Mutex<VecDeque<Arc<Remembered>>>,
    pub(crate) allowed: AtomicU64,
    pub(crate) denied: AtomicU64,
    pub(crate) failed: AtomicU64,
}

impl Decisions {
    /// How many are remembered.
    pub(crate) const CAPACITY: usize = 4096;

    /// Those that are remembered, newest first.
    pub(crate) fn latest(&self) -> Vec<Arc<Remembered>> {
        self.lock().iter().rev().cloned().collect()
    }

    /// The one of that id, where it is remembered.
    pub(crate) fn find(&self, id: DecisionId) -> Option<Arc<Remembered>> {
        self.lock().iter().rev().find(|remembered| remembered.event.decision_id() == Some(id)).cloned()
    }

    fn remember(&self, remembered: Remembered) {
        let mut ring = self.lock();
        if ring.len() >= Self::CAPACITY {
            ring.pop_front();
        }
        ring.push_back(Arc::new(remembered));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Remembered>>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorded {
    pub(crate) fn new(
        id: DecisionId,
        request: &Request<'_>,
        decision: &Decision,
        revision: Revision,
        fresh_until: Option<Timestamp>,
        valid_until: Timestamp,
    ) -> Self {
        let (principal, enclave, seen) = match request.principal {
            Principal::Instance(facts) => {
                (facts.id.to_string(), Some(&facts.enclave), Some((&facts.claims, &facts.conceded)))
            }
            Principal::Candidate(facts) => {
                let name = format!("candidate {}", facts.enclave);
                (name, Some(&facts.enclave), Some((&facts.claims, &facts.conceded)))
            }
            Principal::Admin(facts) => (format!("admin {}", facts.name), None, None),
        };
        let event = Audited {
            id,
            principal,
            enclave: enclave.cloned(),
            operation: request.operation,
            resource: request.resource.to_string(),
            peer: request.context.peer.map(|(peer, _)| peer.enclave.clone()),
            allowed: decision.allowed,
            reason: reason(decision),
            determining: decision.determining.iter().map(policy_key).collect(),
            errors: decision.errors.iter().map(|fault| fault.message.clone()).collect(),
            near_misses: decision
                .near_misses
                .iter()
                .map(|miss| NearMiss {
                    policy: policy_key(&miss.policy),
                    condition: miss.condition.clone(),
                    found: miss.found.clone(),
                })
                .collect(),
            policy_revision: revision,
            claims: seen.map(|(claims, _)| claims.clone()),
            conceded: seen.map(|(_, conceded)| conceded.clone()).unwrap_or_default(),
            attestation_age_secs: request.context.attestation_age.map(|age| age.as_secs()),
            fresh_until,
            valid_until: Some(valid_until),
        };
        Self { event, at: request.context.now }
    }
}

impl Recorded {
    /// A refusal that no policy was asked for.
    pub(crate) fn refused(
        id: DecisionId,
        request: &Request<'_>,
        reason: &str,
        revision: Revision,
        fresh_until: Timestamp,
        now: Timestamp,
    ) -> Self {
        let mut recorded = Self::new(id, request, &denied(), revision, Some(fresh_until), now);
        recorded.event.reason = reason.to_owned();
        recorded
    }
}

/// A denial that no policy made.
pub(crate) fn denied() -> Decision {
    Decision { allowed: false, determining: Vec::new(), errors: Vec::new(), near_misses: Vec::new(), valid_until: None }
}

/// The reason of a denial for want of a permit.
pub(crate) const NOT_PERMITTED: &str = "no policy permits it";

/// The reason of a denial for a fault.
pub(crate) const NOT_DECIDED: &str = "it could not be decided";

/// A policy as the record names it: its id or, for a standing one, its name.
pub(crate) fn policy_key(policy: &burgrave_policy::PolicyRef) -> String {
    policy.id.map_or_else(|| policy.name.clone(), |id| id.to_string())
}

fn reason(decision: &Decision) -> String {
    let failed = !decision.errors.is_empty();
    match (decision.allowed, decision.determining.is_empty()) {
        (true, _) => "a policy permits it",
        (false, false) => "a policy forbids it",
        (false, true) if failed => NOT_DECIDED,
        (false, true) => NOT_PERMITTED,
    }
    .to_owned()
}

impl Control {
    /// Puts a decision on record. Where that fails, nothing was decided.
    pub(crate) fn record_decision(
        &self,
        recorded: Recorded,
        decision: Decision,
        durability: Durability,
    ) -> Result<(), Problem> {
        let event = Event::new(recorded.at, self.node(), Kind::Decision(Box::new(recorded.event)));
        if let Err(error) = self.audit().record(&event, durability) {
            self.decision_log().failed.fetch_add(1, Ordering::Relaxed);
            tracing::error!(%error, "a decision could not be recorded and is denied");
            return Err(audit_problem());
        }
        let counter = if decision.allowed { &self.decision_log().allowed } else { &self.decision_log().denied };
        counter.fetch_add(1, Ordering::Relaxed);
        if !decision.allowed
            && let Kind::Decision(audited) = &event.kind
        {
            self.happened("decision.denied", &audited.principal, &denied_line(audited.operation, audited));
        }
        self.decision_log().remember(Remembered { event, decision });
        Ok(())
    }

    /// Puts something else on record.
    pub(crate) fn record(&self, kind: Kind, durability: Durability) -> Result<(), Problem> {
        self.audit().record(&Event::new(self.now(), self.node(), kind), durability).map_err(|error| {
            tracing::error!(%error, "an event could not be recorded");
            audit_problem()
        })
    }
}

fn denied_line(operation: Operation, audited: &Audited) -> String {
    format!("{operation} `{}`: {} ({})", audited.resource, audited.reason, audited.id)
}

fn audit_problem() -> Problem {
    Problem::new(ProblemCode::Unavailable, "the node cannot write its audit log, and grants nothing until it can")
        .with_fix("try again later; the operator finds the cause in the node's log")
}
