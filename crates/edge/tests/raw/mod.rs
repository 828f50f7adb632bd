//! A client that speaks frames by hand, for what no honest agent does.

use std::sync::Arc;
use std::time::Duration;

use burgrave_edge::link::LinkLimits;
use burgrave_identity::tls::{ALPN_LINK, CredentialSlot, NodeVerifier, client_config, hybrid_only_provider};
use burgrave_identity::{IdentityKey, self_signed_identity};
use burgrave_protocol::frame::{Decoder, Frame, FrameType};
use burgrave_protocol::message::{self, Assembler, MAX_MESSAGE};
use burgrave_protocol::wire::{self, response::Outcome};
use burgrave_seal::SystemRandom;
use burgrave_types::{Clock, GenesisHash, Problem, ProblemCode, SystemClock};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::common::{World, within};

struct Raw {
    tls: TlsStream<TcpStream>,
    decoder: Decoder,
}

impl Raw {
    /// Connects with a fresh identity key; says nothing yet.
    async fn connect(world: &World) -> Self {
        let key = IdentityKey::generate().unwrap();
        let certificate = self_signed_identity(&key, SystemClock.now(), &SystemRandom).unwrap();
        let slot = CredentialSlot::new(vec![certificate], &key).unwrap();
        let verifier = NodeVerifier::new(world.genesis(), Arc::new(SystemClock));
        let config = client_config(hybrid_only_provider(), verifier, Some(slot), &[ALPN_LINK]).unwrap();
        let address = world.address.strip_prefix("tcp://").unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let tls = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        Self { tls, decoder: Decoder::new() }
    }

    async fn greeted(world: &World) -> Self {
        let mut raw = Self::connect(world).await;
        raw.hello(&world.genesis()).await;
        assert_eq!(raw.frame().await.unwrap().kind, FrameType::Hello);
        raw
    }

    async fn hello(&mut self, genesis: &GenesisHash) {
        self.hello_at(genesis, 0).await;
    }

    /// Says hello as one that was told of this revision.
    async fn hello_at(&mut self, genesis: &GenesisHash, revision: u64) {
        let hello = wire::Hello { version: 1, agent: "raw".into(), genesis: genesis.as_bytes().to_vec(), revision };
        self.send(&Frame::new(FrameType::Hello, 0, prost::Message::encode_to_vec(&hello)).encode()).await;
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.tls.write_all(bytes).await.unwrap();
        self.tls.flush().await.unwrap();
    }

    /// The next frame; `None` at the end of the connection.
    async fn frame(&mut self) -> Option<Frame> {
        within(async {
            loop {
                if let Some(frame) = self.decoder.next_frame().unwrap() {
                    return Some(frame);
                }
                if !matches!(self.tls.read_buf(self.decoder.buffer_mut()).await, Ok(1..)) {
                    return None;
                }
            }
        })
        .await
    }

    async fn ask(&mut self, stream: u32, request: wire::Request) -> Outcome {
        for frame in message::frames(FrameType::Request, stream, &request).unwrap() {
            self.send(&frame).await;
        }
        let mut assembler = Assembler::new(MAX_MESSAGE);
        loop {
            let frame = self.frame().await.expect("an answer");
            assert_eq!((frame.kind, frame.stream), (FrameType::Response, stream));
            if let Some(whole) = assembler.push(stream, &frame.payload).unwrap() {
                return message::decode::<wire::Response>("answer", &whole).unwrap().outcome.unwrap();
            }
        }
    }

    /// The reason with which the node ends the connection, after which it ends.
    async fn goodbye(&mut self) -> Problem {
        let frame = self.frame().await.expect("a reason");
        assert_eq!(frame.kind, FrameType::GoAway, "{frame:?}");
        let reason: wire::Problem = message::decode("reason", &frame.payload).unwrap();
        assert_eq!(self.frame().await, None);
        reason.into()
    }
}

#[tokio::test]
async fn an_agent_of_another_domain_is_told_so() {
    let world = World::new().await;
    let mut raw = Raw::connect(&world).await;
    raw.hello(&GenesisHash::from_bytes([3; 32])).await;
    assert_eq!(raw.goodbye().await.code, ProblemCode::WrongDomain);
}

#[tokio::test]
async fn whoever_says_hello_is_told_the_nodes_revision_and_refused_where_that_is_behind() {
    let world = World::new().await;
    let revision = world.control.revision().0;
    let mut raw = Raw::connect(&world).await;
    raw.hello_at(&world.genesis(), revision).await;
    let ack: wire::HelloAck = message::decode("HelloAck", &raw.frame().await.unwrap().payload).unwrap();
    assert_eq!((ack.revision, ack.instance.len()), (revision, 0));
    assert_ne!(revision, 0);

    let mut raw = Raw::connect(&world).await;
    raw.hello_at(&world.genesis(), revision + 1).await;
    let reason = raw.goodbye().await;
    assert_eq!(reason.code, ProblemCode::Unavailable);
    assert!(reason.detail.contains("the agent has seen revision"), "{reason}");
}

#[tokio::test]
async fn anything_before_hello_ends_the_connection() {
    let world = World::new().await;
    let mut raw = Raw::connect(&world).await;
    raw.send(&Frame::new(FrameType::Ping, 0, vec![0; 9]).encode()).await;
    let reason = raw.goodbye().await;
    assert_eq!(reason.code, ProblemCode::Protocol);
    assert!(reason.detail.contains("expected HELLO"), "{reason}");
}

#[tokio::test]
async fn an_unknown_or_oversized_frame_ends_the_connection_with_the_reason() {
    let world = World::new().await;
    let cases: [(&[u8], &str); 3] = [
        (&[0, 0, 0, 0x66, 0, 0, 0, 1], "unknown type 0x66"),
        (&[0x01, 0x00, 0x01, 6, 0, 0, 0, 1], "65537 bytes"),
        (&[0, 0, 1, 5, 0, 0, 0, 2, 0], "does not send Open"),
    ];
    for (bytes, expected) in cases {
        let mut raw = Raw::greeted(&world).await;
        raw.send(bytes).await;
        let reason = raw.goodbye().await;
        assert_eq!(reason.code, ProblemCode::Protocol);
        assert!(reason.detail.contains(expected), "{reason}");
    }
}

#[tokio::test]
async fn an_unattested_link_may_only_ask_for_a_challenge() {
    let world = World::new().await;
    let mut raw = Raw::greeted(&world).await;
    let resource = "key/payments/pii".to_owned();
    let refused: [wire::Request; 5] = [
        wire::Encrypt { resource: resource.clone(), ..wire::Encrypt::default() }.into(),
        wire::Decrypt::default().into(),
        wire::Derive { resource: resource.clone(), request_id: vec![0; 16] }.into(),
        wire::Evaluate { operation: "decrypt".into(), resource }.into(),
        wire::OpenChannel { peer: "payments/ledger".into() }.into(),
    ];
    for (at, request) in refused.into_iter().enumerate() {
        let Outcome::Problem(problem) = raw.ask(2 * at as u32 + 1, request).await else { panic!("it was answered") };
        assert_eq!(Problem::from(problem).code, ProblemCode::NotAttested);
    }
    let asked = raw.ask(99, wire::AskChallenge { enclave: "payments/api".into() }.into()).await;
    assert!(matches!(asked, Outcome::Challenge(challenge) if !challenge.nonce.is_empty()));
    raw.send(&Frame::new(FrameType::Ping, 0, vec![0, 1, 2, 3, 4, 5, 6, 7, 8]).encode()).await;
    let pong = raw.frame().await.unwrap();
    assert_eq!(pong.payload.to_vec(), [1, 1, 2, 3, 4, 5, 6, 7, 8]);
}

#[tokio::test]
async fn evidence_that_is_none_is_refused_and_the_link_goes_on() {
    let world = World::new().await;
    let mut raw = Raw::greeted(&world).await;
    let request = wire::Attest {
        enclave: "payments/api".into(),
        sealing_key: vec![1; 32],
        evidence: vec![0; 300_000],
        ..wire::Attest::default()
    };
    let Outcome::Problem(problem) = raw.ask(1, request.into()).await else { panic!("it was taken") };
    assert_eq!(problem.cause, "format.evidence");
    assert!(matches!(raw.ask(3, wire::AskChallenge { enclave: "a/b".into() }.into()).await, Outcome::Challenge(_)));
}

#[tokio::test]
async fn a_stranger_whose_attestations_are_refused_is_sent_away_after_a_few() {
    let world = World::new().await;
    let mut raw = Raw::greeted(&world).await;
    let evidence = || wire::Attest { enclave: "payments/api".into(), evidence: vec![0; 16], ..wire::Attest::default() };
    for stream in [1, 3, 5] {
        let Outcome::Problem(problem) = raw.ask(stream, evidence().into()).await else { panic!("it was taken") };
        assert_eq!(problem.cause, "format.evidence");
    }
    let reason = raw.goodbye().await;
    assert_eq!(reason.code, ProblemCode::Limit);
    assert!(reason.detail.contains("3 attestations were refused"), "{reason}");

    // All at once gets no further.
    let mut raw = Raw::greeted(&world).await;
    for stream in 0..20 {
        let request: wire::Request = evidence().into();
        raw.send(&message::frames(FrameType::Request, 2 * stream + 1, &request).unwrap()[0]).await;
    }
    let mut named = 0;
    loop {
        let frame = raw.frame().await.expect("a reason");
        if frame.kind == FrameType::GoAway {
            break;
        }
        let answer: wire::Response = message::decode("answer", &frame.payload.slice(1..)).unwrap();
        let Some(Outcome::Problem(problem)) = answer.outcome else { panic!("it was taken") };
        named += usize::from(problem.cause == "format.evidence");
    }
    assert!((1..=3).contains(&named), "{named} were looked at");
}

#[tokio::test]
async fn requests_that_are_begun_and_never_ended_end_the_connection() {
    let world = World::new().await;
    let mut raw = Raw::greeted(&world).await;
    raw.send(&Frame::new(FrameType::Request, 1, vec![1]).encode()).await;
    let reason = raw.goodbye().await;
    assert!(reason.detail.contains("is empty although more follows"), "{reason}");

    let mut raw = Raw::greeted(&world).await;
    let begun: Vec<u8> =
        (0..100).flat_map(|n| Frame::new(FrameType::Request, 2 * n + 1, vec![1, 0]).encode()).collect();
    raw.send(&begun).await;
    let reason = raw.goodbye().await;
    assert!(reason.detail.contains("64 messages are unfinished"), "{reason}");
}

#[tokio::test]
async fn a_message_without_end_is_cut_off_at_the_limit() {
    let world = World::new().await;
    let mut raw = Raw::greeted(&world).await;
    let mut piece = vec![0; 65_536];
    piece[0] = 1;
    let piece = Frame::new(FrameType::Request, 1, piece).encode();
    for _ in 0..=MAX_MESSAGE / 65_536 + 1 {
        // The node may have ended the connection before all is written.
        if raw.tls.write_all(&piece).await.is_err() {
            break;
        }
    }
    let reason = raw.goodbye().await;
    assert!(reason.detail.contains("over the limit"), "{reason}");
}

#[tokio::test]
async fn requests_on_even_or_busy_streams_end_the_connection() {
    let world = World::new().await;
    let mut raw = Raw::greeted(&world).await;
    let ask: wire::Request = wire::AskChallenge { enclave: "a/b".into() }.into();
    raw.send(&message::frames(FrameType::Request, 2, &ask).unwrap()[0]).await;
    assert!(raw.goodbye().await.detail.contains("odd"));
}

#[tokio::test]
async fn a_client_without_certificate_or_tls_gets_no_link() {
    let world = World::new().await;
    let address = world.address.strip_prefix("tcp://").unwrap();
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(&[0; 64]).await.unwrap();
    let mut rest = Vec::new();
    let _ = within(plain.read_to_end(&mut rest)).await;

    let verifier = NodeVerifier::new(world.genesis(), Arc::new(SystemClock));
    let config = client_config(hybrid_only_provider(), verifier, None, &[ALPN_LINK]).unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    // In TLS 1.3 the client learns of the refusal with its first read.
    if let Ok(mut tls) = TlsConnector::from(Arc::new(config)).connect(name, stream).await {
        assert!(within(tls.read_to_end(&mut rest)).await.is_err());
    }
    assert_eq!(world.hub.connections(), 0);
}

#[tokio::test]
async fn who_says_nothing_or_does_not_attest_in_time_is_sent_away() {
    let limits = LinkLimits {
        handshake: Duration::from_millis(200),
        attestation: Duration::from_millis(300),
        ..LinkLimits::default()
    };
    let world = World::with_limits(limits).await;
    let mut silent = Raw::connect(&world).await;
    assert!(silent.goodbye().await.detail.contains("no HELLO"));
    let mut idle = Raw::greeted(&world).await;
    assert_eq!(idle.goodbye().await.code, ProblemCode::NotAttested);
    within(async {
        while world.hub.connections() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_silent_agent_is_pinged_and_then_ended() {
    let limits = LinkLimits {
        ping_after: Duration::from_millis(100),
        idle: Duration::from_millis(300),
        ..LinkLimits::default()
    };
    let world = World::with_limits(limits).await;
    let mut raw = Raw::greeted(&world).await;
    let ping = raw.frame().await.unwrap();
    assert_eq!((ping.kind, ping.payload.first()), (FrameType::Ping, Some(&0)));
    raw.send(&Frame::new(FrameType::Ping, 0, vec![1, 0, 0, 0, 0, 0, 0, 0, 0]).encode()).await;
    assert_eq!(raw.frame().await.unwrap().kind, FrameType::Ping, "a sign of life starts the count anew");
    assert!(raw.goodbye().await.detail.contains("nothing was heard"));
}

#[tokio::test]
async fn connections_beyond_the_limit_are_turned_away_until_one_ends() {
    let world = World::with_limits(LinkLimits { connections: 1, ..LinkLimits::default() }).await;
    let first = Raw::greeted(&world).await;
    let address = world.address.strip_prefix("tcp://").unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    let mut rest = Vec::new();
    within(second.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
    drop(first);
    within(async {
        while world.hub.connections() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // The slot is given back just after the hub has forgotten the connection.
    let agent = world.agent("payments/api", "unregistered");
    assert_eq!(within(agent.wait_attested()).await.unwrap_err().code, ProblemCode::AttestationRejected);
}

#[tokio::test]
async fn strangers_together_hold_no_more_than_they_may() {
    let world = World::with_limits(LinkLimits { unattested_bytes: 100_000, ..LinkLimits::default() }).await;
    let mut piece = vec![0; 60_000];
    piece[0] = 1;
    let piece = Frame::new(FrameType::Request, 1, piece).encode();
    let mut first = Raw::greeted(&world).await;
    first.send(&piece).await;
    // Answered in order: the piece before it was taken.
    first.send(&Frame::new(FrameType::Ping, 0, vec![0; 9]).encode()).await;
    assert_eq!(first.frame().await.unwrap().kind, FrameType::Ping);
    let mut second = Raw::greeted(&world).await;
    second.send(&piece).await;
    assert_eq!(second.goodbye().await.code, ProblemCode::Limit);
    drop((first, second));
    within(async {
        while world.hub.connections() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let agent = world.attested("payments/api", "api-1").await;
    let long = vec![0; 500_000];
    within(agent.encrypt(&common_storage(), b"", &long)).await.unwrap();
}

fn common_storage() -> burgrave_types::ResourceId {
    crate::common::STORAGE.parse().unwrap()
}
