//! The firmware beneath a realm: which is accepted, which a release names.

use burgrave_made::cbor::Value;
use burgrave_types::claims::{HexBytes, ReferenceValue, TcbStatus};
use burgrave_types::{Claims, EvidencePart, Tee};
use burgrave_verifier::{Appraisal, Cause, Endorsements, Input, Roots, Verdict, Verification, appraise, verify};

use crate::{Maker, bytes, component, number};

/// The firmware of the maker's platform, as a store of reference values has it.
fn firmware(rmm: u8) -> serde_json::Value {
    let component = |kind: &str, byte: u8| {
        serde_json::json!({
            "component-type": kind, "measurement-value": hex::encode([byte; 32]), "signer-id": "09".repeat(32),
            "version": "1.0",
        })
    };
    serde_json::json!({
        "implementation-id": "07".repeat(32),
        "platform-configuration": "CFCFCFCF",
        "sw-components": [component("RMM", rmm), component("BL", 4), component("BL", 5)],
    })
}

#[test]
fn firmware_that_is_accepted_is_up_to_date_and_other_firmware_of_the_same_implementation_is_not() {
    let judge = |platforms: serde_json::Value| {
        let maker = Maker::new();
        let part = EvidencePart::new(Tee::Cca, [("token.cbor", maker.token())]);
        let store = serde_json::json!({ "platform": platforms, "realm": [] }).to_string();
        verify(&Input {
            part: &part,
            endorsements: &Endorsements::default(),
            roots: &Roots::only([maker.anchors(), store]).unwrap(),
            profile: &maker.profile,
            expected: maker.expected,
            at: "2026-03-01T00:00:00Z".parse().unwrap(),
        })
    };
    let status = |verification: &Verification| verification.claims.as_ref().unwrap().tcb.status;
    let told = |verification: &Verification| {
        let check = verification.checks.iter().find(|check| check.name == "cca.platform.firmware").unwrap();
        assert!(!check.fatal);
        check.passed
    };
    let good = judge(serde_json::json!([firmware(2), firmware(3)]));
    assert_eq!((good.verdict, status(&good)), (Verdict::Accept, TcbStatus::UpToDate));
    assert!(told(&good));
    let mut elsewhere = firmware(2);
    elsewhere["implementation-id"] = "08".repeat(32).into();
    let unknown = judge(serde_json::json!([elsewhere]));
    assert_eq!((unknown.verdict, status(&unknown)), (Verdict::Accept, TcbStatus::VendorManaged));
    assert!(!told(&unknown));
    let mut fewer = firmware(3);
    fewer["sw-components"].as_array_mut().unwrap().pop();
    let mut twice = firmware(3);
    twice["sw-components"][2] = twice["sw-components"][1].clone();
    let mut signed = firmware(3);
    signed["sw-components"][0]["signer-id"] = "08".repeat(32).into();
    let mut configured = firmware(3);
    configured["platform-configuration"] = "00".into();
    for other in [firmware(2), fewer, twice, signed, configured] {
        let old = judge(serde_json::json!([other]));
        assert_eq!((old.cause, status(&old), old.authentic), (Some(Cause::TcbStatus), TcbStatus::OutOfDate, true));
        assert!(!told(&old));
    }
}

#[test]
fn a_release_names_the_firmware_beneath_its_realm() {
    let mut maker = Maker::new();
    let device = Value::Map(vec![(number(2), bytes(7, 32))]);
    maker.claim(2404, Value::Array(vec![device]));
    let mut claims = maker.accepted().claims.unwrap();
    let release = |registers: &[(&str, u8)]| ReferenceValue {
        tee: Tee::Cca,
        measurement: Some(HexBytes(vec![1; 32])),
        signer: None,
        product_id: None,
        min_svn: None,
        registers: registers.iter().map(|(name, byte)| ((*name).to_owned(), HexBytes(vec![*byte; 32]))).collect(),
        config: None,
    };
    let open = |claims: &Claims, registers: &[(&str, u8)]| match appraise(claims, [("v1", &release(registers))]) {
        Appraisal::Matched { .. } => Vec::new(),
        Appraisal::Unmatched { differences } => differences.into_iter().map(|one| one.claim).collect::<Vec<_>>(),
    };
    let all = ["extension:0", "platform:#1", "platform:#2", "platform:RMM"];
    assert_eq!(open(&claims, &[]), all);
    assert_eq!(open(&claims, &[("rem0", 2)]), all);
    let named = [("platform:RMM", 3), ("platform:#1", 4), ("platform:#2", 5), ("extension:0", 7)];
    assert!(open(&claims, &named).is_empty());
    let signed = [("signer:RMM", 9), ("platform:#1", 4), ("signer:#2", 9), ("extension:0", 7)];
    assert!(open(&claims, &signed).is_empty());
    // Another measurement, another signer, a component that is gone, and one that is left open.
    assert_eq!(open(&claims, &[("platform:RMM", 4), named[1], named[2], named[3]]), ["platform:RMM"]);
    assert_eq!(open(&claims, &[("signer:RMM", 8), named[1], named[2], named[3]]), ["signer:RMM"]);
    assert_eq!(open(&claims, &[named[0], named[1], named[2], named[3], ("platform:BL31", 4)]), ["platform:BL31"]);
    assert_eq!(open(&claims, &named[1..]), ["platform:RMM"]);
    // What the operator's list accepts needs no name; what was added at run time does.
    claims.tcb.status = TcbStatus::UpToDate;
    assert_eq!(open(&claims, &[]), ["extension:0"]);
    assert!(open(&claims, &[("extension:0", 7)]).is_empty());
    claims.tcb.status = TcbStatus::OutOfDate;
    assert_eq!(open(&claims, &[("extension:0", 7)]), all[1..]);
}

#[test]
fn no_component_hides_another() {
    let mut maker = Maker::new();
    maker.claim(2399, Value::Array(vec![component("1", 3), component("a", 4), component("a", 5), component("#0", 6)]));
    let registers = maker.accepted().claims.unwrap().registers;
    let measured: Vec<_> = ["1", "#1", "#2", "#3"].map(|name| registers[&format!("platform:{name}")].0[0]).into();
    assert_eq!(measured, [3, 4, 5, 6]);
    assert_eq!(registers.keys().filter(|name| name.starts_with("platform:")).count(), 4);
}
