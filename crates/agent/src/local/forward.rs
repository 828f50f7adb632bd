//! Forwarded ports: local connections carried to other enclaves, and theirs to a local address.

use std::io;
use std::time::Duration;

use burgrave_types::EnclaveName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

use super::LocalAddress;
use crate::{Agent, ChannelStream};

/// A bound local listener.
#[derive(Debug)]
pub enum LocalListener {
    /// On TCP.
    Tcp(TcpListener),
    /// On a Unix socket.
    Unix(UnixListener),
}

/// Any byte stream.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

impl LocalListener {
    async fn accept(&self) -> io::Result<Box<dyn Duplex>> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

/// Carries each connection to `listener` over a channel of its own to `peer`, for ever. A connection for which there is no
/// channel is closed, and the log says why.
pub async fn forward(agent: Agent, listener: LocalListener, peer: EnclaveName) {
    loop {
        let local = match listener.accept().await {
            Ok(local) => local,
            Err(error) => {
                tracing::warn!(%error, "accepting a local connection failed");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let (agent, peer) = (agent.clone(), peer.clone());
        tokio::spawn(async move {
            match agent.connect(&peer).await {
                Ok(channel) => carry(local, channel).await,
                Err(problem) => tracing::warn!(%peer, %problem, "a forwarded connection has no channel"),
            }
        });
    }
}

/// Carries each channel that a peer opens to a connection of its own to `address`, until the agent is stopped.
pub async fn accept_to(agent: Agent, address: LocalAddress) {
    while let Ok((peer, channel)) = agent.accept().await {
        let address = address.clone();
        tokio::spawn(async move {
            match address.connect().await {
                Ok(local) => carry(local, channel).await,
                Err(error) => tracing::warn!(%peer, %address, %error, "a channel has nowhere to go"),
            }
        });
    }
}

/// Carries bytes both ways until both directions ended, or one failed: then the other end is dropped as well.
async fn carry(mut local: Box<dyn Duplex>, mut channel: ChannelStream) {
    let peer = channel.peer().clone();
    match tokio::io::copy_bidirectional(&mut local, &mut channel).await {
        Ok((out, back)) => tracing::debug!(%peer, out, back, "a forwarded connection ended"),
        Err(error) => tracing::info!(%peer, %error, "a forwarded connection was ended"),
    }
}
