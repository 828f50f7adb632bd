//! From a granted channel to a protected stream, on either side.

use std::sync::Arc;
use std::time::Duration;

use burgrave_channel::{ChannelError, Endpoint, Role, Setup, SignedGrant};
use burgrave_identity::DomainTrust;
use burgrave_protocol::message::MessageError;
use burgrave_protocol::wire;
use burgrave_types::{ChannelId, Problem, ProblemCode, SpiffeId};

use crate::channel::{Channel, ChannelStream};
use crate::shared::Shared;
use crate::{lock, sealed};

/// How long the inner handshake of a channel may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Channels that may wait for the application to accept them.
pub(crate) const WAITING: usize = 16;

impl Shared {
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

    /// Drives the handshake of a granted channel; `expected` is who it was asked for with.
    ///
    /// # Errors
    /// Why it is refused; the node is told.
    pub(crate) async fn open(
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
