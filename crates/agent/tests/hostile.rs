//! What a node of the right domain cannot do to an agent, whatever it says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod liar;

use burgrave_agent::{Agent, AgentState};
use burgrave_protocol::frame::FrameType;
use burgrave_protocol::wire::{self, push};
use burgrave_types::{InstanceId, Problem, ProblemCode};
use liar::{Connection, ENCLAVE, Liar, Told, challenge, within};

const INSTANCE: InstanceId = InstanceId::from_bytes([5; 16]);

/// An agent that is attested, with the instance key `[1; 32]`.
async fn attested(liar: &Liar) -> (Agent, Connection<'_>, Told) {
    let told = Told::default();
    let agent = liar.agent(told.clone());
    let mut connection = liar.welcome(0).await;
    connection.admit(INSTANCE, ENCLAVE, Some([1; 32])).await;
    within(agent.wait_attested()).await.unwrap();
    (agent, connection, told)
}

async fn problem(agent: &Agent) -> Problem {
    within(agent.watch().wait_for(|status| status.problem.is_some())).await.unwrap().problem.clone().unwrap()
}

async fn attestations(agent: &Agent, number: u64) {
    within(agent.watch().wait_for(|status| status.attestations == number)).await.unwrap();
}

#[tokio::test]
async fn the_instance_key_is_given_once_and_never_replaced() {
    let liar = Liar::new().await;
    let (agent, mut connection, _) = attested(&liar).await;
    // The same one again is no other.
    connection.push(push::Notice::Reattest(challenge())).await;
    connection.admit(INSTANCE, ENCLAVE, Some([1; 32])).await;
    attestations(&agent, 2).await;

    connection.push(push::Notice::Reattest(challenge())).await;
    connection.admit(INSTANCE, ENCLAVE, Some([2; 32])).await;
    let reason = connection.goodbye().await;
    assert_eq!(reason.code, ProblemCode::Protocol);
    assert!(reason.detail.contains("another instance key"), "{reason}");

    // Nor by making it a new instance.
    let mut connection = liar.welcome(0).await;
    let (stream, _) = connection.evidence().await;
    let unknown = Problem::new(ProblemCode::AttestationRejected, "who is that?").with_cause("renewal.mismatch");
    connection.respond(stream, unknown).await;
    connection.admit(InstanceId::from_bytes([6; 16]), ENCLAVE, Some([2; 32])).await;
    assert!(connection.goodbye().await.detail.contains("another instance key"));
    assert_eq!(agent.status().attestations, 2);
}

#[tokio::test]
async fn an_svid_of_another_enclave_is_refused() {
    let liar = Liar::new().await;
    let agent = liar.agent(Told::default());
    let mut connection = liar.welcome(0).await;
    connection.admit(INSTANCE, "payments/ledger", Some([1; 32])).await;
    let reason = connection.goodbye().await;
    assert_eq!(reason.code, ProblemCode::Protocol);
    assert!(reason.detail.contains("payments/ledger") && reason.detail.contains(ENCLAVE), "{reason}");
    assert_ne!(agent.status().state, AgentState::Attested);
    assert_eq!(agent.status().instance, None);
}

#[tokio::test]
async fn a_node_that_is_behind_is_left_before_anything_is_shown_to_it() {
    let liar = Liar::new().await;
    let (agent, connection, told) = attested(&liar).await;
    drop(connection);
    told.take();
    let mut connection = liar.welcome(6).await;
    let reason = connection.goodbye().await;
    assert_eq!(reason.code, ProblemCode::Unavailable);
    assert!(reason.detail.contains("revision 6") && reason.detail.contains("revision 7"), "{reason}");
    assert!(!told.take().contains(&"evidence"));
    assert_eq!(problem(&agent).await.code, ProblemCode::Unavailable);
}

#[tokio::test]
async fn an_answer_without_end_ends_the_link() {
    let liar = Liar::new().await;
    let (_agent, mut connection, _) = attested(&liar).await;
    connection.send(FrameType::Response, 1, vec![1]).await;
    assert!(connection.goodbye().await.detail.contains("empty although more follows"));

    let (_agent, mut connection, _) = attested(&liar).await;
    for stream in 0..100 {
        connection.send(FrameType::Response, 2 * stream + 1, vec![1, 0]).await;
    }
    assert!(connection.goodbye().await.detail.contains("64 messages are unfinished"));
}

#[tokio::test]
async fn a_channel_on_a_stream_that_cannot_be_ends_the_link() {
    let liar = Liar::new().await;
    let (_agent, mut connection, _) = attested(&liar).await;
    let offer = prost::Message::encode_to_vec(&wire::ChannelOffer::default());
    connection.send(FrameType::Open, 9, offer).await;
    assert!(connection.goodbye().await.detail.contains("stream 9"));
}

#[tokio::test]
async fn the_run_time_log_begins_anew_with_each_link_and_each_refusal() {
    let liar = Liar::new().await;
    let (agent, mut connection, told) = attested(&liar).await;
    assert_eq!(told.take(), ["forgotten", "evidence", "taken"]);

    connection.push(push::Notice::Reattest(challenge())).await;
    connection.admit(INSTANCE, ENCLAVE, None).await;
    attestations(&agent, 2).await;
    assert_eq!(told.take(), ["evidence", "taken"]);

    connection.push(push::Notice::Reattest(challenge())).await;
    let (stream, _) = connection.evidence().await;
    connection.respond(stream, Problem::new(ProblemCode::AttestationRejected, "the log does not explain it")).await;
    problem(&agent).await;
    assert_eq!(told.take(), ["evidence", "forgotten"]);

    drop(connection);
    let mut connection = liar.welcome(0).await;
    connection.admit(INSTANCE, ENCLAVE, None).await;
    attestations(&agent, 3).await;
    assert_eq!(told.take(), ["forgotten", "evidence", "taken"]);
}

#[tokio::test]
async fn a_run_time_log_is_sent_in_parts_and_begun_anew_once() {
    let liar = Liar::new().await;
    let told = Told::default();
    let agent = liar.agent(told.clone());
    let mut connection = liar.welcome(0).await;
    let wants = |cause: &str| Problem::new(ProblemCode::AttestationRejected, "the log").with_cause(cause);
    for cause in ["log.gap", "log.incomplete", "log.incomplete"] {
        let (stream, _) = connection.evidence().await;
        connection.respond(stream, wants(cause)).await;
    }
    connection.admit(INSTANCE, ENCLAVE, Some([1; 32])).await;
    within(agent.wait_attested()).await.unwrap();
    let steps = ["forgotten", "evidence", "forgotten", "evidence", "taken", "evidence", "taken", "evidence", "taken"];
    assert_eq!(told.take(), steps);

    // Who never has it from its start is told no more than twice, and keeps its standing until the deadline.
    connection.push(push::Notice::Reattest(challenge())).await;
    for _ in 0..2 {
        let (stream, _) = connection.evidence().await;
        connection.respond(stream, wants("log.gap")).await;
    }
    assert_eq!(problem(&agent).await.cause.as_deref(), Some("log.gap"));
    assert_eq!(agent.status().state, AgentState::Attested);
}
