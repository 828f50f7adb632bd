//! Attestation results, as a third party sees them.

use std::time::Duration;

use burgrave_audit::{Kind, Outcome};
use burgrave_identity::jws;
use burgrave_types::api::KeySet;

use crate::agent::Agent;
use crate::node::Node;

const API: &str = "payments/api";

fn holds(result: &str, keys: &KeySet) -> bool {
    jws::verify_with_keys(result, jws::TYP_ATTESTATION_RESULT, keys).is_ok()
}

#[tokio::test]
async fn a_result_verifies_with_the_published_keys_for_as_long_as_it_lives() {
    let node = Node::dev().await;
    node.register(API).await;
    let first = Agent::new(API).attest(&node).await.unwrap();
    assert!(holds(&first.attestation_result, &node.control.key_set().unwrap()));

    // Half an hour later another key signs.
    node.control.tick().await;
    node.advance(Duration::from_secs(31 * 60));
    node.control.tick().await;
    let second = Agent::new(API).attest(&node).await.unwrap();
    let keys = node.control.key_set().unwrap();
    assert_eq!(keys.keys.len(), 2);
    assert!(holds(&first.attestation_result, &keys) && holds(&second.attestation_result, &keys));

    // A restart makes another key; what the old ones signed goes on to verify.
    node.control.tick().await;
    let node = node.restart().await;
    let keys = node.control.key_set().unwrap();
    assert!(holds(&first.attestation_result, &keys) && holds(&second.attestation_result, &keys));

    // When all results have ended, so have their keys.
    node.advance(Duration::from_secs(48 * 3600));
    node.control.tick().await;
    assert!(!holds(&second.attestation_result, &node.control.key_set().unwrap()));
}

#[tokio::test]
async fn a_result_verifies_though_the_process_ended_right_after_it_was_given() {
    let node = Node::dev().await;
    node.register(API).await;
    let attested = Agent::new(API).attest(&node).await.unwrap();
    // No tick came in between.
    let node = node.restart().await;
    assert!(holds(&attested.attestation_result, &node.control.key_set().unwrap()));
}

#[tokio::test]
async fn no_result_is_given_before_its_key_is_on_record() {
    let node = Node::dev().await;
    node.register(API).await;
    let request = Agent::new(API).request(&node);
    let control = std::sync::Arc::clone(&node.control);
    node.store.hold();
    let attesting = tokio::spawn(async move { control.attest(request).await });
    node.store.hangs().await;
    let accepted = || {
        let events = node.audit.memory.events();
        let of = |kind: &Kind| matches!(kind, Kind::Attestation(one) if one.outcome == Outcome::Accepted);
        events.iter().filter(|(event, _)| of(&event.kind)).count()
    };
    assert_eq!((accepted(), attesting.is_finished()), (0, false));
    node.store.let_go();
    attesting.await.unwrap().unwrap();
    assert_eq!(accepted(), 1);
}

#[tokio::test]
async fn of_several_first_results_at_once_the_key_is_put_on_record_once() {
    let node = Node::dev().await;
    node.register(API).await;
    let (mut one, mut two) = (Agent::new(API), Agent::new(API));
    let (one, two) = tokio::join!(one.attest(&node), two.attest(&node));
    let before = node.control.key_set().unwrap().keys.len();
    let node = node.restart().await;
    let keys = node.control.key_set().unwrap();
    assert_eq!(keys.keys.len(), before + 1, "those of before, and the new process's own");
    assert!([one, two].iter().all(|attested| holds(&attested.as_ref().unwrap().attestation_result, &keys)));
}

#[tokio::test]
async fn a_result_verifies_by_the_genesis_hash_until_its_end() {
    let node = Node::dev().await;
    node.register(API).await;
    let attested = Agent::new(API).attest(&node).await.unwrap();
    let token = &attested.attestation_result;
    let trust = jws::trust_of(token, jws::TYP_ATTESTATION_RESULT, &node.trust.genesis_hash()).unwrap();
    let last = burgrave_types::Timestamp::from_unix_millis(attested.until.unix_millis() - 1);
    jws::verify(token, jws::TYP_ATTESTATION_RESULT, &trust, last).unwrap();
}

#[tokio::test]
async fn a_node_that_signed_no_result_writes_no_key_down() {
    let node = Node::dev().await;
    let before = node.control.ready().map(|()| node.control.key_set().unwrap().keys.len());
    node.advance(Duration::from_secs(31 * 60));
    node.control.tick().await;
    assert_eq!(before, Ok(1));
    assert_eq!(node.control.key_set().unwrap().keys.len(), 1);
}
