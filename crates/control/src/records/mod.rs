//! What the ledger holds for this crate, and how it is written.
//!
//! A record is JSON with a `schema` number; one with another number, an unknown field or a missing one is not read, and
//! a node that meets such a record does not serve rather than guess.

mod collateral_floors;
mod demands;
mod enclave;
mod instance;
mod key;
mod policy;
mod signing_keys;

pub(crate) use collateral_floors::CollateralFloorsRecord;
pub(crate) use demands::{AttestAnew, changed, deadline};
pub(crate) use enclave::{EnclaveRecord, PlatformBar, Release, ReleaseStep};
pub(crate) use instance::{InstanceRecord, RecordedStanding, TpmProof};
pub(crate) use key::{EnclaveKeyRecord, KeyRecord, KeyVersion, KeyVersionState, active, rotate};
pub(crate) use policy::PolicyRecord;
pub(crate) use signing_keys::{SigningKey, SigningKeysRecord};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A record of one kind.
pub(crate) trait Stored: Serialize + DeserializeOwned {
    /// The first part of its path.
    const KIND: &'static str;
    /// The layout that this code reads and writes.
    const SCHEMA: u32 = 1;

    /// `kind/namespace/name`.
    fn path(&self) -> String;
}

/// Why bytes are not a record that this code understands.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The layout is another one.
    #[error("the record `{path}` has schema {found}, this node reads {expected}: a newer node wrote it")]
    Schema {
        /// Where it stands.
        path: String,
        /// What it has.
        found: u32,
        /// What is read.
        expected: u32,
    },
    /// It is not JSON of that layout.
    #[error("the record `{path}` cannot be read: {reason}")]
    Malformed {
        /// Where it stands.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// It stands under a path that its content does not have.
    #[error("the record `{path}` says that it is `{claimed}`")]
    Misplaced {
        /// Where it stands.
        path: String,
        /// Where its content belongs.
        claimed: String,
    },
}

/// The bytes of a record.
pub(crate) fn encode<R: Stored>(record: &R) -> Vec<u8> {
    // INVARIANT: records are maps with text keys and no floating numbers, which JSON always holds.
    serde_json::to_vec(record).unwrap_or_default()
}

/// Reads the record that stands under `path`.
pub(crate) fn decode<R: Stored>(path: &str, bytes: &[u8]) -> Result<R, RecordError> {
    #[derive(Deserialize)]
    struct SchemaOnly {
        schema: u32,
    }
    let malformed = |e: serde_json::Error| RecordError::Malformed { path: path.to_owned(), reason: e.to_string() };
    let SchemaOnly { schema: found } = serde_json::from_slice(bytes).map_err(malformed)?;
    if found != R::SCHEMA {
        return Err(RecordError::Schema { path: path.to_owned(), found, expected: R::SCHEMA });
    }
    let record: R = serde_json::from_slice(bytes).map_err(malformed)?;
    if record.path() != path {
        return Err(RecordError::Misplaced { path: path.to_owned(), claimed: record.path() });
    }
    Ok(record)
}

/// Reads `bytes` as a record of each kind: nothing may panic, whatever they are.
pub(crate) fn read_as_each_kind(bytes: &[u8]) {
    let _ = decode::<EnclaveRecord>("enclave/a/b", bytes);
    let _ = decode::<InstanceRecord>("instance/a/b", bytes);
    let _ = decode::<KeyRecord>("key/a/b", bytes);
    let _ = decode::<EnclaveKeyRecord>("keyspace/a/b@c", bytes);
    let _ = decode::<PolicyRecord>("policy/a/b", bytes);
    let _ = decode::<CollateralFloorsRecord>("collateral-floors/domain", bytes);
    let _ = decode::<SigningKeysRecord>("signing-keys/a/b", bytes);
}

/// A record as the view holds it.
#[derive(Debug)]
pub(crate) struct Entry<R> {
    /// What it says.
    pub(crate) record: R,
    /// The revision that changed it last.
    pub(crate) revision: burgrave_types::Revision,
}

#[cfg(test)]
mod tests;
