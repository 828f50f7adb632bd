//! The TLS session inside a channel: who is pinned, and what its errors mean.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use burgrave_identity::tls::{
    ALPN_CHANNEL, CredentialSlot, PinnedPeerVerifier, client_config, hybrid_only_provider, refusal, server_config,
};
use burgrave_identity::{DomainTrust, IdentityError};
use burgrave_types::{Clock, Timestamp};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Connection, ServerConnection};

use crate::{ChannelError, ChannelGrant, Role};

/// The TLS session: the peer pinned by the grant, the channel's id as the name that is asked for.
pub(super) fn session(
    role: Role,
    grant: &ChannelGrant,
    trust: DomainTrust,
    credential: Arc<CredentialSlot>,
    time: Arc<Time>,
) -> Result<Connection, ChannelError> {
    let peer = grant.side(role.peer());
    let verifier = PinnedPeerVerifier::new(trust, time, peer.spiffe_id.clone(), peer.spki_hash);
    let provider = hybrid_only_provider();
    let own = |error: IdentityError| ChannelError::OwnIdentity(error);
    Ok(match role {
        Role::Initiator => {
            let config = client_config(provider, verifier, Some(credential), &[ALPN_CHANNEL]).map_err(own)?;
            let name = ServerName::try_from(grant.channel.to_string())
                .map_err(|_| own(IdentityError::Crypto("naming the channel")))?;
            ClientConnection::new(Arc::new(config), name).map_err(from_tls)?.into()
        }
        Role::Acceptor => {
            let config = server_config(provider, verifier, credential, &[ALPN_CHANNEL]).map_err(own)?;
            ServerConnection::new(Arc::new(config)).map_err(from_tls)?.into()
        }
    })
}

pub(super) fn from_tls(error: rustls::Error) -> ChannelError {
    if let Some(refused) = refusal(&error) {
        return ChannelError::Peer(refused.clone());
    }
    match error {
        rustls::Error::AlertReceived(alert) => ChannelError::PeerRefused(format!("{alert:?}")),
        other => ChannelError::Tls(other),
    }
}

/// The time as the caller last gave it, for the verifier inside the TLS session.
#[derive(Debug)]
pub(super) struct Time(AtomicI64);

impl Time {
    pub(super) fn new(now: Timestamp) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(now.unix_millis())))
    }

    pub(super) fn set(&self, now: Timestamp) {
        self.0.store(now.unix_millis(), Ordering::Relaxed);
    }
}

impl Clock for Time {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.0.load(Ordering::Relaxed))
    }
}
