//! A platform that is known gets the answers that a new one gets, whatever has changed since.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod common;

use std::time::Duration;

use burgrave_types::Tee;
use burgrave_verifier::{Cause, Roots, Verdict, Verification};
use common::{Case, packaged};

fn row(name: &str) -> Case {
    let (folder, rows) = packaged();
    rows.iter().find(|row| row.id == format!("snp/{name}")).unwrap().case(&folder)
}

/// The case, judged with and without memory of the platform; both answers are one.
#[track_caller]
fn judged(case: &Case) -> Verification {
    let fresh = Case { roots: case.roots.forgetting(), ..case.clone() }.verify();
    let known = case.verify();
    assert_eq!(known, fresh);
    known
}

/// A case whose platform is known, since its evidence was accepted.
#[track_caller]
fn known(name: &str) -> Case {
    let mut case = row(name);
    case.roots = case.roots.forgetting();
    assert_eq!(case.verify().verdict, Verdict::Accept, "{name}");
    case
}

#[test]
fn every_snp_row_gets_the_same_answer_when_its_platform_is_known() {
    let (folder, rows) = packaged();
    let cases: Vec<_> = rows.iter().filter_map(|row| row.case_or_none(&folder)).collect();
    for case in cases.iter().filter(|case| case.part.tee == Tee::Snp) {
        judged(case);
        judged(case);
    }
}

#[test]
fn a_known_platform_is_refused_for_what_changed() {
    let case = known("milan-v2-virtee");
    let unsigned = case.with("report.bin", |bytes| bytes[0x2a0] ^= 1);
    assert_eq!(judged(&unsigned).cause, Some(Cause::SignatureInvalid));
    let altered = case.with("report.bin", |bytes| bytes[0x90] ^= 1);
    assert_eq!(judged(&altered).cause, Some(Cause::SignatureInvalid));
    let end = case.verify().valid_until.unwrap();
    let late = Case { at: end + Duration::from_millis(1000), ..case.clone() };
    assert_eq!(judged(&late).cause, Some(Cause::CertificateValidity));
    let other_certificate = case.with("vcek.der", |bytes| *bytes.last_mut().unwrap() ^= 1);
    assert_eq!(judged(&other_certificate).cause, Some(Cause::ChainSignature));
    let mut strict = case.clone();
    strict.profile.snp.require_crl = true;
    assert_eq!(judged(&strict).cause, Some(Cause::CollateralValidity));
}

#[test]
fn a_known_platform_counts_only_under_the_roots_and_certificates_that_are_at_hand() {
    let case = known("synthetic/base");
    // Without its ASK there is no way up any more.
    let mut alone = case.clone();
    alone.part.items.remove("ask.der");
    assert_eq!(judged(&alone).cause, Some(Cause::ChainUntrusted));
    let beside = Case { roots: Roots::vendor(), ..case.clone() };
    assert_eq!(judged(&beside).verdict, Verdict::Reject);
    assert_eq!(judged(&case).verdict, Verdict::Accept);
}

#[test]
fn a_revocation_list_reaches_a_platform_that_was_known_before_it() {
    let mut case = known("synthetic/base");
    let list = row("synthetic/crl-revokes-ask").part.items["crl.der"].clone();
    case.endorsements.add(&list);
    let revoked = judged(&case);
    assert_eq!((revoked.cause, revoked.authentic), (Some(Cause::CertificateRevoked), false));
    // The list is known now, and still says so.
    assert_eq!(case.verify(), revoked);

    let mut case = known("synthetic/base");
    let mut forged = list;
    *forged.last_mut().unwrap() ^= 1;
    case.endorsements.add(&forged);
    assert_eq!(judged(&case).cause, Some(Cause::CrlSignature));
    assert_eq!(judged(&case).cause, Some(Cause::CrlSignature));
}

#[test]
fn a_known_list_counts_no_longer_than_it_says() {
    let case = known("synthetic/crl-clean");
    let end = case.verify().valid_until.unwrap();
    let late = Case { at: end + Duration::from_millis(1000), ..case };
    assert_eq!(judged(&late).cause, Some(Cause::CrlValidity));
}
