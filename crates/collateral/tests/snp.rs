//! SEV-SNP: certificates of chips, authorities and the root's revocation lists.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod common;

use burgrave_collateral::{Event, Floors, Level, OfferError, Source, Store, Subject, Want};
use burgrave_made::packaged;
use burgrave_types::{EvidencePart, Tee};
use burgrave_verifier::snp::Family;
use burgrave_verifier::{Cause, Profile, Roots, Verdict};
use common::{Ear, Snp, judge, judge_under, level, snp, time};

const OPERATOR: Source = Source::Operator;

fn at() -> burgrave_types::Timestamp {
    time("2026-03-01T00:00:00Z")
}

fn list(name: &str) -> Vec<u8> {
    packaged(&format!("snp/synthetic/{name}/crl.der"))
}

fn strict() -> Profile {
    let mut profile = Profile::default();
    profile.snp.require_crl = true;
    profile
}

fn full(snp: &Snp) -> (std::sync::Arc<Store>, Ear) {
    let ear = Ear::default();
    let store = ear.store(snp.roots.clone(), Floors::default());
    let (offered, errors) = store.offer_all([&snp.vek[..], &snp.ask], &OPERATOR, at());
    assert!(offered.kept.len() == 2 && errors.is_empty(), "{offered:?} {errors:?}");
    (store, ear)
}

#[test]
fn a_report_alone_passes_by_the_certificate_that_is_held() {
    let snp = snp();
    let (store, _) = full(&snp);
    assert_eq!(judge(&store, &snp.report, &snp.roots, at()).verdict, Verdict::Accept);
    let status = store.status(at());
    assert!(status.iter().any(|status| matches!(&status.subject, Subject::Vek { key, .. } if key == "VCEK")));
    assert_eq!(store.floors(), Floors::default(), "certificates have no floor");
}

#[test]
fn a_report_whose_certificate_is_missing_is_refused_and_wanted() {
    let snp = snp();
    let store = Ear::default().store(snp.roots.clone(), Floors::default());
    let refused = judge(&store, &snp.report, &snp.roots, at());
    assert_eq!((refused.verdict, refused.cause), (Verdict::Reject, Some(Cause::ChainUntrusted)));
    let wants = store.wants();
    let [Want::Vek { id, families }] = wants.as_slice() else { panic!("{wants:?}") };
    assert_eq!(
        (id.vlek, families.as_slice()),
        (false, &[Family::Milan, Family::Genoa][..]),
        "version 2 names no family"
    );
    assert_eq!(level(&store.status(at()), &id.subject()), Some(Level::Missing));
    // Another TCB of the same chip is another certificate.
    let (store, _) = full(&snp);
    let mut other = snp.report.clone();
    other.items.get_mut("report.bin").unwrap()[0x180] += 1;
    judge(&store, &other, &snp.roots, at());
    assert!(store.wants().iter().any(|want| matches!(want, Want::Vek { .. })));
}

#[test]
fn junk_that_is_no_report_is_not_wanted() {
    let snp = snp();
    let store = Ear::default().store(snp.roots.clone(), Floors::default());
    for change in [(0usize, 9u8), (0x34, 7), (0x48, 0x1c)] {
        let mut part = snp.report.clone();
        part.items.get_mut("report.bin").unwrap()[change.0] = change.1;
        judge(&store, &part, &snp.roots, at());
    }
    let short = EvidencePart::new(Tee::Snp, [("report.bin", vec![2; 100])]);
    judge(&store, &short, &snp.roots, at());
    assert_eq!(store.wants(), []);
}

#[test]
fn a_certificate_that_the_roots_do_not_vouch_for_is_not_kept() {
    let snp = snp();
    let store = Ear::default().store(Roots::vendor(), Floors::default());
    assert!(matches!(store.offer(&snp.vek, &OPERATOR, at()), Err(OfferError::Unverified { .. })));
    store.offer(&snp.ask, &OPERATOR, at()).unwrap_err();
    let store = Ear::default().store(snp.roots.clone(), Floors::default());
    let text = store.offer(&snp.vek, &OPERATOR, at()).unwrap_err().to_string();
    assert!(text.contains("SEV-Milan"), "the missing authority is named: {text}");
    let expired = packaged("snp/synthetic/vek-expired/vek.der");
    store.offer(&snp.ask, &OPERATOR, at()).unwrap();
    store.offer(&expired, &OPERATOR, at()).unwrap_err();
    store.offer(&packaged("snp/synthetic/vek-wrong-issuer-key/vek.der"), &OPERATOR, at()).unwrap_err();
}

#[test]
fn a_genuine_certificate_needs_nothing_but_the_pinned_roots() {
    let store = Ear::default().store(Roots::vendor(), Floors::default());
    store.offer(&packaged("snp/milan-v2-virtee/vcek.der"), &OPERATOR, at()).unwrap();
    store.offer(&packaged("snp/cert-turin-vcek-only/vcek.der"), &OPERATOR, at()).unwrap();
    let part = EvidencePart::new(Tee::Snp, [("report.bin", packaged("snp/milan-v2-virtee/report.bin"))]);
    assert_eq!(judge(&store, &part, &Roots::vendor(), at()).verdict, Verdict::Accept);
    // The family's list is wanted, though its absence refused nothing.
    assert_eq!(store.wants(), [Want::AmdCrl(Family::Milan)]);
}

#[test]
fn a_list_that_is_held_is_asked_and_one_that_has_ended_refuses() {
    let snp = snp();
    let (store, _) = full(&snp);
    let refused = judge_under(&store, &snp.report, &snp.roots, &strict(), at());
    assert_eq!(refused.cause, Some(Cause::CollateralValidity));
    assert!(store.wants().contains(&Want::AmdCrl(Family::Milan)));
    store.offer(&list("crl-stale"), &OPERATOR, at()).unwrap();
    assert_eq!(
        judge(&store, &snp.report, &snp.roots, at()).cause,
        Some(Cause::CrlValidity),
        "ended is not the same as none"
    );
    let (store, _) = full(&snp);
    store.offer(&list("crl-clean"), &OPERATOR, at()).unwrap();
    assert_eq!(judge_under(&store, &snp.report, &snp.roots, &strict(), at()).verdict, Verdict::Accept);
    assert_eq!(judge(&store, &snp.report, &snp.roots, time("2027-01-01T00:00:00Z")).cause, Some(Cause::CrlValidity));
}

#[test]
fn a_revoked_authority_refuses_and_its_certificates_are_taken_no_more() {
    let snp = snp();
    let (store, _) = full(&snp);
    store.offer(&list("crl-revokes-ask"), &OPERATOR, at()).unwrap();
    assert_eq!(judge(&store, &snp.report, &snp.roots, at()).cause, Some(Cause::CertificateRevoked));
    let fresh = Ear::default().store(snp.roots.clone(), Floors::default());
    fresh.offer(&list("crl-revokes-ask"), &OPERATOR, at()).unwrap();
    let (_, errors) = fresh.offer_all([&snp.ask[..], &snp.vek], &OPERATOR, at());
    assert!(errors.iter().any(|error| error.to_string().contains("certificate.revoked")), "{errors:?}");
}

#[test]
fn a_list_that_another_signed_is_not_kept() {
    let snp = snp();
    let vendor = Ear::default().store(Roots::vendor(), Floors::default());
    vendor.offer(&list("crl-clean"), &OPERATOR, at()).unwrap_err();
    let (store, _) = full(&snp);
    let mut forged = list("crl-clean");
    let last = forged.len() - 1;
    forged[last] ^= 1;
    store.offer(&forged, &OPERATOR, at()).unwrap_err();
    assert_eq!(store.floors(), Floors::default());
}

#[test]
fn a_list_below_the_floor_is_refused_and_left_out_of_evidence() {
    let snp = snp();
    let store = Ear::default().store(snp.roots.clone(), Floors::default());
    store.offer(&list("crl-clean"), &OPERATOR, at()).unwrap();
    // The same floors, of a list a day younger and one number on.
    let text = serde_json::to_string(&store.floors()).unwrap();
    let text = text.replace("\"number\":\"01\"", "\"number\":\"02\"").replace("2026-01-01", "2026-01-02");
    let ear = Ear::default();
    let store = ear.store(snp.roots.clone(), serde_json::from_str(&text).unwrap());
    let error = store.offer(&list("crl-clean"), &OPERATOR, at()).unwrap_err().to_string();
    assert!(error.contains("number 1 of 2026-01-01") && error.contains("number 2 of 2026-01-02"), "{error}");
    assert!(matches!(ear.take().as_slice(), [Event::RolledBack { .. }]));

    let mut part = snp.report.clone();
    let (vek, ask) = (snp.vek.clone(), snp.ask.clone());
    part.items.extend(
        [("vek.der", vek), ("ask.der", ask), ("crl.der", list("crl-clean"))]
            .map(|(name, bytes)| (name.to_owned(), bytes)),
    );
    let fresh = Ear::default().store(snp.roots.clone(), Floors::default());
    assert_eq!(judge_under(&fresh, &part, &snp.roots, &strict(), at()).verdict, Verdict::Accept);
    assert_eq!(store.supply(&part, at()).left_out.len(), 1);
    // Whatever it is called: the verifier goes by what it is.
    for name in ["quote.msg", "quote.bin", "pcrs.json", "hcl-report.bin", "collateral.json"] {
        let mut renamed = part.clone();
        let old = renamed.items.remove("crl.der").unwrap();
        renamed.items.insert(name.to_owned(), old);
        assert_eq!(store.supply(&renamed, at()).left_out.len(), 1, "{name}");
    }
    let refused = judge_under(&store, &part, &snp.roots, &strict(), at());
    assert_eq!(refused.cause, Some(Cause::CollateralValidity), "an old list does not count as one");
}

#[test]
fn a_certificate_that_came_with_accepted_evidence_serves_the_next_report_without_one() {
    let snp = snp();
    let store = Ear::default().store(snp.roots.clone(), Floors::default());
    let mut part = snp.report.clone();
    part.items.extend([("vek.der".to_owned(), snp.vek.clone()), ("ask.der".to_owned(), snp.ask.clone())]);
    assert_eq!(judge(&store, &part, &snp.roots, at()).verdict, Verdict::Accept);
    assert_eq!(judge(&store, &snp.report, &snp.roots, at()).verdict, Verdict::Accept);
    assert!(store.status(at()).iter().any(|status| status.source == Some(Source::Evidence)));
}

#[test]
fn vleks_and_their_authorities_come_from_a_folder() {
    let Some(vectors) = common::collection() else { return };
    let read = |path: &str| std::fs::read(vectors.join(path)).unwrap();
    let store = Ear::default().store(Roots::vendor(), Floors::default());
    let at = time("2025-03-01T00:00:00Z");
    let part = EvidencePart::new(Tee::Snp, [("report.bin", read("snp/milan-v3-vlek-aws-vmpl1/report.bin"))]);
    let lax = Profile { max_vmpl: 1, ..Profile::default() };
    assert_eq!(judge_under(&store, &part, &Roots::vendor(), &lax, at).cause, Some(Cause::ChainUntrusted));
    assert_eq!(store.wants(), [], "nobody gives VLEKs but the cloud");
    let files = [read("snp/milan-v3-vlek-aws-vmpl1/vlek.der"), read("snp/roots/milan-asvk.der")];
    let (offered, errors) = store.offer_all(files.iter().map(Vec::as_slice), &OPERATOR, at);
    assert!(offered.kept.len() == 2 && errors.is_empty(), "{errors:?}");
    assert_eq!(judge_under(&store, &part, &Roots::vendor(), &lax, at).verdict, Verdict::Accept);
    let expired = time("2026-03-01T00:00:00Z");
    assert_eq!(judge_under(&store, &part, &Roots::vendor(), &lax, expired).cause, Some(Cause::CertificateValidity));
}

#[test]
fn turin_chips_are_found_by_their_short_ids() {
    let Some(vectors) = common::collection() else { return };
    let read = |path: &str| std::fs::read(vectors.join(path)).unwrap();
    for row in ["turin-v5-ms", "genoa-v3-ms", "genoa-v5-oak", "milan-v3-oak-a"] {
        let store = Ear::default().store(Roots::vendor(), Floors::default());
        let part = EvidencePart::new(Tee::Snp, [("report.bin", read(&format!("snp/{row}/report.bin")))]);
        judge(&store, &part, &Roots::vendor(), at());
        let wants = store.wants();
        let [Want::Vek { families, .. }] = wants.as_slice() else { panic!("{row}: {wants:?}") };
        assert_eq!(families.len(), 1, "{row}");
        store.offer(&read(&format!("snp/{row}/vcek.der")), &OPERATOR, at()).unwrap();
        assert_eq!(judge(&store, &part, &Roots::vendor(), at()).verdict, Verdict::Accept, "{row}");
    }
}
