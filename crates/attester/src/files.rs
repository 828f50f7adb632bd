//! Files of the kernel's, below a root that tests choose, and never read without a bound.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::AttesterError;

/// Where `path` is below `root`; `/` leaves it as it is.
pub(crate) fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// Reads a whole file, or says that it is longer than `limit` bytes.
pub(crate) fn read(path: &Path, limit: usize) -> io::Result<Result<Vec<u8>, TooLong>> {
    let bytes = read_from(path, 0, limit.saturating_add(1))?;
    Ok(if bytes.len() > limit { Err(TooLong) } else { Ok(bytes) })
}

/// Reads at most `limit` bytes from `offset` on.
pub(crate) fn read_from(path: &Path, offset: u64, limit: usize) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    if offset > 0 {
        file.seek(SeekFrom::Start(offset))?;
    }
    let mut bytes = Vec::new();
    file.take(limit as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The file is longer than it may be.
#[derive(Debug)]
pub(crate) struct TooLong;

/// Reads an optional file: none where it is not there or this user may not see it.
pub(crate) fn optional(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, AttesterError> {
    match read(path, limit) {
        Ok(Ok(bytes)) => Ok(Some(bytes).filter(|bytes| !bytes.is_empty())),
        Ok(Err(TooLong)) => Err(AttesterError::TooLong { at: path.display().to_string(), limit }),
        Err(error) if is_not_for_us(&error) => Ok(None),
        Err(error) => Err(failed("read", path, error, "")),
    }
}

/// Whether a file is not there or may not be seen.
pub(crate) fn is_not_for_us(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
}

/// The error of something done to a path.
pub(crate) fn failed(doing: &'static str, path: &Path, source: io::Error, advice: &'static str) -> AttesterError {
    AttesterError::Kernel { doing, at: path.display().to_string(), source, advice }
}
