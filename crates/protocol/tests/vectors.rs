//! The byte vectors of `docs/link-protocol.md`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

use burgrave_protocol::frame::{Decoder, Frame, FrameType};
use burgrave_protocol::message::{self, Assembler, MAX_MESSAGE};
use burgrave_protocol::wire::{self, request, response};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    accepted: Vec<Accepted>,
    refused: Vec<Refused>,
    refused_pieces: Vec<RefusedPieces>,
    conversation: Vec<Spoken>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Accepted {
    name: String,
    r#type: String,
    stream: u32,
    payload: String,
    frame: String,
    #[serde(default)]
    message: Option<String>,
}

#[derive(Deserialize)]
struct Refused {
    name: String,
    bytes: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefusedPieces {
    name: String,
    frames: Vec<String>,
}

#[derive(Deserialize)]
struct Spoken {
    sender: String,
    frame: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../testdata/frames.json")).unwrap()
}

fn named(name: &str) -> FrameType {
    match name {
        "HELLO" => FrameType::Hello,
        "REQ" => FrameType::Request,
        "RESP" => FrameType::Response,
        "PUSH" => FrameType::Push,
        "OPEN" => FrameType::Open,
        "DATA" => FrameType::Data,
        "CREDIT" => FrameType::Credit,
        "CLOSE" => FrameType::Close,
        "CUT" => FrameType::Cut,
        "PING" => FrameType::Ping,
        "GOAWAY" => FrameType::GoAway,
        other => panic!("unknown type `{other}`"),
    }
}

fn read(hex: &str) -> Frame {
    let mut decoder = Decoder::new();
    decoder.push(&hex::decode(hex).unwrap());
    decoder.next_frame().unwrap().expect("a whole frame")
}

#[test]
fn accepted_frames_read_and_write_as_they_stand() {
    let vectors = vectors();
    for vector in &vectors.accepted {
        let frame = Frame::new(named(&vector.r#type), vector.stream, hex::decode(&vector.payload).unwrap());
        assert_eq!(hex::encode(frame.encode()), vector.frame, "{}", vector.name);
        assert_eq!(read(&vector.frame), frame, "{}", vector.name);
    }
    for kind in FrameType::ALL {
        assert!(vectors.accepted.iter().any(|vector| named(&vector.r#type) == kind), "no vector of {kind:?}");
    }
}

#[test]
fn refused_bytes_are_refused() {
    for vector in vectors().refused {
        let mut decoder = Decoder::new();
        decoder.push(&hex::decode(&vector.bytes).unwrap());
        assert!(decoder.next_frame().is_err(), "{}", vector.name);
    }
}

#[test]
fn pieces_that_make_no_message_are_refused_at_the_last() {
    for vector in vectors().refused_pieces {
        let mut assembler = Assembler::new(MAX_MESSAGE);
        let frames: Vec<Frame> = vector.frames.iter().map(|frame| read(frame)).collect();
        let (last, before) = frames.split_last().unwrap();
        for frame in before {
            assert_eq!(assembler.push(frame.stream, &frame.payload), Ok(None), "{}", vector.name);
        }
        assert!(assembler.push(last.stream, &last.payload).is_err(), "{}", vector.name);
    }
}

#[test]
fn a_link_begins_as_specified() {
    let spoken = vectors().conversation;
    assert_eq!(spoken.iter().map(|s| s.sender.as_str()).collect::<Vec<_>>(), ["agent", "node", "agent", "node"]);
    let frames: Vec<Frame> = spoken.iter().map(|spoken| read(&spoken.frame)).collect();

    let hello: wire::Hello = message::decode("Hello", &frames[0].payload).unwrap();
    assert_eq!((hello.version, hello.agent.as_str(), hello.revision), (1, "example-agent/1.0", 300));
    assert_eq!(hello.genesis, (0..32).collect::<Vec<u8>>());

    let ack: wire::HelloAck = message::decode("HelloAck", &frames[1].payload).unwrap();
    let limits = ack.limits.unwrap();
    assert_eq!(limits.message as usize, MAX_MESSAGE);
    assert_eq!(limits.window, burgrave_protocol::credit::WINDOW);
    assert!(ack.node.parse::<burgrave_types::NodeId>().is_ok());

    let mut assembler = Assembler::new(MAX_MESSAGE);
    let whole = assembler.push(1, &frames[2].payload).unwrap().unwrap();
    let request: wire::Request = message::decode("request", &whole).unwrap();
    let Some(request::Operation::Challenge(ask)) = request.operation else { panic!("another request") };
    assert_eq!(ask.enclave, "payments/api");

    let whole = assembler.push(1, &frames[3].payload).unwrap().unwrap();
    let answer: wire::Response = message::decode("answer", &whole).unwrap();
    let Some(response::Outcome::Challenge(challenge)) = answer.outcome else { panic!("another answer") };
    assert_eq!((challenge.nonce, challenge.expires), (vec![0xaa; 8], 1_772_323_200_000));
}

#[test]
fn messages_of_the_vectors_hold_what_stands_beside_them() {
    let vectors = vectors();
    let payload = |name: &str| {
        let vector = vectors.accepted.iter().find(|vector| vector.name == name).unwrap();
        assert!(vector.message.is_some(), "{name}");
        hex::decode(&vector.payload).unwrap()
    };
    let push: wire::Push = message::decode("push", &payload("the rules changed")).unwrap();
    let Some(wire::push::Notice::Revision(notice)) = push.notice else { panic!("another notice") };
    assert_eq!((notice.revision, notice.lost[0].resource.as_str()), (302, "key/payments/pii"));

    let offer: wire::ChannelOffer = message::decode("offer", &payload("a channel to accept")).unwrap();
    assert_eq!(
        (offer.channel, offer.grant, offer.sealed_secret),
        (vec![0x11; 16], b"grant".to_vec(), b"sealed".to_vec())
    );

    let cut: wire::Problem = message::decode("reason", &payload("the channel is cut")).unwrap();
    assert_eq!(burgrave_types::Problem::from(cut).code, burgrave_types::ProblemCode::ChannelCut);
}

proptest::proptest! {
    /// The vectors' frames, with bytes changed, cut and put elsewhere: read, refused, never a panic.
    #[test]
    fn altered_frames_are_read_or_refused(
        at in proptest::prelude::any::<proptest::sample::Index>(),
        byte: u8,
        length in proptest::prelude::any::<proptest::sample::Index>(),
    ) {
        let frames = vectors().accepted;
        let mut bytes: Vec<u8> = frames.iter().flat_map(|vector| hex::decode(&vector.frame).unwrap()).collect();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        burgrave_protocol::fuzz::connection(&bytes);
        burgrave_protocol::fuzz::connection(&bytes[length.index(bytes.len())..]);
    }
}
