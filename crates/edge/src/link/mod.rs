//! The agents' door: one mutually authenticated TLS 1.3 connection per agent (`docs/link-protocol.md`).
//!
//! [`LinkServer`] accepts connections over TCP and Unix sockets and runs one reader and one writer task for each.
//! [`LinkHub`] knows which instance is behind which connection and which channel runs between which two; it is the
//! [`LinkDirectory`](burgrave_control::LinkDirectory) that `control` cuts and tells by.
//!
//! ```text
//! agent ══ TLS ══► reader ──► session ──► Control        control ──► LinkHub ──► outbox ──► writer ══► agent
//!                    └─ DATA ─► route ──► the other link's outbox
//! ```
//!
//! Threat notes: a peer that is not attested can ask for a challenge and answer it, and nothing else; after a few refused
//! answers its connection ends. Each connection is
//! bounded in requests, channels, bytes held and time without a sign of life; a channel's sender is held to its credit at
//! each frame, so one receiver that does not read costs its own channel's window and stops nobody else. `cut` and
//! `disconnect` hold when they return: routes are closed and queued bytes purged under the route's lock, also those of a channel
//! that its sender has closed and whose last bytes wait for a slow receiver.

mod attest;
mod connection;
mod hub;
mod listener;
mod peer;
mod requests;
mod route;
mod session;

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use burgrave_control::Control;
use burgrave_identity::tls::{ALPN_LINK, CredentialSlot, LinkClientVerifier, hybrid_only_provider, server_config};
use burgrave_identity::{DomainTrust, IdentityError};
use burgrave_types::{Clock, GenesisHash, NodeId};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

pub use hub::{LinkHub, RelayTap};
pub use listener::{Address, Listener};

/// The label of the TLS exporter that attestation is bound to (32 bytes, no context).
pub const ATTEST_EXPORTER: &[u8] = b"EXPORTER-burgrave-attest-v1";

/// What one node takes from its agents at most.
#[derive(Clone, Debug)]
pub struct LinkLimits {
    /// Connections, of all listeners together.
    pub connections: usize,
    /// Requests in flight on one connection.
    pub requests: usize,
    /// Channels on one connection.
    pub channels: usize,
    /// Bytes of unfinished requests that all connections together may hold before they are attested: anybody can connect.
    pub unattested_bytes: usize,
    /// How long the TLS handshake may take, and then HELLO.
    pub handshake: Duration,
    /// How long a connection may stay unattested.
    pub attestation: Duration,
    /// After how much silence the node pings.
    pub ping_after: Duration,
    /// After how much silence the node ends the connection; also how long one write may take.
    pub idle: Duration,
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            requests: 64,
            channels: 64,
            unattested_bytes: 256 * 1024 * 1024,
            handshake: Duration::from_secs(10),
            attestation: Duration::from_secs(120),
            ping_after: Duration::from_secs(15),
            idle: Duration::from_secs(45),
        }
    }
}

/// What a [`LinkServer`] is made of.
pub struct LinkParts {
    /// The services behind the door. Its link directory must be `hub`: see [`Control::set_links`].
    pub control: Arc<Control>,
    /// Who is connected.
    pub hub: Arc<LinkHub>,
    /// The domain; agents that mean another are refused.
    pub trust: DomainTrust,
    /// The node's TLS certificate chain (node certificate, issuing CA) and key; may be replaced while serving.
    pub credential: Arc<CredentialSlot>,
    /// The time, for certificates.
    pub clock: Arc<dyn Clock>,
    /// The node's id, told to agents.
    pub node: NodeId,
    /// What is taken at most.
    pub limits: LinkLimits,
}

/// The agent link of a node. Cheap to share; serves any number of listeners.
pub struct LinkServer {
    control: Arc<Control>,
    hub: Arc<LinkHub>,
    verifier: Arc<LinkClientVerifier>,
    acceptor: TlsAcceptor,
    genesis: GenesisHash,
    node: NodeId,
    limits: LinkLimits,
    slots: Arc<Semaphore>,
    /// Bytes of unfinished requests that connections hold which are not attested.
    unattested: AtomicUsize,
}

impl LinkServer {
    /// A server of these parts; nothing is accepted before [`LinkServer::serve`].
    ///
    /// # Errors
    /// [`IdentityError::Crypto`] where TLS cannot be configured.
    pub fn new(parts: LinkParts) -> Result<Arc<Self>, IdentityError> {
        let verifier = LinkClientVerifier::new(parts.trust.clone(), parts.clock);
        let tls = server_config(hybrid_only_provider(), verifier.clone(), parts.credential, &[ALPN_LINK])?;
        Ok(Arc::new(Self {
            control: parts.control,
            hub: parts.hub,
            verifier,
            acceptor: TlsAcceptor::from(Arc::new(tls)),
            genesis: parts.trust.genesis_hash(),
            node: parts.node,
            slots: Arc::new(Semaphore::new(parts.limits.connections.min(Semaphore::MAX_PERMITS))),
            limits: parts.limits,
            unattested: AtomicUsize::new(0),
        }))
    }

    /// Accepts agents from `listener` until the future is dropped. Connections live on in tasks of their own; end them
    /// with [`LinkHub::end_all`].
    pub async fn serve(self: &Arc<Self>, listener: &Listener) {
        loop {
            let Some(socket) = listener.accept().await else { continue };
            let Ok(slot) = self.slots.clone().try_acquire_owned() else {
                tracing::warn!(limit = self.limits.connections, "an agent was turned away: too many connections");
                continue;
            };
            let server = Arc::clone(self);
            tokio::spawn(async move {
                connection::run(server, socket).await;
                drop(slot);
            });
        }
    }
}

/// Locks; a panic elsewhere while it was held does not spread (every change under these locks is whole at each step).
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #[test]
    fn both_ends_of_the_link_mean_the_same_exporter() {
        assert_eq!(super::ATTEST_EXPORTER, burgrave_seal::binding::EXPORTER_ATTEST);
    }
}
