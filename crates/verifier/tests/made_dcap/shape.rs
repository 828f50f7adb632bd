//! Quotes of another shape: lengths, bytes behind, bits flipped, report data.

use burgrave_types::Tee;
use burgrave_verifier::{Cause, Verdict};

use crate::{accepted, cached, every_layout, refused};
use burgrave_made::intel::td;

#[test]
fn a_quote_of_another_shape_is_refused() {
    use Cause::{FormatAlgorithm, FormatLength, FormatVersion};
    let table: [(&str, usize, u8, Cause); 11] = [
        ("version 2", 0, 2, FormatVersion),
        ("version 6", 0, 6, FormatVersion),
        ("version 3 of a TD", 0, 3, FormatAlgorithm),
        ("ECDSA P-384", 2, 3, FormatAlgorithm),
        ("an enclave's quote", 4, 0, FormatAlgorithm),
        ("an unknown TEE", 4, 0x82, FormatAlgorithm),
        ("another QE vendor", 12, 0, FormatAlgorithm),
        ("an unknown body", 48, 9, FormatAlgorithm),
        ("an enclave's body", 48, 1, FormatAlgorithm),
        ("a body of another layout", 48, 2, FormatLength),
        ("a body of another length", 50, 0, FormatLength),
    ];
    for (what, at, byte, cause) in table {
        let mut case = td(5, 3).case();
        case.part.items.get_mut("quote.bin").unwrap()[at] = byte;
        refused(what, &case.verify(), cause, false);
    }
    let mut renamed = td(5, 3).case();
    renamed.part.tee = Tee::Sgx;
    refused("a TD that is called an enclave", &renamed.verify(), FormatAlgorithm, false);
    renamed.part.items.remove("quote.bin");
    refused("no quote", &renamed.verify(), Cause::FormatMalformed, false);
}

#[test]
fn lengths_that_lie_and_bytes_behind_the_quote_are_refused() {
    for (what, made) in every_layout() {
        let (case, quote) = (made.case(), made.quote());
        let with = |bytes: Vec<u8>| {
            let mut case = case.clone();
            case.part.items.insert("quote.bin".to_owned(), bytes);
            case.verify()
        };
        for length in (0..quote.len()).step_by(7).chain([quote.len() - 1]) {
            let verification = with(quote[..length].to_vec());
            refused(&format!("{what}, {length} bytes"), &verification, Cause::FormatLength, false);
        }
        accepted(&what, &with([&quote[..], &[0; 70]].concat()));
        // What nothing covers and nothing reads is told, and changes nothing.
        let noted = with([&quote[..], &[0, 1]].concat());
        accepted(&what, &noted);
        assert!(noted.checks.iter().any(|check| check.name == "dcap.quote.padding" && !check.passed && !check.fatal));
        refused(&what, &with([&quote[..], &[0; 70_000]].concat()), Cause::FormatLength, false);
        // Each counted field, one more and one less, and as large as it can be said to be.
        let section = 48 + made.descriptor.len() + made.body.len();
        let qe = section + 4 + 128 + if made.header[0] == 3 { 0 } else { 6 };
        let authentication = qe + 384 + 64;
        let chain = authentication + 2 + 32 + 2;
        let mut fields = vec![(section, 4), (authentication, 2), (chain, 4)];
        fields.extend((made.header[0] != 3).then_some((qe - 4, 4)));
        for (at, width) in fields {
            let lies: [fn(u16) -> u16; 3] = [|length| length + 1, |length| length - 1, |_| 0xffff];
            for lie in lies {
                let mut bytes = quote.clone();
                let length = lie(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
                bytes[at..at + 2].copy_from_slice(&length.to_le_bytes());
                bytes[at + 2..at + width].fill(if length == 0xffff { 0xff } else { 0 });
                let verification = with(bytes);
                assert_eq!((verification.verdict, verification.authentic), (Verdict::Reject, false), "{what}, {at}");
                assert!(
                    verification.cause.unwrap().as_str().starts_with("format."),
                    "{what}, {at}: {:?}",
                    verification.cause
                );
            }
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_but_around_the_certificates_is_refused() {
    for (what, made) in every_layout() {
        let mut case = made.case();
        case.endorsements = cached().1;
        accepted(&what, &case.verify());
        case.part.items.remove("collateral.json");
        let quote = case.part.items["quote.bin"].clone();
        let certificates = quote.windows(10).position(|window| window == b"-----BEGIN").unwrap();
        for at in 0..certificates {
            let bytes = case.part.items.get_mut("quote.bin").unwrap();
            bytes.copy_from_slice(&quote);
            bytes[at] ^= 1 << (at % 8);
            let verification = case.verify();
            assert_eq!((verification.verdict, verification.authentic), (Verdict::Reject, false), "{what}, byte {at}");
        }
    }
}

#[test]
fn report_data_is_what_was_asked_for_to_its_last_byte() {
    for (what, made) in every_layout() {
        let mut case = made.case();
        case.report_data = Some(vec![0xcc; 63]);
        refused(&what, &case.verify(), Cause::BindingReportData, true);
        case.report_data = Some(vec![0xcc; 65]);
        refused(&what, &case.verify(), Cause::BindingReportData, true);
        case.report_data = None;
        accepted(&what, &case.verify());
    }
}
