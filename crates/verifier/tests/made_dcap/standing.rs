//! Where a platform stands: its TCB level, and what a profile makes of it.

use burgrave_types::claims::TcbStatus;
use burgrave_verifier::{Cause, Profile};

use crate::{accepted, refused};
use burgrave_made::intel::{Case, Made, sgx, td};

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
        if status == "OutOfDateConfigurationNeeded" {
            refused("one of both", &case.verify(), Cause::TcbStatus, true);
            case.profile.tcb_status.insert(TcbStatus::ConfigurationNeeded);
        }
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
fn a_status_that_is_not_known_refuses_the_platforms_that_bear_it_alone() {
    let elsewhere = sgx().with(|made| made.tcb_info["tcbLevels"][1]["tcbStatus"] = "Rebranded".into());
    accepted("another level's", &elsewhere.case().verify());
    let mut own = sgx().with(|made| made.tcb_info["tcbLevels"][0]["tcbStatus"] = "Rebranded".into()).case();
    own.profile.tcb_status = TcbStatus::ALL.iter().copied().collect();
    refused("its own", &own.verify(), Cause::TcbStatus, false);
}
