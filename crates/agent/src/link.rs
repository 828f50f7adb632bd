//! One connection to a node: requests out and answers in, channels' frames to and fro.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use burgrave_protocol::frame::{Decoder, Frame, FrameType};
use burgrave_protocol::message::{self, Assembler, MAX_MESSAGE, MessageError};
use burgrave_protocol::outbox::{Outbox, OutboxError, OutboxLimits};
use burgrave_protocol::wire::{self, request::Operation, response::Outcome};
use burgrave_types::{Problem, ProblemCode};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout};
use zeroize::{Zeroize, Zeroizing};

use crate::channel::Channel;
use crate::lock;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);
/// After how much silence the agent pings, and ends the link; also how long one write may take.
const PING_AFTER: Duration = Duration::from_secs(15);
const SILENCE: Duration = Duration::from_secs(45);
/// Bytes that are collected for one write, and that one read asks for.
const BATCH: usize = 64 * 1024;
const READ: usize = 16 * 1024;

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

    /// Forgets a channel and tells the node, after its bytes.
    pub(crate) fn close_channel(&self, stream: u32) {
        if lock(&self.channels).remove(&stream).is_some() {
            lock(&self.outbox).close(stream);
            self.wake.notify_one();
        }
    }

    /// Forgets a channel and tells the node why.
    pub(crate) fn cut_channel(&self, stream: u32, reason: &Problem) {
        if lock(&self.channels).remove(&stream).is_some() {
            lock(&self.outbox).purge(stream);
            self.control(FrameType::Cut, stream, &wire::Problem::reason(reason));
        }
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

    async fn write(self: Arc<Self>, mut writer: impl AsyncWrite + Unpin) {
        let mut batch = Zeroizing::new(Vec::with_capacity(READ));
        loop {
            if lock(&self.pending).len() > 1 || !lock(&self.channels).is_empty() {
                // Lets what other tasks are about to send join the batch.
                tokio::task::yield_now().await;
            }
            batch.clear();
            lock(&self.outbox).fill(&mut batch, BATCH);
            if !batch.is_empty() {
                let written = timeout(SILENCE, async {
                    writer.write_all(&batch).await?;
                    writer.flush().await
                });
                if !matches!(written.await, Ok(Ok(()))) {
                    self.end(Problem::new(ProblemCode::Unavailable, "the node does not take what is sent to it"));
                    return;
                }
            } else if self.has_ended() {
                let _ = timeout(SILENCE, writer.shutdown()).await;
                return;
            } else {
                self.wake.notified().await;
            }
        }
    }

    async fn read(self: Arc<Self>, mut reader: impl AsyncRead + Unpin, decoder: Decoder, events: mpsc::Sender<Event>) {
        let reason = self.read_frames(&mut reader, decoder, &events).await;
        self.end(reason);
    }

    async fn read_frames(
        self: &Arc<Self>,
        reader: &mut (impl AsyncRead + Unpin),
        mut decoder: Decoder,
        events: &mpsc::Sender<Event>,
    ) -> Problem {
        let mut answers = Assembler::new(MAX_MESSAGE);
        let mut heard = Instant::now();
        let mut pinged = false;
        loop {
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) => {
                        if let Err(reason) = self.frame(frame, &mut answers, events) {
                            return reason;
                        }
                    }
                    Ok(None) => break,
                    Err(error) => return self.violation(error.to_string()),
                }
            }
            decoder.buffer_mut().reserve(READ);
            let alarm = heard + if pinged { SILENCE } else { PING_AFTER };
            tokio::select! {
                biased;
                () = self.end.notified() => return self.why(),
                read = reader.read_buf(decoder.buffer_mut()) => match read {
                    Ok(0) => return Problem::new(ProblemCode::Unavailable, "the node closed the link"),
                    Ok(_) => {
                        heard = Instant::now();
                        pinged = false;
                    }
                    Err(error) => {
                        return Problem::new(ProblemCode::Unavailable, format!("the link to the node broke: {error}"));
                    }
                },
                () = tokio::time::sleep_until(alarm) => {
                    if pinged {
                        let silent = format!("the node was silent for {} s", SILENCE.as_secs());
                        return Problem::new(ProblemCode::Unavailable, silent);
                    }
                    pinged = true;
                    self.control(FrameType::Ping, 0, &[0; 9]);
                }
            }
        }
    }

    fn frame(
        self: &Arc<Self>,
        frame: Frame,
        answers: &mut Assembler,
        events: &mpsc::Sender<Event>,
    ) -> Result<(), Problem> {
        let broken = |error: MessageError| self.violation(error.to_string());
        match frame.kind {
            FrameType::Response => {
                if let Some(whole) = answers.push(frame.stream, &frame.payload).map_err(broken)? {
                    self.answered(frame.stream, message::decode("Response", &whole).map_err(broken)?);
                }
            }
            FrameType::Push => {
                let push = message::decode("Push", &frame.payload).map_err(broken)?;
                self.event(events, Event::Push(push))?;
            }
            FrameType::Open => {
                let offer = message::decode("ChannelOffer", &frame.payload).map_err(broken)?;
                let channel = self.add_channel(frame.stream);
                self.event(events, Event::Open(offer, channel))?;
            }
            FrameType::Data => {
                if let Some(channel) = self.channel(frame.stream)
                    && let Err(error) = channel.receive(frame.payload)
                {
                    let reason = Problem::new(ProblemCode::Protocol, error.to_string());
                    self.cut_channel(frame.stream, &reason);
                    channel.cut(&reason);
                }
            }
            FrameType::Credit => {
                let given = wire::fixed("CREDIT", &frame.payload).map_err(broken)?;
                if let Some(channel) = self.channel(frame.stream)
                    && let Err(error) = channel.grant(u32::from_be_bytes(given))
                {
                    let reason = Problem::new(ProblemCode::Protocol, error.to_string());
                    self.cut_channel(frame.stream, &reason);
                    channel.cut(&reason);
                }
            }
            FrameType::Close => {
                if let Some(channel) = lock(&self.channels).remove(&frame.stream) {
                    channel.closed_by_peer();
                }
            }
            FrameType::Cut => {
                let reason: wire::Problem = message::decode("reason", &frame.payload).map_err(broken)?;
                let channel = lock(&self.channels).remove(&frame.stream);
                lock(&self.outbox).purge(frame.stream);
                if let Some(channel) = channel {
                    channel.cut(&reason.into());
                }
            }
            FrameType::Ping => {
                if let Some((0, rest)) = frame.payload.split_first() {
                    self.control(FrameType::Ping, 0, &[&[1], rest].concat());
                }
            }
            FrameType::GoAway => {
                let reason: wire::Problem = message::decode("reason", &frame.payload).map_err(broken)?;
                return Err(reason.into());
            }
            FrameType::Hello | FrameType::Request => {
                return Err(self.violation(format!("a node does not send {:?} here", frame.kind)));
            }
        }
        Ok(())
    }

    fn answered(self: &Arc<Self>, stream: u32, response: wire::Response) {
        let Some(pending) = lock(&self.pending).remove(&stream) else { return };
        let answer = match response.outcome {
            Some(Outcome::Problem(problem)) => Err(problem.into()),
            // The stream is a channel from this frame on; who asked for it may take a moment to hear so.
            Some(offer @ Outcome::Channel(_)) if pending.channel => Ok((offer, Some(self.add_channel(stream)))),
            Some(outcome) => Ok((outcome, None)),
            None => Err(unexpected("Request")),
        };
        if let Err(Ok((_, Some(channel)))) = pending.answer.send(answer) {
            // Nobody waits for it any more.
            drop(channel);
            self.close_channel(stream);
        }
    }

    fn event(&self, events: &mpsc::Sender<Event>, event: Event) -> Result<(), Problem> {
        events
            .try_send(event)
            .map_err(|_| Problem::new(ProblemCode::Limit, "the node sends more notices than are read"))
    }

    fn add_channel(self: &Arc<Self>, stream: u32) -> Arc<Channel> {
        let channel = Arc::new(Channel::new(Arc::downgrade(self), stream));
        lock(&self.channels).insert(stream, Arc::clone(&channel));
        channel
    }

    fn channel(&self, stream: u32) -> Option<Arc<Channel>> {
        lock(&self.channels).get(&stream).cloned()
    }

    /// Tells the node what it did wrong.
    fn violation(&self, detail: String) -> Problem {
        let problem = Problem::new(ProblemCode::Protocol, detail);
        let _ = lock(&self.outbox).control(FrameType::GoAway, 0, &wire::Problem::reason(&problem));
        problem
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
