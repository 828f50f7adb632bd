//! A GPU made in the test, under a PKI of its own: each rule of report, chain and revocation broken alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

use std::sync::Arc;

use burgrave_made::nvidia::{FIRMWARE, Gpu, LEAF_SERIAL, NONCE, beneath, composite_device_id, tcb_info};
use burgrave_made::pki::{Issuer, authority, list, p384, root as root_of};
use burgrave_types::Tee;
use burgrave_verifier::{
    Cause, Endorsements, Expected, Input, Profile, Roots, Verdict, Verification, detect, inspect, verify,
};
use rcgen::{
    BasicConstraints, CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope, IsCa, PublicKeyData, date_time_ymd,
};

#[test]
fn a_gpu_is_accepted_and_its_measurements_are_registers() {
    let gpu = Gpu::new();
    let part = gpu.part();
    assert_eq!(detect(&part.items), Some(Tee::NvidiaGpu));
    let verification = gpu.accepted();
    assert_eq!(verification.valid_until, Some("2029-01-01T00:00:00Z".parse().unwrap()));
    assert_eq!(verification.raw["driver_version"], "590.12");
    assert_eq!(verification.raw["vbios_version"], "96.00.A5.00.01");
    let claims = verification.claims.unwrap();
    assert_eq!((claims.product.as_deref(), claims.debug), (Some("GH100"), None));
    assert_eq!(claims.launch.measurement.unwrap().0, FIRMWARE);
    assert_eq!(claims.registers["measurement2"].0, [2; 48]);
    assert_eq!(claims.binding.unwrap().0, NONCE);
    let chip = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, gpu.chip.key().der_bytes());
    assert_eq!(claims.platform_id.unwrap().0, chip.as_ref());
    assert_eq!(inspect(&part).unwrap().raw["measurements"]["1"]["type"], 1);
}

#[test]
fn a_chain_comes_with_its_root_or_without_and_is_never_its_own_root() {
    let mut gpu = Gpu::new();
    gpu.chain = |mut chain| {
        chain.pop();
        chain
    };
    gpu.accepted();
    let part = gpu.part();
    // The same names under another root.
    let other = Gpu::new();
    assert_eq!(other.judge(&part).cause, Some(Cause::ChainSignature));
    assert_eq!(other.judge(&Gpu::new().part()).cause, Some(Cause::ChainUntrusted));
    let chains: [fn(Vec<String>) -> Vec<String>; 5] = [
        |chain| chain.into_iter().rev().collect(),
        |chain| vec![chain[0].clone()],
        |chain| vec![chain[0].clone(), chain[3].clone()],
        |_| Vec::new(),
        |chain| vec![chain[3].clone()],
    ];
    for chain in chains {
        gpu.chain = chain;
        let verification = gpu.verify();
        let causes = [Cause::ChainUntrusted, Cause::ChainConstraint];
        assert!(causes.contains(&verification.cause.unwrap()), "{verification:#?}");
    }
}

#[test]
fn only_the_key_of_the_firmware_that_runs_signs() {
    let mut gpu = Gpu::new();
    gpu.signer = Some(Arc::new(p384()));
    assert!(!gpu.refused(Cause::SignatureInvalid).authentic);
    let mut gpu = Gpu::new();
    gpu.opaque[2].1 = vec![0xf2; 48];
    gpu.refused(Cause::CertificateExtension);
    // A report that names none leaves it to the certificate.
    gpu.opaque.pop();
    let silent = gpu.accepted();
    assert_eq!(silent.claims.unwrap().launch.measurement.unwrap().0, FIRMWARE);
    assert!(silent.checks.iter().any(|check| check.name == "nvidia.firmware" && check.passed));
    gpu.leaf.custom_extensions.clear();
    gpu.refused(Cause::CertificateExtension);
    let mut gpu = Gpu::new();
    gpu.leaf.custom_extensions.clear();
    gpu.refused(Cause::CertificateExtension);
    let mut gpu = Gpu::new();
    gpu.leaf.not_after = date_time_ymd(2026, 1, 1);
    gpu.refused(Cause::CertificateValidity);
    let mut gpu = Gpu::new();
    gpu.leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    gpu.refused(Cause::ChainConstraint);
}

#[test]
fn a_blackwells_firmware_stands_in_its_tcb_info() {
    let mut gpu = Gpu::blackwell();
    let claims = gpu.accepted().claims.unwrap();
    assert_eq!((claims.product.as_deref(), claims.debug), (Some("GB100"), Some(false)));
    assert_eq!(claims.launch.measurement.unwrap().0, FIRMWARE);
    gpu.leaf.custom_extensions = vec![tcb_info(&[0xf2; 48], 0)];
    gpu.refused(Cause::CertificateExtension);
    gpu.leaf.custom_extensions = vec![tcb_info(&[0; 48], 0)];
    gpu.refused(Cause::CertificateExtension);
    // Two statements, of whatever structure, are none.
    gpu.leaf.custom_extensions = vec![tcb_info(&FIRMWARE, 0), composite_device_id(&FIRMWARE)];
    gpu.refused(Cause::CertificateExtension);
    gpu.leaf.custom_extensions = vec![tcb_info(&FIRMWARE, 0x10)];
    let open = gpu.refused(Cause::Debug);
    assert_eq!((open.authentic, open.claims.unwrap().debug), (true, Some(true)));
}

#[test]
fn a_rubins_opaque_data_has_a_header() {
    let rubin = Gpu::rubin();
    let verification = rubin.accepted();
    assert_eq!(verification.raw["driver_version"], "590.12");
    let claims = verification.claims.unwrap();
    assert_eq!((claims.product.as_deref(), claims.debug), (Some("GR100"), Some(false)));
    assert_eq!(claims.launch.measurement.unwrap().0, FIRMWARE);
    let mut other = rubin.clone();
    other.opaque[2].1 = vec![0xf2; 48];
    other.refused(Cause::CertificateExtension);
    for (at, value) in [(6, 1), (8, 1), (8, 3)] {
        let mut other = rubin.clone();
        other.opaque_head[at] = value;
        other.refused(Cause::FormatVersion);
    }
    for length in 1..12 {
        let mut other = rubin.clone();
        other.opaque_head.truncate(length);
        other.opaque.clear();
        other.refused(Cause::FormatMalformed);
    }
    let mut twice = rubin;
    twice.opaque.push((3, Vec::new()));
    twice.refused(Cause::FormatMalformed);
}

#[test]
fn a_switch_is_no_gpu() {
    let switch = Gpu::switch();
    let refused = switch.refused(Cause::CertificateKind);
    assert!(!refused.authentic);
    assert_eq!(refused.claims.unwrap().product.as_deref(), Some("LS_10"));
    // Nor is it one for its firmware's words: names, and a field of the report, that it writes itself.
    let mut liar = switch.clone();
    liar.leaf = Gpu::new().leaf;
    liar.opaque.push((35, b"GH100\0".to_vec()));
    liar.refused(Cause::CertificateKind);
    // Nor is a chain one that leaves out who provisioned the chip, or has another chip's boot ROM in it.
    let hopper = Gpu::new();
    let mut short = Gpu { chip: beneath(&hopper.root, authority("GH100 A01 GSP BROM", 0)), ..hopper.clone() };
    short.between.clear();
    short.refused(Cause::CertificateKind);
    let mixed = Gpu { chip: beneath(&switch.between[0], authority("GH100 A01 GSP BROM", 0)), ..hopper };
    Gpu { root: switch.root, between: switch.between, ..mixed }.refused(Cause::CertificateKind);
    // Nor what a switch's boot ROM certifies to be one.
    let root = root_of("Device Identity CA", 9);
    let names = ["NVIDIA LS_10 Provisioner ICA 1", "LS_10 A01 FSP BROM", "NVIDIA GH100 Provisioner ICA 1"];
    let mut between: Vec<Arc<Issuer>> = Vec::new();
    for name in names {
        let next = beneath(between.last().unwrap_or(&root), authority(name, 9));
        between.push(next);
    }
    let chip = beneath(&between[2], authority("GH100 A01 GSP BROM", 9));
    Gpu { root, between, chip, ..Gpu::new() }.refused(Cause::CertificateKind);
    for chip in ["GV100", "GB10", "GB1000", "GB1XX", "GBX02", "GB10x", "TH500", ""] {
        Gpu::of(chip, tcb_info(&FIRMWARE, 0)).refused(Cause::CertificateKind);
    }
    for chip in ["GB202", "GR100"] {
        Gpu::of(chip, tcb_info(&FIRMWARE, 0)).accepted();
    }
    // Boot ROM and firmware may be named for all chips that differ in the last digit; who provisioned it knows which it is.
    let of_kind = |provisioned| Gpu::provisioned_as(provisioned, "GB20X", tcb_info(&FIRMWARE, 0));
    assert_eq!(of_kind("GB202").accepted().claims.unwrap().product.as_deref(), Some("GB20X"));
    for other in ["GB102", "GB20", "GB2021", "GB20Y", "GH202", "LS_10"] {
        of_kind(other).refused(Cause::CertificateKind);
    }
    Gpu::provisioned_as("GB20X", "GB202", tcb_info(&FIRMWARE, 0)).refused(Cause::CertificateKind);
}

#[test]
fn the_nonce_of_the_request_is_what_binds() {
    const OTHER: [u8; 32] = [5; 32];
    let mut gpu = Gpu::new();
    gpu.expected = Expected::Binding { report_data: &[0; 64], qualifying_data: &NONCE };
    gpu.accepted();
    gpu.expected = Expected::Nonce(&OTHER);
    assert!(gpu.refused(Cause::BindingNonce).authentic);
    gpu.expected = Expected::ReportData(&OTHER);
    gpu.refused(Cause::BindingReportData);
    // Shorter bytes are followed by zeros, as in other fields of fixed width.
    gpu.expected = Expected::Nonce(&[4; 31]);
    gpu.refused(Cause::BindingNonce);
    gpu.expected = Expected::Nonce(&[4; 33]);
    gpu.refused(Cause::BindingNonce);
    gpu.nonce[31] = 0;
    gpu.expected = Expected::Nonce(&[4; 31]);
    gpu.accepted();
}

#[test]
fn a_report_of_another_form_is_refused() {
    type Change = fn(&mut Gpu);
    let changes: [(Cause, Change); 13] = [
        (Cause::FormatVersion, |gpu| gpu.request[0] = 0x12),
        (Cause::FormatVersion, |gpu| gpu.response[0] = 0x12),
        (Cause::FormatMalformed, |gpu| gpu.request[1] = 0xe1),
        (Cause::FormatMalformed, |gpu| gpu.request[2] = 0),
        (Cause::FormatMalformed, |gpu| gpu.response[1] = 0x7f),
        (Cause::FormatMalformed, |gpu| gpu.stated = Some(1)),
        (Cause::FormatMalformed, |gpu| gpu.stated = Some(3)),
        (Cause::FormatMalformed, |gpu| gpu.blocks[1].0 = 1),
        (Cause::FormatMalformed, |gpu| gpu.blocks[1].1[0] = 2),
        (Cause::FormatMalformed, |gpu| gpu.blocks[1].1[1] = 52),
        (Cause::FormatMalformed, |gpu| gpu.blocks[1].1[4] = 49),
        (Cause::FormatMalformed, |gpu| gpu.blocks[1].1[2] = 0xff),
        (Cause::FormatMalformed, |gpu| gpu.opaque.push((3, Vec::new()))),
    ];
    for (which, (cause, change)) in changes.into_iter().enumerate() {
        let mut gpu = Gpu::new();
        change(&mut gpu);
        let verification = gpu.verify();
        assert_eq!(verification.cause, Some(cause), "{which}: {verification:#?}");
    }
    let gpu = Gpu::new();
    let part = gpu.part();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut part = part.clone();
        change(part.items.get_mut("report.bin").unwrap());
        gpu.judge(&part)
    };
    for length in 0..part.item("report.bin").unwrap().len() {
        assert_eq!(with(&|bytes| bytes.truncate(length)).verdict, Verdict::Reject, "{length}");
    }
    assert_eq!(with(&|bytes| bytes.push(0)).cause, Some(Cause::FormatLength));
    assert_eq!(with(&|bytes| bytes.resize(65 * 1024, 0)).cause, Some(Cause::FormatLength));
    // A record, and opaque data, longer than the report.
    assert_eq!(with(&|bytes| bytes[42..45].fill(0xff)).cause, Some(Cause::FormatLength));
    let opaque = part.item("report.bin").unwrap().len() - 96 - 76;
    assert_eq!(with(&|bytes| bytes[opaque - 2..opaque].fill(0xff)).cause, Some(Cause::FormatLength));
}

#[test]
fn a_revocation_list_that_is_at_hand_counts() {
    let under = |gpu: &Gpu, by: &Issuer, serial: u64, until: i32| -> Verification {
        let mut endorsements = Endorsements::default();
        let mut list = list(1, until, &[serial]);
        list.next_update = date_time_ymd(until, 2, 1);
        assert!(endorsements.add(list.signed_by(by).unwrap().der()));
        Gpu { endorsements, ..gpu.clone() }.verify()
    };
    let gpu = Gpu::new();
    let clean = under(&gpu, &gpu.chip, 1234, 2027);
    assert_eq!(clean.verdict, Verdict::Accept, "{clean:#?}");
    assert_eq!(clean.valid_until, Some("2027-02-01T00:00:00Z".parse().unwrap()));
    assert_eq!(under(&gpu, &gpu.chip, LEAF_SERIAL, 2027).cause, Some(Cause::CertificateRevoked));
    assert_eq!(under(&gpu, &gpu.chip, 1234, 2026).cause, Some(Cause::CrlValidity));
    // A list of the same name, by another key; and one of an authority that did not issue the leaf.
    assert_eq!(under(&gpu, &Gpu::new().chip, LEAF_SERIAL, 2027).cause, Some(Cause::CrlSignature));
    assert_eq!(under(&gpu, &gpu.root, LEAF_SERIAL, 2027).verdict, Verdict::Accept);
}

#[test]
fn a_list_that_is_known_is_asked_as_a_new_one_is() {
    let gpu = Gpu::new();
    let (part, roots) = (gpu.part(), Roots::only([gpu.root.der()]).unwrap());
    let mut endorsements = Endorsements::default();
    assert!(endorsements.add(list(1, 2027, &[1234]).signed_by(&*gpu.chip).unwrap().der()));
    let cause = |endorsements: &Endorsements, at: &str| {
        let (profile, expected, at) = (Profile::default(), Expected::Nonce(&NONCE), at.parse().unwrap());
        verify(&Input { part: &part, endorsements, roots: &roots, profile: &profile, expected, at }).cause
    };
    for _ in 0..2 {
        assert_eq!(cause(&endorsements, "2026-03-01T00:00:00Z"), None);
        assert_eq!(cause(&endorsements, "2027-01-01T00:00:00Z"), Some(Cause::CrlValidity));
    }
    // A newer one that revokes the leaf is another list, and both are asked.
    assert!(endorsements.add(list(2, 2027, &[LEAF_SERIAL]).signed_by(&*gpu.chip).unwrap().der()));
    assert_eq!(cause(&endorsements, "2026-03-01T00:00:00Z"), Some(Cause::CertificateRevoked));
}

#[test]
fn a_list_that_says_where_it_is_published_is_whole_and_one_of_a_part_is_not() {
    let mut gpu = Gpu::new();
    let uris = vec!["http://crl.example.com/1.crl".to_owned()];
    let mut published = list(1, 2027, &[1234]);
    let mut cause = |scope: Option<CrlScope>| {
        let distribution_point = CrlDistributionPoint { uris: uris.clone() };
        published.issuing_distribution_point = Some(CrlIssuingDistributionPoint { distribution_point, scope });
        gpu.endorsements = Endorsements::default();
        assert!(gpu.endorsements.add(published.signed_by(&*gpu.chip).unwrap().der()));
        gpu.verify().cause
    };
    assert_eq!(cause(None), None);
    for scope in [CrlScope::UserCertsOnly, CrlScope::CaCertsOnly] {
        assert_eq!(cause(Some(scope)), Some(Cause::CrlSignature));
    }
}

#[test]
fn lists_that_were_not_asked_are_told_and_refuse_nothing() {
    let told = |verification: &Verification| {
        let named = verification.checks.iter().filter(|check| check.name == "nvidia.chain.revocation");
        let failed: Vec<_> = named.filter(|check| !check.passed).collect();
        assert!(failed.iter().all(|check| !check.fatal), "{failed:#?}");
        failed.iter().map(|check| check.found.to_string()).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(told(&Gpu::new().accepted()), "none, and the certificates name none");
    let gpu = Gpu::with_lists();
    let (root, family) = ("`CN=Device Identity CA`", "`CN=NVIDIA GH100 Identity`");
    assert_eq!(told(&gpu.accepted()), format!("none of {root}, {family}"));
    let with = |lists: &[&Issuer]| {
        let mut endorsements = Endorsements::default();
        for issuer in lists {
            assert!(endorsements.add(list(1, 2027, &[]).signed_by(issuer).unwrap().der()));
        }
        told(&Gpu { endorsements, ..gpu.clone() }.accepted())
    };
    assert_eq!(with(&[&gpu.root]), format!("none of {family}"));
    assert_eq!(with(&[&gpu.root, &gpu.between[0]]), "");
    // Of somebody else, or of those alone that nothing names.
    assert_eq!(with(&[&root_of("Somebody", 0)]), format!("none of {root}, {family}"));
    assert_eq!(with(&[&gpu.chip]), format!("none of {root}, {family}"));
}
