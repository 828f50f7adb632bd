//! The outbox: what is written to a connection next.
//!
//! Control frames go before data, in the order they came; credit goes between the two, one frame for a channel however often
//! it was given; the channels' data takes turns, a TLS record's worth each; an end of channel (CLOSE) comes after its data, and
//! a purge leaves nothing of it. One batch after another is taken by the connection's writer, so many small frames cost one
//! write.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use prost::Message;
use zeroize::Zeroizing;

use crate::frame::{FrameType, HEADER, write};
use crate::message::{self, MessageError};
use crate::pieces::Pieces;

/// The bytes of data that a channel sends before the next one's turn: what fills one TLS record.
pub const TURN: usize = 16 * 1024 - HEADER;

/// The bytes that the answer to a PING repeats.
const PONG: usize = 8;

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
pub struct Outbox {
    limits: OutboxLimits,
    /// The answer to the newest PING that waits for one: whoever asks again gets no second frame queued.
    pong: Option<[u8; PONG]>,
    control: VecDeque<Zeroizing<Vec<u8>>>,
    control_bytes: usize,
    credit: HashMap<u32, u32>,
    /// INVARIANT: holds each stream of `credit` exactly once.
    credit_turns: VecDeque<u32>,
    channels: HashMap<u32, Queue>,
    /// INVARIANT: holds each stream of `channels` exactly once; a queue in `channels` has something to send.
    turns: VecDeque<u32>,
    data_bytes: usize,
}

/// What waits of one channel.
#[derive(Default)]
struct Queue {
    bytes: Pieces,
    /// Whether its end follows.
    closing: bool,
}

impl Outbox {
    /// An empty outbox with these bounds.
    pub fn new(limits: OutboxLimits) -> Self {
        Self {
            limits,
            pong: None,
            control: VecDeque::new(),
            control_bytes: 0,
            credit: HashMap::new(),
            credit_turns: VecDeque::new(),
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

    /// Queues the answer to a PING that asks, whose payload is `asked`; it takes the place of an answer that waits. A payload
    /// that is none is not answered.
    pub fn pong(&mut self, asked: &[u8]) {
        if let Some((0, mark)) = asked.split_first()
            && let Ok(mark) = mark.try_into()
        {
            self.pong = Some(mark);
        }
    }

    /// Queues credit for a channel: it is added to what waits for the same, so a peer that gives it in small pieces fills
    /// nothing.
    pub fn credit(&mut self, stream: u32, given: u32) {
        let turns = &mut self.credit_turns;
        let waiting = self.credit.entry(stream).or_insert_with(|| {
            turns.push_back(stream);
            0
        });
        *waiting = waiting.saturating_add(given);
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
        self.queue(stream).bytes.push(bytes);
        Ok(())
    }

    /// Queues the end of a channel, after its data. Credit for it is of no use any more.
    pub fn close(&mut self, stream: u32) {
        self.forget_credit(stream);
        self.queue(stream).closing = true;
    }

    /// Forgets all data, credit and CLOSE that wait for a channel; gives the bytes of data forgotten.
    pub fn purge(&mut self, stream: u32) -> usize {
        self.forget_credit(stream);
        let Some(queue) = self.channels.remove(&stream) else { return 0 };
        self.turns.retain(|turn| *turn != stream);
        let bytes = queue.bytes.len();
        self.data_bytes -= bytes;
        bytes
    }

    /// Forgets all data, credit and CLOSE that wait, of all channels: the connection ends.
    pub fn purge_all(&mut self) {
        self.channels.clear();
        self.turns.clear();
        self.data_bytes = 0;
        self.credit.clear();
        self.credit_turns.clear();
    }

    /// Appends whole frames to `batch`, control before data, until it holds `enough` bytes or nothing waits. The last
    /// frame may go beyond `enough`. Gives the streams whose CLOSE is in it: of these channels nothing waits any more.
    pub fn fill(&mut self, batch: &mut Vec<u8>, enough: usize) -> Vec<u32> {
        let mut closed = Vec::new();
        while batch.len() < enough {
            if let Some(mark) = self.pong.take() {
                let [a, b, c, d, e, f, g, h] = mark;
                write(batch, FrameType::Ping, 0, &[1, a, b, c, d, e, f, g, h]);
            } else if let Some(frame) = self.control.pop_front() {
                self.control_bytes -= frame.len();
                batch.extend_from_slice(&frame);
            } else if let Some(stream) = self.credit_turns.pop_front() {
                let given = self.credit.remove(&stream).unwrap_or_default();
                write(batch, FrameType::Credit, stream, &given.to_be_bytes());
            } else if let Some(stream) = self.turns.pop_front() {
                if self.take_turn(stream, batch) {
                    closed.push(stream);
                }
            } else {
                break;
            }
        }
        closed
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.pong.is_none() && self.control.is_empty() && self.credit_turns.is_empty() && self.turns.is_empty()
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

    fn forget_credit(&mut self, stream: u32) {
        if self.credit.remove(&stream).is_some() {
            self.credit_turns.retain(|turn| *turn != stream);
        }
    }

    /// Writes a turn's worth of a channel; whether its end was written.
    fn take_turn(&mut self, stream: u32, batch: &mut Vec<u8>) -> bool {
        let Some(queue) = self.channels.get_mut(&stream) else { return false };
        let payload = queue.bytes.take(TURN);
        if !payload.is_empty() {
            self.data_bytes -= payload.len();
            write(batch, FrameType::Data, stream, &payload);
        }
        if !queue.bytes.is_empty() {
            self.turns.push_back(stream);
            return false;
        }
        let closing = queue.closing;
        if closing {
            write(batch, FrameType::Close, stream, &[]);
        }
        self.channels.remove(&stream);
        closing
    }
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox")
            .field("limits", &self.limits)
            .field("control_frames", &self.control.len())
            .field("control_bytes", &self.control_bytes)
            .field("channels", &self.channels.len())
            .field("data_bytes", &self.data_bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
