//! What a view is built from.

use std::sync::Arc;

use burgrave_types::{HeadHash, Revision, Timestamp};
use tokio::sync::mpsc;

use crate::{Fence, Record, RecordPath};

/// The whole state once, then each change in order.
#[derive(Debug)]
pub struct Feed(pub(crate) mpsc::UnboundedReceiver<Result<FeedItem, Fence>>);

/// A step of a feed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FeedItem {
    /// All records: the first item, and the only one of this kind.
    Snapshot {
        /// The revision that they stand at.
        revision: Revision,
        /// That revision's head.
        head: HeadHash,
        /// The records, by path.
        records: Vec<Arc<Record>>,
    },
    /// A change that was committed after the item before it.
    Applied {
        /// Its revision.
        revision: Revision,
        /// Its head.
        head: HeadHash,
        /// Who asked for it.
        changer: String,
        /// When.
        time: Timestamp,
        /// Records written.
        puts: Vec<Arc<Record>>,
        /// Records deleted.
        deletes: Vec<RecordPath>,
    },
}

impl Feed {
    /// The next item; waits until there is one. Cancellation safe. What is not read is kept in memory.
    ///
    /// # Errors
    /// [`Fence`] once the ledger no longer serves; then nothing may be served from what the feed gave.
    pub async fn next(&mut self) -> Result<FeedItem, Fence> {
        self.0.recv().await.unwrap_or(Err(Fence::Closed))
    }
}
