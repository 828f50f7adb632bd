//! What the ledger knows: the records as of its last head, and who is told of the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use burgrave_types::Revision;
use tokio::sync::mpsc;

use crate::chain::Tip;
use crate::{Feed, FeedItem, Fence, Record, RecordPath};

pub(crate) struct State {
    pub(crate) tip: Tip,
    /// The store revision that wrote the pointer to the current head: what the next transaction swaps.
    pub(crate) pointer_modified: u64,
    pub(crate) records: BTreeMap<RecordPath, Arc<Record>>,
    pub(crate) fence: Option<Fence>,
    subscribers: Vec<mpsc::UnboundedSender<Result<FeedItem, Fence>>>,
}

/// A verified change, ready to be believed.
pub(crate) struct Step {
    pub(crate) tip: Tip,
    pub(crate) pointer_modified: u64,
    pub(crate) puts: Vec<Arc<Record>>,
    pub(crate) deletes: Vec<RecordPath>,
}

impl State {
    pub(crate) fn new(tip: Tip, pointer_modified: u64, records: BTreeMap<RecordPath, Arc<Record>>) -> Self {
        Self { tip, pointer_modified, records, fence: None, subscribers: Vec::new() }
    }

    pub(crate) fn revision_of(&self, path: &RecordPath) -> Option<Revision> {
        self.records.get(path).map(|record| record.revision)
    }

    pub(crate) fn apply(&mut self, step: Step) {
        for record in &step.puts {
            self.records.insert(record.path.clone(), Arc::clone(record));
        }
        for path in &step.deletes {
            self.records.remove(path);
        }
        let head = &step.tip.head.head;
        let item = FeedItem::Applied {
            revision: head.revision,
            head: step.tip.hash,
            changer: head.changer.clone(),
            time: head.time,
            puts: step.puts,
            deletes: step.deletes,
        };
        self.tip = step.tip;
        self.pointer_modified = step.pointer_modified;
        self.tell(&Ok(item));
    }

    /// Stops serving, for good.
    pub(crate) fn fence(&mut self, fence: Fence) {
        self.tell(&Err(fence.clone()));
        self.fence.get_or_insert(fence);
    }

    pub(crate) fn subscribe(&mut self) -> Feed {
        let (sender, receiver) = mpsc::unbounded_channel();
        let first = match &self.fence {
            Some(fence) => Err(fence.clone()),
            None => Ok(FeedItem::Snapshot {
                revision: self.tip.head.head.revision,
                head: self.tip.hash,
                records: self.records.values().cloned().collect(),
            }),
        };
        // The receiver is in our hands: this cannot fail.
        let _ = sender.send(first);
        self.subscribers.push(sender);
        Feed(receiver)
    }

    fn tell(&mut self, item: &Result<FeedItem, Fence>) {
        self.subscribers.retain(|subscriber| subscriber.send(item.clone()).is_ok());
    }
}
