//! Failing twins of every accepted document and token: one circumstance or one byte changed, and it is refused for that reason.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod common;

use std::time::Duration;

use burgrave_types::{Tee, Timestamp};
use burgrave_verifier::{Cause, Expected, Input, Roots, Verdict, Verification, azure, cca, nitro, nvidia, verify};
use common::{Case, collection, packaged};
use proptest::collection::vec;
use proptest::prelude::*;

/// Every accepted row of a TEE: the packaged ones, and those of the collection.
fn accepted(tee: Tee) -> Vec<(String, Case)> {
    let mut cases = Vec::new();
    for (folder, rows) in std::iter::once(packaged()).chain(collection()) {
        let accepted = rows.iter().filter(|row| row.expect() == "accept");
        cases.extend(accepted.map(|row| (row.id.clone(), row.case(&folder))).filter(|(_, case)| case.part.tee == tee));
    }
    assert!(!cases.is_empty());
    cases
}

#[track_caller]
fn refused(id: &str, what: &str, verification: &Verification, causes: &[Cause]) {
    assert_eq!(verification.verdict, Verdict::Reject, "{id}: {what}");
    let cause = verification.cause.unwrap();
    assert!(causes.contains(&cause), "{id}: {what}: {cause}");
    let failed = verification.checks.iter().find(|check| check.cause == cause && !check.passed).unwrap();
    assert!(!failed.expected.is_empty() && !failed.found.is_empty() && !failed.reference.is_empty(), "{failed:?}");
}

fn judge(case: &Case, expected: Expected<'_>) -> Verification {
    verify(&Input {
        part: &case.part,
        endorsements: &case.endorsements,
        roots: &case.roots,
        profile: &case.profile,
        expected,
        at: case.at,
    })
}

/// Every third byte of the first case's item, and every so many bytes of the others', flipped in one bit.
fn flipped_bits_are_refused(cases: &[(String, Case)], item: &str) {
    for (which, (id, case)) in cases.iter().enumerate() {
        let length = case.part.item(item).unwrap().len();
        for at in (0..length).step_by(if which == 0 { 3 } else { 41 }) {
            let altered = case.with(item, |bytes| bytes[at] ^= 1 << (at % 8)).verify();
            assert_eq!((altered.verdict, altered.authentic), (Verdict::Reject, false), "{id}, byte {at:#x}");
        }
    }
}

#[test]
fn a_nitro_document_is_refused_altered_cut_lengthened_late_early_and_elsewhere() {
    let cases = accepted(Tee::Nitro);
    flipped_bits_are_refused(&cases, "document.cose");
    for (id, case) in &cases {
        let document = case.part.item("document.cose").unwrap();
        for length in (0..document.len()).step_by(31) {
            let short = case.with("document.cose", |bytes| bytes.truncate(length)).verify();
            refused(id, "cut", &short, &[Cause::FormatMalformed, Cause::FormatLength]);
        }
        let long = case.with("document.cose", |bytes| bytes.push(0)).verify();
        refused(id, "longer", &long, &[Cause::FormatLength]);
        let signature = case.with("document.cose", |bytes| *bytes.last_mut().unwrap() ^= 1).verify();
        refused(id, "signature", &signature, &[Cause::SignatureInvalid]);

        let end = case.verify().valid_until.unwrap();
        let late = Case { at: end + Duration::from_millis(1000), ..case.clone() }.verify();
        refused(id, "late", &late, &[Cause::CertificateValidity]);
        let early = Case { at: Timestamp::from_unix_secs(1_600_000_000), ..case.clone() }.verify();
        refused(id, "early", &early, &[Cause::CertificateValidity]);
        let test_root = std::fs::read(packaged().0.join("nitro/synthetic/base/test-root.der")).unwrap();
        let other = if id.contains("synthetic") { Roots::vendor() } else { Roots::only([test_root]).unwrap() };
        let untrusted = Case { roots: other, ..case.clone() }.verify();
        refused(id, "other root", &untrusted, &[Cause::ChainUntrusted]);
        let nonce = judge(case, Expected::Nonce(&[1; 33]));
        refused(id, "other nonce", &nonce, &[Cause::BindingNonce]);
        assert!(nonce.authentic, "{id}");
        refused(id, "other user data", &judge(case, Expected::ReportData(&[1; 64])), &[Cause::BindingReportData]);
    }
}

#[test]
fn what_nitro_documents_sign_of_each_other_does_not_fit() {
    let cases = accepted(Tee::Nitro);
    let signature = |case: &Case| {
        let document = case.part.item("document.cose").unwrap();
        document[document.len() - 96..].to_vec()
    };
    for ((id, case), (other_id, other)) in cases.iter().zip(cases.iter().cycle().skip(1)) {
        let foreign = signature(other);
        // The synthetic ones have one key and one content.
        if foreign != signature(case) && !(id.contains("synthetic") && other_id.contains("synthetic")) {
            let swapped = case.with("document.cose", |bytes| {
                let start = bytes.len() - 96;
                bytes[start..].copy_from_slice(&foreign);
            });
            refused(id, "swapped signature", &swapped.verify(), &[Cause::SignatureInvalid]);
        }
    }
}

#[test]
fn a_cca_token_is_refused_altered_cut_lengthened_and_elsewhere() {
    let cases = accepted(Tee::Cca);
    flipped_bits_are_refused(&cases, "token.cbor");
    for (id, case) in &cases {
        let token = case.part.item("token.cbor").unwrap();
        for length in (0..token.len()).step_by(31) {
            let short = case.with("token.cbor", |bytes| bytes.truncate(length)).verify();
            refused(id, "cut", &short, &[Cause::FormatMalformed]);
        }
        let long = case.with("token.cbor", |bytes| bytes.push(0)).verify();
        refused(id, "longer", &long, &[Cause::FormatMalformed]);
        let signature = case.with("token.cbor", |bytes| *bytes.last_mut().unwrap() ^= 1).verify();
        refused(id, "signature", &signature, &[Cause::SignatureInvalid]);
        let untrusted = Case { roots: Roots::vendor(), ..case.clone() }.verify();
        refused(id, "no anchor", &untrusted, &[Cause::ChainUntrusted]);
        let nonce = judge(case, Expected::Nonce(&[1; 64]));
        refused(id, "other nonce", &nonce, &[Cause::BindingNonce]);
        assert!(nonce.authentic, "{id}");
        refused(id, "other challenge", &judge(case, Expected::ReportData(&[1; 64])), &[Cause::BindingReportData]);
    }
}

#[test]
fn a_gpus_report_is_refused_altered_cut_lengthened_early_and_elsewhere() {
    let cases = accepted(Tee::NvidiaGpu);
    flipped_bits_are_refused(&cases, "report.bin");
    for (id, case) in &cases {
        let length = case.part.item("report.bin").unwrap().len();
        for length in (0..length).step_by(31) {
            let short = case.with("report.bin", |bytes| bytes.truncate(length)).verify();
            refused(id, "cut", &short, &[Cause::FormatLength, Cause::FormatMalformed, Cause::SignatureInvalid]);
        }
        let long = case.with("report.bin", |bytes| bytes.push(0)).verify();
        refused(id, "longer", &long, &[Cause::FormatLength]);
        let signature = case.with("report.bin", |bytes| *bytes.last_mut().unwrap() ^= 1).verify();
        refused(id, "signature", &signature, &[Cause::SignatureInvalid]);
        let early = Case { at: Timestamp::from_unix_secs(1_600_000_000), ..case.clone() }.verify();
        refused(id, "early", &early, &[Cause::CertificateValidity]);
        let test_root = std::fs::read(packaged().0.join("nitro/synthetic/base/test-root.der")).unwrap();
        let untrusted = Case { roots: Roots::only([test_root]).unwrap(), ..case.clone() }.verify();
        refused(id, "other root", &untrusted, &[Cause::ChainUntrusted]);
        let nonce = judge(case, Expected::Nonce(&[1; 32]));
        refused(id, "other nonce", &nonce, &[Cause::BindingNonce]);
        assert!(nonce.authentic, "{id}");
    }
    let foreign = |case: &Case| case.part.item("chain.pem").unwrap().to_vec();
    for ((id, case), (_, other)) in cases.iter().zip(cases.iter().cycle().skip(1)) {
        let chain = foreign(other);
        if chain != foreign(case) {
            let swapped = case.with("chain.pem", |bytes| *bytes = chain).verify();
            refused(id, "another GPU's chain", &swapped, &[Cause::SignatureInvalid]);
        }
    }
}

type Decoder = fn(&[u8]) -> usize;

/// The decoders with the packaged files that each of them reads as exactly one thing.
const DECODERS: [(Decoder, &str); 6] = [
    (nitro::fuzz_decode, "nitro/prod-2025-public-key/document.cose"),
    (azure::fuzz_decode, "az-vtpm/az-cvm-vtpm/hcl-report-tdx.bin"),
    (azure::fuzz_decode, "az-vtpm/az-cvm-vtpm/var-data.bin"),
    (cca::fuzz_decode, "cca/token-02/token.cbor"),
    (cca::fuzz_decode, "cca/token-02/trust-anchor.json"),
    (nvidia::fuzz_decode, "nvidia-gpu/hopper-sample/report.bin"),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn decoders_take_any_bytes_and_any_mutation(
        which in 0..DECODERS.len(),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
        bytes in vec(any::<u8>(), 0..2000),
    ) {
        let (decode, file) = DECODERS[which];
        let mut genuine = std::fs::read(packaged().0.join(file)).unwrap();
        prop_assert_eq!(decode(&genuine), 1);
        for (at, byte) in flips {
            let at = at.index(genuine.len());
            genuine[at] = byte;
        }
        decode(&genuine);
        genuine.truncate(cut.index(genuine.len()));
        decode(&genuine);
        prop_assert_eq!(decode(&bytes), 0);
    }
}
