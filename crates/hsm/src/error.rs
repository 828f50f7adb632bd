//! What goes wrong at a token.

use std::io;
use std::path::PathBuf;

use burgrave_types::encoding::DecodeError;

use crate::{KeyHandle, KeyId};

/// Why an operation of an open token failed.
#[derive(Debug, thiserror::Error)]
pub enum HsmError {
    /// The token has no such key, or the handle is of another token or of a key that is gone.
    #[error("the token holds no key `{0}`; is it the token that this node was set up with?")]
    KeyNotFound(KeyId),
    /// A key of that id is there already.
    #[error("the token already holds a key `{0}`; a key is never overwritten: use a new version or a new token")]
    KeyExists(KeyId),
    /// The key's purpose or attributes forbid what was asked.
    #[error("the key `{key}` may not {operation}: its purpose or its attributes forbid that")]
    NotPermitted {
        /// The key.
        key: KeyId,
        /// What was asked of it.
        operation: &'static str,
    },
    /// A wrapped key did not open: it was altered, or wrapped under another key.
    #[error(
        "the wrapped key `{key}` does not open under `{wrapping_key}`: it was altered, or wrapped under another key"
    )]
    InvalidCiphertext {
        /// The wrapped key.
        key: KeyId,
        /// What it should open under.
        wrapping_key: KeyId,
    },
    /// A wrapped key opened, but it is not the key that it is said to be.
    #[error("the key unwrapped as `{0}` is another one: its check value differs from the one kept with it")]
    CheckValue(KeyId),
    /// A digest does not have the length that the key signs.
    #[error("the key `{key}` signs digests of {expected} bytes, but was given {found}")]
    DigestLength {
        /// The key.
        key: KeyId,
        /// Bytes that it signs.
        expected: usize,
        /// Bytes that it was given.
        found: usize,
    },
    /// The token's file cannot be used any more.
    #[error("the token is not available: {0}")]
    Unavailable(#[from] TokenError),
    /// The cryptographic library refused; nothing about the input explains it.
    #[error("the token failed to {0}: the cryptographic library reports an error that it does not explain")]
    Device(&'static str),
}

impl HsmError {
    pub(crate) fn stale(handle: &KeyHandle) -> Self {
        Self::KeyNotFound(handle.id)
    }
}

/// Why a token could not be made, opened or written.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file system refused.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A token, or its key, is at that path already.
    #[error("`{}` exists already; a token is never overwritten: choose another path, or open it", .0.display())]
    Exists(PathBuf),
    /// Another process has the token open.
    #[error("the token `{}` is in use by another process; stop that node first", .0.display())]
    InUse(PathBuf),
    /// Others than the owner can read or write the file.
    #[error("`{}` has mode {mode:04o}, so that others than its owner can reach it; run `chmod 600` on it", path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The passphrase, or the key file, is not the one that the token was sealed with.
    #[error("the {unlock} does not open the token `{}`; it was not tried again", path.display())]
    WrongUnlock {
        /// The token.
        path: PathBuf,
        /// `passphrase` or `key file`.
        unlock: &'static str,
    },
    /// The token is sealed in the other way.
    #[error("the token `{}` opens with a {expected}, but a {given} was given", path.display())]
    OtherUnlock {
        /// The token.
        path: PathBuf,
        /// What it opens with.
        expected: &'static str,
        /// What was given.
        given: &'static str,
    },
    /// The file is not as it was written.
    #[error("the token `{}` is damaged ({fault}); restore it from a backup", path.display())]
    Damaged {
        /// The token.
        path: PathBuf,
        /// What is wrong with it.
        fault: FileFault,
    },
    /// The file would grow beyond what is read back.
    #[error("the token `{}` is full; destroy keys that are no longer used", .0.display())]
    Full(PathBuf),
    /// The file is not the one that this process opened or wrote last.
    #[error("the token `{}` was replaced or altered since it was opened; stop the node and restore it", .0.display())]
    Replaced(PathBuf),
    /// A production token cannot have its key beside it.
    #[error("a production token cannot be opened by a key file beside it; give a passphrase file or descriptor")]
    KeyFileInProduction,
    /// The passphrase cannot be one.
    #[error("the passphrase from {source_name} {fault}")]
    Passphrase {
        /// Where it came from.
        source_name: String,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// The key stretching failed, for want of memory.
    #[error("cannot stretch the passphrase with {memory_kib} KiB of memory: {reason}")]
    Stretch {
        /// Memory that it takes.
        memory_kib: u32,
        /// What the function said.
        reason: String,
    },
    /// The cryptographic library refused.
    #[error("cannot {0} the token: the cryptographic library reports an error that it does not explain")]
    Crypto(&'static str),
}

/// What is wrong with a token file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FileFault {
    /// It does not begin as token files do.
    #[error("it does not begin as a token file of this version")]
    Format,
    /// Its checksum is not that of its content.
    #[error("its checksum differs")]
    Checksum,
    /// Its checksum is right and its key check too, but its content does not open: somebody wrote it by hand.
    #[error("its content does not authenticate, though its checksum is right: it was altered on purpose")]
    Seal,
    /// A field is not as it should be.
    #[error("{0}")]
    Encoding(#[from] DecodeError),
    /// A key in it does not load.
    #[error("a key in it does not load")]
    Key,
    /// It asks for more work than is taken.
    #[error("it asks for more memory or passes than are taken")]
    Cost,
}
