//! What can go wrong with a store.

use std::path::PathBuf;

/// Why a store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A key without bytes.
    #[error("a key is empty; every record needs a key of 1 to {} bytes", crate::limits::KEY_BYTES)]
    EmptyKey,
    /// More than a bound allows.
    #[error("there are {found} {what}, more than the {limit} that the store takes; split the change")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        found: usize,
        /// How much is taken.
        limit: usize,
    },
    /// A transaction that both writes and deletes a key.
    #[error("the transaction both writes and deletes `{key}`; it can do one of the two")]
    PutAndDeleted {
        /// The key.
        key: String,
    },
    /// What is stored is not what this store writes.
    #[error("the store is damaged: {0}; restore it from a backup")]
    Damaged(String),
    /// The backend failed.
    #[error("the store cannot {action}: {source}; check disk space and the health of the disk, then restart the node")]
    Backend {
        /// What it was doing.
        action: &'static str,
        /// The backend's own error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("`{}` is in use by another process; stop that node, or give this one a data folder of its own", path.display())]
    InUse {
        /// The store's file.
        path: PathBuf,
    },
    /// Others may read or write the file.
    #[error("`{path}` has mode {mode:04o} where 0600 is expected: others may reach it; run `chmod 600 {path}`", path = path.display())]
    Mode {
        /// The store's file.
        path: PathBuf,
        /// The file's permission bits.
        mode: u32,
    },
    /// The file is of a later format.
    #[error("`{}` has store format {found} where {expected} is expected; open it with the release that wrote it", path.display())]
    Format {
        /// The store's file.
        path: PathBuf,
        /// The format that this release reads.
        expected: u64,
        /// The format that the file has.
        found: u64,
    },
    /// The file could not be made or opened.
    #[error("`{}` cannot be opened: {source}; check that the folder exists, is writable and has space", path.display())]
    File {
        /// The store's file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The database refused.
    #[error("`{}` cannot be opened as a store: {source}; if the disk is healthy, restore it from a backup", path.display())]
    Backend {
        /// The store's file.
        path: PathBuf,
        /// The backend's own error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Why a watch ended.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The store no longer has what was asked for.
    #[error(
        "changes after revision {after} were asked for, but those up to {compacted} are compacted; read the whole state \
         again and watch from its revision"
    )]
    Compacted {
        /// The revision after which changes were asked for.
        after: u64,
        /// The last revision whose changes are gone.
        compacted: u64,
    },
    /// A revision that is not there yet.
    #[error(
        "changes after revision {after} were asked for, but the store is at {current}: it is another or an older one"
    )]
    Future {
        /// The revision after which changes were asked for.
        after: u64,
        /// The store's revision.
        current: u64,
    },
    /// The store was closed.
    #[error("the store was closed")]
    Closed,
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}
