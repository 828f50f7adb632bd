//! Policies.

use std::sync::atomic::Ordering;

use burgrave_policy::{ResourceSelector, STANDING, Selector, SimpleRule, Tier, ValidPolicy, validate};
use burgrave_types::{Operation, PolicyId, Problem, ProblemCode, Revision, Segment, Timestamp};

use super::{if_match, not_found, of_tier, page};
use crate::commit::{Change, Committed};
use crate::records::{Entry, PolicyRecord};
use crate::revocation::Ending;
use crate::view::View;
use crate::{AdminIdentity, Control, NewPolicy, NewRule, Page, Paged, PolicyView, RuleEffect};

impl Control {
    /// Stores a policy. When this returns, decisions are made under it, and channels that it no longer allows are cut.
    ///
    /// # Errors
    /// `policy.denied`; `policy.invalid` with line and column of each fault; `unavailable`.
    pub async fn create_policy(&self, admin: &AdminIdentity, policy: NewPolicy) -> Result<PolicyView, Problem> {
        self.admin(&*self.view()?, admin, of_tier(policy.namespace.as_ref()))?;
        let valid = checked(&policy)?;
        let id = PolicyId::random(self.random());
        let record = self.policy_record(admin, id, &policy, &valid);
        let (committed, ()) = self
            .change(admin.name.as_str(), |view| {
                self.leaves_a_way_back(view, admin, &record)?;
                Ok((Change::new().create(&record), ()))
            })
            .await?;
        self.policy_changed(admin, &id.to_string(), "created", &committed).await?;
        Ok(show(&Entry { record, revision: committed.revision }))
    }

    /// Replaces a policy's text. As [`Control::create_policy`].
    ///
    /// # Errors
    /// As there; `not-found`, `precondition.required`, `conflict`; `request.invalid` for another namespace than before.
    pub async fn put_policy(
        &self,
        admin: &AdminIdentity,
        id: PolicyId,
        based_on: Option<Revision>,
        policy: NewPolicy,
    ) -> Result<PolicyView, Problem> {
        self.admin(&*self.view()?, admin, of_tier(policy.namespace.as_ref()))?;
        let valid = checked(&policy)?;
        let record = self.policy_record(admin, id, &policy, &valid);
        let (committed, ()) = self
            .change(admin.name.as_str(), |view| {
                let entry = stored(view, id)?;
                if_match(&format!("the policy `{id}`"), entry.revision, based_on)?;
                if entry.record.namespace != policy.namespace {
                    let detail = format!("the policy `{id}` is not of that namespace, and cannot move there");
                    return Err(Problem::new(ProblemCode::RequestInvalid, detail)
                        .with_fix("create it there, and delete this one"));
                }
                self.leaves_a_way_back(view, admin, &record)?;
                Ok((Change::new().update(&record, entry.revision), ()))
            })
            .await?;
        self.policy_changed(admin, &id.to_string(), "changed", &committed).await?;
        Ok(show(&Entry { record, revision: committed.revision }))
    }

    /// Deletes a policy; what only it allowed is denied, and cut, when this returns.
    ///
    /// # Errors
    /// `policy.denied`, `not-found`, `precondition.required`, `conflict`.
    pub async fn delete_policy(
        &self,
        admin: &AdminIdentity,
        id: PolicyId,
        based_on: Option<Revision>,
    ) -> Result<Revision, Problem> {
        let view = self.view()?;
        self.admin(&view, admin, of_tier(view.policies.get(&id).and_then(|entry| entry.record.namespace.as_ref())))?;
        let (committed, ()) = self
            .change(admin.name.as_str(), |view| {
                let entry = stored(view, id)?;
                if_match(&format!("the policy `{id}`"), entry.revision, based_on)?;
                Ok((Change::new().delete(entry), ()))
            })
            .await?;
        self.policy_changed(admin, &id.to_string(), "deleted", &committed).await?;
        Ok(committed.revision)
    }

    /// The policies, by id, the standing ones among them.
    ///
    /// # Errors
    /// `policy.denied`.
    pub async fn policies(&self, admin: &AdminIdentity, wanted: &Page) -> Result<Paged<PolicyView>, Problem> {
        let view = self.view()?;
        self.admin(&view, admin, of_tier(None))?;
        let all = view.policies.values().map(|entry| show(entry)).chain(standing(self.founded()));
        Ok(page(all, wanted, view.revision, |policy| policy.id.to_string(), |policy| policy))
    }

    /// One policy.
    ///
    /// # Errors
    /// `policy.denied`, `not-found`.
    pub async fn policy(&self, admin: &AdminIdentity, id: PolicyId) -> Result<PolicyView, Problem> {
        let view = self.view()?;
        self.admin(&view, admin, of_tier(view.policies.get(&id).and_then(|entry| entry.record.namespace.as_ref())))?;
        if let Some(standing) = standing(self.founded()).find(|policy| policy.id == id) {
            return Ok(standing);
        }
        stored(&view, id).map(show)
    }

    /// Whether a policy would be taken; stores nothing.
    ///
    /// # Errors
    /// `policy.denied`; `policy.invalid` with line and column of each fault.
    pub async fn validate_policy(&self, admin: &AdminIdentity, policy: &NewPolicy) -> Result<(), Problem> {
        self.admin(&*self.view()?, admin, of_tier(policy.namespace.as_ref()))?;
        checked(policy).map(drop)
    }

    /// Stores a simple rule in words. The same rule twice is one policy.
    ///
    /// # Errors
    /// As [`Control::create_policy`].
    pub async fn create_rule(&self, admin: &AdminIdentity, new: NewRule) -> Result<PolicyView, Problem> {
        let effect = match new.effect {
            RuleEffect::Allow => burgrave_policy::RuleEffect::Allow,
            RuleEffect::Forbid => burgrave_policy::RuleEffect::Forbid,
        };
        self.store_rule(admin, &SimpleRule::parse(effect, &new.rule)?, new.description).await
    }

    async fn store_rule(
        &self,
        admin: &AdminIdentity,
        rule: &SimpleRule,
        description: String,
    ) -> Result<PolicyView, Problem> {
        let policy =
            NewPolicy { namespace: namespace_of(rule), name: rule.to_string(), text: rule.to_cedar(), description };
        let view = self.view()?;
        let same = |entry: &&std::sync::Arc<Entry<PolicyRecord>>| {
            entry.record.namespace == policy.namespace && entry.record.text == policy.text
        };
        if let Some(entry) = view.policies.values().find(same) {
            self.admin(&view, admin, of_tier(policy.namespace.as_ref()))?;
            return Ok(show(entry));
        }
        self.create_policy(admin, policy).await
    }

    /// When the domain was founded.
    fn founded(&self) -> Timestamp {
        self.trust().genesis().body.created
    }

    fn policy_record(&self, admin: &AdminIdentity, id: PolicyId, new: &NewPolicy, valid: &ValidPolicy) -> PolicyRecord {
        PolicyRecord {
            schema: 1,
            id,
            namespace: new.namespace.clone(),
            name: if new.name.is_empty() { id.to_string() } else { new.name.clone() },
            text: valid.text().to_owned(),
            description: new.description.clone(),
            changed: self.now(),
            changed_by: admin.name.to_string(),
        }
    }

    /// Refuses a policy that would keep its own author from changing it back.
    fn leaves_a_way_back(&self, view: &View, admin: &AdminIdentity, record: &PolicyRecord) -> Result<(), Problem> {
        let tier = of_tier(record.namespace.as_ref());
        let rules = view.rules.with_change([crate::view::as_policy(record)], [])?;
        if self.may_administer(&rules, admin, tier) {
            return Ok(());
        }
        let detail = "the policy would keep you from administering what it is stored in, and so from taking it back";
        Err(Problem::new(ProblemCode::RequestInvalid, detail).with_fix(
            "leave `administer` out of it: name the actions that you mean, e.g. `Burgrave::Action::\"useKey\"`",
        ))
    }

    /// What else follows from a change of policy.
    async fn policy_changed(
        &self,
        admin: &AdminIdentity,
        id: &str,
        what: &str,
        committed: &Committed,
    ) -> Result<(), Problem> {
        let cut = committed.cut.len();
        self.happened("policy.changed", id, &format!("{what} by {}; {cut} channels cut", admin.name));
        self.rotate_after_narrowing().await
    }

    /// Begins a new version of each key whose active version was given to somebody who may not have it any more. Where somebody
    /// else is at it, this returns when they are done.
    pub(crate) async fn rotate_after_narrowing(&self) -> Result<(), Problem> {
        // INVARIANT: the mark is taken in one's turn, so whoever finds none finds the rotation made.
        let turn = self.writer.lock().await;
        if !self.policies_changed.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let now = self.now();
        self.change_next(&turn, "narrowed policy", |view| {
            let mut ending = Ending::new(now, "a policy was narrowed");
            for entry in view.instances.values() {
                for resource in entry.record.released.keys() {
                    let request = self.request(entry, Operation::Derive, resource, None);
                    if !view.rules.authorize(&request).allowed {
                        ending.holds(entry, resource);
                    }
                }
            }
            Ok((ending.rotate_exposed(view), ()))
        })
        .await
        .map(drop)
        // The next tick tries again.
        .inspect_err(|_| self.policies_changed.store(true, Ordering::Release))
    }
}

fn checked(policy: &NewPolicy) -> Result<ValidPolicy, Problem> {
    let tier = policy.namespace.clone().map_or(Tier::Domain, Tier::Namespace);
    Ok(validate(&policy.text, &tier)?)
}

fn stored(view: &View, id: PolicyId) -> Result<&Entry<PolicyRecord>, Problem> {
    if STANDING.iter().any(|(name, _)| standing_id(name) == id) {
        let detail = format!("the policy `{id}` is a part of the program");
        return Err(Problem::new(ProblemCode::Conflict, detail).with_fix("it can be narrowed by a forbid, not changed"));
    }
    view.policies.get(&id).map(AsRef::as_ref).ok_or_else(|| not_found("policy", id, "burgrave policy list"))
}

/// The namespace that a rule lies in as a whole; `None` where it reaches across.
fn namespace_of(rule: &SimpleRule) -> Option<Segment> {
    let of_who = |who: &Selector| match who {
        Selector::Enclave(name) | Selector::Release(name, _) => name.namespace().clone(),
        Selector::Namespace(namespace) => namespace.clone(),
    };
    let of_resource = match rule.on() {
        ResourceSelector::One(resource) => resource.name.namespace().clone(),
        ResourceSelector::All(_, namespace) => namespace.clone(),
    };
    let who = of_who(rule.who());
    let inside = who == of_resource && rule.when().peer.as_ref().is_none_or(|peer| of_who(peer) == who);
    inside.then_some(who)
}

fn show(entry: &Entry<PolicyRecord>) -> PolicyView {
    let record = &entry.record;
    let tier = record.namespace.clone().map_or(Tier::Domain, Tier::Namespace);
    let rule = validate(&record.text, &tier).ok().and_then(|valid| valid.rule().map(ToString::to_string));
    PolicyView {
        id: record.id,
        namespace: record.namespace.clone(),
        name: record.name.clone(),
        rule,
        text: record.text.clone(),
        description: record.description.clone(),
        guard: false,
        changed_by: record.changed_by.clone(),
        changed: record.changed,
        revision: entry.revision,
    }
}

/// The policies that are a part of the program, and stand since the domain was founded. Their ids are made from their names.
fn standing(founded: Timestamp) -> impl Iterator<Item = PolicyView> {
    STANDING.iter().map(move |(name, text)| PolicyView {
        id: standing_id(name),
        namespace: None,
        name: (*name).to_owned(),
        rule: None,
        text: (*text).to_owned(),
        description: "stands in every domain".to_owned(),
        guard: true,
        changed_by: "burgrave".to_owned(),
        changed: founded,
        revision: Revision(0),
    })
}

fn standing_id(name: &str) -> PolicyId {
    let mut id = [0; 16];
    id.iter_mut().zip(burgrave_seal::sha256(name.as_bytes())).for_each(|(to, from)| *to = from);
    PolicyId::from_bytes(id)
}
