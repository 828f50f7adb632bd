//! The outbox: what is written to a connection next.
//!
//! Control frames go before data, in the order they came; the channels' data takes turns, a TLS record's worth each; an
//! end of channel (CLOSE) comes after its data, and a purge leaves nothing of it. One batch after another is taken by the
//! connection's writer, so many small frames cost one write.

use std::collections::{HashMap, VecDeque};

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;
use zeroize::Zeroizing;

use crate::frame::{FrameType, HEADER, write};
use crate::message::{self, MessageError};

/// The bytes of data that a channel sends before the next one's turn: what fills one TLS record.
pub const TURN: usize = 16 * 1024 - HEADER;

/// Pieces smaller than this are copied together, so that a peer that sends single bytes fills no memory with bookkeeping.
const SMALL: usize = 4 * 1024;

/// Why something could not be queued.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OutboxError {
    /// The peer does not read, and the queue is full.
    #[error("{queued} bytes wait for a peer that does not read, at most {limit} may")]
    Full {
        /// Bytes that wait.
        queued: usize,
        /// Bytes that may.
        limit: usize,
    },
    /// The message is none that may be sent.
    #[error(transparent)]
    Message(#[from] MessageError),
}

/// Bounds of an outbox, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutboxLimits {
    /// Control frames that wait.
    pub control: usize,
    /// Data that waits, of all channels together.
    pub data: usize,
}

/// What waits to be written to one connection.
#[derive(Debug)]
pub struct Outbox {
    limits: OutboxLimits,
    control: VecDeque<Zeroizing<Vec<u8>>>,
    control_bytes: usize,
    channels: HashMap<u32, Queue>,
    /// INVARIANT: holds each stream of `channels` exactly once; a queue in `channels` has something to send.
    turns: VecDeque<u32>,
    data_bytes: usize,
}

#[derive(Debug, Default)]
struct Queue {
    pieces: VecDeque<Bytes>,
    /// Small pieces that came after `pieces`, copied together.
    tail: BytesMut,
    closing: bool,
}

impl Outbox {
    /// An empty outbox with these bounds.
    pub fn new(limits: OutboxLimits) -> Self {
        Self {
            limits,
            control: VecDeque::new(),
            control_bytes: 0,
            channels: HashMap::new(),
            turns: VecDeque::new(),
            data_bytes: 0,
        }
    }

    /// Queues a control frame with this payload.
    ///
    /// # Errors
    /// [`OutboxError::Full`]: end the connection, its peer does not read.
    pub fn control(&mut self, kind: FrameType, stream: u32, payload: &[u8]) -> Result<(), OutboxError> {
        let mut frame = Zeroizing::new(Vec::with_capacity(HEADER + payload.len()));
        write(&mut frame, kind, stream, payload);
        self.queue_control(frame)
    }

    /// Queues a REQ or RESP.
    ///
    /// # Errors
    /// As [`Outbox::control`]; [`OutboxError::Message`] for a message that is too long, of which nothing is queued.
    pub fn message(&mut self, kind: FrameType, stream: u32, message: &impl Message) -> Result<(), OutboxError> {
        message::frames(kind, stream, message)?.into_iter().try_for_each(|frame| self.queue_control(frame))
    }

    /// Queues a channel's bytes, which the caller has accounted for in the channel's credit.
    ///
    /// # Errors
    /// [`OutboxError::Full`]: cut the channel. Nothing is queued then.
    pub fn data(&mut self, stream: u32, bytes: Bytes) -> Result<(), OutboxError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let queued = self.data_bytes + bytes.len();
        if queued > self.limits.data {
            return Err(OutboxError::Full { queued, limit: self.limits.data });
        }
        self.data_bytes = queued;
        self.queue(stream).push(bytes);
        Ok(())
    }

    /// Queues the end of a channel, after its data.
    pub fn close(&mut self, stream: u32) {
        self.queue(stream).closing = true;
    }

    /// Forgets all that waits for a channel; gives the bytes of data forgotten.
    pub fn purge(&mut self, stream: u32) -> usize {
        let Some(queue) = self.channels.remove(&stream) else { return 0 };
        self.turns.retain(|turn| *turn != stream);
        let bytes = queue.len();
        self.data_bytes -= bytes;
        bytes
    }

    /// Appends whole frames to `batch`, control before data, until it holds `enough` bytes or nothing waits. The last
    /// frame may go beyond `enough`.
    pub fn fill(&mut self, batch: &mut Vec<u8>, enough: usize) {
        while batch.len() < enough {
            if let Some(frame) = self.control.pop_front() {
                self.control_bytes -= frame.len();
                batch.extend_from_slice(&frame);
            } else if let Some(stream) = self.turns.pop_front() {
                self.take_turn(stream, batch);
            } else {
                return;
            }
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.control.is_empty() && self.turns.is_empty()
    }

    /// Bytes of control frames that wait.
    pub fn control_bytes(&self) -> usize {
        self.control_bytes
    }

    /// Bytes of data that wait, of all channels together.
    pub fn data_bytes(&self) -> usize {
        self.data_bytes
    }

    fn queue_control(&mut self, frame: Zeroizing<Vec<u8>>) -> Result<(), OutboxError> {
        let queued = self.control_bytes + frame.len();
        if queued > self.limits.control {
            return Err(OutboxError::Full { queued, limit: self.limits.control });
        }
        self.control_bytes = queued;
        self.control.push_back(frame);
        Ok(())
    }

    fn queue(&mut self, stream: u32) -> &mut Queue {
        self.channels.entry(stream).or_insert_with(|| {
            self.turns.push_back(stream);
            Queue::default()
        })
    }

    fn take_turn(&mut self, stream: u32, batch: &mut Vec<u8>) {
        let Some(queue) = self.channels.get_mut(&stream) else { return };
        let payload = queue.take(TURN);
        if !payload.is_empty() {
            self.data_bytes -= payload.len();
            write(batch, FrameType::Data, stream, &payload);
        }
        if !queue.is_empty() {
            self.turns.push_back(stream);
            return;
        }
        if queue.closing {
            write(batch, FrameType::Close, stream, &[]);
        }
        self.channels.remove(&stream);
    }
}

impl Queue {
    fn push(&mut self, bytes: Bytes) {
        if bytes.len() < SMALL {
            self.tail.extend_from_slice(&bytes);
            if self.tail.len() < TURN {
                return;
            }
            self.pieces.push_back(self.tail.split().freeze());
        } else {
            if !self.tail.is_empty() {
                self.pieces.push_back(self.tail.split().freeze());
            }
            self.pieces.push_back(bytes);
        }
    }

    fn take(&mut self, most: usize) -> Bytes {
        if self.pieces.is_empty() {
            return self.tail.split_to(self.tail.len().min(most)).freeze();
        }
        let Some(first) = self.pieces.front_mut() else { return Bytes::new() };
        if first.len() > most {
            return first.split_to(most);
        }
        let mut whole = BytesMut::new();
        while let Some(piece) = self.pieces.front_mut() {
            let take = piece.len().min(most - whole.len());
            whole.extend_from_slice(piece.get(..take).unwrap_or_default());
            piece.advance(take);
            if !piece.is_empty() {
                break;
            }
            self.pieces.pop_front();
        }
        whole.freeze()
    }

    fn len(&self) -> usize {
        self.tail.len() + self.pieces.iter().map(Bytes::len).sum::<usize>()
    }

    fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.tail.is_empty()
    }
}

#[cfg(test)]
mod tests {
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
        Close(u32),
        Purge(u32),
        Fill(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let stream = || 1u32..5;
        let step = prop_oneof![
            4 => (stream(), prop_oneof![1usize..200, 3_000usize..40_000]).prop_map(|(s, n)| Step::Data(s, n)),
            1 => stream().prop_map(Step::Control),
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
            for step in steps.into_iter().chain([Step::Fill(usize::MAX)]) {
                match step {
                    Step::Data(stream, length) => {
                        if closing.contains(&stream) { continue }
                        let bytes: Vec<u8> = (0..length).map(|_| { counter = counter.wrapping_add(1); counter }).collect();
                        if outbox.data(stream, bytes.clone().into()).is_ok() {
                            expected.entry(stream).or_default().extend(bytes);
                        }
                    }
                    Step::Control(stream) => { let _ = outbox.control(FrameType::Credit, stream, &[0; 4]); }
                    Step::Close(stream) => { outbox.close(stream); closing.insert(stream); }
                    Step::Purge(stream) => {
                        let waiting = expected.remove(&stream).map_or(0, |bytes| bytes.len());
                        prop_assert_eq!(outbox.purge(stream), waiting);
                        closing.remove(&stream);
                    }
                    Step::Fill(enough) => {
                        let mut batch = Vec::new();
                        outbox.fill(&mut batch, enough);
                        let mut data_seen = false;
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
                                }
                                _ => prop_assert!(!data_seen, "control came after data"),
                            }
                        }
                    }
                }
                prop_assert_eq!(outbox.data_bytes(), expected.values().map(VecDeque::len).sum::<usize>());
                prop_assert!(outbox.control_bytes() <= LIMITS.control && outbox.data_bytes() <= LIMITS.data);
            }
            prop_assert!(outbox.is_empty() && closing.is_empty());
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
        outbox.control(FrameType::Credit, 1, &[0; 4]).unwrap();
        outbox.control(FrameType::Credit, 1, &[0; 4]).unwrap();
        assert_eq!(outbox.control(FrameType::Close, 1, &[]), Err(OutboxError::Full { queued: 32, limit: 24 }));
        outbox.data(1, vec![0; 10].into()).unwrap();
        assert_eq!(outbox.data(3, vec![0].into()), Err(OutboxError::Full { queued: 11, limit: 10 }));
        assert_eq!(outbox.purge(1), 10);
        outbox.data(3, vec![0].into()).unwrap();
    }
}
