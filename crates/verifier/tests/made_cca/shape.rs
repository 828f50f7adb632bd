//! Collections and claims of each form, and every claim broken alone.

use aws_lc_rs::digest::{SHA512, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use burgrave_made::cbor::Value;
use burgrave_types::{EvidencePart, Tee};
use burgrave_verifier::{Cause, Verdict, Verification, inspect};

use crate::{ES256, ES384, ES512, Maker, bytes, number};

#[test]
fn both_collections_both_profiles_and_every_curve_are_read() {
    let mut maker = Maker::new();
    maker.tag = 907;
    maker.further = vec![(number(44258), Value::Null)];
    maker.accepted();
    let mut legacy = Maker::new();
    legacy.claim(265, Value::Text("http://arm.com/CCA-SSD/1.0.0"));
    legacy.realm.remove(0);
    legacy.accepted();
    let curves =
        [("P-256", &ECDSA_P256_SHA256_FIXED_SIGNING, ES256), ("P-521", &ECDSA_P521_SHA512_FIXED_SIGNING, ES512)];
    for (curve, algorithm, protected) in curves {
        let mut maker = Maker::new();
        maker.platform_key = EcdsaKeyPair::generate(algorithm).unwrap();
        (maker.curve, maker.platform_protected) = (curve, protected.to_vec());
        maker.accepted();
        maker.platform_protected = ES384.to_vec();
        maker.refused(Cause::FormatAlgorithm);
    }
    // The realm's key as a COSE_Key, and its hash by another algorithm.
    let mut maker = Maker::new();
    let point = maker.realm_key.public_key().as_ref().to_vec();
    let key =
        [[0xa4, 1, 2, 0x20, 2, 0x21, 0x58, 48].as_slice(), &point[1..49], &[0x22, 0x58, 48], &point[49..]].concat();
    maker.claim(44237, Value::Bytes(key.clone()));
    maker.accepted();
    maker.claim(44240, Value::Text("sha-512"));
    maker.refused(Cause::BindingPart);
    maker.challenge = Some(digest(&SHA512, &key).as_ref().to_vec());
    maker.accepted();
}

#[test]
fn tokens_of_rmm_2_are_read_and_their_editions_go_together() {
    let second = || {
        let mut maker = Maker::new();
        maker.tag = 907;
        maker.claim(265, Value::Text("tag:arm.com,2024:cca_platform#2.0.0"));
        maker.claim(2394, number(1));
        maker.realm[0].1 = Value::Text("tag:arm.com,2024:realm#2.0.0");
        maker.realm.push((number(256), Value::Bytes([vec![1], vec![9; 32]].concat())));
        maker.claim(44243, number(1));
        maker
    };
    let verification = second().accepted();
    assert_eq!(verification.raw["realm"]["memory_key"], "private");
    let mut maker = second();
    maker.claim(44243, Value::Text("shared"));
    maker.claim(44257, bytes(8, 32));
    let device =
        Value::Map(vec![(number(2), bytes(7, 32)), (number(3), bytes(6, 32)), (number(5), Value::Text("cxl"))]);
    maker.claim(2404, Value::Array(vec![device]));
    let verification = maker.accepted();
    assert_eq!(verification.raw["realm"]["memory_key"], "shared");
    let claims = verification.claims.unwrap();
    assert_eq!((&claims.registers["devices"].0, &claims.registers["extension:0"].0), (&vec![8; 32], &vec![7; 32]));
    // Who else may ask the platform for a token binds what is no realm.
    maker.claim(2394, number(0));
    maker.refused(Cause::BindingPart);
    maker.without(2394);
    maker.refused(Cause::FormatMalformed);
    for first in ["tag:arm.com,2023:realm#1.0.0", "tag:arm.com,2026:realm#2.0.0"] {
        let mut maker = second();
        maker.realm[0].1 = Value::Text(first);
        maker.refused(Cause::FormatVersion);
    }
    let mut maker = second();
    maker.claim(265, Value::Text("tag:arm.com,2023:cca_platform#1.0.0"));
    maker.refused(Cause::FormatVersion);
    let mut maker = second();
    maker.realm.remove(0);
    maker.accepted();
}

#[test]
fn a_measurement_of_another_length_than_its_algorithms_is_told() {
    let told = |verification: &Verification, name: &str| {
        let check = verification.checks.iter().find(|check| check.name == name).unwrap();
        (check.passed, check.fatal)
    };
    let mut maker = Maker::new();
    let good = maker.accepted();
    assert_eq!((told(&good, "cca.realm.hash"), told(&good, "cca.platform.hash")), ((true, false), (true, false)));
    maker.claim(44236, Value::Text("sha-512"));
    assert_eq!(told(&maker.accepted(), "cca.realm.hash"), (false, false));
    let plain = Value::Map(vec![(number(2), bytes(3, 32)), (number(5), bytes(9, 32))]);
    maker.claim(2399, Value::Array(vec![plain]));
    assert_eq!(told(&maker.accepted(), "cca.platform.hash"), (true, false));
    maker.claim(2402, Value::Text("sha-384"));
    assert_eq!(told(&maker.accepted(), "cca.platform.hash"), (false, false));
    // A component may name an algorithm of its own.
    let own = |name| {
        let map = vec![(number(2), bytes(3, 32)), (number(5), bytes(9, 32)), (number(6), Value::Text(name))];
        Value::Array(vec![Value::Map(map)])
    };
    maker.claim(2399, own("sha-256"));
    assert_eq!(told(&maker.accepted(), "cca.platform.hash"), (true, false));
    maker.claim(2399, own("sha-1"));
    maker.refused(Cause::FormatAlgorithm);
}

#[test]
fn claims_that_are_missing_or_of_another_form_are_refused() {
    for label in [265, 2396, 256, 2401, 2395, 2402, 2399, 44235, 44236, 44237, 44238, 44239, 44240] {
        let mut maker = Maker::new();
        if label == 265 {
            maker.platform.remove(0);
        } else {
            maker.without(label);
        }
        maker.refused(Cause::FormatMalformed);
    }
    let lengths = [
        (2396, bytes(7, 31)),
        (256, bytes(1, 32)),
        (2399, Value::Array(vec![Value::Map(vec![(number(2), bytes(1, 31)), (number(5), bytes(1, 32))])])),
        (2399, Value::Array(vec![Value::Map(vec![(number(2), bytes(1, 32))])])),
        (10, bytes(5, 63)),
        (44235, bytes(5, 65)),
        (44238, bytes(1, 33)),
        (44239, Value::Array(vec![bytes(1, 32); 3])),
        (44239, Value::Array(vec![bytes(1, 32), bytes(1, 32), bytes(1, 32), bytes(1, 20)])),
        (44239, Value::Array(vec![bytes(1, 32), bytes(1, 32), bytes(1, 32), bytes(1, 48)])),
        (44238, bytes(1, 64)),
    ];
    for (label, value) in lengths {
        let mut maker = Maker::new();
        maker.claim(label, value);
        maker.refused(Cause::FormatLength);
    }
    let others = [
        (265, Value::Text("tag:arm.com,2030:cca_platform#2.0.0"), Cause::FormatVersion),
        (256, bytes(2, 33), Cause::FormatMalformed),
        (2395, number(0x1_3000), Cause::FormatMalformed),
        (2399, Value::Array(Vec::new()), Cause::FormatMalformed),
        (2399, Value::Raw(vec![0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Cause::FormatMalformed),
        (44237, bytes(4, 96), Cause::FormatMalformed),
        (44240, Value::Text("sha-1"), Cause::FormatAlgorithm),
        (44236, Value::Text("md5"), Cause::FormatAlgorithm),
        (2402, Value::Text("sha-1"), Cause::FormatAlgorithm),
        (2394, number(2), Cause::BindingPart),
        (2404, Value::Array(vec![Value::Map(Vec::new())]), Cause::FormatMalformed),
        (44243, number(2), Cause::FormatMalformed),
        (44243, Value::Text("public"), Cause::FormatMalformed),
        (44257, bytes(1, 31), Cause::FormatLength),
        (44238, Value::Text("not bytes"), Cause::FormatMalformed),
    ];
    for (label, value, cause) in others {
        let mut maker = Maker::new();
        maker.claim(label, value);
        maker.refused(cause);
    }
    let mut maker = Maker::new();
    maker.realm[0].1 = Value::Text("tag:arm.com,2030:realm#2.0.0");
    maker.refused(Cause::FormatVersion);
    let mut maker = Maker::new();
    maker.platform.push((number(2395), number(0x3001)));
    maker.refused(Cause::FormatMalformed);
    let mut maker = Maker::new();
    maker.realm_protected = ES256.to_vec();
    maker.refused(Cause::FormatAlgorithm);
}

#[test]
fn a_collection_of_another_form_is_refused() {
    let mut maker = Maker::new();
    maker.tag = 398;
    maker.refused(Cause::FormatMalformed);
    let mut maker = Maker::new();
    maker.further = vec![(number(44258), Value::Null)];
    maker.refused(Cause::FormatMalformed);
    maker.further = vec![(number(44234), Value::Bytes(Vec::new()))];
    maker.refused(Cause::FormatMalformed);
    let maker = Maker::new();
    let token = maker.token();
    for length in 0..token.len() {
        assert_eq!(maker.judge(token[..length].to_vec()).verdict, Verdict::Reject, "{length}");
    }
    assert_eq!(maker.judge([token.as_slice(), &[0]].concat()).cause, Some(Cause::FormatMalformed));
    let part = EvidencePart::new(Tee::Cca, [("token.cbor", token)]);
    assert_eq!(inspect(&part).unwrap().raw["platform"]["lifecycle_state"], "secured");
}
