//! `burgrave evidence` judges every row of the evidence vectors as its arguments say it should.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests may fail loudly, and say what they skip"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

#[test]
fn every_packaged_row_is_judged_as_it_should() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../verifier/testdata");
    assert!(judge_all(&folder) >= 60);
}

#[test]
fn every_row_of_the_whole_collection_is_judged_as_it_should() {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    let folder = std::env::var_os("BURGRAVE_VECTORS").map_or_else(beside, PathBuf::from);
    if !folder.join("manifest.json").exists() {
        println!("skipped: no evidence vectors at BURGRAVE_VECTORS or ../shared/vectors");
        return;
    }
    assert!(judge_all(&folder) >= 95);
}

#[test]
fn evidence_is_recognised_without_being_told_its_tee() {
    let answer = run(&testdata("snp/milan-v2-virtee"), &["--at", "2026-03-01T00:00:00Z"]);
    assert_eq!(answer.status.code(), Some(0));
    let answer = run(&testdata("snp/milan-v2-virtee/report.bin"), &["--endorsements", "snp/milan-v2-virtee/vcek.der"]);
    assert_eq!(json(&answer)["tee"], "snp");
}

#[test]
fn what_is_unreadable_or_unknown_is_a_usage_error() {
    for (path, arguments) in [
        (testdata("no-such-folder"), vec![]),
        (testdata("README.md"), vec![]),
        (testdata("snp/milan-v2-virtee"), vec!["--root", "README.md"]),
        (testdata("snp/milan-v2-virtee"), vec!["--endorsements", "README.md"]),
        (testdata("snp/milan-v2-virtee"), vec!["--profile", "README.md"]),
        (testdata("snp/milan-v2-virtee"), vec!["--nonce", "00", "--report-data", "00"]),
    ] {
        let answer = run(&path, &arguments);
        assert_eq!(answer.status.code(), Some(2), "{path:?} {arguments:?}: {answer:?}");
        assert!(answer.stdout.is_empty() && !answer.stderr.is_empty(), "{answer:?}");
    }
}

#[test]
fn malformed_evidence_of_a_named_tee_is_rejected_with_its_cause() {
    for tee in ["snp", "tpm"] {
        let answer = run(&testdata("README.md"), &["--tee", tee]);
        assert_eq!(answer.status.code(), Some(7), "{tee}: {answer:?}");
        assert!(json(&answer)["cause"].as_str().unwrap().starts_with("format."), "{tee}: {answer:?}");
    }
}

#[test]
fn report_data_that_differs_is_rejected_and_the_same_is_accepted() {
    let row = testdata("snp/synthetic/base");
    let at = ["--at", "2026-03-01T00:00:00Z", "--root", "snp/synthetic/base/test-ark.der"];
    let bound = json(&run(&row, &at))["claims"]["binding"].as_str().unwrap().to_owned();
    assert_eq!(run(&row, &[&at[..], &["--report-data", &bound]].concat()).status.code(), Some(0));
    let other = run(&row, &[&at[..], &["--report-data", &"ab".repeat(64)]].concat());
    assert_eq!((other.status.code(), json(&other)["cause"].as_str()), (Some(7), Some("binding.report_data")));
}

#[test]
fn a_laxer_profile_accepts_what_only_policy_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("profile.toml");
    std::fs::write(&profile, "allow_debug = true\n").unwrap();
    let row = testdata("snp/synthetic/debug-policy");
    let at = ["--at", "2026-03-01T00:00:00Z", "--root", "snp/synthetic/debug-policy/test-ark.der"];
    let strict = run(&row, &at);
    assert_eq!((strict.status.code(), json(&strict)["cause"].as_str()), (Some(7), Some("debug")));
    assert_eq!(run(&row, &[&at[..], &["--profile", profile.to_str().unwrap()]].concat()).status.code(), Some(0));
}

#[test]
fn people_are_told_which_check_failed_with_expected_and_found() {
    let mut command = burgrave(&testdata(""));
    let row = "snp/synthetic/vmpl-2";
    command.args(["evidence", "verify", row, "--at", "2026-03-01T00:00:00Z"]);
    let answer = command.args(["--root", "snp/synthetic/vmpl-2/test-ark.der"]).output().unwrap();
    let text = String::from_utf8(answer.stdout).unwrap();
    assert!(text.contains("rejected: privilege") && text.contains("expected VMPL at most 0"), "{text}");
    assert!(text.contains("found    VMPL 2"), "{text}");
}

#[test]
fn people_and_programs_are_told_what_nobody_proved() {
    let row = testdata("tpm/swtpm-ecc");
    let at = ["--at", "2026-12-01T00:00:00Z", "--root", "tpm/swtpm-ecc/test-root.pem"];
    let found = json(&run(&row, &at));
    assert_eq!((&found["verdict"], &found["unproven"]), (&"accept".into(), &serde_json::json!(["ak.unbound"])));
    assert!(found["claims"]["platform_id"].is_null() && found["claims"]["product"].is_null());
    let answer = burgrave(&testdata("")).args(["evidence", "verify"]).arg(&row).args(at).output().unwrap();
    let text = String::from_utf8(answer.stdout).unwrap();
    assert!(text.contains("accepted, but nobody proved") && text.contains("not proven (ak.unbound)"), "{text}");

    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("profile.toml");
    std::fs::write(&profile, "[tpm]\nrequire_bound = true\n").unwrap();
    let demanded = run(&row, &[&at[..], &["--profile", profile.to_str().unwrap()]].concat());
    assert_eq!((demanded.status.code(), json(&demanded)["cause"].as_str()), (Some(7), Some("ak.unbound")));
}

#[test]
fn inspection_shows_claims_of_evidence_that_would_be_rejected() {
    let mut command = burgrave(&testdata(""));
    let answer = command.args(["evidence", "inspect", "snp/synthetic/sig-zero", "-o", "json"]).output().unwrap();
    assert_eq!(answer.status.code(), Some(0));
    assert!(json(&answer)["claims"]["launch"]["measurement"].is_string());
}

/// Runs every row that has arguments, and says how many.
fn judge_all(folder: &Path) -> usize {
    let manifest: Value = serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let rows = manifest.as_array().unwrap().iter();
    let rows: Vec<&Value> = rows.filter(|row| matches!(row["expect"].as_str(), Some("accept" | "reject"))).collect();
    let wrong: Vec<String> = rows.iter().filter_map(|row| judge(folder, row).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    rows.len()
}

fn judge(folder: &Path, row: &Value) -> Result<(), String> {
    let id = row["id"].as_str().unwrap();
    let arguments = row["args"].as_array().unwrap().iter().map(|text| text.as_str().unwrap());
    let mut command = burgrave(folder);
    let answer = command.args(["evidence", "verify", id]).args(arguments).args(["-o", "json"]).output().unwrap();
    let found: Value = serde_json::from_slice(&answer.stdout).map_err(|error| format!("{id}: {error}: {answer:?}"))?;
    let code = if row["expect"] == "accept" { 0 } else { 7 };
    let causes: Vec<&Value> = row["causes"].as_array().into_iter().flatten().collect();
    let cause_fits = if code == 0 { found["cause"].is_null() } else { causes.contains(&&found["cause"]) };
    let named = found["checks"].as_array().is_some_and(|checks| {
        let keys = ["name", "passed", "expected", "found", "reference"];
        !checks.is_empty() && checks.iter().all(|check| keys.iter().all(|key| !check[key].is_null()))
    });
    // The collection calls this token authentic, as it is under another anchor; under one that is no key nothing is.
    let authentic = id != "cca/neg-token-02-bad-anchor" && row["authentic"] == true;
    let as_told = answer.status.code() == Some(code)
        && found["verdict"] == row["expect"]
        && found["authentic"] == authentic
        && found["tee"] == row["tee"]
        && cause_fits
        && named;
    if as_told { Ok(()) } else { Err(format!("{id}: {:?}, expected {row}, found {found}", answer.status)) }
}

fn run(path: &Path, arguments: &[&str]) -> Output {
    let mut command = burgrave(&testdata(""));
    command.args(["evidence", "verify"]).arg(path).args(arguments).args(["-o", "json"]).output().unwrap()
}

fn burgrave(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_burgrave"));
    command.current_dir(folder);
    command
}

fn testdata(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../verifier/testdata").join(path)
}

fn json(answer: &Output) -> Value {
    serde_json::from_slice(&answer.stdout).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}
