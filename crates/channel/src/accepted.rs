//! Which channels were taken already: each id is good for one.

use std::collections::{BTreeMap, BTreeSet};

use burgrave_types::{ChannelId, Timestamp};

/// Remembers the channels that were accepted, each until its grant ends; so a grant shown twice opens one channel.
///
/// After the grant's end its validity refuses it, so forgetting it then is safe. The memory is bounded: when it is full of
/// grants that have not ended, new ones are refused.
///
/// ```
/// use burgrave_channel::AcceptedIds;
/// use burgrave_types::{ChannelId, Timestamp};
///
/// let mut accepted = AcceptedIds::new(1024);
/// let (id, end, now) = (ChannelId::from_bytes([1; 16]), Timestamp::from_unix_secs(60), Timestamp::from_unix_secs(0));
/// assert!(accepted.accept(id, end, now).is_ok());
/// assert!(accepted.accept(id, end, now).is_err());
/// ```
#[derive(Debug)]
pub struct AcceptedIds {
    ends: BTreeMap<ChannelId, Timestamp>,
    by_end: BTreeSet<(Timestamp, ChannelId)>,
    capacity: usize,
}

/// Why a channel id is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// It was taken before.
    #[error("the channel `{0}` was accepted before; each grant opens one channel, ask for a new one")]
    Replayed(ChannelId),
    /// Too many are remembered.
    #[error("{0} channels are remembered, which is the limit; try again when some of their grants have ended")]
    Full(usize),
}

impl AcceptedIds {
    /// A memory of `capacity` channels.
    pub fn new(capacity: usize) -> Self {
        Self { ends: BTreeMap::new(), by_end: BTreeSet::new(), capacity }
    }

    /// Takes a channel whose grant ends at `not_after`.
    ///
    /// # Errors
    /// [`AcceptError`] where it was taken before, or nothing more can be remembered.
    pub fn accept(&mut self, channel: ChannelId, not_after: Timestamp, now: Timestamp) -> Result<(), AcceptError> {
        self.forget_ended(now);
        if self.ends.contains_key(&channel) {
            return Err(AcceptError::Replayed(channel));
        }
        if self.ends.len() >= self.capacity {
            return Err(AcceptError::Full(self.capacity));
        }
        self.ends.insert(channel, not_after);
        self.by_end.insert((not_after, channel));
        Ok(())
    }

    /// How many channels are remembered.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn forget_ended(&mut self, now: Timestamp) {
        while let Some((_, channel)) = self.by_end.first().filter(|(end, _)| *end <= now).copied() {
            self.by_end.pop_first();
            self.ends.remove(&channel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> ChannelId {
        ChannelId::from_bytes([n; 16])
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_unix_secs(secs)
    }

    #[test]
    fn a_channel_id_is_taken_once_while_its_grant_lives() {
        let mut accepted = AcceptedIds::new(8);
        accepted.accept(id(1), at(10), at(0)).unwrap();
        assert_eq!(accepted.accept(id(1), at(10), at(9)), Err(AcceptError::Replayed(id(1))));
        accepted.accept(id(2), at(20), at(10)).unwrap();
        assert_eq!(accepted.len(), 1, "the ended one is forgotten");
    }

    #[test]
    fn a_full_memory_refuses_instead_of_forgetting() {
        let mut accepted = AcceptedIds::new(2);
        accepted.accept(id(1), at(10), at(0)).unwrap();
        accepted.accept(id(2), at(20), at(0)).unwrap();
        assert_eq!(accepted.accept(id(3), at(30), at(5)), Err(AcceptError::Full(2)));
        accepted.accept(id(3), at(30), at(10)).unwrap();
        assert_eq!(accepted.accept(id(2), at(20), at(10)), Err(AcceptError::Replayed(id(2))));
    }
}
