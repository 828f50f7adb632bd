//! What SEV-SNP reports come with: the table of certificates that the host holds for its guests.

use std::collections::BTreeMap;

use crate::AttesterError;

/// The item of the report.
pub(crate) const REPORT: &str = "report.bin";

/// The longest table: the driver takes 16 KiB (`SEV_FW_BLOB_MAX_SIZE`), configfs-tsm twice as much.
pub(crate) const MAX_TABLE: usize = 32 * 1024;

/// Bytes of a row: GUID, offset, length.
const ROW: usize = 24;

/// Rows are at most as many as items that evidence takes.
const MAX_ROWS: usize = 16;

/// What the rows' GUIDs mean (GHCB Standardization 2.03, section 4.1.8.1, table 8), and the names of the items.
const KINDS: [(u128, &str); 5] = [
    (0x63da758d_e664_4564_adc5_f4b93be8accd, "vcek.der"),
    (0xa8074bc2_a25a_483e_aae6_39c045a0b8a1, "vlek.der"),
    (0x4ab7b379_bbac_4fe4_a02f_05aef327c782, "ask.der"),
    (0xc0b406a4_a803_4952_9743_3fb6014cd0ae, "ark.der"),
    (0x92f81bc3_5811_4d3d_97ff_d19f88dc67ea, "crl.der"),
];

/// The certificates and revocation lists of a table, under the names of items. Rows of other kinds are left out, as are empty
/// ones; an empty or zeroed table is a host that holds none.
///
/// # Errors
/// [`AttesterError::Answer`] where a row points outside the table or the table does not end.
pub(crate) fn certificates(table: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, AttesterError> {
    let malformed = |why: String| AttesterError::Answer { what: "the host's certificate table", why };
    let mut items = BTreeMap::new();
    if table.is_empty() {
        return Ok(items);
    }
    for number in 0..=MAX_ROWS {
        let row = table.get(number * ROW..).and_then(<[u8]>::first_chunk::<ROW>);
        let row = row.ok_or_else(|| malformed("it has no row of zeros at its end".to_owned()))?;
        if row.iter().all(|byte| *byte == 0) {
            return Ok(items);
        }
        let (guid, place) = row.split_at(16);
        let (offset, length) = place.split_at(4);
        let (offset, length) = (little_endian(offset), little_endian(length));
        let data = offset.checked_add(length).and_then(|end| table.get(offset..end)).ok_or_else(|| {
            malformed(format!(
                "row {number} points to {length} bytes at {offset}, of a table that has {} in all",
                table.len()
            ))
        })?;
        if let Some(name) = kind(guid).filter(|_| !data.is_empty()) {
            items.entry(name.to_owned()).or_insert_with(|| data.to_vec());
        }
    }
    Err(malformed(format!("it has more than {MAX_ROWS} rows")))
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

/// The body of a fuzz target: reads `bytes` as a certificate table. It must not panic, nor make more of them than there is.
pub fn fuzz_certificate_table(bytes: &[u8]) {
    if let Ok(items) = certificates(bytes) {
        assert!(items.len() <= KINDS.len() && items.values().all(|item| item.len() <= bytes.len()));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A table as a host makes it: the rows, the row of zeros, the data.
    pub(crate) fn table(rows: &[(u128, &[u8])]) -> Vec<u8> {
        let mut head = Vec::new();
        let mut data = Vec::new();
        for (guid, bytes) in rows {
            let offset = u32::try_from((rows.len() + 1) * ROW + data.len()).unwrap();
            head.extend(guid.to_be_bytes());
            head.extend(offset.to_le_bytes());
            head.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
            data.extend_from_slice(bytes);
        }
        [head, vec![0; ROW], data].concat()
    }

    pub(crate) const VCEK: u128 = KINDS[0].0;
    pub(crate) const VLEK: u128 = KINDS[1].0;
    pub(crate) const ASK: u128 = KINDS[2].0;
    pub(crate) const ARK: u128 = KINDS[3].0;

    #[test]
    fn a_table_stands_as_the_specification_has_it() {
        let bytes = table(&[(VCEK, b"chip"), (0x11, b"extra"), (ASK, b"signer")]);
        let guid = [0x63, 0xda, 0x75, 0x8d, 0xe6, 0x64, 0x45, 0x64, 0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac, 0xcd];
        assert_eq!(bytes[..24], [&guid[..], &[96, 0, 0, 0, 4, 0, 0, 0]].concat());
        let items = certificates(&bytes).unwrap();
        assert_eq!(items.keys().collect::<Vec<_>>(), ["ask.der", "vcek.der"]);
        assert_eq!((items["vcek.der"].as_slice(), items["ask.der"].as_slice()), (&b"chip"[..], &b"signer"[..]));
    }

    #[test]
    fn a_guid_in_microsofts_order_is_known_too() {
        let mut bytes = table(&[(VLEK, b"cloud"), (ARK, b"root")]);
        for row in [0, ROW] {
            bytes[row..row + 4].reverse();
            bytes[row + 4..row + 6].reverse();
            bytes[row + 6..row + 8].reverse();
        }
        assert_eq!(certificates(&bytes).unwrap().keys().collect::<Vec<_>>(), ["ark.der", "vlek.der"]);
    }

    #[test]
    fn a_host_without_certificates_gives_none() {
        for none in [vec![], vec![0; 4096], table(&[]), table(&[(VCEK, b"")])] {
            assert!(certificates(&none).unwrap().is_empty());
        }
    }

    #[test]
    fn a_row_that_points_outside_and_a_table_without_end_are_refused() {
        let mut outside = table(&[(VCEK, b"chip")]);
        outside[20] = 5;
        let error = certificates(&outside).unwrap_err().to_string();
        assert!(error.contains("row 0 points to 5 bytes at 48, of a table that has 52"), "{error}");

        let mut wide = table(&[(VCEK, b"chip")]);
        wide[16..24].fill(0xff);
        assert!(certificates(&wide).is_err());

        let endless = table(&[(VCEK, b"chip")])[..ROW].to_vec();
        assert!(certificates(&endless).unwrap_err().to_string().contains("row"), "the row points outside");
        let rows = vec![(0x22, &b""[..]); MAX_ROWS + 1];
        assert!(certificates(&table(&rows)).unwrap_err().to_string().contains("more than 16 rows"));
        let open = [&1u128.to_be_bytes()[..], &[0; 8]].concat();
        assert!(certificates(&open).unwrap_err().to_string().contains("no row of zeros"));
    }

    proptest! {
        #[test]
        fn arbitrary_and_altered_tables_never_panic(bytes: Vec<u8>, at in 0usize..200, bit in 0u8..8) {
            fuzz_certificate_table(&bytes);
            let mut altered = table(&[(VCEK, b"chip"), (ARK, b"root")]);
            let at = at % altered.len();
            altered[at] ^= 1 << bit;
            fuzz_certificate_table(&altered);
        }
    }
}
