//! Platforms, quotes and collateral made in the test under a PKI of its own: each rule broken alone, and what no genuine
//! vector shows (SGX up to date, a relaunch advised, service TDs, every layout under every version).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod platform;

use burgrave_types::Tee;
use burgrave_types::claims::{Proved, TcbStatus};
use burgrave_verifier::dcap::{Cache, Collateral};
use burgrave_verifier::{Cause, Endorsements, Profile, Roots, Verdict, Verification, detect, inspect};
use platform::{Case, KEYS, Made, Revoked, now, sgx, td};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

#[track_caller]
fn accepted(what: &str, verification: &Verification) {
    let failed: Vec<_> = verification.checks.iter().filter(|check| !check.passed).collect();
    assert_eq!(verification.verdict, Verdict::Accept, "{what}: {failed:#?}");
    assert!(verification.authentic && verification.cause.is_none(), "{what}");
}

#[track_caller]
fn refused(what: &str, verification: &Verification, cause: Cause, authentic: bool) {
    let failed: Vec<_> = verification.checks.iter().filter(|check| !check.passed).collect();
    assert_eq!(verification.verdict, Verdict::Reject, "{what}");
    assert_eq!((verification.cause, verification.authentic), (Some(cause), authentic), "{what}: {failed:#?}");
    assert!(failed.iter().all(|check| !check.expected.is_empty() && !check.reference.is_empty()), "{what}");
}

fn every_layout() -> Vec<(String, Made)> {
    let tds = [(4, 2), (5, 2), (5, 3), (5, 4)]
        .map(|(version, body)| (format!("TD body {body}, version {version}"), td(version, body)));
    [("SGX".to_owned(), sgx())].into_iter().chain(tds).collect()
}

#[test]
fn every_layout_in_every_version_that_has_it_is_accepted() {
    for (what, made) in every_layout() {
        let case = made.case();
        assert_eq!(detect(&case.part.items), Some(made.tee), "{what}");
        let verification = case.verify();
        accepted(&what, &verification);
        assert_eq!(verification.valid_until, Some("2026-03-22T00:00:00Z".parse().unwrap()), "{what}");
        assert_eq!(inspect(&case.part).unwrap().raw["report"], verification.raw["report"], "{what}");
    }
}

#[test]
fn an_enclaves_claims_are_its_reports() {
    let claims = sgx().case().verify().claims.unwrap();
    let launch = &claims.launch;
    assert_eq!((claims.tee, claims.product.as_deref()), (Tee::Sgx, Some("sgx")));
    assert_eq!(launch.measurement.as_ref().unwrap().0, [0xe1; 32]);
    assert_eq!(launch.signer.as_ref().unwrap().0, [0x51; 32]);
    assert_eq!((launch.product_id.as_deref(), launch.svn), (Some("3"), Some(9)));
    assert_eq!(claims.config.unwrap().0, [0xcf; 64]);
    assert_eq!(claims.binding.unwrap().0, [0xcc; 64]);
    assert_eq!(claims.platform_id.unwrap().0, [0x1d; 16]);
    assert_eq!((claims.debug, claims.migratable), (Some(false), None));
    assert_eq!((claims.tcb.status, claims.tcb.svn["pce"], claims.tcb.svn["sgx8"]), (TcbStatus::UpToDate, 13, 5));
    assert_eq!(claims.proved, [Proved::Launch].into());
}

#[test]
fn a_tds_claims_are_its_reports_and_never_name_a_signer() {
    let made = td(5, 3).with(|made| made.body[232..280].fill(7));
    let claims = made.case().verify().claims.unwrap();
    assert_eq!((claims.tee, claims.product.as_deref()), (Tee::Tdx, Some("tdx-1.5")));
    assert_eq!(claims.launch.measurement.unwrap().0, [0xaa; 48]);
    assert_eq!((claims.launch.signer, claims.launch.svn), (None, None));
    assert_eq!(claims.registers["rtmr0"].0, [0xb0; 48]);
    assert_eq!(claims.registers["rtmr3"].0, [0; 48]);
    assert_eq!((claims.debug, claims.migratable), (Some(false), Some(false)));
    assert_eq!((claims.tcb.svn["tdx1"], claims.tcb.svn["tdx3"]), (5, 4));
}

/// A rule, how it is broken, what that is called, and whether the evidence is authentic all the same.
type Broken = (&'static str, fn(&mut Made), Cause, bool);

#[track_caller]
fn each_refuses(made: &Made, rules: &[Broken]) {
    accepted("unbroken", &made.case().verify());
    for (what, change, cause, authentic) in rules {
        refused(what, &made.with(change).case().verify(), *cause, *authentic);
    }
}

#[test]
fn attributes_that_the_strict_profile_does_not_take_are_refused() {
    use Cause::{Debug, Migration, Privilege, ServiceTd, TdAttributes};
    each_refuses(
        &td(5, 4),
        &[
            ("debug", |made| made.body[120] = 1, Debug, true),
            ("profiling", |made| made.body[120] = 0x20, Debug, true),
            ("a reserved bit of those", |made| made.body[120] = 0x80, Debug, true),
            ("SEPT_VE_DISABLE off", |made| made.body[123] = 0, TdAttributes, true),
            ("migratable", |made| made.body[123] = 0x30, Migration, true),
            ("PKS", |made| made.body[123] = 0x50, TdAttributes, true),
            ("Key Locker", |made| made.body[123] = 0x90, TdAttributes, true),
            ("Perfmon", |made| made.body[127] = 0x80, TdAttributes, true),
            ("provisioning agent", |made| made.body[127] = 0x40, TdAttributes, true),
            ("an unknown bit", |made| made.body[125] = 1, TdAttributes, true),
            ("service TD", |made| made.body[647] = 1, ServiceTd, true),
            ("service TD at launch", |made| made.body[648 + 81] = 1, ServiceTd, true),
            ("service TD bound later", |made| made.body[648 + 181] = 1, ServiceTd, true),
            ("SERVTD_EXT", |made| made.body[122] = 2, ServiceTd, true),
            ("a partition", |made| made.body[648] = 1, Privilege, true),
        ],
    );
    each_refuses(
        &sgx(),
        &[
            ("debug", |made| made.body[48] = 0x07, Debug, true),
            ("32-bit mode", |made| made.body[48] = 0x01, TdAttributes, true),
            ("not initialised", |made| made.body[48] = 0x04, TdAttributes, true),
        ],
    );
}

#[test]
fn defences_and_what_a_profile_takes_are_no_reason_to_refuse() {
    let defended = td(5, 4).with(|made| (made.body[122], made.body[123]) = (1, 0x18));
    accepted("ICSSD and LASS", &defended.case().verify());
    let mut case = td(5, 3).with(|made| (made.body[123], made.body[127], made.body[600]) = (0xc0, 0xc0, 1)).case();
    case.profile = toml::from_str(
        "[tdx]\nallow = [\"sept-ve\", \"pks\", \"key-locker\", \"perfmon\", \"provisioning-agent\"]\nallow_service_td = true",
    )
    .unwrap();
    accepted("a lax profile", &case.verify());
    let mut debug = sgx().with(|made| made.body[48] = 0x07).case();
    debug.profile.allow_debug = true;
    accepted("debug allowed", &debug.verify());
}

#[test]
fn a_quoting_enclave_that_is_not_intels_is_refused() {
    use Cause::{QeBinding, QeIdentity};
    each_refuses(
        &td(4, 2),
        &[
            ("MRSIGNER", |made| made.qe_report[128] ^= 1, QeIdentity, false),
            ("ISVPRODID", |made| made.qe_report[256] = 1, QeIdentity, false),
            ("MISCSELECT", |made| made.qe_report[16] = 1, QeIdentity, false),
            ("ATTRIBUTES", |made| made.qe_report[48] = 0x01, QeIdentity, false),
            ("debug", |made| made.qe_report[48] = 0x13, QeIdentity, false),
            (
                "debug that the mask leaves open",
                |made| {
                    made.qe_report[48] = 0x13;
                    made.qe_identity["attributesMask"] = "F9FFFFFFFFFFFFFF0000000000000000".into();
                },
                QeIdentity,
                false,
            ),
            ("SVN below every level", |made| made.qe_report[258] = 5, QeIdentity, false),
            ("another key", |made| made.qe_report_data = Some(vec![1; 32]), QeBinding, false),
        ],
    );
    for length in [0, 1, 1000] {
        accepted(
            "authentication data",
            &td(4, 2).with(|made| made.authentication_data = vec![5; length]).case().verify(),
        );
    }
}

#[test]
fn a_module_that_is_not_intels_is_refused() {
    let module = Cause::ModuleIdentity;
    each_refuses(
        &td(5, 3),
        &[
            ("MRSIGNERSEAM", |made| made.body[64] = 1, module, false),
            ("SEAMATTRIBUTES", |made| made.body[112] = 1, module, false),
            ("an unlisted version", |made| made.body[1] = 2, module, false),
            ("SVN below every level", |made| made.body[0] = 2, module, false),
            ("an unlisted version now", |made| made.body[585] = 2, module, false),
        ],
    );
    // A module of version 0 is judged with the platform, its numbers included.
    let old = td(4, 2).with(|made| made.body[..3].copy_from_slice(&[9, 0, 4]));
    refused("version 0, below its level", &old.case().verify(), Cause::TcbNoLevel, true);
    let listed = old.with(|made| made.tcb_info["tcbLevels"][0]["tcb"]["tdxtcbcomponents"][1]["svn"] = 0.into());
    accepted("version 0", &listed.case().verify());
    let forged = listed.with(|made| made.body[64] = 1);
    refused("version 0, MRSIGNERSEAM", &forged.case().verify(), module, false);
}

#[test]
fn a_platform_stands_where_the_first_level_it_reaches_says() {
    type Standing = (&'static str, fn(&mut Made), &'static str, &'static [&'static str]);
    let cases: [Standing; 8] = [
        ("early microcode", |made| made.extension.components[0] = 6, "OutOfDate", &["INTEL-SA-00001"]),
        ("PCE", |made| made.extension.pce_svn = 12, "OutOfDate", &["INTEL-SA-00001"]),
        ("TDX component", |made| (made.body[2], made.body[586]) = (3, 3), "OutOfDate", &["INTEL-SA-00001"]),
        ("quoting enclave", |made| made.qe_report[258] = 7, "OutOfDate", &["INTEL-SA-00003"]),
        ("module", |made| (made.body[0], made.body[584]) = (4, 4), "OutOfDate", &["INTEL-SA-00002"]),
        (
            "a module updated under the TD: a relaunch is advised",
            |made| made.body[0] = 4,
            "OutOfDate",
            &["INTEL-SA-00002"],
        ),
        ("a module that went back", |made| made.body[584] = 4, "OutOfDate", &["INTEL-SA-00002"]),
        (
            "configuration and an old quoting enclave",
            |made| {
                made.tcb_info["tcbLevels"][0]["tcbStatus"] = "ConfigurationNeeded".into();
                made.qe_report[258] = 7;
            },
            "OutOfDateConfigurationNeeded",
            &["INTEL-SA-00003"],
        ),
    ];
    for (what, change, status, advisories) in cases {
        let mut case = td(5, 3).with(change).case();
        let strict = case.verify();
        refused(what, &strict, Cause::TcbStatus, true);
        assert_eq!(strict.raw["tcb_status"], status, "{what}");
        assert_eq!(strict.claims.unwrap().tcb.advisories, advisories, "{what}");
        case.profile.tcb_status.insert(TcbStatus::OutOfDate);
        accepted(what, &case.verify());
    }
    for component in (0..16).filter(|at| ![6, 8, 9, 10, 11, 12, 13, 14, 15].contains(at)) {
        let below = td(5, 3).with(|made| made.extension.components[component] = 0);
        refused("below every level", &below.case().verify(), Cause::TcbNoLevel, true);
    }
    let enclave = sgx().with(|made| made.extension.pce_svn = 10);
    refused("PCE below every level", &enclave.case().verify(), Cause::TcbNoLevel, true);
}

#[test]
fn a_revoked_level_is_refused_whatever_the_profile() {
    let revoked: [fn(&mut Made); 3] = [
        |made| made.tcb_info["tcbLevels"][0]["tcbStatus"] = "Revoked".into(),
        |made| made.tcb_info["tdxModuleIdentities"][0]["tcbLevels"][0]["tcbStatus"] = "Revoked".into(),
        |made| made.qe_identity["tcbLevels"][0]["tcbStatus"] = "Revoked".into(),
    ];
    for change in revoked {
        let mut case = td(5, 3).with(change).case();
        refused("strict", &case.verify(), Cause::TcbStatus, false);
        case.profile.tcb_status = TcbStatus::ALL.iter().copied().collect();
        refused("lax", &case.verify(), Cause::TcbStatus, false);
    }
}

#[test]
fn what_needs_both_configuration_and_hardening_needs_a_profile_that_takes_both() {
    let made =
        sgx().with(|made| made.tcb_info["tcbLevels"][0]["tcbStatus"] = "ConfigurationAndSWHardeningNeeded".into());
    let mut case = made.case();
    refused("strict", &case.verify(), Cause::TcbStatus, true);
    case.profile.tcb_status.insert(TcbStatus::ConfigurationNeeded);
    refused("one of them", &case.verify(), Cause::TcbStatus, true);
    case.profile.tcb_status.insert(TcbStatus::HardeningNeeded);
    accepted("both", &case.verify());
    assert_eq!(case.verify().claims.unwrap().tcb.status, TcbStatus::ConfigurationNeeded);
}

#[test]
fn collateral_for_something_else_is_refused() {
    let mismatch = Cause::CollateralMismatch;
    each_refuses(
        &td(5, 3),
        &[
            ("SGX TCB info", |made| made.tcb_info = sgx().tcb_info, mismatch, false),
            ("SGX identity", |made| made.qe_identity = sgx().qe_identity, mismatch, false),
            ("another FMSPC", |made| made.tcb_info["fmspc"] = "50806F000001".into(), mismatch, false),
            ("another PCEID", |made| made.tcb_info["pceId"] = "0001".into(), mismatch, false),
        ],
    );
    let mut other_ca = sgx().case();
    let processor = sgx().with(|made| made.authority_name = "Intel SGX PCK Processor CA");
    accepted("processor", &processor.case().verify());
    other_ca.part.items.insert("collateral.json".to_owned(), processor.collateral().to_string().into_bytes());
    refused("the list of another authority", &other_ca.verify(), mismatch, false);
}

#[test]
fn collateral_that_intel_did_not_sign_is_refused() {
    use Cause::{
        CertificateKind, CertificateRevoked, ChainUntrusted, CollateralSignature, CrlSignature, FormatMalformed,
    };
    each_refuses(
        &sgx(),
        &[
            ("edited after it was signed", |made| made.edited_after = true, CollateralSignature, false),
            ("another signer", |made| made.signer_name = "Intel SGX PCK Certificate", CertificateKind, false),
            ("a signer that is an authority", |made| made.signer_is_authority = true, CertificateKind, false),
            ("a signer beneath the PCK authority", |made| made.signer_under_authority = true, ChainUntrusted, false),
            ("a revoked signer", |made| made.revoked = Revoked::Signer, CertificateRevoked, false),
            ("a revoked authority", |made| made.revoked = Revoked::Authority, CertificateRevoked, false),
            ("a revoked PCK", |made| made.revoked = Revoked::Pck, CertificateRevoked, false),
            ("a list of another root", |made| made.crl_by_another = true, CrlSignature, false),
            ("another version", |made| made.tcb_info["version"] = 2.into(), FormatMalformed, false),
            ("another TCB type", |made| made.tcb_info["tcbType"] = 1.into(), FormatMalformed, false),
            ("another TEE", |made| made.tcb_info["id"] = "X".into(), FormatMalformed, false),
            ("another identity version", |made| made.qe_identity["version"] = 3.into(), FormatMalformed, false),
            (
                "an unknown status",
                |made| made.tcb_info["tcbLevels"][1]["tcbStatus"] = "Fine".into(),
                FormatMalformed,
                false,
            ),
            (
                "fifteen components",
                |made| drop(made.tcb_info["tcbLevels"][0]["tcb"]["sgxtcbcomponents"].as_array_mut().unwrap().pop()),
                FormatMalformed,
                false,
            ),
        ],
    );
}

#[test]
fn a_member_that_is_missing_or_broken_is_named() {
    let whole = sgx().collateral();
    for (member, _) in whole.as_object().unwrap() {
        let mut missing = whole.clone();
        missing.as_object_mut().unwrap().remove(member);
        assert!(Collateral::parse(missing.to_string().as_bytes()).is_err(), "{member}");
        let mut broken = whole.clone();
        broken[member] = "zz".into();
        let error = Collateral::parse(broken.to_string().as_bytes()).unwrap_err().to_string();
        assert!(error.contains(member.as_str()), "{member}: {error}");
    }
    assert!(Collateral::parse(&vec![b' '; 2 << 20]).unwrap_err().to_string().contains("1 MiB"));
}

#[test]
fn what_is_out_of_its_time_is_refused_and_named() {
    use Cause::{CertificateValidity, CollateralValidity, CrlValidity};
    each_refuses(
        &td(4, 2),
        &[
            ("an expired PCK", |made| made.pck_until = 2026, CertificateValidity, false),
            (
                "TCB info of the future",
                |made| made.tcb_info["issueDate"] = "2026-03-02T00:00:00Z".into(),
                CollateralValidity,
                false,
            ),
            (
                "expired TCB info",
                |made| made.tcb_info["nextUpdate"] = "2026-03-01T00:00:00Z".into(),
                CollateralValidity,
                false,
            ),
            (
                "an expired identity",
                |made| made.qe_identity["nextUpdate"] = "2026-02-28T00:00:00Z".into(),
                CollateralValidity,
                false,
            ),
        ],
    );
    let mut late = td(4, 2).case();
    late.at = now() + Duration::from_secs(365 * 86400);
    refused("stale lists come before stale TCB info", &late.verify(), CrlValidity, false);
    let alone = td(4, 2).with(|made| made.tcb_info["nextUpdate"] = "2028-01-01T00:00:00Z".into());
    refused("a stale list", &Case { at: late.at, ..alone.case() }.verify(), CrlValidity, false);
}

#[test]
fn a_platform_without_collateral_is_refused_and_endorsements_help() {
    let made = sgx();
    let mut case = Case::of(made.tee, made.quote(), None);
    refused("no collateral", &case.verify(), Cause::CollateralValidity, false);
    assert!(case.verify().claims.is_some());
    assert!(case.endorsements.add(td(5, 3).collateral().to_string().as_bytes()));
    refused("that of TDs alone", &case.verify(), Cause::CollateralMismatch, false);
    assert!(case.endorsements.add(made.collateral().to_string().as_bytes()));
    accepted("endorsed", &case.verify());
}

#[test]
fn a_chain_under_another_root_is_refused() {
    let mut case = sgx().case();
    case.roots = Roots::vendor();
    refused("Intel's root", &case.verify(), Cause::ChainUntrusted, false);
    case.roots = Roots::only([KEYS.other_root.der()]).unwrap();
    refused("a root of the same name", &case.verify(), Cause::ChainUntrusted, false);
}

#[test]
fn a_pck_certificate_that_is_none_is_refused() {
    use Cause::{CertificateExtension, CertificateKind, FormatMalformed};
    each_refuses(
        &sgx(),
        &[
            ("no FMSPC", |made| made.extension.members.retain(|arc| *arc != 4), CertificateExtension, false),
            ("no PPID", |made| made.extension.members.retain(|arc| *arc != 1), CertificateExtension, false),
            ("no TCB", |made| made.extension.members.retain(|arc| *arc != 2), CertificateExtension, false),
            ("FMSPC twice", |made| made.extension.members.push(4), CertificateExtension, false),
        ],
    );
    let unknown = sgx().with(|made| made.authority_name = "Intel SGX TCB Signing");
    let mut case = sgx().case();
    case.part.items.insert("quote.bin".to_owned(), unknown.quote());
    refused("another authority", &case.verify(), CertificateKind, false);
    let mut bytes = sgx().quote();
    let at = bytes.windows(5).position(|window| window == b"BEGIN").unwrap();
    bytes[at + 40] = b'!';
    case.part.items.insert("quote.bin".to_owned(), bytes);
    refused("no PEM", &case.verify(), FormatMalformed, false);
}

#[test]
fn a_floor_on_the_evaluation_number_refuses_old_collateral() {
    let mut case = sgx().case();
    case.profile = toml::from_str("[dcap]\nmin_tcb_evaluation_number = 18").unwrap();
    accepted("at the floor", &case.verify());
    case.profile = toml::from_str("[dcap]\nmin_tcb_evaluation_number = 19").unwrap();
    refused("below it", &case.verify(), Cause::TcbStatus, true);
    let old = sgx().with(|made| made.qe_identity["tcbEvaluationDataNumber"] = 17.into()).case();
    let profile = toml::from_str::<Profile>("[dcap]\nmin_tcb_evaluation_number = 18").unwrap();
    refused("the identity below it", &Case { profile, ..old }.verify(), Cause::TcbStatus, true);
}

#[test]
fn a_quote_of_another_shape_is_refused() {
    use Cause::{FormatAlgorithm, FormatLength, FormatVersion};
    let table: [(&str, usize, u8, Cause); 11] = [
        ("version 2", 0, 2, FormatVersion),
        ("version 6", 0, 6, FormatVersion),
        ("version 3 of a TD", 0, 3, FormatAlgorithm),
        ("ECDSA P-384", 2, 3, FormatAlgorithm),
        ("an enclave's quote", 4, 0, FormatAlgorithm),
        ("an unknown TEE", 4, 0x82, FormatAlgorithm),
        ("another QE vendor", 12, 0, FormatAlgorithm),
        ("an unknown body", 48, 9, FormatAlgorithm),
        ("an enclave's body", 48, 1, FormatAlgorithm),
        ("a body of another layout", 48, 2, FormatLength),
        ("a body of another length", 50, 0, FormatLength),
    ];
    for (what, at, byte, cause) in table {
        let mut case = td(5, 3).case();
        case.part.items.get_mut("quote.bin").unwrap()[at] = byte;
        refused(what, &case.verify(), cause, false);
    }
    let mut renamed = td(5, 3).case();
    renamed.part.tee = Tee::Sgx;
    refused("a TD that is called an enclave", &renamed.verify(), FormatAlgorithm, false);
    renamed.part.items.remove("quote.bin");
    refused("no quote", &renamed.verify(), Cause::FormatMalformed, false);
}

#[test]
fn lengths_that_lie_and_bytes_behind_the_quote_are_refused() {
    for (what, made) in every_layout() {
        let (case, quote) = (made.case(), made.quote());
        let with = |bytes: Vec<u8>| {
            let mut case = case.clone();
            case.part.items.insert("quote.bin".to_owned(), bytes);
            case.verify()
        };
        for length in (0..quote.len()).step_by(7).chain([quote.len() - 1]) {
            let verification = with(quote[..length].to_vec());
            refused(&format!("{what}, {length} bytes"), &verification, Cause::FormatLength, false);
        }
        accepted(&what, &with([&quote[..], &[0; 70]].concat()));
        refused(&what, &with([&quote[..], &[0, 1]].concat()), Cause::FormatLength, false);
        refused(&what, &with([&quote[..], &[0; 70_000]].concat()), Cause::FormatLength, false);
        // Each counted field, one more and one less, and as large as it can be said to be.
        let section = 48 + made.descriptor.len() + made.body.len();
        let qe = section + 4 + 128 + if made.header[0] == 3 { 0 } else { 6 };
        let authentication = qe + 384 + 64;
        let chain = authentication + 2 + 32 + 2;
        let mut fields = vec![(section, 4), (authentication, 2), (chain, 4)];
        fields.extend((made.header[0] != 3).then_some((qe - 4, 4)));
        for (at, width) in fields {
            let lies: [fn(u16) -> u16; 3] = [|length| length + 1, |length| length - 1, |_| 0xffff];
            for lie in lies {
                let mut bytes = quote.clone();
                let length = lie(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
                bytes[at..at + 2].copy_from_slice(&length.to_le_bytes());
                bytes[at + 2..at + width].fill(if length == 0xffff { 0xff } else { 0 });
                let verification = with(bytes);
                assert_eq!((verification.verdict, verification.authentic), (Verdict::Reject, false), "{what}, {at}");
                assert!(
                    verification.cause.unwrap().as_str().starts_with("format."),
                    "{what}, {at}: {:?}",
                    verification.cause
                );
            }
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_but_around_the_certificates_is_refused() {
    for (what, made) in every_layout() {
        let mut case = made.case();
        case.endorsements = cached().1;
        accepted(&what, &case.verify());
        case.part.items.remove("collateral.json");
        let quote = case.part.items["quote.bin"].clone();
        let certificates = quote.windows(10).position(|window| window == b"-----BEGIN").unwrap();
        for at in 0..certificates {
            let bytes = case.part.items.get_mut("quote.bin").unwrap();
            bytes.copy_from_slice(&quote);
            bytes[at] ^= 1 << (at % 8);
            let verification = case.verify();
            assert_eq!((verification.verdict, verification.authentic), (Verdict::Reject, false), "{what}, byte {at}");
        }
    }
}

#[test]
fn report_data_is_what_was_asked_for_to_its_last_byte() {
    for (what, made) in every_layout() {
        let mut case = made.case();
        case.report_data = Some(vec![0xcc; 63]);
        refused(&what, &case.verify(), Cause::BindingReportData, true);
        case.report_data = Some(vec![0xcc; 65]);
        refused(&what, &case.verify(), Cause::BindingReportData, true);
        case.report_data = None;
        accepted(&what, &case.verify());
    }
}

fn cached() -> (Arc<Cache>, Endorsements) {
    let cache = Arc::new(Cache::new());
    (Arc::clone(&cache), Endorsements { dcap: Some(cache), ..Endorsements::default() })
}

#[test]
fn a_cache_changes_the_cost_of_an_answer_and_nothing_in_it() {
    for (what, made) in every_layout() {
        let (cache, endorsements) = cached();
        let mut case = made.case();
        let cold = case.verify();
        case.endorsements = endorsements;
        assert_eq!(case.verify(), cold, "{what}, learning");
        assert_eq!(cache.ends().len(), 1, "{what}");
        case.part.items.remove("collateral.json");
        assert_eq!(case.verify(), cold, "{what}, warm");
        let again = made.with(|made| made.header[30] = 1);
        case.part.items.insert("quote.bin".to_owned(), again.quote());
        accepted(&what, &case.verify());
        let debug = made.with(|made| made.body[if made.tee == Tee::Sgx { 48 } else { 120 }] |= 0b11);
        case.part.items.insert("quote.bin".to_owned(), debug.quote());
        refused(&what, &case.verify(), Cause::Debug, true);
    }
}

#[test]
fn a_known_quoting_enclave_is_taken_only_byte_for_byte() {
    for (what, made) in every_layout() {
        let mut case = made.case();
        case.endorsements = cached().1;
        accepted(&what, &case.verify());
        // Another report of the same enclave is verified for itself, and the one before again after it.
        let renewed = made.with(|made| made.authentication_data = vec![7; 32]);
        let forged = made.with(|made| made.qe_report_data = Some(vec![0; 32]));
        for _ in 0..2 {
            case.part.items.insert("quote.bin".to_owned(), renewed.quote());
            accepted(&what, &case.verify());
            case.part.items.insert("quote.bin".to_owned(), forged.quote());
            refused(&what, &case.verify(), Cause::QeBinding, false);
            case.part.items.insert("quote.bin".to_owned(), made.quote());
            accepted(&what, &case.verify());
        }
    }
}

#[test]
fn a_cached_answer_outlives_neither_its_collateral_nor_its_root() {
    let made = td(5, 3);
    let mut case = made.case();
    case.endorsements = cached().1;
    accepted("learning", &case.verify());
    case.part.items.remove("collateral.json");
    let end = case.verify().valid_until.unwrap();
    let late = Case { at: end, ..case.clone() };
    refused("at its end", &late.verify(), Cause::CollateralValidity, false);
    let other = Case { roots: Roots::only([KEYS.other_root.der()]).unwrap(), ..case.clone() };
    refused("another root", &other.verify(), Cause::CollateralValidity, false);
}

#[test]
fn a_platform_that_is_revoked_later_is_refused_though_it_was_known() {
    let made = td(5, 3);
    let mut case = made.case();
    let (cache, endorsements) = cached();
    case.endorsements = endorsements;
    accepted("learning", &case.verify());
    case.part.items.remove("collateral.json");
    let later = made.with(|made| (made.revoked, made.crl_number) = (Revoked::Pck, 301));
    let later = Collateral::parse(later.collateral().to_string().as_bytes()).unwrap();
    cache.add(later.verify(&case.roots).unwrap()).unwrap();
    refused("revoked", &case.verify(), Cause::CertificateRevoked, false);
}

#[test]
fn collateral_never_goes_back() {
    let made = sgx();
    let roots = made.case().roots;
    let verified =
        |made: &Made| Collateral::parse(made.collateral().to_string().as_bytes()).unwrap().verify(&roots).unwrap();
    let (cache, endorsements) = cached();
    cache.add(verified(&made)).unwrap();
    cache.add(verified(&made.with(|made| made.crl_number = 301))).unwrap();
    let older: [fn(&mut Made); 3] = [
        |made| made.crl_number = 255,
        |made| made.tcb_info["tcbEvaluationDataNumber"] = 17.into(),
        |made| made.qe_identity["tcbEvaluationDataNumber"] = 17.into(),
    ];
    for change in older {
        let older = made.with(|made| made.crl_number = 301).with(change);
        let error = cache.add(verified(&older)).unwrap_err();
        assert!(error.to_string().contains("older"), "{error}");
    }
    let id = verified(&made).id();
    assert_eq!(cache.get(id).unwrap().numbers().tcb_evaluation, 18);
    // Held collateral that ended is not replaced by older collateral that comes with the evidence and has not.
    let until = |made: &mut Made| made.tcb_info["nextUpdate"] = json!("2026-06-01T00:00:00Z");
    let lasting = made.with(until).with(|made| made.qe_identity["nextUpdate"] = json!("2026-06-01T00:00:00Z"));
    let mut case = lasting.case();
    case.endorsements = endorsements;
    case.at = "2026-05-01T00:00:00Z".parse().unwrap();
    refused("older", &case.verify(), Cause::CollateralValidity, false);
    let newer = lasting.with(|made| made.crl_number = 301);
    let mut case = Case { part: newer.case().part, ..case };
    accepted("newer", &case.verify());
    case.part.items.remove("collateral.json");
    accepted("held now", &case.verify());
}
