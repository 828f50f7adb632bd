//! How far instances' run-time logs were replayed, so that each evidence brings what is new.
//!
//! Kept by identity key, since a long log comes in several parts before there is an instance. It is in memory alone: where it
//! is lost (another node, a restart), the node answers `log.gap` and the agent sends the log from its start.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use burgrave_types::SpkiHash;
use burgrave_verifier::ima::ImaState;

/// Logs that are kept track of, at most; beyond that the one that was longest untouched is sent anew.
const MOST: usize = 65_536;

/// The replayed logs.
#[derive(Default)]
pub(crate) struct RunTimeLogs(Mutex<Logs>);

#[derive(Default)]
struct Logs {
    touched: u64,
    by_key: HashMap<SpkiHash, (u64, ImaState)>,
    by_age: BTreeMap<u64, SpkiHash>,
}

impl RunTimeLogs {
    /// How far the log of who has this key was replayed.
    pub(super) fn get(&self, key: &SpkiHash) -> Option<ImaState> {
        self.lock().by_key.get(key).map(|(_, state)| state.clone())
    }

    /// Keeps what the latest verification said in place of what was there, also where that is nothing.
    pub(super) fn set(&self, key: SpkiHash, state: Option<ImaState>) {
        let mut logs = self.lock();
        let Logs { touched, by_key, by_age } = &mut *logs;
        if let Some((age, _)) = by_key.remove(&key) {
            by_age.remove(&age);
        }
        let Some(state) = state else { return };
        if by_key.len() >= MOST
            && let Some((_, oldest)) = by_age.pop_first()
        {
            by_key.remove(&oldest);
        }
        *touched += 1;
        by_age.insert(*touched, key);
        by_key.insert(key, (*touched, state));
    }

    fn lock(&self) -> MutexGuard<'_, Logs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
