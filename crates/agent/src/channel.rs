//! A channel to another enclave: a byte stream, protected end to end, held to its credit.
//!
//! The link's reader only queues what arrives; TLS runs in the task that reads or writes the stream. So a channel costs
//! other channels and requests nothing, and an application that does not read is felt by its peer alone.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};

use burgrave_channel::{ChannelError, Endpoint, Received, State};
use burgrave_protocol::credit::{Credit, CreditError, Receiver};
use burgrave_protocol::outbox::TURN;
use burgrave_protocol::pieces::Pieces;
use burgrave_types::{ChannelId, Clock, Problem, ProblemCode, SpiffeId};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::link::Link;
use crate::lock;

/// Plaintext that one write takes.
const WRITE: usize = 64 * 1024;

/// The outer side of a channel: what the link knows of it.
pub(crate) struct Channel {
    link: Weak<Link>,
    stream: u32,
    state: Mutex<Outer>,
}

struct Outer {
    /// Ciphertext that came and was not taken yet; at most the window.
    inbound: Pieces,
    receiver: Receiver,
    credit: Credit,
    /// Ciphertext that waits for credit.
    outbound: BytesMut,
    peer_closed: bool,
    cut: Option<Problem>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Channel {
    pub(crate) fn new(link: Weak<Link>, stream: u32) -> Self {
        let state = Outer {
            inbound: Pieces::default(),
            receiver: Receiver::new(),
            credit: Credit::new(),
            outbound: BytesMut::new(),
            peer_closed: false,
            cut: None,
            reader: None,
            writer: None,
        };
        Self { link, stream, state: Mutex::new(state) }
    }

    pub(crate) fn stream(&self) -> u32 {
        self.stream
    }

    pub(crate) fn is_closed_by_peer(&self) -> bool {
        lock(&self.state).peer_closed
    }

    /// What arrived and was not taken, in bytes, and why the channel was cut.
    #[cfg(test)]
    pub(crate) fn unread(&self) -> (usize, Option<Problem>) {
        let state = lock(&self.state);
        (state.inbound.len(), state.cut.clone())
    }

    /// Queues what the peer sent.
    pub(crate) fn receive(&self, bytes: Bytes) -> Result<(), CreditError> {
        let mut state = lock(&self.state);
        if state.peer_closed {
            return Ok(());
        }
        state.receiver.receive(bytes.len())?;
        state.inbound.push(bytes);
        state.wake_reader();
        Ok(())
    }

    /// Takes credit, and sends what waited for it.
    pub(crate) fn grant(&self, given: u32) -> Result<(), CreditError> {
        let mut state = lock(&self.state);
        state.credit.grant(given)?;
        self.flush(&mut state);
        Ok(())
    }

    /// The peer sends no more.
    pub(crate) fn closed_by_peer(&self) {
        let mut state = lock(&self.state);
        state.peer_closed = true;
        state.wake_both();
    }

    /// Ends the channel now: what was not delivered is discarded.
    pub(crate) fn cut(&self, reason: &Problem) {
        let mut state = lock(&self.state);
        state.cut.get_or_insert_with(|| reason.clone());
        state.inbound.clear();
        state.outbound.clear();
        state.wake_both();
    }

    /// Ends the channel because of what this side found wrong with it, and tells the other.
    pub(crate) fn refuse(&self, reason: &Problem) {
        if let Some(link) = self.link.upgrade() {
            link.cut_channel(self, reason);
        }
        self.cut(reason);
    }

    /// Sends what waits, as far as there is credit.
    fn flush(&self, state: &mut Outer) {
        let most = state.outbound.len().min(state.credit.available() as usize);
        if most > 0 && state.credit.spend(most).is_ok() {
            let bytes = state.outbound.split_to(most).freeze();
            if let Some(link) = self.link.upgrade() {
                link.data(self.stream, bytes);
            }
        }
        if state.outbound.is_empty()
            && let Some(writer) = state.writer.take()
        {
            writer.wake();
        }
    }

    /// Accounts for ciphertext that was taken, and gives the peer credit for it.
    fn consumed(&self, state: &mut Outer, bytes: usize) {
        if let Some(given) = state.receiver.consume(bytes)
            && let Some(link) = self.link.upgrade()
        {
            link.credit(self.stream, given);
        }
    }
}

impl Outer {
    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn wake_both(&mut self) {
        self.wake_reader();
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}

/// A byte stream to one instance of another enclave.
///
/// Bytes are protected end to end; the node that relays them sees ciphertext and sizes. Shutting down the write side tells
/// the peer that no more comes, and its reads end there; dropping the stream ends both directions, and the peer is told of an
/// error if bytes were still waiting for its credit (shut down first to wait for them). A stream that is cut
/// (by the node, when a policy changes or a side loses its standing; by a side; with the link) fails from then on with
/// [`io::ErrorKind::ConnectionAborted`] around the [`Problem`], and what had arrived and was not read is gone.
pub struct ChannelStream {
    outer: Arc<Channel>,
    inner: Mutex<Inner>,
    peer: SpiffeId,
    id: ChannelId,
    clock: Arc<dyn Clock>,
}

struct Inner {
    /// `None` once the channel was cut: its plaintext is wiped with it.
    endpoint: Option<Endpoint>,
    failed: Option<Problem>,
}

impl ChannelStream {
    pub(crate) fn new(outer: Arc<Channel>, endpoint: Endpoint, clock: Arc<dyn Clock>) -> Self {
        let (peer, id) = (endpoint.peer().clone(), endpoint.channel());
        Self { outer, inner: Mutex::new(Inner { endpoint: Some(endpoint), failed: None }), peer, id, clock }
    }

    /// The peer, as the grant names it and its certificate proves it.
    pub fn peer(&self) -> &SpiffeId {
        &self.peer
    }

    /// The channel's id.
    pub fn id(&self) -> ChannelId {
        self.id
    }

    /// Why the channel was cut or failed, where it was.
    pub fn problem(&self) -> Option<Problem> {
        lock(&self.outer.state).cut.clone().or_else(|| lock(&self.inner).failed.clone())
    }

    /// Drives the handshake until both sides have confirmed.
    pub(crate) async fn opened(&self) -> Result<(), Problem> {
        std::future::poll_fn(|cx| {
            let (mut inner, mut state) = self.locked();
            match self.advance(&mut inner, &mut state) {
                Err(problem) => Poll::Ready(Err(problem)),
                Ok(endpoint) if endpoint.state() == State::Open || endpoint.state() == State::Closing => {
                    Poll::Ready(Ok(()))
                }
                Ok(_) if state.peer_closed => {
                    Poll::Ready(Err(Problem::new(ProblemCode::PeerUnavailable, "the peer closed the channel at once")))
                }
                Ok(_) => {
                    state.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// INVARIANT: always in this order.
    fn locked(&self) -> (std::sync::MutexGuard<'_, Inner>, std::sync::MutexGuard<'_, Outer>) {
        let inner = lock(&self.inner);
        (inner, lock(&self.outer.state))
    }

    /// Takes what arrived, as long as nothing waits to be read, and sends what that made.
    fn advance<'a>(&self, inner: &'a mut Inner, state: &mut Outer) -> Result<&'a mut Endpoint, Problem> {
        if let Some(reason) = &state.cut {
            inner.endpoint = None;
            return Err(inner.failed.clone().unwrap_or_else(|| reason.clone()));
        }
        let Inner { endpoint, failed } = inner;
        let Some(endpoint) = endpoint else { return Err(failed.clone().unwrap_or_else(gone)) };
        let now = self.clock.now();
        while endpoint.unread() == 0 {
            let bytes = state.inbound.take(TURN);
            if bytes.is_empty() {
                break;
            }
            let fed = endpoint.feed(&bytes, now);
            self.outer.consumed(state, bytes.len());
            self.send(endpoint, state);
            if let Err(error) = fed {
                return Err(self.fail(failed, state, &error));
            }
        }
        self.send(endpoint, state);
        Ok(endpoint)
    }

    fn send(&self, endpoint: &mut Endpoint, state: &mut Outer) {
        let output = endpoint.take_output();
        state.outbound.extend_from_slice(&output);
        self.outer.flush(state);
    }

    /// The inner session failed: nothing more is taken or given.
    fn fail(&self, failed: &mut Option<Problem>, state: &mut Outer, error: &ChannelError) -> Problem {
        let code = match error {
            ChannelError::Expired { .. } | ChannelError::ByteLimit(_) => ProblemCode::ChannelCut,
            _ => ProblemCode::Protocol,
        };
        let problem = Problem::new(code, format!("the channel failed: {error}"));
        if let Some(link) = self.outer.link.upgrade() {
            link.cut_channel(&self.outer, &problem);
        }
        *failed = Some(problem.clone());
        state.cut.get_or_insert_with(|| problem.clone());
        state.inbound.clear();
        state.wake_both();
        problem
    }
}

impl AsyncRead for ChannelStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (mut inner, mut state) = this.locked();
        let endpoint = match this.advance(&mut inner, &mut state) {
            Ok(endpoint) => endpoint,
            Err(problem) => return Poll::Ready(Err(aborted(problem))),
        };
        let read = endpoint.read(buf.initialize_unfilled(), this.clock.now());
        match read {
            Ok(Received::Bytes(bytes)) => {
                buf.advance(bytes);
                Poll::Ready(Ok(()))
            }
            Ok(Received::End) => Poll::Ready(Ok(())),
            Ok(Received::Nothing) if buf.remaining() == 0 => Poll::Ready(Ok(())),
            Ok(Received::Nothing) if state.peer_closed => {
                let error = endpoint.end_of_input().err().unwrap_or(ChannelError::Truncated);
                let problem = this.fail(&mut inner.failed, &mut state, &error);
                Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, problem)))
            }
            Ok(Received::Nothing) => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(aborted(this.fail(&mut inner.failed, &mut state, &error)))),
        }
    }
}

impl AsyncWrite for ChannelStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let (mut inner, mut state) = this.locked();
        let Inner { endpoint, failed } = &mut *inner;
        if let Some(reason) = &state.cut {
            let problem = failed.clone().unwrap_or_else(|| reason.clone());
            *endpoint = None;
            return Poll::Ready(Err(aborted(problem)));
        }
        if state.peer_closed {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, "the peer has closed the channel")));
        }
        let Some(endpoint) = endpoint else { return Poll::Ready(Err(aborted(failed.clone().unwrap_or_else(gone)))) };
        if !state.outbound.is_empty() {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let written = endpoint.write(buf.get(..WRITE).unwrap_or(buf), this.clock.now());
        this.send(endpoint, &mut state);
        match written {
            Ok(0) if !buf.is_empty() => {
                // Only before the channel is open, which `opened` has waited for.
                state.writer = Some(cx.waker().clone());
                Poll::Pending
            }
            Ok(bytes) => Poll::Ready(Ok(bytes)),
            Err(ChannelError::Closed) => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, ChannelError::Closed.to_string())))
            }
            Err(error) => Poll::Ready(Err(aborted(this.fail(failed, &mut state, &error)))),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (inner, mut state) = this.locked();
        if let Some(reason) = &state.cut {
            return Poll::Ready(Err(aborted(inner.failed.clone().unwrap_or_else(|| reason.clone()))));
        }
        if state.outbound.is_empty() || state.peer_closed {
            return Poll::Ready(Ok(()));
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        {
            let (mut inner, mut state) = self.locked();
            if let Some(endpoint) = &mut inner.endpoint
                && state.cut.is_none()
            {
                endpoint.close();
                self.send(endpoint, &mut state);
            }
        }
        self.poll_flush(cx)
    }
}

impl Drop for ChannelStream {
    fn drop(&mut self) {
        let (mut inner, mut state) = self.locked();
        if let Some(endpoint) = &mut inner.endpoint
            && state.cut.is_none()
        {
            endpoint.close();
            self.send(endpoint, &mut state);
        }
        drop(state);
        if let Some(link) = self.outer.link.upgrade() {
            link.close_channel(&self.outer);
        }
    }
}

impl std::fmt::Debug for ChannelStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChannelStream({} with {})", self.id, self.peer)
    }
}

fn aborted(problem: Problem) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, problem)
}

fn gone() -> Problem {
    Problem::new(ProblemCode::ChannelCut, "the channel has ended")
}
