//! Mistakes about SEV-SNP.

use std::collections::BTreeMap;

use burgrave_types::claims::TcbStatus;
use burgrave_verifier::snp::{Family, Tcb};
use burgrave_verifier::{Cause, Roots};

use super::common::Case;
use super::{each_refused, refused, row, taken};
use burgrave_made::amd::{AUTHORITY, sign_report};

/// The synthetic report, changed and signed anew by a key of the test's own.
fn signed(change: impl FnOnce(&mut [u8])) -> Case {
    let mut case = row("snp/synthetic/base").with("report.bin", |report| {
        change(report);
        sign_report(report);
    });
    for (name, der) in [("vek.der", &AUTHORITY.vek), ("ask.der", &AUTHORITY.ask)] {
        case.part.items.insert(name.to_owned(), der.clone());
    }
    case.roots = Roots::only([&AUTHORITY.ark]).unwrap();
    case
}

#[test]
fn a_report_asked_for_by_less_than_the_most_privileged_level_is_refused() {
    each_refused(&["snp/synthetic/vmpl-2"], &[Cause::Privilege]);
    taken("VMPL 0", &signed(|_| ()).verify());
    for vmpl in 1..4 {
        refused("VMPL", &signed(|report| report[0x30] = vmpl).verify(), &[Cause::Privilege]);
    }
}

#[test]
fn a_report_is_held_against_the_kind_chip_and_firmware_of_its_certificate() {
    each_refused(&["snp/synthetic/signing-key-says-vlek"], &[Cause::CertificateKind]);
    each_refused(&["snp/synthetic/chip-id-not-vek-hwid"], &[Cause::ChipMismatch]);
    each_refused(&["snp/synthetic/reported-tcb-not-vek-tcb"], &[Cause::TcbMismatch]);
    // A chip id that is masked out names no chip.
    let masked = signed(|report| report[0x1a0..0x1e0].fill(0));
    refused("masked chip id", &masked.verify(), &[Cause::ChipMismatch]);
    refused("signed by no key", &signed(|report| report[0x48] |= 0b111 << 2).verify(), &[Cause::CertificateKind]);
}

#[test]
fn a_floor_is_compared_field_by_field_and_by_order() {
    let mut case = row("snp/synthetic/base");
    let reported = case.verify().claims.unwrap().tcb.svn;
    let family = case.verify().claims.unwrap().product.unwrap();
    let mut judged = |floor: &[(&str, u64)]| {
        let floor: BTreeMap<String, u64> = floor.iter().map(|(name, svn)| ((*name).to_owned(), *svn)).collect();
        case.profile.snp.min_tcb = [(family.clone(), floor)].into();
        case.verify()
    };
    for (name, svn) in &reported {
        taken("at the floor", &judged(&[(name, *svn)]));
        if *svn > 0 {
            taken("above the floor: not membership of a set", &judged(&[(name, svn - 1)]));
        }
        let below = judged(&[(name, svn + 1)]);
        refused("below the floor in one, whatever the others", &below, &[Cause::TcbStatus]);
        assert_eq!(below.claims.unwrap().tcb.status, TcbStatus::OutOfDate);
    }
}

#[test]
fn a_turin_report_is_not_read_in_the_layout_of_milan() {
    let tcb = Tcb([1, 2, 3, 4, 0, 0, 0, 8]);
    let of = |family| tcb.parts(family).into_iter().collect::<BTreeMap<_, _>>();
    assert_eq!(of(Family::Turin), [("fmc", 1), ("bl", 2), ("tee", 3), ("snp", 4), ("ucode", 8)].into());
    assert_eq!(of(Family::Milan), [("bl", 1), ("tee", 2), ("snp", 0), ("ucode", 8)].into());
}

#[test]
fn a_guest_that_a_migration_agent_may_move_is_refused() {
    let mut case = signed(|report| report[0x0a] |= 0x04);
    refused("MIGRATE_MA", &case.verify(), &[Cause::Migration]);
    case.profile.allow_migration = true;
    taken("MIGRATE_MA allowed", &case.verify());
}

#[test]
fn firmware_versions_that_contradict_each_other_are_refused() {
    // Reported at most committed, committed at most current.
    let base = row("snp/synthetic/base").part.items["report.bin"].clone();
    for (what, at) in [("committed", 0x1e0), ("current", 0x38)] {
        assert!(base[at + 7] > 0, "{what}");
        refused(what, &signed(|report| report[at + 7] = 0).verify(), &[Cause::TcbMismatch]);
    }
}

#[test]
fn a_clouds_name_is_its_text_and_nothing_before_it() {
    let Some((folder, rows)) = super::common::collection() else {
        println!("skipped: no evidence vectors at BURGRAVE_VECTORS or ../shared/vectors");
        return;
    };
    let row = rows.iter().find(|row| row.id == "snp/milan-v3-vlek-aws-vmpl1").unwrap();
    let claims = row.case(&folder).verify().claims.unwrap();
    assert_eq!(claims.platform_id.unwrap().0, b"CN=cc-us-east-2.amazonaws.com");
}

#[test]
fn a_profile_says_what_the_machine_must_have_and_must_not() {
    use burgrave_verifier::snp::PlatformFeature::{AliasCheckComplete, CiphertextHiding, Smt};
    let with = |info: u8| signed(|report| report[0x40] = info);
    let judged = |mut case: Case, toml: &str| {
        case.profile = toml::from_str(toml).unwrap();
        case.verify()
    };
    let required = "[snp]\nrequire_platform = [\"alias-check-complete\", \"ciphertext-hiding\"]";
    taken("both", &judged(with(0b11_0000), required));
    for lacking in [0b10_0000, 0b01_0000, 0b1111, 0] {
        refused("one is not there", &judged(with(lacking), required), &[Cause::TcbStatus]);
    }
    let forbidden = "[snp]\nforbid_platform = [\"smt\"]";
    taken("no threads", &judged(with(0b11_1110), forbidden));
    refused("threads", &judged(with(1), forbidden), &[Cause::TcbStatus]);
    assert!(toml::from_str::<burgrave_verifier::Profile>("[snp]\nforbid_platform = [\"no such\"]").is_err());
    let raw = with(0b11_0001).verify().raw["platform_features"].clone();
    assert_eq!(raw, serde_json::json!([Smt.as_str(), CiphertextHiding.as_str(), AliasCheckComplete.as_str()]));
}

#[test]
fn mitigations_count_where_the_firmware_had_them_at_launch_and_now() {
    let of = |version: u8, launch: u8, current: u8| {
        signed(|report| {
            report[0] = version;
            report[0x188..0x18a].copy_from_slice(&[0x19, 0x01]);
            (report[0x1f8], report[0x200]) = (launch, current);
        })
    };
    let judged = |mut case: Case, bits: &str| {
        case.profile = toml::from_str(&format!("[snp]\nmitigations = {bits}")).unwrap();
        case.verify()
    };
    taken("both bits", &judged(of(5, 0b101, 0b111), "[0, 2]"));
    for (version, launch, current) in [(5, 0b001, 0b101), (5, 0b101, 0b001), (5, 0, 0), (4, 0b101, 0b101)] {
        refused("not at both times", &judged(of(version, launch, current), "[0, 2]"), &[Cause::TcbStatus]);
    }
    refused("no such bit", &judged(of(5, 0xff, 0xff), "[64]"), &[Cause::TcbStatus]);
}

#[test]
fn a_signer_is_claimed_where_the_firmware_verified_one_and_nowhere_else() {
    let without = signed(|report| report[0xe0..0x110].fill(0)).verify();
    assert_eq!(without.claims.unwrap().launch.signer, None);
    let with = signed(|report| report[0xe0..0x110].fill(3)).verify();
    assert_eq!(with.claims.unwrap().launch.signer.unwrap().0, [3; 48]);
}
