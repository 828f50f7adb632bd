//! What `control` has of the hub: the hands that it cuts and tells with.

use burgrave_control::{LinkDirectory, Notice};
use burgrave_protocol::wire::{self, push};
use burgrave_types::{ChannelId, InstanceId, Problem};

use super::LinkHub;
use crate::link::{attest, lock};

/// Entries of a revision notice that go into one PUSH; each is at most some 600 bytes.
const LOST_PER_PUSH: usize = 64;

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

/// A notice as it is sent: one of a long list of what was lost goes out in several pieces.
pub(super) fn notices(notice: Notice) -> Vec<push::Notice> {
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
        Notice::Reattest { challenge } => vec![push::Notice::Reattest(attest::challenge(challenge))],
        Notice::Revoked { reason } => vec![push::Notice::Revoked(reason.into())],
        Notice::KeyVersion { resource, version } => {
            vec![push::Notice::KeyVersion(wire::KeyVersion { resource: resource.to_string(), version })]
        }
    }
}
