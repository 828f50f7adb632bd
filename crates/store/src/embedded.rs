//! The embedded store: one redb file, one process.

mod file;
mod gate;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Weak};

use tokio::sync::watch;

use crate::{
    BoxFuture, Commit, Event, EventSource, KeyRange, OpenError, Page, Record, Store, StoreError, Transaction, Watch,
    WatchError, bounds,
};
use gate::{Gate, Working};
use tables::Tables;

/// How an embedded store runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many revisions a watch can go back; older changes are dropped from the log (not from the records).
    pub retained_revisions: u64,
    /// Bytes of memory for the database's pages.
    pub cache_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { retained_revisions: 10_000, cache_bytes: 32 * 1024 * 1024 }
    }
}

/// A store in one redb file, for one process. Every commit is on disk before it is acknowledged (two-phase commit; after
/// a crash the file opens without a walk through it). Blocking work runs on tokio's blocking threads.
///
/// Dropping it waits for the work in flight, that of dropped futures included; then the file is closed and can be opened
/// again.
pub struct RedbStore {
    inner: Arc<Inner>,
    gate: Arc<Gate>,
}

struct Inner {
    tables: Tables,
    /// The store's revision; watches wait on it.
    revision: watch::Sender<u64>,
}

impl RedbStore {
    /// Opens the store in `path`, making it (mode 0600) where it is not there, with the default [`Options`]. Blocks.
    ///
    /// # Errors
    /// [`OpenError`]: in use, too widely readable, of a later format, damaged.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_with(path, Options::default())
    }

    /// Opens the store in `path` with `options`; else as [`RedbStore::open`].
    ///
    /// # Errors
    /// As [`RedbStore::open`].
    pub fn open_with(path: &Path, options: Options) -> Result<Self, OpenError> {
        let (tables, revision) = file::open(path, options)?;
        let inner = Arc::new(Inner { tables, revision: watch::Sender::new(revision) });
        Ok(Self { inner, gate: Arc::default() })
    }

    /// Runs `work` on a blocking thread.
    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let working = self.gate.enter(Arc::clone(&self.inner));
        Box::pin(async move { blocking(working, work).await?.ok_or_else(closed) })
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        self.gate.close();
    }
}

impl std::fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RedbStore(revision {})", *self.inner.revision.borrow())
    }
}

impl Store for RedbStore {
    fn get(&self, key: &[u8]) -> BoxFuture<'_, Result<Option<Record>, StoreError>> {
        let key = key.to_vec();
        self.run(move |inner| {
            bounds::check_key(&key)?;
            inner.tables.get(&key)
        })
    }

    fn range(&self, range: KeyRange, limit: usize) -> BoxFuture<'_, Result<Page, StoreError>> {
        self.run(move |inner| inner.tables.range(range, limit))
    }

    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Commit, StoreError>> {
        self.run(move |inner| {
            bounds::check_transaction(&transaction)?;
            let commit = inner.tables.commit(transaction)?;
            if let Commit::Committed { revision } = commit {
                // Two commits may get here in either order.
                inner.revision.send_if_modified(|latest| {
                    let newer = revision > *latest;
                    *latest = revision.max(*latest);
                    newer
                });
            }
            Ok(commit)
        })
    }

    fn watch(&self, after: u64) -> BoxFuture<'_, Result<Watch, WatchError>> {
        Box::pin(async move {
            let revision = self.inner.revision.subscribe();
            let current = *revision.borrow();
            if after > current {
                return Err(WatchError::Future { after, current });
            }
            let compacted = self.run(|inner| inner.tables.compacted()).await?;
            if after < compacted {
                return Err(WatchError::Compacted { after, compacted });
            }
            let (inner, gate) = (Arc::downgrade(&self.inner), Arc::clone(&self.gate));
            Ok(Watch::new(Box::new(LogReader { inner, gate, revision, last: after, ahead: VecDeque::new() })))
        })
    }
}

/// A watch's position in the change log. It does not keep the store open.
struct LogReader {
    inner: Weak<Inner>,
    gate: Arc<Gate>,
    revision: watch::Receiver<u64>,
    /// The revision given last.
    last: u64,
    /// Events read already, in order.
    ahead: VecDeque<Event>,
}

impl EventSource for LogReader {
    fn next(&mut self) -> BoxFuture<'_, Result<Event, WatchError>> {
        Box::pin(async move {
            loop {
                if let Some(event) = self.ahead.pop_front() {
                    self.last = event.revision;
                    return Ok(event);
                }
                if *self.revision.borrow_and_update() > self.last {
                    let working = self.inner.upgrade().and_then(|inner| self.gate.enter(inner));
                    let after = self.last;
                    let read = blocking(working, move |inner| inner.tables.log_after(after)).await?;
                    self.ahead = read.ok_or(WatchError::Closed)??;
                } else {
                    self.revision.changed().await.map_err(|_| WatchError::Closed)?;
                }
            }
        })
    }
}

/// Runs `work` on a blocking thread; `None` where the store is closed.
async fn blocking<T: Send + 'static>(
    working: Option<Working<Inner>>,
    work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
) -> Result<Option<T>, StoreError> {
    let work = move || working.as_ref().and_then(Working::held).map(work).transpose();
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|source| StoreError::Backend { action: "run its work", source: Box::new(source) })?
}

fn closed() -> StoreError {
    let source = std::io::Error::other("it was closed");
    StoreError::Backend { action: "run its work", source: Box::new(source) }
}
