//! Tests of the link, with the node's frames made by hand.

use burgrave_protocol::credit::WINDOW;
use burgrave_protocol::frame::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;

/// The node's end.
struct Node {
    stream: DuplexStream,
    decoder: Decoder,
}

impl Node {
    async fn send(&mut self, kind: FrameType, stream: u32, payload: impl Into<Vec<u8>>) {
        self.stream.write_all(&Frame::new(kind, stream, payload.into()).encode()).await.unwrap();
    }

    async fn frame(&mut self) -> Frame {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return frame;
            }
            assert_ne!(self.stream.read_buf(self.decoder.buffer_mut()).await.unwrap(), 0, "the link ended");
        }
    }

    /// All that the agent sent up to here, and all that it was sent is handled. An answer to a PING goes before what waits
    /// already, so the second one is behind it.
    async fn settled(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        for round in [1, 2] {
            self.send(FrameType::Ping, 0, [0, 0, 0, 0, 0, 0, 0, 0, round]).await;
            loop {
                let frame = self.frame().await;
                if frame.kind == FrameType::Ping {
                    assert_eq!(frame.payload.to_vec(), [1, 0, 0, 0, 0, 0, 0, 0, round]);
                    break;
                }
                frames.push(frame);
            }
        }
        frames
    }

    async fn offer(&mut self, stream: u32) {
        self.send(FrameType::Open, stream, prost::Message::encode_to_vec(&wire::ChannelOffer::default())).await;
    }
}

fn link() -> (Arc<Link>, mpsc::Receiver<Event>, Node) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let limits = wire::Limits { requests: 4, channels: 4, message: 0, window: WINDOW };
    let (link, events) = Link::start(near, Decoder::new(), &limits);
    (link, events, Node { stream: far, decoder: Decoder::new() })
}

async fn offered(events: &mut mpsc::Receiver<Event>) -> Arc<Channel> {
    match events.recv().await {
        Some(Event::Open(_, channel)) => channel,
        _ => panic!("another event"),
    }
}

fn reason() -> Problem {
    Problem::new(ProblemCode::ChannelCut, "the policy changed")
}

#[tokio::test]
async fn what_a_closed_channel_left_unread_is_gone_when_it_is_cut() {
    let (_link, mut events, mut node) = link();
    node.offer(2).await;
    node.send(FrameType::Data, 2, [7; 100]).await;
    node.send(FrameType::Close, 2, []).await;
    node.send(FrameType::Data, 2, [7; 100]).await;
    node.settled().await;
    let channel = offered(&mut events).await;
    assert_eq!(channel.unread(), (100, None), "it can be read; nothing came after the end");
    node.send(FrameType::Cut, 2, wire::Problem::reason(&reason())).await;
    node.settled().await;
    assert_eq!(channel.unread(), (0, Some(reason())));
}

#[tokio::test]
async fn what_a_closed_channel_left_unread_is_gone_with_the_link() {
    let (link, mut events, mut node) = link();
    node.offer(2).await;
    node.send(FrameType::Data, 2, [7; 100]).await;
    node.send(FrameType::Close, 2, []).await;
    node.settled().await;
    let channel = offered(&mut events).await;
    link.end(reason());
    assert_eq!(channel.unread(), (0, Some(reason())));
}

#[tokio::test]
async fn a_channel_that_the_peer_closed_is_forgotten_without_a_word_and_its_stream_may_be_used_again() {
    let (link, mut events, mut node) = link();
    node.offer(2).await;
    node.send(FrameType::Close, 2, []).await;
    node.settled().await;
    let first = offered(&mut events).await;
    link.close_channel(&first);
    assert_eq!(node.settled().await, []);
    node.offer(2).await;
    node.settled().await;
    let second = offered(&mut events).await;
    link.close_channel(&first);
    link.cut_channel(&first, &reason());
    assert_eq!(node.settled().await, [], "the stream is another channel's");
    link.close_channel(&second);
    assert_eq!(node.frame().await.kind, FrameType::Close);
}

#[tokio::test]
async fn a_node_that_offers_channels_without_end_is_refused() {
    let (_link, mut events, mut node) = link();
    let mut channels = Vec::new();
    for n in 1..=600 {
        node.offer(2 * n).await;
        if n % 100 == 0 {
            let refused = node.settled().await;
            while let Ok(Event::Open(_, channel)) = events.try_recv() {
                channels.push(channel);
            }
            assert!(refused.iter().all(|frame| frame.kind == FrameType::Cut));
            assert_eq!(refused.len(), if n == 600 { 600 - channels.len() } else { 0 });
        }
    }
    assert_eq!(channels.len(), 512);
}

#[tokio::test]
async fn data_beyond_the_window_cuts_its_channel_alone() {
    let (_link, mut events, mut node) = link();
    node.offer(2).await;
    node.offer(4).await;
    for _ in 0..5 {
        node.send(FrameType::Data, 2, vec![0; 65_536]).await;
    }
    node.send(FrameType::Data, 4, [7; 100]).await;
    let answered = node.settled().await;
    assert_eq!(answered.iter().map(|frame| (frame.kind, frame.stream)).collect::<Vec<_>>(), [(FrameType::Cut, 2)]);
    let (first, second) = (offered(&mut events).await, offered(&mut events).await);
    assert_eq!(first.unread().1.unwrap().code, ProblemCode::Protocol);
    assert_eq!(second.unread(), (100, None));
}
