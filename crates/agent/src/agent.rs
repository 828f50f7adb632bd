//! The agent as an application holds it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use burgrave_attester::Attester;
use burgrave_channel::{AcceptedIds, ChannelError, Endpoint, Role, Setup, SignedGrant};
use burgrave_identity::DomainTrust;
use burgrave_protocol::message::MessageError;
use burgrave_protocol::wire::{self, response::Outcome};
use burgrave_types::{
    ChannelId, Clock, DecisionId, EnclaveName, GenesisHash, Operation, Problem, ProblemCode, Random, ResourceId,
    Revision, Secret, SpiffeId, Timestamp,
};
use serde::Serialize;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::AbortHandle;

use crate::attestation::Attestation;
use crate::channel::{Channel, ChannelStream};
use crate::connect::Connected;
use crate::identity::{Identity, KeyError};
use crate::link::{Link, unexpected};
use crate::status::{AgentState, Notice, Status};
use crate::{NodeAddress, lock, run, sealed};

/// How long the inner handshake of a channel may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Channels that may wait for the application to accept them.
const WAITING: usize = 16;
/// Channel ids that are remembered so that none is accepted twice.
const REMEMBERED: usize = 65_536;
/// Notices that a slow subscriber may be behind.
const NOTICES: usize = 256;

/// What an agent is started with.
pub struct AgentConfig {
    /// The nodes, any of which will do; one at random is tried first. Not empty.
    pub nodes: Vec<NodeAddress>,
    /// The domain. Best part of what was launched, so that the host cannot choose another.
    pub genesis: GenesisHash,
    /// The enclave to attest as.
    pub enclave: EnclaveName,
    /// The TEE.
    pub attester: Box<dyn Attester>,
}

/// Why an agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no node to connect to.
    #[error("no node is given; name one at least, e.g. `tcp://node1.example.org:8444`")]
    NoNodes,
    /// No keys.
    #[error("the instance's keys cannot be made: {0}")]
    Keys(#[from] KeyError),
}

/// An agent: a handle to a task that keeps the link. Cheap to clone; the last one dropped ends the link.
#[derive(Clone)]
pub struct Agent(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    task: AbortHandle,
    incoming: tokio::sync::Mutex<mpsc::Receiver<ChannelStream>>,
}

/// The answer to `evaluatePolicy(enclave, resource, operation)`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Verdict {
    /// Whether it is allowed now.
    pub allowed: bool,
    /// The decision, for `burgrave why`.
    pub decision_id: DecisionId,
    /// The policies that made it; empty where none permitted.
    pub determining: Vec<String>,
    /// Until when the answer may be relied on, should no notice come before.
    pub valid_until: Timestamp,
    /// The ledger position that it was decided at.
    pub revision: Revision,
}

/// What the handle and the task share.
pub(crate) struct Shared {
    pub(crate) nodes: Vec<NodeAddress>,
    pub(crate) genesis: GenesisHash,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) identity: Identity,
    enclave: EnclaveName,
    attester: Arc<Mutex<Box<dyn Attester>>>,
    status: watch::Sender<Status>,
    link: Mutex<Option<Attested>>,
    accepted: Mutex<AcceptedIds>,
    incoming: mpsc::Sender<ChannelStream>,
    notices: broadcast::Sender<Notice>,
}

/// A link over which this instance is attested.
#[derive(Clone)]
struct Attested {
    link: Arc<Link>,
    trust: DomainTrust,
    until: Timestamp,
}

impl Agent {
    /// Makes the instance's keys and starts the task that keeps the link; to be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`]. That no node can be reached is none: see [`Agent::status`].
    pub fn start(config: AgentConfig, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Self, StartError> {
        if config.nodes.is_empty() {
            return Err(StartError::NoNodes);
        }
        let identity = Identity::generate(&*clock, &*random)?;
        let status = Status {
            state: AgentState::Connecting,
            enclave: config.enclave.clone(),
            genesis: config.genesis,
            node: None,
            instance: None,
            spiffe_id: None,
            until: None,
            interval: None,
            attestation_result: None,
            revision: Revision(0),
            attestations: 0,
            problem: None,
        };
        let (sender, incoming) = mpsc::channel(WAITING);
        let shared = Arc::new(Shared {
            nodes: config.nodes,
            genesis: config.genesis,
            clock,
            random,
            identity,
            enclave: config.enclave,
            attester: Arc::new(Mutex::new(config.attester)),
            status: watch::Sender::new(status),
            link: Mutex::new(None),
            accepted: Mutex::new(AcceptedIds::new(REMEMBERED)),
            incoming: sender,
            notices: broadcast::Sender::new(NOTICES),
        });
        let task = tokio::spawn(run::run(Arc::clone(&shared))).abort_handle();
        Ok(Self(Arc::new(Handle { shared, task, incoming: tokio::sync::Mutex::new(incoming) })))
    }

    /// How the agent stands.
    pub fn status(&self) -> Status {
        self.0.shared.status()
    }

    /// How the agent stands, and every change of it.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.0.shared.status.subscribe()
    }

    /// What the node tells unasked, from now on. Keys that [`Agent::derive`] gave are the application's to drop.
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.0.shared.notices.subscribe()
    }

    /// Waits until this instance is attested. Cancel safe.
    ///
    /// # Errors
    /// Where the node refuses it: `attestation.rejected` with the cause, `policy.denied`, `revoked`; `domain.mismatch` for
    /// another control plane. The agent goes on trying (but for `revoked`), since a release may yet be approved; that no node
    /// can be reached is waited out.
    pub async fn wait_attested(&self) -> Result<Status, Problem> {
        let mut watch = self.watch();
        loop {
            let status = watch.borrow_and_update().clone();
            if status.state == AgentState::Attested {
                return Ok(status);
            }
            if let Some(problem) = status.problem.filter(is_refusal) {
                return Err(problem);
            }
            if status.state == AgentState::Stopped || watch.changed().await.is_err() {
                return Err(stopped());
            }
        }
    }

    /// Encrypts at the node under this enclave's own key in a keyspace, or under a named key. `aad` is not part of the
    /// ciphertext and must be shown again to decrypt. At most 1 MiB of plaintext.
    ///
    /// # Errors
    /// The node's refusal as it is; see [`Agent::status`] for when there is no node to ask.
    pub async fn encrypt(&self, resource: &ResourceId, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, Problem> {
        let (resource, aad, plaintext) = (resource.to_string(), aad.to_vec(), plaintext.to_vec());
        match self.ask(wire::Encrypt { resource, aad, plaintext }.into()).await? {
            Outcome::Encrypted(encrypted) => Ok(encrypted.ciphertext),
            _ => Err(unexpected("Encrypt")),
        }
    }

    /// Decrypts what [`Agent::encrypt`] made; the ciphertext names its key.
    ///
    /// # Errors
    /// As [`Agent::encrypt`].
    pub async fn decrypt(&self, ciphertext: &[u8], aad: &[u8]) -> Result<Secret<Vec<u8>>, Problem> {
        let (ciphertext, aad) = (ciphertext.to_vec(), aad.to_vec());
        match self.ask(wire::Decrypt { ciphertext, aad }.into()).await? {
            Outcome::Decrypted(decrypted) => Ok(Secret::new(decrypted.plaintext)),
            _ => Err(unexpected("Decrypt")),
        }
    }

    /// Gets the key itself, which the node seals to this instance and to this one request. Drop it on a [`Notice`] that it is
    /// lost.
    ///
    /// # Errors
    /// As [`Agent::encrypt`]; `protocol.violation` where what came was not sealed for this instance and request.
    pub async fn derive(&self, resource: &ResourceId) -> Result<Secret<[u8; 32]>, Problem> {
        let shared = &self.0.shared;
        let mut request_id = [0; 16];
        shared.random.fill(&mut request_id);
        let request = wire::Derive { resource: resource.to_string(), request_id: request_id.to_vec() };
        match self.ask(request.into()).await? {
            Outcome::Released(released) => {
                sealed::open_key(&shared.identity, &request_id, released.version, &released.sealed)
            }
            _ => Err(unexpected("Derive")),
        }
    }

    /// Asks whether the policy allows this enclave `operation` on `resource`.
    ///
    /// # Errors
    /// As [`Agent::encrypt`]; that it is not allowed is an answer, not an error.
    pub async fn evaluate(&self, operation: Operation, resource: &ResourceId) -> Result<Verdict, Problem> {
        let request = wire::Evaluate { operation: operation.to_string(), resource: resource.to_string() };
        match self.ask(request.into()).await? {
            Outcome::Verdict(verdict) => Ok(Verdict {
                allowed: verdict.allowed,
                decision_id: verdict.decision_id.parse().map_err(|_| unexpected("Evaluate"))?,
                determining: verdict.determining,
                valid_until: wire::time(verdict.valid_until),
                revision: Revision(verdict.revision),
            }),
            _ => Err(unexpected("Evaluate")),
        }
    }

    /// Opens a channel to an instance of `peer`, and waits until it is protected end to end.
    ///
    /// # Errors
    /// As [`Agent::encrypt`]; `peer.unavailable` where no instance of it is there.
    pub async fn connect(&self, peer: &EnclaveName) -> Result<ChannelStream, Problem> {
        let shared = &self.0.shared;
        let attested = shared.attested()?;
        let (offer, channel) = attested.link.open_channel(peer.to_string()).await?;
        let spiffe_id = peer.spiffe_id(attested.trust.trust_domain());
        shared.open(Role::Initiator, attested.trust, &offer, channel, Some(&spiffe_id)).await
    }

    /// The next channel that a peer opens to this instance, protected end to end already, with the peer's name. Cancel safe.
    /// At most 16 wait; more are refused.
    ///
    /// # Errors
    /// `unavailable` when the agent is stopped, `revoked` when its access was ended.
    pub async fn accept(&self) -> Result<(SpiffeId, ChannelStream), Problem> {
        let mut watch = self.watch();
        let over = |status: &Status| matches!(status.state, AgentState::Stopped | AgentState::Revoked);
        let stream = tokio::select! {
            stream = async { self.0.incoming.lock().await.recv().await } => stream.ok_or_else(stopped)?,
            _ = watch.wait_for(over) => return Err(self.0.shared.why_not()),
        };
        Ok((stream.peer().clone(), stream))
    }

    /// Ends the link and all channels, for good.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// Ends the link as if the network had failed; the agent connects again. For tests of what that does.
    #[doc(hidden)]
    pub fn drop_link(&self) {
        let attested = lock(&self.0.shared.link).clone();
        if let Some(attested) = attested {
            attested.link.end(Problem::new(ProblemCode::Unavailable, "the link was dropped"));
        }
    }

    async fn ask(&self, request: wire::Request) -> Result<Outcome, Problem> {
        self.0.shared.attested()?.link.request(request).await
    }
}

impl Shared {
    pub(crate) fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_modify(change);
    }

    pub(crate) fn tell(&self, notice: Notice) {
        // Without a subscriber there is nobody to tell.
        let _ = self.notices.send(notice);
    }

    pub(crate) fn attestation<'a>(&'a self, connected: &'a Connected) -> Attestation<'a> {
        connected.attestation(self.genesis, &self.enclave, &self.identity, &self.attester, self.clock.now())
    }

    /// The standing is live, over this link.
    pub(crate) fn linked(&self, connected: &Connected, until: Timestamp, interval: Duration, revision: u64) {
        let (link, trust) = (Arc::clone(&connected.link), connected.trust.clone());
        *lock(&self.link) = Some(Attested { link, trust, until });
        self.change(|status| {
            status.state = AgentState::Attested;
            status.until = Some(until);
            status.interval = Some(interval);
            status.revision = status.revision.max(Revision(revision));
            status.problem = None;
        });
    }

    /// There is no link any more, and this is why.
    pub(crate) fn unlinked(&self, problem: &Problem) {
        *lock(&self.link) = None;
        let revoked = problem.code == ProblemCode::Revoked;
        if revoked {
            self.identity.forget();
            self.tell(Notice::Revoked(problem.clone()));
        }
        self.change(|status| {
            status.state = if revoked { AgentState::Revoked } else { AgentState::Connecting };
            status.node = None;
            status.problem = Some(problem.clone());
        });
    }

    /// The link to ask over: only while this instance is attested.
    fn attested(&self) -> Result<Attested, Problem> {
        let Some(attested) = lock(&self.link).clone() else { return Err(self.why_not()) };
        let now = self.clock.now();
        if now >= attested.until {
            let detail = format!("the attestation ran out at {}, and it is {now}", attested.until);
            return Err(
                Problem::new(ProblemCode::Stale, detail).with_fix("the agent attests again by itself; try again")
            );
        }
        Ok(attested)
    }

    fn why_not(&self) -> Problem {
        let status = self.status();
        match (status.problem, status.state) {
            (Some(problem), AgentState::Connecting) if !is_refusal(&problem) => {
                Problem::new(ProblemCode::Unavailable, format!("there is no link to a node: {}", problem.detail))
                    .with_fix(problem.fix.unwrap_or_else(|| "the agent connects again by itself; try again".to_owned()))
            }
            (Some(problem), _) => problem,
            (None, AgentState::Stopped) => stopped(),
            (None, AgentState::Connecting) => Problem::new(ProblemCode::Unavailable, "there is no link to a node yet")
                .with_fix("wait until the agent is attested"),
            (None, _) => Problem::new(ProblemCode::NotAttested, "this instance is not attested yet")
                .with_fix("wait until the agent is attested"),
        }
    }

    /// A peer opens a channel: its handshake runs in a task of its own.
    pub(crate) fn offered(self: &Arc<Self>, trust: DomainTrust, offer: wire::ChannelOffer, channel: Arc<Channel>) {
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            // A channel that nobody will take is refused before anything is done for it.
            let Ok(place) = shared.incoming.try_reserve() else {
                let detail = format!("{WAITING} channels wait to be accepted already");
                channel.refuse(&Problem::new(ProblemCode::Limit, detail).with_fix("try again later"));
                return;
            };
            match shared.open(Role::Acceptor, trust, &offer, channel, None).await {
                Ok(stream) => place.send(stream),
                Err(problem) => tracing::info!(%problem, "a channel was not accepted"),
            }
        });
    }

    async fn open(
        &self,
        role: Role,
        trust: DomainTrust,
        offer: &wire::ChannelOffer,
        channel: Arc<Channel>,
        expected: Option<&SpiffeId>,
    ) -> Result<ChannelStream, Problem> {
        let endpoint = self.endpoint(role, trust, offer, expected).inspect_err(|problem| channel.refuse(problem))?;
        let stream = ChannelStream::new(Arc::clone(&channel), endpoint, Arc::clone(&self.clock));
        match tokio::time::timeout(HANDSHAKE, stream.opened()).await {
            Ok(opened) => opened.map(|()| stream),
            Err(_) => {
                let late = format!("the peer did not finish the handshake within {} s", HANDSHAKE.as_secs());
                let problem = Problem::new(ProblemCode::PeerUnavailable, late).with_fix("try again");
                channel.refuse(&problem);
                Err(problem)
            }
        }
    }

    fn endpoint(
        &self,
        role: Role,
        trust: DomainTrust,
        offer: &wire::ChannelOffer,
        expected: Option<&SpiffeId>,
    ) -> Result<Endpoint, Problem> {
        let broken = |error: MessageError| Problem::new(ProblemCode::Protocol, error.to_string());
        let refused =
            |error: ChannelError| Problem::new(ProblemCode::Protocol, format!("the channel is refused: {error}"));
        let now = self.clock.now();
        let grant = SignedGrant::verify(&offer.grant, &trust, now).map_err(|error| refused(error.into()))?;
        let named = ChannelId::from_bytes(wire::fixed("channel id", &offer.channel).map_err(broken)?);
        let peer = &grant.grant().side(role.peer()).spiffe_id;
        if named != grant.grant().channel || expected.is_some_and(|expected| expected != peer) {
            let detail =
                format!("the node granted `{}` with `{peer}`, which is not what was asked for", grant.grant().channel);
            return Err(Problem::new(ProblemCode::Protocol, detail));
        }
        let secret = sealed::open_channel_secret(&self.identity, &grant, role, &offer.sealed_secret)?;
        let credential = self.identity.svid().ok_or_else(|| self.why_not())?;
        let setup = Setup { grant, secret, trust, credential };
        let mut accepted = lock(&self.accepted);
        match role {
            Role::Initiator => Endpoint::initiator(setup, &mut accepted, now),
            Role::Acceptor => Endpoint::acceptor(setup, &mut accepted, now),
        }
        .map_err(refused)
    }
}

impl Handle {
    fn stop(&self) {
        self.task.abort();
        if let Some(attested) = lock(&self.shared.link).take() {
            attested.link.leave(stopped());
        }
        self.shared.change(|status| {
            status.state = AgentState::Stopped;
            status.problem = Some(stopped());
        });
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whether a problem is the node's word on this instance, or this agent's on the node, rather than a failure to talk.
fn is_refusal(problem: &Problem) -> bool {
    matches!(
        problem.code,
        ProblemCode::AttestationRejected
            | ProblemCode::PolicyDenied
            | ProblemCode::Revoked
            | ProblemCode::WrongDomain
            | ProblemCode::Unauthenticated
    )
}

fn stopped() -> Problem {
    Problem::new(ProblemCode::Unavailable, "the agent was stopped")
}
