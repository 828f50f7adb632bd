//! Tests of the outbox.

use proptest::prelude::*;

use super::*;
use crate::frame::{Decoder, Frame};

const LIMITS: OutboxLimits = OutboxLimits { control: 4096, data: 1 << 20 };

fn read(batch: &[u8]) -> Vec<Frame> {
    let mut decoder = Decoder::new();
    decoder.push(batch);
    let frames = std::iter::from_fn(|| decoder.next_frame().unwrap()).collect();
    assert!(decoder.buffer_mut().is_empty(), "a frame was cut");
    frames
}

#[derive(Clone, Debug)]
enum Step {
    Data(u32, usize),
    Control(u32),
    Credit(u32, u32),
    Close(u32),
    Purge(u32),
    Fill(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let stream = || 1u32..5;
    let step = prop_oneof![
        4 => (stream(), prop_oneof![1usize..200, 3_000usize..40_000]).prop_map(|(s, n)| Step::Data(s, n)),
        1 => stream().prop_map(Step::Control),
        1 => (stream(), 1u32..1000).prop_map(|(s, n)| Step::Credit(s, n)),
        1 => stream().prop_map(Step::Close),
        1 => stream().prop_map(Step::Purge),
        2 => (1usize..80_000).prop_map(Step::Fill),
    ];
    proptest::collection::vec(step, 0..80)
}

proptest! {
    #[test]
    fn each_channel_keeps_its_order_and_a_purge_leaves_nothing(steps in steps()) {
        let mut outbox = Outbox::new(LIMITS);
        let mut expected: HashMap<u32, VecDeque<u8>> = HashMap::new();
        let mut counter = 0u8;
        let mut closing = std::collections::HashSet::new();
        let mut credit: HashMap<u32, u32> = HashMap::new();
        for step in steps.into_iter().chain([Step::Fill(usize::MAX)]) {
            match step {
                Step::Data(stream, length) => {
                    if closing.contains(&stream) { continue }
                    let bytes: Vec<u8> = (0..length).map(|_| { counter = counter.wrapping_add(1); counter }).collect();
                    if outbox.data(stream, bytes.clone().into()).is_ok() {
                        expected.entry(stream).or_default().extend(bytes);
                    }
                }
                Step::Control(stream) => { let _ = outbox.control(FrameType::Cut, stream, &[0; 4]); }
                Step::Credit(stream, given) => {
                    if closing.contains(&stream) { continue }
                    outbox.credit(stream, given);
                    *credit.entry(stream).or_default() += given;
                }
                Step::Close(stream) => { outbox.close(stream); closing.insert(stream); credit.remove(&stream); }
                Step::Purge(stream) => {
                    let waiting = expected.remove(&stream).map_or(0, |bytes| bytes.len());
                    prop_assert_eq!(outbox.purge(stream), waiting);
                    closing.remove(&stream);
                    credit.remove(&stream);
                }
                Step::Fill(enough) => {
                    let mut batch = Vec::new();
                    let closed = outbox.fill(&mut batch, enough);
                    let (mut data_seen, mut closes) = (false, Vec::new());
                    for frame in read(&batch) {
                        let queue = expected.entry(frame.stream).or_default();
                        match frame.kind {
                            FrameType::Data => {
                                data_seen = true;
                                prop_assert!(frame.payload.len() <= TURN);
                                let head: Vec<u8> = queue.drain(..frame.payload.len()).collect();
                                prop_assert_eq!(head, frame.payload.to_vec());
                            }
                            FrameType::Close => {
                                data_seen = true;
                                prop_assert!(queue.is_empty() && closing.remove(&frame.stream));
                                closes.push(frame.stream);
                            }
                            FrameType::Credit => {
                                prop_assert!(!data_seen, "credit came after data");
                                let given = u32::from_be_bytes(frame.payload[..].try_into().unwrap());
                                prop_assert_eq!(credit.remove(&frame.stream), Some(given));
                            }
                            _ => prop_assert!(!data_seen, "control came after data"),
                        }
                    }
                    prop_assert_eq!(closed, closes);
                }
            }
            prop_assert_eq!(outbox.data_bytes(), expected.values().map(VecDeque::len).sum::<usize>());
            prop_assert!(outbox.control_bytes() <= LIMITS.control && outbox.data_bytes() <= LIMITS.data);
        }
        prop_assert!(outbox.is_empty() && closing.is_empty() && credit.is_empty());
    }
}

#[test]
fn channels_take_turns() {
    let mut outbox = Outbox::new(LIMITS);
    for stream in [1, 3, 5] {
        outbox.data(stream, vec![0; 3 * TURN].into()).unwrap();
    }
    let mut batch = Vec::new();
    outbox.fill(&mut batch, usize::MAX);
    let order: Vec<u32> = read(&batch).iter().map(|frame| frame.stream).collect();
    assert_eq!(order, [1, 3, 5, 1, 3, 5, 1, 3, 5]);
}

#[test]
fn small_writes_leave_as_one_frame() {
    let mut outbox = Outbox::new(LIMITS);
    for byte in 0..100u8 {
        outbox.data(1, vec![byte].into()).unwrap();
    }
    outbox.close(1);
    let mut batch = Vec::new();
    outbox.fill(&mut batch, usize::MAX);
    let kinds: Vec<_> = read(&batch).iter().map(|frame| (frame.kind, frame.payload.len())).collect();
    assert_eq!(kinds, [(FrameType::Data, 100), (FrameType::Close, 0)]);
}

#[test]
fn a_peer_that_does_not_read_fills_its_outbox_and_no_more() {
    let mut outbox = Outbox::new(OutboxLimits { control: 24, data: 10 });
    outbox.control(FrameType::Cut, 1, &[0; 4]).unwrap();
    outbox.control(FrameType::Cut, 1, &[0; 4]).unwrap();
    assert_eq!(outbox.control(FrameType::Close, 1, &[]), Err(OutboxError::Full { queued: 32, limit: 24 }));
    outbox.data(1, vec![0; 10].into()).unwrap();
    assert_eq!(outbox.data(3, vec![0].into()), Err(OutboxError::Full { queued: 11, limit: 10 }));
    assert_eq!(outbox.purge(1), 10);
    outbox.data(3, vec![0].into()).unwrap();
}

#[test]
fn credit_in_pieces_waits_as_one_frame_and_goes_with_its_channel() {
    let mut outbox = Outbox::new(OutboxLimits { control: 0, data: 0 });
    for _ in 0..100_000 {
        outbox.credit(1, 1);
        outbox.credit(3, 1);
        outbox.credit(5, 1);
    }
    outbox.purge(3);
    outbox.close(5);
    let mut batch = Vec::new();
    assert_eq!(outbox.fill(&mut batch, usize::MAX), [5]);
    let expected =
        [Frame::new(FrameType::Credit, 1, 100_000u32.to_be_bytes().to_vec()), Frame::new(FrameType::Close, 5, vec![])];
    assert_eq!(read(&batch), expected);
}

#[test]
fn of_many_pings_that_wait_the_newest_is_answered() {
    let mut outbox = Outbox::new(OutboxLimits { control: 0, data: 0 });
    for mark in 0..100u8 {
        outbox.pong(&[&[0; 8][..], &[mark]].concat());
    }
    for none in [&[][..], &[0], &[1, 0, 0, 0, 0, 0, 0, 0, 9]] {
        outbox.pong(none);
    }
    assert!(!outbox.is_empty());
    let mut batch = Vec::new();
    outbox.fill(&mut batch, usize::MAX);
    assert_eq!(read(&batch), [Frame::new(FrameType::Ping, 0, vec![1, 0, 0, 0, 0, 0, 0, 0, 99])]);
    assert!(outbox.is_empty());
}

#[test]
fn a_connection_that_ends_sends_its_last_words_and_nothing_of_its_channels() {
    let mut outbox = Outbox::new(LIMITS);
    outbox.data(1, vec![0; 100].into()).unwrap();
    outbox.close(1);
    outbox.data(3, vec![0; 100_000].into()).unwrap();
    outbox.credit(3, 7);
    outbox.purge_all();
    outbox.control(FrameType::GoAway, 0, &[]).unwrap();
    let mut batch = Vec::new();
    assert!(outbox.fill(&mut batch, usize::MAX).is_empty());
    assert_eq!(read(&batch), [Frame::new(FrameType::GoAway, 0, vec![])]);
    assert_eq!(outbox.data_bytes(), 0);
}

#[test]
fn debug_shows_no_bytes() {
    let mut outbox = Outbox::new(LIMITS);
    outbox.data(1, b"hunter2".to_vec().into()).unwrap();
    outbox.control(FrameType::Cut, 1, b"hunter2").unwrap();
    let shown = format!("{outbox:?}");
    assert!(shown.contains("data_bytes: 7") && shown.contains("control_bytes: 15"), "{shown}");
    assert!(!shown.contains("hunter2") && !shown.contains("104, 117"), "{shown}");
}
