//! Attestation documents made in the test, under a PKI of its own: each rule of the format broken alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

use std::sync::Arc;
use std::time::Duration;

use burgrave_made::cbor::Value;
use burgrave_made::nitro::{Maker, NONCE, USER_DATA, pcr};
use burgrave_made::pki::p384;
use burgrave_types::claims::TcbStatus;
use burgrave_types::{EvidencePart, Tee};
use burgrave_verifier::{Cause, Expected, Roots, Verdict, inspect};
use rcgen::{BasicConstraints, CustomExtension, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd};

#[test]
fn a_document_is_accepted_and_its_claims_are_normalised() {
    let maker = Maker::new();
    let verification = maker.verify();
    assert_eq!((verification.verdict, verification.authentic), (Verdict::Accept, true), "{verification:#?}");
    // The leaf ends first.
    assert_eq!(verification.valid_until, Some("2026-01-02T00:00:00Z".parse().unwrap()));
    let claims = verification.claims.unwrap();
    assert_eq!(claims.platform_id.unwrap().0, b"i-0123");
    assert_eq!((claims.debug, claims.tcb.status), (Some(false), TcbStatus::VendorManaged));
    assert_eq!(claims.launch.measurement.unwrap().0, [1; 48]);
    assert_eq!(claims.launch.signer.unwrap().0, [2; 48]);
    assert_eq!(claims.config.unwrap().0, [3; 48]);
    assert_eq!(claims.registers.keys().collect::<Vec<_>>(), ["pcr0", "pcr3", "pcr8"]);
    assert_eq!(claims.binding.unwrap().0, USER_DATA);
}

#[test]
fn an_image_that_nobody_signed_has_no_signer() {
    let mut maker = Maker::new();
    maker.pcrs = vec![pcr(0, vec![1; 48]), pcr(8, vec![0; 48])];
    let claims = maker.verify().claims.unwrap();
    assert_eq!((claims.launch.signer, claims.config), (None, None));
}

#[test]
fn a_known_path_gives_the_same_answers_as_a_new_one() {
    let mut maker = Maker::new();
    let document = maker.document();
    let roots = Roots::only([maker.root.der()]).unwrap();
    maker.roots = Some(roots);
    let first = maker.judge(document.clone());
    assert_eq!(first.verdict, Verdict::Accept);
    assert_eq!(maker.judge(document.clone()), first);
    // Known or not: it ends when it ends, and it counts under its own root alone.
    maker.at = first.valid_until.unwrap() + Duration::from_millis(1000);
    let late = maker.judge(document.clone());
    assert_eq!(late.cause, Some(Cause::CertificateValidity));
    maker.at = "2026-01-01T00:00:00Z".parse().unwrap();
    let mut altered = document.clone();
    *altered.last_mut().unwrap() ^= 1;
    assert_eq!(maker.judge(altered).cause, Some(Cause::SignatureInvalid));
    maker.roots = Some(Roots::vendor());
    assert_eq!(maker.judge(document).cause, Some(Cause::ChainUntrusted));
}

#[test]
fn nonce_user_data_and_binding_each_have_their_field() {
    const OTHER: [u8; 64] = [9; 64];
    let mut maker = Maker::new();
    let bindings = [
        (Expected::ReportData(&USER_DATA), None),
        (Expected::Binding { report_data: &USER_DATA, qualifying_data: &[0; 32] }, None),
        (Expected::ReportData(&NONCE), Some(Cause::BindingReportData)),
        (Expected::Binding { report_data: &OTHER, qualifying_data: &[8; 32] }, Some(Cause::BindingReportData)),
        (Expected::Nonce(&USER_DATA), Some(Cause::BindingNonce)),
        (Expected::Nonce(&[]), Some(Cause::BindingNonce)),
        (Expected::Nonce(&NONCE[..31]), Some(Cause::BindingNonce)),
    ];
    for (expected, cause) in bindings {
        maker.expected = expected;
        let verification = maker.verify();
        assert_eq!((verification.cause, verification.authentic), (cause, true), "{expected:?}");
    }
    maker.expected = Expected::Nonce(&[]);
    maker.field("nonce", Value::Null);
    maker.refused(Cause::BindingNonce);
}

#[test]
fn a_debug_enclave_is_refused_unless_the_profile_takes_it() {
    let mut maker = Maker::new();
    maker.pcrs = (0..16).map(|index| pcr(index, vec![0; 48])).collect();
    assert!(maker.refused(Cause::Debug).authentic);
    maker.profile.allow_debug = true;
    let verification = maker.verify();
    assert_eq!((verification.verdict, verification.claims.unwrap().debug), (Verdict::Accept, Some(true)));
}

#[test]
fn a_field_of_another_length_is_refused() {
    let limits: [(&str, usize); 3] = [("public_key", 1024), ("user_data", 512), ("nonce", 512)];
    for (name, most) in limits {
        let mut maker = Maker::new();
        maker.expected = Expected::None;
        maker.field(name, Value::Bytes(vec![1; most]));
        assert_eq!(maker.verify().verdict, Verdict::Accept, "{name}");
        maker.field(name, Value::Bytes(vec![1; most + 1]));
        maker.refused(Cause::FormatLength);
    }
    for length in [32, 48, 64] {
        let mut maker = Maker::new();
        maker.pcrs.push(pcr(31, vec![1; length]));
        assert_eq!(maker.verify().verdict, Verdict::Accept, "{length}");
    }
    for length in [0, 31, 47, 49, 65] {
        let mut maker = Maker::new();
        maker.pcrs.push(pcr(16, vec![1; length]));
        maker.refused(Cause::FormatLength);
    }
    let mut maker = Maker::new();
    maker.certificate = Some(vec![0x30; 1025]);
    maker.refused(Cause::FormatLength);
    let mut maker = Maker::new();
    maker.cabundle = Some(vec![maker.root.der().to_vec(), Vec::new()]);
    maker.refused(Cause::FormatLength);
}

#[test]
fn a_document_is_made_while_its_certificate_is_valid_and_not_in_the_future() {
    const DAY: u64 = 24 * 60 * 60 * 1000;
    let made_at = |millis: u64| {
        let mut maker = Maker::new();
        maker.field("timestamp", Value::Number(millis));
        maker
    };
    let now = u64::try_from(Maker::new().at.unix_millis()).unwrap();
    for millis in [now, now - 1000, now + 5 * 60 * 1000] {
        assert_eq!(made_at(millis).verify().verdict, Verdict::Accept, "{millis}");
    }
    for millis in [now + 5 * 60 * 1000 + 1, now + DAY + 1, 1, u64::MAX] {
        let refused = made_at(millis).refused(Cause::CertificateValidity);
        assert!(refused.checks.iter().any(|check| check.name == "nitro.timestamp" && !check.passed), "{millis}");
    }
}

#[test]
fn a_document_of_a_nitro_tpm_is_called_what_it_is() {
    let mut maker = Maker::new();
    maker.field("nitrotpm_pcrs", Value::Map(vec![pcr(4, vec![1; 48])]));
    let refused = maker.refused(Cause::FormatMalformed);
    assert!(refused.checks.iter().any(|check| check.found.contains("NitroTPM")), "{refused:#?}");
}

#[test]
fn a_document_that_is_not_whole_is_refused() {
    type Change = fn(&mut Maker);
    let changes: [Change; 12] = [
        |maker| maker.fields.remove(0).1 = Value::Null,
        |maker| drop(maker.fields.remove(1)),
        |maker| drop(maker.fields.remove(2)),
        |maker| maker.field("module_id", Value::Text("")),
        |maker| maker.field("timestamp", Value::Number(0)),
        |maker| maker.field("pcrs", Value::Null),
        |maker| maker.pcrs[0] = pcr(1, vec![1; 48]),
        |maker| maker.pcrs.push(pcr(32, vec![1; 48])),
        |maker| maker.pcrs.push(pcr(0, vec![1; 48])),
        |maker| maker.fields.push((Value::Text("nonce"), Value::Null)),
        |maker| maker.fields.push((Value::Number(4), Value::Null)),
        |maker| maker.field("nonce", Value::Text("not bytes")),
    ];
    for (which, change) in changes.into_iter().enumerate() {
        let mut maker = Maker::new();
        change(&mut maker);
        let verification = maker.verify();
        assert_eq!(verification.cause, Some(Cause::FormatMalformed), "{which}: {verification:#?}");
    }
    let mut maker = Maker::new();
    maker.field("digest", Value::Text("SHA256"));
    maker.refused(Cause::FormatAlgorithm);
}

#[test]
fn lengths_that_the_input_does_not_hold_are_refused() {
    let huge = [0xff; 8];
    for kind in [0x5b, 0x7b, 0x9b, 0xbb] {
        let mut maker = Maker::new();
        maker.field("pcrs", Value::Raw([[kind].as_slice(), &huge].concat()));
        maker.refused(Cause::FormatMalformed);
        let mut maker = Maker::new();
        maker.field("of a later version", Value::Raw([[kind].as_slice(), &huge].concat()));
        maker.refused(Cause::FormatMalformed);
    }
    let mut maker = Maker::new();
    maker.field("of a later version", Value::Raw([vec![0x81; 2000], vec![0xf6]].concat()));
    assert_eq!(maker.verify().verdict, Verdict::Accept, "depth costs nothing");
    let mut maker = Maker::new();
    maker.pcrs.extend((100..400).map(|index| pcr(index, Vec::new())));
    maker.refused(Cause::FormatMalformed);
}

#[test]
fn the_envelope_is_held_to_its_format() {
    let mut maker = Maker::new();
    maker.unprotected = Value::Map(vec![(Value::Number(4), Value::Bytes(vec![1]))]);
    maker.refused(Cause::FormatMalformed);
    // ES384 in the header that nobody signed.
    maker.protected = Vec::new();
    maker.unprotected = Value::Raw(vec![0xa1, 0x01, 0x38, 0x22]);
    maker.refused(Cause::FormatMalformed);
    for (protected, cause) in [
        (vec![], Cause::FormatAlgorithm),
        (vec![0xa0], Cause::FormatAlgorithm),
        (vec![0xa1, 0x01, 0x26], Cause::FormatAlgorithm),
        (vec![0xa1, 0x01, 0x38, 0x23], Cause::FormatAlgorithm),
        (vec![0xa1, 0x01, 0x65, b'E', b'S', b'3', b'8', b'4'], Cause::FormatAlgorithm),
        (vec![0xa1, 0x01, 0x38, 0x22, 0x00], Cause::FormatMalformed),
        (vec![0xa2, 0x01, 0x38, 0x22, 0x02, 0x80], Cause::FormatMalformed),
    ] {
        let mut maker = Maker::new();
        maker.protected = protected;
        maker.refused(cause);
    }
    let maker = Maker::new();
    let document = maker.document();
    for length in 0..document.len() {
        let short = maker.judge(document[..length].to_vec());
        assert_eq!((short.verdict, short.authentic), (Verdict::Reject, false), "{length}");
    }
    let long = maker.judge([document.as_slice(), &[0]].concat());
    assert_eq!(long.cause, Some(Cause::FormatLength));
    let other_tag = maker.judge([[0xd1].as_slice(), &document].concat());
    assert_eq!(other_tag.cause, Some(Cause::FormatMalformed));
    let part = EvidencePart::new(Tee::Nitro, [("document.cose", document)]);
    assert_eq!(inspect(&part).unwrap().raw["module_id"], "i-0123-enc4567");
}

#[test]
fn a_chain_that_breaks_one_rule_is_refused_for_it() {
    type Change = fn(&mut Maker);
    let changes: [(Cause, Change); 10] = [
        (Cause::ChainConstraint, |maker| maker.authorities[0].is_ca = IsCa::Ca(BasicConstraints::Constrained(0))),
        (Cause::ChainConstraint, |maker| maker.authorities[1].is_ca = IsCa::ExplicitNoCa),
        (Cause::ChainConstraint, |maker| maker.authorities[1].is_ca = IsCa::NoCa),
        (Cause::ChainConstraint, |maker| maker.authorities[1].key_usages = vec![KeyUsagePurpose::DigitalSignature]),
        (Cause::ChainConstraint, |maker| maker.leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        (Cause::ChainConstraint, |maker| maker.leaf.key_usages = vec![KeyUsagePurpose::KeyAgreement]),
        (Cause::ChainConstraint, |maker| {
            maker.leaf_key = Arc::new(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap());
        }),
        (Cause::ChainConstraint, |maker| {
            let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
            extension.set_criticality(true);
            maker.leaf.custom_extensions.push(extension);
        }),
        (Cause::CertificateValidity, |maker| maker.leaf.not_after = date_time_ymd(2025, 12, 31)),
        (Cause::CertificateValidity, |maker| maker.authorities[0].not_before = date_time_ymd(2026, 1, 2)),
    ];
    for (which, (cause, change)) in changes.into_iter().enumerate() {
        let mut maker = Maker::new();
        change(&mut maker);
        let verification = maker.verify();
        assert_eq!(verification.cause, Some(cause), "{which}: {verification:#?}");
        assert!(!verification.authentic, "{which}");
    }
}

#[test]
fn a_chain_that_does_not_hang_together_is_refused() {
    let mut maker = Maker::new();
    let (bundle, leaf) = maker.chain();
    // An intermediate is missing, stands elsewhere, or the root is not at the head.
    for order in [vec![0, 1], vec![0], vec![0, 2, 1], vec![1, 2], vec![2, 1, 0]] {
        maker.cabundle = Some(order.into_iter().map(|index| bundle[index].clone()).collect());
        maker.certificate = Some(leaf.clone());
        maker.refused(Cause::ChainUntrusted);
    }
    // Another authority of the same names: the leaf and the intermediates are its, the root is ours.
    let other = Maker::new();
    let (mut forged, leaf) = other.chain();
    forged[0] = maker.root.der().to_vec();
    maker.cabundle = Some(forged);
    maker.certificate = Some(leaf);
    maker.refused(Cause::ChainSignature);
    // A root of the attacker's own, with the name of ours.
    let (own, leaf) = other.chain();
    maker.cabundle = Some(own);
    maker.certificate = Some(leaf);
    maker.refused(Cause::ChainUntrusted);
    maker.cabundle = None;
    maker.certificate = Some(vec![0x30, 0x03, 1, 1, 0]);
    maker.refused(Cause::FormatMalformed);
}

#[test]
fn the_certificate_of_another_enclave_does_not_fit() {
    let mut maker = Maker::new();
    let (bundle, _) = maker.chain();
    let (other_bundle, other_leaf) = maker.chain();
    maker.cabundle = Some(bundle);
    maker.certificate = Some(other_leaf.clone());
    maker.refused(Cause::ChainSignature);
    maker.cabundle = Some(other_bundle);
    maker.leaf_key = Arc::new(p384());
    maker.refused(Cause::SignatureInvalid);
}
