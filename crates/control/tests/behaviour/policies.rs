//! Policies while everything runs: the next decision is made under the new one, and one can ask why.

use burgrave_control::{DecisionFilter, DecisionSubject, NewPolicy, Notice, RuleEffect, Subject};
use burgrave_types::{Operation, ProblemCode};

use crate::agent::Agent;
use crate::node::{Node, root};

const PII: &str = "key/payments/pii";

async fn node() -> Node {
    let node = Node::dev().await;
    node.register("payments/api").await;
    node.make_key(PII).await;
    node
}

#[tokio::test]
async fn a_change_acts_on_the_next_decision_and_is_pushed_with_what_was_lost() {
    let node = node().await;
    let api = Agent::attested(&node, "payments/api").await;
    assert_eq!(api.encrypt(&node, PII, b"x").await.unwrap_err().code, ProblemCode::PolicyDenied);
    let policy = node.allow(&format!("payments/api encrypt {PII}")).await;
    api.encrypt(&node, PII, b"x").await.unwrap();
    let revision = node.control.delete_policy(&root(), policy.id, Some(policy.revision)).await.unwrap();
    let lost = vec![(Operation::Encrypt, PII.parse().unwrap())];
    assert_eq!(node.notices(api.id()).last(), Some(&Notice::Revision { revision, lost }));
    assert_eq!(api.encrypt(&node, PII, b"x").await.unwrap_err().code, ProblemCode::PolicyDenied);
}

#[tokio::test]
async fn whoever_was_given_a_key_is_told_that_it_is_lost_even_after_a_restart() {
    let node = node().await;
    let policy = node.allow(&format!("payments/api derive {PII}")).await;
    let api = Agent::attested(&node, "payments/api").await;
    api.derive(&node, PII).await.unwrap();
    let node = node.restart().await;
    node.link(api.id());
    let revision = node.control.delete_policy(&root(), policy.id, Some(policy.revision)).await.unwrap();
    let lost = vec![(Operation::Derive, PII.parse().unwrap())];
    assert!(node.notices(api.id()).contains(&Notice::Revision { revision, lost: lost.clone() }));
    let told = node.notices(api.id()).len();
    node.allow("payments/web derive key/payments/pii").await;
    assert!(matches!(&node.notices(api.id())[told..], [Notice::Revision { lost, .. }] if lost.is_empty()));
    // Who was not linked hears of it on coming back.
    let node = node.restart().await;
    node.link(api.id());
    node.control.linked(api.id()).unwrap();
    let revision = node.control.revision();
    assert_eq!(node.notices(api.id()), [Notice::Revision { revision, lost }]);
}

#[tokio::test]
async fn whoever_used_a_key_is_told_that_it_was_deleted() {
    let node = node().await;
    node.allow(&format!("payments/api encrypt {PII}")).await;
    let api = Agent::attested(&node, "payments/api").await;
    api.encrypt(&node, PII, b"x").await.unwrap();
    let key = node.control.key(&root(), &PII.parse().unwrap()).await.unwrap();
    let revision = node.control.delete_key(&root(), &key.resource, Some(key.revision)).await.unwrap();
    let lost = vec![(Operation::Encrypt, key.resource)];
    assert_eq!(node.notices(api.id()).pop(), Some(Notice::Revision { revision, lost }));
}

#[tokio::test]
async fn an_answer_says_until_when_and_by_what() {
    let node = node().await;
    let policy = node.allow(&format!("payments/api encrypt {PII}")).await;
    let api = Agent::attested(&node, "payments/api").await;
    let verdict = node.control.evaluate(api.id(), Operation::Encrypt, &PII.parse().unwrap()).unwrap();
    assert!(verdict.allowed);
    assert_eq!(verdict.determining, [policy.id.to_string()]);
    let shown = node.control.instance(&root(), api.id()).await.unwrap();
    assert!(verdict.valid_until.since(shown.attested_at).as_secs() <= 3);
    let denied = node.control.evaluate(api.id(), Operation::Decrypt, &PII.parse().unwrap()).unwrap();
    assert!(!denied.allowed && denied.determining.is_empty());
}

#[tokio::test]
async fn nothing_is_decided_that_cannot_be_recorded() {
    let node = node().await;
    node.allow(&format!("payments/api encrypt {PII}")).await;
    let api = Agent::attested(&node, "payments/api").await;
    node.audit.fail_after(0);
    assert_eq!(api.encrypt(&node, PII, b"x").await.unwrap_err().code, ProblemCode::Unavailable);
    let listed = node.control.enclaves(&root(), &Default::default()).await.unwrap_err();
    assert_eq!(listed.code, ProblemCode::Unavailable);
}

#[tokio::test]
async fn why_shows_claims_policies_and_near_misses_even_after_a_restart() {
    let node = node().await;
    let policy = node.allow(&format!("payments/api encrypt {PII}")).await;
    let api = Agent::attested(&node, "payments/api").await;
    api.encrypt(&node, PII, b"x").await.unwrap();
    let denied = api.decrypt(&node, &api.encrypt(&node, PII, b"x").await.unwrap()).await.unwrap_err();
    let id = denied.decision_id.unwrap();
    let before = node.control.why(&root(), id).await.unwrap();
    assert!(!before.decision.allowed);
    assert_eq!(before.claims.as_ref().unwrap().tee, burgrave_types::Tee::Simulated);
    assert_eq!(before.near_misses[0].0, policy.id.to_string());
    assert!(before.explanation[0].contains("no policy permits it"), "{:?}", before.explanation);
    let filter =
        DecisionFilter { enclave: Some(api.enclave.clone()), allowed: Some(true), ..DecisionFilter::default() };
    let allowed = node.control.decisions(&root(), &filter).await.unwrap();
    let mut of_api = allowed.iter().filter(|decision| decision.operation == Operation::Encrypt);
    let why = node.control.why(&root(), of_api.next_back().unwrap().id).await.unwrap();
    assert!(why.policies[&policy.id.to_string()].contains("permit"));
    let node = node.restart().await;
    let after = node.control.why(&root(), id).await.unwrap();
    assert_eq!((after.decision, after.explanation), (before.decision, before.explanation));
    let nobody = node.control.why(&root(), burgrave_types::DecisionId::from_bytes([0; 16])).await.unwrap_err();
    assert_eq!(nobody.code, ProblemCode::NotFound);
}

#[tokio::test]
async fn the_latest_decision_of_an_enclave_is_found_behind_any_number_of_administrators_own() {
    let node = node().await;
    let api = Agent::attested(&node, "payments/api").await;
    let denied = api.encrypt(&node, PII, b"x").await.unwrap_err().decision_id.unwrap();
    for _ in 0..5 {
        node.control.enclaves(&root(), &Default::default()).await.unwrap();
    }
    let ask = async |subject| {
        let filter = DecisionFilter { subject: Some(subject), limit: 1, ..DecisionFilter::default() };
        node.control.decisions(&root(), &filter).await.unwrap().remove(0)
    };
    assert_eq!(ask(DecisionSubject::Enclave).await.id, denied);
    assert_eq!(ask(DecisionSubject::Administrator).await.operation, Operation::Administer);
}

#[tokio::test]
async fn can_tells_how_a_decision_would_fall_and_grants_nothing() {
    let node = node().await;
    let subject = Subject::Enclave("payments/api".parse().unwrap());
    let resource = PII.parse().unwrap();
    let ask = async || node.control.can(&root(), &subject, Operation::Encrypt, &resource, None).await.unwrap();
    let before = ask().await;
    assert_eq!((before.cases[0].who.as_str(), before.cases[0].allowed), ("release v1", false));
    node.allow(&format!("payments/api encrypt {PII}")).await;
    assert!(ask().await.cases[0].allowed);
    let api = Agent::attested(&node, "payments/api").await;
    let after = ask().await;
    assert_eq!((after.cases[0].who.clone(), after.cases[0].allowed), (api.id().to_string(), true));
}

#[tokio::test]
async fn a_policy_that_does_not_fit_is_refused_with_line_and_column() {
    let node = node().await;
    let bad = |text: &str| NewPolicy {
        namespace: Some("payments".parse().unwrap()),
        name: String::new(),
        text: text.to_owned(),
        description: String::new(),
    };
    for text in [
        "permit(principal, action,\n  resoource);",
        "permit(principal, action == Burgrave::Action::\"fly\", resource);",
    ] {
        let problem = node.control.create_policy(&root(), bad(text)).await.unwrap_err();
        assert_eq!(problem.code, ProblemCode::PolicyInvalid);
        assert!(problem.errors[0].at.starts_with("line "), "{problem:?}");
        assert_eq!(
            node.control.validate_policy(&root(), &bad(text)).await.unwrap_err().code,
            ProblemCode::PolicyInvalid
        );
    }
    let across =
        r#"permit(principal in Burgrave::Namespace::"other", action, resource in Burgrave::Namespace::"payments");"#;
    assert_eq!(node.control.create_policy(&root(), bad(across)).await.unwrap_err().code, ProblemCode::PolicyInvalid);
}

#[tokio::test]
async fn the_same_rule_twice_is_one_policy_and_a_change_says_what_it_is_based_on() {
    let node = node().await;
    let rule = format!("payments/api encrypt {PII}");
    let (one, two) = (node.allow(&rule).await, node.allow(&rule).await);
    assert_eq!(one, two);
    assert_eq!(one.rule.as_deref(), Some(format!("allow {rule}").as_str()));
    let changed = NewPolicy {
        namespace: one.namespace.clone(),
        name: "reads".to_owned(),
        text: one.text.replace("encrypt", "decrypt").replace("@rule", "@was"),
        description: String::new(),
    };
    let put = async |at| node.control.put_policy(&root(), one.id, at, changed.clone()).await;
    assert_eq!(put(None).await.unwrap_err().code, ProblemCode::PreconditionRequired);
    let newer = put(Some(one.revision)).await.unwrap();
    assert_eq!(put(Some(one.revision)).await.unwrap_err().code, ProblemCode::Conflict);
    assert_eq!(node.control.policy(&root(), one.id).await.unwrap(), newer);
}

#[tokio::test]
async fn the_standing_policies_are_shown_and_cannot_be_taken_away() {
    let node = node().await;
    let all = node.control.policies(&root(), &Default::default()).await.unwrap().items;
    let guard = all.iter().find(|policy| policy.name == "guard/no-debug").unwrap();
    assert!(guard.guard);
    assert_eq!(guard.changed, node.trust.genesis().body.created, "it stands as long as the domain");
    assert_eq!(node.control.policy(&root(), guard.id).await.unwrap(), *guard);
    let refused = node.control.delete_policy(&root(), guard.id, Some(guard.revision)).await.unwrap_err();
    assert_eq!(refused.code, ProblemCode::Conflict);
}

#[tokio::test]
async fn narrowing_what_allowed_a_release_rotates_what_was_released() {
    let node = node().await;
    let policy = node.allow(&format!("payments/api derive {PII}")).await;
    node.allow(&format!("payments/api encrypt {PII}")).await;
    let api = Agent::attested(&node, "payments/api").await;
    assert_eq!(api.derive(&node, PII).await.unwrap().0, 1);
    node.rule(RuleEffect::Forbid, "payments/web derive key/payments/pii").await;
    assert_eq!(node.control.key(&root(), &PII.parse().unwrap()).await.unwrap().versions.len(), 1);
    node.control.delete_policy(&root(), policy.id, Some(policy.revision)).await.unwrap();
    let versions = node.control.key(&root(), &PII.parse().unwrap()).await.unwrap().versions;
    let states: Vec<_> = versions.iter().map(|version| (version.version, version.state.as_str())).collect();
    assert_eq!(states, [(1, "compromised"), (2, "active")]);
    assert_eq!(versions[0].released_to, [api.id()]);
    let told = node.notices(api.id()).iter().any(|notice| matches!(notice, Notice::KeyVersion { version: 2, .. }));
    assert!(told);
}

#[tokio::test]
async fn nobody_locks_the_door_behind_themselves() {
    let node = node().await;
    let policy = NewPolicy {
        namespace: None,
        name: String::new(),
        text: "forbid(principal, action, resource);".to_owned(),
        description: String::new(),
    };
    let refused = node.control.create_policy(&root(), policy).await.unwrap_err();
    assert_eq!(refused.code, ProblemCode::RequestInvalid);
    assert!(refused.fix.unwrap().contains("administer"));
    node.control.status(&root()).await.unwrap();
}

#[tokio::test]
async fn a_change_that_could_not_be_recorded_is_recorded_later() {
    let node = node().await;
    let recorded = || {
        let events = node.audit.memory.events();
        events.iter().filter(|(event, _)| matches!(event.kind, burgrave_audit::Kind::Change(_))).count()
    };
    let before = recorded();
    node.audit.fail_after(1);
    let problem = node
        .control
        .create_key(&root(), burgrave_control::NewKey { resource: "key/payments/late".parse().unwrap() })
        .await
        .unwrap_err();
    assert_eq!(problem.code, ProblemCode::Unavailable);
    assert_eq!(recorded(), before);
    node.audit.repair();
    node.control.tick().await;
    assert_eq!(recorded(), before + 1);
    node.control.key(&root(), &"key/payments/late".parse().unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_rule_for_a_release_is_for_that_release() {
    let node = node().await;
    let name = "payments/api".parse().unwrap();
    let enclave = node.control.enclave(&root(), &name).await.unwrap();
    let v2 = crate::node::release("v2", "two");
    node.control.add_release(&root(), &name, Some(enclave.revision), v2).await.unwrap();
    node.allow(&format!("payments/api@v2 encrypt {PII}")).await;
    let old = Agent::attested(&node, "payments/api").await;
    let mut new = Agent::with("payments/api", burgrave_attester::SimulatedAttester::of_code("two"));
    new.attest(&node).await.unwrap();
    assert_eq!(old.encrypt(&node, PII, b"x").await.unwrap_err().code, ProblemCode::PolicyDenied);
    new.encrypt(&node, PII, b"x").await.unwrap();
}
