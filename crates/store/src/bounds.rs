//! How large what is stored may be.

use crate::{StoreError, Transaction};

/// Bounds on keys, values and transactions; the same for every store.
pub mod limits {
    /// Bytes of a key.
    pub const KEY_BYTES: usize = 1024;
    /// Bytes of a value.
    pub const VALUE_BYTES: usize = 1024 * 1024;
    /// Conditions, puts and deletes of a transaction, together.
    pub const OPERATIONS: usize = 1024;
    /// Bytes of all keys and values of a transaction.
    pub const TRANSACTION_BYTES: usize = 8 * 1024 * 1024;
    /// Records of a page.
    pub const PAGE_RECORDS: usize = 4096;
    /// Bytes of the values of a page, after which no further record is added to it.
    pub const PAGE_BYTES: usize = 16 * 1024 * 1024;
}

/// Refuses a key that is empty or too long.
pub(crate) fn check_key(key: &[u8]) -> Result<(), StoreError> {
    if key.is_empty() {
        return Err(StoreError::EmptyKey);
    }
    within("bytes in a key", key.len(), limits::KEY_BYTES)
}

/// Refuses a transaction that is out of bounds or names a key twice among its writes.
pub(crate) fn check_transaction(transaction: &Transaction) -> Result<(), StoreError> {
    let Transaction { conditions, puts, deletes } = transaction;
    within("operations in a transaction", conditions.len() + puts.len() + deletes.len(), limits::OPERATIONS)?;
    let mut bytes = 0;
    for key in conditions.keys().chain(puts.keys()).chain(deletes) {
        check_key(key)?;
        bytes += key.len();
    }
    for (key, value) in puts {
        within("bytes in a value", value.len(), limits::VALUE_BYTES)?;
        bytes += value.len();
        if deletes.contains(key) {
            return Err(StoreError::PutAndDeleted { key: show(key) });
        }
    }
    within("bytes in a transaction", bytes, limits::TRANSACTION_BYTES)
}

/// A key as it stands in messages.
pub(crate) fn show(key: &[u8]) -> String {
    key.escape_ascii().to_string()
}

fn within(what: &'static str, found: usize, limit: usize) -> Result<(), StoreError> {
    if found <= limit { Ok(()) } else { Err(StoreError::Limit { what, found, limit }) }
}
