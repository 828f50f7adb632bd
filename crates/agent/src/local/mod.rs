//! The agent for programs in any language: HTTP/1.1 with JSON on a Unix socket, and forwarded ports.
//!
//! | request | body | answer |
//! | --- | --- | --- |
//! | `GET /v1/status` | | how the agent stands ([`Status`](crate::Status)) |
//! | `POST /v1/encrypt` | `{resource, plaintext, aad?}` | `{ciphertext}` |
//! | `POST /v1/decrypt` | `{ciphertext, aad?}` | `{plaintext}` |
//! | `POST /v1/derive` | `{resource}` | `{key}` |
//! | `POST /v1/evaluate` | `{operation, resource}` | [`Verdict`](crate::Verdict) |
//!
//! Bytes are base64 (RFC 4648 section 4). Refusals and failures are problem documents (RFC 9457, `application/problem+json`)
//! with a stable `code`, as the node gave them.
//!
//! Threat notes: whoever may use the socket has the enclave's rights. Each connection's uid, as the kernel tells it, must be
//! the agent's own or one that the configuration names; where it names none, the file is for its owner alone. Forwarded
//! local ports have no such check, as every program of the machine can connect: prefer Unix sockets.

mod config;
mod forward;
mod server;

pub use config::{ConfigError, FileConfig, Forward, LocalAddress};
pub use forward::{accept_to, forward};
pub use server::LocalServer;

use std::path::PathBuf;
use std::sync::Arc;

use burgrave_attester::{AttesterError, WithParts};
use burgrave_seal::SystemRandom;
use burgrave_types::SystemClock;
use tokio::task::JoinSet;

use crate::{Agent, AgentConfig, StartError};

/// Why the agent with its local faces does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The agent does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The TEE, or what gives the evidence of a part, is not there.
    #[error(transparent)]
    Attester(#[from] AttesterError),
    /// A local address cannot be listened on.
    #[error("cannot listen on `{address}`: {source}")]
    Listen {
        /// The address.
        address: String,
        /// What the system says.
        source: std::io::Error,
    },
}

/// Runs an agent as its configuration says, with the system's clock and randomness, until `stop` is done.
///
/// # Errors
/// [`RunError`] where it cannot begin. Afterwards it goes on, whatever happens to the link.
pub async fn run(config: FileConfig, stop: impl Future<Output = ()>) -> Result<(), RunError> {
    let attester = WithParts::new(config.attester.open()?, config.part)?;
    let parts = attester.stop_handle();
    let agent = AgentConfig {
        nodes: config.nodes,
        genesis: config.genesis,
        enclave: config.enclave,
        attester: Box::new(attester),
    };
    let agent = Agent::start(agent, Arc::new(SystemClock), Arc::new(SystemRandom))?;
    let faces = Faces {
        socket: config.socket,
        allow_uids: config.allow_uids,
        forward: config.forward,
        accept_to: config.accept_to,
    };
    let opened = faces.open(&agent).await;
    if opened.is_ok() {
        stop.await;
    }
    parts.stop();
    agent.stop();
    opened.map(drop)
}

/// What an agent shows of itself on its machine.
struct Faces {
    socket: Option<PathBuf>,
    allow_uids: Vec<u32>,
    forward: Vec<Forward>,
    accept_to: Option<LocalAddress>,
}

impl Faces {
    /// Opens them all; they are closed when the tasks are dropped.
    async fn open(self, agent: &Agent) -> Result<JoinSet<()>, RunError> {
        let mut tasks = JoinSet::new();
        if let Some(socket) = &self.socket {
            let server = LocalServer::bind(agent.clone(), socket, self.allow_uids)
                .map_err(|source| RunError::Listen { address: socket.display().to_string(), source })?;
            tasks.spawn(async move { server.serve().await });
        }
        for rule in self.forward {
            let listener = rule.listen.bind().await;
            let listener = listener.map_err(|source| RunError::Listen { address: rule.listen.to_string(), source })?;
            tasks.spawn(forward(agent.clone(), listener, rule.peer));
        }
        if let Some(address) = self.accept_to {
            tasks.spawn(accept_to(agent.clone(), address));
        }
        tasks.spawn(report(agent.clone()));
        Ok(tasks)
    }
}

/// Says in the log what becomes of the agent.
async fn report(agent: Agent) {
    let mut watch = agent.watch();
    loop {
        let status = watch.borrow_and_update().clone();
        match (&status.problem, status.instance) {
            (Some(problem), _) => tracing::warn!(state = ?status.state, %problem, "the agent's standing"),
            (None, Some(instance)) => tracing::info!(state = ?status.state, %instance, "the agent's standing"),
            (None, None) => tracing::info!(state = ?status.state, "the agent's standing"),
        }
        if watch.changed().await.is_err() {
            return;
        }
    }
}
