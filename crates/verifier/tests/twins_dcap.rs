//! Failing twins of every accepted TDX and SGX vector: one circumstance or one byte changed, and it is refused for that reason;
//! and decoders that take whatever bytes come.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod common;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use burgrave_types::claims::TcbStatus;
use burgrave_types::{Tee, Timestamp};
use burgrave_verifier::dcap::{Cache, fuzz_decode};
use burgrave_verifier::{Cause, Expected, Input, Roots, Verdict, Verification, verify};
use common::{Case, Row, collection, packaged};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

const QUOTE: &str = "quote.bin";
const COLLATERAL: &str = "collateral.json";

fn every() -> Vec<(Row, Case)> {
    let mut cases = Vec::new();
    for (folder, rows) in std::iter::once(packaged()).chain(collection()) {
        let judged = rows.iter().filter_map(|row| Some((row.clone(), row.case_or_none(&folder)?)));
        cases.extend(judged.filter(|(_, case)| matches!(case.part.tee, Tee::Tdx | Tee::Sgx)));
    }
    cases
}

/// Accepted as they are, or by a profile that takes the platform's status: no genuine SGX platform is up to date.
fn accepted() -> Vec<(String, Case)> {
    let mut cases = Vec::new();
    for (row, mut case) in every() {
        if case.part.tee == Tee::Sgx && row.authentic() {
            case.profile.tcb_status = TcbStatus::ALL.iter().copied().collect();
            case.profile.allow_debug = true;
        } else if row.expect() != "accept" {
            continue;
        }
        cases.push((row.id, case));
    }
    assert!(cases.len() >= 4);
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

/// Where the body, the attestation key's signature, the quoting enclave's report with signature, and the certificates stand.
struct Layout {
    body: Range<usize>,
    signature: Range<usize>,
    qe: Range<usize>,
    certificates: usize,
}

fn layout(quote: &[u8]) -> Layout {
    let body = match (quote[0], quote[4]) {
        (5, _) => 54..54 + usize::from(u16::from_le_bytes([quote[50], quote[51]])),
        (_, 0) => 48..48 + 384,
        _ => 48..48 + 584,
    };
    let signature = body.end + 4..body.end + 4 + 64;
    let qe = signature.end + 64 + if quote[0] == 3 { 0 } else { 6 };
    let certificates = quote.windows(10).position(|window| window == b"-----BEGIN").unwrap();
    Layout { body, signature, qe: qe..qe + 384 + 64, certificates }
}

#[test]
fn status_and_advisories_are_those_of_two_other_evaluators() {
    let mut compared = 0;
    for (row, case) in every().into_iter().filter(|(row, _)| row.authentic()) {
        let (stated, verification) = (row.claims(), case.verify());
        if let Some(status) = stated["tcb_status"].as_str() {
            assert_eq!(verification.raw["tcb_status"], status, "{}", row.id);
            let advisories: BTreeSet<_> = verification.claims.unwrap().tcb.advisories.into_iter().collect();
            let stated = stated["advisories"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned());
            // The manifest shows the first few of a long list.
            let (shown, more): (BTreeSet<_>, BTreeSet<_>) = stated.partition(|id| id != "...");
            assert!(advisories.is_superset(&shown), "{}: {advisories:?}", row.id);
            assert!(!more.is_empty() || advisories == shown, "{}: {advisories:?}", row.id);
            compared += 1;
        }
    }
    assert!(compared >= 3);
}

#[test]
fn a_flipped_bit_in_any_signed_region_is_refused() {
    for (which, (id, case)) in accepted().into_iter().enumerate() {
        let quote = case.part.items[QUOTE].clone();
        let layout = layout(&quote);
        let cause = |at: usize| match at {
            at if layout.body.contains(&at) => &[Cause::SignatureInvalid, Cause::ModuleIdentity][..],
            at if layout.signature.contains(&at) => &[Cause::SignatureInvalid],
            at if layout.qe.contains(&at) => &[Cause::SignatureInvalid, Cause::QeIdentity, Cause::QeBinding],
            _ => &[],
        };
        // A collection's worth of quotes, each with collateral that is verified once.
        let mut warm = case.clone();
        warm.endorsements.dcap = Some(Arc::new(Cache::new()));
        warm.profile.tcb_status = TcbStatus::ALL.iter().copied().collect();
        assert_eq!(warm.verify().verdict, Verdict::Accept, "{id}");
        warm.part.items.remove(COLLATERAL);
        for at in (0..layout.certificates).step_by(if which == 0 { 1 } else { 11 }) {
            let altered = warm.with(QUOTE, |bytes| bytes[at] ^= 1 << (at % 8)).verify();
            assert_eq!((altered.verdict, altered.authentic), (Verdict::Reject, false), "{id}, byte {at:#x}");
            let refusal = altered.cause.unwrap();
            let fits = cause(at).is_empty() || cause(at).contains(&refusal) || refusal.is_policy();
            assert!(fits, "{id}, byte {at:#x}: {refusal}");
        }
    }
}

#[test]
fn altered_members_of_the_collateral_are_refused_each_with_its_cause() {
    use Cause::{CertificateKind, ChainSignature, ChainUntrusted, CollateralSignature, CrlSignature, FormatMalformed};
    let digit = |text: &mut String, at: usize| {
        let old = text.as_bytes()[at];
        text.replace_range(at..=at, if old == b'0' { "1" } else { "0" });
    };
    for (id, case) in accepted() {
        let with = |member: &str, change: &dyn Fn(&mut String)| {
            case.with(COLLATERAL, |bytes| {
                let mut json: Value = serde_json::from_slice(bytes).unwrap();
                let mut text = json[member].as_str().unwrap().to_owned();
                change(&mut text);
                json[member] = text.into();
                *bytes = json.to_string().into_bytes();
            })
            .verify()
        };
        for member in ["tcb_info_signature", "qe_identity_signature"] {
            for at in [0, 63, 127] {
                refused(&id, member, &with(member, &|text| digit(text, at)), &[CollateralSignature]);
            }
            refused(&id, member, &with(member, &|text| *text = "0".repeat(128)), &[CollateralSignature]);
            refused(&id, member, &with(member, &|text| text.truncate(126)), &[FormatMalformed]);
        }
        for member in ["tcb_info", "qe_identity"] {
            let spaced = with(member, &|text| text.push(' '));
            refused(&id, member, &spaced, &[CollateralSignature]);
            let newer = with(member, &|text| *text = text.replace("\"nextUpdate\":\"20", "\"nextUpdate\":\"21"));
            refused(&id, member, &newer, &[CollateralSignature]);
        }
        for member in ["root_ca_crl", "pck_crl"] {
            let forged = with(member, &|text| {
                let last = text.len() - 1;
                digit(text, last);
            });
            refused(&id, member, &forged, &[CrlSignature]);
            refused(&id, member, &with(member, &|text| *text += "00"), &[FormatMalformed]);
            refused(&id, member, &with(member, &String::clear), &[FormatMalformed]);
        }
        for member in ["tcb_info_issuer_chain", "qe_identity_issuer_chain"] {
            let json: Value = serde_json::from_slice(&case.part.items[COLLATERAL]).unwrap();
            let authority = json["pck_crl_issuer_chain"].as_str().unwrap();
            let swapped = with(member, &|text| authority.clone_into(text));
            refused(&id, member, &swapped, &[CertificateKind]);
            refused(&id, member, &with(member, &String::clear), &[FormatMalformed]);
        }
        let forged = with("tcb_info_issuer_chain", &|text| {
            // Within the signature of the first certificate: its last line but one.
            let end = text.find("-----END").unwrap();
            let at = end - 40;
            text.replace_range(at..=at, if text.as_bytes()[at] == b'A' { "B" } else { "A" });
        });
        refused(&id, "signer", &forged, &[ChainUntrusted, ChainSignature, FormatMalformed]);
    }
}

#[test]
fn evidence_out_of_its_time_or_under_another_root_is_refused() {
    for (id, case) in accepted() {
        let end = case.verify().valid_until.unwrap();
        let before = Case { at: Timestamp::from_unix_secs(end.unix_secs() - 1), ..case.clone() }.verify();
        assert_eq!(before.verdict, Verdict::Accept, "{id}");
        let validity = [Cause::CertificateValidity, Cause::CrlValidity, Cause::CollateralValidity];
        let late = Case { at: end + Duration::from_secs(1), ..case.clone() }.verify();
        refused(&id, "late", &late, &validity);
        let early = Case { at: Timestamp::from_unix_secs(1_000_000_000), ..case.clone() }.verify();
        refused(&id, "early", &early, &validity);
        let other = match id.contains("synthetic") {
            true => Roots::vendor(),
            false => {
                Roots::only([std::fs::read(packaged().0.join("tdx/synthetic/base/test-root.der")).unwrap()]).unwrap()
            }
        };
        let untrusted = Case { roots: other, ..case.clone() }.verify();
        refused(&id, "other root", &untrusted, &[Cause::ChainUntrusted]);
    }
}

#[test]
fn a_quote_with_anothers_collateral_or_certificates_is_refused() {
    let cases = accepted();
    for (id, case) in &cases {
        for (other_id, other) in &cases {
            let (quote, collateral) = (&other.part.items[QUOTE], &other.part.items[COLLATERAL]);
            if case.part.items[COLLATERAL] != *collateral
                && case.roots.amd_anchors().count() == other.roots.amd_anchors().count()
            {
                let swapped = case.with(COLLATERAL, |bytes| bytes.clone_from(collateral)).verify();
                // Collateral for the same kind of platform fits as well, while it is valid.
                let fits = swapped.verdict == Verdict::Accept
                    || swapped.cause.is_some_and(|cause| {
                        cause.is_policy()
                            || matches!(
                                cause,
                                Cause::CollateralMismatch
                                    | Cause::CollateralValidity
                                    | Cause::CrlValidity
                                    | Cause::CertificateValidity
                                    | Cause::ChainUntrusted
                                    | Cause::QeIdentity
                            )
                    });
                assert!(fits, "{id} with the collateral of {other_id}: {:?}", swapped.cause);
            }
            let (own, theirs) = (layout(&case.part.items[QUOTE]), layout(quote));
            let mine = &case.part.items[QUOTE];
            if own.body != theirs.body || mine[own.certificates..] == quote[theirs.certificates..] {
                continue;
            }
            // The whole certification of the other platform under this one's body, and only its quoting enclave.
            let body = [&mine[..own.signature.start], &quote[theirs.signature.start..]].concat();
            let foreign = case.with(QUOTE, |bytes| *bytes = body).verify();
            assert_eq!((foreign.verdict, foreign.authentic), (Verdict::Reject, false), "{id} certified by {other_id}");
            let qe =
                case.with(QUOTE, |bytes| bytes[own.qe.clone()].copy_from_slice(&quote[theirs.qe.clone()])).verify();
            let bound = [Cause::QeBinding, Cause::QeIdentity, Cause::SignatureInvalid];
            refused(id, "another quoting enclave", &qe, &bound);
        }
    }
}

#[test]
fn report_data_and_nonce_must_be_exactly_what_was_asked_for() {
    for (id, case) in accepted() {
        let quote = &case.part.items[QUOTE];
        let body = layout(quote).body;
        let at = if quote[4] == 0 { body.start + 320 } else { body.start + 520 };
        let carried = quote[at..at + 64].to_vec();
        assert_eq!(judge(&case, Expected::ReportData(&carried)).verdict, Verdict::Accept, "{id}");
        let mut other = carried.clone();
        other[63] ^= 1;
        let report_data = judge(&case, Expected::ReportData(&other));
        refused(&id, "other report data", &report_data, &[Cause::BindingReportData]);
        assert!(report_data.authentic, "{id}");
        refused(&id, "other nonce", &judge(&case, Expected::Nonce(&other)), &[Cause::BindingNonce]);
        other.push(0);
        refused(&id, "longer", &judge(&case, Expected::ReportData(&other)), &[Cause::BindingReportData]);
    }
}

#[test]
fn quotes_cut_short_are_refused_and_what_follows_them_is_told() {
    for (id, case) in accepted() {
        let length = case.part.items[QUOTE].len();
        let certificates = layout(&case.part.items[QUOTE]).certificates;
        for at in (0..certificates + 1000).step_by(31) {
            refused(&id, "truncated", &case.with(QUOTE, |bytes| bytes.truncate(at)).verify(), &[Cause::FormatLength]);
        }
        let padded = case.with(QUOTE, |bytes| bytes.resize(length + 3000, 0)).verify();
        assert_eq!(padded.verdict, Verdict::Accept, "{id}");
        let noted = case.with(QUOTE, |bytes| bytes.push(1)).verify();
        assert!(noted.verdict == Verdict::Accept && noted.checks.iter().any(|check| !check.passed), "{id}");
        let long = case.with(QUOTE, |bytes| bytes.resize(1 << 20, 0)).verify();
        refused(&id, "a mebibyte", &long, &[Cause::FormatLength]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn decoders_take_any_bytes_and_any_mutation(
        which in any::<prop::sample::Index>(),
        item in prop::sample::select(&[QUOTE, COLLATERAL][..]),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
        bytes in vec(any::<u8>(), 0..2000),
    ) {
        let (folder, rows) = packaged();
        let rows: Vec<_> = rows.iter().filter(|row| ["tdx/synthetic/base", "tdx/v5-td15ex-uptodate", "sgx/v3-00a067-config-sw"].contains(&row.id.as_str())).collect();
        let mut genuine = std::fs::read(folder.join(&which.get(&rows).id).join(item)).unwrap();
        prop_assert_eq!(fuzz_decode(&genuine), 1);
        for (at, byte) in flips {
            let at = at.index(genuine.len());
            genuine[at] = byte;
        }
        fuzz_decode(&genuine);
        genuine.truncate(cut.index(genuine.len()));
        fuzz_decode(&genuine);
        prop_assert_eq!(fuzz_decode(&bytes), 0);
    }
}
