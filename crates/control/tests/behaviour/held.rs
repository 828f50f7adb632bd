//! A store that can be made to hang: what waits for it, waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burgrave_store::{BoxFuture, Commit, KeyRange, Page, Record, Store, StoreError, Transaction, Watch, WatchError};
use tokio::sync::watch;

pub(crate) struct HeldStore {
    inner: Arc<dyn Store>,
    held: watch::Sender<bool>,
    waiting: AtomicUsize,
}

impl HeldStore {
    pub(crate) fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { inner, held: watch::Sender::new(false), waiting: AtomicUsize::new(0) })
    }

    /// Lets no transaction through until [`HeldStore::let_go`].
    pub(crate) fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Waits until a transaction hangs.
    pub(crate) async fn hangs(&self) {
        while self.waiting.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn let_go(&self) {
        self.held.send_replace(false);
    }
}

impl Store for HeldStore {
    fn get(&self, key: &[u8]) -> BoxFuture<'_, Result<Option<Record>, StoreError>> {
        self.inner.get(key)
    }

    fn range(&self, range: KeyRange, limit: usize) -> BoxFuture<'_, Result<Page, StoreError>> {
        self.inner.range(range, limit)
    }

    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Commit, StoreError>> {
        let mut held = self.held.subscribe();
        Box::pin(async move {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            // The sender is a part of `self`.
            held.wait_for(|held| !held).await.unwrap();
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            self.inner.commit(transaction).await
        })
    }

    fn watch(&self, after: u64) -> BoxFuture<'_, Result<Watch, WatchError>> {
        self.inner.watch(after)
    }
}
