//! A TPM made in the test, with a maker's PKI of its own: what emulators and recorded quotes do not show.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

use burgrave_made::tpm::{
    CERTIFY, Pcrs, QUOTE, RESTRICTED_DECRYPT, RESTRICTED_SIGNING, Tpm, ek_certificate, key_certificate, maker, public,
};
use burgrave_types::claims::Proved;
use burgrave_verifier::Verdict;
use burgrave_verifier::tpm::{AkProof, Public, boot_counts, ek_digest};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, date_time_ymd};

fn genuine() -> Tpm {
    Tpm::new().with_ek(&ek_certificate()).quoted("", 3, 0x000b)
}

#[test]
fn a_quote_over_two_banks_is_taken_and_names_each_register_by_its_bank() {
    let tpm = genuine();
    let verification = tpm.verify("2026-01-01T00:00:00Z");
    assert_eq!(verification.verdict, Verdict::Accept, "{:?}", verification.checks);
    let registers = verification.claims.unwrap().registers;
    assert_eq!(registers.keys().map(String::as_str).collect::<Vec<_>>(), ["pcr7", "sha384:pcr0"]);
    assert_eq!(verification.valid_until.unwrap().to_string(), "2030-01-01T00:00:00Z");
    assert_eq!(boot_counts(&tpm.part()), Some((3, 0)));
}

#[test]
fn an_endorsement_key_certificate_must_be_for_that_use_and_hold_now() {
    let with = |change: fn(&mut CertificateParams)| {
        let mut certificate = ek_certificate();
        change(&mut certificate);
        Tpm::new().with_ek(&certificate).quoted("", 3, 0x000b).cause()
    };
    assert_eq!(with(|_| ()), "none");
    let server = |certificate: &mut CertificateParams| {
        certificate.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    };
    assert_eq!(with(server), "certificate.kind");
    assert_eq!(
        with(|certificate| certificate.key_usages = vec![KeyUsagePurpose::DigitalSignature]),
        "certificate.kind"
    );
    assert_eq!(with(|certificate| certificate.not_after = date_time_ymd(2025, 12, 1)), "certificate.validity");
    assert_eq!(with(|certificate| certificate.not_before = date_time_ymd(2026, 2, 1)), "certificate.validity");
    assert_eq!(with(|certificate| certificate.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), "chain.constraint");
}

#[test]
fn a_maker_that_only_bears_the_name_of_a_root_is_not_believed() {
    let tpm = Tpm { maker: maker(), ..genuine() };
    assert!(["chain.signature", "chain.untrusted"].contains(&tpm.cause()), "{}", tpm.cause());
}

#[test]
fn a_revocation_list_counts_when_it_is_at_hand() {
    assert_eq!(genuine().with_crl(41, 2027).cause(), "none");
    assert_eq!(genuine().with_crl(42, 2027).cause(), "certificate.revoked");
    assert_eq!(genuine().with_crl(41, 2026).cause(), "crl.validity");
}

#[test]
fn an_attestation_key_certificate_vouches_for_that_key_alone() {
    let ak_certificate = key_certificate(KeyUsagePurpose::DigitalSignature, 3);
    let mut alone = Tpm::new().with_ak_certificate(&ak_certificate).quoted("", 3, 0x000b);
    alone.endorsements.ak_proof = AkProof::None;
    let verification = alone.verify("2026-01-01T00:00:00Z");
    assert_eq!(verification.verdict, Verdict::Accept, "{:?}", verification.checks);
    assert_eq!(verification.claims.unwrap().platform_id, None);

    // With the EK of another TPM beside it, it would borrow that TPM's name.
    let mut borrowed = genuine().with_ak_certificate(&ak_certificate);
    borrowed.endorsements.ak_proof = AkProof::None;
    assert_eq!(borrowed.cause(), "ak.unbound");
    let ak_name = Public::read(&public(&borrowed.ak, RESTRICTED_SIGNING)).unwrap().name();
    let ek_digest = ek_digest(&public(&borrowed.ek, RESTRICTED_DECRYPT));
    borrowed.endorsements.ak_proof = AkProof::Activated { ak_name, ek_digest };
    assert_eq!(borrowed.cause(), "none");

    let wrong_use = key_certificate(KeyUsagePurpose::KeyAgreement, 3);
    assert_eq!(genuine().with_ak_certificate(&wrong_use).cause(), "certificate.kind");
}

#[test]
fn keys_without_the_attributes_of_their_role_are_refused() {
    for bit in [1, 4, 5, 16, 18] {
        let tpm = Tpm { ak_attributes: RESTRICTED_SIGNING & !(1 << bit), ..genuine() };
        assert_eq!(tpm.cause(), "ak.attributes", "AK without bit {bit}");
    }
    for ek_attributes in
        [RESTRICTED_DECRYPT & !(1 << 16), RESTRICTED_DECRYPT | (1 << 18), RESTRICTED_DECRYPT & !(1 << 1)]
    {
        let tpm = Tpm { ek_attributes, ..Tpm::new() }.with_ek(&ek_certificate()).quoted("", 3, 0x000b);
        assert_eq!(tpm.cause(), "ak.attributes", "EK {ek_attributes:#x}");
    }
}

#[test]
fn what_is_signed_by_the_key_but_is_no_quote_of_a_tpm_is_refused() {
    let with =
        |kind, magic, hash| Tpm { kind, magic, ..Tpm::new() }.with_ek(&ek_certificate()).quoted("", 3, hash).cause();
    assert_eq!(with(CERTIFY, 0xff54_4347, 0x000b), "quote.structure");
    assert_eq!(with(QUOTE, 0xff54_4348, 0x000b), "quote.structure");
    assert_eq!(with(QUOTE, 0xff54_4347, 0x0004), "format.algorithm");
    // A hash that it was not signed with.
    assert_eq!(with(QUOTE, 0xff54_4347, 0x000c), "pcr.digest");
}

#[test]
fn quotes_of_different_boots_do_not_stand_together() {
    assert_eq!(genuine().quoted("-again", 3, 0x000b).cause(), "none");
    let mixed = genuine().quoted("-again", 4, 0x000b);
    assert_eq!(mixed.cause(), "quote.structure");
    assert_eq!(boot_counts(&mixed.part()), None);
}

#[test]
fn a_quote_over_sha1_digests_alone_meets_no_demand_and_proves_no_boot() {
    let sha1 = (0x0004, "sha1", Pcrs::from([(0, vec![5; 20]), (7, vec![7; 20])]));
    let sha256 = (0x000b, "sha256", Pcrs::from([(0, vec![5; 32]), (7, vec![7; 32])]));
    let quoted = |banks: &[(u16, &str, Pcrs)]| Tpm::new().with_ek(&ek_certificate()).quoted_banks("", 3, 0x000b, banks);
    let mut old = quoted(std::slice::from_ref(&sha1));
    let claims = old.verify("2026-01-01T00:00:00Z").claims.unwrap();
    assert!(claims.registers.is_empty() && claims.proved.is_empty());
    old.profile.tpm.pcrs = [0, 7].into();
    assert_eq!(old.cause(), "pcr.selection");
    let mut both = quoted(&[sha1, sha256]);
    both.profile.tpm.pcrs = [0, 7].into();
    assert_eq!(both.cause(), "none");
    assert!(both.verify("2026-01-01T00:00:00Z").claims.unwrap().proved.contains(&Proved::Boot));
}

#[test]
fn public_areas_may_stand_behind_their_length() {
    let mut tpm = genuine();
    tpm.endorsements.ak_proof = tpm.activated();
    let plain = tpm.verify("2026-01-01T00:00:00Z");
    assert_eq!(plain.verdict, Verdict::Accept);
    let (ak, ek) = (public(&tpm.ak, RESTRICTED_SIGNING), public(&tpm.ek, RESTRICTED_DECRYPT));
    let [sized_ak, sized_ek] = [&ak, &ek].map(|area| burgrave_made::tpm::sized(area));
    assert_eq!(ek_digest(&sized_ek), ek_digest(&ek));
    assert_eq!(Public::read(&sized_ak).unwrap().name(), Public::read(&ak).unwrap().name());
    tpm.set("ek.pub", sized_ek.clone());
    let mut part = tpm.part();
    part.items.insert("ak.pub".to_owned(), sized_ak.clone());
    assert_eq!(tpm.verify_part(&part, "2026-01-01T00:00:00Z").claims, plain.claims);
    for area in [&sized_ak, &ak] {
        for wrong in [
            &area[1..],
            &area[..area.len() - 1],
            &[area.as_slice(), &[0]].concat(),
            &burgrave_made::tpm::sized(&sized_ak),
        ] {
            assert!(Public::read(wrong).is_none());
        }
    }
}

#[test]
fn values_may_be_written_as_the_tools_print_them() {
    let with = |name: &str, text: String| {
        let mut tpm = genuine();
        tpm.items.retain(|(item, _)| item != "pcrs.json");
        tpm.set(name, text.into_bytes());
        tpm.cause()
    };
    let (seven, zero) = ("07".repeat(32), "05".repeat(48));
    assert_eq!(with("pcrs.json", format!(r#"{{"sha256":{{"7":"0x{seven}"}},"sha384":{{"0":"0x{zero}"}}}}"#)), "none");
    let printed = format!("  sha1:\n  sha256:\n    7 : 0x{seven}\n  sha384:\n    0 : 0x{}\n", zero.to_uppercase());
    assert_eq!(with("pcrs.yaml", printed.clone()), "none");
    assert_eq!(with("pcrs.json", printed.clone()), "none");
    assert_eq!(with("pcrs.yaml", printed.replace("0x05", "0x06")), "pcr.digest");
    for wrong in [
        String::new(),
        "\n".to_owned(),
        format!("  7 : 0x{seven}\n"),
        format!("sha256:\n  7 : 0x{seven}\n  7 : 0x{seven}\nsha384:\n  0 : 0x{zero}\n"),
        format!("sha256:\n  7 : 0x0x{seven}\nsha384:\n  0 : 0x{zero}\n"),
        format!("sha256:\n  7 : 0x{zero}\nsha384:\n  0 : 0x{zero}\n"),
        format!("{printed}sm4_256:\n"),
    ] {
        assert_eq!(with("pcrs.yaml", wrong.clone()), "format.malformed", "{wrong}");
    }
}

#[test]
fn a_certificate_that_does_not_say_the_key_is_a_tpms_vouches_for_none() {
    let by = |purposes: &[u64]| {
        let mut certificate = key_certificate(KeyUsagePurpose::DigitalSignature, 3);
        let purpose = |last: &u64| ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, *last]);
        certificate.extended_key_usages = purposes.iter().map(purpose).collect();
        Tpm::new().with_ak_certificate(&certificate).quoted("", 3, 0x000b).cause()
    };
    assert_eq!((by(&[3]), by(&[1])), ("none", "none"), "as makers write it, and as Google does");
    assert_eq!((by(&[]), by(&[2])), ("certificate.kind", "certificate.kind"), "a server's key, a platform's");
    let mut of_ek = key_certificate(KeyUsagePurpose::KeyAgreement, 3);
    assert_eq!(Tpm::new().with_ek(&of_ek).quoted("", 3, 0x000b).cause(), "certificate.kind");
    of_ek.extended_key_usages.clear();
    assert_eq!(Tpm::new().with_ek(&of_ek).quoted("", 3, 0x000b).cause(), "certificate.kind");
}

#[test]
fn the_firmware_is_claimed_only_where_the_tpm_signs_its_number_as_it_is() {
    // The key's hierarchy is told by its qualified name: here none that is known.
    let hidden = genuine().verify("2026-01-01T00:00:00Z");
    assert_eq!(hidden.verdict, Verdict::Accept);
    assert!(hidden.claims.unwrap().tcb.svn.is_empty());
    for parent in [Some(0x4000_000bu32), Some(0x4000_000c), None] {
        let tpm = Tpm::new().with_ek(&ek_certificate());
        let [ak, ek] = [(&tpm.ak, RESTRICTED_SIGNING), (&tpm.ek, RESTRICTED_DECRYPT)]
            .map(|(key, attributes)| Public::read(&public(key, attributes)).unwrap().name());
        let qualified = |parent: &[u8], name: &[u8]| [&[0, 0x0b][..], &sha256(&[parent, name].concat())].concat();
        let parent =
            parent.map_or_else(|| qualified(&0x4000_000bu32.to_be_bytes(), &ek), |one| one.to_be_bytes().to_vec());
        let plain = Tpm { qualified_signer: qualified(&parent, &ak), ..tpm }.quoted("", 3, 0x000b);
        let claims = plain.verify("2026-01-01T00:00:00Z").claims.unwrap();
        assert_eq!(claims.tcb.svn["firmware"], 0x0101_0101_0101_0101);
    }
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref().to_vec()
}

#[test]
fn a_maker_is_named_in_either_kind_of_text() {
    // An alternative name with one directory name, whose one attribute is `tcg-at-tpmManufacturer`.
    let name = |text: u8| {
        let value = [&[text, 11], b"id:4E544300".as_slice()].concat();
        let attribute = [&[0x06, 5, 0x67, 0x81, 0x05, 0x02, 0x01][..], &value].concat();
        let nested = [0x30, 0x31, 0x30, 0xa4, 0x30]
            .into_iter()
            .fold(attribute, |inner, tag| [&[tag, u8::try_from(inner.len()).unwrap()], inner.as_slice()].concat());
        rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 17], nested)
    };
    for (text, maker) in [(0x0c, Some("id:4E544300")), (0x13, Some("id:4E544300")), (0x04, None)] {
        let mut certificate = ek_certificate();
        certificate.custom_extensions = vec![name(text)];
        let mut tpm = Tpm::new().with_ek(&certificate).quoted("", 3, 0x000b);
        tpm.endorsements.ak_proof = tpm.activated();
        let verification = tpm.verify("2026-01-01T00:00:00Z");
        assert_eq!(verification.verdict, Verdict::Accept, "{:?}", verification.checks);
        assert_eq!(verification.claims.unwrap().product.as_deref(), maker, "{text:#x}");
    }
}

#[test]
fn a_certificate_without_key_usage_restricts_none() {
    let (mut of_ek, mut of_ak) = (ek_certificate(), key_certificate(KeyUsagePurpose::DigitalSignature, 3));
    (of_ek.key_usages, of_ak.key_usages) = (Vec::new(), Vec::new());
    assert_eq!(Tpm::new().with_ek(&of_ek).quoted("", 3, 0x000b).cause(), "none");
    assert_eq!(Tpm::new().with_ak_certificate(&of_ak).quoted("", 3, 0x000b).cause(), "none");
    // The purpose is asked for all the same.
    of_ek.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    assert_eq!(Tpm::new().with_ek(&of_ek).quoted("", 3, 0x000b).cause(), "certificate.kind");
}

#[test]
fn a_critical_extension_that_is_not_understood_is_named() {
    let policies = |critical| {
        let content = [&[0x30, 10, 0x30, 8, 0x06, 6][..], &[0x67, 0x81, 0x05, 0x01, 0x01, 0x01]].concat();
        let mut extension = rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 32], content);
        extension.set_criticality(critical);
        let mut certificate = ek_certificate();
        certificate.custom_extensions = vec![extension];
        Tpm::new().with_ek(&certificate).quoted("", 3, 0x000b).verify("2026-01-01T00:00:00Z")
    };
    assert_eq!(policies(false).verdict, Verdict::Accept);
    let refused = policies(true);
    assert_eq!(refused.cause.map(|cause| cause.as_str()), Some("certificate.extension"));
    let check = refused.checks.iter().find(|check| check.name == "tpm.ek.certificate").unwrap();
    assert!(check.found.contains("not understood, 2.5.29.32"), "{}", &*check.found);
}
