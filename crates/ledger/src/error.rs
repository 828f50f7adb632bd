//! What can go wrong with the ledger.

use burgrave_keyring::KeyringError;
use burgrave_seal::envelope::EnvelopeError;
use burgrave_store::{StoreError, WatchError};
use burgrave_types::encoding::DecodeError;
use burgrave_types::{GenesisHash, ParseError, RecordDigest, Revision, Timestamp};

use crate::{Expect, RecordPath};

/// Why a ledger could not be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The store holds a domain already.
    #[error("the store holds the ledger of a domain already; open it, or make the new domain in an empty data folder")]
    DomainExists,
    /// The store holds no domain.
    #[error("the store holds no ledger; make a domain first with `burgrave node init`")]
    NoDomain,
    /// It is another domain's.
    #[error(
        "the store holds the domain {found} where {expected} is expected; point the node at that domain's data folder"
    )]
    WrongDomain {
        /// The genesis hash that was asked for.
        expected: GenesisHash,
        /// The genesis hash of the store.
        found: GenesisHash,
    },
    /// The genesis record does not hold.
    #[error("the genesis record in the store does not hold: {0}; restore the store from a backup")]
    Genesis(#[source] burgrave_identity::IdentityError),
    /// The genesis record names another head-signing key than the token holds.
    #[error(
        "the token's head-signing key is not the one that the genesis record names; open the domain with its own token"
    )]
    HeadKey,
    /// What is stored is not what was signed.
    #[error("the store was tampered with or is damaged: {0}; nothing is served from it: restore it from a backup")]
    Tampered(#[from] Tampering),
    /// The key hierarchy refused.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store could not be watched.
    #[error("the ledger cannot follow its store: {0}")]
    Watch(#[from] WatchError),
    /// The store changed at each of several attempts to read it.
    #[error("the store kept changing while it was read; try again when it is written less")]
    Restless,
}

/// How what is stored differs from what was signed, and where. Each names what is concerned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Tampering {
    /// A signed record is not there.
    #[error("`{place}`, written at revision {revision}, is missing")]
    Withheld {
        /// What is missing.
        place: String,
        /// When it was written last.
        revision: Revision,
    },
    /// A record is not the one that was signed.
    #[error(
        "`{place}` is not what revision {revision} wrote (expected digest {expected}, found {found}): it was altered, \
         moved or rolled back"
    )]
    Replaced {
        /// What was replaced.
        place: String,
        /// When it was written last.
        revision: Revision,
        /// The digest that was signed.
        expected: RecordDigest,
        /// The digest of what is there.
        found: RecordDigest,
    },
    /// Something is there that no head covers.
    #[error("`{place}` is there, but no head covers it")]
    Unsigned {
        /// What it is.
        place: String,
    },
    /// A head is missing, altered or out of place.
    #[error("head {revision} {fault}")]
    Head {
        /// Which head.
        revision: Revision,
        /// What is wrong with it.
        fault: HeadFault,
    },
    /// The pointer to the current head does not name the end of the chain.
    #[error("the pointer to the current head does not name head {0}, the end of the chain")]
    Pointer(Revision),
    /// A record that was signed cannot be opened.
    #[error("`{0}` does not open under the record key of its epoch and place")]
    Unreadable(RecordPath),
    /// A record of a kind that this release does not know.
    #[error("`{place}` is of a kind that this release does not know ({source}); run the release that wrote it")]
    UnknownKind {
        /// The record.
        place: String,
        /// What is not known.
        #[source]
        source: ParseError,
    },
}

/// What is wrong with a head.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadFault {
    /// It is not there.
    #[error("is missing")]
    Missing,
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Encoding(#[from] DecodeError),
    /// It is another domain's.
    #[error("is of the domain {0}")]
    Domain(GenesisHash),
    /// It stands in another's place.
    #[error("says that it is head {0}")]
    Place(Revision),
    /// It does not follow from the one before it.
    #[error("does not name the head before it")]
    Link,
    /// Its list of changes is not the signed one.
    #[error("has another list of changes than was signed")]
    Changes,
    /// Its time is before that of the head before it.
    #[error("is of {found}, before the {previous} of the head before it")]
    Time {
        /// Its time.
        found: Timestamp,
        /// The previous head's time.
        previous: Timestamp,
    },
    /// Its epoch is below that of the head before it.
    #[error("is of an epoch before that of the head before it")]
    Epoch,
    /// Its signature does not verify.
    #[error("is not signed by the domain's head-signing key")]
    Signature,
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum TransactError {
    /// A condition does not hold; nothing was changed.
    #[error("`{path}` is not as expected: expected {expected}, found {}; read it again and decide anew", Found(*found))]
    Conflict {
        /// The record.
        path: RecordPath,
        /// What it should be.
        expected: Expect,
        /// When it was last changed; `None`: there is no record.
        found: Option<Revision>,
    },
    /// A change that changes nothing.
    #[error("the change writes and deletes nothing")]
    Empty,
    /// A change that says two things of one record.
    #[error("the change names `{0}` more than once")]
    Contradiction(RecordPath),
    /// Others kept changing the ledger first; nothing was changed.
    #[error("other changes kept coming first; nothing was changed: try again")]
    Contention,
    /// The ledger no longer serves; nothing was changed.
    #[error("the ledger does not serve: {0}")]
    Fenced(Fence),
    /// The key hierarchy refused; nothing was changed.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// A record could not be sealed; nothing was changed.
    #[error("a record could not be sealed: {0}; nothing was changed")]
    Seal(#[from] EnvelopeError),
    /// The store refused or failed; after a failure to write, the change may have been made.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a ledger stopped serving. It does not recover by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fence {
    /// The store gave what was not signed.
    #[error("the store was tampered with: {0}; stop the node and restore the store from a backup")]
    Tampered(Tampering),
    /// The store can no longer be followed.
    #[error("the store cannot be followed: {0}; restart the node")]
    Lost(String),
    /// The ledger was closed.
    #[error("it was closed")]
    Closed,
}

struct Found(Option<Revision>);

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(revision) => write!(f, "a record last changed at revision {revision}"),
            None => f.write_str("no record"),
        }
    }
}
