//! From the ledger into the view: each change, in order, with all that it does at once.
//!
//! INVARIANT: a revision counts as applied only after the new view is in place, keys that it concerns are dropped from the
//! cache, and every channel that it no longer permits is cut. Who waits for the revision can rely on all of that.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use burgrave_audit::{Change as Audited, Durability, Event, Kind, RecordAction, RecordChange as AuditedRecord};
use burgrave_ledger::{Expect as LedgerExpect, Feed, FeedItem, RecordPath, TransactError};
use burgrave_types::{ChannelId, Problem, ProblemCode, Revision, Timestamp};

use crate::Control;
use crate::commit::{Change, CommitError, Committed, Expect};
use crate::control::StartError;
use crate::view::{RecordChange, Touched, View};

/// What the latest changes cut, by revision: for the answers to those who made them.
#[derive(Default)]
pub(crate) struct Cuts(Mutex<BTreeMap<Revision, Vec<ChannelId>>>);

impl Cuts {
    /// Revisions that are remembered.
    const CAPACITY: usize = 256;

    fn put(&self, revision: Revision, cut: Vec<ChannelId>) {
        let mut cuts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cuts.insert(revision, cut);
        while cuts.len() > Self::CAPACITY {
            cuts.pop_first();
        }
    }

    fn take(&self, revision: Revision) -> Vec<ChannelId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&revision).unwrap_or_default()
    }
}

/// The view that a feed begins with.
pub(crate) fn first_view(item: FeedItem, time: Timestamp) -> Result<View, StartError> {
    let FeedItem::Snapshot { revision, head, records } = item else { return Err(StartError::Feed) };
    let paths: Vec<String> = records.iter().map(|record| record.path.to_string()).collect();
    let changes = records.iter().zip(&paths).map(|(record, path)| RecordChange {
        path,
        body: Some(&record.body),
        revision: record.revision,
    });
    Ok(View::empty()?.next((revision, head, time), changes)?.0)
}

/// Follows the feed until the control is gone or the ledger no longer serves.
pub(crate) async fn follow(control: Weak<Control>, mut feed: Feed) {
    let _fence = FenceAtPanic(control.clone());
    loop {
        let item = feed.next().await;
        let Some(control) = control.upgrade() else { return };
        let fault = match item {
            Ok(item) => control.apply(item).err(),
            Err(fence) => Some(fence.to_string()),
        };
        if let Some(fault) = fault {
            control.fence(&fault);
            return;
        }
    }
}

/// Stops the node's service where the following ends by a panic: a view that nobody brings up to date must not be served
/// from.
struct FenceAtPanic(Weak<Control>);

impl Drop for FenceAtPanic {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(control) = self.0.upgrade()
        {
            control.fence("the node no longer follows its ledger");
        }
    }
}

impl Control {
    /// Takes one change into the view, with all that follows from it.
    fn apply(&self, item: FeedItem) -> Result<(), String> {
        let FeedItem::Applied { revision, head, changer, time, puts, deletes } = item else {
            return Err("the ledger's feed began anew".to_owned());
        };
        let put_paths: Vec<String> = puts.iter().map(|record| record.path.to_string()).collect();
        let delete_paths: Vec<String> = deletes.iter().map(ToString::to_string).collect();
        let written = puts.iter().zip(&put_paths).map(|(record, path)| RecordChange {
            path,
            body: Some(&record.body),
            revision: record.revision,
        });
        let deleted = delete_paths.iter().map(|path| RecordChange { path, body: None, revision });
        let before = self.last_view();
        // What is gone goes first: a record that is made again under its name is another one.
        let (next, touched) =
            before.next((revision, head, time), deleted.chain(written)).map_err(|error| error.to_string())?;
        self.set_view(std::sync::Arc::new(next));
        let view = self.last_view();
        self.raise_floors(&before, &view);
        self.forget_keys(&before, &touched);
        self.cuts.put(revision, self.sweep_channels(&view, &touched));
        self.end_links(&before, &view, &touched);
        self.tell(&before, &view, &touched);
        self.announce_versions(&before, &view, &touched);
        if touched.policies {
            self.policies_changed.store(true, Ordering::Release);
        }
        let records = put_paths.into_iter().map(|path| (path, RecordAction::Put));
        let records = records.chain(delete_paths.into_iter().map(|path| (path, RecordAction::Delete)));
        let records = records.map(|(path, action)| AuditedRecord { path, action }).collect();
        let event = Kind::Change(Audited { changer, revision, head, records });
        self.unrecorded().push_back(Event::new(self.now(), self.node(), event));
        self.record_changes();
        self.applied.send_replace(revision);
        Ok(())
    }

    /// Writes the events of changes, in their order, as far as the audit log takes them. Until it does, nothing is granted:
    /// decisions cannot be recorded either.
    pub(crate) fn record_changes(&self) {
        let mut waiting = self.unrecorded();
        while let Some(event) = waiting.front() {
            if let Err(error) = self.audit().record(event, Durability::Durable) {
                tracing::error!(%error, "a change could not be recorded yet");
                return;
            }
            waiting.pop_front();
        }
    }

    fn unrecorded(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over how new collateral must be from what any node has seen.
    pub(crate) fn raise_floors(&self, before: &View, after: &View) {
        let revision = |view: &View| view.collateral_floors.as_ref().map(|entry| entry.revision);
        if revision(before) != revision(after)
            && let Some(entry) = &after.collateral_floors
        {
            self.endorser().store().raise(&entry.record.floors);
        }
    }

    /// Drops derived keys whose versions or owners changed.
    fn forget_keys(&self, before: &View, touched: &Touched) {
        let enclaves = touched.instances.iter().filter_map(|id| Some(before.instance(*id)?.record.enclave));
        let named = touched.enclaves.iter().filter_map(|name| Some(before.enclaves.get(name)?.record.uid));
        for uid in enclaves.chain(named) {
            self.keyring().forget_enclave(uid);
        }
        for resource in &touched.keys {
            if let Some(key) = before.keys.get(resource) {
                self.keyring().forget_key(key.record.uid);
            }
            for key in before.enclave_keys.values().filter(|key| key.record.keyspace == resource.name) {
                self.keyring().forget_enclave(key.record.enclave);
            }
        }
    }

    /// Commits a change and waits until every decision is made at it.
    pub(crate) async fn commit(&self, changer: &str, change: Change) -> Result<Committed, CommitError> {
        if change.puts.is_empty() && change.deletes.is_empty() {
            let revision = self.view().map_err(CommitError::Failed)?.revision;
            return Ok(Committed { revision, cut: Vec::new() });
        }
        let wanted = ledger_change(changer, change).map_err(CommitError::Failed)?;
        let applied = match self.ledger().transact(wanted).await {
            Ok(applied) => applied,
            Err(TransactError::Conflict { path, .. }) => return Err(CommitError::Conflict { path: path.to_string() }),
            Err(error) => {
                tracing::error!(%error, "a change could not be made");
                let problem = Problem::new(ProblemCode::Unavailable, "the ledger did not take the change").with_fix(
                    "see `burgrave status` for the part that does not serve, and the node's log for the cause",
                );
                return Err(CommitError::Failed(problem));
            }
        };
        let mut seen = self.applied.subscribe();
        // INVARIANT: the sender is a part of `self`, so this fails only by the fence below.
        let _ = seen.wait_for(|revision| *revision >= applied.revision || self.fault().is_some()).await;
        self.view().map_err(CommitError::Failed)?;
        if !self.unrecorded().is_empty() {
            let detail =
                format!("the change was made (revision {}), but the audit log could not be written", applied.revision);
            let problem = Problem::new(ProblemCode::Unavailable, detail)
                .with_fix("the node grants nothing until it can; the operator finds the cause in its log");
            return Err(CommitError::Failed(problem));
        }
        Ok(Committed { revision: applied.revision, cut: self.cuts.take(applied.revision) })
    }
}

fn ledger_change(changer: &str, change: Change) -> Result<burgrave_ledger::Change, Problem> {
    let path =
        |text: &str| text.parse::<RecordPath>().map_err(|error| Problem::new(ProblemCode::Internal, error.to_string()));
    let mut out = burgrave_ledger::Change::by(changer);
    for (record, expect) in &change.expects {
        let expect = match expect {
            Expect::Absent => LedgerExpect::Absent,
            Expect::At(revision) => LedgerExpect::Revision(*revision),
        };
        out = out.expect(path(record)?, expect);
    }
    for (record, body) in change.puts {
        out = out.put(path(&record)?, body);
    }
    for record in &change.deletes {
        out = out.delete(path(record)?);
    }
    Ok(out)
}
