//! Who is connected, and which channel runs between whom: the hands that `control` cuts and tells with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use burgrave_control::{LinkDirectory, Notice, OpenedChannel};
use burgrave_protocol::wire::{self, push};
use burgrave_types::{ChannelId, InstanceId, Problem, ProblemCode};

use super::lock;
use super::peer::{Busy, Peer};
use super::route::{End, Route, Side};

/// Entries of a revision notice that go into one PUSH; each is at most some 600 bytes.
const LOST_PER_PUSH: usize = 64;

/// Sees what the node relays, for tests and demonstrations that only ciphertext passes. Called while the channel's lock is
/// held: it must return at once and must not call back.
pub trait RelayTap: Send + Sync {
    /// `bytes` were relayed, from the channel's initiator or from its acceptor.
    fn relayed(&self, channel: ChannelId, from_initiator: bool, bytes: &[u8]);
}

/// The directory of a node's agents and channels.
#[derive(Default)]
pub struct LinkHub {
    state: Mutex<State>,
    tap: Option<Arc<dyn RelayTap>>,
}

#[derive(Default)]
struct State {
    last_id: u64,
    peers: HashMap<u64, Arc<Peer>>,
    instances: HashMap<InstanceId, Arc<Peer>>,
    routes: HashMap<ChannelId, Arc<Route>>,
}

impl LinkHub {
    /// A hub without connections.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// A hub that shows `tap` what it relays.
    pub fn with_tap(tap: Arc<dyn RelayTap>) -> Arc<Self> {
        Arc::new(Self { tap: Some(tap), ..Self::default() })
    }

    /// Ends all connections with a reason, as when the node stops, and cuts their channels: nothing is relayed any more when
    /// this returns.
    pub fn end_all(&self, reason: &Problem) {
        let peers: Vec<_> = lock(&self.state).peers.values().cloned().collect();
        peers.iter().for_each(|peer| self.end(peer, reason));
    }

    /// Connections, attested or not.
    pub fn connections(&self) -> usize {
        lock(&self.state).peers.len()
    }

    pub(super) fn tap(&self) -> Option<&dyn RelayTap> {
        self.tap.as_deref()
    }

    /// A new connection.
    pub(super) fn connect(&self, channels: usize) -> Arc<Peer> {
        let mut state = lock(&self.state);
        state.last_id += 1;
        let peer = Peer::new(state.last_id, channels);
        state.peers.insert(peer.id, Arc::clone(&peer));
        peer
    }

    /// The instance is behind this connection from now on; an older connection of it ends.
    pub(super) fn bind(&self, instance: InstanceId, peer: &Arc<Peer>) {
        let mut state = lock(&self.state);
        // A connection that ends while it attests: its task has, or will have, seen to the rest.
        if peer.has_ended() {
            return;
        }
        let older = state.instances.insert(instance, Arc::clone(peer));
        drop(state);
        if let Some(older) = older.filter(|older| older.id != peer.id) {
            // What it closed before may still arrive: it is the same instance.
            let reason = Problem::new(ProblemCode::Conflict, "the instance opened a newer link");
            older.end(&reason);
            self.cut_all(&older, older.channels(), &reason);
        }
    }

    /// The connection is another instance's from now on.
    pub(super) fn unbind(&self, instance: InstanceId, peer: &Arc<Peer>) {
        let mut state = lock(&self.state);
        if state.instances.get(&instance).is_some_and(|known| known.id == peer.id) {
            state.instances.remove(&instance);
        }
    }

    /// The connection is gone.
    pub(super) fn disconnected(&self, peer: &Arc<Peer>, instance: Option<InstanceId>) {
        lock(&self.state).peers.remove(&peer.id);
        if let Some(instance) = instance {
            self.unbind(instance, peer);
        }
        let reason = Problem::new(ProblemCode::PeerUnavailable, "the link of a side of the channel ended")
            .with_fix("open a new channel");
        self.cut_all(peer, peer.channels(), &reason);
    }

    /// Opens the route of a granted channel: answers the initiator's request and offers the channel to the acceptor. `is_live`
    /// says whether `control` still has the channel.
    ///
    /// # Errors
    /// Why it cannot be; then nothing of it is left, and `control` must be told that the channel is closed.
    pub(super) fn open(
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
        for side in [Side::Initiator, Side::Acceptor] {
            let end = route.end_of(side);
            if let Err(busy) = end.peer.add_channel(end.stream, &route, side, most) {
                self.drop_route(&route, &peer_left());
                return Err(refusal(busy, most, side));
            }
        }
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

    /// Cuts a route; whether this call ended it.
    pub(super) fn drop_route(&self, route: &Arc<Route>, reason: &Problem) -> bool {
        let ended = route.cut(reason);
        lock(&self.state).routes.remove(&route.channel);
        ended
    }

    /// A side closed its channel. Whether this call ended it: else it stays, to be cut still, until its last bytes are gone.
    pub(super) fn close_route(&self, route: &Arc<Route>, from: Side) -> bool {
        let ended = route.close(from);
        if ended {
            lock(&self.state).routes.remove(&route.channel);
        }
        ended
    }

    /// The last bytes of a channel that a side closed are gone; whether this call ended it.
    pub(super) fn drained(&self, route: &Arc<Route>) -> bool {
        let ended = route.drained();
        if ended {
            lock(&self.state).routes.remove(&route.channel);
        }
        ended
    }

    /// Ends a connection: its channels are cut before this returns, also those that it has closed and whose last bytes wait
    /// for the other side.
    fn end(&self, peer: &Arc<Peer>, reason: &Problem) {
        peer.end(reason);
        // In this order: one that is closed in between is found in either.
        self.cut_all(peer, peer.channels(), reason);
        self.cut_all(peer, peer.closing(), reason);
    }

    fn cut_all(&self, peer: &Arc<Peer>, routes: Vec<Arc<Route>>, reason: &Problem) {
        for route in routes {
            if self.drop_route(&route, reason) {
                peer.leave_unreported(route.channel);
            }
        }
    }
}

impl LinkDirectory for LinkHub {
    fn is_linked(&self, instance: InstanceId) -> bool {
        lock(&self.state).instances.get(&instance).is_some_and(|peer| !peer.has_ended())
    }

    fn cut(&self, channel: ChannelId, reason: &Problem) {
        // Where there is no route yet, who makes it asks whether the channel is live.
        let route = lock(&self.state).routes.remove(&channel);
        if let Some(route) = route {
            route.cut(reason);
        }
    }

    fn notify(&self, instance: InstanceId, notice: Notice) {
        let Some(peer) = lock(&self.state).instances.get(&instance).cloned() else { return };
        for notice in notices(notice) {
            peer.push(&wire::Push { notice: Some(notice) });
        }
    }

    fn disconnect(&self, instance: InstanceId, reason: &Problem) {
        let peer = lock(&self.state).instances.remove(&instance);
        if let Some(peer) = peer {
            self.end(&peer, reason);
        }
    }

    fn end_all(&self, reason: &Problem) {
        Self::end_all(self, reason);
    }
}

fn notices(notice: Notice) -> Vec<push::Notice> {
    match notice {
        Notice::Revision { revision, lost } => {
            let lost: Vec<_> = lost
                .into_iter()
                .map(|(operation, resource)| wire::Lost {
                    operation: operation.to_string(),
                    resource: resource.to_string(),
                })
                .collect();
            let notice = |lost: &[wire::Lost]| wire::RevisionNotice { revision: revision.0, lost: lost.to_vec() };
            if lost.is_empty() {
                return vec![push::Notice::Revision(notice(&[]))];
            }
            lost.chunks(LOST_PER_PUSH).map(notice).map(push::Notice::Revision).collect()
        }
        Notice::Reattest { challenge } => vec![push::Notice::Reattest(super::attest::challenge(challenge))],
        Notice::Revoked { reason } => vec![push::Notice::Revoked(reason.into())],
        Notice::KeyVersion { resource, version } => {
            vec![push::Notice::KeyVersion(wire::KeyVersion { resource: resource.to_string(), version })]
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

#[cfg(test)]
mod tests {
    use burgrave_protocol::frame::{Decoder, FrameType};
    use burgrave_types::{Operation, ResourceId, Revision, Timestamp};

    use super::*;

    fn instance(n: u8) -> InstanceId {
        InstanceId::from_bytes([n; 16])
    }

    fn opened(channel: u8) -> OpenedChannel {
        OpenedChannel {
            channel: ChannelId::from_bytes([channel; 16]),
            grant: b"grant".to_vec(),
            initiator_secret: b"for the initiator".to_vec(),
            acceptor: instance(2),
            acceptor_secret: b"for the acceptor".to_vec(),
            byte_limit: 1,
            not_after: Timestamp::from_unix_secs(0),
        }
    }

    /// A hub with the connections of two instances.
    fn hub() -> (Arc<LinkHub>, Arc<Peer>, Arc<Peer>) {
        let hub = LinkHub::new();
        let (a, b) = (hub.connect(4), hub.connect(4));
        hub.bind(instance(1), &a);
        hub.bind(instance(2), &b);
        (hub, a, b)
    }

    fn kinds(peer: &Peer) -> Vec<FrameType> {
        let mut batch = Vec::new();
        peer.fill(&mut batch, usize::MAX);
        let mut decoder = Decoder::new();
        decoder.push(&batch);
        std::iter::from_fn(|| decoder.next_frame().unwrap()).map(|frame| frame.kind).collect()
    }

    fn reason() -> Problem {
        Problem::new(ProblemCode::ChannelCut, "the policy changed")
    }

    #[test]
    fn a_cut_that_comes_before_the_route_holds() {
        let (hub, a, b) = hub();
        let opened = opened(7);
        hub.cut(opened.channel, &reason());
        // However many others are cut meanwhile.
        for n in 0..10_000u128 {
            hub.cut(ChannelId::from_bytes(n.to_be_bytes()), &reason());
        }
        let asked = std::cell::Cell::new(false);
        let refused = hub.open(&opened, &a, 1, 4, || {
            asked.set(true);
            assert!(lock(&hub.state).routes.contains_key(&opened.channel), "a cut from here on finds the route");
            false
        });
        assert_eq!(refused.unwrap_err().code, ProblemCode::ChannelCut);
        assert!(asked.get() && lock(&hub.state).routes.is_empty());
        assert!(a.channel(1).is_none() && b.channels().is_empty());
        assert!(!kinds(&b).contains(&FrameType::Open));
    }

    #[test]
    fn a_cut_between_the_route_and_its_offer_holds() {
        let (hub, a, b) = hub();
        let opened = opened(7);
        let refused = hub.open(&opened, &a, 1, 4, || {
            hub.cut(opened.channel, &reason());
            true
        });
        assert!(refused.is_err() && a.channel(1).is_none() && b.channels().is_empty());
        assert!(!kinds(&b).contains(&FrameType::Open));
    }

    #[test]
    fn a_newer_link_of_an_instance_ends_the_older_with_its_channels() {
        let (hub, a, b) = hub();
        hub.open(&opened(7), &a, 1, 4, || true).unwrap();
        assert_eq!((kinds(&a), kinds(&b)), (vec![FrameType::Response], vec![FrameType::Open]));
        let newer = hub.connect(4);
        hub.bind(instance(1), &newer);
        assert!(a.has_ended() && !newer.has_ended());
        assert_eq!(kinds(&b), [FrameType::Cut]);
        assert_eq!(a.take_unreported(), [opened(7).channel]);
        hub.disconnected(&a, Some(instance(1)));
        assert!(hub.is_linked(instance(1)), "the end of the older link is not that of the instance");
    }

    #[test]
    fn a_connection_that_ended_while_it_attested_is_no_link() {
        let (hub, a, _b) = hub();
        hub.disconnected(&a, Some(instance(1)));
        a.end_silently();
        hub.bind(instance(1), &a);
        assert!(!hub.is_linked(instance(1)));
        assert!(!lock(&hub.state).instances.contains_key(&instance(1)));
    }

    #[test]
    fn a_disconnected_instance_is_gone_when_the_call_returns() {
        let (hub, a, b) = hub();
        hub.open(&opened(7), &a, 1, 4, || true).unwrap();
        hub.disconnect(instance(2), &reason());
        assert!(!hub.is_linked(instance(2)) && b.has_ended());
        assert!(kinds(&a).contains(&FrameType::Cut));
        assert_eq!(hub.open(&opened(8), &a, 3, 4, || true).unwrap_err().code, ProblemCode::PeerUnavailable);
    }

    #[test]
    fn where_all_links_end_nothing_is_relayed_when_the_call_returns() {
        let (hub, a, b) = hub();
        let stranger = hub.connect(4);
        hub.open(&opened(7), &a, 1, 4, || true).unwrap();
        let directory: &dyn LinkDirectory = &*hub;
        directory.end_all(&reason());
        assert!(a.has_ended() && b.has_ended() && stranger.has_ended());
        assert!(a.channel(1).is_none() && b.channels().is_empty() && lock(&hub.state).routes.is_empty());
        assert!(!hub.is_linked(instance(1)));
        assert_eq!(hub.open(&opened(8), &a, 3, 4, || true).unwrap_err().code, ProblemCode::PeerUnavailable);
    }

    #[test]
    fn a_channel_that_was_closed_is_cut_with_the_instance_until_its_last_bytes_are_gone() {
        for ended in [instance(1), instance(2)] {
            let (hub, a, b) = hub();
            hub.open(&opened(7), &a, 1, 4, || true).unwrap();
            let (route, side) = a.channel(1).unwrap();
            route.data(side, vec![1; 100].into(), None).unwrap();
            assert!(!hub.close_route(&route, side));
            hub.disconnect(ended, &reason());
            assert!(!kinds(&b).contains(&FrameType::Data));
            assert!(lock(&hub.state).routes.is_empty());
        }
    }

    #[test]
    fn what_an_agent_sent_before_it_closed_and_left_arrives_and_the_channel_is_over_then() {
        let (hub, a, b) = hub();
        hub.open(&opened(7), &a, 1, 4, || true).unwrap();
        let (route, side) = a.channel(1).unwrap();
        route.data(side, vec![1; 100].into(), None).unwrap();
        hub.close_route(&route, side);
        a.end_silently();
        hub.disconnected(&a, Some(instance(1)));
        let mut batch = Vec::new();
        let drained = b.fill(&mut batch, usize::MAX);
        assert!(batch.windows(100).any(|bytes| bytes == [1; 100]));
        assert!(drained.iter().all(|route| hub.drained(route)) && drained.len() == 1);
        assert!(lock(&hub.state).routes.is_empty() && b.channels().is_empty());
    }

    #[test]
    fn a_peer_that_reads_nothing_is_offered_no_more_channels() {
        let (hub, a, b) = hub();
        let mut cycles = 0;
        let refused = loop {
            if let Err(problem) = hub.open(&OpenedChannel { grant: vec![0; 8000], ..opened(7) }, &a, 1, 4, || true) {
                break problem;
            }
            hub.cut(opened(7).channel, &reason());
            kinds(&a);
            cycles += 1;
            assert!(cycles < 1000, "nothing holds it back");
        };
        assert_eq!(refused.code, ProblemCode::PeerUnavailable);
        assert!(!b.has_ended() && a.channels().is_empty());
        kinds(&b);
        hub.open(&opened(7), &a, 1, 4, || true).unwrap();
    }

    #[test]
    fn channels_beyond_the_limit_are_refused() {
        let (hub, a, _b) = hub();
        hub.open(&opened(7), &a, 1, 1, || true).unwrap();
        assert_eq!(hub.open(&opened(8), &a, 3, 1, || true).unwrap_err().code, ProblemCode::Limit);
        hub.cut(opened(7).channel, &reason());
        hub.open(&opened(8), &a, 3, 1, || true).unwrap();
    }

    #[test]
    fn a_long_list_of_what_was_lost_goes_out_in_pushes_that_fit() {
        let resource: ResourceId = format!("key/{}/{}", "n".repeat(63), "k".repeat(63)).parse().unwrap();
        let lost = vec![(Operation::Decrypt, resource); 1000];
        let pushes = notices(Notice::Revision { revision: Revision(9), lost });
        let longest =
            pushes.iter().map(|notice| prost::Message::encoded_len(&wire::Push { notice: Some(notice.clone()) }));
        assert!(longest.max().unwrap() <= *FrameType::Push.payload().end());
        let told: usize = pushes
            .iter()
            .map(|notice| match notice {
                push::Notice::Revision(notice) => notice.lost.len(),
                _ => 0,
            })
            .sum();
        assert_eq!(told, 1000);
    }
}
