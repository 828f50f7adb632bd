//! Pseudo files for tests: read as the kernel's are, their content made when somebody opens them.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, spawn};

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

/// A pseudo file, served by a thread until it is dropped. It is a FIFO: whoever opens it for reading waits until the thread
/// comes to write, as one waits for a driver.
pub(crate) struct PseudoFile {
    path: PathBuf,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl PseudoFile {
    /// Serves `path` with what `make` gives, called once for each reader.
    pub(crate) fn serve(path: PathBuf, mut make: impl FnMut() -> Vec<u8> + Send + 'static) -> Self {
        fifo(&path);
        let ends = Arc::new(AtomicBool::new(false));
        let thread = {
            let (path, ends) = (path.clone(), Arc::clone(&ends));
            spawn(move || {
                while let Some(mut reader) = next_reader(&path, &ends) {
                    // The next reader gets a FIFO of its own, since this one may still be reading when the next round begins.
                    let next = path.with_extension("next");
                    fifo(&next);
                    std::fs::rename(next, &path).unwrap();
                    // A reader that wants no more than some of it is free to leave.
                    let _ = reader.write_all(&make());
                }
            })
        };
        Self { path, ends, thread: Some(thread) }
    }
}

/// Waits for somebody to open the file for reading; none when it is over.
fn next_reader(path: &Path, ends: &AtomicBool) -> Option<std::fs::File> {
    let reader = OpenOptions::new().write(true).open(path).unwrap();
    (!ends.load(Ordering::SeqCst)).then_some(reader)
}

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

impl Drop for PseudoFile {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        let Some(thread) = self.thread.take() else { return };
        // The thread waits for a reader: it gets one that reads nothing, again where it had just made a new FIFO.
        while !thread.is_finished() {
            let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
            let reader = OpenOptions::new().read(true).custom_flags(flags).open(&self.path);
            if reader.is_err() {
                assert!(std::thread::panicking(), "a pseudo file was removed before it ended");
                return;
            }
            std::thread::yield_now();
        }
        let result = thread.join();
        if !std::thread::panicking() {
            result.unwrap();
        }
    }
}

/// What was written into a file since the last call: nothing, or all of it. The writer does not truncate, and no pseudo file
/// keeps what was written; so it is emptied.
pub(crate) fn take_written(path: &Path) -> Option<Vec<u8>> {
    let written = std::fs::read(path).unwrap();
    std::fs::write(path, []).unwrap();
    Some(written).filter(|written| !written.is_empty())
}

#[test]
fn each_reader_gets_what_is_made_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("counter");
    let mut count = 0;
    let file = PseudoFile::serve(path.clone(), move || {
        count += 1;
        format!("{count}\n").into_bytes()
    });
    for expected in ["1\n", "2\n", "3\n"] {
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
    }
    drop(file);
}
