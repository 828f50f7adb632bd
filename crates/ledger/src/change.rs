//! What a change asks for and what came of it.

use std::fmt;
use std::sync::Arc;

use burgrave_types::{HeadHash, Revision};

use crate::RecordPath;

/// A record as it is read: opened and verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Its place.
    pub path: RecordPath,
    /// When it was last changed.
    pub revision: Revision,
    /// How often it was written since it was made, from 1 on.
    pub version: u64,
    /// Its content, in the clear.
    pub body: Arc<[u8]>,
}

/// What a record must be for a change to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    /// There is no such record.
    Absent,
    /// There is one.
    Present,
    /// There is one, last changed at this revision.
    Revision(Revision),
}

impl Expect {
    pub(crate) fn holds(self, found: Option<Revision>) -> bool {
        match self {
            Self::Absent => found.is_none(),
            Self::Present => found.is_some(),
            Self::Revision(revision) => found == Some(revision),
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("no record"),
            Self::Present => f.write_str("a record"),
            Self::Revision(revision) => write!(f, "a record last changed at revision {revision}"),
        }
    }
}

/// A group of changes: all of them are made, under one head, or none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Change {
    /// Who asks for it; stands in the head.
    pub changer: String,
    /// What must hold.
    pub conditions: Vec<(RecordPath, Expect)>,
    /// Records to write, with their content.
    pub puts: Vec<(RecordPath, Vec<u8>)>,
    /// Records to delete; each must be there.
    pub deletes: Vec<RecordPath>,
}

impl Change {
    /// Bytes of a changer's name; what is longer is cut.
    pub const MAX_CHANGER: usize = 256;

    /// A change by `changer` that asks for nothing yet.
    pub fn by(changer: impl Into<String>) -> Self {
        Self { changer: changer.into(), ..Self::default() }
    }

    /// Adds a condition.
    #[must_use]
    pub fn expect(mut self, path: RecordPath, expect: Expect) -> Self {
        self.conditions.push((path, expect));
        self
    }

    /// Adds a record to write.
    #[must_use]
    pub fn put(mut self, path: RecordPath, body: impl Into<Vec<u8>>) -> Self {
        self.puts.push((path, body.into()));
        self
    }

    /// Adds a record to delete.
    #[must_use]
    pub fn delete(mut self, path: RecordPath) -> Self {
        self.deletes.push(path);
        self
    }
}

/// A change that was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Applied {
    /// The ledger's revision with it.
    pub revision: Revision,
    /// The head that covers it.
    pub head: HeadHash,
}
