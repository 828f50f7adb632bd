//! Admission: is this text one policy that the schema knows, and may this tier say it?

use std::sync::LazyLock;

use burgrave_types::problem::InputError;
use burgrave_types::{EnclaveName, ResourceName, Segment};
use cedar_policy::{
    Effect, EntityUid, Policy, PolicySet, PrincipalConstraint, ResourceConstraint, ValidationMode, Validator,
};
use miette::Diagnostic;
use serde::{Deserialize, Serialize};

use crate::cedar::{PREFIX, schema};
use crate::error::PolicyError;
use crate::nesting::{MAX_BRACKETS, MAX_DEPTH, too_deep};
use crate::rule::SimpleRule;

/// The longest policy text that is taken, in bytes.
pub const MAX_POLICY_BYTES: usize = 10_000;

/// Whose policy it is, and so how far it reaches.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// The trust domain's own: may speak of everything.
    Domain,
    /// A namespace's: both sides of its scope must lie inside the namespace, and it names nothing outside.
    Namespace(Segment),
}

/// A text that was found to be one valid policy.
#[derive(Clone, Debug)]
pub struct ValidPolicy {
    text: String,
    policy: Policy,
    rule: Option<SimpleRule>,
}

impl ValidPolicy {
    /// The text as its author wrote it, without white space around it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it permits or forbids.
    pub fn forbids(&self) -> bool {
        self.policy.effect() == Effect::Forbid
    }

    /// The simple rule that this text is the canonical form of, where it is one.
    pub fn rule(&self) -> Option<&SimpleRule> {
        self.rule.as_ref()
    }

    pub(crate) fn into_policy(self) -> Policy {
        self.policy
    }
}

/// Reads `text` as one policy of `tier` and holds it against the schema (Cedar's strict validation; a policy that could
/// never apply is refused as well).
///
/// # Errors
/// All faults of the first stage that finds any (syntax, schema, admission), each with line and column.
pub fn validate(text: &str, tier: &Tier) -> Result<ValidPolicy, PolicyError> {
    if text.len() > MAX_POLICY_BYTES {
        return Err(PolicyError::one(
            "line 1, column 1",
            format!("the text has {} bytes, a policy may have {MAX_POLICY_BYTES}", text.len()),
        ));
    }
    if let Some(offset) = too_deep(text) {
        return Err(PolicyError::one(
            position(text, offset),
            format!(
                "the text nests too deep here: {MAX_BRACKETS} brackets or `if`s inside each other are taken, and {MAX_DEPTH} \
                 levels in all, `a && b && c` and `a.b.c` making two; use a set, or several policies"
            ),
        ));
    }
    let set: PolicySet = text.parse().map_err(|errors: cedar_policy::ParseErrors| {
        PolicyError::new(errors.iter().map(|error| located(text, error, error)).collect())
    })?;
    let policy = single(text, &set)?;
    check_schema(text, &set)?;
    check_names(text, &policy, tier)?;
    let rule = SimpleRule::of_policy(text, &policy);
    Ok(ValidPolicy { text: text.trim().to_owned(), policy, rule })
}

fn single(text: &str, set: &PolicySet) -> Result<Policy, PolicyError> {
    if set.templates().next().is_some() {
        return Err(PolicyError::one(
            "line 1, column 1",
            "a template is no policy: `?principal` and `?resource` are not taken",
        ));
    }
    let mut policies: Vec<&Policy> = set.policies().collect();
    policies.sort_by_key(|policy| start_of(text, policy));
    match policies.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(PolicyError::one("line 1, column 1", "there is no policy in the text")),
        [_, second, ..] => Err(PolicyError::one(
            position(text, start_of(text, second)),
            format!("the text has {} policies, one is taken at a time; store each under its own name", policies.len()),
        )),
    }
}

fn start_of(text: &str, policy: &Policy) -> usize {
    policy.to_cedar().and_then(|own| text.find(&own)).unwrap_or(0)
}

fn check_schema(text: &str, set: &PolicySet) -> Result<(), PolicyError> {
    static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| Validator::new(schema().clone()));
    let result = VALIDATOR.validate(set, ValidationMode::Strict);
    let errors = result.validation_errors().map(|error| located(text, error, error));
    let warnings = result.validation_warnings().map(|warning| located(text, warning, warning));
    let mut faults: Vec<InputError> = errors.chain(warnings).collect();
    faults.dedup();
    if faults.is_empty() { Ok(()) } else { Err(PolicyError::new(faults)) }
}

/// Checks that every id that the policy names has the form of its kind, and for a namespace's policy that all lies
/// inside.
fn check_names(text: &str, policy: &Policy, tier: &Tier) -> Result<(), PolicyError> {
    let mut faults = Vec::new();
    for uid in policy.entity_literals() {
        if let Err(reason) = check_name(&uid, tier) {
            let fault = InputError { at: position(text, text.find(&uid.to_string()).unwrap_or(0)), reason };
            if !faults.contains(&fault) {
                faults.push(fault);
            }
        }
    }
    if let Tier::Namespace(namespace) = tier {
        let principal = matches!(
            policy.principal_constraint(),
            PrincipalConstraint::In(_) | PrincipalConstraint::Eq(_) | PrincipalConstraint::IsIn(..)
        );
        let resource = matches!(
            policy.resource_constraint(),
            ResourceConstraint::In(_) | ResourceConstraint::Eq(_) | ResourceConstraint::IsIn(..)
        );
        for (constrained, word) in [(principal, "principal"), (resource, "resource")] {
            if !constrained {
                let reason = format!(
                    "the {word} may be anything, a policy of the namespace `{namespace}` must say which: at its widest \
                     `{word} in {PREFIX}Namespace::\"{namespace}\"`"
                );
                faults.push(InputError { at: position(text, text.find(word).unwrap_or(0)), reason });
            }
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(PolicyError::new(faults)) }
}

fn check_name(uid: &EntityUid, tier: &Tier) -> Result<(), String> {
    let id: &str = uid.id().unescaped();
    let kind = uid.type_name().basename();
    let namespace = match kind {
        "Namespace" => Some(id.parse::<Segment>().map_err(|error| error.to_string())?),
        "Enclave" | "EnclaveGroup" => {
            Some(id.parse::<EnclaveName>().map_err(|error| error.to_string())?.namespace().clone())
        }
        "Release" => {
            let (enclave, _) = id
                .split_once('@')
                .filter(|(_, release)| !release.is_empty())
                .ok_or_else(|| format!("`{id}` is not a release: expected `<namespace>/<enclave>@<release>`"))?;
            Some(enclave.parse::<EnclaveName>().map_err(|error| error.to_string())?.namespace().clone())
        }
        "Keyspace" | "Key" | "Channel" => {
            Some(id.parse::<ResourceName>().map_err(|error| error.to_string())?.namespace().clone())
        }
        "Tee" | "TcbStatus" | "Proof" | "Action" => return Ok(()),
        _ => None,
    };
    match tier {
        Tier::Domain => Ok(()),
        Tier::Namespace(own) if namespace.as_ref() == Some(own) => Ok(()),
        Tier::Namespace(own) => {
            Err(format!("`{uid}` lies outside the namespace `{own}`; only the domain's own policies reach across"))
        }
    }
}

fn located(text: &str, error: &dyn std::fmt::Display, diagnostic: &dyn Diagnostic) -> InputError {
    let offset = diagnostic.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset());
    let mut reason = error.to_string();
    if let Some(help) = diagnostic.help() {
        reason.push_str(&format!(" ({help})"));
    }
    // Cedar names the policy by the number it has in the text, which is always the only one.
    let own = reason.strip_prefix("for policy `policy0`").map(|rest| rest.trim_start_matches([',', ':', ' ']));
    InputError { at: position(text, offset), reason: own.unwrap_or(&reason).to_owned() }
}

/// Line and column, both from 1, the column in characters.
fn position(text: &str, offset: usize) -> String {
    let before = text.get(..offset.min(text.len())).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("line {line}, column {column}")
}
