//! What is written down, and what happens where it cannot be read.

use burgrave_audit::{ChannelStep, Durability, Kind, Outcome};
use burgrave_ledger::Change;
use burgrave_types::{Operation, ProblemCode};

use crate::agent::Agent;
use crate::node::{Node, root};

const PII: &str = "key/payments/pii";

#[tokio::test]
async fn attestations_releases_channels_and_changes_are_on_record_before_they_are_answered() {
    let node = Node::dev().await;
    for enclave in ["payments/api", "payments/ledger"] {
        node.register(enclave).await;
    }
    node.make_key(PII).await;
    node.allow(&format!("payments/api derive {PII}")).await;
    node.allow("payments/api send payments/ledger").await;
    node.allow("payments/ledger receive payments/ledger").await;
    let (api, ledger) = (Agent::attested(&node, "payments/api").await, Agent::attested(&node, "payments/ledger").await);
    let debug = burgrave_attester::SimulatedAttester::of_code("payments/api").debug(true);
    Agent::with("payments/api", debug).attest(&node).await.unwrap_err();
    api.derive(&node, PII).await.unwrap();
    let opened = node.control.open_channel(api.id(), &ledger.enclave).await.unwrap();
    node.control.revoke_instance(&root(), ledger.id(), "stolen").await.unwrap();

    let events = node.audit.memory.events();
    let durable = |wanted: &dyn Fn(&Kind) -> bool| {
        events.iter().any(|(event, durability)| *durability == Durability::Durable && wanted(&event.kind))
    };
    assert!(durable(&|kind| matches!(kind, Kind::Attestation(attestation)
        if attestation.outcome == Outcome::Accepted && attestation.instance == Some(api.id()) && attestation.result.is_some())));
    assert!(durable(&|kind| matches!(kind, Kind::Decision(decision)
        if decision.operation == Operation::Attest && decision.allowed)));
    assert!(durable(
        &|kind| matches!(kind, Kind::Release(release) if release.to.instance == api.id() && release.version == 1)
    ));
    assert!(durable(&|kind| matches!(kind, Kind::Channel(channel)
        if channel.id == opened.channel && channel.step == ChannelStep::Opened)));
    assert!(durable(&|kind| matches!(kind, Kind::Change(change)
        if change.changer == "root" && change.records.iter().any(|record| record.path.ends_with(&ledger.id().to_string())))));
    let batched = |wanted: &dyn Fn(&Kind) -> bool| events.iter().any(|(event, _)| wanted(&event.kind));
    assert!(batched(&|kind| matches!(kind, Kind::Attestation(attestation)
        if attestation.outcome == Outcome::Rejected && attestation.cause.as_deref() == Some("debug"))));
    assert!(batched(&|kind| matches!(kind, Kind::Channel(channel)
        if channel.id == opened.channel && channel.step == ChannelStep::Cut && channel.reason.is_some())));
}

#[tokio::test]
async fn a_record_that_cannot_be_read_ends_all_service_links_and_channels() {
    let node = Node::dev().await;
    for enclave in ["payments/api", "payments/ledger"] {
        node.register(enclave).await;
    }
    node.make_key(PII).await;
    node.allow(&format!("payments/api encrypt {PII}")).await;
    node.allow("payments/api send payments/ledger").await;
    node.allow("payments/ledger receive payments/ledger").await;
    let (api, ledger) = (Agent::attested(&node, "payments/api").await, Agent::attested(&node, "payments/ledger").await);
    let opened = node.control.open_channel(api.id(), &ledger.enclave).await.unwrap();
    let path = "policy/payments/pol_aaaaaaaaaaaaaaaaaaaaaaaaaa".parse().unwrap();
    let newer = r#"{"schema":2,"forbid":"everything that the old schema cannot say"}"#;
    node.ledger.transact(Change::by("a newer node").put(path, newer)).await.unwrap();
    let is_cut = |event: &burgrave_audit::Event| {
        matches!(&event.kind, Kind::Channel(channel)
        if channel.id == opened.channel && channel.step == ChannelStep::Cut)
    };
    while !node.audit.memory.events().iter().any(|(event, _)| is_cut(event)) {
        tokio::task::yield_now().await;
    }
    assert_eq!(node.links.ended.lock().unwrap()[0].code, ProblemCode::Unavailable);
    assert!(node.control.ready().unwrap_err().detail.contains("schema 2"));
    assert_eq!(api.encrypt(&node, PII, b"x").await.unwrap_err().code, ProblemCode::Unavailable);
    assert_eq!(Agent::new("payments/api").try_challenge(&node).unwrap_err().code, ProblemCode::Unavailable);
    let new = burgrave_control::NewKey { resource: "key/payments/x".parse().unwrap() };
    assert_eq!(node.control.create_key(&root(), new).await.unwrap_err().code, ProblemCode::Unavailable);
}

/// The causes of refused attestations on record.
fn causes(node: &Node) -> Vec<String> {
    let events = node.audit.memory.events();
    let cause = |event: &burgrave_audit::Event| match &event.kind {
        Kind::Attestation(attestation) if attestation.outcome == Outcome::Rejected => attestation.cause.clone(),
        _ => None,
    };
    events.iter().filter_map(|(event, _)| cause(event)).collect()
}

#[tokio::test]
async fn a_refusal_is_on_record_wherever_it_happens() {
    let node = Node::dev().await;
    node.register("payments/api").await;
    let mut agent = Agent::new("payments/api");
    let request = agent.request(&node);
    let (first, second) = tokio::join!(node.control.attest(request.clone()), node.control.attest(request));
    assert!(first.is_ok() && second.is_err());
    node.rule(burgrave_control::RuleEffect::Forbid, "payments/api attest payments/api").await;
    Agent::new("payments/api").attest(&node).await.unwrap_err();
    // Who says that it renews somebody else's attestation is not recorded as that instance.
    let mut other = Agent::new("payments/api");
    other.instance = Some(burgrave_types::InstanceId::from_bytes([7; 16]));
    other.attest(&node).await.unwrap_err();
    assert_eq!(causes(&node), ["challenge.used", "policy.denied", "renewal.mismatch"]);
    let liars = node.audit.memory.events().into_iter().filter(
        |(event, _)| matches!(&event.kind, Kind::Attestation(attestation) if attestation.instance == other.instance),
    );
    assert_eq!(liars.count(), 0);
}

#[tokio::test]
async fn strangers_who_are_refused_again_and_again_cost_a_few_lines_and_a_number() {
    let node = Node::dev().await;
    node.register("payments/api").await;
    let forged = || {
        let mut request = Agent::new("payments/api").request(&node);
        request.link.exporter = [8; 32];
        request
    };
    for _ in 0..30 {
        node.control.attest(forged()).await.unwrap_err();
    }
    node.control.activate(b"no ticket", b"", &Agent::new("payments/api").link()).await.unwrap_err();
    let unreadable = burgrave_types::Evidence::decode(b"no evidence").unwrap_err();
    let told = node.control.unreadable_evidence(&unreadable, &Agent::new("payments/api").link());
    assert_eq!((told.cause.as_deref(), told.fix.is_some()), (Some("format.evidence"), true), "{told}");
    Agent::new("payments/nobody").attest(&node).await.unwrap_err();
    let mut expected = vec!["binding.report_data"; 10];
    expected.push("enclave.rejected");
    assert_eq!(causes(&node), expected);
    node.advance(std::time::Duration::from_secs(60));
    node.control.tick().await;
    let events = node.audit.memory.events();
    let summaries = events.iter().filter_map(|(event, _)| match &event.kind {
        Kind::Refusals(summary) => Some((summary.cause.as_str(), summary.more)),
        _ => None,
    });
    assert_eq!(
        summaries.collect::<Vec<_>>(),
        [("binding.report_data", 20), ("format.evidence", 1), ("tpm.activation", 1)]
    );
}

#[tokio::test]
async fn strangers_whom_the_policy_denies_again_and_again_cost_a_few_decisions_on_record() {
    let node = Node::dev().await;
    node.register("payments/api").await;
    node.rule(burgrave_control::RuleEffect::Forbid, "payments/api attest payments/api").await;
    for number in 0..25 {
        let denied = Agent::new("payments/api").attest(&node).await.unwrap_err();
        assert_eq!((denied.code, denied.decision_id.is_some()), (ProblemCode::PolicyDenied, number < 10));
    }
    let events = node.audit.memory.events();
    let decided = events.iter().filter(
        |(event, _)| matches!(&event.kind, Kind::Decision(decision) if decision.operation == Operation::Attest),
    );
    assert_eq!((decided.count(), causes(&node).len()), (10, 10));
}
