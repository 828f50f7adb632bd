//! Choosing by text and by what a tree of files has.

use std::fs;

use burgrave_types::Tee;

use super::*;

/// A machine's files.
fn machine(paths: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for path in paths {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "dcap").unwrap();
    }
    root
}

#[test]
fn what_a_machine_has_is_found_best_first() {
    assert!(detect(machine(&[]).path()).is_empty());
    assert_eq!(detect(machine(&["dev/tpm0"]).path()), [Source::Tpm]);
    assert_eq!(detect(machine(&["dev/tpmrm0", "dev/nsm"]).path()), [Source::Nsm, Source::Tpm]);
    let all = machine(&["dev/tpmrm0", "dev/nsm", "dev/sev-guest", "dev/attestation/attestation_type"]);
    fs::create_dir_all(all.path().join(configfs::DIR)).unwrap();
    assert!(!detect(all.path()).contains(&Source::AzVtpm), "another cloud's machine");
    let chassis = all.path().join("sys/class/dmi/id/chassis_asset_tag");
    fs::create_dir_all(chassis.parent().unwrap()).unwrap();
    fs::write(chassis, "7783-7084-3265-9085-8269-3286-77\n").unwrap();
    assert_eq!(detect(all.path()), Source::ALL);
}

#[test]
fn the_best_that_is_there_is_opened() {
    let gramine = machine(&["dev/attestation/attestation_type", "dev/tpmrm0"]);
    assert_eq!(AttesterSpec::Auto.open_below(gramine.path()).unwrap().tee(), Tee::Sgx);
    fs::write(gramine.path().join("dev/attestation/attestation_type"), "none").unwrap();
    assert_eq!(AttesterSpec::Auto.open_below(gramine.path()).unwrap().tee(), Tee::Tpm);
    assert_eq!(AttesterSpec::Auto.open_below(machine(&["dev/tpm0"]).path()).unwrap().tee(), Tee::Tpm);
}

#[test]
fn a_tee_that_is_there_and_fails_is_not_replaced_by_a_weaker_one() {
    // A plain file stands where the driver's device should be.
    for (path, named) in [("dev/sev-guest", "dev/sev-guest`"), ("dev/nsm", "dev/nsm`")] {
        let error = AttesterSpec::Auto.open_below(machine(&[path, "dev/tpmrm0"]).path()).err().unwrap();
        assert!(!error.is_absent() && error.to_string().contains(named), "{error}");
    }
    // A trust domain whose kernel interface is not mounted has a TPM of its host's.
    let error = AttesterSpec::Auto.open_below(machine(&["dev/tdx_guest", "dev/tpmrm0"]).path()).err().unwrap();
    assert!(error.to_string().contains("this is a TDX guest: mount configfs"), "{error}");
}

#[test]
fn a_machine_without_a_tee_is_told_where_was_looked() {
    let error = AttesterSpec::Auto.open_below(machine(&[]).path()).err().unwrap().to_string();
    for named in ["report`", "dev/sev-guest`", "dev/nsm`", "dev/tpmrm0`", "attestation_type`", "--attester"] {
        assert!(error.contains(named), "{named} is missing: {error}");
    }
    let none = machine(&["dev/attestation/attestation_type"]);
    fs::write(none.path().join("dev/attestation/attestation_type"), "none").unwrap();
    let error = AttesterSpec::Auto.open_below(none.path()).err().unwrap();
    assert!(matches!(error, AttesterError::NoTee { .. }) && error.to_string().contains("says `none`"), "{error}");
}

#[test]
fn a_named_source_is_opened_or_said_to_be_missing() {
    let root = machine(&["dev/attestation/attestation_type"]);
    let open = |text: &str| text.parse::<AttesterSpec>().unwrap().open_below(root.path());
    assert_eq!(open("gramine").unwrap().tee(), Tee::Sgx);
    assert_eq!(open("simulated:a").unwrap().tee(), Tee::Simulated);
    assert_eq!(open("tpm:/dev/tpm7,pcrs=0+7,ek=ecc").unwrap().tee(), Tee::Tpm);
    for missing in ["configfs-tsm", "configfs-tsm,privlevel=1", "sev-guest", "nsm"] {
        assert!(open(missing).err().unwrap().is_absent(), "{missing}");
    }
}

#[test]
fn a_specification_reads_back_from_its_text() {
    for text in [
        "auto",
        "gramine",
        "configfs-tsm",
        "configfs-tsm,privlevel=0",
        "sev-guest",
        "sev-guest,vmpl=3",
        "nsm",
        "az-vtpm",
        "az-vtpm,pcrs=0+23",
        "tpm:/dev/tpmrm0",
        "tpm:unix:/run/tpm.sock,ek=ecc",
        "tpm:127.0.0.1:2321,pcrs=0+7+10",
        "simulated:a,b=c",
    ] {
        assert_eq!(text.parse::<AttesterSpec>().unwrap().to_string(), text);
    }
    let default = "tpm".parse::<AttesterSpec>().unwrap();
    assert_eq!(default, AttesterSpec::Tpm(TpmSpec::new(Transport::Device("/dev/tpmrm0".into()))));
}

#[test]
fn what_is_no_specification_is_refused_with_what_is_expected() {
    for text in [
        "",
        "sgx",
        "auto,vmpl=1",
        "auto:x",
        "nsm:/dev/nsm",
        "sev-guest,vmpl=4",
        "sev-guest,vmpl",
        "sev-guest,vmpl=1,vmpl=1",
        "configfs-tsm,vmpl=1",
        "tpm:",
        "tpm:unix:",
        "tpm:dev",
        "tpm,pcrs=",
        "tpm,pcrs=24",
        "tpm,ek=dsa",
        "az-vtpm,pcrs=x",
        "az-vtpm,ek=ecc",
        "simulated:",
    ] {
        let error = text.parse::<AttesterSpec>().unwrap_err().to_string();
        assert!(error.contains(&format!("found `{text}`")) && error.contains("`simulated:<code name>`"), "{error}");
    }
}
