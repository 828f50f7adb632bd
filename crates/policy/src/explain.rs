//! A decision in words: why, and the smallest change that would alter it.

use burgrave_types::{Operation, ResourceKind};

use crate::decision::{Decision, NearMiss, Part, PolicyRef};
use crate::request::{Principal, Request, Resource};

/// What the decision is, why, and what would alter it: one sentence a line, for administrators (an enclave is told less).
pub fn explain(decision: &Decision, request: &Request<'_>) -> Vec<String> {
    let who = request.principal.name();
    let (operation, resource) = (request.operation, &request.resource);
    let names = |policies: &[PolicyRef]| policies.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut lines = Vec::new();
    if decision.allowed {
        lines.push(format!("`{who}` may {operation} `{resource}`: permitted by {}", names(&decision.determining)));
        lines.push(match decision.valid_until {
            Some(until) => format!("without a new attestation, this may change by time alone at {until}"),
            None => "it holds until a policy or the instance's standing changes".to_owned(),
        });
        lines.push(format!("to end it: {}", ways_to_end(decision, request)));
    } else if !decision.determining.is_empty() {
        lines.push(format!("`{who}` may not {operation} `{resource}`: forbidden by {}", names(&decision.determining)));
        lines.extend(decision.determining.iter().map(way_round));
    } else if decision.errors.iter().any(|fault| fault.policy.is_none()) {
        lines.push(format!("`{who}` may not {operation} `{resource}`: it could not be decided, which denies"));
    } else {
        lines.push(format!("`{who}` may not {operation} `{resource}`: no policy permits it"));
        lines.extend(decision.near_misses.iter().map(nearly));
        lines.push(smallest_permit(request));
    }
    lines.extend(decision.errors.iter().map(|fault| match &fault.policy {
        Some(policy) => format!("{policy} failed: {}", fault.message),
        None => format!("failed: {}", fault.message),
    }));
    lines
}

fn ways_to_end(decision: &Decision, request: &Request<'_>) -> String {
    let deletes: Vec<String> = decision
        .determining
        .iter()
        .filter_map(|policy| Some(format!("`burgrave policy delete {}`", policy.id?)))
        .collect();
    match (deletes.is_empty(), rule_words(request)) {
        (false, _) => deletes.join(" and "),
        (true, Some(words)) => format!("`burgrave policy forbid {words}`"),
        (true, None) => "take the role from the administrator".to_owned(),
    }
}

fn way_round(policy: &PolicyRef) -> String {
    match (policy.name.as_str(), policy.id) {
        (_, Some(id)) => format!("only a change of that policy lifts it: `burgrave policy show {id}`"),
        ("guard/no-debug", None) => {
            "nothing permits an instance whose host can look inside: launch it with debugging off, or concede debugging in \
             its registration".to_owned()
        }
        ("guard/tcb", None) => {
            "nothing permits a platform that is revoked or out of date: update its firmware, then attest again (its \
             registration may take what is out of date for a time)"
                .to_owned()
        }
        (name, None) => format!("`{name}` is part of the program and cannot be lifted"),
    }
}

fn nearly(miss: &NearMiss) -> String {
    let NearMiss { policy, part, condition, found } = miss;
    match part {
        Part::Condition => format!("{policy} would permit it, but wants `{condition}`: {found}"),
        Part::Action => format!("{policy} permits another operation: it wants `{condition}`, this is {found}"),
        Part::Resource => format!("{policy} permits it on another resource: it wants `{condition}`, this is {found}"),
        Part::Principal => format!("{policy} permits it to another principal: it wants `{condition}`, this is {found}"),
    }
}

fn smallest_permit(request: &Request<'_>) -> String {
    match (rule_words(request), request.principal) {
        (Some(words), _) => format!("to permit just this: `burgrave policy allow {words}`"),
        (None, Principal::Admin(facts)) => format!(
            "to permit just this, store a policy: permit (principal == Burgrave::Admin::\"{}\", action == \
             Burgrave::Action::\"administer\", resource == {});",
            facts.name,
            cedar_name(&request.resource),
        ),
        (None, _) => format!("an enclave cannot {} `{}` at all", request.operation, request.resource),
    }
}

/// The words of the simple rule for just this request.
fn rule_words(request: &Request<'_>) -> Option<String> {
    let (Principal::Instance(_) | Principal::Candidate(_), Resource::Named { id, .. }) =
        (request.principal, &request.resource)
    else {
        return None;
    };
    let peer = match (request.operation, request.context.peer) {
        (Operation::Send | Operation::Receive, Some((peer, _))) if id.kind == ResourceKind::Channel => {
            format!(" peer={}", peer.enclave)
        }
        _ => String::new(),
    };
    Some(format!("{} {} {id}{peer}", request.principal.name(), request.operation))
}

fn cedar_name(resource: &Resource) -> String {
    match resource {
        Resource::Named { id, .. } => format!("Burgrave::{}::\"{}\"", crate::cedar::resource_type(id.kind), id.name),
        Resource::Namespace(name) => format!("Burgrave::Namespace::\"{name}\""),
        Resource::Domain => "Burgrave::Domain::\"this\"".to_owned(),
    }
}
