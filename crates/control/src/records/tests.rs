use proptest::prelude::*;

use super::*;

fn policy() -> PolicyRecord {
    PolicyRecord {
        schema: 1,
        id: burgrave_types::PolicyId::from_bytes([3; 16]),
        namespace: Some("payments".parse().unwrap()),
        name: "api-decrypts".to_owned(),
        text: "permit(principal, action, resource);".to_owned(),
        description: String::new(),
        changed: burgrave_types::Timestamp::from_unix_secs(1),
        changed_by: "root".to_owned(),
    }
}

#[test]
fn a_record_reads_back_from_where_it_stands() {
    let record = policy();
    assert_eq!(decode::<PolicyRecord>(&record.path(), &encode(&record)).unwrap(), record);
}

#[test]
fn a_record_of_a_newer_schema_is_refused_and_says_so() {
    let bytes = encode(&PolicyRecord { schema: 2, ..policy() });
    let error = decode::<PolicyRecord>(&policy().path(), &bytes).unwrap_err();
    assert!(matches!(error, RecordError::Schema { found: 2, expected: 1, .. }), "{error}");
}

#[test]
fn a_record_with_an_unknown_field_is_refused() {
    let text = String::from_utf8(encode(&policy())).unwrap().replacen('{', r#"{"extra":1,"#, 1);
    let error = decode::<PolicyRecord>(&policy().path(), text.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("extra"), "{error}");
}

#[test]
fn a_record_that_was_moved_is_refused() {
    let error = decode::<PolicyRecord>("policy/other/pol_x", &encode(&policy())).unwrap_err();
    assert!(matches!(error, RecordError::Misplaced { .. }), "{error}");
}

#[test]
fn a_rotation_leaves_one_active_version() {
    let at = burgrave_types::Timestamp::from_unix_secs(9);
    let mut versions = vec![KeyVersion::first(at)];
    assert_eq!(key::rotate(&mut versions, KeyVersionState::Compromised, at), 2);
    assert_eq!(versions[0].state, KeyVersionState::Compromised);
    assert_eq!(key::active(&versions).unwrap().version, 2);
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_no_record_and_do_no_harm(bytes: Vec<u8>) {
        prop_assert!(decode::<EnclaveRecord>("enclave/a/b", &bytes).is_err());
        read_as_each_kind(&bytes);
    }

    #[test]
    fn altered_bytes_are_refused_or_differ(at: prop::sample::Index, bit in 0u8..8) {
        let record = policy();
        let good = encode(&record);
        let mut bytes = good.clone();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        // RFC 3339 has `T` and `Z` in either case.
        prop_assume!(!(matches!(good[at], b'T' | b'Z') && bytes.eq_ignore_ascii_case(&good)));
        prop_assert_ne!(decode::<PolicyRecord>(&record.path(), &bytes).ok(), Some(record));
    }
}
