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
    /// Channels that this side has closed, and whose last bytes wait for the other: their streams are free again.
    closing: HashMap<ChannelId, Arc<Route>>,
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
        let queued = self.queue(|outbox| outbox.control(kind, stream, payload));
        self.queued(queued);
    }

    /// Queues the answer to a request; one that is too long becomes a problem.
    pub(super) fn respond(&self, stream: u32, response: &wire::Response) {
        let respond =
            |response: &wire::Response| self.queue(|outbox| outbox.message(FrameType::Response, stream, response));
        let queued = match respond(response) {
            Err(OutboxError::Message(error)) => respond(&Problem::new(ProblemCode::Limit, error.to_string()).into()),
            other => other,
        };
        self.queued(queued);
    }

    /// Queues a push.
    pub(super) fn push(&self, push: &wire::Push) {
        self.control(FrameType::Push, 0, &prost::Message::encode_to_vec(push));
    }

    /// Queues the answer to a PING, whose payload this is.
    pub(super) fn pong(&self, asked: &[u8]) {
        self.act(|outbox| outbox.pong(asked));
    }

    /// Queues credit for a channel.
    pub(super) fn credit(&self, stream: u32, given: u32) {
        self.act(|outbox| outbox.credit(stream, given));
    }

    /// Queues a channel's bytes.
    pub(super) fn data(&self, stream: u32, bytes: Bytes) -> Result<(), OutboxError> {
        self.queue(|outbox| outbox.data(stream, bytes))?;
        self.wake.notify_one();
        Ok(())
    }

    /// Queues the end of a channel after its bytes.
    pub(super) fn close(&self, stream: u32) {
        self.act(|outbox| outbox.close(stream));
    }

    /// Forgets a channel's queued bytes.
    pub(super) fn purge(&self, stream: u32) {
        lock(&self.outbox).purge(stream);
    }

    /// Takes the next batch to write, and gives the channels whose end is in it.
    pub(super) fn fill(&self, batch: &mut Vec<u8>, enough: usize) -> Vec<Arc<Route>> {
        let closed = {
            let mut outbox = lock(&self.outbox);
            let closed = outbox.fill(batch, enough);
            if outbox.control_bytes() <= HIGH_WATER {
                self.drained.notify_one();
            }
            closed
        };
        closed.into_iter().filter_map(|stream| self.channel(stream)).map(|(route, _)| route).collect()
    }

    /// Whether the peer is behind with reading its answers.
    pub(super) fn is_behind(&self) -> bool {
        lock(&self.outbox).control_bytes() > HIGH_WATER
    }

    /// Ends the connection with a reason; the first reason stands. When this returns, nothing of a channel is sent any more,
    /// nothing is queued and nothing is read.
    pub(super) fn end(&self, reason: &Problem) {
        self.end_with(|outbox| {
            // Where even this does not fit, the connection ends without a word.
            let _ = outbox.control(FrameType::GoAway, 0, &wire::Problem::reason(reason));
        });
    }

    /// Ends the connection without a word: the peer is gone.
    pub(super) fn end_silently(&self) {
        self.end_with(|_| {});
    }

    fn end_with(&self, last_words: impl FnOnce(&mut Outbox)) {
        if !self.ended.swap(true, Ordering::SeqCst) {
            let mut outbox = lock(&self.outbox);
            outbox.purge_all();
            last_words(&mut outbox);
        }
        self.end.notify_one();
        self.wake.notify_one();
    }

    /// Does something with the outbox, as long as the connection lives.
    ///
    /// INVARIANT: whether it does is looked at under the outbox's lock, which the end takes after it is said: what is queued
    /// is purged, and what would be queued later is not.
    fn queue(&self, act: impl FnOnce(&mut Outbox) -> Result<(), OutboxError>) -> Result<(), OutboxError> {
        let mut outbox = lock(&self.outbox);
        if self.has_ended() { Ok(()) } else { act(&mut outbox) }
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

    /// This side closed the channel: its stream is free, and its last bytes are on their way.
    pub(super) fn closing_channel(&self, stream: u32, route: &Arc<Route>) {
        let mut streams = lock(&self.streams);
        streams.channels.remove(&stream);
        streams.closing.insert(route.channel, Arc::clone(route));
    }

    /// The last bytes of a channel that this side closed are gone.
    pub(super) fn remove_closing(&self, channel: ChannelId) {
        lock(&self.streams).closing.remove(&channel);
    }

    /// The channels that this side has closed, and whose last bytes still wait.
    pub(super) fn closing(&self) -> Vec<Arc<Route>> {
        lock(&self.streams).closing.values().cloned().collect()
    }

    /// All channels, as they are now, but for those that this side has closed.
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

    /// As [`Peer::queue`], with what always fits.
    fn act(&self, act: impl FnOnce(&mut Outbox)) {
        let acted = self.queue(|outbox| {
            act(outbox);
            Ok(())
        });
        self.queued(acted);
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
