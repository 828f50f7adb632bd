//! What the node's frames mean.

use std::sync::Arc;

use burgrave_protocol::frame::{Frame, FrameType};
use burgrave_protocol::message::{self, Assembler, MessageError};
use burgrave_protocol::wire::{self, response::Outcome};
use burgrave_types::{Problem, ProblemCode};
use tokio::sync::mpsc;

use super::{Event, Link, unexpected};
use crate::channel::Channel;
use crate::lock;

/// Channels of one link, at most: each may hold a window of what was not read.
const MAX_CHANNELS: usize = 512;

impl Link {
    /// Takes one frame.
    ///
    /// # Errors
    /// Why the link ends.
    pub(super) fn frame(
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
                self.offered(frame.stream, offer, events)?;
            }
            FrameType::Data => {
                if let Some(channel) = self.channel(frame.stream)
                    && let Err(error) = channel.receive(frame.payload)
                {
                    channel.refuse(&Problem::new(ProblemCode::Protocol, error.to_string()));
                }
            }
            FrameType::Credit => {
                let given = wire::fixed("CREDIT", &frame.payload).map_err(broken)?;
                if let Some(channel) = self.channel(frame.stream)
                    && let Err(error) = channel.grant(u32::from_be_bytes(given))
                {
                    channel.refuse(&Problem::new(ProblemCode::Protocol, error.to_string()));
                }
            }
            FrameType::Close => {
                // It stays until the application has done with it: what it has not read can still be cut.
                if let Some(channel) = self.channel(frame.stream) {
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
                lock(&self.outbox).pong(&frame.payload);
                self.wake.notify_one();
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
            Some(offer @ Outcome::Channel(_)) if pending.channel => {
                let added = self.add_channel(stream).inspect_err(|reason| self.cut_stream(stream, reason));
                added.map(|channel| (offer, Some(channel)))
            }
            Some(outcome) => Ok((outcome, None)),
            None => Err(unexpected("Request")),
        };
        if let Err(Ok((_, Some(channel)))) = pending.answer.send(answer) {
            // Nobody waits for it any more.
            self.close_channel(&channel);
        }
    }

    fn event(&self, events: &mpsc::Sender<Event>, event: Event) -> Result<(), Problem> {
        events
            .try_send(event)
            .map_err(|_| Problem::new(ProblemCode::Limit, "the node sends more notices than are read"))
    }

    /// The node offers a channel.
    fn offered(
        self: &Arc<Self>,
        stream: u32,
        offer: wire::ChannelOffer,
        events: &mpsc::Sender<Event>,
    ) -> Result<(), Problem> {
        if !stream.is_multiple_of(2) || self.channel(stream).is_some() {
            return Err(self.violation(format!("a channel is offered on stream {stream}, where it cannot be")));
        }
        match self.add_channel(stream) {
            Ok(channel) => self.event(events, Event::Open(offer, channel)),
            Err(full) => {
                self.cut_stream(stream, &full);
                Ok(())
            }
        }
    }

    /// The stream is a channel from now on.
    fn add_channel(self: &Arc<Self>, stream: u32) -> Result<Arc<Channel>, Problem> {
        let channel = Arc::new(Channel::new(Arc::downgrade(self), stream));
        let mut channels = lock(&self.channels);
        if channels.len() >= MAX_CHANNELS {
            let detail = format!("this agent has {MAX_CHANNELS} channels, as many as it may");
            return Err(Problem::new(ProblemCode::Limit, detail).with_fix("close some"));
        }
        // Looked at under the lock under which the end takes all channels away: none is left behind.
        if self.has_ended() {
            return Err(self.why());
        }
        channels.insert(stream, Arc::clone(&channel));
        Ok(channel)
    }

    fn channel(&self, stream: u32) -> Option<Arc<Channel>> {
        lock(&self.channels).get(&stream).cloned()
    }

    /// Tells the node what it did wrong.
    pub(super) fn violation(&self, detail: String) -> Problem {
        let problem = Problem::new(ProblemCode::Protocol, detail);
        let _ = lock(&self.outbox).control(FrameType::GoAway, 0, &wire::Problem::reason(&problem));
        problem
    }
}
