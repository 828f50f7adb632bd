//! Agents and their node over loopback: real control, real agents, real TLS.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod common;
mod raw;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use burgrave_agent::{Agent, AgentState, ChannelStream, Notice};
use burgrave_types::{GenesisHash, Operation, Problem, ProblemCode, ResourceId};
use common::{Ahead, Network, STORAGE, World, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const API: &str = "payments/api";
const LEDGER: &str = "payments/ledger";

fn storage() -> ResourceId {
    STORAGE.parse().unwrap()
}

/// Two attested agents that may talk, and a channel between them.
async fn talking(world: &World) -> (Agent, Agent, ChannelStream, ChannelStream) {
    let (api, ledger) = (world.attested(API, "api-1").await, world.attested(LEDGER, "ledger-1").await);
    world.allow_channel(API, LEDGER).await;
    let peer = LEDGER.parse().unwrap();
    let (opened, accepted) = within(async { tokio::join!(api.connect(&peer), ledger.accept()) }).await;
    let (from, accepted) = accepted.unwrap();
    assert_eq!(from.enclave(), Some(API.parse().unwrap()));
    (api, ledger, opened.unwrap(), accepted)
}

/// The problem inside an error of a cut stream.
fn problem_of(error: &std::io::Error) -> Problem {
    error.get_ref().and_then(|inner| inner.downcast_ref::<Problem>()).expect("a problem").clone()
}

async fn state(agent: &Agent, wanted: AgentState) {
    within(agent.watch().wait_for(|status| status.state == wanted)).await.unwrap();
}

#[tokio::test]
async fn an_attested_enclave_encrypts_and_decrypts_over_tcp() {
    let world = World::new().await;
    let agent = world.attested(API, "api-1").await;
    let ciphertext = within(agent.encrypt(&storage(), b"row 17", b"4111 1111")).await.unwrap();
    assert!(!ciphertext.windows(4).any(|window| window == b"4111"));
    let plaintext = within(agent.decrypt(&ciphertext, b"row 17")).await.unwrap();
    assert_eq!(plaintext.expose(), b"4111 1111");
    let refused = within(agent.decrypt(&ciphertext, b"row 18")).await.unwrap_err();
    assert_eq!(refused.code, ProblemCode::CiphertextInvalid);
}

#[tokio::test]
async fn a_plaintext_longer_than_many_frames_comes_back_whole() {
    let world = World::new().await;
    let agent = world.attested(API, "api-1").await;
    let long: Vec<u8> = (0..900_000u32).map(|n| n as u8).collect();
    let ciphertext = within(agent.encrypt(&storage(), b"", &long)).await.unwrap();
    assert_eq!(within(agent.decrypt(&ciphertext, b"")).await.unwrap().expose(), &long);
    let too_long = vec![0; 5 * 1024 * 1024];
    assert_eq!(within(agent.encrypt(&storage(), b"", &too_long)).await.unwrap_err().code, ProblemCode::Limit);
}

#[tokio::test]
async fn a_released_key_is_the_same_each_time_and_opens_for_its_instance() {
    let world = World::new().await;
    let agent = world.attested(API, "api-1").await;
    let first = within(agent.derive(&storage())).await.unwrap();
    assert_eq!(within(agent.derive(&storage())).await.unwrap(), first);
}

#[tokio::test]
async fn an_enclave_asks_what_the_policy_says() {
    let world = World::new().await;
    let agent = world.attested(API, "api-1").await;
    assert!(within(agent.evaluate(Operation::Encrypt, &storage())).await.unwrap().allowed);
}

#[tokio::test]
async fn unknown_code_is_refused_with_the_cause_and_gets_nothing() {
    let world = World::new().await;
    world.register(API, "api-1").await;
    let agent = world.agent(API, "something else");
    let refused = within(agent.wait_attested()).await.unwrap_err();
    assert_eq!(refused.code, ProblemCode::AttestationRejected);
    assert!(refused.cause.is_some(), "{refused:?}");
    let refused = within(agent.encrypt(&storage(), b"", b"x")).await.unwrap_err();
    assert_ne!(refused.code, ProblemCode::Internal, "{refused}");
}

#[tokio::test]
async fn an_agent_refuses_a_control_plane_with_another_genesis() {
    let world = World::new().await;
    let other = GenesisHash::from_bytes([9; 32]);
    let agent = World::agent_at(&world.address, other, API, "api-1");
    let refused = within(agent.wait_attested()).await.unwrap_err();
    assert_eq!(refused.code, ProblemCode::WrongDomain);
    assert!(refused.detail.contains(&other.to_string()), "{refused}");
}

#[tokio::test]
async fn without_a_node_calls_fail_and_say_so() {
    let world = World::new().await;
    // A port that nobody listens on: bound, and let go.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let agent = World::agent_at(&format!("tcp://{free}"), world.genesis(), API, "api-1");
    within(agent.watch().wait_for(|status| status.problem.is_some())).await.unwrap();
    let refused = within(agent.encrypt(&storage(), b"", b"x")).await.unwrap_err();
    assert_eq!(refused.code, ProblemCode::Unavailable);
    assert!(refused.detail.contains("no link to a node"), "{refused}");
}

#[tokio::test]
async fn two_enclaves_talk_and_the_node_sees_no_plaintext() {
    let world = World::new().await;
    let (_api, _ledger, mut here, mut there) = talking(&world).await;
    let secret = b"the quick brown fox jumps over the lazy dog".repeat(2000);
    let echoed = within(async {
        let (mut reader, mut writer) = tokio::io::split(&mut here);
        let (mut from, mut to) = tokio::io::split(&mut there);
        let echo = async {
            tokio::io::copy(&mut from, &mut to).await.unwrap();
            to.shutdown().await.unwrap();
        };
        let send = async {
            writer.write_all(&secret).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let mut echoed = Vec::new();
        let receive = async { reader.read_to_end(&mut echoed).await.unwrap() };
        tokio::join!(echo, send, receive);
        echoed
    })
    .await;
    assert_eq!(echoed, secret);
    let relayed = world.tap.0.lock().unwrap();
    assert!(relayed.len() > 2 * secret.len(), "the tap saw {} bytes", relayed.len());
    assert!(!relayed.windows(9).any(|window| window == b"quick bro"));
}

#[tokio::test]
async fn megabytes_pass_both_ways_at_once() {
    let world = World::new().await;
    let (_api, _ledger, mut here, mut there) = talking(&world).await;
    let amount = 3 * 1024 * 1024;
    async fn both(stream: &mut ChannelStream, byte: u8, amount: usize) {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let send = async {
            let piece = vec![byte; 50_000];
            let mut left = amount;
            while left > 0 {
                let now = left.min(piece.len());
                writer.write_all(&piece[..now]).await.unwrap();
                left -= now;
            }
            writer.shutdown().await.unwrap();
        };
        let mut got = Vec::new();
        let receive = async { reader.read_to_end(&mut got).await.unwrap() };
        tokio::join!(send, receive);
        assert_eq!(got.len(), amount);
    }
    within(async { tokio::join!(both(&mut here, 1, amount), both(&mut there, 2, amount)) }).await;
}

#[tokio::test]
async fn a_policy_change_cuts_a_channel_on_both_sides_and_the_rest_goes_on() {
    let world = World::new().await;
    let (api, _ledger, mut here, mut there) = talking(&world).await;
    within(here.write_all(b"undelivered")).await.unwrap();
    world.forbid("\"receive\"").await;
    let mut buffer = [0; 64];
    for stream in [&mut here, &mut there] {
        let error = within(async {
            loop {
                if let Err(error) = stream.read(&mut buffer).await {
                    break error;
                }
            }
        })
        .await;
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted);
        let reason = problem_of(&error);
        assert!(!reason.detail.is_empty());
        assert_eq!(stream.problem(), Some(reason));
    }
    assert!(here.write_all(b"more").await.is_err());
    within(api.encrypt(&storage(), b"", b"x")).await.unwrap();
}

#[tokio::test]
async fn a_revoked_instance_loses_its_channel_and_every_access_at_once() {
    let world = World::new().await;
    let (api, ledger, mut here, mut there) = talking(&world).await;
    let instance = api.status().instance.unwrap();
    world.revoke(instance).await;
    assert!(!world.is_linked(instance));
    let mut buffer = [0; 8];
    assert!(within(there.read(&mut buffer)).await.is_err());
    assert!(within(here.read(&mut buffer)).await.is_err());
    state(&api, AgentState::Revoked).await;
    let refused = within(api.encrypt(&storage(), b"", b"x")).await.unwrap_err();
    assert_eq!(refused.code, ProblemCode::Revoked);
    within(ledger.encrypt(&storage(), b"", b"x")).await.unwrap();
}

#[tokio::test]
async fn a_reconnect_keeps_instance_and_deadline_without_new_evidence() {
    let world = World::new().await;
    let agent = world.attested(API, "api-1").await;
    let before = agent.status();
    let mut watch = agent.watch();
    agent.drop_link();
    within(watch.wait_for(|status| status.state != AgentState::Attested)).await.unwrap();
    state(&agent, AgentState::Attested).await;
    let after = agent.status();
    assert_eq!((after.instance, after.until), (before.instance, before.until));
    assert_eq!(after.attestations, 1);
    within(agent.encrypt(&storage(), b"", b"x")).await.unwrap();
}

#[tokio::test]
async fn an_instance_attests_again_over_the_same_link_when_it_is_asked() {
    let world = World::new().await;
    world.register_every(API, "api-1", 2).await;
    let agent = World::agent_at(&world.unix_address(), world.genesis(), API, "api-1");
    let first = within(agent.wait_attested()).await.unwrap();
    let again = within(agent.watch().wait_for(|status| status.attestations > 1)).await.unwrap().clone();
    assert_eq!(again.instance, first.instance);
    assert!(again.until > first.until);
    within(agent.encrypt(&storage(), b"", b"x")).await.unwrap();
}

#[tokio::test]
async fn past_its_deadline_an_agent_grants_nothing_until_its_standing_is_live_again() {
    let world = World::new().await;
    world.register(API, "api-1").await;
    let clock = Arc::new(Ahead::default());
    let agent = World::agent_with(&world.address, world.genesis(), API, "api-1", clock.clone());
    let first = within(agent.wait_attested()).await.unwrap();
    clock.0.store(3600, Ordering::SeqCst);
    let refused = within(agent.encrypt(&storage(), b"", b"x")).await.unwrap_err();
    assert_eq!(refused.code, ProblemCode::Stale);
    within(agent.watch().wait_for(|status| status.state != AgentState::Attested)).await.unwrap();
    clock.0.store(0, Ordering::SeqCst);
    state(&agent, AgentState::Attested).await;
    assert_eq!(agent.status().instance, first.instance);
    within(agent.encrypt(&storage(), b"", b"x")).await.unwrap();
}

#[tokio::test]
async fn what_a_policy_change_takes_away_is_told_and_refused() {
    let world = World::new().await;
    let agent = world.attested(API, "api-1").await;
    let mut notices = agent.notices();
    let ciphertext = within(agent.encrypt(&storage(), b"", b"x")).await.unwrap();
    within(agent.decrypt(&ciphertext, b"")).await.unwrap();
    world.forbid("\"decrypt\"").await;
    let refused = within(agent.decrypt(&ciphertext, b"")).await.unwrap_err();
    assert_eq!(refused.code, ProblemCode::PolicyDenied);
    assert!(refused.decision_id.is_some(), "{refused:?}");
    let Notice::Lost { lost, .. } = within(notices.recv()).await.unwrap() else { panic!("another notice") };
    assert!(lost.contains(&(Operation::Decrypt, storage())), "{lost:?}");
    assert_eq!(agent.status().attestations, 1);
}

#[tokio::test]
async fn what_was_taken_away_while_an_agent_had_no_link_is_told_when_it_is_back() {
    let world = World::new().await;
    let network = Network::before(&world).await;
    world.register(API, "api-1").await;
    let agent = World::agent_at(&network.address, world.genesis(), API, "api-1");
    let instance = within(agent.wait_attested()).await.unwrap().instance.unwrap();
    let ciphertext = within(agent.encrypt(&storage(), b"", b"x")).await.unwrap();
    within(agent.decrypt(&ciphertext, b"")).await.unwrap();
    network.up.send_replace(false);
    within(async {
        while world.is_linked(instance) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut notices = agent.notices();
    world.forbid("\"decrypt\"").await;
    network.up.send_replace(true);
    let Notice::Lost { lost, .. } = within(notices.recv()).await.unwrap() else { panic!("another notice") };
    assert!(lost.contains(&(Operation::Decrypt, storage())), "{lost:?}");
    assert_eq!(agent.status().attestations, 1);
}

#[tokio::test]
async fn a_lost_link_ends_its_channels_with_the_reason() {
    let world = World::new().await;
    let (api, _ledger, mut here, mut there) = talking(&world).await;
    api.drop_link();
    let mut buffer = [0; 8];
    for stream in [&mut here, &mut there] {
        let error = within(stream.read(&mut buffer)).await.unwrap_err();
        assert!(matches!(problem_of(&error).code, ProblemCode::PeerUnavailable | ProblemCode::Unavailable));
    }
    within(async {
        while world.open_channels().await > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_dropped_stream_is_read_to_its_end_by_the_peer_and_forgotten_by_the_node() {
    let world = World::new().await;
    let (_api, _ledger, mut here, mut there) = talking(&world).await;
    within(here.write_all(b"last words")).await.unwrap();
    drop(here);
    let mut got = Vec::new();
    within(there.read_to_end(&mut got)).await.unwrap();
    assert_eq!(got, b"last words");
    within(async {
        while world.open_channels().await > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_closed_channel_left_unread_is_gone_with_the_receivers_access() {
    let world = World::new().await;
    let (_api, ledger, mut here, mut there) = talking(&world).await;
    within(here.write_all(b"last words")).await.unwrap();
    drop(here);
    within(async {
        while world.open_channels().await > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    world.revoke(ledger.status().instance.unwrap()).await;
    state(&ledger, AgentState::Revoked).await;
    let error = within(there.read(&mut [0; 16])).await.unwrap_err();
    assert_eq!(problem_of(&error).code, ProblemCode::Revoked);
}

#[tokio::test]
async fn a_receiver_that_does_not_read_stops_its_sender_and_nobody_else() {
    let world = World::new().await;
    let (api, ledger, mut here, _there) = talking(&world).await;
    let peer = LEDGER.parse().unwrap();
    let (second, accepted) = within(async { tokio::join!(api.connect(&peer), ledger.accept()) }).await;
    let (mut second, (_, mut other)) = (second.unwrap(), accepted.unwrap());

    // Far more than all windows on the way: the writer must come to a stop.
    let mut sent = 0usize;
    let piece = [7; 16 * 1024];
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(300), here.write(&piece)).await {
        sent += written.unwrap();
        assert!(sent < 4 * 1024 * 1024, "nothing holds the sender back");
    }
    within(api.encrypt(&storage(), b"", b"x")).await.unwrap();
    within(ledger.encrypt(&storage(), b"", b"x")).await.unwrap();
    within(second.write_all(b"still here")).await.unwrap();
    let mut got = [0; 10];
    within(other.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"still here");
}

#[tokio::test]
async fn who_waits_for_a_channel_is_told_when_none_can_come_any_more() {
    let world = World::new().await;
    let (api, ledger) = (world.attested(API, "api-1").await, world.attested(LEDGER, "ledger-1").await);
    let instance = api.status().instance.unwrap();
    let (accepted, ()) = within(async { tokio::join!(api.accept(), world.revoke(instance)) }).await;
    assert_eq!(accepted.unwrap_err().code, ProblemCode::Revoked);
    ledger.stop();
    assert_eq!(within(ledger.accept()).await.unwrap_err().code, ProblemCode::Unavailable);
}

#[tokio::test]
async fn a_peer_that_is_not_there_is_named_as_such() {
    let world = World::new().await;
    let api = world.attested(API, "api-1").await;
    world.register(LEDGER, "ledger-1").await;
    world.allow_channel(API, LEDGER).await;
    let refused = within(api.connect(&LEDGER.parse().unwrap())).await.unwrap_err();
    assert_eq!(refused.code, ProblemCode::PeerUnavailable);
}
