//! Mistakes about SGX and TDX.

use std::sync::Arc;

use burgrave_types::claims::TcbStatus;
use burgrave_verifier::dcap::{Cache, Collateral};
use burgrave_verifier::{Cause, Verification};

use super::{each_refused, refused, row, taken};
use burgrave_made::intel::{Made, sgx, td};

fn judged(made: &Made, change: impl FnOnce(&mut Made)) -> Verification {
    made.with(change).case().verify()
}

#[test]
fn a_quoting_enclave_is_held_against_an_identity_that_is_signed() {
    each_refused(&["tdx/synthetic/qeidentity-bad-signature"], &[Cause::CollateralSignature, Cause::QeIdentity]);
    each_refused(&["tdx/synthetic/qeidentity-mrsigner-mismatch"], &[Cause::QeIdentity]);
    each_refused(&["tdx/synthetic/ak-not-bound"], &[Cause::QeBinding]);
    for made in [sgx(), td(5, 3)] {
        refused("debug", &judged(&made, |made| made.qe_report[48] |= 0x02), &[Cause::QeIdentity]);
        refused("MRSIGNER", &judged(&made, |made| made.qe_report[128] ^= 1), &[Cause::QeIdentity]);
        // The vendor of the quoting enclave stands in the header.
        refused("vendor", &judged(&made, |made| made.header[12] ^= 1), &[Cause::FormatAlgorithm]);
    }
}

#[test]
fn a_tcb_status_is_not_dropped_on_the_way_to_the_verdict() {
    each_refused(&["tdx/synthetic/tcb-status-outofdate", "tdx/synthetic/tcb-status-revoked"], &[Cause::TcbStatus]);
    each_refused(&["sgx/v3-00a067-config-sw"], &[Cause::TcbStatus]);
    for (word, status) in [
        ("OutOfDate", TcbStatus::OutOfDate),
        ("SWHardeningNeeded", TcbStatus::HardeningNeeded),
        ("ConfigurationNeeded", TcbStatus::ConfigurationNeeded),
        ("Revoked", TcbStatus::Revoked),
    ] {
        let verification = judged(&td(5, 3), |made| made.tcb_info["tcbLevels"][0]["tcbStatus"] = word.into());
        refused(word, &verification, &[Cause::TcbStatus]);
        assert_eq!(verification.claims.unwrap().tcb.status, status);
    }
}

#[test]
fn the_module_is_intels_and_the_collateral_is_for_this_platform_and_tee() {
    each_refused(&["tdx/synthetic/module-svn-low"], &[Cause::ModuleIdentity]);
    each_refused(&["tdx/synthetic/tcbinfo-wrong-fmspc"], &[Cause::CollateralMismatch]);
    let td = td(5, 3);
    refused("MRSIGNERSEAM", &judged(&td, |made| made.body[64] = 1), &[Cause::ModuleIdentity]);
    refused("SEAMATTRIBUTES", &judged(&td, |made| made.body[112] = 1), &[Cause::ModuleIdentity]);
    refused("SGX TCB info", &judged(&td, |made| made.tcb_info = sgx().tcb_info), &[Cause::CollateralMismatch]);
    refused("SGX identity", &judged(&td, |made| made.qe_identity = sgx().qe_identity), &[Cause::CollateralMismatch]);
}

#[test]
fn a_platform_below_every_level_is_not_up_to_date() {
    each_refused(&["tdx/v5-no-tcb-level", "tdx/v4-tappd-no-tcb-level"], &[Cause::TcbNoLevel]);
    refused(
        "no levels",
        &judged(&sgx(), |made| made.tcb_info["tcbLevels"] = serde_json::json!([])),
        &[Cause::TcbNoLevel, Cause::FormatMalformed],
    );
}

#[test]
fn attributes_that_open_a_trust_domain_or_enclave_are_refused() {
    let td = td(5, 4);
    refused("service TD", &judged(&td, |made| made.body[647] = 1), &[Cause::ServiceTd]);
    for (what, at, value) in [
        ("SEPT_VE_DISABLE off", 123, 0),
        ("PKS", 123, 0x50),
        ("Key Locker", 123, 0x90),
        ("Perfmon", 127, 0x80),
        ("a bit that is not known", 125, 1),
    ] {
        refused(what, &judged(&td, |made| made.body[at] = value), &[Cause::TdAttributes]);
    }
    refused("32-bit mode", &judged(&sgx(), |made| made.body[48] = 0x01), &[Cause::TdAttributes]);
}

#[test]
fn registers_are_the_quotes_whatever_the_log_says() {
    // PFP header and no event: its replay is zeros, which these registers are not.
    let header = [b"Spec ID Event03\0".as_slice(), &[0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 0x0c, 0, 48, 0, 0]].concat();
    let length = u32::try_from(header.len()).unwrap().to_le_bytes();
    let log = [&[1, 0, 0, 0, 3, 0, 0, 0][..], &[0; 20], &length, &header].concat();
    let mut case = td(5, 3).case();
    case.part.items.insert("ccel.bin".to_owned(), log);
    let verification = case.verify();
    refused("an empty log", &verification, &[Cause::LogReplay]);
    assert_eq!(verification.claims.unwrap().registers["rtmr0"].0, [0xb0; 48]);
}

#[test]
fn a_cache_outlives_no_collateral_and_goes_back_to_none() {
    let made = td(5, 3);
    let mut case = made.case();
    let cache = Arc::new(Cache::new());
    case.endorsements.dcap = Some(Arc::clone(&cache));
    taken("learning", &case.verify());
    case.part.items.remove("collateral.json");
    let end = case.verify().valid_until.unwrap();
    case.at = end;
    refused("at its end", &case.verify(), &[Cause::CollateralValidity]);

    let older = made.with(|made| made.tcb_info["tcbEvaluationDataNumber"] = 17.into());
    let older = Collateral::parse(older.collateral().to_string().as_bytes()).unwrap();
    assert!(cache.add(older.verify(&case.roots).unwrap()).is_err(), "an older evaluation");
}

#[test]
fn collateral_that_was_edited_is_not_believed() {
    each_refused(&["tdx/neg-tcbinfo-edited"], &[Cause::CollateralSignature]);
    // The same evidence with collateral as it was signed.
    taken("unedited", &row("tdx/v4-b0c06f-uptodate").verify());
}
