//! The table of certificates that a host holds for its SEV-SNP guests (GHCB Standardization 2.03, section 4.1.8.1): what the
//! kernel's `auxblob` holds, and what follows a report of an extended request.

use std::collections::BTreeMap;

use thiserror::Error;

/// Bytes of a row: GUID, offset, length.
const ROW: usize = 24;

/// Rows are at most as many as items that evidence takes.
const MAX_ROWS: usize = 16;

/// The GUID of the row that holds the chip's own certificate (GHCB Standardization 2.03, table 8, as all of them).
pub const VCEK: u128 = 0x63da758d_e664_4564_adc5_f4b93be8accd;
/// The GUID of the row that holds the certificate of the key that the cloud was lent.
pub const VLEK: u128 = 0xa8074bc2_a25a_483e_aae6_39c045a0b8a1;
/// The GUID of the row that holds the certificate of the key that signed the chip's.
pub const ASK: u128 = 0x4ab7b379_bbac_4fe4_a02f_05aef327c782;
/// The GUID of the row that holds the root's certificate.
pub const ARK: u128 = 0xc0b406a4_a803_4952_9743_3fb6014cd0ae;
/// The GUID of the row that holds the root's revocation list.
pub const CRL: u128 = 0x92f81bc3_5811_4d3d_97ff_d19f88dc67ea;

/// The kinds of row, and the names of the items.
const KINDS: [(u128, &str); 5] =
    [(VCEK, "vcek.der"), (VLEK, "vlek.der"), (ASK, "ask.der"), (ARK, "ark.der"), (CRL, "crl.der")];

/// Why bytes are no such table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum NoTable {
    /// The rows end without the row of zeros.
    #[error("it has no row of zeros at its end")]
    Open,
    /// A row points outside.
    #[error("row {row} points to {length} bytes at {offset}, of a table that has {all} in all")]
    Outside {
        /// The row, counted from 0.
        row: usize,
        /// Bytes that it points to.
        length: usize,
        /// Where they begin.
        offset: usize,
        /// Bytes of the table.
        all: usize,
    },
    /// More rows than are taken.
    #[error("it has more than {MAX_ROWS} rows")]
    Long,
}

/// The certificates and revocation lists of a table, under the names of items. Rows of other kinds are left out, as are empty
/// ones; an empty or zeroed table is a host that holds none.
///
/// # Errors
/// [`NoTable`] where a row points outside the table or the table does not end.
pub fn read(table: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, NoTable> {
    let mut items = BTreeMap::new();
    if table.is_empty() {
        return Ok(items);
    }
    for number in 0..=MAX_ROWS {
        let row = table.get(number * ROW..).and_then(<[u8]>::first_chunk::<ROW>).ok_or(NoTable::Open)?;
        if row.iter().all(|byte| *byte == 0) {
            return Ok(items);
        }
        let (guid, place) = row.split_at(16);
        let (offset, length) = place.split_at(4);
        let (offset, length) = (little_endian(offset), little_endian(length));
        let data = offset.checked_add(length).and_then(|end| table.get(offset..end));
        let data = data.ok_or(NoTable::Outside { row: number, length, offset, all: table.len() })?;
        if let Some(name) = kind(guid).filter(|_| !data.is_empty()) {
            items.entry(name.to_owned()).or_insert_with(|| data.to_vec());
        }
    }
    Err(NoTable::Long)
}

/// The kind of a row. Hosts write GUIDs in the order of the text, and some in that of Microsoft's structure.
fn kind(guid: &[u8]) -> Option<&'static str> {
    let mut bytes: [u8; 16] = guid.try_into().ok()?;
    let plain = u128::from_be_bytes(bytes);
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    let mixed = u128::from_be_bytes(bytes);
    KINDS.into_iter().find(|(known, _)| [plain, mixed].contains(known)).map(|(_, name)| name)
}

fn little_endian(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte))
}

/// A table of rows (GUID, data), as a host makes it: the rows, the row of zeros, the data. Fewer than 4 GiB of them.
pub fn write(rows: &[(u128, &[u8])]) -> Vec<u8> {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes();
    let mut head = Vec::new();
    let mut data = Vec::new();
    for (guid, bytes) in rows {
        head.extend(guid.to_be_bytes());
        head.extend(number((rows.len() + 1) * ROW + data.len()));
        head.extend(number(bytes.len()));
        data.extend_from_slice(bytes);
    }
    [head, vec![0; ROW], data].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_table_stands_as_the_specification_has_it() {
        let bytes = write(&[(VCEK, b"chip"), (0x11, b"extra"), (ASK, b"signer")]);
        let guid = [0x63, 0xda, 0x75, 0x8d, 0xe6, 0x64, 0x45, 0x64, 0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac, 0xcd];
        assert_eq!(bytes[..24], [&guid[..], &[96, 0, 0, 0, 4, 0, 0, 0]].concat());
        let items = read(&bytes).unwrap();
        assert_eq!(items.keys().collect::<Vec<_>>(), ["ask.der", "vcek.der"]);
        assert_eq!((items["vcek.der"].as_slice(), items["ask.der"].as_slice()), (&b"chip"[..], &b"signer"[..]));
    }

    #[test]
    fn a_guid_in_microsofts_order_is_known_too() {
        let mut bytes = write(&[(VLEK, b"cloud"), (ARK, b"root")]);
        for row in [0, ROW] {
            bytes[row..row + 4].reverse();
            bytes[row + 4..row + 6].reverse();
            bytes[row + 6..row + 8].reverse();
        }
        assert_eq!(read(&bytes).unwrap().keys().collect::<Vec<_>>(), ["ark.der", "vlek.der"]);
    }

    #[test]
    fn a_host_without_certificates_gives_none() {
        for none in [vec![], vec![0; 4096], write(&[]), write(&[(VCEK, b"")])] {
            assert!(read(&none).unwrap().is_empty());
        }
    }

    #[test]
    fn a_row_that_points_outside_and_a_table_without_end_are_refused() {
        let mut outside = write(&[(VCEK, b"chip")]);
        outside[20] = 5;
        let error = read(&outside).unwrap_err().to_string();
        assert!(error.contains("row 0 points to 5 bytes at 48, of a table that has 52"), "{error}");

        let mut wide = write(&[(VCEK, b"chip")]);
        wide[16..24].fill(0xff);
        assert!(read(&wide).is_err());

        let endless = write(&[(VCEK, b"chip")])[..ROW].to_vec();
        assert!(read(&endless).unwrap_err().to_string().contains("row"), "the row points outside");
        let rows = vec![(0x22, &b""[..]); MAX_ROWS + 1];
        assert!(read(&write(&rows)).unwrap_err().to_string().contains("more than 16 rows"));
        let open = [&1u128.to_be_bytes()[..], &[0; 8]].concat();
        assert!(read(&open).unwrap_err().to_string().contains("no row of zeros"));
    }

    proptest! {
        #[test]
        fn arbitrary_and_altered_tables_never_panic(bytes: Vec<u8>, at in 0usize..200, bit in 0u8..8) {
            let _ = read(&bytes);
            let mut altered = write(&[(VCEK, b"chip"), (ARK, b"root")]);
            let at = at % altered.len();
            altered[at] ^= 1 << bit;
            let _ = read(&altered);
        }
    }
}
