//! Channels between two connections: how a route begins and each way in which it ends.

use std::sync::Arc;

use burgrave_control::OpenedChannel;
use burgrave_protocol::wire;
use burgrave_types::{Problem, ProblemCode};

use super::LinkHub;
use crate::link::lock;
use crate::link::peer::{Busy, Peer};
use crate::link::route::{End, Route, Side};

impl LinkHub {
    /// Opens the route of a granted channel: answers the initiator's request and offers the channel to the acceptor. `is_live`
    /// says whether `control` still has the channel.
    ///
    /// # Errors
    /// Why it cannot be; then nothing of it is left, and `control` must be told that the channel is closed.
    pub(in crate::link) fn open(
        &self,
        opened: &OpenedChannel,
        initiator: &Arc<Peer>,
        stream: u32,
        most: usize,
        is_live: impl FnOnce() -> bool,
    ) -> Result<(), Problem> {
        let acceptor = lock(&self.state).instances.get(&opened.acceptor).cloned();
        let acceptor = acceptor.filter(|peer| !peer.has_ended()).ok_or_else(peer_left)?;
        // Each offer and its cut are frames that wait for the acceptor: who opens channels over and over fills no queue.
        if acceptor.is_behind() {
            return Err(Problem::new(ProblemCode::PeerUnavailable, "the peer does not read what is sent to it")
                .with_fix("try again later"));
        }
        let accepted = End { stream: acceptor.take_stream(), peer: acceptor };
        let route = Route::new(opened.channel, End { peer: Arc::clone(initiator), stream }, accepted);
        self.add_to_both(&route, most)?;
        lock(&self.state).routes.insert(opened.channel, Arc::clone(&route));
        // INVARIANT: asked once a cut finds the route. One that came before found nothing, and is seen here.
        if !is_live() {
            let reason = Problem::new(ProblemCode::ChannelCut, "the channel was cut while it was being opened")
                .with_fix("try again: the answer then says whether it is allowed");
            self.drop_route(&route, &reason);
            return Err(reason);
        }
        let offer = |secret: &[u8]| wire::ChannelOffer {
            channel: opened.channel.as_bytes().to_vec(),
            grant: opened.grant.clone(),
            sealed_secret: secret.to_vec(),
        };
        if !route.offer(offer(&opened.initiator_secret), &offer(&opened.acceptor_secret)) {
            lock(&self.state).routes.remove(&opened.channel);
            return Err(peer_left());
        }
        Ok(())
    }

    /// Makes a route known to both of its connections, or to neither.
    fn add_to_both(&self, route: &Arc<Route>, most: usize) -> Result<(), Problem> {
        for side in [Side::Initiator, Side::Acceptor] {
            let end = route.end_of(side);
            if let Err(busy) = end.peer.add_channel(end.stream, route, side, most) {
                self.drop_route(route, &peer_left());
                return Err(refusal(busy, most, side));
            }
        }
        Ok(())
    }

    /// Cuts a route; whether this call ended it.
    pub(in crate::link) fn drop_route(&self, route: &Arc<Route>, reason: &Problem) -> bool {
        let ended = route.cut(reason);
        lock(&self.state).routes.remove(&route.channel);
        ended
    }

    /// A side closed its channel. Whether this call ended it: else it stays, to be cut still, until its last bytes are gone.
    pub(in crate::link) fn close_route(&self, route: &Arc<Route>, from: Side) -> bool {
        let ended = route.close(from);
        if ended {
            lock(&self.state).routes.remove(&route.channel);
        }
        ended
    }

    /// The last bytes of a channel that a side closed are gone; whether this call ended it.
    pub(in crate::link) fn drained(&self, route: &Arc<Route>) -> bool {
        let ended = route.drained();
        if ended {
            lock(&self.state).routes.remove(&route.channel);
        }
        ended
    }

    pub(super) fn cut_all(&self, peer: &Arc<Peer>, routes: Vec<Arc<Route>>, reason: &Problem) {
        for route in routes {
            if self.drop_route(&route, reason) {
                peer.leave_unreported(route.channel);
            }
        }
    }
}

fn peer_left() -> Problem {
    Problem::new(ProblemCode::PeerUnavailable, "the peer's link ended while the channel was being opened")
        .with_fix("try again")
}

fn refusal(busy: Busy, most: usize, side: Side) -> Problem {
    match (busy, side) {
        (Busy::Full, Side::Initiator) => {
            Problem::new(ProblemCode::Limit, format!("this link has {most} channels, which is the limit"))
                .with_fix("close a channel first")
        }
        (Busy::Full, Side::Acceptor) => peer_left(),
        (Busy::Taken, _) => Problem::new(ProblemCode::Protocol, "the stream has a channel already"),
    }
}
