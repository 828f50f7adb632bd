//! One connection to a node: requests out and answers in, channels' frames to and fro.

mod frames;
mod io;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use burgrave_protocol::frame::{Decoder, FrameType};
use burgrave_protocol::message::MAX_MESSAGE;
use burgrave_protocol::outbox::{Outbox, OutboxError, OutboxLimits};
use burgrave_protocol::wire::{self, request::Operation, response::Outcome};
use burgrave_types::{Problem, ProblemCode};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use zeroize::Zeroize;

use crate::channel::Channel;
use crate::lock;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);
/// Notices and offered channels that may wait while the agent attests again.
const EVENTS: usize = 1024;

/// What the node sends that is not an answer.
pub(crate) enum Event {
    /// A notice.
    Push(wire::Push),
    /// A channel to accept.
    Open(wire::ChannelOffer, Arc<Channel>),
}

/// A connection after HELLO.
pub(crate) struct Link {
    outbox: Mutex<Outbox>,
    wake: Notify,
    pending: Mutex<HashMap<u32, Pending>>,
    /// Also those that the peer has closed, until the application has done with them.
    channels: Mutex<HashMap<u32, Arc<Channel>>>,
    next_stream: AtomicU32,
    requests: Semaphore,
    ended: AtomicBool,
    /// The reader waits here for the end.
    end: Notify,
    /// Others wait here for it.
    gone: Notify,
    reason: OnceLock<Problem>,
}

type Answer = Result<(Outcome, Option<Arc<Channel>>), Problem>;

struct Pending {
    answer: oneshot::Sender<Answer>,
    /// Whether the stream becomes a channel when the answer is an offer.
    channel: bool,
}

impl Link {
    /// A link over `stream`, on which HELLO was exchanged; `decoder` holds what was read beyond it. Its tasks end with it.
    pub(crate) fn start<S>(stream: S, decoder: Decoder, limits: &wire::Limits) -> (Arc<Self>, mpsc::Receiver<Event>)
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let channels = (limits.channels as usize).clamp(1, 4096);
        let requests = (limits.requests as usize).clamp(1, 4096);
        let outbox = OutboxLimits { control: 8 * MAX_MESSAGE, data: (channels + 1) * limits.window as usize };
        let link = Arc::new(Self {
            outbox: Mutex::new(Outbox::new(outbox)),
            wake: Notify::new(),
            pending: Mutex::default(),
            channels: Mutex::default(),
            next_stream: AtomicU32::new(1),
            requests: Semaphore::new(requests),
            ended: AtomicBool::new(false),
            end: Notify::new(),
            gone: Notify::new(),
            reason: OnceLock::new(),
        });
        let (events, receiver) = mpsc::channel(EVENTS);
        let (reader, writer) = tokio::io::split(stream);
        tokio::spawn(Arc::clone(&link).write(writer));
        tokio::spawn(Arc::clone(&link).read(reader, decoder, events));
        (link, receiver)
    }

    /// Asks the node and waits for its answer.
    ///
    /// # Errors
    /// The node's problem; `unavailable` where the link ends first or no answer comes in time. Dropping the future forgets
    /// the request; the node may still act on it.
    pub(crate) async fn request(self: &Arc<Self>, request: wire::Request) -> Result<Outcome, Problem> {
        self.ask(request, false).await.map(|(outcome, _)| outcome)
    }

    /// Asks for a channel; its stream is live when this returns.
    ///
    /// # Errors
    /// As [`Link::request`].
    pub(crate) async fn open_channel(
        self: &Arc<Self>,
        peer: String,
    ) -> Result<(wire::ChannelOffer, Arc<Channel>), Problem> {
        match self.ask(wire::OpenChannel { peer }.into(), true).await? {
            (Outcome::Channel(offer), Some(channel)) => Ok((offer, channel)),
            _ => Err(unexpected("OpenChannel")),
        }
    }

    async fn ask(self: &Arc<Self>, mut request: wire::Request, channel: bool) -> Answer {
        let late =
            || Problem::new(ProblemCode::Unavailable, format!("the node did not answer within {} s", ANSWER.as_secs()));
        let asked = async {
            let _permit = self.requests.acquire().await.map_err(|_| self.why())?;
            let (answer, answered) = oneshot::channel();
            let pending = self.register(Pending { answer, channel })?;
            let queued = lock(&self.outbox).message(FrameType::Request, pending.stream, &request);
            if let Some(Operation::Encrypt(encrypt)) = &mut request.operation {
                encrypt.plaintext.zeroize();
            }
            match queued {
                Ok(()) => self.wake.notify_one(),
                Err(OutboxError::Message(error)) => return Err(Problem::new(ProblemCode::Limit, error.to_string())),
                Err(error) => return Err(Problem::new(ProblemCode::Unavailable, error.to_string())),
            }
            answered.await.unwrap_or_else(|_| Err(self.why()))
        };
        timeout(ANSWER, asked).await.unwrap_or_else(|_| Err(late()))
    }

    fn register(self: &Arc<Self>, entry: Pending) -> Result<Registered, Problem> {
        let mut pending = lock(&self.pending);
        // Looked at under the lock under which the end takes all entries away: none is left behind.
        if self.has_ended() {
            return Err(self.why());
        }
        let stream = loop {
            let stream = self.next_stream.fetch_add(2, Ordering::Relaxed);
            if !pending.contains_key(&stream) && !lock(&self.channels).contains_key(&stream) {
                break stream;
            }
        };
        pending.insert(stream, entry);
        Ok(Registered { link: Arc::clone(self), stream })
    }

    /// Queues a control frame.
    pub(crate) fn control(&self, kind: FrameType, stream: u32, payload: &[u8]) {
        let queued = lock(&self.outbox).control(kind, stream, payload);
        match queued {
            Ok(()) => self.wake.notify_one(),
            Err(error) => self.give_up(Problem::new(ProblemCode::Unavailable, error.to_string())),
        }
    }

    /// Queues a channel's bytes, for which there is credit.
    pub(crate) fn data(&self, stream: u32, bytes: Bytes) {
        let queued = lock(&self.outbox).data(stream, bytes);
        match queued {
            Ok(()) => self.wake.notify_one(),
            Err(error) => self.give_up(Problem::new(ProblemCode::Unavailable, error.to_string())),
        }
    }

    /// Queues credit for a channel.
    pub(crate) fn credit(&self, stream: u32, given: u32) {
        lock(&self.outbox).credit(stream, given);
        self.wake.notify_one();
    }

    /// Forgets a channel and tells the node, after its bytes. For callers that do not hold the channel's lock.
    pub(crate) fn close_channel(&self, channel: &Channel) {
        if self.forget(channel) && !channel.is_closed_by_peer() {
            lock(&self.outbox).close(channel.stream());
            self.wake.notify_one();
        }
    }

    /// Forgets a channel and tells the node why.
    pub(crate) fn cut_channel(&self, channel: &Channel, reason: &Problem) {
        if self.forget(channel) {
            lock(&self.outbox).purge(channel.stream());
            self.cut_stream(channel.stream(), reason);
        }
    }

    /// Tells the node why a channel is ended.
    fn cut_stream(&self, stream: u32, reason: &Problem) {
        self.control(FrameType::Cut, stream, &wire::Problem::reason(reason));
    }

    /// Forgets a channel; whether it was known. Its stream may be another's by now.
    fn forget(&self, channel: &Channel) -> bool {
        let mut channels = lock(&self.channels);
        let known = channels.get(&channel.stream()).is_some_and(|known| std::ptr::eq(&**known, channel));
        if known {
            channels.remove(&channel.stream());
        }
        known
    }

    /// Has the reader end the link: for callers that hold a channel's lock, which the end takes.
    fn give_up(&self, reason: Problem) {
        let _ = self.reason.set(reason);
        self.ended.store(true, Ordering::SeqCst);
        self.end.notify_one();
    }

    /// Ends the link; the first reason stands. Requests and channels end with it.
    pub(crate) fn end(&self, reason: Problem) {
        let _ = self.reason.set(reason);
        self.ended.store(true, Ordering::SeqCst);
        self.end.notify_one();
        self.gone.notify_waiters();
        self.wake.notify_one();
        self.requests.close();
        for (_, pending) in lock(&self.pending).drain() {
            let _ = pending.answer.send(Err(self.why()));
        }
        let channels: Vec<_> = lock(&self.channels).drain().collect();
        for (_, channel) in channels {
            channel.cut(&self.why());
        }
    }

    /// Says goodbye and ends.
    pub(crate) fn leave(&self, reason: Problem) {
        let _ = lock(&self.outbox).control(FrameType::GoAway, 0, &wire::Problem::reason(&reason));
        self.end(reason);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Why the link ended.
    pub(crate) fn why(&self) -> Problem {
        let lost = || Problem::new(ProblemCode::Unavailable, "the link to the node was lost");
        self.reason.get().cloned().unwrap_or_else(lost)
    }
}

/// A request that waits; forgotten when dropped.
struct Registered {
    link: Arc<Link>,
    stream: u32,
}

impl Drop for Registered {
    fn drop(&mut self) {
        lock(&self.link.pending).remove(&self.stream);
    }
}

/// The problem of an answer of another kind than its question.
pub(crate) fn unexpected(question: &str) -> Problem {
    Problem::new(ProblemCode::Protocol, format!("the node's answer to {question} is of another kind"))
        .with_fix("update the older of node and agent")
}
