//! The administrators' door: REST `/v1` over TLS 1.3 (`openapi/burgrave-v1.json`).
//!
//! [`RestServer`] accepts connections, finds out who speaks (an administrator's client certificate, or a bearer token), and
//! turns each request into one call of [`Control`]. Each route stands in one table, from which both the router and the
//! OpenAPI document are made; what a handler takes and gives, its types say to both.
//!
//! ```text
//! client ══ TLS ══► serve ──► table of routes ──► handler(Admin, At, Asked, IfMatch, Body) ──► Control
//!                                                    ▲ a handler without `Admin` has no identity to call Control with
//! ```
//!
//! Threat notes: without a credential one learns the domain's public identity, whether the node lives, and the documents
//! that its source has too. A certificate is checked again with each request, for connections outlive certificates; tokens
//! are known by their hash alone and compared in constant time. Connections, headers, bodies, streams and the time they
//! take are bounded. A page of another site cannot act with a browser's certificate. A request that was begun is finished even if its client has gone: half a revocation is none.

mod answer;
mod auth;
mod document;
mod events;
mod extract;
mod problem;
mod routes;
mod serve;
mod table;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use burgrave_control::Control;
use burgrave_identity::tls::{ALPN_HTTP, AdminClientVerifier, CredentialSlot, provider, server_config};
use burgrave_identity::{DomainTrust, IdentityError};
use burgrave_types::Clock;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use events::EventLog;

pub use auth::{AdminToken, TokenHash};

/// What one node takes from its REST clients at most.
#[derive(Clone, Debug)]
pub struct RestLimits {
    /// Connections.
    pub connections: usize,
    /// Streams of events.
    pub watchers: usize,
    /// How long the TLS handshake may take, and each request's headers, and its body.
    pub patience: Duration,
    /// After how long without a request a connection is closed.
    pub idle: Duration,
    /// How long requests in flight may take when the server stops.
    pub drain: Duration,
    /// How often the rights of who watches events are asked again.
    pub recheck: Duration,
}

impl Default for RestLimits {
    fn default() -> Self {
        Self {
            connections: 1024,
            watchers: 256,
            patience: Duration::from_secs(15),
            idle: Duration::from_secs(60),
            drain: Duration::from_secs(10),
            recheck: Duration::from_secs(30),
        }
    }
}

/// What a [`RestServer`] is made of.
pub struct RestParts {
    /// The services behind the door.
    pub control: Arc<Control>,
    /// The domain whose administrators are let in.
    pub trust: DomainTrust,
    /// The node's TLS certificate chain (node certificate, issuing CA) and key; may be replaced while serving.
    pub credential: Arc<CredentialSlot>,
    /// The time, for certificates.
    pub clock: Arc<dyn Clock>,
    /// Tokens that are credentials; none in production.
    pub tokens: Vec<AdminToken>,
    /// What is taken at most.
    pub limits: RestLimits,
}

/// The REST edge of a node. Cheap to share; serves any number of listeners.
pub struct RestServer {
    shared: Arc<Shared>,
    router: axum::Router,
    verifier: Arc<AdminClientVerifier>,
    acceptor: TlsAcceptor,
    slots: Arc<Semaphore>,
    stop: watch::Sender<bool>,
}

impl RestServer {
    /// A server of these parts; nothing is accepted before [`RestServer::serve`].
    ///
    /// # Errors
    /// [`IdentityError::Crypto`] where TLS cannot be configured.
    pub fn new(parts: RestParts) -> Result<Arc<Self>, IdentityError> {
        let verifier = AdminClientVerifier::new(parts.trust, Arc::clone(&parts.clock));
        let tls = server_config(provider(), verifier.clone(), parts.credential, &ALPN_HTTP)?;
        let table = routes::table();
        let (stop, stopping) = watch::channel(false);
        let shared = Arc::new(Shared {
            events: EventLog::new(parts.clock.now()),
            watchers: Arc::new(Semaphore::new(parts.limits.watchers.min(Semaphore::MAX_PERMITS))),
            control: parts.control,
            clock: parts.clock,
            tokens: parts.tokens,
            document: table.document().to_string(),
            responses: Default::default(),
            stopping,
            limits: parts.limits,
        });
        Ok(Arc::new(Self {
            router: table.into_router(Arc::clone(&shared)),
            verifier,
            acceptor: TlsAcceptor::from(Arc::new(tls)),
            slots: Arc::new(Semaphore::new(shared.limits.connections.min(Semaphore::MAX_PERMITS))),
            stop,
            shared,
        }))
    }
}

/// The OpenAPI 3.1 document of all routes, as it stands in `openapi/burgrave-v1.json`.
pub fn openapi() -> String {
    format!("{:#}\n", routes::table().document())
}

/// Readers of what anybody may send, as functions that a fuzzer can call.
pub mod fuzz {
    use burgrave_types::api::{AuthorizeRequest, NewEnclave, NewPolicy};

    /// Reads `bytes` as the bodies that are made of the most parts.
    pub fn body(bytes: &[u8]) {
        let _ = super::extract::parse::<NewEnclave>(bytes);
        let _ = super::extract::parse::<NewPolicy>(bytes);
        let _ = super::extract::parse::<AuthorizeRequest>(bytes);
    }
}

/// What handlers share.
struct Shared {
    control: Arc<Control>,
    clock: Arc<dyn Clock>,
    tokens: Vec<AdminToken>,
    /// The OpenAPI document.
    document: String,
    events: Arc<EventLog>,
    watchers: Arc<Semaphore>,
    /// Responses by the first digit of their status: 2, 3, 4, 5.
    responses: [AtomicU64; 4],
    stopping: watch::Receiver<bool>,
    limits: RestLimits,
}
