//! Why a decision fell as it did, and how one would fall.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use burgrave_audit::{Decision as Audited, Event, Kind};
use burgrave_policy::{
    AdminFacts, CandidateFacts, Context, Decision, Fault, InstanceFacts, NearMiss, Part, PolicyRef, Principal, Request,
    Resource, STANDING, explain,
};
use burgrave_types::claims::{Claims, LaunchClaims, Proved, TcbClaims, TcbStatus};
use burgrave_types::{
    DecisionId, EnclaveName, InstanceId, Operation, PolicyId, Problem, ResourceId, Segment, Standing, Timestamp,
};

use crate::admin::{no_enclave, not_found};
use crate::decisions::{NOT_DECIDED, NOT_PERMITTED, policy_key};
use crate::live::InstanceEntry;
use crate::records::{EnclaveRecord, Release};
use crate::view::View;
use crate::{AdminIdentity, Can, CanCase, Control, DecisionFilter, DecisionSubject, DecisionView, Subject, Why};

/// Decisions in an answer, where nothing else is asked for, and at most.
const DECISIONS: (usize, usize) = (100, 1000);

impl Control {
    /// What stands behind a decision: claims, policies, near misses, deadlines.
    ///
    /// # Errors
    /// `policy.denied`, `not-found`.
    pub async fn why(&self, admin: &AdminIdentity, decision: DecisionId) -> Result<Why, Problem> {
        let view = self.view()?;
        self.admin(&view, admin, Resource::Domain)?;
        let remembered = self.decision_log().find(decision);
        let (event, made) = match remembered {
            Some(remembered) => (remembered.event.clone(), Some(remembered.decision.clone())),
            None => (self.recorded(decision)?, None),
        };
        let Kind::Decision(audited) = &event.kind else { return Err(no_decision(decision)) };
        let made = made.unwrap_or_else(|| restored(&view, audited));
        let policies = audited.determining.iter().filter_map(|key| Some((key.clone(), text_of(&view, key)?))).collect();
        let instance = audited.principal.parse().ok().and_then(|id| view.instance(id));
        Ok(Why {
            parts: instance.map(|entry| entry.record.parts.clone()).unwrap_or_default(),
            decision: show(&event, audited),
            claims: audited.claims.clone(),
            near_misses: near_misses(&made),
            policies,
            explanation: explanation(&event, audited, &made),
            node: event.node,
        })
    }

    /// How a decision would fall now, for each fresh instance of the subject or, where there is none, for each of its
    /// active releases. Nothing is granted by it.
    ///
    /// # Errors
    /// `policy.denied`, `not-found`.
    pub async fn can(
        &self,
        admin: &AdminIdentity,
        subject: &Subject,
        operation: Operation,
        resource: &ResourceId,
        peer: Option<&EnclaveName>,
    ) -> Result<Can, Problem> {
        let view = self.view()?;
        self.admin(&view, admin, Resource::Domain)?;
        let subjects = self.cases(&view, subject)?;
        let peers = peer.map(|peer| self.cases(&view, &Subject::Enclave(peer.clone()))).transpose()?;
        let peers: Vec<Option<&Case>> = match &peers {
            Some(peers) => peers.iter().map(Some).collect(),
            None => vec![None],
        };
        let pairs = subjects.iter().flat_map(|who| peers.iter().map(move |peer| (who, *peer)));
        let cases = pairs.map(|(who, peer)| self.case(&view, who, operation, resource, peer)).collect();
        let (subject, resource) = (subject.clone(), resource.clone());
        Ok(Can { subject, operation, resource, cases, revision: view.revision })
    }

    /// The latest decisions of this node, newest first.
    ///
    /// # Errors
    /// `policy.denied`.
    pub async fn decisions(
        &self,
        admin: &AdminIdentity,
        filter: &DecisionFilter,
    ) -> Result<Vec<DecisionView>, Problem> {
        self.admin(&*self.view()?, admin, Resource::Domain)?;
        let limit = if filter.limit == 0 { DECISIONS.0 } else { filter.limit.min(DECISIONS.1) };
        let wanted = |event: &Event| match &event.kind {
            Kind::Decision(decision) => {
                filter.enclave.as_ref().is_none_or(|enclave| decision.enclave.as_ref() == Some(enclave))
                    && filter.subject.is_none_or(|subject| subject == subject_of(decision))
                    && filter.allowed.is_none_or(|allowed| decision.allowed == allowed)
                    && filter.operation.is_none_or(|operation| decision.operation == operation)
            }
            _ => false,
        };
        let remembered = self.decision_log().latest();
        let mut events: Vec<Event> =
            remembered.iter().map(|one| &one.event).filter(|event| wanted(event)).take(limit).cloned().collect();
        if events.len() < limit && remembered.len() < crate::decisions::Decisions::CAPACITY {
            // This process has not made so many: those before it stand in the log.
            events = self.audit().latest(limit, &wanted).map_err(|error| log_problem(&error))?;
        }
        Ok(events
            .iter()
            .filter_map(|event| match &event.kind {
                Kind::Decision(decision) => Some(show(event, decision)),
                _ => None,
            })
            .collect())
    }

    fn recorded(&self, decision: DecisionId) -> Result<Event, Problem> {
        let found = self.audit().find_decision(decision).map_err(|error| log_problem(&error))?;
        found.ok_or_else(|| no_decision(decision))
    }

    /// Whom a question is about: fresh instances or, where there is none, active releases.
    fn cases(&self, view: &View, subject: &Subject) -> Result<Vec<Case>, Problem> {
        let now = self.now();
        match subject {
            Subject::Instance(id) => {
                let entry = view.instance(*id).ok_or_else(|| not_found("instance", id, "burgrave instance list"))?;
                Ok(vec![Case::instance(view, entry, now)])
            }
            Subject::Enclave(name) => {
                let enclave = &view.enclaves.get(name).ok_or_else(|| no_enclave(name))?.record;
                let fresh = |entry: &&Arc<InstanceEntry>| matches!(view.standing(entry, now), Standing::Fresh { .. });
                let mut cases: Vec<Case> = view
                    .instances_of(enclave.uid)
                    .filter(fresh)
                    .map(|entry| Case::instance(view, entry, now))
                    .collect();
                if cases.is_empty() {
                    let active = enclave.releases.iter().filter(|(_, release)| release.accepts(false, now));
                    cases.extend(active.map(|(name, release)| Case::release(enclave, name, release)));
                }
                Ok(cases)
            }
        }
    }

    fn case(
        &self,
        view: &View,
        who: &Case,
        operation: Operation,
        resource: &ResourceId,
        peer: Option<&Case>,
    ) -> CanCase {
        let candidate = CandidateFacts {
            enclave: who.facts.enclave.clone(),
            release: who.facts.release.clone(),
            groups: Vec::new(),
            claims: who.facts.claims.clone(),
            conceded: who.facts.conceded.clone(),
        };
        let principal = match operation {
            Operation::Attest => Principal::Candidate(&candidate),
            _ => Principal::Instance(&who.facts),
        };
        let request = Request {
            principal,
            operation,
            resource: resource.clone().into(),
            context: Context {
                now: self.now(),
                attestation_age: Some(who.age),
                node: self.node(),
                peer: peer.map(|peer| (&peer.facts, peer.age)),
            },
        };
        let decision = view.rules.authorize(&request);
        let mut explanation = explain(&decision, &request);
        let lapsed = [Some(who), peer].into_iter().flatten().find_map(|case| case.lapsed.clone());
        if let Some(lapsed) = &lapsed {
            explanation.insert(0, lapsed.clone());
        }
        CanCase {
            who: peer.map_or_else(|| who.name.clone(), |peer| format!("{} with {}", who.name, peer.name)),
            allowed: decision.allowed && lapsed.is_none(),
            determining: decision.determining.iter().map(policy_key).collect(),
            near_misses: near_misses(&decision),
            explanation,
        }
    }
}

/// One whom a hypothetical question is about.
struct Case {
    name: String,
    facts: InstanceFacts,
    age: Duration,
    /// Why nothing is granted to it, whatever the policies say.
    lapsed: Option<String>,
}

impl Case {
    fn instance(view: &View, entry: &InstanceEntry, now: Timestamp) -> Self {
        let id = entry.record.id;
        let lapsed = match view.standing(entry, now) {
            Standing::Fresh { .. } => None,
            Standing::Stale { since } => {
                Some(format!("`{id}` is stale since {since}: nothing is granted to it until it attests"))
            }
            Standing::Revoked { at } => Some(format!("`{id}` was revoked at {at}: nothing is granted to it")),
        };
        let age = now.since(entry.live.attested_at());
        Self { name: id.to_string(), facts: entry.facts.clone(), age, lapsed }
    }

    /// An instance of a release as its reference values describe it, attested just now.
    fn release(enclave: &EnclaveRecord, name: &Segment, release: &Release) -> Self {
        let reference = &release.reference;
        let claims = Claims {
            tee: reference.tee,
            product: None,
            platform_id: None,
            tcb: TcbClaims::new(TcbStatus::UpToDate),
            debug: None,
            migratable: None,
            privilege: None,
            launch: LaunchClaims {
                measurement: reference.measurement.clone(),
                signer: reference.signer.clone(),
                product_id: reference.product_id.clone(),
                svn: reference.min_svn,
            },
            registers: reference.registers.clone().into(),
            config: reference.config.clone(),
            binding: None,
            boot: None,
            td: None,
            proved: [Proved::Launch].into(),
        };
        let facts = InstanceFacts {
            id: InstanceId::from_bytes([0; 16]),
            enclave: enclave.name.clone(),
            release: Some(name.to_string()),
            groups: Vec::new(),
            claims,
            conceded: BTreeSet::new(),
        };
        let lapsed =
            enclave.revoked.map(|at| format!("`{}` was revoked at {at}: nothing is granted to it", enclave.name));
        Self { name: format!("release {name}"), facts, age: Duration::ZERO, lapsed }
    }
}

/// The decision as far as the log has it.
fn restored(view: &View, audited: &Audited) -> Decision {
    let reference = |key: &String| {
        let id: Option<PolicyId> = key.parse().ok();
        let name = id.and_then(|id| Some(view.policies.get(&id)?.record.name.clone()));
        PolicyRef { id, name: name.unwrap_or_else(|| key.clone()) }
    };
    let part = |condition: &str| match condition.split_whitespace().next() {
        Some("principal") => Part::Principal,
        Some("action") => Part::Action,
        Some("resource") => Part::Resource,
        _ => Part::Condition,
    };
    let miss = |miss: &burgrave_audit::NearMiss| NearMiss {
        policy: reference(&miss.policy),
        part: part(&miss.condition),
        condition: miss.condition.clone(),
        found: miss.found.clone(),
    };
    Decision {
        allowed: audited.allowed,
        determining: audited.determining.iter().map(reference).collect(),
        errors: audited.errors.iter().map(|message| Fault { policy: None, message: message.clone() }).collect(),
        near_misses: audited.near_misses.iter().map(miss).collect(),
        valid_until: audited.valid_until,
    }
}

fn explanation(event: &Event, audited: &Audited, decision: &Decision) -> Vec<String> {
    let by_policy = audited.allowed || !audited.determining.is_empty();
    if !by_policy && audited.reason != NOT_PERMITTED && audited.reason != NOT_DECIDED {
        return vec![format!("no policy was asked: {}", audited.reason)];
    }
    let enclave = audited.enclave.clone();
    let facts = enclave.zip(audited.claims.clone()).map(|(enclave, claims)| InstanceFacts {
        id: audited.principal.parse().unwrap_or(InstanceId::from_bytes([0; 16])),
        enclave,
        release: None,
        groups: Vec::new(),
        claims,
        conceded: audited.conceded.clone(),
    });
    let name = audited.principal.rsplit(' ').next().and_then(|name| name.parse::<Segment>().ok());
    let admin = name.map(|name| AdminFacts { name, roles: Vec::new() });
    let candidate = facts.as_ref().map(|facts| CandidateFacts {
        enclave: facts.enclave.clone(),
        release: None,
        groups: Vec::new(),
        claims: facts.claims.clone(),
        conceded: facts.conceded.clone(),
    });
    let principal = match (audited.operation, &facts, &candidate, &admin) {
        (Operation::Administer, _, _, Some(admin)) => Principal::Admin(admin),
        (Operation::Attest, _, Some(candidate), _) => Principal::Candidate(candidate),
        (_, Some(facts), _, _) => Principal::Instance(facts),
        _ => return vec![audited.reason.clone()],
    };
    let peer = audited.peer.clone().zip(facts.clone()).map(|(enclave, facts)| InstanceFacts { enclave, ..facts });
    let resource = match (audited.resource.parse::<ResourceId>(), audited.resource.strip_prefix("namespace/")) {
        (Ok(resource), _) => resource.into(),
        (Err(_), Some(namespace)) => namespace.parse().map_or(Resource::Domain, Resource::Namespace),
        (Err(_), None) => Resource::Domain,
    };
    let request = Request {
        principal,
        operation: audited.operation,
        resource,
        context: Context {
            now: event.time,
            attestation_age: audited.attestation_age_secs.map(Duration::from_secs),
            node: event.node,
            peer: peer.as_ref().map(|peer| (peer, Duration::ZERO)),
        },
    };
    explain(decision, &request)
}

fn subject_of(decision: &Audited) -> DecisionSubject {
    if decision.operation == Operation::Administer { DecisionSubject::Administrator } else { DecisionSubject::Enclave }
}

fn near_misses(decision: &Decision) -> Vec<(String, String)> {
    let one = |miss: &NearMiss| (policy_key(&miss.policy), format!("wants `{}`: {}", miss.condition, miss.found));
    decision.near_misses.iter().map(one).collect()
}

/// The text of a policy, where it still stands.
fn text_of(view: &View, key: &str) -> Option<String> {
    let stored = key.parse::<PolicyId>().ok().and_then(|id| Some(view.policies.get(&id)?.record.text.clone()));
    stored.or_else(|| STANDING.iter().find(|(name, _)| *name == key).map(|(_, text)| (*text).to_owned()))
}

fn show(event: &Event, audited: &Audited) -> DecisionView {
    DecisionView {
        id: audited.id,
        at: event.time,
        principal: audited.principal.clone(),
        enclave: audited.enclave.clone(),
        operation: audited.operation,
        resource: audited.resource.clone(),
        peer: audited.peer.clone(),
        allowed: audited.allowed,
        reason: audited.reason.clone(),
        determining: audited.determining.clone(),
        revision: audited.policy_revision,
        fresh_until: audited.fresh_until,
        valid_until: audited.valid_until.unwrap_or(event.time),
    }
}

fn no_decision(id: DecisionId) -> Problem {
    not_found("decision", id, "burgrave decision list")
}

fn log_problem(error: &burgrave_audit::AuditError) -> Problem {
    tracing::error!(%error, "the audit log could not be read");
    Problem::new(burgrave_types::ProblemCode::Unavailable, "the node cannot read its audit log")
        .with_fix("the operator finds the cause in the node's log")
}
