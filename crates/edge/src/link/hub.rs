//! Who is connected, and which channel runs between whom.
//!
//! Here is who comes and goes. How channels begin and end between two connections is in `routes`; what `control` cuts and tells
//! with, in `directory`. The hub's lock is held for a look-up or a change of its maps; of a connection, nothing but whether it has
//! ended is asked meanwhile, and of a route nothing: both have locks of their own.

mod directory;
mod routes;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use burgrave_types::{ChannelId, InstanceId, Problem, ProblemCode};

use super::lock;
use super::peer::Peer;
use super::route::Route;

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
    /// The number of the newest connection.
    last_id: u64,
    /// All connections, attested or not, by their number.
    peers: HashMap<u64, Arc<Peer>>,
    /// The connection behind which an instance is: the newest that it attested or resumed on.
    instances: HashMap<InstanceId, Arc<Peer>>,
    /// Channels that run, or that a side closed and whose last bytes are on their way.
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

    /// Ends a connection: its channels are cut before this returns, also those that it has closed and whose last bytes wait
    /// for the other side.
    fn end(&self, peer: &Arc<Peer>, reason: &Problem) {
        peer.end(reason);
        // In this order: one that is closed in between is found in either.
        self.cut_all(peer, peer.channels(), reason);
        self.cut_all(peer, peer.closing(), reason);
    }
}
