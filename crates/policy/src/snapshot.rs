//! The policies of one moment, and what they decide.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use burgrave_types::{PolicyId, Timestamp};
use cedar_policy::{
    ActionConstraint, AuthorizationError, Authorizer, Decision as CedarDecision, Effect, EntityTypeName, EntityUid,
    Policy, PolicyId as CedarId, PolicySet, PrincipalConstraint, ResourceConstraint,
};

use crate::cedar::Input;
use crate::condition::{ContextClock, TimeUse, first_failing, plain, time_use, with_parents};
use crate::decision::{Decision, Fault, NearMiss, Part, PolicyRef};
use crate::error::PolicyError;
use crate::request::{Context, Request};
use crate::validate::{Tier, validate};

/// The policies that are part of the program: name and text. They cannot be removed, and no permit goes round a forbid.
pub const STANDING: [(&str, &str); 4] = [
    (
        "guard/no-debug",
        r#"forbid (
    principal,
    action in [Burgrave::Action::"useKey", Burgrave::Action::"communicate", Burgrave::Action::"attest"],
    resource
)
when { principal.att has debug && principal.att.debug }
unless { principal.att has conceded && principal.att.conceded.contains("debug") };"#,
    ),
    (
        "guard/tcb",
        r#"forbid (
    principal,
    action in [Burgrave::Action::"useKey", Burgrave::Action::"communicate", Burgrave::Action::"attest"],
    resource
)
when { [Burgrave::TcbStatus::"revoked", Burgrave::TcbStatus::"out-of-date"].contains(principal.att.tcb) }
unless {
    principal.att.tcb == Burgrave::TcbStatus::"out-of-date" &&
    principal.att has conceded &&
    principal.att.conceded.contains("tcb")
};"#,
    ),
    (
        "floor/attest",
        r#"permit (principal, action == Burgrave::Action::"attest", resource is Burgrave::Enclave)
when { principal in resource };"#,
    ),
    (
        "floor/admin",
        r#"permit (principal in Burgrave::Role::"admin", action == Burgrave::Action::"administer", resource);"#,
    ),
];

/// One policy as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyRecord {
    /// Its id.
    pub id: PolicyId,
    /// Whose it is.
    pub tier: Tier,
    /// Its name, for people.
    pub name: String,
    /// Its Cedar text.
    pub text: String,
}

/// The policies of one moment, immutable. Readers hold one behind an `Arc`; a change makes another.
///
/// ```
/// use burgrave_policy::PolicySnapshot;
/// let standing_only = PolicySnapshot::build([])?;
/// assert!(standing_only.is_empty());
/// # Ok::<(), burgrave_policy::PolicyError>(())
/// ```
#[derive(Clone, Debug)]
pub struct PolicySnapshot {
    policies: BTreeMap<String, Arc<Stored>>,
    set: PolicySet,
}

#[derive(Debug)]
struct Stored {
    reference: PolicyRef,
    policy: Policy,
    time: TimeUse,
}

impl PolicySnapshot {
    /// The snapshot of these policies and the standing ones. Each text is validated again, so that what was written
    /// under another schema does not slip in.
    ///
    /// # Errors
    /// The first policy that is not valid, by name. A snapshot without it might lack a forbid, so there is none.
    pub fn build(policies: impl IntoIterator<Item = PolicyRecord>) -> Result<Self, PolicyError> {
        let mut snapshot = Self { policies: BTreeMap::new(), set: PolicySet::new() };
        for (name, text) in STANDING {
            let reference = PolicyRef { id: None, name: name.to_owned() };
            snapshot.put(name.to_owned(), reference, &Tier::Domain, text)?;
        }
        for record in policies {
            snapshot.put_record(record)?;
        }
        Ok(snapshot)
    }

    /// The snapshot after one transaction: without `deletes` (one that is not there is passed over), with `puts` added or in place of what had their id.
    ///
    /// Callers need not know how much is shared with this snapshot: today the policies themselves, not the index of them,
    /// so that a change costs time in proportion to their number.
    ///
    /// # Errors
    /// As [`PolicySnapshot::build`].
    pub fn with_change(
        &self,
        puts: impl IntoIterator<Item = PolicyRecord>,
        deletes: impl IntoIterator<Item = PolicyId>,
    ) -> Result<Self, PolicyError> {
        let mut next = self.clone();
        for id in deletes {
            next.remove(&id.to_string())?;
        }
        for record in puts {
            next.put_record(record)?;
        }
        Ok(next)
    }

    /// How many policies there are beside the standing ones.
    pub fn len(&self) -> usize {
        self.policies.len().saturating_sub(STANDING.len())
    }

    /// Whether there is none beside the standing ones.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Decides `request`: denied unless a policy permits it, denied when any forbids it, and denied when a forbid or
    /// anything outside a policy fails. (Cedar skips a forbid that fails; that is the one place where this answer is
    /// narrower than Cedar's.) A permit that fails does not permit.
    pub fn authorize(&self, request: &Request<'_>) -> Decision {
        match Input::new(request) {
            Ok(input) => self.decide(&request.context, &input),
            Err(message) => Decision::failed(message),
        }
    }

    fn decide(&self, context: &Context<'_>, input: &Input) -> Decision {
        let response = Authorizer::new().is_authorized(&input.request, &self.set, &input.entities);
        let mut errors = Vec::new();
        let mut failed_forbids = Vec::new();
        for error in response.diagnostics().errors() {
            let AuthorizationError::PolicyEvaluationError(error) = error;
            let stored = self.stored(error.policy_id());
            let policy = stored.map(|stored| stored.reference.clone());
            if stored.is_none_or(|stored| stored.policy.effect() == Effect::Forbid) {
                failed_forbids.extend(policy.clone());
            }
            errors.push(Fault { policy, message: error.inner().to_string() });
        }
        // A fault in a policy that this snapshot does not know is none of a permit's: deny.
        let unowned = errors.iter().any(|fault| fault.policy.is_none());
        let reasons = response.diagnostics().reason().filter_map(|id| self.stored(id)).map(|s| s.reference.clone());
        let permitted = response.decision() == CedarDecision::Allow;
        let allowed = permitted && failed_forbids.is_empty() && !unowned;
        let mut determining: Vec<PolicyRef> =
            if permitted && !allowed { failed_forbids } else { reasons.chain(failed_forbids).collect() };
        determining.sort();
        errors.sort_by(|a, b| a.policy.cmp(&b.policy));
        let near_misses = if allowed || !determining.is_empty() { Vec::new() } else { self.near_misses(input) };
        Decision { allowed, determining, errors, near_misses, valid_until: self.valid_until(context, input) }
    }

    fn near_misses(&self, input: &Input) -> Vec<NearMiss> {
        let mut misses: Vec<NearMiss> = self
            .policies
            .values()
            .filter(|stored| stored.reference.id.is_some() && stored.policy.effect() == Effect::Permit)
            .filter_map(|stored| near_miss(stored, input))
            .collect();
        misses.sort_by(|a, b| (a.part, &a.policy).cmp(&(b.part, &b.policy)));
        misses.truncate(NearMiss::MAX);
        misses
    }

    /// The earliest instant at which a comparison in a policy whose scope holds may turn. Whatever stands between now
    /// and then gives the same answer.
    fn valid_until(&self, context: &Context<'_>, input: &Input) -> Option<Timestamp> {
        let now = context.now;
        let in_scope = self.policies.values().filter(|stored| failing_parts(&stored.policy, input).is_empty());
        let mut until: Option<Timestamp> = None;
        for stored in in_scope {
            let turns = stored.time.turns.iter().filter_map(|(clock, secs)| instant(context, *clock, *secs));
            let unbounded = stored.time.unbounded.then_some(now);
            until = until.into_iter().chain(turns.filter(|at| *at > now)).chain(unbounded).min();
        }
        until
    }

    fn stored(&self, id: &CedarId) -> Option<&Stored> {
        let id: &str = id.as_ref();
        self.policies.get(id).map(AsRef::as_ref)
    }

    fn put_record(&mut self, record: PolicyRecord) -> Result<(), PolicyError> {
        let key = record.id.to_string();
        self.remove(&key)?;
        let reference = PolicyRef { id: Some(record.id), name: record.name };
        self.put(key, reference, &record.tier, &record.text)
    }

    fn put(&mut self, key: String, reference: PolicyRef, tier: &Tier, text: &str) -> Result<(), PolicyError> {
        let valid = validate(text, tier).map_err(|error| error.of_policy(&reference.name))?;
        let policy = valid.into_policy().new_id(CedarId::new(&key));
        self.set
            .add(policy.clone())
            .map_err(|error| PolicyError::one("policy", error.to_string()).of_policy(&reference.name))?;
        let time = time_use(&policy);
        self.policies.insert(key, Arc::new(Stored { reference, policy, time }));
        Ok(())
    }

    fn remove(&mut self, key: &str) -> Result<(), PolicyError> {
        if let Some(stored) = self.policies.remove(key) {
            self.set
                .remove_static(CedarId::new(key))
                .map_err(|error| PolicyError::one("policy", error.to_string()).of_policy(&stored.reference.name))?;
        }
        Ok(())
    }
}

/// How `stored`, a permit, came near: its scope holds and a condition does not, or one part alone of its scope does not.
fn near_miss(stored: &Stored, input: &Input) -> Option<NearMiss> {
    let failing = failing_parts(&stored.policy, input);
    let (part, condition, found) = match failing.as_slice() {
        [] => {
            let (condition, found) = first_failing(&stored.policy, input)?;
            (Part::Condition, condition, found)
        }
        [(part, condition)] => {
            let found = match part {
                Part::Principal => with_parents(&input.principal, input),
                Part::Resource => input.resource.to_string(),
                Part::Action | Part::Condition => input.action.to_string(),
            };
            (*part, plain(condition), plain(&found))
        }
        _ => return None,
    };
    Some(NearMiss { policy: stored.reference.clone(), part, condition, found })
}

/// The parts of the scope that do not hold, each with what it asks for.
fn failing_parts(policy: &Policy, input: &Input) -> Vec<(Part, String)> {
    let mut failing = Vec::new();
    let (holds, asks) = match policy.principal_constraint() {
        PrincipalConstraint::Any => (true, String::new()),
        PrincipalConstraint::In(uid) => (within(&input.principal, &uid, input), format!("principal in {uid}")),
        PrincipalConstraint::Eq(uid) => (input.principal == uid, format!("principal == {uid}")),
        PrincipalConstraint::Is(name) => (is(&input.principal, &name), format!("principal is {name}")),
        PrincipalConstraint::IsIn(name, uid) => (
            is(&input.principal, &name) && within(&input.principal, &uid, input),
            format!("principal is {name} in {uid}"),
        ),
    };
    if !holds {
        failing.push((Part::Principal, asks));
    }
    let (holds, asks) = match policy.action_constraint() {
        ActionConstraint::Any => (true, String::new()),
        ActionConstraint::Eq(uid) => (input.action == uid, format!("action == {uid}")),
        ActionConstraint::In(uids) => {
            let names: Vec<String> = uids.iter().map(ToString::to_string).collect();
            (uids.iter().any(|uid| within(&input.action, uid, input)), format!("action in [{}]", names.join(", ")))
        }
    };
    if !holds {
        failing.push((Part::Action, asks));
    }
    let (holds, asks) = match policy.resource_constraint() {
        ResourceConstraint::Any => (true, String::new()),
        ResourceConstraint::In(uid) => (within(&input.resource, &uid, input), format!("resource in {uid}")),
        ResourceConstraint::Eq(uid) => (input.resource == uid, format!("resource == {uid}")),
        ResourceConstraint::Is(name) => (is(&input.resource, &name), format!("resource is {name}")),
        ResourceConstraint::IsIn(name, uid) => {
            (is(&input.resource, &name) && within(&input.resource, &uid, input), format!("resource is {name} in {uid}"))
        }
    };
    if !holds {
        failing.push((Part::Resource, asks));
    }
    failing
}

fn within(uid: &EntityUid, of: &EntityUid, input: &Input) -> bool {
    uid == of || input.entities.is_ancestor_of(of, uid)
}

fn is(uid: &EntityUid, name: &EntityTypeName) -> bool {
    uid.type_name() == name
}

/// When `clock` reaches `secs`.
fn instant(context: &Context<'_>, clock: ContextClock, secs: i64) -> Option<Timestamp> {
    let from_age = |age: Duration| {
        let start = context.now.unix_millis().checked_sub(i64::try_from(age.as_millis()).ok()?)?;
        Some(Timestamp::from_unix_millis(start.saturating_add(secs.saturating_mul(1000))))
    };
    match clock {
        ContextClock::Now => Some(Timestamp::from_unix_secs(secs)),
        ContextClock::Age => from_age(context.attestation_age?),
        ContextClock::PeerAge => from_age(context.peer?.1),
    }
}
