//! Records, revisions, transactions and watch behind one trait; redb is the embedded store.
//!
//! A [`Store`] keeps bytes under keys. Every committed transaction has a revision, one more than the one before; every
//! record knows the revision that created it and the one that last changed it, so that a transaction can be made to hold
//! only where nothing changed in the meantime (compare and swap over several keys, all or nothing). A [`Watch`] gives the
//! transactions after a revision in their order, each once.
//!
//! This crate neither seals nor judges what it stores: meaning, secrecy and tamper evidence are the ledger's.
//!
//! ```
//! use burgrave_store::{Commit, Expect, RedbStore, Store, Transaction};
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let folder = tempfile::tempdir()?;
//! let store = RedbStore::open(&folder.path().join("store.redb"))?;
//! let transaction = Transaction::new().expect("greeting", Expect::Absent).put("greeting", "hello");
//! assert_eq!(store.commit(transaction.clone()).await?, Commit::Committed { revision: 1 });
//! assert!(matches!(store.commit(transaction).await?, Commit::Conflict { found: Some(1), .. }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Threat notes: whoever holds the store reads keys, sizes and times, and may change, withhold or roll back anything; the
//! ledger above finds that out. The file is for its owner alone (mode 0600). redb runs with two-phase commit, since its
//! one-phase commit rests on a checksum that one who chooses record contents could forge over a crash.

mod bounds;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod embedded;
mod error;
mod transaction;
mod watch;

use std::future::Future;
use std::pin::Pin;

pub use bounds::limits;
pub use embedded::{Options, RedbStore};
pub use error::{OpenError, StoreError, WatchError};
pub use transaction::{Commit, Expect, Transaction};
pub use watch::{Change, Event, EventSource, Watch};

/// A future behind a pointer, so that a trait with asynchronous methods can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Keeps records under keys, with revisions. All its reads are linearizable: they see every transaction that was
/// acknowledged before they were called.
pub trait Store: Send + Sync + 'static {
    /// The record under `key`, where there is one. Cancellation safe.
    ///
    /// # Errors
    /// [`StoreError`] where the key is out of [`limits`] or the store cannot answer.
    fn get(&self, key: &[u8]) -> BoxFuture<'_, Result<Option<Record>, StoreError>>;

    /// The first records of `range` in the order of their keys, at most `limit` (and [`limits::PAGE_RECORDS`]) of them,
    /// all as of one revision. Cancellation safe.
    ///
    /// # Errors
    /// [`StoreError`] where the store cannot answer.
    fn range(&self, range: KeyRange, limit: usize) -> BoxFuture<'_, Result<Page, StoreError>>;

    /// Applies `transaction` where all its conditions hold, durably before this returns; else changes nothing.
    ///
    /// Not cancellation safe: a call that is dropped may still be applied; who drops one must look.
    ///
    /// # Errors
    /// [`StoreError`] where the transaction is out of [`limits`] or the store cannot write. After
    /// [`StoreError::Backend`] it may or may not have been applied.
    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Commit, StoreError>>;

    /// The transactions after revision `after` (0: all), past ones first, then each as it is committed.
    ///
    /// # Errors
    /// [`WatchError::Compacted`] where the store no longer has all of them.
    fn watch(&self, after: u64) -> BoxFuture<'_, Result<Watch, WatchError>>;
}

/// A record as it stands in the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// The revision that made it (a record deleted and made again is made anew).
    pub created: u64,
    /// The revision that changed it last.
    pub modified: u64,
}

/// A part of the keys: from `start` on, up to and without `end`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyRange {
    /// The first key.
    pub start: Vec<u8>,
    /// The first key that is no longer in it; `None`: up to the last.
    pub end: Option<Vec<u8>>,
}

impl KeyRange {
    /// Every key that begins with `prefix`.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        let start = prefix.into();
        let mut end = start.clone();
        // The first key after all with this prefix: the prefix with its last byte that can grow grown by one.
        while end.last() == Some(&u8::MAX) {
            end.pop();
        }
        let end = end.pop().map(|last| {
            end.push(last + 1);
            end
        });
        Self { start, end }
    }

    /// Whether `key` is in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.start.as_slice() && self.end.as_deref().is_none_or(|end| key < end)
    }
}

/// Records of a range, all as of one revision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The records in the order of their keys.
    pub records: Vec<Record>,
    /// The store's revision that they were read at.
    pub revision: u64,
    /// What is left of the range where it goes on after this page.
    pub rest: Option<KeyRange>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_contains_what_begins_with_it_and_nothing_else() {
        let range = KeyRange::prefix("a/");
        assert!(range.contains(b"a/") && range.contains(b"a/\xff\xff"));
        assert!(!range.contains(b"a") && !range.contains(b"a0"));
        assert_eq!(KeyRange::prefix([1, 255]).end, Some(vec![2]));
        assert_eq!(KeyRange::prefix([255, 255]).end, None);
    }
}
