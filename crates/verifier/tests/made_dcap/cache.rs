//! What is kept between verifications changes the cost of an answer and nothing in it.

use burgrave_types::Tee;
use burgrave_verifier::dcap::Collateral;
use burgrave_verifier::{Cause, Roots};
use serde_json::json;

use crate::{accepted, cached, every_layout, refused};
use burgrave_made::intel::{Case, KEYS, Made, Revoked, sgx, td};

#[test]
fn a_cache_changes_the_cost_of_an_answer_and_nothing_in_it() {
    for (what, made) in every_layout() {
        let (cache, endorsements) = cached();
        let mut case = made.case();
        let cold = case.verify();
        case.endorsements = endorsements;
        assert_eq!(case.verify(), cold, "{what}, learning");
        assert_eq!(cache.ends().len(), 1, "{what}");
        case.part.items.remove("collateral.json");
        assert_eq!(case.verify(), cold, "{what}, warm");
        let again = made.with(|made| made.header[30] = 1);
        case.part.items.insert("quote.bin".to_owned(), again.quote());
        accepted(&what, &case.verify());
        let debug = made.with(|made| made.body[if made.tee == Tee::Sgx { 48 } else { 120 }] |= 0b11);
        case.part.items.insert("quote.bin".to_owned(), debug.quote());
        refused(&what, &case.verify(), Cause::Debug, true);
    }
}

#[test]
fn a_known_quoting_enclave_is_taken_only_byte_for_byte() {
    for (what, made) in every_layout() {
        let mut case = made.case();
        case.endorsements = cached().1;
        accepted(&what, &case.verify());
        // Another report of the same enclave is verified for itself, and the one before again after it.
        let renewed = made.with(|made| made.authentication_data = vec![7; 32]);
        let forged = made.with(|made| made.qe_report_data = Some(vec![0; 32]));
        for _ in 0..2 {
            case.part.items.insert("quote.bin".to_owned(), renewed.quote());
            accepted(&what, &case.verify());
            case.part.items.insert("quote.bin".to_owned(), forged.quote());
            refused(&what, &case.verify(), Cause::QeBinding, false);
            case.part.items.insert("quote.bin".to_owned(), made.quote());
            accepted(&what, &case.verify());
        }
    }
}

#[test]
fn a_cached_answer_outlives_neither_its_collateral_nor_its_root() {
    let made = td(5, 3);
    let mut case = made.case();
    case.endorsements = cached().1;
    accepted("learning", &case.verify());
    case.part.items.remove("collateral.json");
    let end = case.verify().valid_until.unwrap();
    let late = Case { at: end, ..case.clone() };
    refused("at its end", &late.verify(), Cause::CollateralValidity, false);
    let other = Case { roots: Roots::only([KEYS.other_root.der()]).unwrap(), ..case.clone() };
    refused("another root", &other.verify(), Cause::CollateralValidity, false);
}

#[test]
fn a_platform_that_is_revoked_later_is_refused_though_it_was_known() {
    let made = td(5, 3);
    let mut case = made.case();
    let (cache, endorsements) = cached();
    case.endorsements = endorsements;
    accepted("learning", &case.verify());
    case.part.items.remove("collateral.json");
    let later = made.with(|made| (made.revoked, made.crl_number) = (Revoked::Pck, 301));
    let later = Collateral::parse(later.collateral().to_string().as_bytes()).unwrap();
    cache.add(later.verify(&case.roots).unwrap()).unwrap();
    refused("revoked", &case.verify(), Cause::CertificateRevoked, false);
}

#[test]
fn collateral_never_goes_back() {
    let made = sgx();
    let roots = made.case().roots;
    let verified =
        |made: &Made| Collateral::parse(made.collateral().to_string().as_bytes()).unwrap().verify(&roots).unwrap();
    let (cache, endorsements) = cached();
    cache.add(verified(&made)).unwrap();
    cache.add(verified(&made.with(|made| made.crl_number = 301))).unwrap();
    let older: [fn(&mut Made); 3] = [
        |made| made.crl_number = 255,
        |made| made.tcb_info["tcbEvaluationDataNumber"] = 17.into(),
        |made| made.qe_identity["tcbEvaluationDataNumber"] = 17.into(),
    ];
    for change in older {
        let older = made.with(|made| made.crl_number = 301).with(change);
        let error = cache.add(verified(&older)).unwrap_err();
        assert!(error.to_string().contains("older"), "{error}");
    }
    let id = verified(&made).id();
    assert_eq!(cache.get(id).unwrap().numbers().tcb_evaluation, 18);
    // Held collateral that ended is not replaced by older collateral that comes with the evidence and has not.
    let until = |made: &mut Made| made.tcb_info["nextUpdate"] = json!("2026-06-01T00:00:00Z");
    let lasting = made.with(until).with(|made| made.qe_identity["nextUpdate"] = json!("2026-06-01T00:00:00Z"));
    let mut case = lasting.case();
    case.endorsements = endorsements;
    case.at = "2026-05-01T00:00:00Z".parse().unwrap();
    refused("older", &case.verify(), Cause::CollateralValidity, false);
    let newer = lasting.with(|made| made.crl_number = 301);
    let mut case = Case { part: newer.case().part, ..case };
    accepted("newer", &case.verify());
    case.part.items.remove("collateral.json");
    accepted("held now", &case.verify());
}
