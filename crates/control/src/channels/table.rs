//! The channels that are open, by id and by the instances they join.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use burgrave_audit::{ChannelEvent, ChannelStep, Party};
use burgrave_types::{ChannelId, EnclaveName, InstanceId, Problem, ProblemCode, Revision, Timestamp};

/// One open channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct OpenChannel {
    pub(crate) id: ChannelId,
    pub(crate) initiator: End,
    pub(crate) acceptor: End,
    pub(crate) opened: Timestamp,
    pub(crate) not_after: Timestamp,
    pub(crate) revision: Revision,
    /// When time alone may change what the policies say to it.
    pub(crate) turns: Option<Timestamp>,
}

/// One side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct End {
    pub(crate) instance: InstanceId,
    pub(crate) enclave: EnclaveName,
}

/// All of them.
#[derive(Default)]
pub(crate) struct ChannelTable(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    channels: BTreeMap<ChannelId, OpenChannel>,
    by_instance: HashMap<InstanceId, BTreeSet<ChannelId>>,
}

impl OpenChannel {
    /// What the audit log says of it.
    pub(crate) fn event(&self, step: ChannelStep, reason: Option<String>) -> ChannelEvent {
        let party = |end: &End| Party { enclave: end.enclave.clone(), instance: end.instance };
        ChannelEvent { id: self.id, initiator: party(&self.initiator), acceptor: party(&self.acceptor), step, reason }
    }
}

impl ChannelTable {
    /// Channels of one instance, at most.
    pub(crate) const PER_INSTANCE: usize = 256;

    /// Adds a channel.
    pub(crate) fn insert(&self, channel: OpenChannel) -> Result<(), Problem> {
        let mut tables = self.lock();
        for end in [&channel.initiator, &channel.acceptor] {
            if tables.by_instance.get(&end.instance).map_or(0, BTreeSet::len) >= Self::PER_INSTANCE {
                let detail =
                    format!("`{}` has {} channels open, as many as an instance may", end.enclave, Self::PER_INSTANCE);
                return Err(Problem::new(ProblemCode::Limit, detail).with_fix("close some"));
            }
        }
        for end in [&channel.initiator, &channel.acceptor] {
            tables.by_instance.entry(end.instance).or_default().insert(channel.id);
        }
        tables.channels.insert(channel.id, channel);
        Ok(())
    }

    /// Takes a channel out; of all who try, one gets it.
    pub(crate) fn remove(&self, id: ChannelId) -> Option<OpenChannel> {
        let mut tables = self.lock();
        let channel = tables.channels.remove(&id)?;
        for end in [&channel.initiator, &channel.acceptor] {
            if let Some(ids) = tables.by_instance.get_mut(&end.instance) {
                ids.remove(&id);
                if ids.is_empty() {
                    tables.by_instance.remove(&end.instance);
                }
            }
        }
        Some(channel)
    }

    /// Takes note of a new decision for a channel that is still there.
    pub(crate) fn decided(&self, id: ChannelId, revision: Revision, turns: Option<Timestamp>) {
        if let Some(channel) = self.lock().channels.get_mut(&id) {
            (channel.revision, channel.turns) = (revision, turns);
        }
    }

    /// All channels, by id.
    pub(crate) fn all(&self) -> Vec<OpenChannel> {
        self.lock().channels.values().cloned().collect()
    }

    /// The channels of one instance.
    pub(crate) fn of(&self, instance: InstanceId) -> Vec<OpenChannel> {
        let tables = self.lock();
        let ids = tables.by_instance.get(&instance).into_iter().flatten();
        ids.filter_map(|id| tables.channels.get(id).cloned()).collect()
    }

    /// Whether it is there.
    pub(crate) fn contains(&self, id: ChannelId) -> bool {
        self.lock().channels.contains_key(&id)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().channels.len()
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(id: u16, initiator: u8, acceptor: u8) -> OpenChannel {
        let end = |n| End { instance: InstanceId::from_bytes([n; 16]), enclave: "payments/api".parse().unwrap() };
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&id.to_be_bytes());
        OpenChannel {
            id: ChannelId::from_bytes(bytes),
            initiator: end(initiator),
            acceptor: end(acceptor),
            opened: Timestamp::from_unix_secs(0),
            not_after: Timestamp::from_unix_secs(60),
            revision: Revision(1),
            turns: None,
        }
    }

    #[test]
    fn a_channel_is_found_from_both_of_its_sides_until_it_is_removed() {
        let table = ChannelTable::default();
        table.insert(channel(1, 1, 2)).unwrap();
        for instance in [1, 2] {
            assert_eq!(table.of(InstanceId::from_bytes([instance; 16])).len(), 1);
        }
        assert!(table.remove(channel(1, 1, 2).id).is_some());
        assert!(table.remove(channel(1, 1, 2).id).is_none());
        assert!(table.of(InstanceId::from_bytes([1; 16])).is_empty());
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn an_instance_has_so_many_channels_and_no_more() {
        let table = ChannelTable::default();
        for id in 0..ChannelTable::PER_INSTANCE as u16 {
            table.insert(channel(id, 1, 2)).unwrap();
        }
        let error = table.insert(channel(9999, 3, 2)).unwrap_err();
        assert_eq!(error.code, ProblemCode::Limit);
        assert!(table.of(InstanceId::from_bytes([3; 16])).is_empty(), "nothing half done is left");
    }
}
