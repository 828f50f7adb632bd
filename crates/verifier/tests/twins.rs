//! Every accepted vector has failing twins: one circumstance or one byte changed, and it is refused for that reason.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod common;

use std::time::Duration;

use burgrave_types::{Tee, Timestamp};
use burgrave_verifier::tpm::{AkProof, Public, ek_digest};
use burgrave_verifier::{Cause, Endorsements, Expected, Input, Roots, TpmTrust, Verdict, Verification, verify};
use common::{Case, collection, packaged};

/// Every accepted row of a TEE that carries a quote or report: the packaged ones, and those of the collection.
fn accepted(tee: Tee) -> Vec<(String, Case)> {
    let (folder, rows) = packaged();
    let mut cases: Vec<_> = rows.iter().map(|row| (row.clone(), row.case_or_none(&folder))).collect();
    if let Some((folder, rows)) = collection() {
        cases.extend(rows.iter().map(|row| (row.clone(), row.case_or_none(&folder))));
    }
    let cases = cases.into_iter().filter_map(|(row, case)| Some((row, case?)));
    let signed = |case: &Case| case.part.items.keys().any(|name| name == "report.bin" || name.starts_with("quote"));
    let cases = cases.filter(|(row, case)| row.expect() == "accept" && case.part.tee == tee && signed(case));
    cases.map(|(row, case)| (row.id, case)).collect()
}

#[track_caller]
fn refused(id: &str, what: &str, verification: &Verification, causes: &[Cause]) {
    assert_eq!(verification.verdict, Verdict::Reject, "{id}: {what}");
    let cause = verification.cause.unwrap();
    assert!(causes.contains(&cause), "{id}: {what}: {cause}");
    let failed = verification.checks.iter().find(|check| check.cause == cause && !check.passed).unwrap();
    assert!(!failed.expected.is_empty() && !failed.found.is_empty() && !failed.reference.is_empty(), "{failed:?}");
}

fn judge(case: &Case, expected: Expected<'_>) -> Verification {
    verify(&Input {
        part: &case.part,
        endorsements: &case.endorsements,
        roots: &case.roots,
        profile: &case.profile,
        expected,
        at: case.at,
    })
}

#[test]
fn a_flipped_bit_anywhere_in_an_snp_report_is_refused() {
    let (id, case) = accepted(Tee::Snp).into_iter().find(|(id, _)| id.ends_with("milan-v2-virtee")).unwrap();
    for at in 0..1184 {
        let verification = case.with("report.bin", |bytes| bytes[at] ^= 1 << (at % 8)).verify();
        assert_eq!((verification.verdict, verification.authentic), (Verdict::Reject, false), "{id}, byte {at:#x}");
    }
}

#[test]
fn an_snp_report_of_another_length_is_refused() {
    for (id, case) in accepted(Tee::Snp) {
        for length in [0, 1, 671, 672, 1183] {
            let short = case.with("report.bin", |bytes| bytes.truncate(length)).verify();
            refused(&id, "truncated", &short, &[Cause::FormatLength]);
        }
        refused(&id, "trailing", &case.with("report.bin", |bytes| bytes.push(0)).verify(), &[Cause::FormatLength]);
    }
}

#[test]
fn altered_regions_of_an_snp_report_are_refused_each_with_its_cause() {
    use Cause::{
        CertificateExtension, CertificateKind, ChipMismatch, FormatAlgorithm, FormatMalformed, FormatVersion,
        Migration, Privilege, SignatureInvalid, TcbMismatch,
    };
    let regions: [(usize, u8, &[Cause]); 14] = [
        (0x000, 0x10, &[FormatVersion]),
        (0x004, 0x01, &[SignatureInvalid]),
        (0x00a, 0x04, &[Migration]),
        (0x030, 0x02, &[Privilege]),
        (0x034, 0x02, &[FormatAlgorithm]),
        (0x048, 0x04, &[CertificateKind]),
        (0x050, 0x01, &[SignatureInvalid]),
        (0x090, 0x01, &[SignatureInvalid]),
        (0x0c0, 0x01, &[SignatureInvalid]),
        (0x187, 0x01, &[TcbMismatch]),
        (0x1a0, 0x01, &[ChipMismatch, SignatureInvalid]),
        (0x188, 0xff, &[SignatureInvalid, CertificateExtension]),
        (0x2a0, 0x01, &[SignatureInvalid]),
        (0x330, 0x01, &[FormatMalformed]),
    ];
    for (id, case) in accepted(Tee::Snp) {
        for (at, bits, causes) in regions {
            let altered = case.with("report.bin", |bytes| bytes[at] ^= bits).verify();
            refused(&id, &format!("byte {at:#x}"), &altered, causes);
            assert!(!altered.authentic, "{id}");
        }
    }
}

#[test]
fn snp_evidence_out_of_its_time_or_under_another_root_is_refused() {
    for (id, case) in accepted(Tee::Snp) {
        let end = case.verify().valid_until.unwrap();
        let late = Case { at: end + Duration::from_millis(1000), ..case.clone() }.verify();
        refused(&id, "late", &late, &[Cause::CertificateValidity, Cause::CrlValidity]);
        let early = Case { at: Timestamp::from_unix_secs(1_000_000_000), ..case.clone() }.verify();
        refused(&id, "early", &early, &[Cause::CertificateValidity]);
        let test_root = packaged().0.join("snp/synthetic/base/test-ark.der");
        let other = match id.contains("synthetic") {
            true => Roots::vendor(),
            false => Roots::only([std::fs::read(test_root).unwrap()]).unwrap(),
        };
        let untrusted = Case { roots: other, ..case.clone() }.verify();
        refused(&id, "other root", &untrusted, &[Cause::ChainUntrusted, Cause::ChainSignature]);
    }
}

#[test]
fn snp_evidence_with_the_certificate_of_another_chip_is_refused() {
    let cases = accepted(Tee::Snp);
    let leaf = |case: &Case| {
        let name = ["vcek.der", "vlek.der", "vek.der"].into_iter().find(|name| case.part.item(name).is_some());
        name.map(|name| (name.to_owned(), case.part.items[name].clone())).unwrap()
    };
    for (id, case) in &cases {
        let (name, own) = leaf(case);
        for (_, other) in cases.iter().map(|(_, other)| leaf(other)).filter(|(_, other)| *other != own) {
            let swapped = case.with(&name, |bytes| *bytes = other).verify();
            refused(
                id,
                "swapped certificate",
                &swapped,
                &[
                    Cause::ChipMismatch,
                    Cause::TcbMismatch,
                    Cause::CertificateExtension,
                    Cause::SignatureInvalid,
                    Cause::ChainSignature,
                    Cause::ChainUntrusted,
                ],
            );
        }
    }
}

#[test]
fn report_data_must_be_exactly_what_was_asked_for() {
    for (id, case) in accepted(Tee::Snp) {
        let carried = case.part.item("report.bin").unwrap()[0x50..0x90].to_vec();
        assert_eq!(judge(&case, Expected::ReportData(&carried)).verdict, Verdict::Accept, "{id}");
        let mut other = carried.clone();
        other[63] ^= 1;
        let report_data = judge(&case, Expected::ReportData(&other));
        refused(&id, "other report data", &report_data, &[Cause::BindingReportData]);
        assert!(report_data.authentic, "{id}");
        refused(&id, "other nonce", &judge(&case, Expected::Nonce(&other)), &[Cause::BindingNonce]);
        other.push(0);
        refused(&id, "longer", &judge(&case, Expected::ReportData(&other)), &[Cause::BindingReportData]);
    }
}

#[test]
fn a_certificate_without_a_report_binds_nothing() {
    let (folder, rows) = packaged();
    let case = rows.iter().find(|row| row.id == "snp/cert-turin-vcek-only").unwrap().case(&folder);
    let verification = judge(&case, Expected::Nonce(&[1]));
    refused("cert-only", "nonce", &verification, &[Cause::FormatMalformed]);
    assert!(judge(&case, Expected::None).claims.is_none());
}

#[test]
fn a_laxer_profile_takes_what_only_policy_refused_and_a_floor_refuses_old_firmware() {
    let (folder, rows) = packaged();
    let row = |name: &str| rows.iter().find(|row| row.id.ends_with(name)).unwrap().case(&folder);
    let mut debug = row("synthetic/debug-policy");
    debug.profile.allow_debug = true;
    assert_eq!(debug.verify().verdict, Verdict::Accept);
    let mut vmpl = row("synthetic/vmpl-2");
    vmpl.profile.max_vmpl = 2;
    assert_eq!(vmpl.verify().verdict, Verdict::Accept);

    let mut floor = row("snp/milan-v2-virtee");
    floor.profile = toml::from_str("[snp.min_tcb.milan]\nsnp = 8").unwrap();
    assert_eq!(floor.verify().verdict, Verdict::Accept);
    floor.profile = toml::from_str("[snp.min_tcb.milan]\nsnp = 9").unwrap();
    let verification = floor.verify();
    refused("floor", "snp 9", &verification, &[Cause::TcbStatus]);
    assert!(verification.authentic);
    floor.profile = toml::from_str("[snp]\nrequire_crl = true").unwrap();
    refused("crl", "none", &floor.verify(), &[Cause::CollateralValidity]);
}

#[test]
fn a_flipped_bit_anywhere_in_a_tpm_quote_signature_or_key_is_refused() {
    for (id, case) in accepted(Tee::Tpm) {
        // The AK's attributes are covered by its name, which credential activation alone proves.
        let mut case = case;
        let digest = case.part.item("ek.pub").map(ek_digest);
        if let Some(ek_digest) = digest {
            let ak_name = Public::read(case.part.item("ak.pub").unwrap()).unwrap().name();
            case.endorsements.ak_proof = AkProof::Activated { ak_name, ek_digest };
        }
        for name in ["quote.msg", "quote.sig", "ak.pub", "quote-sha256.msg", "quote-sha1.sig"] {
            if name == "ak.pub" && digest.is_none() {
                continue;
            }
            let Some(length) = case.part.item(name).map(<[u8]>::len) else { continue };
            for at in 0..length {
                let altered = case.with(name, |bytes| bytes[at] ^= 1 << (at % 8)).verify();
                assert_eq!(altered.verdict, Verdict::Reject, "{id}, {name}, byte {at:#x}");
            }
            for change in [|bytes: &mut Vec<u8>| bytes.push(0), |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 1)] {
                let altered = case.with(name, change).verify();
                refused(&id, name, &altered, &[Cause::FormatMalformed, Cause::QuoteStructure]);
            }
        }
    }
}

#[test]
fn tpm_evidence_out_of_its_circumstances_is_refused_each_with_its_cause() {
    for (id, case) in accepted(Tee::Tpm) {
        let nonce = case.nonce.clone().unwrap();
        let wrong = judge(&case, Expected::Nonce(&[nonce.as_slice(), &[0]].concat()));
        refused(&id, "longer nonce", &wrong, &[Cause::BindingNonce]);
        assert!(wrong.authentic, "{id}");
        refused(&id, "report data", &judge(&case, Expected::ReportData(&[0; 64])), &[Cause::BindingReportData]);
        let early = Case { at: Timestamp::from_unix_secs(1_000_000_000), ..case.clone() }.verify();
        refused(&id, "early", &early, &[Cause::CertificateValidity, Cause::ChainUntrusted]);
        let untrusted = Case { roots: Roots::vendor(), ..case.clone() }.verify();
        refused(&id, "vendor roots", &untrusted, &[Cause::ChainUntrusted]);
        let mut demanding = case.clone();
        demanding.profile.tpm.pcrs.insert(30);
        refused(&id, "PCR 30", &demanding.verify(), &[Cause::PcrSelection]);
        let mut elsewhere = case.clone();
        elsewhere.endorsements.platforms = vec![vec![9; 32]];
        elsewhere.endorsements.ak_proof = AkProof::Pending;
        refused(&id, "another TPM", &elsewhere.verify(), &[Cause::PlatformUnlisted]);
    }
}

#[test]
fn a_node_demands_the_bond_between_attestation_key_and_endorsement_key() {
    let (_, case) = accepted(Tee::Tpm).into_iter().find(|(id, _)| id == "tpm/swtpm-ecc").unwrap();
    let ak_name = Public::read(case.part.item("ak.pub").unwrap()).unwrap().name();
    let digest = ek_digest(case.part.item("ek.pub").unwrap());
    let with = |ak_proof: AkProof| {
        Case { endorsements: Endorsements { ak_proof, ..Endorsements::default() }, ..case.clone() }.verify()
    };
    for proof in [AkProof::Offline, AkProof::Pending] {
        let told = with(proof);
        let unbound = told.checks.iter().find(|check| check.cause == Cause::AkUnbound).unwrap();
        assert_eq!((unbound.passed, unbound.fatal, told.verdict), (false, false, Verdict::Accept));
    }
    refused("node", "no proof", &with(AkProof::None), &[Cause::AkUnbound]);
    let proof = AkProof::Activated { ak_name: ak_name.clone(), ek_digest: digest };
    assert_eq!(with(proof).verdict, Verdict::Accept);
    let other_ek = AkProof::Activated { ak_name: ak_name.clone(), ek_digest: [0; 32] };
    refused("node", "another EK", &with(other_ek), &[Cause::AkUnbound]);
    let other_ak = AkProof::Activated { ak_name: vec![0, 0x0b, 1], ek_digest: digest };
    refused("node", "another AK", &with(other_ak), &[Cause::AkUnbound]);
}

#[test]
fn a_listed_endorsement_key_needs_no_certificate_where_the_profile_says_so() {
    let (_, mut case) = accepted(Tee::Tpm).into_iter().find(|(id, _)| id == "tpm/swtpm-rsa").unwrap();
    case.part.items.retain(|name, _| !name.starts_with("ekcert"));
    refused("tpm", "no certificate", &case.verify(), &[Cause::ChainUntrusted]);
    case.profile.tpm.trust = TpmTrust::Listed;
    refused("tpm", "not listed", &case.verify(), &[Cause::ChainUntrusted]);
    let (ak_name, digest) = names(&case);
    case.endorsements.platforms = vec![digest.to_vec()];
    // The list says whose keys are taken, not that this one is among them.
    refused("tpm", "listed and not proven", &case.verify(), &[Cause::AkUnbound]);
    case.endorsements.ak_proof = AkProof::Activated { ak_name, ek_digest: digest };
    let verification = case.verify();
    assert_eq!(verification.verdict, Verdict::Accept, "{:?}", verification.cause);
}

/// The AK's name and the EK's digest.
fn names(case: &Case) -> (Vec<u8>, [u8; 32]) {
    let item = |name| case.part.item(name).unwrap();
    (Public::read(item("ak.pub")).unwrap().name(), ek_digest(item("ek.pub")))
}

#[test]
fn values_of_pcrs_that_were_not_quoted_make_no_claim() {
    let (_, case) = accepted(Tee::Tpm).into_iter().find(|(id, _)| id == "tpm/swtpm-rsapss-sha384-bank").unwrap();
    let registers = case.verify().claims.unwrap().registers;
    let names: Vec<_> = registers.keys().map(String::as_str).collect();
    assert_eq!(names, ["sha384:pcr0", "sha384:pcr14", "sha384:pcr4", "sha384:pcr7", "sha384:pcr8"]);
}

#[test]
fn a_tpm_whose_key_is_proven_is_named_by_its_makers_certificate() {
    let (_, mut case) = accepted(Tee::Tpm).into_iter().find(|(id, _)| id == "tpm/swtpm-ecc").unwrap();
    let (ak_name, digest) = names(&case);
    let named = |case: &Case| {
        let verification = case.verify();
        let claims = verification.claims.unwrap();
        (verification.unproven, claims.product, claims.platform_id.map(|id| id.0))
    };
    let name = (Some("id:00001014".to_owned()), Some(digest.to_vec()));
    assert_eq!(named(&case), (vec![Cause::AkUnbound], None, None));
    // A node learns whom it asks.
    case.endorsements.ak_proof = AkProof::Pending;
    assert_eq!(named(&case), (vec![Cause::AkUnbound], name.0.clone(), name.1.clone()));
    case.endorsements.ak_proof = AkProof::Activated { ak_name, ek_digest: digest };
    assert_eq!(named(&case), (Vec::new(), name.0, name.1));
}

#[test]
fn recorded_keys_stand_in_a_hierarchy_whose_firmware_version_is_signed_as_it_is() {
    for (id, case) in accepted(Tee::Tpm) {
        assert!(case.verify().claims.unwrap().tcb.svn.contains_key("firmware"), "{id}");
    }
}

#[test]
fn a_profile_demands_the_proof_where_nobody_can_ask_the_tpm() {
    for (id, mut case) in accepted(Tee::Tpm) {
        case.profile = toml::from_str("[tpm]\nrequire_bound = true").unwrap();
        let verification = case.verify();
        if case.part.item("ek.pub").is_some() {
            refused(&id, "no proof", &verification, &[Cause::AkUnbound]);
        } else {
            // A certificate of the key that signed.
            assert_eq!((verification.verdict, verification.unproven), (Verdict::Accept, vec![]), "{id}");
        }
    }
}

#[test]
fn the_answer_as_json_has_the_fields_that_the_command_promises() {
    let (folder, rows) = packaged();
    let case = rows.iter().find(|row| row.id == "snp/synthetic/debug-policy").unwrap().case(&folder);
    let json = serde_json::to_value(case.verify()).unwrap();
    assert_eq!((&json["verdict"], &json["authentic"]), (&"reject".into(), &true.into()));
    assert_eq!((&json["cause"], &json["tee"]), (&"debug".into(), &"snp".into()));
    assert_eq!((&json["unproven"], &json["claims"]["debug"]), (&serde_json::json!([]), &true.into()));
    assert!(json["valid_until"].as_str().unwrap().ends_with('Z'));
    for check in json["checks"].as_array().unwrap() {
        for field in ["name", "passed", "expected", "found", "reference"] {
            assert!(!check[field].is_null(), "{check}");
        }
    }
}
