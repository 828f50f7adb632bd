//! What can go wrong with the audit log.

use std::path::PathBuf;

/// Why an event could not be recorded or read.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file could not be used.
    #[error(
        "the audit log `{}` cannot be {action}: {source}; nothing is granted until it can: check space, permissions and \
         the health of the disk", path.display()
    )]
    File {
        /// The log.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A write to disk was not confirmed; what is on disk is not known.
    #[error(
        "the audit log `{}` was not confirmed by the disk ({reason}); nothing is granted until the node is restarted \
         on a healthy disk", path.display()
    )]
    Unconfirmed {
        /// The log.
        path: PathBuf,
        /// What the disk said.
        reason: String,
    },
    /// Another process writes it.
    #[error("the audit log `{}` is in use by another process; stop that node, or give this one a data folder of its own", path.display())]
    InUse {
        /// The log.
        path: PathBuf,
    },
    /// Others may read or write it.
    #[error("the audit log `{path}` has mode {mode:04o} where 0600 is expected: others may reach it; run `chmod 600 {path}`", path = path.display())]
    Mode {
        /// The log.
        path: PathBuf,
        /// The file's permission bits.
        mode: u32,
    },
    /// An event that is too large for a line.
    #[error(
        "an audit event of {found} bytes is larger than the {limit} that a line may have; the request it tells of is refused"
    )]
    TooLarge {
        /// Bytes it has.
        found: usize,
        /// Bytes it may have.
        limit: usize,
    },
    /// A line that is no event.
    #[error(
        "the audit log holds a line that is no `burgrave-audit-v1` event: {0}; keep the file and compare it with a copy"
    )]
    Line(#[source] serde_json::Error),
    /// An event that could not be encoded.
    #[error("an audit event cannot be written as JSON: {0}; the request it tells of is refused")]
    Encode(#[source] serde_json::Error),
}
