//! The audit log in a file.

mod reverse;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use burgrave_types::{Clock, DecisionId, NodeId};

use crate::{AuditError, AuditSink, Durability, Event, Kind, LogEvent, LogStep};
use reverse::ReverseLines;

/// How long a batched event may wait for the disk.
const BATCH: Duration = Duration::from_secs(1);

/// Bytes of batched events after which they are written without waiting (the disk confirms them with the batch).
const BATCH_BYTES: usize = 256 * 1024;

/// Appends events to a file, one a line. One process writes it; closing it (dropping this) writes all that is left.
pub struct FileAudit {
    shared: Arc<Shared>,
    node: NodeId,
    clock: Arc<dyn Clock>,
    flusher: Option<JoinHandle<()>>,
}

struct Shared {
    path: PathBuf,
    file: File,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    /// Bytes of the file that hold whole lines, all written.
    length: u64,
    /// Lines that are not written yet.
    pending: Vec<u8>,
    /// Whether lines are written that the disk has not confirmed.
    unconfirmed: bool,
    /// Whether the last attempt to write failed: then each event is written at once, or refused.
    failing: bool,
    /// What the disk said when it did not confirm; for good.
    broken: Option<String>,
    closing: bool,
}

impl FileAudit {
    /// Opens the log in `path`, making it (mode 0600) where it is not there. Blocks.
    ///
    /// A last line that a crash left unfinished is cut off; where the log was not closed in order, an event
    /// [`LogStep::Gap`] of `node` says so.
    ///
    /// # Errors
    /// [`AuditError`]: in use, too widely readable, or not to be read or written.
    pub fn open(path: &Path, node: NodeId, clock: Arc<dyn Clock>) -> Result<Self, AuditError> {
        let file = open_file(path)?;
        let shared = Arc::new(Shared { path: path.to_owned(), file, state: Mutex::default(), wake: Condvar::new() });
        let gap = shared.repair()?;
        let waiter = Arc::clone(&shared);
        let flusher = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || waiter.flush_batches())
            .map_err(|source| shared.failed("flushed", source))?;
        let audit = Self { shared, node, clock, flusher: Some(flusher) };
        if let Some(gap) = gap {
            audit.record(&audit.event(gap), Durability::Durable)?;
        }
        Ok(audit)
    }

    fn event(&self, log: LogEvent) -> Event {
        Event::new(self.clock.now(), self.node, Kind::Log(log))
    }

    /// The lines so far, newest first.
    fn lines(&self) -> Result<ReverseLines<'_>, AuditError> {
        let mut state = self.shared.lock();
        self.shared.write_pending(&mut state)?;
        Ok(ReverseLines::new(&self.shared.file, state.length))
    }

    fn newest(
        &self,
        limit: usize,
        mut wanted: impl FnMut(&[u8]) -> Result<Option<Event>, AuditError>,
    ) -> Result<Vec<Event>, AuditError> {
        let mut found = Vec::new();
        let mut lines = self.lines()?;
        while found.len() < limit {
            let line = lines.next_line().map_err(|source| self.shared.failed("read", source))?;
            let Some(line) = line else { break };
            found.extend(wanted(&line)?);
        }
        Ok(found)
    }
}

impl std::fmt::Debug for FileAudit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FileAudit({})", self.shared.path.display())
    }
}

impl AuditSink for FileAudit {
    fn record(&self, event: &Event, durability: Durability) -> Result<(), AuditError> {
        self.shared.record(&event.to_line()?, durability)
    }

    fn health(&self) -> Result<(), AuditError> {
        let mut state = self.shared.lock();
        if state.failing { self.shared.write_pending(&mut state) } else { self.shared.check(&state) }
    }

    fn latest(&self, limit: usize, wanted: &dyn Fn(&Event) -> bool) -> Result<Vec<Event>, AuditError> {
        self.newest(limit, |line| Ok(Some(Event::from_line(line)?).filter(wanted)))
    }

    fn find_decision(&self, id: DecisionId) -> Result<Option<Event>, AuditError> {
        // Most lines are told apart by their bytes alone.
        let text = id.to_string();
        let found = self.newest(1, |line| {
            if !line.windows(text.len()).any(|window| window == text.as_bytes()) {
                return Ok(None);
            }
            Ok(Some(Event::from_line(line)?).filter(|event| event.decision_id() == Some(id)))
        });
        Ok(found?.pop())
    }
}

impl Drop for FileAudit {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.wake.notify_all();
        if let Some(flusher) = self.flusher.take() {
            // A flusher that panicked has left its batch pending; the last record writes it.
            let _ = flusher.join();
        }
        // Where this fails, the log has no closing line and the next opener records the gap.
        let _ = self.record(&self.event(LogEvent { step: LogStep::Closed, cut_bytes: None }), Durability::Durable);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // INVARIANT: no code that holds the lock leaves `length` and `pending` in disagreement with the file.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, line: &str, durability: Durability) -> Result<(), AuditError> {
        let mut state = self.lock();
        self.check(&state)?;
        let before = state.pending.len();
        state.pending.extend_from_slice(line.as_bytes());
        state.pending.push(b'\n');
        if (durability == Durability::Durable || state.failing || state.pending.len() >= BATCH_BYTES)
            && let Err(error) = self.write_pending(&mut state)
        {
            state.pending.truncate(before);
            return Err(error);
        }
        match durability {
            Durability::Durable => self.confirm(state),
            Durability::Batched => {
                self.wake.notify_one();
                Ok(())
            }
        }
    }

    /// Writes what is pending. On failure it stays pending, and what the file got of it is cut off before the next try.
    fn write_pending(&self, state: &mut State) -> Result<(), AuditError> {
        self.check(state)?;
        if state.pending.is_empty() {
            state.failing = false;
            return Ok(());
        }
        let cut = if state.failing { self.file.set_len(state.length) } else { Ok(()) };
        match cut.and_then(|()| self.file.write_all_at(&state.pending, state.length)) {
            Ok(()) => {
                state.length += state.pending.len() as u64;
                state.pending.clear();
                state.unconfirmed = true;
                state.failing = false;
                Ok(())
            }
            Err(source) => {
                state.failing = true;
                Err(self.failed("written", source))
            }
        }
    }

    /// Has the disk confirm what is written, without holding up others meanwhile.
    fn confirm(&self, mut state: MutexGuard<'_, State>) -> Result<(), AuditError> {
        state.unconfirmed = false;
        drop(state);
        self.file.sync_data().map_err(|source| {
            // After a failed sync the kernel may have dropped the pages: a later success would prove nothing.
            let reason = source.to_string();
            self.lock().broken = Some(reason.clone());
            AuditError::Unconfirmed { path: self.path.clone(), reason }
        })
    }

    fn check(&self, state: &State) -> Result<(), AuditError> {
        match &state.broken {
            Some(reason) => Err(AuditError::Unconfirmed { path: self.path.clone(), reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// Writes and confirms batches until the log is closed. What fails is kept in the state, where recorders find it.
    fn flush_batches(&self) {
        loop {
            let idle = |state: &mut State| !state.closing && state.pending.is_empty() && !state.unconfirmed;
            let state = self.wake.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
            let (mut state, _) = self
                .wake
                .wait_timeout_while(state, BATCH, |state| !state.closing)
                .unwrap_or_else(PoisonError::into_inner);
            let closing = state.closing;
            if self.write_pending(&mut state).is_ok() && state.unconfirmed {
                let _ = self.confirm(state);
            }
            if closing {
                return;
            }
        }
    }

    /// Cuts off an unfinished last line. Returns the gap to record where the log was not closed in order.
    fn repair(&self) -> Result<Option<LogEvent>, AuditError> {
        let found = self.file.metadata().map_err(|source| self.failed("read", source))?.len();
        let length = reverse::whole_lines(&self.file, found).map_err(|source| self.failed("read", source))?;
        let cut = found - length;
        if cut > 0 {
            let cut_off = self.file.set_len(length).and_then(|()| self.file.sync_all());
            cut_off.map_err(|source| self.failed("repaired", source))?;
        }
        self.lock().length = length;
        let last = ReverseLines::new(&self.file, length).next_line().map_err(|source| self.failed("read", source))?;
        let in_order = match last {
            None => true,
            Some(line) => Event::from_line(&line)
                .is_ok_and(|event| matches!(event.kind, Kind::Log(LogEvent { step: LogStep::Closed, .. }))),
        };
        let gap = LogEvent { step: LogStep::Gap, cut_bytes: (cut > 0).then_some(cut) };
        Ok((cut > 0 || !in_order).then_some(gap))
    }

    fn failed(&self, action: &'static str, source: io::Error) -> AuditError {
        AuditError::File { path: self.path.clone(), action, source }
    }
}

/// Opens the file for this process alone, making it where it is not there.
fn open_file(path: &Path) -> Result<File, AuditError> {
    let failed = |source| AuditError::File { path: path.to_owned(), action: "opened", source };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(AuditError::Mode { path: path.to_owned(), mode });
    }
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(AuditError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    // A new file's name must be durable before an event in it is.
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(file)
}
