//! Our decision against stock Cedar's, on random policies and requests. The other side shares nothing with the crate but
//! the schema and the policy texts: it builds its entities and requests from JSON.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use burgrave_policy::{InstanceFacts, PolicySnapshot, Request, SCHEMA, STANDING, Tier};
use burgrave_types::claims::{TcbStatus, Tee};
use burgrave_types::{Operation, ResourceId, ResourceKind};
use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision, Effect, Entities, EntityUid, Policy, PolicyId, PolicySet, Schema,
};
use common::{instance, record, request};
use serde_json::{Value, json};

/// A small generator of the same numbers in each run (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound as u64).unwrap()
    }

    fn pick<'t, T: ?Sized>(&mut self, of: &[&'t T]) -> &'t T {
        of[self.below(of.len())]
    }
}

const ENCLAVES: [&str; 4] = ["payments/api", "payments/ledger", "hr/api", "hr/mail"];

fn policy(numbers: &mut Numbers) -> String {
    let effect = numbers.pick(&["permit", "permit", "permit", "forbid"]);
    let principal = match numbers.below(6) {
        0 => "principal".to_owned(),
        1 => "principal is Burgrave::Instance".to_owned(),
        2 => format!("principal in Burgrave::Namespace::\"{}\"", numbers.pick(&["payments", "hr"])),
        3 => format!("principal in Burgrave::Release::\"{}@1.2.0\"", numbers.pick(&ENCLAVES)),
        4 => "principal in Burgrave::EnclaveGroup::\"payments/backend\"".to_owned(),
        _ => format!("principal in Burgrave::Enclave::\"{}\"", numbers.pick(&ENCLAVES)),
    };
    let (action, kind) = match numbers.below(4) {
        0 => ("action in Burgrave::Action::\"communicate\"", "Channel"),
        1 => ("action == Burgrave::Action::\"send\"", "Channel"),
        2 => ("action in Burgrave::Action::\"useKey\"", "Key"),
        _ => ("action in [Burgrave::Action::\"decrypt\", Burgrave::Action::\"derive\"]", "Keyspace"),
    };
    let tail = if kind == "Channel" { "/default" } else { "" };
    let resource = match numbers.below(4) {
        0 => "resource".to_owned(),
        1 => format!("resource in Burgrave::Namespace::\"{}\"", numbers.pick(&["payments", "hr"])),
        2 => format!("resource is Burgrave::{kind}"),
        _ => format!("resource == Burgrave::{kind}::\"{}{tail}\"", numbers.pick(&ENCLAVES)),
    };
    let any = [
        "principal.att.tee == Burgrave::Tee::\"snp\"",
        "[Burgrave::Tee::\"tdx\", Burgrave::Tee::\"tpm\"].contains(principal.att.tee)",
        "context.attAgeSecs < 3600",
        "context.attAgeSecs >= 60",
        "principal.att has svn && principal.att.svn >= 3",
        "principal.att has measurement && principal.att.measurement like \"cd*\"",
        "!(principal.att has migratable)",
        "context.now == 1800000000",
        // These overflow, some of them only for some ages.
        "context.attAgeSecs * 9223372036854775807 == 0",
        "context.attAgeSecs + 9223372036854772000 > 0",
        "context.attAgeSecs * 9000000000000000000 != 1",
        "context.attAgeSecs + 9223372036854775000 < 0",
    ];
    let with_peer = [
        "context.peer in Burgrave::Enclave::\"payments/ledger\"",
        "context.peer.att.tee == principal.att.tee",
        "context.peerAttAgeSecs < 600",
        "principal in resource.owner",
    ];
    let mut clauses = String::new();
    for _ in 0..numbers.below(3) {
        let parts: Vec<&str> =
            (0..=numbers.below(2))
                .map(|_| {
                    if kind == "Channel" && numbers.below(2) == 0 {
                        numbers.pick(&with_peer)
                    } else {
                        numbers.pick(&any)
                    }
                })
                .collect();
        let word = numbers.pick(&["when", "when", "unless"]);
        clauses.push_str(&format!(" {word} {{ ({}) }}", parts.join(numbers.pick(&[") && (", ") || ("]))));
    }
    format!("{effect} ({principal}, {action}, {resource}){clauses};")
}

fn facts(numbers: &mut Numbers, enclave: &str) -> InstanceFacts {
    let mut facts = instance(enclave);
    facts.release = (numbers.below(3) > 0).then(|| "1.2.0".to_owned());
    if numbers.below(3) == 0 {
        facts.groups = vec!["payments/backend".to_owned()];
    }
    facts.claims.tee = *numbers.pick(&[&Tee::Snp, &Tee::Tdx, &Tee::Tpm]);
    facts.claims.launch.svn = (numbers.below(3) > 0).then(|| numbers.below(6) as u64);
    facts.claims.debug = *numbers.pick(&[&None, &Some(false), &Some(false), &Some(false), &Some(true)]);
    if numbers.below(10) == 0 {
        facts.claims.tcb.status = TcbStatus::Revoked;
    }
    if numbers.below(4) == 0 {
        facts.claims.migratable = Some(false);
    }
    facts
}

fn uid(kind: &str, id: &str) -> Value {
    json!({ "type": format!("Burgrave::{kind}"), "id": id })
}

fn entity(kind: &str, id: &str, attrs: Value, parents: &[Value]) -> Value {
    json!({ "uid": uid(kind, id), "attrs": attrs, "parents": parents })
}

/// The entities of an instance, straight from the schema's description.
fn describe(facts: &InstanceFacts, into: &mut Vec<Value>) {
    let enclave = facts.enclave.to_string();
    let claims = &facts.claims;
    let mut att = json!({
        "tee": uid("Tee", claims.tee.as_str()), "tcb": uid("TcbStatus", claims.tcb.status.as_str()),
        "proved": [], "advisories": [], "privilege": 0, "product": "milan", "platform": "abababab",
        "measurement": "cdcdcdcd",
    });
    for (name, value) in [
        ("debug", claims.debug.map(Value::from)),
        ("migratable", claims.migratable.map(Value::from)),
        ("svn", claims.launch.svn.map(Value::from)),
    ] {
        if let Some(value) = value {
            att[name] = value;
        }
    }
    let namespace = uid("Namespace", facts.enclave.namespace().as_str());
    let mut above = vec![namespace];
    if !facts.groups.is_empty() {
        above.push(uid("EnclaveGroup", "payments/backend"));
        into.push(entity("EnclaveGroup", "payments/backend", json!({}), &[uid("Namespace", "payments")]));
    }
    into.push(entity("Enclave", &enclave, json!({}), &above));
    let parent = match &facts.release {
        Some(release) => {
            let id = format!("{enclave}@{release}");
            into.push(entity("Release", &id, json!({}), &[uid("Enclave", &enclave)]));
            uid("Release", &id)
        }
        None => uid("Enclave", &enclave),
    };
    into.push(entity("Instance", &facts.id.to_string(), json!({ "att": att }), &[parent]));
}

fn stock(
    schema: &Schema,
    set: &PolicySet,
    ask: &Request<'_>,
    who: &InstanceFacts,
    id: &ResourceId,
) -> cedar_policy::Response {
    let mut entities = Vec::new();
    describe(who, &mut entities);
    let mut context = json!({
        "now": ask.context.now.unix_secs(), "node": { "__entity": uid("Node", &ask.context.node.to_string()) },
        "attAgeSecs": ask.context.attestation_age.unwrap().as_secs(),
    });
    let (kind, name) = (format!("{:?}", id.kind), id.name.to_string());
    let mut attrs = json!({});
    if id.kind == ResourceKind::Channel {
        let (peer, age) = ask.context.peer.unwrap();
        describe(peer, &mut entities);
        context["peer"] = json!({ "__entity": uid("Instance", &peer.id.to_string()) });
        context["peerAttAgeSecs"] = json!(age.as_secs());
        let owner = name.trim_end_matches("/default");
        attrs = json!({ "owner": { "__entity": uid("Enclave", owner) } });
        if !entities.iter().any(|known| known["uid"] == uid("Enclave", owner)) {
            entities.push(entity("Enclave", owner, json!({}), &[uid("Namespace", id.name.namespace().as_str())]));
        }
    }
    entities.push(entity(&kind, &name, attrs, &[uid("Namespace", id.name.namespace().as_str())]));
    let mut seen = BTreeSet::new();
    entities.retain(|known| seen.insert(known["uid"].to_string()));
    let entities = Entities::from_json_value(Value::Array(entities), Some(schema)).unwrap();
    let named = |kind: &str, id: &str| format!("Burgrave::{kind}::\"{id}\"").parse::<EntityUid>().unwrap();
    let action = named("Action", ask.operation.as_str());
    let context = Context::from_json_value(context, Some((schema, &action))).unwrap();
    let question = cedar_policy::Request::new(
        named("Instance", &who.id.to_string()),
        action,
        named(&kind, &name),
        context,
        Some(schema),
    );
    Authorizer::new().is_authorized(&question.unwrap(), set, &entities)
}

fn names<'s>(ids: impl Iterator<Item = &'s PolicyId>) -> BTreeSet<String> {
    ids.map(ToString::to_string).collect()
}

#[test]
fn decisions_are_stock_cedars_but_for_forbids_that_fail() {
    let (schema, _) = Schema::from_cedarschema_str(SCHEMA).unwrap();
    let mut numbers = Numbers(0x0b06_ca5e_0b06_ca5e);
    let (mut allowed, mut denied, mut narrowed) = (0, 0, 0);
    for _ in 0..50 {
        let mut texts = Vec::new();
        while texts.len() < 8 {
            let text = policy(&mut numbers);
            // Some combinations can never apply (a key's action on a channel): those are refused at admission.
            if burgrave_policy::validate(&text, &Tier::Domain).is_ok() {
                texts.push(text);
            }
        }
        let ours = PolicySnapshot::build((1..).zip(&texts).map(|(n, text)| record(n, Tier::Domain, text))).unwrap();
        let numbered = (1..).zip(&texts).map(|(n, text)| (format!("p{n}"), text.as_str()));
        let all = STANDING.map(|(name, text)| (name.to_owned(), text)).into_iter().chain(numbered);
        let theirs =
            PolicySet::from_policies(all.map(|(name, text)| Policy::parse(Some(PolicyId::new(name)), text).unwrap()));
        let theirs = theirs.unwrap();
        for _ in 0..25 {
            let name = numbers.pick(&ENCLAVES);
            let who = facts(&mut numbers, name);
            let other = numbers.pick(&ENCLAVES.into_iter().filter(|other| *other != name).collect::<Vec<_>>());
            let peer = facts(&mut numbers, other);
            let operation = *numbers.pick(&[
                &Operation::Decrypt,
                &Operation::Derive,
                &Operation::Encrypt,
                &Operation::Send,
                &Operation::Receive,
            ]);
            let target = numbers.pick(&ENCLAVES);
            let resource = match operation {
                // Its owner, where it is a third enclave, is in no group on either side.
                Operation::Send => format!("channel/{other}/default"),
                Operation::Receive => format!("channel/{name}/default"),
                _ => format!("{}/{target}", numbers.pick(&["key", "keyspace"])),
            };
            let mut ask = request(&who, operation, &resource);
            ask.context.attestation_age = Some(Duration::from_secs(*numbers.pick(&[&0, &1, &60, &3599, &3600, &3808])));
            ask.context.peer = Some((&peer, Duration::from_secs(*numbers.pick(&[&5, &600]))));
            let mine = ours.authorize(&ask);
            let stock = stock(&schema, &theirs, &ask, &who, &resource.parse().unwrap());

            let failed = stock.diagnostics().errors().map(|AuthorizationError::PolicyEvaluationError(e)| e.policy_id());
            let failed: Vec<&PolicyId> = failed.collect();
            let failed_forbids =
                names(failed.iter().copied().filter(|id| theirs.policy(id).unwrap().effect() == Effect::Forbid));
            let my_errors: BTreeSet<String> = mine.errors.iter().map(|e| e.policy.clone().unwrap().name).collect();
            assert_eq!(my_errors, names(failed.into_iter()), "{ask:?}\n{texts:#?}");

            let permits = stock.decision() == Decision::Allow;
            let mut reasons = names(stock.diagnostics().reason());
            if permits && !failed_forbids.is_empty() {
                reasons.clear();
                narrowed += 1;
            }
            reasons.extend(failed_forbids.clone());
            let my_reasons: BTreeSet<String> = mine.determining.iter().map(|p| p.name.clone()).collect();
            assert_eq!(mine.allowed, permits && failed_forbids.is_empty(), "{ask:?}\n{texts:#?}");
            assert_eq!(my_reasons, reasons, "{ask:?}\n{texts:#?}");
            if mine.allowed { allowed += 1 } else { denied += 1 }
        }
    }
    // The numbers are the same in each run; these say that all cases were met.
    assert!(allowed > 100 && denied > 100 && narrowed > 10, "{allowed} allowed, {denied} denied, {narrowed} narrowed");
}
