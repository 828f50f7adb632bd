//! Who may talk to whom, for as long as they may.

use std::time::Duration;

use burgrave_channel::{Role, SignedGrant, open_channel_secret};
use burgrave_control::{Notice, OpenedChannel, PolicyView};
use burgrave_types::{Clock, Operation, ProblemCode};

use crate::agent::Agent;
use crate::node::{INTERVAL, Node, root};

struct Pair {
    node: Node,
    api: Agent,
    ledger: Agent,
    send: PolicyView,
    receive: PolicyView,
}

async fn pair() -> Pair {
    let node = Node::dev().await;
    for enclave in ["payments/api", "payments/ledger"] {
        node.register(enclave).await;
    }
    let send = node.allow("payments/api send payments/ledger peer=payments/ledger").await;
    let receive = node.allow("payments/ledger receive payments/ledger peer=payments/api").await;
    let (api, ledger) = (Agent::attested(&node, "payments/api").await, Agent::attested(&node, "payments/ledger").await);
    Pair { node, api, ledger, send, receive }
}

async fn open(pair: &Pair) -> OpenedChannel {
    pair.node.control.open_channel(pair.api.id(), &pair.ledger.enclave).await.unwrap()
}

#[tokio::test]
async fn both_sides_get_one_grant_and_the_same_secret_and_nobody_else_can_open_it() {
    let pair = pair().await;
    let opened = open(&pair).await;
    assert_eq!(opened.acceptor, pair.ledger.id());
    let grant = SignedGrant::verify(&opened.grant, &pair.node.trust, pair.node.clock.now()).unwrap();
    assert_eq!(grant.grant().channel, opened.channel);
    assert_eq!(grant.grant().initiator.spki_hash, pair.api.identity.spki_hash());
    let unseal = |agent: &Agent, role, sealed: &[u8]| {
        open_channel_secret(sealed, &grant, role, &agent.sealing, agent.instance_key.as_ref().unwrap())
    };
    let of_api = unseal(&pair.api, Role::Initiator, &opened.initiator_secret).unwrap();
    let of_ledger = unseal(&pair.ledger, Role::Acceptor, &opened.acceptor_secret).unwrap();
    assert_eq!(of_api, of_ledger);
    assert!(unseal(&pair.ledger, Role::Acceptor, &opened.initiator_secret).is_err());
    assert_ne!(open(&pair).await.channel, opened.channel);
}

#[tokio::test]
async fn a_channel_takes_two_yeses() {
    for missing in ["send", "receive"] {
        let pair = pair().await;
        let policy = if missing == "send" { &pair.send } else { &pair.receive };
        pair.node.control.delete_policy(&root(), policy.id, Some(policy.revision)).await.unwrap();
        let denied = pair.node.control.open_channel(pair.api.id(), &pair.ledger.enclave).await.unwrap_err();
        assert_eq!(denied.code, ProblemCode::PolicyDenied, "without {missing}");
        assert!(denied.detail.contains(missing), "{denied}");
        let back = pair.node.control.open_channel(pair.ledger.id(), &pair.api.enclave).await.unwrap_err();
        assert_eq!(back.code, ProblemCode::PolicyDenied);
    }
}

#[tokio::test]
async fn a_narrowing_policy_change_cuts_a_live_channel_before_it_returns() {
    let pair = pair().await;
    let (first, second) = (open(&pair).await, open(&pair).await);
    // What concerns neither side leaves them alone.
    pair.node.allow("payments/web send payments/ledger").await;
    assert!(pair.node.cuts().is_empty());
    pair.node.control.delete_policy(&root(), pair.receive.id, Some(pair.receive.revision)).await.unwrap();
    let cuts = pair.node.cuts();
    let mut ids: Vec<_> = cuts.iter().map(|(id, _)| *id).collect();
    ids.sort();
    let mut expected = vec![first.channel, second.channel];
    expected.sort();
    assert_eq!(ids, expected);
    let reason = &cuts[0].1;
    assert_eq!(reason.code, ProblemCode::ChannelCut);
    let why = pair.node.control.why(&root(), reason.decision_id.unwrap()).await.unwrap();
    assert!(!why.decision.allowed);
    assert!(pair.node.control.channels(&root(), &Default::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn a_side_that_may_use_a_channel_no_longer_is_told_so() {
    let pair = pair().await;
    open(&pair).await;
    let resource = burgrave_types::ResourceId::default_channel(&pair.ledger.enclave);
    let gone = pair.node.control.delete_policy(&root(), pair.send.id, Some(pair.send.revision)).await.unwrap();
    let told = |revision, lost| Some(Notice::Revision { revision, lost });
    assert_eq!(pair.node.notices(pair.api.id()).pop(), told(gone, vec![(Operation::Send, resource.clone())]));
    assert_eq!(pair.node.notices(pair.ledger.id()).pop(), told(gone, Vec::new()));
    let gone = pair.node.control.delete_policy(&root(), pair.receive.id, Some(pair.receive.revision)).await.unwrap();
    assert_eq!(pair.node.notices(pair.ledger.id()).pop(), told(gone, vec![(Operation::Receive, resource)]));
    assert_eq!(pair.node.notices(pair.api.id()).pop(), told(gone, Vec::new()), "nothing is told twice");
}

#[tokio::test]
async fn a_forbid_cuts_too_and_other_channels_go_on() {
    let pair = pair().await;
    let opened = open(&pair).await;
    pair.node.register("payments/audit").await;
    pair.node.allow("payments/audit send payments/ledger").await;
    pair.node.allow("payments/ledger receive payments/ledger peer=payments/audit").await;
    let audit = Agent::attested(&pair.node, "payments/audit").await;
    let other = pair.node.control.open_channel(audit.id(), &pair.ledger.enclave).await.unwrap();
    pair.node.rule(burgrave_control::RuleEffect::Forbid, "payments/api send payments/ledger").await;
    assert_eq!(pair.node.cuts().iter().map(|(id, _)| *id).collect::<Vec<_>>(), [opened.channel]);
    let left = pair.node.control.channels(&root(), &Default::default()).await.unwrap().items;
    assert_eq!(left.iter().map(|channel| channel.id).collect::<Vec<_>>(), [other.channel]);
}

#[tokio::test]
async fn a_channel_is_cut_when_a_side_becomes_stale() {
    let mut pair = pair().await;
    let opened = open(&pair).await;
    pair.node.advance(Duration::from_secs(INTERVAL));
    pair.api.attest(&pair.node).await.unwrap();
    pair.node.advance(Duration::from_secs(INTERVAL / 2));
    pair.node.control.tick().await;
    let cuts = pair.node.cuts();
    assert_eq!(cuts.len(), 1);
    assert_eq!(cuts[0].0, opened.channel);
    assert!(cuts[0].1.detail.contains(&pair.ledger.id().to_string()), "{}", cuts[0].1);
}

#[tokio::test]
async fn deadlines_hold_while_the_node_waits_for_its_store() {
    let mut pair = pair().await;
    let opened = open(&pair).await;
    Agent::attested(&pair.node, "payments/api").await;
    pair.node.advance(Duration::from_secs(INTERVAL));
    pair.api.attest(&pair.node).await.unwrap();
    pair.ledger.attest(&pair.node).await.unwrap();
    pair.node.advance(Duration::from_secs(INTERVAL / 2));
    pair.node.store.hold();
    // A third instance missed its deadline, and that cannot be written down.
    let control = pair.node.control.clone();
    let ticking = tokio::spawn(async move { control.tick().await });
    pair.node.store.hangs().await;
    assert!(pair.node.cuts().is_empty());
    pair.node.advance(Duration::from_secs(INTERVAL));
    while pair.node.cuts().is_empty() {
        assert!(!ticking.is_finished());
        tokio::task::yield_now().await;
    }
    assert_eq!(pair.node.cuts()[0].0, opened.channel);
    pair.node.store.let_go();
    ticking.await.unwrap();
}

#[tokio::test]
async fn a_channel_whose_end_nobody_reported_is_found_when_its_link_is_gone() {
    let pair = pair().await;
    let opened = open(&pair).await;
    pair.node.control.tick().await;
    assert!(pair.node.control.is_live(opened.channel));
    pair.node.links.linked.lock().unwrap().retain(|linked| *linked != pair.ledger.id());
    pair.node.control.tick().await;
    assert!(!pair.node.control.is_live(opened.channel));
    assert!(pair.node.cuts()[0].1.detail.contains(&pair.ledger.id().to_string()));
}

#[tokio::test]
async fn a_peer_that_is_not_there_and_one_that_does_not_exist_look_alike() {
    let pair = pair().await;
    pair.node.allow("payments/api send payments/nobody").await;
    pair.node.links.linked.lock().unwrap().retain(|linked| *linked != pair.ledger.id());
    let ask =
        async |peer: &str| pair.node.control.open_channel(pair.api.id(), &peer.parse().unwrap()).await.unwrap_err();
    let (gone, never) = (ask("payments/ledger").await, ask("payments/nobody").await);
    assert_eq!((gone.code, never.code), (ProblemCode::PeerUnavailable, ProblemCode::PeerUnavailable));
    assert_eq!(gone.detail.replace("payments/ledger", "X"), never.detail.replace("payments/nobody", "X"));
}

#[tokio::test]
async fn a_peer_that_the_policy_hides_and_one_that_does_not_exist_look_alike() {
    let pair = pair().await;
    pair.node.register("payments/vault").await;
    let vault = Agent::attested(&pair.node, "payments/vault").await;
    let ask = async |peer: &str| {
        let mut problem = pair.node.control.open_channel(pair.api.id(), &peer.parse().unwrap()).await.unwrap_err();
        let decision = problem.decision_id.take().unwrap();
        assert!(!pair.node.control.why(&root(), decision).await.unwrap().decision.allowed);
        let hide = |text: &str| text.replace(peer, "X").replace(&decision.to_string(), "D");
        (problem.code, hide(&problem.detail), problem.fix.as_deref().map(hide))
    };
    let never = ask("payments/nobody").await;
    assert_eq!(never.0, ProblemCode::PolicyDenied);
    assert_eq!(ask("payments/vault").await, never, "linked");
    pair.node.links.linked.lock().unwrap().retain(|linked| *linked != vault.id());
    assert_eq!(ask("payments/vault").await, never, "away");
    pair.node.rule(burgrave_control::RuleEffect::Forbid, "payments/api send payments/vault").await;
    assert_eq!(ask("payments/vault").await, never, "forbidden");
}

#[tokio::test]
async fn a_channel_that_was_closed_is_cut_no_more_and_one_can_be_cut_by_hand() {
    let pair = pair().await;
    let (first, second) = (open(&pair).await, open(&pair).await);
    let live = || [first.channel, second.channel].map(|channel| pair.node.control.is_live(channel));
    assert_eq!(live(), [true, true]);
    pair.node.control.channel_closed(first.channel, "done");
    assert_eq!(live(), [false, true]);
    pair.node.control.cut_channel(&root(), second.channel, "test").await.unwrap();
    assert_eq!(live(), [false, false]);
    assert_eq!(pair.node.cuts().iter().map(|(id, _)| *id).collect::<Vec<_>>(), [second.channel]);
    let again = pair.node.control.cut_channel(&root(), second.channel, "test").await.unwrap_err();
    assert_eq!(again.code, ProblemCode::NotFound);
}

#[tokio::test]
async fn a_channel_that_the_time_alone_forbids_is_cut() {
    let mut pair = pair().await;
    pair.node.control.delete_policy(&root(), pair.send.id, Some(pair.send.revision)).await.unwrap();
    pair.node.allow("payments/api send payments/ledger max-age=70s").await;
    let opened = open(&pair).await;
    pair.node.advance(Duration::from_secs(60));
    pair.ledger.attest(&pair.node).await.unwrap();
    pair.node.control.tick().await;
    assert!(pair.node.cuts().is_empty());
    pair.node.advance(Duration::from_secs(20));
    pair.node.control.tick().await;
    assert_eq!(pair.node.cuts().iter().map(|(id, _)| *id).collect::<Vec<_>>(), [opened.channel]);
    // Attested anew, it may again.
    pair.api.attest(&pair.node).await.unwrap();
    open(&pair).await;
}
