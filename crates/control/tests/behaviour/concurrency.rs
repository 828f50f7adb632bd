//! While everybody asks at once: what was returned holds for whatever is asked afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use burgrave_types::ProblemCode;

use crate::agent::Agent;
use crate::node::{Node, root};

const STORAGE: &str = "keyspace/payments/storage";
const PII: &str = "key/payments/pii";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_that_is_asked_after_a_revocation_returned_is_granted() {
    let node = Node::dev().await;
    node.register("payments/api").await;
    node.make_key(STORAGE).await;
    node.allow(&format!("payments/api encrypt {STORAGE}")).await;
    let agent = Agent::attested(&node, "payments/api").await;
    let (returned, granted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let askers: Vec<_> = (0..4)
        .map(|_| {
            let (control, returned, granted) = (Arc::clone(&node.control), Arc::clone(&returned), Arc::clone(&granted));
            let (id, resource) = (agent.id(), STORAGE.parse().unwrap());
            tokio::spawn(async move {
                loop {
                    let afterwards = returned.load(Ordering::SeqCst);
                    match control.encrypt(id, &resource, b"", b"x").await {
                        Ok(_) if afterwards => panic!("granted after the revocation had returned"),
                        Ok(_) => granted.store(true, Ordering::SeqCst),
                        Err(problem) => {
                            assert_eq!(problem.code, ProblemCode::Revoked);
                            if afterwards {
                                return;
                            }
                        }
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    while !granted.load(Ordering::SeqCst) {
        tokio::task::yield_now().await;
    }
    node.control.revoke_instance(&root(), agent.id(), "stolen").await.unwrap();
    returned.store(true, Ordering::SeqCst);
    for asker in askers {
        asker.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_that_left_just_before_a_revocation_is_rotated_by_it() {
    for _ in 0..12 {
        let node = Node::dev().await;
        node.register("payments/api").await;
        node.make_key(STORAGE).await;
        node.allow(&format!("payments/api derive {STORAGE}")).await;
        let agent = Agent::attested(&node, "payments/api").await;
        let (control, id, resource) = (Arc::clone(&node.control), agent.id(), STORAGE.parse().unwrap());
        let released = tokio::spawn(async move { control.derive(id, &resource, [1; 16]).await });
        tokio::task::yield_now().await;
        let revoked = node.control.revoke_instance(&root(), agent.id(), "stolen").await.unwrap();
        let held = node.control.instance(&root(), agent.id()).await.unwrap();
        match released.await.unwrap() {
            Ok(key) => {
                let rotated = revoked.rotated.iter().any(|rotation| rotation.version > key.version);
                assert!(rotated, "version {} left and stays in use; {:?}", key.version, held.standing);
            }
            Err(problem) => assert_eq!(problem.code, ProblemCode::Revoked, "{problem}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_is_let_in_past_a_forbid_that_returned() {
    let node = Node::dev().await;
    node.register("payments/api").await;
    let (control, runtime) = (Arc::clone(&node.control), tokio::runtime::Handle::current());
    node.audit.before_accepting(move || {
        let rule = burgrave_control::NewRule {
            effect: burgrave_control::RuleEffect::Forbid,
            rule: "payments/api attest payments/api".to_owned(),
            description: String::new(),
        };
        tokio::task::block_in_place(|| runtime.block_on(control.create_rule(&root(), rule))).unwrap();
    });
    let (control, mut agent) = (Arc::clone(&node.control), Agent::new("payments/api"));
    let request = agent.request(&node);
    let refused = tokio::spawn(async move { control.attest(request).await }).await.unwrap().unwrap_err();
    assert_eq!(refused.code, ProblemCode::PolicyDenied);
    assert_eq!(node.control.status(&root()).await.unwrap().instances, Default::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_channel_opens_past_a_narrowing_that_returned() {
    let node = Node::dev().await;
    for enclave in ["payments/api", "payments/ledger"] {
        node.register(enclave).await;
    }
    node.allow("payments/api send payments/ledger").await;
    let receive = node.allow("payments/ledger receive payments/ledger").await;
    let (api, ledger) = (Agent::attested(&node, "payments/api").await, Agent::attested(&node, "payments/ledger").await);
    let openers: Vec<_> = (0..4)
        .map(|_| {
            let (control, id, peer) = (Arc::clone(&node.control), api.id(), ledger.enclave.clone());
            tokio::spawn(async move {
                let mut opened = Vec::new();
                loop {
                    match control.open_channel(id, &peer).await {
                        Ok(channel) => opened.push(channel.channel),
                        Err(problem) if problem.code == ProblemCode::Limit => tokio::task::yield_now().await,
                        Err(_) => return opened,
                    }
                }
            })
        })
        .collect();
    while node.control.status(&root()).await.unwrap().channels < 8 {
        tokio::task::yield_now().await;
    }
    node.control.delete_policy(&root(), receive.id, Some(receive.revision)).await.unwrap();
    let cut: Vec<_> = node.cuts().into_iter().map(|(id, _)| id).collect();
    for opener in openers {
        for opened in opener.await.unwrap() {
            assert!(cut.contains(&opened), "`{opened}` was opened and not cut");
        }
    }
    assert!(node.control.channels(&root(), &Default::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn a_narrowing_returns_when_what_was_released_is_rotated_whoever_rotates_it() {
    let node = Node::dev().await;
    node.register("payments/api").await;
    node.make_key(PII).await;
    let allowed = node.allow(&format!("payments/api derive {PII}")).await;
    let agent = Agent::attested(&node, "payments/api").await;
    agent.derive(&node, PII).await.unwrap();
    let narrowed = async {
        node.control.delete_policy(&root(), allowed.id, Some(allowed.revision)).await.unwrap();
        node.control.key(&root(), &PII.parse().unwrap()).await.unwrap().versions.len()
    };
    // Ticks see the change as soon as it is applied, before the call that made it goes on.
    let ticking = async {
        loop {
            node.control.tick().await;
            tokio::task::yield_now().await;
        }
    };
    let versions = tokio::select! {
        biased;
        () = ticking => unreachable!(),
        versions = narrowed => versions,
    };
    assert_eq!(versions, 2);
}
