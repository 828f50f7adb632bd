//! What a connection's frames mean: requests are put together and handed on, channel frames go to their route.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use burgrave_control::{LinkBinding, Resumed};
use burgrave_identity::VerifiedIdentity;
use burgrave_identity::tls::LinkPeer;
use burgrave_protocol::frame::{Frame, FrameType};
use burgrave_protocol::message::{self, Assembler, MAX_MESSAGE, MessageError};
use burgrave_protocol::{VERSION, credit, wire};
use burgrave_types::{Problem, ProblemCode, Standing};
use zeroize::Zeroizing;

use super::attest::millis;
use super::peer::{Busy, Peer};
use super::requests::{Shared, invalid};
use super::route::{Route, Side};
use super::{LinkServer, lock};

/// One connection after its handshake.
pub(super) struct Session {
    shared: Arc<Shared>,
    requests: Mutex<Requests>,
    resumes: Option<VerifiedIdentity>,
}

/// Requests that are under way.
struct Requests {
    assembler: Assembler,
    /// Bytes of them that count against what unattested connections may hold together.
    counted: usize,
}

impl Session {
    pub(super) fn new(server: Arc<LinkServer>, link: Arc<Peer>, peer: LinkPeer, exporter: [u8; 32]) -> Self {
        let (identity_spki, resumes) = match peer {
            LinkPeer::Unattested { spki } => (spki, None),
            LinkPeer::Svid(identity) => (identity.spki.clone(), Some(identity)),
        };
        let binding = LinkBinding { exporter, identity_spki };
        let shared = Shared::new(server, link, binding);
        let requests = Requests { assembler: Assembler::new(MAX_MESSAGE), counted: 0 };
        Self { shared, requests: Mutex::new(requests), resumes }
    }

    pub(super) fn link(&self) -> &Peer {
        &self.shared.link
    }

    pub(super) fn is_attested(&self) -> bool {
        self.shared.instance().is_some()
    }

    /// Answers HELLO; a peer with a live SVID gets its standing back.
    ///
    /// # Errors
    /// Why the link ends: the node is behind the agent, or the instance's access was ended.
    pub(super) fn welcome(&self, hello: &wire::Hello) -> Result<(), Problem> {
        let server = &self.shared.server;
        let revision = server.control.revision().0;
        if revision < hello.revision {
            let detail = format!(
                "this node is at revision {revision}, and the agent has seen revision {}; it does not serve",
                hello.revision
            );
            return Err(Problem::new(ProblemCode::Unavailable, detail)
                .with_fix("use another node; the operator checks this one's store"));
        }
        let mut ack = wire::HelloAck {
            version: VERSION,
            node: server.node.to_string(),
            revision,
            limits: Some(wire::Limits {
                requests: to_u32(server.limits.requests),
                channels: to_u32(server.limits.channels),
                message: to_u32(MAX_MESSAGE),
                window: credit::WINDOW,
            }),
            ..wire::HelloAck::default()
        };
        let resumed = self.resumed()?;
        if let Some(resumed) = &resumed {
            ack.revision = resumed.revision.0;
            ack.instance = resumed.instance.as_bytes().to_vec();
            ack.until = resumed.until.unix_millis();
            ack.interval = millis(resumed.interval);
        }
        // Before the instance can be found here: what is pushed to it comes after.
        self.shared.link.control(FrameType::Hello, 0, &prost::Message::encode_to_vec(&ack));
        resumed.map_or(Ok(()), |resumed| self.shared.attested(resumed.instance))
    }

    /// The standing that the peer still has, where it comes with an SVID.
    fn resumed(&self) -> Result<Option<Resumed>, Problem> {
        let Some(identity) = &self.resumes else { return Ok(None) };
        match self.shared.server.control.resume(identity) {
            Ok(resumed) if matches!(resumed.standing, Standing::Fresh { .. }) => Ok(Some(resumed)),
            Ok(_) => Ok(None),
            Err(problem) if problem.code == ProblemCode::Revoked => Err(problem),
            Err(problem) => {
                tracing::info!(%problem, peer = %identity.spiffe_id, "a link must attest anew");
                Ok(None)
            }
        }
    }

    /// Takes one frame.
    ///
    /// # Errors
    /// Why the connection ends.
    pub(super) fn frame(&self, frame: Frame) -> Result<(), Problem> {
        let link = &self.shared.link;
        match frame.kind {
            FrameType::Request => self.request(&frame),
            FrameType::Data | FrameType::Credit | FrameType::Close | FrameType::Cut => {
                if let Some((route, side)) = link.channel(frame.stream) {
                    self.channel_frame(&route, side, frame)?;
                }
                Ok(())
            }
            FrameType::Ping => match frame.payload.split_first() {
                Some((0, _)) => {
                    link.pong(&frame.payload);
                    Ok(())
                }
                Some((1, _)) => Ok(()),
                _ => Err(violation("a PING is neither question (0) nor answer (1)")),
            },
            FrameType::GoAway => {
                let reason: Option<wire::Problem> = message::decode("reason", &frame.payload).ok();
                let reason = reason.map(Problem::from).map_or_else(String::new, |reason| reason.to_string());
                tracing::info!(%reason, "an agent said goodbye");
                link.end_silently();
                Ok(())
            }
            FrameType::Hello | FrameType::Response | FrameType::Push | FrameType::Open => {
                Err(violation(format!("an agent does not send {:?} here", frame.kind)))
            }
        }
    }

    /// The connection is over: its instance is no longer linked, its channels end.
    pub(super) fn finish(&self) {
        let shared = &self.shared;
        shared.server.hub.disconnected(&shared.link, shared.instance());
        for channel in shared.link.take_unreported() {
            shared.server.control.channel_closed(channel, "the link of a side ended");
        }
    }

    /// Puts a request together. Before attestation, all connections together are held to a bound.
    fn assemble(&self, frame: &Frame) -> Result<Option<Zeroizing<Vec<u8>>>, Problem> {
        let mut requests = lock(&self.requests);
        let whole = requests.assembler.push(frame.stream, &frame.payload).map_err(broken)?;
        let counted = if self.is_attested() { 0 } else { requests.assembler.held() };
        let before = std::mem::replace(&mut requests.counted, counted);
        let (all, most) = (&self.shared.server.unattested, self.shared.server.limits.unattested_bytes);
        let held = all.fetch_add(counted, Ordering::Relaxed) + counted;
        all.fetch_sub(before, Ordering::Relaxed);
        if counted > before && held - before > most {
            let detail = format!("agents that are not attested hold {most} bytes of requests, which is the limit");
            return Err(Problem::new(ProblemCode::Limit, detail).with_fix("try again later"));
        }
        Ok(whole)
    }

    fn request(&self, frame: &Frame) -> Result<(), Problem> {
        if frame.stream.is_multiple_of(2) {
            return Err(violation(format!("a request stands on stream {}; an agent's are odd", frame.stream)));
        }
        let Some(whole) = self.assemble(frame)? else { return Ok(()) };
        let request: wire::Request = message::decode("Request", &whole).map_err(broken)?;
        let shared = &self.shared;
        match shared.link.begin_request(frame.stream, shared.server.limits.requests) {
            Ok(()) => {}
            Err(Busy::Taken) => return Err(violation(format!("stream {} is in use", frame.stream))),
            Err(Busy::Full) => {
                let most = shared.server.limits.requests;
                let problem =
                    Problem::new(ProblemCode::Limit, format!("{most} requests are in flight, which is the limit"))
                        .with_fix("wait for answers first");
                shared.link.respond(frame.stream, &problem.into());
                return Ok(());
            }
        }
        match request.operation {
            Some(operation) => shared.dispatch(frame.stream, operation),
            None => shared.answer(frame.stream, Err(invalid("the request names no operation that this node knows"))),
        }
        Ok(())
    }

    fn channel_frame(&self, route: &Arc<Route>, side: Side, frame: Frame) -> Result<(), Problem> {
        let (control, hub) = (&self.shared.server.control, &self.shared.server.hub);
        let fault = match frame.kind {
            FrameType::Data => route.data(side, frame.payload, hub.tap()).err(),
            FrameType::Credit => {
                let given = wire::fixed("CREDIT", &frame.payload).map_err(broken)?;
                route.credit(side, u32::from_be_bytes(given)).err()
            }
            FrameType::Close => {
                if hub.close_route(route, side) {
                    control.channel_closed(route.channel, "closed by a side");
                }
                None
            }
            _ => {
                let reason: wire::Problem = message::decode("reason", &frame.payload).map_err(broken)?;
                Some(Problem::from(reason))
            }
        };
        if let Some(reason) = fault
            && hub.drop_route(route, &reason)
        {
            control.channel_closed(route.channel, &reason.detail);
        }
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.server.unattested.fetch_sub(lock(&self.requests).counted, Ordering::Relaxed);
    }
}

fn broken(error: MessageError) -> Problem {
    violation(error.to_string())
}

fn violation(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemCode::Protocol, detail)
}

fn to_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
