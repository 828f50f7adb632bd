//! The store's file: made for its owner alone, opened by one process, of a known format.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError};

use super::Options;
use super::tables::{FORMAT, Tables};
use crate::OpenError;

/// Opens or makes the store in `path`; with it comes its revision.
pub(super) fn open(path: &Path, options: Options) -> Result<(Tables, u64), OpenError> {
    prepare(path)?;
    let database =
        Database::builder().set_cache_size(options.cache_bytes).create(path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path: path.to_owned() },
            other => OpenError::Backend { path: path.to_owned(), source: Box::new(other) },
        })?;
    let backend = |source| OpenError::Backend { path: path.to_owned(), source: Box::new(source) };
    let tables = Tables::new(database, options.retained_revisions.max(1));
    let (format, revision) = tables.initialise().map_err(backend)?;
    if format != FORMAT {
        return Err(OpenError::Format { path: path.to_owned(), expected: FORMAT, found: format });
    }
    Ok((tables, revision))
}

/// Makes an empty file of mode 0600 where there is none; refuses one that others may reach.
fn prepare(path: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::File { path: path.to_owned(), source };
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file.sync_all().and_then(|()| sync_folder(path)).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mode = path.metadata().map_err(failed)?.permissions().mode() & 0o7777;
            if mode & 0o077 == 0 { Ok(()) } else { Err(OpenError::Mode { path: path.to_owned(), mode }) }
        }
        Err(error) => Err(failed(error)),
    }
}

/// Makes a new file's name durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    File::open(folder)?.sync_all()
}
