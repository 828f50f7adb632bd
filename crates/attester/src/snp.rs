//! What SEV-SNP reports come with: the table of certificates that the host holds for its guests.

use std::collections::BTreeMap;

use burgrave_types::certificate_table;

use crate::AttesterError;

/// The item of the report.
pub(crate) const REPORT: &str = "report.bin";

/// The longest table: the driver takes 16 KiB (`SEV_FW_BLOB_MAX_SIZE`), configfs-tsm twice as much.
pub(crate) const MAX_TABLE: usize = 32 * 1024;

/// The certificates and revocation lists of a table, under the names of items.
///
/// # Errors
/// [`AttesterError::Answer`] where it is none.
pub(crate) fn certificates(table: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, AttesterError> {
    certificate_table::read(table)
        .map_err(|error| AttesterError::Answer { what: "the host's certificate table", why: error.to_string() })
}

/// The body of a fuzz target: reads `bytes` as a certificate table. It must not make more of them than there is.
pub fn fuzz_certificate_table(bytes: &[u8]) {
    if let Ok(items) = certificates(bytes) {
        assert!(items.values().all(|item| item.len() <= bytes.len()));
    }
}
