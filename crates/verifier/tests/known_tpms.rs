//! A TPM that is known gets the answers that a new one gets, whatever has changed since.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod common;

use std::time::Duration;

use burgrave_made::tpm::{
    NONCE, Pcrs, RESTRICTED_DECRYPT, RESTRICTED_SIGNING, Tpm, ek_certificate, key_certificate, maker, public,
};
use burgrave_types::{Tee, Timestamp};
use burgrave_verifier::tpm::{AkProof, Public, ek_digest};
use burgrave_verifier::{Cause, Endorsements, Profile, Roots, TpmTrust, Verdict, Verification};
use common::{Case, packaged};
use rcgen::{KeyUsagePurpose, date_time_ymd};

const AT: &str = "2026-01-01T00:00:00Z";

/// The case, judged with and without memory of the TPM; both answers are one.
#[track_caller]
fn judged(case: &Case) -> Verification {
    let fresh = Case { roots: case.roots.forgetting(), ..case.clone() }.verify();
    let known = case.verify();
    assert_eq!(known, fresh);
    assert_eq!(serde_json::to_value(&known).unwrap(), serde_json::to_value(&fresh).unwrap());
    known
}

fn case(tpm: &Tpm) -> Case {
    Case {
        part: tpm.part(),
        endorsements: tpm.endorsements.clone(),
        roots: Roots::only([tpm.maker.der()]).unwrap(),
        profile: tpm.profile.clone(),
        nonce: Some(NONCE.to_vec()),
        at: AT.parse().unwrap(),
    }
}

/// A case whose TPM is known, since its evidence was accepted.
#[track_caller]
fn known(tpm: &Tpm) -> Case {
    let case = case(tpm);
    assert_eq!(judged(&case).verdict, Verdict::Accept);
    assert_eq!(judged(&case).verdict, Verdict::Accept);
    case
}

fn genuine() -> Tpm {
    Tpm::new().with_ek(&ek_certificate()).quoted("", 3, 0x000b)
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn every_tpm_row_gets_the_same_answer_when_its_tpm_is_known() {
    let (folder, rows) = packaged();
    let cases: Vec<_> = rows.iter().filter_map(|row| row.case_or_none(&folder)).collect();
    for case in cases.iter().filter(|case| case.part.tee == Tee::Tpm) {
        for _ in 0..3 {
            judged(case);
        }
    }
}

#[test]
fn a_known_tpm_is_refused_for_what_changed_in_its_quote() {
    let case = known(&genuine());
    let flip = |name: &str, at: usize| case.with(name, |bytes| bytes[at] ^= 1);
    let last = case.part.items["quote.sig"].len() - 1;
    assert_eq!(judged(&flip("quote.sig", last)).cause, Some(Cause::SignatureInvalid));
    // The TPM's clock, which nothing but the signature covers.
    assert_eq!(judged(&flip("quote.msg", 80)).cause, Some(Cause::SignatureInvalid));
    let replayed = Case { nonce: Some(vec![8; 32]), ..case.clone() };
    assert_eq!(judged(&replayed).cause, Some(Cause::BindingNonce));
    assert_eq!(judged(&case).verdict, Verdict::Accept);
}

#[test]
fn other_values_are_judged_anew() {
    let tpm = genuine();
    let case = known(&tpm);
    let other = |bytes: &mut Vec<u8>| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        *bytes = text.replacen("07", "08", 1).into_bytes();
    };
    assert_eq!(judged(&case.with("pcrs.json", other)).cause, Some(Cause::PcrDigest));
    assert_eq!(judged(&case.with("pcrs.json", Vec::clear)).cause, Some(Cause::FormatMalformed));
    let mut demanding = case.clone();
    demanding.profile.tpm.pcrs = [7].into();
    assert_eq!(judged(&demanding).cause, Some(Cause::PcrSelection));

    // The machine went on: other values, quoted as they are.
    let banks = |value| [(0x0b, "sha256", Pcrs::from([(7, vec![value; 32]), (10, vec![1; 32])]))];
    let mut tpm = tpm;
    for value in [1, 2, 1] {
        tpm = tpm.quoted_banks("", 3, 0x000b, &banks(value));
        let later = Case { part: tpm.part(), ..case.clone() };
        for _ in 0..2 {
            let verification = judged(&later);
            assert_eq!(verification.verdict, Verdict::Accept);
            assert_eq!(verification.claims.unwrap().registers["pcr7"].as_bytes(), [value; 32]);
        }
    }
    // A second quote beside the first, and away again.
    let both = Case { part: tpm.quoted("-again", 3, 0x000b).part(), ..case.clone() };
    for case in [&both, &both, &case, &both] {
        assert_eq!(judged(case).verdict, Verdict::Accept);
    }
}

#[test]
fn a_known_tpm_is_valid_no_longer_than_its_certificates() {
    let mut certificate = ek_certificate();
    (certificate.not_before, certificate.not_after) = (date_time_ymd(2025, 1, 1), date_time_ymd(2027, 1, 1));
    let case = known(&Tpm::new().with_ek(&certificate).quoted("", 3, 0x000b).with_crl(41, 2030));
    let ends = ["2020-01-01T00:00:00Z", "2025-01-01T00:00:00Z", "2025-06-01T00:00:00Z", "2027-01-01T00:00:00Z"];
    for end in ends.into_iter().chain(["2030-01-01T00:00:00Z", "2040-01-01T00:00:00Z"]) {
        let near = [-1000, -1, 0, 1, 999, 1000, 1001].map(|millis: i64| {
            let away = Duration::from_millis(millis.unsigned_abs());
            if millis < 0 { at(end) - away } else { at(end) + away }
        });
        for at in near {
            judged(&Case { at, ..case.clone() });
        }
    }
    let late = Case { at: at("2027-01-01T00:00:01Z"), ..case.clone() };
    assert_eq!(judged(&late).cause, Some(Cause::CertificateValidity));
    assert_eq!(judged(&case).verdict, Verdict::Accept);
}

#[test]
fn a_revocation_list_reaches_a_tpm_that_was_known_before_it() {
    let tpm = genuine();
    let case = known(&tpm);
    let with_list = tpm.with_crl(42, 2027);
    let mut endorsed = case.clone();
    assert!(endorsed.endorsements.add(&with_list.part().items["maker.crl"]));
    assert_eq!(judged(&endorsed).cause, Some(Cause::CertificateRevoked));
    let beside = Case { part: with_list.part(), ..case.clone() };
    assert_eq!(judged(&beside).cause, Some(Cause::CertificateRevoked));
    assert_eq!(judged(&case).verdict, Verdict::Accept);
}

#[test]
fn a_known_tpm_counts_only_under_the_roots_and_certificates_that_are_at_hand() {
    let tpm = genuine();
    let case = known(&tpm);
    let mut alone = case.clone();
    alone.part.items.remove("ekcert.der");
    assert_eq!(judged(&alone).cause, Some(Cause::ChainUntrusted));
    // The certificate comes from the caller instead.
    let mut endorsed = alone.clone();
    assert!(endorsed.endorsements.add(&case.part.items["ekcert.der"]));
    for _ in 0..2 {
        assert_eq!(judged(&endorsed).verdict, Verdict::Accept);
    }
    assert_eq!(judged(&alone).cause, Some(Cause::ChainUntrusted));
    // Roots that were added to share the memory of what is known.
    let more = Case { roots: case.roots.clone().with([maker().der()]).unwrap(), ..case.clone() };
    for case in [&more, &case, &more] {
        assert_eq!(judged(case).verdict, Verdict::Accept);
    }
    // What was found under the maker's root is nothing without it, although the memory is one.
    let without = Case { roots: Roots::only([maker().der()]).unwrap(), ..case };
    let with = Case { roots: without.roots.clone().with([tpm.maker.der()]).unwrap(), ..without.clone() };
    for (case, verdict) in [(&with, Verdict::Accept), (&without, Verdict::Reject), (&with, Verdict::Accept)] {
        assert_eq!(judged(case).verdict, verdict);
    }
}

#[test]
fn a_known_tpm_is_asked_for_its_proof_and_its_place_on_the_list_each_time() {
    let mut case = known(&genuine());
    let (ak, ek) = (case.part.items["ak.pub"].clone(), case.part.items["ek.pub"].clone());
    let (ak_name, digest) = (Public::read(&ak).unwrap().name(), ek_digest(&ek));
    let activated = |ak_name: &[u8], ek_digest| AkProof::Activated { ak_name: ak_name.to_vec(), ek_digest };
    for (proof, cause) in [
        (activated(&ak_name, digest), None),
        (activated(&ak_name, [0; 32]), Some(Cause::AkUnbound)),
        (activated(&digest, digest), Some(Cause::AkUnbound)),
        (AkProof::None, Some(Cause::AkUnbound)),
        (AkProof::Pending, None),
        (AkProof::Offline, None),
    ] {
        case.endorsements.ak_proof = proof;
        assert_eq!(judged(&case).cause, cause);
    }
    case.endorsements.ak_proof = activated(&ak_name, digest);
    for (platform, cause) in [(digest.to_vec(), None), (vec![0; 32], Some(Cause::PlatformUnlisted))] {
        case.endorsements.platforms = vec![platform];
        for trust in [TpmTrust::Certificate, TpmTrust::Listed] {
            case.profile =
                Profile { tpm: burgrave_verifier::TpmProfile { trust, ..Default::default() }, ..Profile::default() };
            assert_eq!(judged(&case).cause, cause);
        }
    }
}

#[test]
fn keys_of_another_tpm_do_not_stand_beside_those_that_are_known() {
    let tpm = genuine();
    let case = known(&tpm);
    let other = genuine();
    let replaced = |name: &str, bytes: Vec<u8>| case.with(name, |item| *item = bytes);
    assert_eq!(judged(&replaced("ak.pub", public(&other.ak, RESTRICTED_SIGNING))).cause, Some(Cause::SignatureInvalid));
    assert_eq!(judged(&replaced("ek.pub", public(&other.ek, RESTRICTED_DECRYPT))).cause, Some(Cause::ChainUntrusted));
    // The same key under other attributes.
    assert_eq!(judged(&replaced("ak.pub", public(&tpm.ak, RESTRICTED_SIGNING & !2))).cause, Some(Cause::AkAttributes));
    assert_eq!(
        judged(&replaced("ek.pub", public(&tpm.ek, RESTRICTED_DECRYPT | 1 << 18))).cause,
        Some(Cause::AkAttributes)
    );
    let mut without = case.clone();
    without.part.items.remove("ek.pub");
    assert_eq!(judged(&without).cause, Some(Cause::ChainUntrusted));
}

#[test]
fn an_attestation_key_with_a_certificate_is_known_too() {
    let certificate = key_certificate(KeyUsagePurpose::DigitalSignature, 3);
    let tpm = Tpm::new().with_ak_certificate(&certificate).quoted("", 3, 0x000b);
    let mut case = known(&tpm);
    case.endorsements.ak_proof = AkProof::None;
    assert_eq!(judged(&case).verdict, Verdict::Accept);
    let both = Case { part: tpm.with_ek(&ek_certificate()).part(), ..case.clone() };
    assert_eq!(judged(&both).cause, Some(Cause::AkUnbound));
    let offline = Case { endorsements: Endorsements::default(), ..both };
    for _ in 0..2 {
        assert_eq!(judged(&offline).verdict, Verdict::Accept);
    }
}
