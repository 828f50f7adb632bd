//! What an agent asks becomes a call of `control`, and what `control` says an answer.

use std::sync::{Arc, Mutex};

use burgrave_control::LinkBinding;
use burgrave_protocol::message::MessageError;
use burgrave_protocol::wire::{self, request::Operation};
use burgrave_types::{EnclaveName, InstanceId, Problem, ProblemCode};
use zeroize::{Zeroize, Zeroizing};

use super::attest::{Attempts, Attesting, challenge};
use super::peer::Peer;
use super::{LinkServer, lock};

/// What tasks of a connection's requests hold.
pub(super) struct Shared {
    pub(super) server: Arc<LinkServer>,
    pub(super) link: Arc<Peer>,
    pub(super) binding: LinkBinding,
    instance: Mutex<Option<InstanceId>>,
    /// What it tried before it was attested.
    pub(super) attempts: Attempts,
}

impl Shared {
    /// A connection that nobody is behind yet.
    pub(super) fn new(server: Arc<LinkServer>, link: Arc<Peer>, binding: LinkBinding) -> Arc<Self> {
        Arc::new(Self { server, link, binding, instance: Mutex::new(None), attempts: Attempts::default() })
    }

    /// The instance behind the connection, once it is attested.
    pub(super) fn instance(&self) -> Option<InstanceId> {
        *lock(&self.instance)
    }

    /// The instance is behind this connection from now on.
    ///
    /// # Errors
    /// Why it is not: its access was ended between what `control` said of it and the moment that it could be found here. Then
    /// the connection is ended.
    pub(super) fn attested(&self, instance: InstanceId) -> Result<(), Problem> {
        let hub = &self.server.hub;
        let before = lock(&self.instance).replace(instance);
        match before {
            // Found here already: what ended it since has ended the connection.
            Some(before) if before == instance => return Ok(()),
            Some(before) => hub.unbind(before, &self.link),
            None => {}
        }
        hub.bind(instance, &self.link);
        self.server.control.linked(instance)
    }

    /// Answers at once what needs no waiting, and the rest from a task of its own.
    pub(super) fn dispatch(self: &Arc<Self>, stream: u32, operation: Operation) {
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
            Operation::Attest(request) => self.attest(stream, Attesting::Evidence(request)),
            Operation::Activate(request) => self.attest(stream, Attesting::Activation(request)),
            operation => {
                let shared = Arc::clone(self);
                tokio::spawn(async move {
                    let outcome = shared.perform(operation).await;
                    shared.answer(stream, outcome);
                });
            }
        }
    }

    /// Answers a request.
    pub(super) fn answer(&self, stream: u32, outcome: Result<wire::Response, Problem>) {
        let mut response = outcome.unwrap_or_else(wire::Response::from);
        self.link.end_request(stream);
        self.link.respond(stream, &response);
        if let Some(wire::response::Outcome::Decrypted(decrypted)) = &mut response.outcome {
            decrypted.plaintext.zeroize();
        }
    }

    async fn perform(&self, operation: Operation) -> Result<wire::Response, Problem> {
        let control = &self.server.control;
        match operation {
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
            Operation::Challenge(_)
            | Operation::Attest(_)
            | Operation::Activate(_)
            | Operation::Evaluate(_)
            | Operation::OpenChannel(_) => {
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
        let (most, control) = (self.server.limits.channels, &self.server.control);
        let is_live = || control.is_live(opened.channel);
        self.server.hub.open(&opened, &self.link, stream, most, is_live).inspect_err(|problem| {
            control.channel_closed(opened.channel, &problem.detail);
        })
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

/// The enclave that a text names.
pub(super) fn enclave(text: &str) -> Result<EnclaveName, Problem> {
    text.parse().map_err(|error: burgrave_types::ParseError| invalid(error.to_string()))
}

/// A request that cannot be.
pub(super) fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemCode::RequestInvalid, detail)
}

/// A request with a field that does not hold what it must.
pub(super) fn unreadable(error: MessageError) -> Problem {
    invalid(error.to_string())
}
