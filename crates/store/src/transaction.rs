//! What a transaction asks for and how it ends.

use std::collections::{BTreeMap, BTreeSet};

/// What a record must be for a transaction to hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    /// There is no record under the key.
    Absent,
    /// There is a record, whatever it is.
    Present,
    /// There is a record, last changed by this revision.
    Revision(u64),
}

impl Expect {
    /// Whether it holds for a record last changed by `found` (`None`: no record).
    pub fn holds(self, found: Option<u64>) -> bool {
        match self {
            Self::Absent => found.is_none(),
            Self::Present => found.is_some(),
            Self::Revision(revision) => found == Some(revision),
        }
    }
}

/// Conditions, and what to write where they all hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Transaction {
    /// What must hold, by key.
    pub conditions: BTreeMap<Vec<u8>, Expect>,
    /// Values to write, by key.
    pub puts: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Keys to delete; one that has no record is no failure.
    pub deletes: BTreeSet<Vec<u8>>,
}

impl Transaction {
    /// A transaction that asks for nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition on `key`; the last one on a key counts.
    #[must_use]
    pub fn expect(mut self, key: impl Into<Vec<u8>>, expect: Expect) -> Self {
        self.conditions.insert(key.into(), expect);
        self
    }

    /// Adds a value to write under `key`.
    #[must_use]
    pub fn put(mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        self.puts.insert(key.into(), value.into());
        self
    }

    /// Adds a key to delete.
    #[must_use]
    pub fn delete(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.deletes.insert(key.into());
        self
    }
}

/// How a transaction ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Commit {
    /// It is applied and durable.
    Committed {
        /// Its revision.
        revision: u64,
    },
    /// A condition did not hold; nothing was changed.
    Conflict {
        /// The first key, in order, whose condition did not hold.
        key: Vec<u8>,
        /// The revision that its record was last changed by; `None`: there is no record.
        found: Option<u64>,
    },
}
