//! The kernel's logs of what was measured: they explain registers, which the evidence itself vouches for.
//!
//! What is not there, or not for this user's eyes, is left out: evidence is whole without it, and a verifier that wants the
//! log says so.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::{AttesterError, files};

/// The longest boot log that is taken; machines have some tens of kilobytes.
const MAX_BOOT: usize = 1024 * 1024;

/// The most of the run-time log that one piece of evidence carries.
const MAX_PIECE: usize = 2 * 1024 * 1024;

/// The longest entry of the run-time log: a path, a digest and a signature.
const MAX_ENTRY: usize = 64 * 1024;

/// The names of the items.
const BOOT_ITEM: &str = "eventlog.bin";
const TD_BOOT_ITEM: &str = "ccel.bin";
const RUN_TIME_ITEM: &str = "ima.bin";
const RUN_TIME_OFFSET_ITEM: &str = "ima.offset";

/// Where the kernel keeps them, below the root.
const BOOT: &str = "sys/kernel/security/tpm0/binary_bios_measurements";
const TD_BOOT: &str = "sys/firmware/acpi/tables/data/CCEL";
const RUN_TIME: [&str; 2] = [
    "sys/kernel/security/ima/binary_runtime_measurements",
    "sys/kernel/security/integrity/ima/binary_runtime_measurements",
];

/// The event logs of this machine, and how far the run-time log was shown.
///
/// ```
/// use burgrave_attester::EventLogs;
///
/// let mut logs = EventLogs::new("/no/such/root".as_ref());
/// assert!(logs.boot()?.is_empty() && logs.run_time()?.is_empty());
/// # Ok::<(), burgrave_attester::AttesterError>(())
/// ```
#[derive(Clone, Debug)]
pub struct EventLogs {
    root: PathBuf,
    /// Where the part of the run-time log begins that no verifier took yet.
    taken: u64,
    /// Where the part ends that was read last.
    shown: u64,
}

/// Items of evidence by name.
type Items = BTreeMap<String, Vec<u8>>;

impl EventLogs {
    /// The logs below `root`: `/` on a real machine.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), taken: 0, shown: 0 }
    }

    /// The TPM's boot event log (TCG PC Client Platform Firmware Profile, 10) as the item `eventlog.bin`.
    ///
    /// # Errors
    /// [`AttesterError::TooLong`] over 1 MiB; [`AttesterError::Kernel`] where it is there and cannot be read.
    pub fn boot(&self) -> Result<Items, AttesterError> {
        self.whole(BOOT, BOOT_ITEM)
    }

    /// The boot event log of a confidential guest (UEFI, Confidential Computing Event Log) as the item `ccel.bin`.
    ///
    /// # Errors
    /// As [`EventLogs::boot`].
    pub fn td_boot(&self) -> Result<Items, AttesterError> {
        self.whole(TD_BOOT, TD_BOOT_ITEM)
    }

    /// What the kernel's integrity measurement architecture logged since the part that was last taken: whole entries as the
    /// item `ima.bin`, at most 2 MiB of them, and as `ima.offset` the decimal number of bytes of the log before them. Where no
    /// entry is new, `ima.bin` is empty.
    ///
    /// # Errors
    /// [`AttesterError::Answer`] where the log is not one; otherwise as [`EventLogs::boot`].
    pub fn run_time(&mut self) -> Result<Items, AttesterError> {
        self.shown = self.taken;
        for path in RUN_TIME.map(|path| files::below(&self.root, path)) {
            let piece = match files::read_from(&path, self.taken, MAX_PIECE) {
                Ok(bytes) => whole_entries(bytes)?,
                Err(error) if files::is_not_for_us(&error) => continue,
                Err(error) => return Err(read_failed(&path, error)),
            };
            self.shown = self.taken + piece.len() as u64;
            let offset = self.taken.to_string().into_bytes();
            return Ok([(RUN_TIME_ITEM.to_owned(), piece), (RUN_TIME_OFFSET_ITEM.to_owned(), offset)].into());
        }
        Ok(Items::new())
    }

    /// A verifier took what [`EventLogs::run_time`] last gave: it goes on behind that.
    pub fn taken(&mut self) {
        self.taken = self.shown;
    }

    /// The next verifier knows nothing of the run-time log: it begins at its start.
    pub fn forgotten(&mut self) {
        (self.taken, self.shown) = (0, 0);
    }

    fn whole(&self, path: &str, item: &str) -> Result<Items, AttesterError> {
        let log = files::optional(&files::below(&self.root, path), MAX_BOOT)?;
        Ok(log.map(|log| (item.to_owned(), log)).into_iter().collect())
    }
}

fn read_failed(path: &Path, error: io::Error) -> AttesterError {
    files::failed("read", path, error, "the security file system must be mounted at /sys/kernel/security")
}

/// The log up to its last whole entry; what follows was cut by the bound on a piece.
fn whole_entries(mut log: Vec<u8>) -> Result<Vec<u8>, AttesterError> {
    let mut end = 0;
    while let Some(length) = log.get(end..).and_then(entry_length) {
        end += length;
    }
    let rest = log.len() - end;
    if rest > MAX_ENTRY {
        let why = format!("found {rest} bytes without a whole entry behind byte {end} of a piece");
        return Err(AttesterError::Answer { what: "the run-time log of integrity measurements", why });
    }
    log.truncate(end);
    Ok(log)
}

/// The length of the entry at the start: PCR (4 bytes), SHA-1 of the template (20), the template's name behind its length, its
/// data behind theirs (Linux `Documentation/security/IMA-templates.rst`). The first template, `ima`, has no length in front of
/// its data: a SHA-1 digest and a path behind its length.
fn entry_length(log: &[u8]) -> Option<usize> {
    const HEAD: usize = 4 + 20;
    let name_length = number(log, HEAD)?;
    let name = log.get(HEAD + 4..)?.get(..name_length)?;
    let data = HEAD + 4 + name_length + if name == b"ima" { 20 } else { 0 };
    let end = data.checked_add(4)?.checked_add(number(log, data)?)?;
    (end <= log.len()).then_some(end)
}

/// The body of a fuzz target: cuts `bytes` as a run-time log into whole entries. It must not panic, nor alter what it keeps.
pub fn fuzz_run_time_log(bytes: &[u8]) {
    if let Ok(kept) = whole_entries(bytes.to_vec()) {
        assert!(bytes.starts_with(&kept));
    }
}

/// Four bytes, in the order of all machines that there are TEEs for.
fn number(log: &[u8], at: usize) -> Option<usize> {
    let bytes = log.get(at..)?.first_chunk::<4>()?;
    usize::try_from(u32::from_le_bytes(*bytes)).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn root_with(path: &str, bytes: &[u8]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        root
    }

    fn entry(template: &str, data: &[u8]) -> Vec<u8> {
        let length = |n: usize| u32::try_from(n).unwrap().to_le_bytes();
        let head = [&10u32.to_le_bytes()[..], &[0xab; 20], &length(template.len()), template.as_bytes()].concat();
        [head, length(data.len()).to_vec(), data.to_vec()].concat()
    }

    fn old_entry(path: &str) -> Vec<u8> {
        let length = u32::try_from(path.len()).unwrap().to_le_bytes();
        [&10u32.to_le_bytes()[..], &[0xab; 20], &[3, 0, 0, 0], b"ima", &[0xcd; 20], &length, path.as_bytes()].concat()
    }

    fn piece(logs: &mut EventLogs) -> (String, Vec<u8>) {
        let mut items = logs.run_time().unwrap();
        let offset = String::from_utf8(items.remove("ima.offset").unwrap()).unwrap();
        (offset, items.remove("ima.bin").unwrap())
    }

    #[test]
    fn the_run_time_log_goes_on_where_the_verifier_took_it() {
        let first = [entry("ima-ng", &[1; 70]), old_entry("/init")].concat();
        let second = entry("ima-sig", &[2; 300]);
        let root = root_with(RUN_TIME[0], &first);
        let mut logs = EventLogs::new(root.path());
        assert_eq!(piece(&mut logs), ("0".to_owned(), first.clone()));
        assert_eq!(piece(&mut logs), ("0".to_owned(), first.clone()), "nobody took it");

        logs.taken();
        assert_eq!(piece(&mut logs), (first.len().to_string(), Vec::new()));
        let mut log = fs::OpenOptions::new().append(true).open(root.path().join(RUN_TIME[0])).unwrap();
        log.write_all(&second).unwrap();
        assert_eq!(piece(&mut logs), (first.len().to_string(), second.clone()));

        logs.forgotten();
        assert_eq!(piece(&mut logs), ("0".to_owned(), [first, second].concat()));
    }

    #[test]
    fn a_long_log_goes_in_pieces_of_whole_entries() {
        let one = entry("ima-ng", &[7; 60_000]);
        let log = one.repeat(50);
        let root = root_with(RUN_TIME[1], &log);
        let mut logs = EventLogs::new(root.path());
        let (_, first) = piece(&mut logs);
        assert_eq!(first.len(), MAX_PIECE / one.len() * one.len());
        logs.taken();
        let (offset, second) = piece(&mut logs);
        assert_eq!((offset, [first.clone(), second].concat()), (first.len().to_string(), log));
    }

    #[test]
    fn what_is_no_log_is_refused() {
        let root = root_with(RUN_TIME[0], &[0xff; MAX_ENTRY + 1]);
        let error = EventLogs::new(root.path()).run_time().unwrap_err().to_string();
        assert!(error.contains("without a whole entry behind byte 0"), "{error}");
    }

    #[test]
    fn boot_logs_are_whole_or_absent() {
        let root = root_with(BOOT, b"events");
        let logs = EventLogs::new(root.path());
        assert_eq!(logs.boot().unwrap()["eventlog.bin"], b"events");
        assert!(logs.td_boot().unwrap().is_empty());
        let root = root_with(TD_BOOT, &vec![0; MAX_BOOT + 1]);
        let error = EventLogs::new(root.path()).td_boot().unwrap_err();
        assert!(matches!(error, AttesterError::TooLong { limit: MAX_BOOT, .. }), "{error}");
    }

    proptest! {
        #[test]
        fn arbitrary_logs_never_panic_and_whole_ones_stay_whole(
            bytes: Vec<u8>,
            sizes in prop::collection::vec(0usize..200, 0..5),
        ) {
            fuzz_run_time_log(&bytes);
            let whole: Vec<u8> = sizes.into_iter().flat_map(|size| entry("ima-ng", &vec![1; size])).collect();
            prop_assert_eq!(whole_entries([&whole[..], &[10, 0, 0]].concat()).unwrap(), whole);
        }
    }
}
