//! Fresh, stale, and back: deadlines, reconnects, restarts.

use std::time::Duration;

use burgrave_control::{EnclaveChange, InstanceFilter, Notice, Page};
use burgrave_types::{Clock, Operation, ProblemCode, Standing};

use crate::agent::Agent;
use crate::node::{INTERVAL, Node, root};

const STORAGE: &str = "keyspace/payments/storage";

async fn node() -> Node {
    let node = Node::dev().await;
    node.register("payments/api").await;
    node.make_key(STORAGE).await;
    node.allow(&format!("payments/api encrypt,decrypt {STORAGE}")).await;
    node
}

#[tokio::test]
async fn a_stale_instance_gets_nothing_until_it_attests_again() {
    let node = node().await;
    let mut agent = Agent::attested(&node, "payments/api").await;
    let sealed = agent.encrypt(&node, STORAGE, b"secret").await.unwrap();
    node.advance(Duration::from_secs(INTERVAL * 3 / 2));
    // The deadline holds by itself, before anything wrote it down.
    for recorded in [false, true] {
        if recorded {
            node.control.tick().await;
        }
        let refused = agent.encrypt(&node, STORAGE, b"secret").await.unwrap_err();
        assert_eq!(refused.code, ProblemCode::Stale);
        let why = node.control.why(&root(), refused.decision_id.unwrap()).await.unwrap();
        assert!(!why.decision.allowed && why.explanation[0].contains("had to attest again"), "{:?}", why.explanation);
        assert_eq!(agent.decrypt(&node, &sealed).await.unwrap_err().code, ProblemCode::Stale);
        assert_eq!(agent.derive(&node, STORAGE).await.unwrap_err().code, ProblemCode::Stale);
        let asked = node.control.evaluate(agent.id(), Operation::Encrypt, &STORAGE.parse().unwrap());
        assert_eq!(asked.unwrap_err().code, ProblemCode::Stale);
        let channel = node.control.open_channel(agent.id(), &"payments/api".parse().unwrap()).await;
        assert_eq!(channel.unwrap_err().code, ProblemCode::Stale);
    }
    let shown = node.control.instance(&root(), agent.id()).await.unwrap();
    assert!(matches!(shown.standing, Standing::Stale { .. }), "{:?}", shown.standing);
    let before = agent.id();
    agent.attest(&node).await.unwrap();
    assert_eq!(agent.id(), before);
    assert_eq!(agent.decrypt(&node, &sealed).await.unwrap(), b"secret");
}

#[tokio::test]
async fn a_clock_that_is_set_back_makes_nothing_fresh_again() {
    let node = node().await;
    let mut agent = Agent::attested(&node, "payments/api").await;
    node.advance(Duration::from_secs(INTERVAL * 3 / 2));
    assert_eq!(agent.encrypt(&node, STORAGE, b"x").await.unwrap_err().code, ProblemCode::Stale);
    node.set_back(Duration::from_secs(INTERVAL));
    assert_eq!(agent.encrypt(&node, STORAGE, b"x").await.unwrap_err().code, ProblemCode::Stale);
    let attested = agent.attest(&node).await.unwrap();
    assert_eq!(attested.until, node.clock.now() + Duration::from_secs(INTERVAL + INTERVAL * 3 / 2));
    agent.encrypt(&node, STORAGE, b"x").await.unwrap();
}

#[tokio::test]
async fn an_instance_is_asked_to_attest_when_its_interval_is_over() {
    let node = node().await;
    let mut agent = Agent::attested(&node, "payments/api").await;
    node.control.tick().await;
    assert!(node.notices(agent.id()).is_empty());
    node.advance(Duration::from_secs(INTERVAL));
    node.control.tick().await;
    node.control.tick().await;
    let notices = node.notices(agent.id());
    let [Notice::Reattest { challenge }] = notices.as_slice() else { panic!("one challenge, not {notices:?}") };
    let request = agent.answer(node.trust.genesis_hash(), &challenge.nonce);
    node.control.attest(request).await.unwrap();
    node.advance(Duration::from_secs(INTERVAL));
    assert!(agent.encrypt(&node, STORAGE, b"still fresh").await.is_ok());
}

#[tokio::test]
async fn a_reconnect_keeps_standing_and_deadline() {
    let node = node().await;
    let mut agent = Agent::new("payments/api");
    let attested = agent.attest(&node).await.unwrap();
    node.advance(Duration::from_secs(20));
    let resumed = node.control.resume(&agent.identity(&node)).unwrap();
    assert_eq!((resumed.instance, resumed.until), (attested.instance, attested.until));
    assert_eq!(resumed.enclave.to_string(), "payments/api");
    let identity = agent.identity(&node);
    node.advance(Duration::from_secs(INTERVAL * 2));
    assert_eq!(node.control.resume(&identity).unwrap_err().code, ProblemCode::Stale);
}

#[tokio::test]
async fn a_stranger_with_a_certificate_of_the_domain_resumes_nothing() {
    let node = node().await;
    let agent = Agent::attested(&node, "payments/api").await;
    let mut identity = agent.identity(&node);
    identity.spki_hash = burgrave_types::SpkiHash::from_bytes([1; 32]);
    assert_eq!(node.control.resume(&identity).unwrap_err().code, ProblemCode::NotAttested);
    let mut identity = agent.identity(&node);
    identity.spiffe_id = "spiffe://example.org/payments/web".parse().unwrap();
    assert_eq!(node.control.resume(&identity).unwrap_err().code, ProblemCode::NotAttested);
}

/// All that is stored, as administrators see it.
async fn everything(node: &Node) -> impl PartialEq + std::fmt::Debug + use<> {
    let (admin, page, control) = (root(), Page::default(), &node.control);
    let mut instances = control.instances(&admin, &InstanceFilter::default(), &page).await.unwrap().items;
    for instance in &mut instances {
        // Links and renewals are not stored.
        instance.linked = false;
        (instance.standing, instance.attested_at) =
            (Standing::Stale { since: instance.first_attested_at }, instance.first_attested_at);
        (instance.age_secs, instance.result_digest) = (0, None);
    }
    (
        control.enclaves(&admin, &page).await.unwrap(),
        instances,
        control.policies(&admin, &page).await.unwrap(),
        control.keys(&admin, &page).await.unwrap(),
        control.key_versions(&admin, &STORAGE.parse().unwrap()).await.unwrap(),
    )
}

#[tokio::test]
async fn a_restart_keeps_all_state_and_renewals_are_proven_by_the_svid() {
    let node = node().await;
    let mut agent = Agent::attested(&node, "payments/api").await;
    let sealed = agent.encrypt(&node, STORAGE, b"secret").await.unwrap();
    node.advance(Duration::from_secs(INTERVAL));
    let renewed = agent.attest(&node).await.unwrap();
    node.advance(Duration::from_secs(INTERVAL));
    let before = everything(&node).await;

    let node = node.restart().await;
    assert_eq!(everything(&node).await, before);
    // The record's own deadline is over, the renewal's is not; nobody wrote the instance off meanwhile.
    node.control.tick().await;
    let resumed = node.control.resume(&agent.identity(&node)).unwrap();
    assert!(resumed.until <= renewed.until && renewed.until.since(resumed.until) < Duration::from_secs(1));
    assert_eq!(agent.decrypt(&node, &sealed).await.unwrap(), b"secret");
    node.advance(Duration::from_secs(INTERVAL * 3));
    node.control.tick().await;
    let shown = node.control.instance(&root(), agent.id()).await.unwrap();
    assert!(matches!(shown.standing, Standing::Stale { .. }));
}

#[tokio::test]
async fn an_instance_that_is_gone_for_long_is_forgotten() {
    let node = node().await;
    let mut agent = Agent::new("payments/api");
    agent.attest(&node).await.unwrap();
    node.advance(Duration::from_secs(INTERVAL * 2));
    node.control.tick().await;
    assert_eq!(node.control.status(&root()).await.unwrap().instances.stale, 1);
    let mut events = node.control.events(&root()).await.unwrap();
    node.advance(Duration::from_secs(8 * 24 * 3600));
    node.control.tick().await;
    assert_eq!(node.control.status(&root()).await.unwrap().instances.stale, 0);
    while let Ok(event) = events.try_recv() {
        assert_ne!(event.kind, "instance.revoked", "nobody ended it: {}", event.detail);
    }
    assert_eq!(node.control.instance(&root(), agent.id()).await.unwrap_err().code, ProblemCode::NotFound);
}

#[tokio::test]
async fn an_instance_that_was_ended_is_forgotten_and_one_that_holds_a_key_in_use_is_not() {
    let node = node().await;
    node.allow(&format!("payments/api derive {STORAGE}")).await;
    let (ended, holds) =
        (Agent::attested_on(&node, "payments/api", 8).await, Agent::attested(&node, "payments/api").await);
    ended.derive(&node, STORAGE).await.unwrap();
    node.control.revoke_instance(&root(), ended.id(), "stolen").await.unwrap();
    holds.derive(&node, STORAGE).await.unwrap();
    node.links.linked.lock().unwrap().clear();
    node.advance(Duration::from_secs(INTERVAL * 2));
    node.control.tick().await;
    assert!(node.control.instance(&root(), ended.id()).await.is_ok());
    node.advance(Duration::from_secs(8 * 24 * 3600));
    node.control.tick().await;
    assert_eq!(node.control.instance(&root(), ended.id()).await.unwrap_err().code, ProblemCode::NotFound);
    // A revocation finds whoever has the key that is in use.
    let revoked = node.control.revoke_enclave(&root(), &holds.enclave, "over").await.unwrap();
    assert_eq!(revoked.rotated.len(), 1);
    node.advance(Duration::from_secs(8 * 24 * 3600));
    node.control.tick().await;
    assert_eq!(node.control.instance(&root(), holds.id()).await.unwrap_err().code, ProblemCode::NotFound);
}

#[tokio::test]
async fn a_shorter_interval_counts_from_the_next_attestation() {
    let node = node().await;
    let mut agent = Agent::attested(&node, "payments/api").await;
    let enclave = node.control.enclave(&root(), &agent.enclave).await.unwrap();
    let change = EnclaveChange { reattest_every_secs: Some(10), ..EnclaveChange::default() };
    node.control.update_enclave(&root(), &agent.enclave, Some(enclave.revision), change).await.unwrap();
    node.advance(Duration::from_secs(20));
    agent.encrypt(&node, STORAGE, b"under the old deadline").await.unwrap();
    agent.attest(&node).await.unwrap();
    node.advance(Duration::from_secs(16));
    assert_eq!(agent.encrypt(&node, STORAGE, b"x").await.unwrap_err().code, ProblemCode::Stale);
}
