//! What the file holds: records, the log of changes, and where the two stand.

use std::collections::VecDeque;
use std::ops::Bound;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use crate::{Change, Commit, Event, Expect, KeyRange, Page, Record, StoreError, Transaction, WatchError, limits};

/// The format that this code reads and writes.
pub(super) const FORMAT: u64 = 1;

/// Key to (created, modified, value).
const RECORDS: TableDefinition<'_, &[u8], (u64, u64, &[u8])> = TableDefinition::new("records");
/// Revision to its changes ([`Change::encode_all`]), without a gap up to the store's revision.
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// `format` and `revision`.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// Bytes of changes that a watch reads ahead, beyond the first event.
const READ_AHEAD_BYTES: usize = 1024 * 1024;

pub(super) struct Tables {
    database: Database,
    retained: u64,
}

impl Tables {
    pub(super) fn new(database: Database, retained: u64) -> Self {
        Self { database, retained }
    }

    /// Makes the tables of an empty file. Returns the file's format and revision.
    pub(super) fn initialise(&self) -> Result<(u64, u64), StoreError> {
        let transaction = self.begin_write()?;
        let found = {
            let mut meta = transaction.open_table(META).map_err(failed("open its tables"))?;
            let found = meta.get("format").map_err(failed("read its format"))?.map(|format| format.value());
            if found.is_none() {
                transaction.open_table(RECORDS).map_err(failed("make its tables"))?;
                transaction.open_table(LOG).map_err(failed("make its tables"))?;
                meta.insert("format", FORMAT).map_err(failed("write its format"))?;
                meta.insert("revision", 0).map_err(failed("write its revision"))?;
            }
            found
        };
        match found {
            Some(format) if format != FORMAT => Ok((format, 0)),
            Some(format) => Ok((format, revision(&self.begin_read()?.open_table(META).map_err(failed("read"))?)?)),
            None => transaction.commit().map_err(failed("commit")).map(|()| (FORMAT, 0)),
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Record>, StoreError> {
        let records = self.begin_read()?.open_table(RECORDS).map_err(failed("read"))?;
        let found = records.get(key).map_err(failed("read"))?;
        Ok(found.map(|guard| record(key, guard.value())))
    }

    pub(super) fn range(&self, range: KeyRange, limit: usize) -> Result<Page, StoreError> {
        let transaction = self.begin_read()?;
        let table = transaction.open_table(RECORDS).map_err(failed("read"))?;
        let revision = revision(&transaction.open_table(META).map_err(failed("read"))?)?;
        let mut page = Page { records: Vec::new(), revision, rest: None };
        if range.end.as_ref().is_some_and(|end| *end <= range.start) {
            return Ok(page);
        }
        let limit = limit.min(limits::PAGE_RECORDS);
        let end = range.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let rows = table.range::<&[u8]>((Bound::Included(range.start.as_slice()), end)).map_err(failed("read"))?;
        let mut bytes = 0;
        for row in rows {
            let (key, value) = row.map_err(failed("read"))?;
            if page.records.len() >= limit || bytes >= limits::PAGE_BYTES {
                page.rest = Some(KeyRange { start: key.value().to_vec(), end: range.end });
                break;
            }
            let record = record(key.value(), value.value());
            bytes += record.value.len();
            page.records.push(record);
        }
        Ok(page)
    }

    pub(super) fn commit(&self, transaction: Transaction) -> Result<Commit, StoreError> {
        let write = self.begin_write()?;
        let commit = self.apply(&write, transaction)?;
        match commit {
            Commit::Committed { .. } => write.commit().map_err(failed("commit"))?,
            Commit::Conflict { .. } => write.abort().map_err(failed("abort"))?,
        }
        Ok(commit)
    }

    /// The last revision whose changes are no longer in the log.
    pub(super) fn compacted(&self) -> Result<u64, StoreError> {
        let transaction = self.begin_read()?;
        let log = transaction.open_table(LOG).map_err(failed("read its log"))?;
        match oldest(&log)? {
            Some(first) => Ok(first.saturating_sub(1)),
            None => revision(&transaction.open_table(META).map_err(failed("read"))?),
        }
    }

    /// The next events after revision `after`: at least one where there is one.
    pub(super) fn log_after(&self, after: u64) -> Result<Result<VecDeque<Event>, WatchError>, StoreError> {
        let log = self.begin_read()?.open_table(LOG).map_err(failed("read its log"))?;
        let mut events = VecDeque::new();
        let mut bytes = 0;
        for row in log.range(after.saturating_add(1)..).map_err(failed("read its log"))? {
            let (revision, changes) = row.map_err(failed("read its log"))?;
            let revision = revision.value();
            if events.is_empty() && revision != after.saturating_add(1) {
                return Ok(Err(WatchError::Compacted { after, compacted: revision.saturating_sub(1) }));
            }
            bytes += changes.value().len();
            let changes = Change::decode_all(changes.value())
                .map_err(|error| StoreError::Damaged(format!("changes of revision {revision}: {error}")))?;
            events.push_back(Event { revision, changes });
            if bytes >= READ_AHEAD_BYTES {
                break;
            }
        }
        Ok(Ok(events))
    }

    fn apply(&self, write: &WriteTransaction, transaction: Transaction) -> Result<Commit, StoreError> {
        let mut records = write.open_table(RECORDS).map_err(failed("open its tables"))?;
        let mut log = write.open_table(LOG).map_err(failed("open its tables"))?;
        let mut meta = write.open_table(META).map_err(failed("open its tables"))?;

        for (key, expect) in transaction.conditions {
            let found = records.get(key.as_slice()).map_err(failed("read"))?.map(|guard| guard.value().1);
            if !Expect::holds(expect, found) {
                return Ok(Commit::Conflict { key, found });
            }
        }
        let revision = revision(&meta)?;
        let next = revision.checked_add(1).ok_or_else(|| StoreError::Damaged("its revision has no next".to_owned()))?;
        let mut changes = Vec::with_capacity(transaction.puts.len() + transaction.deletes.len());
        for (key, value) in transaction.puts {
            let created = records.get(key.as_slice()).map_err(failed("read"))?.map_or(next, |guard| guard.value().0);
            records.insert(key.as_slice(), (created, next, value.as_slice())).map_err(failed("write"))?;
            changes.push(Change::Put { key, value });
        }
        for key in transaction.deletes {
            if records.remove(key.as_slice()).map_err(failed("delete"))?.is_some() {
                changes.push(Change::Delete { key });
            }
        }
        if changes.is_empty() {
            return Ok(Commit::Committed { revision });
        }
        changes.sort_by(|a, b| a.key().cmp(b.key()));
        log.insert(next, Change::encode_all(&changes).as_slice()).map_err(failed("write its log"))?;
        meta.insert("revision", next).map_err(failed("write its revision"))?;
        while let Some(oldest) = oldest(&log)?.filter(|oldest| oldest.saturating_add(self.retained) <= next) {
            log.remove(oldest).map_err(failed("compact its log"))?;
        }
        Ok(Commit::Committed { revision: next })
    }

    fn begin_read(&self) -> Result<redb::ReadTransaction, StoreError> {
        self.database.begin_read().map_err(failed("read"))
    }

    /// Begins a write. INVARIANT: every write of this file begins here, so that none is without two-phase commit.
    fn begin_write(&self) -> Result<WriteTransaction, StoreError> {
        let mut write = self.database.begin_write().map_err(failed("write"))?;
        write.set_two_phase_commit(true);
        write.set_quick_repair(true);
        Ok(write)
    }
}

fn record(key: &[u8], (created, modified, value): (u64, u64, &[u8])) -> Record {
    Record { key: key.to_vec(), value: value.to_vec(), created, modified }
}

fn revision(meta: &impl ReadableTable<&'static str, u64>) -> Result<u64, StoreError> {
    let found = meta.get("revision").map_err(failed("read its revision"))?;
    found.map(|guard| guard.value()).ok_or_else(|| StoreError::Damaged("it has no revision".to_owned()))
}

/// The first revision whose changes are in the log.
fn oldest(log: &impl ReadableTable<u64, &'static [u8]>) -> Result<Option<u64>, StoreError> {
    let first = log.first().map_err(failed("read its log"))?;
    Ok(first.map(|(revision, _)| revision.value()))
}

fn failed<E: Into<redb::Error>>(action: &'static str) -> impl Fn(E) -> StoreError {
    move |error| StoreError::Backend { action, source: Box::new(error.into()) }
}
