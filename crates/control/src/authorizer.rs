//! The one door: standing, policy, record.
//!
//! Every request of an instance and of an administrator comes through here. The answer is no unless a policy says yes,
//! and no whenever something fails: a standing that has run out, a node that does not keep up with its ledger, a decision
//! that cannot be recorded.

use std::sync::Arc;
use std::time::Duration;

use burgrave_audit::Durability;
use burgrave_policy::{
    AdminFacts, CandidateFacts, Context, InstanceFacts, PolicySnapshot, Principal, Request, Resource,
};
use burgrave_types::{
    DecisionId, EnclaveName, InstanceId, Operation, Problem, ProblemCode, ResourceId, Revision, Segment, Standing,
    Timestamp,
};

use crate::decisions::Recorded;
use crate::live::InstanceEntry;
use crate::view::View;
use crate::{AdminIdentity, Control, Verdict};

/// How long an agent may keep an answer at most, should it hear nothing: the serving lease of a node.
const VERDICT_LIFETIME: Duration = Duration::from_secs(3);

/// A decision that was made and recorded.
#[derive(Clone, Debug)]
pub(crate) struct Ruling {
    pub(crate) id: DecisionId,
    pub(crate) allowed: bool,
    pub(crate) determining: Vec<String>,
    pub(crate) valid_until: Timestamp,
    pub(crate) revision: Revision,
    /// When time alone may change the answer of the policies.
    pub(crate) turns: Option<Timestamp>,
    /// What the caller is told of a denial.
    denial: String,
}

impl Ruling {
    /// The ruling, or the denial as the problem that the caller sees.
    pub(crate) fn or_denied(self) -> Result<Self, Problem> {
        if self.allowed { Ok(self) } else { Err(self.problem()) }
    }

    /// The denial as the problem that the caller sees.
    pub(crate) fn problem(&self) -> Problem {
        Problem::new(ProblemCode::PolicyDenied, self.denial.clone())
            .with_fix(format!("an administrator sees why with `burgrave why {}`", self.id))
            .with_decision(self.id)
    }
}

impl Control {
    /// `evaluatePolicy(enclave, resource, operation)`: whether this instance may do that now. A denial is an answer, not
    /// an error. Nothing is done by it: each operation asks again.
    ///
    /// # Errors
    /// `attestation.required` for an instance that is not known, `attestation.stale`, `revoked`, `request.invalid` for an
    /// operation that needs a peer, `unavailable` where the decision cannot be recorded.
    pub fn evaluate(
        &self,
        instance: InstanceId,
        operation: Operation,
        resource: &ResourceId,
    ) -> Result<Verdict, Problem> {
        let takes_no_peer = matches!(operation, Operation::Encrypt | Operation::Decrypt | Operation::Derive);
        if !takes_no_peer {
            let detail =
                format!("`{operation}` is not asked for alone; what can be asked is encrypt, decrypt and derive");
            return Err(
                Problem::new(ProblemCode::RequestInvalid, detail).with_fix("open the channel, or attest, to find out")
            );
        }
        let view = self.view()?;
        let entry = self.fresh_for(&view, instance, operation, resource)?;
        let ruling = self.rule(&view, &entry, operation, resource, None, Durability::Batched)?;
        Ok(Verdict {
            allowed: ruling.allowed,
            decision_id: ruling.id,
            determining: ruling.determining,
            valid_until: ruling.valid_until,
            revision: ruling.revision,
        })
    }

    /// The instance, where its attestation holds.
    pub(crate) fn fresh(&self, view: &View, instance: InstanceId) -> Result<Arc<InstanceEntry>, Problem> {
        let entry = view.instance(instance).ok_or_else(not_attested)?;
        match view.standing(entry, self.now()) {
            Standing::Fresh { .. } => Ok(Arc::clone(entry)),
            standing => Err(standing_problem(entry, standing)),
        }
    }

    /// The instance, where its attestation holds; else the refusal is recorded as the decision that it is.
    pub(crate) fn fresh_for(
        &self,
        view: &View,
        instance: InstanceId,
        operation: Operation,
        resource: &ResourceId,
    ) -> Result<Arc<InstanceEntry>, Problem> {
        self.fresh(view, instance).or_else(|problem| {
            let Some(entry) = view.instance(instance) else { return Err(problem) };
            let id = DecisionId::random(self.random());
            let request = self.request(entry, operation, resource, None);
            let (deadline, now) = (entry.live.until(), request.context.now);
            let recorded = Recorded::refused(id, &request, &problem.detail, view.revision, deadline, now);
            self.record_decision(recorded, crate::decisions::denied(), Durability::Batched)?;
            Err(problem.with_decision(id))
        })
    }

    /// Asks the policy for a fresh instance, and records the answer before giving it.
    pub(crate) fn rule(
        &self,
        view: &View,
        entry: &InstanceEntry,
        operation: Operation,
        resource: &ResourceId,
        peer: Option<&InstanceEntry>,
        durability: Durability,
    ) -> Result<Ruling, Problem> {
        let request = self.request(entry, operation, resource, peer);
        let deadline = peer.map_or(entry.live.until(), |peer| peer.live.until().min(entry.live.until()));
        let ruling = self.decide(view, &request, Some(deadline), durability)?;
        if ruling.allowed {
            entry.live.used(operation, resource, peer.map(|peer| peer.record.id));
        }
        Ok(ruling)
    }

    /// Whether an instance may send to an enclave by its name, where no instance of that is here or it does not exist: asked as
    /// if one were there that runs where the caller does. Only a denial is recorded.
    pub(crate) fn rule_for_nobody(
        &self,
        view: &View,
        entry: &InstanceEntry,
        resource: &ResourceId,
        peer: &EnclaveName,
    ) -> Result<(), Problem> {
        let id = InstanceId::from_bytes([0; 16]);
        let nobody = InstanceFacts { id, enclave: peer.clone(), release: None, ..entry.facts.clone() };
        let mut request = self.request(entry, Operation::Send, resource, None);
        request.context.peer = Some((&nobody, Duration::ZERO));
        if view.rules.authorize(&request).allowed {
            return Ok(());
        }
        self.decide(view, &request, Some(entry.live.until()), Durability::Batched)?.or_denied().map(drop)
    }

    /// Whether something that was allowed still is, under this view, and when time alone may change that. Only a denial is
    /// recorded.
    pub(crate) fn permitted(
        &self,
        view: &View,
        entry: &InstanceEntry,
        operation: Operation,
        resource: &ResourceId,
        peer: Option<&InstanceEntry>,
    ) -> Result<Option<Timestamp>, Problem> {
        let decision = view.rules.authorize(&self.request(entry, operation, resource, peer));
        if decision.allowed {
            return Ok(decision.valid_until);
        }
        Ok(self.rule(view, entry, operation, resource, peer, Durability::Batched)?.or_denied()?.turns)
    }

    /// The question whether an instance may do something now.
    pub(crate) fn request<'a>(
        &self,
        entry: &'a InstanceEntry,
        operation: Operation,
        resource: &ResourceId,
        peer: Option<&'a InstanceEntry>,
    ) -> Request<'a> {
        let now = self.now();
        Request {
            principal: Principal::Instance(&entry.facts),
            operation,
            resource: resource.clone().into(),
            context: Context {
                now,
                attestation_age: Some(now.since(entry.live.attested_at())),
                node: self.node(),
                peer: peer.map(|peer| (&peer.facts, now.since(peer.live.attested_at()))),
            },
        }
    }

    /// Asks the policy whether somebody whose evidence was accepted may become an instance.
    pub(crate) fn rule_candidate(&self, view: &View, candidate: &CandidateFacts) -> Result<Ruling, Problem> {
        self.decide(view, &self.candidate_request(candidate)?, None, Durability::Durable)
    }

    /// Denies one of many whom the policy denies, without a decision on record: each of these would be a line that a stranger
    /// can have written as often as they like. It is counted as the refusal that it is.
    pub(crate) fn denied_unheard(&self, view: &View, candidate: &CandidateFacts) -> Result<(), Problem> {
        let request = self.candidate_request(candidate)?;
        let decision = view.rules.authorize(&request);
        if decision.allowed {
            return Ok(());
        }
        Err(Problem::new(ProblemCode::PolicyDenied, denial(&request, &decision))
            .with_fix("an administrator sees why others like it were denied with `burgrave audit tail --denied`"))
    }

    /// Whether somebody who was permitted to become an instance still is, under this view. Only a denial is recorded.
    pub(crate) fn still_permits(&self, view: &View, candidate: &CandidateFacts) -> Result<(), Problem> {
        if view.rules.authorize(&self.candidate_request(candidate)?).allowed {
            return Ok(());
        }
        self.rule_candidate(view, candidate)?.or_denied().map(drop)
    }

    fn candidate_request<'a>(&self, candidate: &'a CandidateFacts) -> Result<Request<'a>, Problem> {
        let resource =
            ResourceId { kind: burgrave_types::ResourceKind::Enclave, name: enclave_resource(&candidate.enclave)? };
        Ok(Request {
            principal: Principal::Candidate(candidate),
            operation: Operation::Attest,
            resource: resource.into(),
            context: Context { now: self.now(), attestation_age: None, node: self.node(), peer: None },
        })
    }

    /// Whether the administrator may administer this; recorded durably, whatever the answer.
    pub(crate) fn admin(&self, view: &View, admin: &AdminIdentity, resource: Resource) -> Result<Ruling, Problem> {
        let facts = admin_facts(admin);
        self.decide(view, &self.admin_request(&facts, resource), None, Durability::Durable)?.or_denied()
    }

    /// Whether the administrator might administer this under these policies. Nothing is recorded: it is no decision.
    pub(crate) fn may_administer(&self, rules: &PolicySnapshot, admin: &AdminIdentity, resource: Resource) -> bool {
        rules.authorize(&self.admin_request(&admin_facts(admin), resource)).allowed
    }

    fn admin_request<'a>(&self, facts: &'a AdminFacts, resource: Resource) -> Request<'a> {
        Request {
            principal: Principal::Admin(facts),
            operation: Operation::Administer,
            resource,
            context: Context { now: self.now(), attestation_age: None, node: self.node(), peer: None },
        }
    }

    fn decide(
        &self,
        view: &View,
        request: &Request<'_>,
        deadline: Option<Timestamp>,
        durability: Durability,
    ) -> Result<Ruling, Problem> {
        let decision = view.rules.authorize(request);
        let id = DecisionId::random(self.random());
        let longest = request.context.now + VERDICT_LIFETIME;
        let valid_until = [decision.valid_until, deadline].into_iter().flatten().fold(longest, Timestamp::min);
        let recorded = Recorded::new(id, request, &decision, view.revision, deadline, valid_until);
        let ruling = Ruling {
            id,
            allowed: decision.allowed,
            determining: recorded.event.determining.clone(),
            valid_until,
            revision: view.revision,
            turns: decision.valid_until,
            denial: denial(request, &decision),
        };
        self.record_decision(recorded, decision, durability)?;
        Ok(ruling)
    }
}

/// What policies know of an administrator. A role that is no name can be no role that a policy speaks of.
fn admin_facts(admin: &AdminIdentity) -> AdminFacts {
    let roles = admin.roles.iter().filter_map(|role| role.parse::<Segment>().ok()).collect();
    AdminFacts { name: admin.name.clone(), roles }
}

/// What the one who is denied is told: that, not which policies came near, which is for administrators.
fn denial(request: &Request<'_>, decision: &burgrave_policy::Decision) -> String {
    let (who, operation, resource) = (request.principal.name(), request.operation, &request.resource);
    let what = format!("`{who}` may not {operation} `{resource}`");
    if request.operation == Operation::Send {
        // Which of these it is may depend on the peer, and so tell whether it is there.
        format!("{what}: the policies do not permit it")
    } else if decision.determining.is_empty() && decision.errors.is_empty() {
        format!("{what}: no policy permits it")
    } else if decision.determining.is_empty() {
        format!("{what}: it could not be decided")
    } else {
        format!("{what}: a policy forbids it")
    }
}

/// `enclave/<namespace>/<name>` as a resource's name.
pub(crate) fn enclave_resource(name: &burgrave_types::EnclaveName) -> Result<burgrave_types::ResourceName, Problem> {
    name.to_string().parse().map_err(|e: burgrave_types::ParseError| Problem::new(ProblemCode::Internal, e.to_string()))
}

/// The problem of somebody who is no instance.
pub(crate) fn not_attested() -> Problem {
    Problem::new(ProblemCode::NotAttested, "the caller is no instance of an enclave of this domain")
        .with_fix("attest; with the agent, restart it")
}

/// The problem of an instance whose attestation does not hold.
pub(crate) fn standing_problem(entry: &InstanceEntry, standing: Standing) -> Problem {
    let (id, enclave) = (entry.record.id, &entry.record.enclave_name);
    match standing {
        Standing::Fresh { .. } => Problem::new(ProblemCode::Internal, format!("`{id}` is fresh")),
        Standing::Stale { since } => Problem::new(
            ProblemCode::Stale,
            format!("the instance `{id}` of `{enclave}` had to attest again by {since} and did not"),
        )
        .with_fix("attest again; the agent does so by itself while it is connected"),
        Standing::Revoked { at } => {
            Problem::new(ProblemCode::Revoked, format!("the access of instance `{id}` of `{enclave}` ended at {at}"))
                .with_fix("a new instance must attest, on a platform and of a release that are let in")
        }
    }
}
