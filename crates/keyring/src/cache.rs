//! Derived keys kept for a while, so that a request does not cost an operation of the token.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use burgrave_types::{EnclaveUid, KeyUid, Secret, Timestamp};

/// Whose a derived key is, for [`Cache::forget`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    Enclave(EnclaveUid),
    Key(KeyUid),
    Pair(EnclaveUid, EnclaveUid),
}

impl Owner {
    pub(crate) fn involves(self, enclave: EnclaveUid) -> bool {
        match self {
            Self::Enclave(uid) => uid == enclave,
            Self::Pair(a, b) => a == enclave || b == enclave,
            Self::Key(_) => false,
        }
    }
}

/// A bounded cache by context; what was used longest ago goes first. Dropped keys are wiped.
#[derive(Debug)]
pub(crate) struct Cache {
    entries: HashMap<Arc<[u8]>, Entry>,
    /// Contexts by the tick of their last use.
    order: BTreeMap<u64, Arc<[u8]>>,
    tick: u64,
    capacity: usize,
    time: Duration,
    generation: u64,
}

#[derive(Debug)]
struct Entry {
    /// Boxed, so that a map that grows leaves no copy behind.
    key: Box<Secret<[u8; 32]>>,
    derived_at: Timestamp,
    owner: Owner,
    used: u64,
}

/// Proves when a derivation began: a key whose derivation began before a [`Cache::forget`] is not kept after it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket(u64);

impl Cache {
    pub(crate) fn new(capacity: usize, time: Duration) -> Self {
        Self { entries: HashMap::new(), order: BTreeMap::new(), tick: 0, capacity, time, generation: 0 }
    }

    pub(crate) fn set_time(&mut self, time: Duration) {
        self.time = time;
    }

    /// The key of this context if it was derived less than the cache's time before `now`, and not after it (the clock
    /// went back); else a ticket to insert a new one.
    pub(crate) fn get(&mut self, context: &[u8], now: Timestamp) -> Result<Secret<[u8; 32]>, Ticket> {
        let ticket = Ticket(self.generation);
        let Some((name, entry)) = self.entries.get_key_value(context) else { return Err(ticket) };
        if now < entry.derived_at || now.since(entry.derived_at) >= self.time {
            self.remove(context);
            return Err(ticket);
        }
        let (name, key) = (Arc::clone(name), Secret::clone(&entry.key));
        self.touch(&name);
        Ok(key)
    }

    pub(crate) fn insert(
        &mut self,
        ticket: Ticket,
        context: &[u8],
        owner: Owner,
        key: Secret<[u8; 32]>,
        now: Timestamp,
    ) {
        if ticket.0 != self.generation || self.time.is_zero() || self.capacity == 0 {
            return;
        }
        self.remove(context);
        while self.entries.len() >= self.capacity {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.entries.remove(&oldest);
        }
        let name: Arc<[u8]> = context.into();
        self.entries.insert(Arc::clone(&name), Entry { key: Box::new(key), derived_at: now, owner, used: 0 });
        self.touch(&name);
    }

    /// Drops what `of` says, now and for derivations that are under way.
    pub(crate) fn forget(&mut self, of: impl Fn(Owner) -> bool) {
        self.generation += 1;
        let order = &mut self.order;
        self.entries.retain(|_, entry| {
            let gone = of(entry.owner);
            if gone {
                order.remove(&entry.used);
            }
            !gone
        });
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        assert_eq!(self.entries.len(), self.order.len(), "entries and their order went apart");
        self.entries.len()
    }

    fn remove(&mut self, context: &[u8]) {
        if let Some(entry) = self.entries.remove(context) {
            self.order.remove(&entry.used);
        }
    }

    fn touch(&mut self, name: &Arc<[u8]>) {
        self.tick += 1;
        if let Some(entry) = self.entries.get_mut(name) {
            self.order.remove(&entry.used);
            entry.used = self.tick;
            self.order.insert(self.tick, Arc::clone(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner::Enclave(EnclaveUid::from_bytes([1; 16]));

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_unix_secs(secs)
    }

    fn put(cache: &mut Cache, context: &[u8], owner: Owner, now: Timestamp) {
        let ticket = cache.get(context, now).unwrap_err();
        cache.insert(ticket, context, owner, Secret::new([context[0]; 32]), now);
    }

    #[test]
    fn a_key_is_kept_for_its_time_and_not_longer() {
        let mut cache = Cache::new(8, Duration::from_secs(300));
        put(&mut cache, b"a", OWNER, at(100));
        assert_eq!(cache.get(b"a", at(399)).unwrap().expose(), &[b'a'; 32]);
        assert!(cache.get(b"a", at(400)).is_err());
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn a_clock_that_went_back_does_not_make_a_key_last() {
        let mut cache = Cache::new(8, Duration::from_secs(300));
        put(&mut cache, b"a", OWNER, at(100));
        assert!(cache.get(b"a", at(99)).is_err());
    }

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let mut cache = Cache::new(2, Duration::from_secs(300));
        put(&mut cache, b"a", OWNER, at(0));
        put(&mut cache, b"b", OWNER, at(0));
        cache.get(b"a", at(1)).unwrap();
        put(&mut cache, b"c", OWNER, at(1));
        assert!(cache.get(b"b", at(1)).is_err());
        assert!(cache.get(b"a", at(1)).is_ok() && cache.get(b"c", at(1)).is_ok());
        assert_eq!(cache.len(), 2);
    }

    #[test]
    fn forgetting_drops_an_enclaves_keys_and_pairs_and_no_others() {
        let (one, two, three) =
            (EnclaveUid::from_bytes([1; 16]), EnclaveUid::from_bytes([2; 16]), EnclaveUid::from_bytes([3; 16]));
        let mut cache = Cache::new(8, Duration::from_secs(300));
        let owners = [
            Owner::Enclave(one),
            Owner::Pair(one, two),
            Owner::Pair(two, one),
            Owner::Pair(two, three),
            Owner::Enclave(two),
            Owner::Key(KeyUid::from_bytes([1; 16])),
        ];
        for (number, owner) in owners.into_iter().enumerate() {
            put(&mut cache, &[number as u8], owner, at(0));
        }
        cache.forget(|owner| owner.involves(one));
        let kept: Vec<usize> = (0..owners.len()).filter(|n| cache.get(&[*n as u8], at(0)).is_ok()).collect();
        assert_eq!(kept, [3, 4, 5]);
        assert_eq!(cache.len(), 3);
    }

    #[test]
    fn a_key_whose_derivation_began_before_the_forgetting_is_not_kept() {
        let mut cache = Cache::new(8, Duration::from_secs(300));
        let ticket = cache.get(b"a", at(0)).unwrap_err();
        cache.forget(|owner| owner == OWNER);
        cache.insert(ticket, b"a", OWNER, Secret::new([0; 32]), at(0));
        assert!(cache.get(b"a", at(0)).is_err());
    }

    #[test]
    fn no_time_keeps_nothing() {
        let mut cache = Cache::new(8, Duration::ZERO);
        put(&mut cache, b"a", OWNER, at(0));
        assert_eq!(cache.len(), 0);
    }
}
