//! One channel as the node sees it: two streams, the credit of each direction, and an end.

use std::sync::{Arc, Mutex};

use burgrave_protocol::credit::Credit;
use burgrave_protocol::frame::FrameType;
use burgrave_protocol::wire;
use burgrave_types::{ChannelId, Problem, ProblemCode};
use bytes::Bytes;

use super::hub::RelayTap;
use super::lock;
use super::peer::Peer;

/// A side of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    Initiator,
    Acceptor,
}

/// Where a side's stream is.
pub(super) struct End {
    pub(super) peer: Arc<Peer>,
    pub(super) stream: u32,
}

/// A channel between two connections of this node.
pub(super) struct Route {
    pub(super) channel: ChannelId,
    initiator: End,
    acceptor: End,
    /// INVARIANT: bytes are put into an outbox only under this lock and while the channel is open; whoever ends it purges
    /// under the same lock. So nothing of an ended channel is queued after its end.
    state: Mutex<State>,
}

/// How far a channel is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    /// Bytes pass.
    Open,
    /// This side closed it. What it sent before waits for the other, and can still be cut.
    Closing(Side),
    /// Nothing of it waits.
    Ended,
}

struct State {
    life: Life,
    /// What the initiator may still send.
    from_initiator: Credit,
    /// What the acceptor may still send.
    from_acceptor: Credit,
}

impl Route {
    pub(super) fn new(channel: ChannelId, initiator: End, acceptor: End) -> Arc<Self> {
        let state = State { life: Life::Open, from_initiator: Credit::new(), from_acceptor: Credit::new() };
        Arc::new(Self { channel, initiator, acceptor, state: Mutex::new(state) })
    }

    pub(super) fn end_of(&self, side: Side) -> &End {
        match side {
            Side::Initiator => &self.initiator,
            Side::Acceptor => &self.acceptor,
        }
    }

    fn other(&self, side: Side) -> &End {
        match side {
            Side::Initiator => &self.acceptor,
            Side::Acceptor => &self.initiator,
        }
    }

    /// Gives each side its half, so that both know of the channel before anything else of it reaches them; false where the
    /// channel has ended already.
    pub(super) fn offer(&self, initiator: wire::ChannelOffer, acceptor: &wire::ChannelOffer) -> bool {
        let state = lock(&self.state);
        let open = state.life == Life::Open;
        if open {
            self.initiator.peer.respond(self.initiator.stream, &initiator.into());
            let offer = prost::Message::encode_to_vec(acceptor);
            self.acceptor.peer.control(FrameType::Open, self.acceptor.stream, &offer);
        }
        open
    }

    /// Relays bytes that `from` sent.
    ///
    /// # Errors
    /// Why the channel must be cut: credit overstepped, or no room.
    pub(super) fn data(&self, from: Side, bytes: Bytes, tap: Option<&dyn RelayTap>) -> Result<(), Problem> {
        let mut state = lock(&self.state);
        if state.life != Life::Open {
            return Ok(());
        }
        state.credit(from).spend(bytes.len()).map_err(violation)?;
        if let Some(tap) = tap {
            tap.relayed(self.channel, from == Side::Initiator, &bytes);
        }
        let to = self.other(from);
        to.peer.data(to.stream, bytes).map_err(|error| Problem::new(ProblemCode::Limit, error.to_string()))
    }

    /// Relays credit that `from` gives to the other side.
    ///
    /// # Errors
    /// Why the channel must be cut: more credit than the window.
    pub(super) fn credit(&self, from: Side, given: u32) -> Result<(), Problem> {
        let mut state = lock(&self.state);
        if state.life != Life::Open {
            return Ok(());
        }
        let (to, account) = match from {
            Side::Initiator => (Side::Acceptor, &mut state.from_acceptor),
            Side::Acceptor => (Side::Initiator, &mut state.from_initiator),
        };
        account.grant(given).map_err(violation)?;
        let to = self.end_of(to);
        to.peer.credit(to.stream, given);
        Ok(())
    }

    /// `from` is done: what it sent still arrives, what was sent to it is dropped. Whether this call ended the channel: the
    /// first close does not, as long as something waits for the other side.
    pub(super) fn close(self: &Arc<Self>, from: Side) -> bool {
        let mut state = lock(&self.state);
        let (own, other) = (self.end_of(from), self.other(from));
        match state.life {
            Life::Open => {
                state.life = Life::Closing(from);
                own.peer.purge(own.stream);
                own.peer.closing_channel(own.stream, self);
                other.peer.close(other.stream);
                false
            }
            Life::Closing(by) if by != from => {
                own.peer.purge(own.stream);
                self.finish(&mut state);
                true
            }
            Life::Closing(_) | Life::Ended => false,
        }
    }

    /// The last bytes of a channel that a side closed were handed out. Whether this call ended it.
    pub(super) fn drained(&self) -> bool {
        let mut state = lock(&self.state);
        let closing = matches!(state.life, Life::Closing(_));
        if closing {
            self.finish(&mut state);
        }
        closing
    }

    /// Ends the channel now on both sides: nothing of it waits when this returns. Whether this call ended it.
    pub(super) fn cut(&self, reason: &Problem) -> bool {
        let mut state = lock(&self.state);
        let ends: &[&End] = match state.life {
            Life::Open => &[&self.initiator, &self.acceptor],
            // Who closed it has done with it; its stream may be another's by now.
            Life::Closing(by) => &[self.other(by)],
            Life::Ended => return false,
        };
        let reason = wire::Problem::reason(reason);
        for end in ends {
            end.peer.purge(end.stream);
            end.peer.control(FrameType::Cut, end.stream, &reason);
        }
        self.finish(&mut state);
        true
    }

    /// Neither side knows of the channel any more.
    fn finish(&self, state: &mut State) {
        match std::mem::replace(&mut state.life, Life::Ended) {
            Life::Open => {
                self.initiator.peer.remove_channel(self.initiator.stream);
                self.acceptor.peer.remove_channel(self.acceptor.stream);
            }
            Life::Closing(by) => {
                self.end_of(by).peer.remove_closing(self.channel);
                let other = self.other(by);
                other.peer.remove_channel(other.stream);
            }
            Life::Ended => {}
        }
    }
}

impl State {
    fn credit(&mut self, from: Side) -> &mut Credit {
        match from {
            Side::Initiator => &mut self.from_initiator,
            Side::Acceptor => &mut self.from_acceptor,
        }
    }
}

fn violation(error: burgrave_protocol::credit::CreditError) -> Problem {
    Problem::new(ProblemCode::Protocol, format!("the channel's flow control was broken: {error}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use burgrave_protocol::credit::WINDOW;
    use burgrave_protocol::frame::{Decoder, Frame};
    use burgrave_protocol::message;

    use super::*;

    #[derive(Default)]
    struct Count(Mutex<usize>);

    impl RelayTap for Count {
        fn relayed(&self, _channel: ChannelId, _from_initiator: bool, bytes: &[u8]) {
            *self.0.lock().unwrap() += bytes.len();
        }
    }

    /// A route from stream 1 of one peer to stream 2 of another.
    fn route() -> (Arc<Route>, Arc<Peer>, Arc<Peer>) {
        let (a, b) = (Peer::new(1, 4), Peer::new(2, 4));
        let end = |peer: &Arc<Peer>, stream| End { peer: Arc::clone(peer), stream };
        let route = Route::new(ChannelId::from_bytes([1; 16]), end(&a, 1), end(&b, 2));
        a.add_channel(1, &route, Side::Initiator, 4).unwrap();
        b.add_channel(2, &route, Side::Acceptor, 4).unwrap();
        (route, a, b)
    }

    /// What is written to a peer, as its writer does it.
    fn frames(peer: &Peer) -> Vec<Frame> {
        let mut batch = Vec::new();
        for route in peer.fill(&mut batch, usize::MAX) {
            route.drained();
        }
        let mut decoder = Decoder::new();
        decoder.push(&batch);
        std::iter::from_fn(|| decoder.next_frame().unwrap()).collect()
    }

    fn kinds(peer: &Peer) -> Vec<FrameType> {
        frames(peer).iter().map(|frame| frame.kind).collect()
    }

    fn reason() -> Problem {
        Problem::new(ProblemCode::ChannelCut, "the policy changed")
    }

    #[test]
    fn a_cut_purges_what_waits_and_nothing_is_accepted_after_it() {
        let (route, a, b) = route();
        let tap = Count::default();
        route.data(Side::Initiator, vec![1; 1000].into(), Some(&tap)).unwrap();
        route.data(Side::Acceptor, vec![2; 500].into(), Some(&tap)).unwrap();
        assert!(route.cut(&reason()));
        route.data(Side::Initiator, vec![1; 1000].into(), Some(&tap)).unwrap();
        route.credit(Side::Acceptor, 1000).unwrap();
        assert!(!route.close(Side::Acceptor) && !route.cut(&reason()));
        assert_eq!(*tap.0.lock().unwrap(), 1500);
        for peer in [&a, &b] {
            let frames = frames(peer);
            assert_eq!(frames.iter().map(|frame| frame.kind).collect::<Vec<_>>(), [FrameType::Cut]);
            let told: wire::Problem = message::decode("reason", &frames[0].payload).unwrap();
            assert_eq!(Problem::from(told), reason());
        }
        assert!(a.channel(1).is_none() && b.channel(2).is_none());
    }

    #[test]
    fn a_close_lets_what_was_sent_arrive_and_drops_what_comes_back() {
        let (route, a, b) = route();
        route.data(Side::Initiator, vec![1; 1000].into(), None).unwrap();
        route.data(Side::Acceptor, vec![2; 500].into(), None).unwrap();
        assert!(!route.close(Side::Initiator), "its last bytes wait");
        route.data(Side::Acceptor, vec![2; 500].into(), None).unwrap();
        assert_eq!(kinds(&b), [FrameType::Data, FrameType::Close]);
        assert_eq!(kinds(&a), []);
        assert!(b.channel(2).is_none() && a.closing().is_empty());
        assert!(!route.cut(&reason()), "nothing of it is left");
        assert_eq!((kinds(&a), kinds(&b)), (vec![], vec![]));
    }

    #[test]
    fn what_waits_of_a_closed_channel_can_still_be_cut() {
        let (route, a, b) = route();
        route.data(Side::Initiator, vec![1; 1000].into(), None).unwrap();
        route.close(Side::Initiator);
        // The stream of the side that closed is another channel's by now.
        let end = |peer: &Arc<Peer>, stream| End { peer: Arc::clone(peer), stream };
        let next = Route::new(ChannelId::from_bytes([2; 16]), end(&a, 1), end(&b, 4));
        a.add_channel(1, &next, Side::Initiator, 4).unwrap();
        assert!(route.cut(&reason()));
        assert_eq!(kinds(&b), [FrameType::Cut]);
        assert_eq!(kinds(&a), []);
        assert!(a.channel(1).is_some() && a.closing().is_empty() && b.channel(2).is_none());
    }

    #[test]
    fn a_channel_that_both_sides_closed_is_over_at_once() {
        let (route, a, b) = route();
        route.data(Side::Initiator, vec![1; 1000].into(), None).unwrap();
        assert!(!route.close(Side::Initiator) && !route.close(Side::Initiator));
        assert!(route.close(Side::Acceptor));
        assert!(!route.drained() && !route.close(Side::Acceptor));
        assert_eq!((kinds(&a), kinds(&b)), (vec![], vec![]));
    }

    #[test]
    fn a_connection_that_ends_sends_nothing_of_its_channels_any_more() {
        let (route, _a, b) = route();
        route.data(Side::Initiator, vec![1; 1000].into(), None).unwrap();
        b.end(&reason());
        route.data(Side::Initiator, vec![1; 1000].into(), None).unwrap();
        route.close(Side::Initiator);
        b.respond(1, &reason().into());
        assert_eq!(kinds(&b), [FrameType::GoAway]);
    }

    #[test]
    fn credit_in_single_bytes_queues_one_frame_for_the_other_side() {
        let (route, a, b) = route();
        route.data(Side::Initiator, vec![1; 50_000].into(), None).unwrap();
        for _ in 0..50_000 {
            route.credit(Side::Acceptor, 1).unwrap();
        }
        let frames = frames(&a);
        assert_eq!(frames, [Frame::new(FrameType::Credit, 1, 50_000u32.to_be_bytes().to_vec())]);
        assert_eq!(kinds(&b).len(), 4);
    }

    #[test]
    fn each_direction_is_held_to_its_own_credit() {
        let (route, a, _b) = route();
        route.data(Side::Initiator, vec![0; WINDOW as usize].into(), None).unwrap();
        assert_eq!(route.data(Side::Initiator, vec![0].into(), None).unwrap_err().code, ProblemCode::Protocol);
        route.data(Side::Acceptor, vec![0].into(), None).unwrap();
        assert!(route.credit(Side::Acceptor, WINDOW + 1).is_err());
        route.credit(Side::Acceptor, 10).unwrap();
        route.data(Side::Initiator, vec![0; 10].into(), None).unwrap();
        assert!(route.data(Side::Initiator, vec![0].into(), None).is_err());
        // The initiator never had more to give back than the one byte it was sent.
        assert!(route.credit(Side::Initiator, 2).is_err());
        assert_eq!(kinds(&a), [FrameType::Credit, FrameType::Data]);
    }
}
