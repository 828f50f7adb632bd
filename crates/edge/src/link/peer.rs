//! One connection as the rest of the node sees it: something to send to, to end, and to find channels on.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use burgrave_protocol::frame::FrameType;
use burgrave_protocol::message::MAX_MESSAGE;
use burgrave_protocol::outbox::{Outbox, OutboxError, OutboxLimits};
use burgrave_protocol::{credit::WINDOW, wire};
use burgrave_types::{ChannelId, Problem, ProblemCode};
use bytes::Bytes;
use tokio::sync::Notify;

use super::lock;
use super::route::{Route, Side};

/// Control bytes in the outbox from which on no more frames are read from the peer until it reads its answers.
pub(super) const HIGH_WATER: usize = 1024 * 1024;

/// One connection.
pub(super) struct Peer {
    /// Tells connections of the same instance apart.
    pub(super) id: u64,
    outbox: Mutex<Outbox>,
    /// The writer waits here for something to write.
    pub(super) wake: Notify,
    /// The reader waits here for room in the outbox.
    pub(super) drained: Notify,
    ended: AtomicBool,
    /// The reader waits here for the end.
    pub(super) end: Notify,
    next_stream: AtomicU32,
    streams: Mutex<Streams>,
}

#[derive(Default)]
struct Streams {
    requests: HashSet<u32>,
    channels: HashMap<u32, (Arc<Route>, Side)>,
    /// Channels that were cut with the connection, for its task to report to `control`.
    unreported: Vec<ChannelId>,
}

impl Peer {
    pub(super) fn new(id: u64, channels: usize) -> Arc<Self> {
        let limits = OutboxLimits { control: 2 * MAX_MESSAGE, data: (channels + 1) * WINDOW as usize };
        Arc::new(Self {
            id,
            outbox: Mutex::new(Outbox::new(limits)),
            wake: Notify::new(),
            drained: Notify::new(),
            ended: AtomicBool::new(false),
            end: Notify::new(),
            next_stream: AtomicU32::new(2),
            streams: Mutex::default(),
        })
    }

    /// Queues a control frame; a peer that reads nothing is ended.
    pub(super) fn control(&self, kind: FrameType, stream: u32, payload: &[u8]) {
        let queued = lock(&self.outbox).control(kind, stream, payload);
        self.queued(queued);
    }

    /// Queues the answer to a request; one that is too long becomes a problem.
    pub(super) fn respond(&self, stream: u32, response: &wire::Response) {
        let queued = lock(&self.outbox).message(FrameType::Response, stream, response);
        match queued {
            Err(OutboxError::Message(error)) => {
                let problem = Problem::new(ProblemCode::Limit, error.to_string());
                let queued = lock(&self.outbox).message(FrameType::Response, stream, &wire::Response::from(problem));
                self.queued(queued);
            }
            other => self.queued(other),
        }
    }

    /// Queues a push.
    pub(super) fn push(&self, push: &wire::Push) {
        self.control(FrameType::Push, 0, &prost::Message::encode_to_vec(push));
    }

    /// Queues a channel's bytes.
    pub(super) fn data(&self, stream: u32, bytes: Bytes) -> Result<(), OutboxError> {
        lock(&self.outbox).data(stream, bytes)?;
        self.wake.notify_one();
        Ok(())
    }

    /// Queues the end of a channel after its bytes.
    pub(super) fn close(&self, stream: u32) {
        lock(&self.outbox).close(stream);
        self.wake.notify_one();
    }

    /// Forgets a channel's queued bytes.
    pub(super) fn purge(&self, stream: u32) {
        lock(&self.outbox).purge(stream);
    }

    /// Takes the next batch to write; whether there was any.
    pub(super) fn fill(&self, batch: &mut Vec<u8>, enough: usize) -> bool {
        let mut outbox = lock(&self.outbox);
        outbox.fill(batch, enough);
        if outbox.control_bytes() <= HIGH_WATER {
            self.drained.notify_one();
        }
        !batch.is_empty()
    }

    /// Whether the peer is behind with reading its answers.
    pub(super) fn is_behind(&self) -> bool {
        lock(&self.outbox).control_bytes() > HIGH_WATER
    }

    /// Ends the connection with a reason; the first reason stands. Nothing is read from it afterwards.
    pub(super) fn end(&self, reason: &Problem) {
        if !self.ended.swap(true, Ordering::SeqCst) {
            // Where even this does not fit, the connection ends without a word.
            let _ = lock(&self.outbox).control(FrameType::GoAway, 0, &wire::Problem::reason(reason));
        }
        self.end.notify_one();
        self.wake.notify_one();
    }

    /// Ends the connection without a word: the peer is gone.
    pub(super) fn end_silently(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.end.notify_one();
        self.wake.notify_one();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// A stream id for a channel that the node offers.
    pub(super) fn take_stream(&self) -> u32 {
        self.next_stream.fetch_add(2, Ordering::Relaxed)
    }

    /// Registers a request in flight.
    pub(super) fn begin_request(&self, stream: u32, most: usize) -> Result<(), Busy> {
        let mut streams = lock(&self.streams);
        if streams.channels.contains_key(&stream) || streams.requests.contains(&stream) {
            return Err(Busy::Taken);
        }
        if streams.requests.len() >= most {
            return Err(Busy::Full);
        }
        streams.requests.insert(stream);
        Ok(())
    }

    /// Forgets a request that was answered.
    pub(super) fn end_request(&self, stream: u32) {
        lock(&self.streams).requests.remove(&stream);
    }

    /// Whether answers to several requests, or channels' bytes, may soon make a batch.
    pub(super) fn is_busy(&self) -> bool {
        let streams = lock(&self.streams);
        streams.requests.len() > 1 || !streams.channels.is_empty()
    }

    /// Registers a channel, where the connection is alive and has not too many.
    pub(super) fn add_channel(&self, stream: u32, route: &Arc<Route>, side: Side, most: usize) -> Result<(), Busy> {
        let mut streams = lock(&self.streams);
        if self.has_ended() || streams.channels.len() >= most {
            return Err(Busy::Full);
        }
        if streams.channels.contains_key(&stream) {
            return Err(Busy::Taken);
        }
        streams.channels.insert(stream, (Arc::clone(route), side));
        Ok(())
    }

    pub(super) fn channel(&self, stream: u32) -> Option<(Arc<Route>, Side)> {
        lock(&self.streams).channels.get(&stream).cloned()
    }

    pub(super) fn remove_channel(&self, stream: u32) {
        lock(&self.streams).channels.remove(&stream);
    }

    /// All channels, as they are now.
    pub(super) fn channels(&self) -> Vec<Arc<Route>> {
        lock(&self.streams).channels.values().map(|(route, _)| Arc::clone(route)).collect()
    }

    /// Leaves a channel that was cut for the connection's task to report.
    pub(super) fn leave_unreported(&self, channel: ChannelId) {
        lock(&self.streams).unreported.push(channel);
    }

    pub(super) fn take_unreported(&self) -> Vec<ChannelId> {
        std::mem::take(&mut lock(&self.streams).unreported)
    }

    fn queued(&self, queued: Result<(), OutboxError>) {
        match queued {
            Ok(()) => self.wake.notify_one(),
            Err(error) => self.end(&Problem::new(ProblemCode::Limit, error.to_string())),
        }
    }
}

/// Why a stream cannot be begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Busy {
    /// The id is in use.
    Taken,
    /// There are as many as there may be.
    Full,
}
