//! What a connection's frames mean: requests become calls of `control`, channel frames go to their route.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use burgrave_control::{AttestRequest, AttestStep, Attested, Challenge, LinkBinding};
use burgrave_identity::VerifiedIdentity;
use burgrave_identity::tls::LinkPeer;
use burgrave_protocol::frame::{Frame, FrameType};
use burgrave_protocol::message::{self, Assembler, MAX_MESSAGE, MessageError};
use burgrave_protocol::wire::{self, request::Operation};
use burgrave_protocol::{VERSION, credit};
use burgrave_types::{EnclaveName, Evidence, InstanceId, Problem, ProblemCode, Standing};
use zeroize::{Zeroize, Zeroizing};

use super::peer::{Busy, Peer};
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

/// What tasks of this connection's requests hold.
struct Shared {
    server: Arc<LinkServer>,
    link: Arc<Peer>,
    binding: LinkBinding,
    instance: Mutex<Option<InstanceId>>,
}

impl Session {
    pub(super) fn new(server: Arc<LinkServer>, link: Arc<Peer>, peer: LinkPeer, exporter: [u8; 32]) -> Self {
        let (identity_spki, resumes) = match peer {
            LinkPeer::Unattested { spki } => (spki, None),
            LinkPeer::Svid(identity) => (identity.spki.clone(), Some(identity)),
        };
        let binding = LinkBinding { exporter, identity_spki };
        let shared = Arc::new(Shared { server, link, binding, instance: Mutex::new(None) });
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
    /// Why the link ends: the node is behind the agent, or the instance was revoked.
    pub(super) fn welcome(&self, hello: &wire::Hello) -> Result<(), Problem> {
        let server = &self.shared.server;
        let mut ack = wire::HelloAck {
            version: VERSION,
            node: server.node.to_string(),
            limits: Some(wire::Limits {
                requests: to_u32(server.limits.requests),
                channels: to_u32(server.limits.channels),
                message: to_u32(MAX_MESSAGE),
                window: credit::WINDOW,
            }),
            ..wire::HelloAck::default()
        };
        if let Some(identity) = &self.resumes {
            match server.control.resume(identity) {
                Ok(resumed) if matches!(resumed.standing, Standing::Fresh { .. }) => {
                    ack.revision = resumed.revision.0;
                    ack.instance = resumed.instance.as_bytes().to_vec();
                    ack.until = resumed.until.unix_millis();
                    ack.interval = millis(resumed.interval);
                    self.shared.attested(resumed.instance);
                }
                Ok(_) => {}
                Err(problem) if problem.code == ProblemCode::Revoked => return Err(problem),
                Err(problem) => tracing::info!(%problem, peer = %identity.spiffe_id, "a link must attest anew"),
            }
        }
        if !ack.instance.is_empty() && ack.revision < hello.revision {
            let detail = format!(
                "this node is at revision {}, and the agent has seen revision {}; it does not serve",
                ack.revision, hello.revision
            );
            return Err(Problem::new(ProblemCode::Unavailable, detail)
                .with_fix("use another node; the operator checks this one's store"));
        }
        self.shared.link.control(FrameType::Hello, 0, &prost::Message::encode_to_vec(&ack));
        Ok(())
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
                    self.shared.channel_frame(&route, side, frame)?;
                }
                Ok(())
            }
            FrameType::Ping => match frame.payload.split_first() {
                Some((0, rest)) => {
                    link.control(FrameType::Ping, 0, &[&[1], rest].concat());
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
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.server.unattested.fetch_sub(lock(&self.requests).counted, Ordering::Relaxed);
    }
}

impl Shared {
    fn instance(&self) -> Option<InstanceId> {
        *lock(&self.instance)
    }

    fn attested(self: &Arc<Self>, instance: InstanceId) {
        *lock(&self.instance) = Some(instance);
        self.server.hub.bind(instance, &self.link);
    }

    /// Answers at once what needs no waiting, and the rest from a task of its own.
    fn dispatch(self: &Arc<Self>, stream: u32, operation: Operation) {
        match operation {
            Operation::Challenge(ask) => {
                let asked =
                    enclave(&ask.enclave).and_then(|enclave| self.server.control.challenge(&enclave, &self.binding));
                self.answer(stream, asked.map(|made| challenge(made).into()));
            }
            Operation::Evaluate(asked) => self.answer(stream, self.evaluate(&asked)),
            Operation::OpenChannel(asked) => {
                let shared = Arc::clone(self);
                tokio::spawn(async move {
                    // On success the route has answered, in order with the channel's own frames.
                    if let Err(problem) = shared.open_channel(stream, &asked).await {
                        shared.link.respond(stream, &problem.into());
                    }
                    shared.link.end_request(stream);
                });
            }
            operation => {
                let shared = Arc::clone(self);
                tokio::spawn(async move {
                    let outcome = shared.perform(operation).await;
                    shared.answer(stream, outcome);
                });
            }
        }
    }

    fn answer(&self, stream: u32, outcome: Result<wire::Response, Problem>) {
        let mut response = outcome.unwrap_or_else(wire::Response::from);
        self.link.end_request(stream);
        self.link.respond(stream, &response);
        if let Some(wire::response::Outcome::Decrypted(decrypted)) = &mut response.outcome {
            decrypted.plaintext.zeroize();
        }
    }

    async fn perform(self: &Arc<Self>, operation: Operation) -> Result<wire::Response, Problem> {
        let control = &self.server.control;
        match operation {
            Operation::Attest(request) => {
                let step = control.attest(attest_request(request, &self.binding)?).await?;
                match step {
                    AttestStep::Attested(attested) => Ok(self.admitted(*attested)),
                    AttestStep::Activate(activation) => Ok(wire::Activation {
                        id_object: activation.id_object,
                        encrypted_secret: activation.encrypted_secret,
                        ticket: activation.ticket,
                    }
                    .into()),
                }
            }
            Operation::Activate(request) => {
                let secret = Zeroizing::new(request.secret);
                let attested = control.activate(&request.ticket, &secret, &self.binding).await?;
                Ok(self.admitted(attested))
            }
            Operation::Encrypt(request) => {
                let plaintext = Zeroizing::new(request.plaintext);
                let resource = wire::text("Encrypt", &request.resource).map_err(unreadable)?;
                let ciphertext = control.encrypt(self.required()?, &resource, &request.aad, &plaintext).await?;
                Ok(wire::Encrypted { ciphertext }.into())
            }
            Operation::Decrypt(request) => {
                let plaintext = control.decrypt(self.required()?, &request.ciphertext, &request.aad).await?;
                Ok(wire::Decrypted { plaintext: plaintext.expose().clone() }.into())
            }
            Operation::Derive(request) => {
                let resource = wire::text("Derive", &request.resource).map_err(unreadable)?;
                let request_id = wire::fixed("request id", &request.request_id).map_err(unreadable)?;
                let released = control.derive(self.required()?, &resource, request_id).await?;
                Ok(wire::Released { version: released.version, sealed: released.sealed }.into())
            }
            Operation::Challenge(_) | Operation::Evaluate(_) | Operation::OpenChannel(_) => {
                Err(Problem::new(ProblemCode::Internal, "a request took the wrong way through the node"))
            }
        }
    }

    fn evaluate(&self, asked: &wire::Evaluate) -> Result<wire::Response, Problem> {
        let instance = self.required()?;
        let operation = wire::text("Evaluate", &asked.operation).map_err(unreadable)?;
        let resource = wire::text("Evaluate", &asked.resource).map_err(unreadable)?;
        let verdict = self.server.control.evaluate(instance, operation, &resource)?;
        Ok(wire::Verdict {
            allowed: verdict.allowed,
            decision_id: verdict.decision_id.to_string(),
            determining: verdict.determining,
            valid_until: verdict.valid_until.unix_millis(),
            revision: verdict.revision.0,
        }
        .into())
    }

    async fn open_channel(&self, stream: u32, asked: &wire::OpenChannel) -> Result<(), Problem> {
        let instance = self.required()?;
        let peer = enclave(&asked.peer)?;
        let opened = self.server.control.open_channel(instance, &peer).await?;
        let most = self.server.limits.channels;
        self.server.hub.open(&opened, &self.link, stream, most).inspect_err(|problem| {
            self.server.control.channel_closed(opened.channel, &problem.detail);
        })
    }

    fn channel_frame(&self, route: &Arc<Route>, side: Side, frame: Frame) -> Result<(), Problem> {
        let hub = &self.server.hub;
        let fault = match frame.kind {
            FrameType::Data => route.data(side, frame.payload, hub.tap()).err(),
            FrameType::Credit => {
                let given = wire::fixed("CREDIT", &frame.payload).map_err(broken)?;
                route.credit(side, u32::from_be_bytes(given)).err()
            }
            FrameType::Close => {
                if hub.close_route(route, side) {
                    self.server.control.channel_closed(route.channel, "closed by a side");
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
            self.server.control.channel_closed(route.channel, &reason.detail);
        }
        Ok(())
    }

    fn admitted(self: &Arc<Self>, attested: Attested) -> wire::Response {
        self.attested(attested.instance);
        wire::Attested {
            instance: attested.instance.as_bytes().to_vec(),
            svid: attested.svid_chain,
            result: attested.attestation_result,
            until: attested.until.unix_millis(),
            interval: millis(attested.interval),
            sealed_instance_key: attested.sealed_instance_key.unwrap_or_default(),
            revision: attested.revision.0,
        }
        .into()
    }

    fn required(&self) -> Result<InstanceId, Problem> {
        self.instance().ok_or_else(|| {
            Problem::new(
                ProblemCode::NotAttested,
                "this link is not attested: it may only ask for a challenge and attest",
            )
            .with_fix("attest first")
        })
    }
}

pub(super) fn challenge(challenge: Challenge) -> wire::Challenge {
    wire::Challenge { nonce: challenge.nonce, expires: challenge.expires.unix_millis(), pcrs: challenge.pcrs }
}

fn attest_request(request: wire::Attest, binding: &LinkBinding) -> Result<AttestRequest, Problem> {
    let renews = match request.renews.as_slice() {
        [] => None,
        id => Some(InstanceId::from_bytes(wire::fixed("instance id", id).map_err(unreadable)?)),
    };
    let evidence = Evidence::decode(&request.evidence).map_err(|error| {
        Problem::new(ProblemCode::AttestationRejected, error.to_string()).with_cause("format.evidence")
    })?;
    Ok(AttestRequest {
        enclave: enclave(&request.enclave)?,
        nonce: request.nonce,
        sealing_key: wire::fixed("sealing key", &request.sealing_key).map_err(unreadable)?,
        evidence,
        link: binding.clone(),
        renews,
    })
}

fn enclave(text: &str) -> Result<EnclaveName, Problem> {
    text.parse().map_err(|error: burgrave_types::ParseError| invalid(error.to_string()))
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemCode::RequestInvalid, detail)
}

fn unreadable(error: MessageError) -> Problem {
    invalid(error.to_string())
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

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
