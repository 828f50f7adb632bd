//! Simulated evidence: verified as any other, taken only where the profile says so.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use burgrave_types::simulated::{REPORT_ITEM, SIGNATURE_ITEM, WORTHLESS_SIGNING_KEY_PKCS8};
use burgrave_types::{EvidencePart, Tee, Timestamp};
use burgrave_verifier::{Cause, Endorsements, Expected, Input, Profile, Roots, Verdict, Verification, verify};
use serde_json::{Value, json};

fn report() -> Value {
    json!({ "version": 1, "measurement": "aa".repeat(48), "debug": false, "report_data": "bb".repeat(64) })
}

fn signed(report: &Value) -> EvidencePart {
    let bytes = serde_json::to_vec(report).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &WORTHLESS_SIGNING_KEY_PKCS8).unwrap();
    let signature = key.sign(&SystemRandom::new(), &bytes).unwrap().as_ref().to_vec();
    EvidencePart::new(Tee::Simulated, [(REPORT_ITEM, bytes), (SIGNATURE_ITEM, signature)])
}

fn judge(part: &EvidencePart, allow_simulated: bool, report_data: &[u8; 64]) -> Verification {
    verify(&Input {
        part,
        endorsements: &Endorsements::default(),
        roots: &Roots::vendor(),
        profile: &Profile { allow_simulated, ..Profile::default() },
        expected: Expected::Binding { report_data, qualifying_data: &[0; 32] },
        at: Timestamp::from_unix_secs(1_800_000_000),
    })
}

#[test]
fn a_production_profile_refuses_simulated_evidence_however_well_it_is_signed() {
    let part = signed(&report());
    let refused = judge(&part, false, &[0xbb; 64]);
    assert_eq!((refused.verdict, refused.authentic), (Verdict::Reject, false));
    assert_eq!(refused.cause, Some(Cause::SimulatedRefused));
    assert_eq!(judge(&part, true, &[0xbb; 64]).verdict, Verdict::Accept);
}

#[test]
fn altered_simulated_evidence_is_refused_even_in_a_dev_domain() {
    let cause = |part: &EvidencePart| judge(part, true, &[0xbb; 64]).cause;
    let mut altered = signed(&report());
    let text = String::from_utf8(altered.items[REPORT_ITEM].clone()).unwrap().replace("aaaa", "aaab");
    altered.items.insert(REPORT_ITEM.to_owned(), text.into_bytes());
    assert_eq!(cause(&altered), Some(Cause::SignatureInvalid));
    altered.items.remove(SIGNATURE_ITEM);
    assert_eq!(cause(&altered), Some(Cause::SignatureInvalid));

    let with = |change: fn(&mut Value)| {
        let mut changed = report();
        change(&mut changed);
        cause(&signed(&changed))
    };
    assert_eq!(with(|report| report["debug"] = json!(true)), Some(Cause::Debug));
    assert_eq!(with(|report| report["version"] = json!(2)), Some(Cause::FormatVersion));
    assert_eq!(with(|report| report["report_data"] = json!("bb")), Some(Cause::FormatLength));
    assert_eq!(with(|report| report["mesurement"] = json!("00")), Some(Cause::FormatMalformed));
    assert_eq!(judge(&signed(&report()), true, &[0xcc; 64]).cause, Some(Cause::BindingReportData));
}
