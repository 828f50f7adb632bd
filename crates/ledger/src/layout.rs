//! Where things stand in the store: all under one prefix, each in its place.
//!
//! | key | value |
//! | --- | --- |
//! | `ledger/genesis` | the genesis record, unsealed |
//! | `ledger/wrapped-keys` | the keys below the root, wrapped, unsealed |
//! | `ledger/record/<kind>/<name>` | a sealed record |
//! | `ledger/chain/<revision, 20 digits>` | a signed head and its list of changes |
//! | `ledger/head` | revision and hash of the current head: what transactions swap |

use std::collections::BTreeMap;

use burgrave_store::{KeyRange, Store};
use burgrave_types::encoding::{DecodeError, Decoder, Encoder};
use burgrave_types::{HeadHash, Revision};

use crate::head::{Changes, decode_changes, encode_changes};
use crate::{LedgerError, RecordPath, SignedHead};

pub(crate) const PREFIX: &str = "ledger/";
/// Places are keys without the prefix: what heads name.
pub(crate) const GENESIS: &str = "genesis";
pub(crate) const WRAPPED_KEYS: &str = "wrapped-keys";
pub(crate) const POINTER: &str = "head";
pub(crate) const CHAIN: &str = "chain/";
pub(crate) const RECORD: &str = "record/";

/// How often a state is read anew that changes while it is read page by page.
const READ_ATTEMPTS: usize = 8;

/// The store's key of a place.
pub(crate) fn key(place: &str) -> Vec<u8> {
    format!("{PREFIX}{place}").into_bytes()
}

/// The place of a key, where it is one of the ledger's. A key that is no text gets a place that no head can name.
pub(crate) fn place(key: &[u8]) -> Option<String> {
    key.strip_prefix(PREFIX.as_bytes()).map(|place| match std::str::from_utf8(place) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("?{}", place.escape_ascii()),
    })
}

pub(crate) fn record_place(path: &RecordPath) -> String {
    format!("{RECORD}{path}")
}

pub(crate) fn chain_place(revision: Revision) -> String {
    format!("{CHAIN}{:020}", revision.0)
}

/// A link of the chain as it is stored.
pub(crate) struct Link {
    pub(crate) head: SignedHead,
    pub(crate) changes: Changes,
}

impl Link {
    pub(crate) fn encode(&self) -> Vec<u8> {
        Encoder::new().bytes(&self.head.encode()).bytes(&encode_changes(&self.changes)).finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        let head = SignedHead::decode(decoder.bytes()?)?;
        let changes = decode_changes(decoder.bytes()?)?;
        decoder.finish()?;
        Ok(Self { head, changes })
    }
}

/// The value of the pointer to the current head.
pub(crate) fn pointer(revision: Revision, hash: HeadHash) -> Vec<u8> {
    Encoder::new().u64(revision.0).bytes(hash.as_bytes()).finish()
}

/// The revision that a pointer names.
pub(crate) fn pointed_revision(pointer: &[u8]) -> Option<Revision> {
    Decoder::new(pointer).u64().ok().map(Revision)
}

/// All that the store holds of the ledger, as of one store revision.
pub(crate) struct Stored {
    /// The store's revision.
    pub(crate) store_revision: u64,
    /// The store revision that wrote the pointer last.
    pub(crate) pointer_modified: u64,
    /// Values by place.
    pub(crate) values: BTreeMap<String, Vec<u8>>,
}

/// Reads all that the store holds of the ledger.
pub(crate) async fn read_all(store: &dyn Store) -> Result<Stored, LedgerError> {
    for _ in 0..READ_ATTEMPTS {
        if let Some(stored) = try_read_all(store).await? {
            return Ok(stored);
        }
    }
    Err(LedgerError::Restless)
}

async fn try_read_all(store: &dyn Store) -> Result<Option<Stored>, LedgerError> {
    let mut values = BTreeMap::new();
    let mut pointer_modified = 0;
    let mut rest = Some(KeyRange::prefix(PREFIX));
    let mut revision = None;
    while let Some(range) = rest {
        let page = store.range(range, usize::MAX).await?;
        if *revision.get_or_insert(page.revision) != page.revision {
            return Ok(None);
        }
        for record in page.records {
            let Some(place) = place(&record.key) else { continue };
            if place == POINTER {
                pointer_modified = record.modified;
            }
            values.insert(place, record.value);
        }
        rest = page.rest;
    }
    Ok(Some(Stored { store_revision: revision.unwrap_or(0), pointer_modified, values }))
}
