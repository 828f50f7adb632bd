//! What is decided, and how it is explained.
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

use burgrave_policy::{
    AdminFacts, Part, PolicySnapshot, Principal, Request, Resource, RuleEffect, SimpleRule, Tier, explain,
};
use burgrave_types::claims::{BootClaims, HexBytes, Proved, TcbStatus, Tee};
use burgrave_types::{Concession, Operation, PolicyId, ResourceId};
use common::{NOW, candidate, context, determining, instance, record, request, snapshot};

const EVERYTHING: &str = "permit (principal, action, resource);";
/// Overflows from the second second on: a forbid that fails, which stock Cedar skips.
const FAILING_FORBID: &str = r#"forbid (principal, action == Burgrave::Action::"decrypt", resource)
    when { context.attAgeSecs * 9223372036854775807 == 5 };"#;

fn allow(words: &str) -> String {
    SimpleRule::parse(RuleEffect::Allow, words).unwrap().to_cedar()
}

#[test]
fn nothing_is_permitted_unless_a_policy_says_so() {
    let api = instance("payments/api");
    let decision = snapshot(&[]).authorize(&request(&api, Operation::Decrypt, "key/payments/pii"));
    assert!(!decision.allowed && decision.determining.is_empty() && decision.errors.is_empty());
}

#[test]
fn a_permit_reaches_its_own_enclave_operation_and_resource_alone() {
    let policies = snapshot(&[&allow("payments/api decrypt key/payments/pii")]);
    let (api, other) = (instance("payments/api"), instance("payments/other"));
    let decision = policies.authorize(&request(&api, Operation::Decrypt, "key/payments/pii"));
    assert!(decision.allowed);
    assert_eq!(determining(&decision), ["p1"]);
    for refused in [
        request(&other, Operation::Decrypt, "key/payments/pii"),
        request(&api, Operation::Derive, "key/payments/pii"),
        request(&api, Operation::Decrypt, "key/payments/other"),
        request(&api, Operation::Decrypt, "keyspace/payments/pii"),
    ] {
        assert!(!policies.authorize(&refused).allowed, "{refused:?}");
    }
}

#[test]
fn releases_groups_and_namespaces_are_found_above_an_instance() {
    let mut api = instance("payments/api");
    api.groups = vec!["payments/backend".to_owned()];
    for (above, holds) in [
        (r#"Release::"payments/api@1.2.0""#, true),
        (r#"Release::"payments/api@1.2.1""#, false),
        (r#"EnclaveGroup::"payments/backend""#, true),
        (r#"EnclaveGroup::"payments/frontend""#, false),
        (r#"Namespace::"payments""#, true),
        (r#"Namespace::"pay""#, false),
    ] {
        let text =
            format!("permit (principal in Burgrave::{above}, action == Burgrave::Action::\"encrypt\", resource);");
        let decision = snapshot(&[&text]).authorize(&request(&api, Operation::Encrypt, "keyspace/payments/storage"));
        assert_eq!(decision.allowed, holds, "{above}");
    }
}

#[test]
fn no_permit_goes_round_the_guards() {
    let policies = snapshot(&[EVERYTHING]);
    let good = instance("payments/api");
    assert!(policies.authorize(&request(&good, Operation::Decrypt, "key/payments/pii")).allowed);

    let mut debug = instance("payments/api");
    debug.claims.debug = Some(true);
    let decision = policies.authorize(&request(&debug, Operation::Decrypt, "key/payments/pii"));
    assert!(!decision.allowed);
    assert_eq!(determining(&decision), ["guard/no-debug"]);

    for status in TcbStatus::ALL {
        let mut facts = instance("payments/api");
        facts.claims.tcb.status = *status;
        let decision = policies.authorize(&request(&facts, Operation::Decrypt, "key/payments/pii"));
        let bad = matches!(status, TcbStatus::Revoked | TcbStatus::OutOfDate);
        assert_eq!(decision.allowed, !bad, "{status}");
        assert_eq!(determining(&decision), [if bad { "guard/tcb" } else { "p1" }]);
    }
}

#[test]
fn what_a_registration_concedes_passes_the_guards_but_for_a_revoked_platform() {
    let policies = snapshot(&[EVERYTHING]);
    let decide = |facts| policies.authorize(&request(&facts, Operation::Decrypt, "key/payments/pii"));
    let facts = |debug, status, conceded| {
        let mut facts = instance("payments/api");
        (facts.claims.debug, facts.claims.tcb.status, facts.conceded) =
            (Some(debug), status, BTreeSet::from([conceded]));
        facts
    };
    assert!(decide(facts(true, TcbStatus::UpToDate, Concession::Debug)).allowed);
    assert_eq!(determining(&decide(facts(true, TcbStatus::UpToDate, Concession::Tcb))), ["guard/no-debug"]);
    assert!(decide(facts(false, TcbStatus::OutOfDate, Concession::Tcb)).allowed);
    assert_eq!(determining(&decide(facts(false, TcbStatus::OutOfDate, Concession::Debug))), ["guard/tcb"]);
    assert_eq!(determining(&decide(facts(false, TcbStatus::Revoked, Concession::Tcb))), ["guard/tcb"]);
}

#[test]
fn the_guards_hold_for_candidates_and_for_both_sides_of_a_channel() {
    let policies = snapshot(&[EVERYTHING]);
    let attest = |facts: &burgrave_policy::CandidateFacts, resource: &str| {
        policies.authorize(&Request {
            principal: Principal::Candidate(facts),
            operation: Operation::Attest,
            resource: resource.parse::<ResourceId>().unwrap().into(),
            context: context(),
        })
    };
    let mut facts = candidate("payments/api");
    assert!(attest(&facts, "enclave/payments/api").allowed);
    facts.claims.tcb.status = TcbStatus::OutOfDate;
    assert_eq!(determining(&attest(&facts, "enclave/payments/api")), ["guard/tcb"]);
    facts.claims.tcb.status = TcbStatus::UpToDate;
    facts.claims.debug = Some(true);
    assert_eq!(determining(&attest(&facts, "enclave/payments/api")), ["guard/no-debug"]);

    let (mut api, ledger) = (instance("payments/api"), instance("payments/ledger"));
    api.claims.debug = Some(true);
    let mut send = request(&api, Operation::Send, "channel/payments/ledger/default");
    send.context.peer = Some((&ledger, Duration::from_secs(1)));
    assert_eq!(determining(&policies.authorize(&send)), ["guard/no-debug"]);
}

#[test]
fn a_candidate_attests_as_the_enclave_it_is_measured_as_and_does_nothing_else() {
    let policies = snapshot(&[]);
    let facts = candidate("payments/api");
    let ask = |operation, resource: &str| {
        policies.authorize(&Request {
            principal: Principal::Candidate(&facts),
            operation,
            resource: resource.parse::<ResourceId>().unwrap().into(),
            context: context(),
        })
    };
    assert_eq!(determining(&ask(Operation::Attest, "enclave/payments/api")), ["floor/attest"]);
    assert!(!ask(Operation::Attest, "enclave/payments/ledger").allowed);
    let decision = ask(Operation::Decrypt, "key/payments/pii");
    assert!(!decision.allowed && decision.errors.iter().any(|fault| fault.policy.is_none()), "{decision:?}");
}

#[test]
fn a_forbid_that_fails_denies_though_cedar_would_skip_it() {
    let api = instance("payments/api");
    let ask = request(&api, Operation::Decrypt, "key/payments/pii");
    let decision = snapshot(&[EVERYTHING, FAILING_FORBID]).authorize(&ask);
    assert!(!decision.allowed);
    assert_eq!(determining(&decision), ["p2"]);
    assert_eq!(decision.errors[0].policy.as_ref().unwrap().name, "p2");
    // Where it does not fail it has no say.
    let mut young = request(&api, Operation::Decrypt, "key/payments/pii");
    young.context.attestation_age = Some(Duration::ZERO);
    assert!(snapshot(&[EVERYTHING, FAILING_FORBID]).authorize(&young).allowed);
}

#[test]
fn a_permit_that_fails_does_not_permit_and_does_not_deny() {
    let api = instance("payments/api");
    let ask = request(&api, Operation::Decrypt, "key/payments/pii");
    let failing = FAILING_FORBID.replace("forbid", "permit");
    let alone = snapshot(&[&failing]).authorize(&ask);
    assert!(!alone.allowed && alone.errors.len() == 1);
    let beside = snapshot(&[&failing, EVERYTHING]).authorize(&ask);
    assert!(beside.allowed && beside.errors.len() == 1);
    assert_eq!(determining(&beside), ["p2"]);
}

#[test]
fn a_request_that_cannot_be_decided_is_denied_with_the_reason() {
    let policies = snapshot(&[EVERYTHING]);
    let api = instance("payments/api");
    let mut no_age = request(&api, Operation::Decrypt, "key/payments/pii");
    no_age.context.attestation_age = None;
    let no_peer = request(&api, Operation::Send, "channel/payments/ledger/default");
    let wrong_kind = request(&api, Operation::Decrypt, "channel/payments/ledger/default");
    let not_a_person = request(&api, Operation::Administer, "key/payments/pii");
    let mut own_peer = request(&api, Operation::Send, "channel/payments/api/default");
    own_peer.context.peer = Some((&api, Duration::ZERO));
    for (ask, word) in
        [(own_peer, "own peer"), (no_age, "age"), (no_peer, "peer"), (wrong_kind, "schema"), (not_a_person, "schema")]
    {
        let decision = policies.authorize(&ask);
        assert!(!decision.allowed, "{ask:?}");
        assert!(decision.errors[0].message.contains(word), "{decision:?}");
    }
}

#[test]
fn a_channel_takes_two_yeses() {
    let policies = snapshot(&[
        &allow("payments/api send payments/ledger peer=payments/ledger"),
        &allow("payments/ledger receive payments/ledger peer=payments/api"),
    ]);
    let (api, ledger, other) = (instance("payments/api"), instance("payments/ledger"), instance("payments/other"));
    let ask = |who, operation, peer| {
        let mut ask = request(who, operation, "channel/payments/ledger/default");
        ask.context.peer = Some((peer, Duration::from_secs(5)));
        policies.authorize(&ask).allowed
    };
    assert!(ask(&api, Operation::Send, &ledger));
    assert!(ask(&ledger, Operation::Receive, &api));
    assert!(!ask(&other, Operation::Send, &ledger));
    assert!(!ask(&ledger, Operation::Receive, &other));
    assert!(!ask(&ledger, Operation::Send, &api));

    let mut wrong_peer = request(&ledger, Operation::Receive, "channel/payments/ledger/default");
    wrong_peer.context.peer = Some((&other, Duration::from_secs(5)));
    let decision = policies.authorize(&wrong_peer);
    assert!(decision.near_misses[0].found.contains("Enclave::\"payments/other\""), "{decision:?}");
}

#[test]
fn the_owner_of_a_channel_can_be_spoken_of() {
    let policies = snapshot(&[
        r#"permit (principal, action == Burgrave::Action::"receive", resource) when { principal in resource.owner };"#,
    ]);
    let (api, ledger) = (instance("payments/api"), instance("payments/ledger"));
    for (who, peer, holds) in [(&ledger, &api, true), (&api, &ledger, false)] {
        let mut ask = request(who, Operation::Receive, "channel/payments/ledger/default");
        ask.context.peer = Some((peer, Duration::ZERO));
        assert_eq!(policies.authorize(&ask).allowed, holds);
    }
}

#[test]
fn an_enclave_that_is_named_twice_has_the_groups_of_both() {
    let policies = snapshot(&[r#"permit (principal, action == Burgrave::Action::"send", resource) when {
        resource.owner in Burgrave::EnclaveGroup::"payments/backend" &&
        context.peer in Burgrave::EnclaveGroup::"payments/audited" };"#]);
    let (api, mut ledger) = (instance("payments/api"), instance("payments/ledger"));
    let ask = |peer: &burgrave_policy::InstanceFacts, groups: &[&str]| {
        let mut ask = request(&api, Operation::Send, "channel/payments/ledger/default");
        if let Resource::Named { groups: of_owner, .. } = &mut ask.resource {
            of_owner.extend(groups.iter().map(ToString::to_string));
        }
        ask.context.peer = Some((peer, Duration::ZERO));
        policies.authorize(&ask).allowed
    };
    assert!(!ask(&ledger, &["payments/backend"]));
    ledger.groups = vec!["payments/audited".to_owned()];
    assert!(ask(&ledger, &["payments/backend"]));
    assert!(!ask(&ledger, &[]));
}

#[test]
fn administrators_are_decided_by_the_same_engine() {
    let namespace_only = r#"permit (principal in Burgrave::Role::"payments-admin", action == Burgrave::Action::"administer",
        resource in Burgrave::Namespace::"payments");"#;
    let policies = snapshot(&[namespace_only]);
    let ask = |role: &str, resource: Resource| {
        let facts = AdminFacts { name: "alice".parse().unwrap(), roles: vec![role.parse().unwrap()] };
        let decision = policies.authorize(&Request {
            principal: Principal::Admin(&facts),
            operation: Operation::Administer,
            resource,
            context: burgrave_policy::Context { attestation_age: None, ..context() },
        });
        assert!(decision.errors.is_empty(), "{decision:?}");
        decision.allowed
    };
    let key = || Resource::from("key/payments/pii".parse::<ResourceId>().unwrap());
    assert!(ask("admin", Resource::Domain) && ask("admin", key()));
    assert!(ask("payments-admin", key()) && ask("payments-admin", Resource::Namespace("payments".parse().unwrap())));
    assert!(!ask("payments-admin", Resource::Domain));
    assert!(!ask("payments-admin", Resource::Namespace("hr".parse().unwrap())));
    assert!(!ask("auditor", key()));
}

#[test]
fn a_denial_tells_the_condition_that_failed_and_what_was_found() {
    let policies = snapshot(&[&allow("payments/api decrypt key/payments/pii tee=snp,tdx max-age=1h min-svn=4")]);
    let mut api = instance("payments/api");
    let mut ask = request(&api, Operation::Decrypt, "key/payments/pii");
    assert!(policies.authorize(&ask).allowed);
    ask.context.attestation_age = Some(Duration::from_secs(4020));
    let decision = policies.authorize(&ask);
    assert_eq!(decision.near_misses.len(), 1);
    let miss = &decision.near_misses[0];
    assert_eq!(miss.part, Part::Condition);
    assert!(miss.condition.contains("context") && miss.condition.contains("3600"), "{miss:?}");
    assert_eq!(miss.found, "context.attAgeSecs is 4020");
    let lines = explain(&decision, &ask).join("\n");
    assert!(lines.contains("no policy permits it") && lines.contains("attAgeSecs is 4020"), "{lines}");
    assert!(lines.contains("burgrave policy allow payments/api decrypt key/payments/pii"), "{lines}");

    api.claims.tee = Tee::Tpm;
    let decision = policies.authorize(&request(&api, Operation::Decrypt, "key/payments/pii"));
    assert_eq!(decision.near_misses[0].found, "principal.att.tee is Tee::\"tpm\"");
    api.claims.tee = Tee::Snp;
    api.claims.launch.svn = None;
    let decision = policies.authorize(&request(&api, Operation::Decrypt, "key/payments/pii"));
    assert_eq!(decision.near_misses[0].found, "principal.att.svn is absent");
}

#[test]
fn a_denial_tells_the_one_part_of_the_scope_that_differs() {
    let policies = snapshot(&[&allow("payments/ledger decrypt key/payments/pii"), &allow("hr/x derive key/hr/x")]);
    let api = instance("payments/api");
    let ask = request(&api, Operation::Decrypt, "key/payments/pii");
    let decision = policies.authorize(&ask);
    assert_eq!(decision.near_misses.len(), 1, "{decision:?}");
    let miss = &decision.near_misses[0];
    assert_eq!((miss.part, miss.policy.name.as_str()), (Part::Principal, "p1"));
    assert_eq!(miss.condition, "principal in Enclave::\"payments/ledger\"");
    assert!(miss.found.contains("Enclave::\"payments/api\""), "{miss:?}");
}

#[test]
fn an_unless_clause_is_explained_by_the_alternative_that_held() {
    let policies = snapshot(&[r#"permit (principal, action == Burgrave::Action::"encrypt", resource)
        unless { principal.att.tee == Burgrave::Tee::"tpm" || context.attAgeSecs >= 10 };"#]);
    let api = instance("payments/api");
    let decision = policies.authorize(&request(&api, Operation::Encrypt, "keyspace/payments/storage"));
    assert_eq!(decision.near_misses[0].found, "context.attAgeSecs is 60");
}

#[test]
fn a_guards_denial_says_what_to_do() {
    let mut api = instance("payments/api");
    api.claims.tcb.status = TcbStatus::OutOfDate;
    let ask = request(&api, Operation::Decrypt, "key/payments/pii");
    let lines = explain(&snapshot(&[EVERYTHING]).authorize(&ask), &ask).join("\n");
    assert!(lines.contains("guard/tcb") && lines.contains("update its firmware"), "{lines}");
}

#[test]
fn what_a_denial_proposes_would_permit_it() {
    let (api, ledger) = (instance("payments/api"), instance("payments/ledger"));
    let mut send = request(&api, Operation::Send, "channel/payments/ledger/default");
    send.context.peer = Some((&ledger, Duration::ZERO));
    for ask in [request(&api, Operation::Derive, "keyspace/payments/storage"), send] {
        let lines = explain(&snapshot(&[]).authorize(&ask), &ask);
        let words =
            lines.iter().find_map(|line| line.split("burgrave policy allow ").nth(1)).unwrap().trim_end_matches('`');
        assert!(snapshot(&[&allow(words)]).authorize(&ask).allowed, "{words}");
    }
}

#[test]
fn an_answer_holds_until_the_first_comparison_with_a_clock_turns() {
    let api = instance("payments/api");
    let mut ask = request(&api, Operation::Decrypt, "key/payments/pii");
    ask.context.attestation_age = Some(Duration::from_millis(60_400));
    let forever = snapshot(&[EVERYTHING]).authorize(&ask);
    assert_eq!(forever.valid_until, None);

    let an_hour = allow("payments/api decrypt key/payments/pii max-age=1h");
    let elsewhere = allow("payments/other decrypt key/payments/pii max-age=2m");
    let decision = snapshot(&[&an_hour, &elsewhere]).authorize(&ask);
    let until = NOW + Duration::from_millis(3_600_000 - 60_400);
    assert_eq!(decision.valid_until, Some(until));

    // The analysis and the evaluation agree on the instant.
    let policies = snapshot(&[&an_hour]);
    for (early, holds) in [(Duration::from_millis(1), true), (Duration::ZERO, false)] {
        let then = until - early;
        ask.context.now = then;
        ask.context.attestation_age = Some(then.since(NOW) + Duration::from_millis(60_400));
        assert_eq!(policies.authorize(&ask).allowed, holds);
    }
}

#[test]
fn an_answer_that_uses_time_in_an_unknown_way_is_not_kept() {
    let api = instance("payments/api");
    let ask = request(&api, Operation::Encrypt, "key/payments/pii");
    for condition in ["context.attAgeSecs + 1 < 3600", "context.attAgeSecs < context.now", "!(context == context)"] {
        let text =
            format!("forbid (principal, action == Burgrave::Action::\"encrypt\", resource) when {{ {condition} }};");
        if burgrave_policy::validate(&text, &Tier::Domain).is_ok() {
            assert_eq!(snapshot(&[&text]).authorize(&ask).valid_until, Some(NOW), "{condition}");
        }
    }
    let now = snapshot(&[
        r#"permit (principal, action == Burgrave::Action::"encrypt", resource) when { 1800000100 > context.now };"#,
    ]);
    assert_eq!(now.authorize(&ask).valid_until, Some(NOW + Duration::from_secs(100)));
}

#[test]
fn every_word_that_claims_can_say_is_known_to_the_schema() {
    let policies = snapshot(&[EVERYTHING]);
    let mut api = instance("payments/api");
    api.claims.proved = Proved::ALL.iter().copied().collect();
    api.claims.migratable = Some(true);
    api.claims.config = Some(HexBytes(vec![1]));
    api.claims.launch.signer = Some(HexBytes(vec![2]));
    api.claims.launch.product_id = Some("7".to_owned());
    api.claims.tcb.advisories = vec!["INTEL-SA-00001".to_owned()];
    api.claims.boot = Some(BootClaims {
        secure_boot: Some(true),
        kernel_command_line: Some("quiet".to_owned()),
        images: vec![HexBytes(vec![3])],
    });
    for tee in Tee::ALL {
        api.claims.tee = *tee;
        let decision = policies.authorize(&request(&api, Operation::Encrypt, "key/payments/pii"));
        assert!(decision.allowed, "{tee}: {decision:?}");
    }
}

#[test]
fn a_policy_can_ask_how_a_machine_was_booted() {
    let text = r#"permit (principal, action == Burgrave::Action::"encrypt", resource)
        when { principal.att has secureBoot && principal.att.secureBoot
            && principal.att has kernelCommandLine && principal.att.kernelCommandLine like "*lockdown=integrity*" };"#;
    let policies = snapshot(&[text]);
    let mut api = instance("payments/api");
    for (boot, allowed) in [
        (None, false),
        (Some((Some(true), Some("quiet lockdown=integrity"))), true),
        (Some((Some(false), Some("quiet lockdown=integrity"))), false),
        (Some((Some(true), Some("quiet"))), false),
        (Some((None, Some("quiet lockdown=integrity"))), false),
    ] {
        api.claims.boot = boot.map(|(secure_boot, line)| BootClaims {
            secure_boot,
            kernel_command_line: line.map(str::to_owned),
            images: Vec::new(),
        });
        let decision = policies.authorize(&request(&api, Operation::Encrypt, "key/payments/pii"));
        assert_eq!(decision.allowed, allowed, "{boot:?}");
    }
}

#[test]
fn a_decision_is_recorded_and_read_back_whole() {
    let mut api = instance("payments/api");
    let policies = snapshot(&[&allow("payments/api decrypt key/payments/pii max-age=10s"), FAILING_FORBID]);
    for debug in [Some(true), None] {
        api.claims.debug = debug;
        let decision = policies.authorize(&request(&api, Operation::Decrypt, "key/payments/pii"));
        let text = serde_json::to_string(&decision).unwrap();
        assert_eq!(serde_json::from_str::<burgrave_policy::Decision>(&text).unwrap(), decision);
    }
}

#[test]
fn a_change_acts_on_the_next_snapshot_and_leaves_the_last_one_as_it_was() {
    let api = instance("payments/api");
    let ask = request(&api, Operation::Decrypt, "key/payments/pii");
    let before = snapshot(&[EVERYTHING]);
    let id = PolicyId::from_bytes([1; 16]);
    let narrowed =
        before.with_change([record(1, Tier::Domain, &allow("payments/x decrypt key/payments/pii"))], []).unwrap();
    let removed = before.with_change([], [id]).unwrap();
    assert!(before.authorize(&ask).allowed);
    assert!(!narrowed.authorize(&ask).allowed && narrowed.len() == 1);
    assert!(!removed.authorize(&ask).allowed && removed.is_empty());
    assert!(removed.with_change([record(1, Tier::Domain, EVERYTHING)], []).unwrap().authorize(&ask).allowed);
}

#[test]
fn a_snapshot_with_an_invalid_policy_is_not_built() {
    let bad = record(2, Tier::Domain, "forbid (principal, action, resource) when { principal.att.x };");
    let error = PolicySnapshot::build([record(1, Tier::Domain, EVERYTHING), bad]).unwrap_err();
    assert!(error.to_string().contains("`p2`"), "{error}");
    let outside = record(1, Tier::Namespace("payments".parse().unwrap()), EVERYTHING);
    assert!(PolicySnapshot::build([outside]).is_err());
}
