//! Changes: from an intention to a revision that every decision from then on is made at.

use std::collections::BTreeMap;

use burgrave_types::{ChannelId, Problem, ProblemCode, Revision};

use crate::Control;
use crate::records::{Entry, Stored, encode};

/// Changes to records that happen together or not at all, and what they rest on.
#[derive(Default)]
pub(crate) struct Change {
    pub(crate) expects: BTreeMap<String, Expect>,
    pub(crate) puts: BTreeMap<String, Vec<u8>>,
    pub(crate) deletes: Vec<String>,
}

/// What a record must be for a change to hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Expect {
    /// There is none.
    Absent,
    /// It was last changed at this revision.
    At(Revision),
}

/// A change that holds, and what it did at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Committed {
    pub(crate) revision: Revision,
    /// The channels that it cut.
    pub(crate) cut: Vec<ChannelId>,
}

/// Why a change does not hold.
#[derive(Debug)]
pub(crate) enum CommitError {
    /// A record is not what the change rests on: read again and try again.
    Conflict { path: String },
    /// It cannot be made.
    Failed(Problem),
}

impl Change {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Makes a record that must not be there yet.
    #[must_use]
    pub(crate) fn create<R: Stored>(mut self, record: &R) -> Self {
        self.expects.insert(record.path(), Expect::Absent);
        self.puts.insert(record.path(), encode(record));
        self
    }

    /// Replaces what was read at `revision`.
    #[must_use]
    pub(crate) fn update<R: Stored>(mut self, record: &R, revision: Revision) -> Self {
        self.expects.insert(record.path(), Expect::At(revision));
        self.puts.insert(record.path(), encode(record));
        self
    }

    /// Deletes what was read.
    #[must_use]
    pub(crate) fn delete<R: Stored>(mut self, entry: &Entry<R>) -> Self {
        self.delete_at(entry.record.path(), entry.revision);
        self
    }

    /// Deletes the record at `path`, as it was read at `revision`.
    pub(crate) fn delete_at(&mut self, path: String, revision: Revision) {
        self.expects.insert(path.clone(), Expect::At(revision));
        self.deletes.push(path);
    }

    /// Rests on a record that is not changed.
    #[must_use]
    pub(crate) fn rest_on(mut self, path: String, revision: Revision) -> Self {
        self.expects.entry(path).or_insert(Expect::At(revision));
        self
    }
}

impl From<CommitError> for Problem {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict { path } => {
                Self::new(ProblemCode::Conflict, format!("`{path}` was changed by somebody else in the meantime"))
                    .with_fix("read it again and repeat the change")
            }
            CommitError::Failed(problem) => problem,
        }
    }
}

/// The right to prepare the next change of this node: there is one, behind a lock.
#[derive(Default)]
pub(crate) struct Turn(());

/// How often a change that was prepared on what somebody else changed meanwhile is prepared again.
const ATTEMPTS: usize = 8;

impl Control {
    /// Prepares a change from the newest view and commits it; where that is overtaken by another change, prepares it
    /// again. `prepare` says why nothing is to be done, or gives the change and what the caller wants to keep of it.
    pub(crate) async fn change<T>(
        &self,
        changer: &str,
        prepare: impl FnMut(&crate::view::View) -> Result<(Change, T), Problem>,
    ) -> Result<(Committed, T), Problem> {
        self.change_next(&*self.writer.lock().await, changer, prepare).await
    }

    /// [`Control::change`] for one who has the turn already.
    pub(crate) async fn change_next<T>(
        &self,
        _turn: &Turn,
        changer: &str,
        mut prepare: impl FnMut(&crate::view::View) -> Result<(Change, T), Problem>,
    ) -> Result<(Committed, T), Problem> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let (change, kept) = prepare(&*self.view()?)?;
            match self.commit(changer, change).await {
                Ok(committed) => return Ok((committed, kept)),
                Err(CommitError::Conflict { path }) => {
                    // The view may be behind what the conflict is with.
                    tokio::task::yield_now().await;
                    last = Some(path);
                }
                Err(CommitError::Failed(problem)) => return Err(problem),
            }
        }
        Err(CommitError::Conflict { path: last.unwrap_or_default() }.into())
    }
}
