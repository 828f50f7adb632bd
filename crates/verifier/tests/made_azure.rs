//! An Azure machine made in the test: hardware, paravisor and vTPM, each bound to the next, and every bond broken alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod common;

use aws_lc_rs::digest::{SHA256, SHA384, digest};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use burgrave_made::amd::base;
use burgrave_made::azure::{AK, Machine, NONCE, judge, judge_by, judge_under, jwk, runtime};
use burgrave_made::intel;
use burgrave_types::claims::Proved;
use burgrave_types::{EvidencePart, Tee};
use burgrave_verifier::{Cause, Endorsements, Expected, Input, Profile, Roots, Verdict, detect, inspect, verify};
use common::packaged;

#[test]
fn a_machine_whose_parts_are_bound_is_accepted_with_the_claims_of_all() {
    let part = Machine::new().part();
    assert_eq!(detect(&part.items), Some(Tee::AzVtpm));
    let verification = judge(&part, Expected::Nonce(NONCE));
    assert_eq!((verification.verdict, verification.authentic), (Verdict::Accept, true), "{verification:#?}");
    assert!(verification.valid_until.is_some());
    let claims = verification.claims.unwrap();
    assert_eq!((claims.tee, claims.debug, claims.privilege), (Tee::AzVtpm, Some(false), Some(0)));
    assert_eq!(claims.launch.measurement.unwrap().0, base("report.bin")[0x90..0xc0]);
    assert_eq!(claims.registers.keys().collect::<Vec<_>>(), ["pcr0", "pcr1", "pcr2"]);
    assert_eq!(claims.binding.unwrap().0, NONCE);
    assert!(claims.proved.contains(&Proved::Boot) && claims.proved.contains(&Proved::Launch));
    assert_eq!(verification.raw["hcl"]["configuration"]["secure-boot"], true);
    assert_eq!(inspect(&part).unwrap().raw, verification.raw);
}

#[test]
fn a_longer_hash_and_a_wrapped_signature_are_taken() {
    let mut machine = Machine::new();
    machine.hash = (2, &SHA384);
    machine.finish = |part| {
        let signature = part.items.get_mut("quote.sig").unwrap();
        *signature = [[0, 0x14, 0, 0x0b, 1, 0].as_slice(), signature].concat();
    };
    assert_eq!(machine.verify().verdict, Verdict::Accept);
}

#[test]
fn the_quote_carries_the_binding() {
    let part = Machine::new().part();
    let mut qualifying_data = [0; 32];
    let binding = judge(&part, Expected::Binding { report_data: &[0; 64], qualifying_data: &qualifying_data });
    assert_eq!((binding.cause, binding.authentic), (Some(Cause::BindingNonce), true));
    qualifying_data[..9].copy_from_slice(NONCE);
    let padded = judge(&part, Expected::Binding { report_data: &[0; 64], qualifying_data: &qualifying_data });
    assert_eq!(padded.cause, Some(Cause::BindingNonce), "exactly these bytes, no padding");
    assert_eq!(judge(&part, Expected::ReportData(&[1; 64])).cause, Some(Cause::BindingReportData));
}

#[test]
fn each_bond_that_is_broken_is_named() {
    let mut machine = Machine::new();
    let mut report_data = [0; 64];
    report_data[..32].copy_from_slice(digest(&SHA256, machine.runtime.as_bytes()).as_ref());
    report_data[63] = 1;
    machine.report_data = Some(report_data);
    machine.refused(Cause::BindingPart);
    machine.report_data = Some([0; 64]);
    assert!(!machine.refused(Cause::BindingPart).authentic);

    // The runtime data of another machine, whose vTPM signed the quote.
    let other = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let mut machine = Machine::new();
    machine.report_data = Some({
        let mut own = [0; 64];
        own[..32].copy_from_slice(digest(&SHA256, machine.runtime.as_bytes()).as_ref());
        own
    });
    machine.runtime = runtime(&[jwk("HCLAkPub", &other)]);
    machine.signer = Some(other);
    machine.refused(Cause::BindingPart);

    // A quote of another vTPM, beside whole evidence.
    let mut machine = Machine::new();
    machine.signer = Some(RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
    assert!(!machine.refused(Cause::SignatureInvalid).authentic);

    let mut machine = Machine::new();
    machine.quoted = Some(vec![[9; 32]; 3]);
    machine.refused(Cause::PcrDigest);
    machine.quoted = None;
    machine.pcrs.truncate(2);
    machine.refused(Cause::PcrSelection);
}

#[test]
fn the_hardware_report_is_held_to_its_own_rules() {
    let mut machine = Machine::new();
    machine.report[0x0a] |= 0x08;
    assert!(machine.refused(Cause::Debug).authentic);
    let mut machine = Machine::new();
    machine.report[0x30] = 2;
    machine.refused(Cause::Privilege);
    // A guest's own report is no paravisor's, whatever a profile takes.
    let profile = Profile { max_vmpl: 3, ..Profile::default() };
    assert_eq!(judge_by(&profile, &machine.part()).cause, Some(Cause::Privilege));
    let mut machine = Machine::new();
    machine.finish = |part| drop(part.items.remove("vcek.der"));
    machine.refused(Cause::ChainUntrusted);
    let mut machine = Machine::new();
    machine.finish = |part| part.items.get_mut("hcl-report.bin").unwrap()[32 + 0x90] ^= 1;
    machine.refused(Cause::SignatureInvalid);
    let mut machine = Machine::new();
    machine.finish = |part| drop(part.items.insert("report.bin".to_owned(), vec![0; 1184]));
    assert_eq!(machine.verify().verdict, Verdict::Accept, "the report is the one that the HCL report holds");
}

#[test]
fn an_hcl_report_of_another_form_is_refused() {
    type Change = fn(&mut Machine);
    let changes: [(Cause, Change); 10] = [
        (Cause::FormatVersion, |machine| machine.version = 3),
        (Cause::FormatAlgorithm, |machine| machine.kind = 1),
        (Cause::FormatAlgorithm, |machine| machine.hash.0 = 0),
        (Cause::FormatMalformed, |machine| machine.runtime = "{".to_owned()),
        (Cause::FormatMalformed, |machine| machine.runtime = runtime(&[])),
        (Cause::FormatMalformed, |machine| machine.runtime = runtime(&[jwk("HCLEkPub", &AK)])),
        (Cause::FormatMalformed, |machine| {
            machine.runtime = runtime(&[jwk("HCLAkPub", &AK), jwk("HCLAkPub", &AK)]);
        }),
        (Cause::FormatMalformed, |machine| {
            machine.finish = |part| part.items.get_mut("hcl-report.bin").unwrap()[0] = b'h';
        }),
        (Cause::FormatMalformed, |machine| {
            machine.finish = |part| part.items.get_mut("hcl-report.bin").unwrap()[16] = 1;
        }),
        (Cause::FormatLength, |machine| machine.runtime = format!("{}{}", machine.runtime, " ".repeat(70_000))),
    ];
    for (which, (cause, change)) in changes.into_iter().enumerate() {
        let mut machine = Machine::new();
        change(&mut machine);
        assert_eq!(machine.verify().cause, Some(cause), "{which}");
    }
    let part = Machine::new().part();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut part = part.clone();
        change(part.items.get_mut("hcl-report.bin").unwrap());
        judge(&part, Expected::Nonce(NONCE)).cause
    };
    assert_eq!(with(&|bytes| bytes.push(0)), None, "the buffer is padded with zeros");
    assert_eq!(with(&|bytes| bytes.push(1)), Some(Cause::FormatLength));
    assert_eq!(with(&|bytes| bytes.truncate(1300)), Some(Cause::FormatLength));
    assert_eq!(with(&|bytes| bytes.truncate(20)), Some(Cause::FormatLength));
    for at in [8, 1216, 1232] {
        assert_eq!(with(&|bytes| bytes[at..at + 4].fill(0xff)), Some(Cause::FormatLength), "{at}");
    }
}

#[test]
fn a_flipped_bit_in_any_part_is_refused() {
    let part = Machine::new().part();
    let used = part.item("hcl-report.bin").unwrap().len();
    for (name, step, length) in [("hcl-report.bin", 7, used), ("quote.msg", 1, 122), ("quote.sig", 5, 256)] {
        for at in (0..length.min(part.item(name).unwrap().len())).step_by(step) {
            let mut altered = part.clone();
            altered.items.get_mut(name).unwrap()[at] ^= 1 << (at % 8);
            let verification = judge(&altered, Expected::Nonce(NONCE));
            assert_eq!(verification.verdict, Verdict::Reject, "{name}, byte {at:#x}");
        }
    }
}

/// A file of the package of genuine parts.
fn package(name: &str) -> Vec<u8> {
    burgrave_made::packaged(&format!("az-vtpm/az-cvm-vtpm/{name}"))
}

/// The package's quote: signature, message and 24 PCRs, each counted in eight bytes.
fn package_quote(part: &mut EvidencePart) {
    let bytes = package("quote.bin");
    let pcrs = bytes[402..].chunks_exact(32).enumerate();
    let pcrs: serde_json::Map<_, _> =
        pcrs.map(|(index, value)| (index.to_string(), hex::encode(value).into())).collect();
    part.items.insert("quote.sig".to_owned(), bytes[8..264].to_vec());
    part.items.insert("quote.msg".to_owned(), bytes[272..394].to_vec());
    part.items.insert("pcrs-sha256.json".to_owned(), serde_json::to_vec(&pcrs).unwrap());
}

#[test]
fn genuine_parts_of_different_machines_are_read_and_told_apart() {
    let items = [("hcl-report.bin", package("hcl-report-snp.bin")), ("certs.pem", package("certs.pem"))];
    let mut part = EvidencePart::new(Tee::AzVtpm, items);
    package_quote(&mut part);
    let verification = verify(&Input {
        part: &part,
        endorsements: &Endorsements::default(),
        roots: &Roots::vendor(),
        profile: &Profile::default(),
        expected: Expected::Nonce(NONCE),
        at: "2024-01-01T00:00:00Z".parse().unwrap(),
    });
    let passed = |name: &str| verification.checks.iter().any(|check| check.name == name && check.passed);
    assert!(passed("azure.runtime.bound") && passed("tpm.quote.extra_data") && passed("tpm.pcr.digest"));
    // The certificates are another chip's.
    assert_eq!(verification.cause, Some(Cause::ChipMismatch), "{verification:#?}");
}

#[test]
fn a_machine_on_tdx_is_bound_by_the_quote_made_of_its_td_report() {
    let mut machine = Machine::new();
    machine.kind = 4;
    machine.version = 2;
    machine.report = [vec![0x81; 1024], vec![0; 160]].concat();
    let mut part = machine.part();
    let made = intel::td(4, 2).with(|made| {
        made.body[520..552].copy_from_slice(digest(&SHA256, machine.runtime.as_bytes()).as_ref());
        made.body[552..].fill(0);
    });
    part.items.insert("quote.bin".to_owned(), made.quote());
    part.items.insert("collateral.json".to_owned(), made.collateral().to_string().into_bytes());
    let root = intel::KEYS.root.der();
    let verification = judge_under(root, &part, Expected::Nonce(NONCE));
    assert_eq!((verification.verdict, verification.authentic), (Verdict::Accept, true), "{verification:#?}");
    let claims = verification.claims.unwrap();
    assert_eq!(claims.tee, Tee::AzVtpm);
    assert_eq!(claims.launch.measurement.unwrap().0, made.body[136..184]);
    assert!(claims.registers.contains_key("rtmr0") && claims.registers.contains_key("pcr2"), "{:?}", claims.registers);
    // The same quote beside other runtime data.
    let mut other = Machine::new();
    (other.kind, other.version, other.report) = (4, 2, machine.report.clone());
    other.runtime.push(' ');
    let mut swapped = part.clone();
    swapped.items.insert("hcl-report.bin".to_owned(), other.hcl());
    let verification = judge_under(root, &swapped, Expected::Nonce(NONCE));
    assert_eq!((verification.cause, verification.authentic), (Some(Cause::BindingPart), false));
}

#[test]
fn a_td_report_asks_for_the_quote_made_of_it() {
    let mut part = EvidencePart::new(Tee::AzVtpm, [("hcl-report.bin", package("hcl-report-tdx.bin"))]);
    package_quote(&mut part);
    let without = judge(&part, Expected::Nonce(NONCE));
    assert_eq!(without.cause, Some(Cause::FormatMalformed));
    assert!(without.checks.last().unwrap().expected.contains("quote.bin"), "{without:#?}");
    let (folder, rows) = packaged();
    let row = rows.iter().find(|row| row.id == "tdx/v4-b0c06f-uptodate").unwrap();
    // A genuine quote of another TD.
    part.items.extend(row.case(&folder).part.items);
    assert_eq!(judge(&part, Expected::Nonce(NONCE)).cause, Some(Cause::BindingPart));
}
