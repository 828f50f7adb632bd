//! Reports from configfs-tsm, the kernel's common interface to TEEs (Linux `Documentation/ABI/testing/configfs-tsm-report`).
//!
//! A report has a directory of its own: report data is written into `inblob`, and the report is made when `outblob` is read.
//! A counter, `generation`, goes up with each write; where it went up more than this program wrote, somebody else changed the
//! request, and it is made again. The directory is removed whatever came of it.

mod tree;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use burgrave_types::{Evidence, EvidencePart, Tee};

use crate::bound::covers;
use crate::sev_guest::privilege_level;
use crate::{Attester, AttesterError, BindingData, EventLogs, files, gramine, snp};
use tree::{Kernel, Tree};

/// Where the interface is, below the root.
pub(crate) const DIR: &str = "sys/kernel/config/tsm/report";

/// The longest report that is taken; the kernel's own bound is 32 KiB for the TEEs here.
const MAX_REPORT: usize = 64 * 1024;

/// The longest text attribute.
const MAX_TEXT: usize = 4096;

/// How often a report is asked for while others interfere or the firmware is busy, and how long is waited when it is.
const TRIES: u32 = 5;
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// How many names are tried for the directory; crashed predecessors may have left theirs.
const NAMES: u32 = 64;

/// An attester over configfs-tsm: SEV-SNP, TDX or Arm CCA, as the kernel says.
#[derive(Debug)]
pub struct ConfigfsTsm {
    tree: Box<dyn Tree>,
    dir: PathBuf,
    tee: Tee,
    privilege_level: Option<u8>,
    logs: Option<EventLogs>,
}

impl ConfigfsTsm {
    /// Finds the interface below `root` (`/` on a real machine) and asks which TEE is behind it.
    ///
    /// # Errors
    /// [`AttesterError::Absent`] where the interface is not there or no TEE driver has registered with it,
    /// [`AttesterError::Provider`] for a driver that this release does not know, [`AttesterError::Kernel`] where the interface
    /// cannot be used.
    pub fn open(root: &Path) -> Result<Self, AttesterError> {
        let attester = Self::over(Box::new(Kernel), files::below(root, DIR))?;
        Ok(if attester.tee == Tee::Tdx { attester.with_logs(EventLogs::new(root)) } else { attester })
    }

    fn over(tree: Box<dyn Tree>, dir: PathBuf) -> Result<Self, AttesterError> {
        let provider = Entry::make(&*tree, &dir)?.text("provider")?;
        let tee = match provider.as_str() {
            "sev_guest" => Tee::Snp,
            "tdx_guest" => Tee::Tdx,
            "arm_cca_guest" => Tee::Cca,
            _ => return Err(AttesterError::Provider { provider: provider.escape_default().take(64).collect() }),
        };
        Ok(Self { tree, dir, tee, privilege_level: None, logs: None })
    }

    /// Chooses the privilege level that the report shows, where the TEE has any (SEV-SNP's VMPL). Unless chosen it is the
    /// lowest number that the kernel lets the guest ask for.
    ///
    /// # Errors
    /// [`AttesterError::Argument`] for more than 3.
    pub fn with_privilege_level(mut self, level: u8) -> Result<Self, AttesterError> {
        self.privilege_level = Some(privilege_level(level)?);
        Ok(self)
    }

    /// Adds the boot event log of a TD to its evidence.
    #[must_use]
    pub fn with_logs(mut self, logs: EventLogs) -> Self {
        self.logs = Some(logs);
        self
    }

    /// The report, and what the TEE adds to it.
    fn report(&self, report_data: &[u8; 64]) -> Result<(Vec<u8>, Vec<u8>), AttesterError> {
        let entry = Entry::make(&*self.tree, &self.dir)?;
        let level = match self.privilege_level {
            None => entry.floor()?.filter(|floor| floor != "0"),
            Some(level) => Some(level.to_string()),
        };
        let mut busy = None;
        for _ in 0..TRIES {
            let before = entry.generation()?;
            if let Some(level) = &level {
                entry.write("privlevel", level.as_bytes(), "this TEE may have no privilege levels, or not this one")?;
            }
            entry.write("inblob", report_data, "")?;
            let report = match entry.read("outblob", MAX_REPORT) {
                Ok(report) => report,
                Err(AttesterError::Kernel { source, .. }) if is_busy(&source) => {
                    busy = Some(source);
                    pause();
                    continue;
                }
                Err(error) => return Err(error),
            };
            let more = entry.optional("auxblob", snp::MAX_TABLE)?.unwrap_or_default();
            let writes = 1 + u64::from(level.is_some());
            if entry.generation()? == before.wrapping_add(writes) {
                return Ok((report, more));
            }
        }
        let at = entry.path("outblob");
        Err(match busy {
            Some(source) => files::failed("read", &at, source, "the TEE stayed busy; try again later"),
            None => AttesterError::Interfered { at: entry.dir.display().to_string(), tries: TRIES },
        })
    }
}

impl Attester for ConfigfsTsm {
    fn tee(&self) -> Tee {
        self.tee
    }

    fn evidence(&mut self, binding: &BindingData) -> Result<Evidence, AttesterError> {
        let (report, more) = self.report(&binding.report_data)?;
        if !covers(self.tee, &report, &binding.report_data) {
            return Err(AttesterError::NotBound { tee: self.tee, at: self.dir.display().to_string() });
        }
        let mut part = EvidencePart::new(self.tee, []);
        let name = match self.tee {
            Tee::Snp => {
                part.items = snp::certificates(&more)?;
                snp::REPORT
            }
            Tee::Cca => "token.cbor",
            _ => gramine::QUOTE,
        };
        part.items.insert(name.to_owned(), report);
        if let Some(logs) = &self.logs {
            part.items.extend(logs.td_boot()?);
        }
        Ok(Evidence::single(part))
    }
}

/// One directory below `report`; dropped, it is removed.
struct Entry<'a> {
    tree: &'a dyn Tree,
    dir: PathBuf,
}

impl<'a> Entry<'a> {
    /// Makes a directory, whose name no other thread or process uses.
    fn make(tree: &'a dyn Tree, parent: &Path) -> Result<Self, AttesterError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let absent = |why: String| AttesterError::Absent { interface: "configfs-tsm", why };
        let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
        for _ in 0..NAMES {
            let name = format!("burgrave-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let dir = parent.join(name);
            match tree.make(&dir) {
                Ok(()) => return Ok(Self { tree, dir }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let why = "is not there; load the module tsm (tsm_report) and mount configfs at /sys/kernel/config";
                    return Err(absent(format!("`{}` {why}", parent.display())));
                }
                Err(error) if error.raw_os_error() == Some(ENXIO) => {
                    let why = "no TEE driver has registered; in a confidential guest, load \
                               sev-guest, tdx-guest or arm-cca-guest";
                    return Err(absent(why.to_owned()));
                }
                Err(error) => return Err(files::failed("make an entry in", parent, error, "")),
            }
        }
        Err(files::failed("make an entry in", parent, last, "remove the entries `burgrave-*` that nobody uses"))
    }

    fn path(&self, attribute: &str) -> PathBuf {
        self.dir.join(attribute)
    }

    fn read(&self, attribute: &str, limit: usize) -> Result<Vec<u8>, AttesterError> {
        let path = self.path(attribute);
        match self.tree.read(&path, limit) {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(files::TooLong)) => Err(AttesterError::TooLong { at: path.display().to_string(), limit }),
            Err(error) => {
                let advice = match error.raw_os_error() {
                    Some(ETIMEDOUT) => "the host's quoting service did not answer; it must run and be reachable",
                    Some(EINVAL | EIO) => "the TEE refused the request; the kernel's log says more",
                    _ => "",
                };
                Err(files::failed("read", &path, error, advice))
            }
        }
    }

    /// An attribute that not every TEE has.
    fn optional(&self, attribute: &str, limit: usize) -> Result<Option<Vec<u8>>, AttesterError> {
        match self.read(attribute, limit) {
            Err(AttesterError::Kernel { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    fn write(&self, attribute: &str, bytes: &[u8], advice: &'static str) -> Result<(), AttesterError> {
        let path = self.path(attribute);
        self.tree.write(&path, bytes).map_err(|error| files::failed("write", &path, error, advice))
    }

    fn text(&self, attribute: &str) -> Result<String, AttesterError> {
        let bytes = self.read(attribute, MAX_TEXT)?;
        Ok(String::from_utf8_lossy(bytes.trim_ascii()).into_owned())
    }

    fn generation(&self) -> Result<u64, AttesterError> {
        let text = self.text("generation")?;
        text.parse().map_err(|_| AttesterError::Answer {
            what: "configfs-tsm's `generation`",
            why: format!("found `{}`, expected a number", text.escape_default()),
        })
    }

    /// The lowest privilege level that may be asked for, where the TEE has such levels.
    fn floor(&self) -> Result<Option<String>, AttesterError> {
        let floor = self.optional("privlevel_floor", MAX_TEXT)?;
        Ok(floor.map(|floor| String::from_utf8_lossy(floor.trim_ascii()).into_owned()))
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        // Nothing is lost with an entry that stays: the next one has another name.
        let _ = self.tree.remove(&self.dir);
    }
}

const EIO: i32 = 5;
const ENXIO: i32 = 6;
const EINVAL: i32 = 22;
const ETIMEDOUT: i32 = 110;

/// Whether the same request may be made again: another quote was in flight, or a signal came.
fn is_busy(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[expect(clippy::disallowed_methods, reason = "a busy TEE has no way to say when to come back")]
fn pause() {
    std::thread::sleep(BUSY_PAUSE);
}

#[cfg(test)]
mod tests;
