//! The agent as an application holds it.

use std::sync::Arc;

use burgrave_attester::Attester;
use burgrave_channel::Role;
use burgrave_protocol::wire::{self, response::Outcome};
use burgrave_types::{
    Clock, DecisionId, EnclaveName, GenesisHash, Operation, Problem, Random, ResourceId, Revision, Secret, SpiffeId,
    Timestamp,
};
use serde::Serialize;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::AbortHandle;

use crate::channel::ChannelStream;
use crate::identity::{Identity, KeyError};
use crate::link::unexpected;
use crate::shared::{Shared, is_refusal, stopped};
use crate::status::{AgentState, Notice, Status};
use crate::{NodeAddress, run, sealed};

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
        let (shared, incoming) = Shared::new(config, identity, clock, random);
        let task = tokio::spawn(run::run(Arc::clone(&shared))).abort_handle();
        Ok(Self(Arc::new(Handle { shared, task, incoming: tokio::sync::Mutex::new(incoming) })))
    }

    /// How the agent stands.
    pub fn status(&self) -> Status {
        self.0.shared.status()
    }

    /// How the agent stands, and every change of it.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.0.shared.watch()
    }

    /// What the node tells unasked, from now on. Keys that [`Agent::derive`] gave are the application's to drop.
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.0.shared.notices()
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
        self.0.shared.drop_link();
    }

    async fn ask(&self, request: wire::Request) -> Result<Outcome, Problem> {
        self.0.shared.attested()?.link.request(request).await
    }
}

impl Handle {
    fn stop(&self) {
        self.task.abort();
        self.shared.stop();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}
