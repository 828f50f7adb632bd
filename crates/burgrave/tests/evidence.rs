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
    let claims = &json(&answer)["claims"];
    assert!(claims["launch"]["measurement"].is_string());
    assert!(claims["tcb"]["svn"].is_object() && claims["tcb"].get("status").is_none(), "nobody judged it: {claims}");
}

#[test]
fn a_tcb_is_given_a_status_only_where_it_came_to_be_judged() {
    let told = |folder: &str, file: &str| {
        let path = format!("{folder}/{file}");
        let answer = burgrave(&testdata("")).args(["evidence", "verify", &path]).args(AT).output().unwrap();
        let text = String::from_utf8(answer.stdout).unwrap();
        text.lines().find(|line| line.starts_with("TCB ")).unwrap().to_owned()
    };
    assert!(told("sgx/v3-00a067-config-sw", "quote.bin").contains("not judged"));
    assert!(told("snp/milan-v2-virtee", "report.bin").contains("not judged"));
    assert!(told("snp/milan-v2-virtee", "").contains("up-to-date"));
}

/// A folder with these files.
fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    folder
}

fn packaged(name: &str) -> Vec<u8> {
    std::fs::read(testdata(name)).unwrap()
}

const AT: [&str; 2] = ["--at", "2026-03-01T00:00:00Z"];

#[test]
fn a_forged_report_under_another_name_is_never_accepted_on_its_certificate() {
    let genuine = packaged("snp/milan-v2-virtee/report.bin");
    let mut forged = genuine.clone();
    forged[0x90] ^= 1;
    for (report, code) in [(genuine, 0), (forged, 7)] {
        for name in ["attestation_report.bin", "outblob", "report.bin"] {
            for certificate in ["vcek.der", "certs/vcek.der"] {
                let files = [(name, report.clone()), (certificate, packaged("snp/milan-v2-virtee/vcek.der"))];
                let answer = run(folder(&files).path(), &AT);
                assert_eq!(answer.status.code(), Some(code), "{name}, {certificate}: {answer:?}");
                assert!(json(&answer)["claims"].is_object(), "{answer:?}");
            }
        }
    }
    let notes = folder(&[("notes", b"?".to_vec()), ("vcek.der", packaged("snp/milan-v2-virtee/vcek.der"))]);
    let answer = run(notes.path(), &AT);
    assert_eq!((answer.status.code(), json(&answer)["cause"].as_str()), (Some(7), Some("format.malformed")));
}

#[test]
fn inspection_says_what_was_taken_off_and_what_is_wrong() {
    let text: String = packaged("snp/milan-v2-virtee/report.bin").iter().map(|byte| format!("{byte:02x}")).collect();
    let given = folder(&[("report.txt", text.into_bytes()), ("readme", b"?".to_vec())]);
    let inspect = |path: &Path, more: &[&str]| {
        burgrave(&testdata("")).args(["evidence", "inspect"]).arg(path).args(more).output().unwrap()
    };
    let words = String::from_utf8(inspect(given.path(), &[]).stdout).unwrap();
    assert!(words.contains("`report.bin` from `report.txt`: hexadecimal"), "{words}");
    assert!(words.contains("`readme`") && words.contains("not judged") && !words.contains("up-to-date"), "{words}");
    let told = json(&inspect(given.path(), &["-o", "json"]));
    assert_eq!(told["origins"][0]["forms"], serde_json::json!(["hexadecimal"]));
    assert_eq!(told["unused"], serde_json::json!(["readme"]));
    let unread = inspect(&testdata("README.md"), &["--tee", "snp"]);
    let words = String::from_utf8(unread.stderr).unwrap();
    assert_eq!(unread.status.code(), Some(2));
    assert!(words.contains("snp.report.length expected 1184 bytes, found"), "{words}");
}

#[test]
fn a_quote_or_an_hcl_report_alone_shows_what_it_says_by_itself() {
    let inspect = |path: &str| {
        let answer = burgrave(&testdata("")).args(["evidence", "inspect", path, "-o", "json"]).output().unwrap();
        assert_eq!(answer.status.code(), Some(0), "{answer:?}");
        json(&answer)
    };
    let quote = inspect("tpm/swtpm-rsa/quote.msg");
    assert_eq!((quote["tee"].as_str(), quote["raw"]["quotes"][0]["scheme"].as_str()), (Some("tpm"), None));
    let selection = &quote["raw"]["quotes"][0]["selection"][0];
    assert!(selection["bank"] == "sha256" && selection["pcrs"].as_array().unwrap().len() > 1, "{quote}");
    assert!(quote["claims"]["binding"].is_string() && quote["claims"].get("registers").is_none(), "{quote}");

    let packaged = "az-vtpm/az-cvm-vtpm";
    let snp = inspect(&format!("{packaged}/hcl-report-snp.bin"));
    assert_eq!(snp["tee"], "az-vtpm");
    assert!(snp["claims"]["launch"]["measurement"].is_string() && snp["raw"]["quote"].is_null(), "{snp}");
    let tdx = inspect(&format!("{packaged}/hcl-report-tdx.bin"));
    assert!(tdx["raw"]["hcl"]["configuration"].is_object() && tdx["raw"]["hardware"].is_null(), "{tdx}");
    // Neither is evidence by itself.
    for path in ["tpm/swtpm-rsa/quote.msg", &format!("{packaged}/hcl-report-snp.bin")] {
        let answer = run(&testdata(path), &AT);
        assert_eq!((answer.status.code(), json(&answer)["authentic"].as_bool()), (Some(7), Some(false)), "{path}");
    }
}

#[test]
fn what_a_trust_domain_may_beyond_the_strict_profile_is_shown() {
    // Behind header and descriptor, the body of TDX 1.5 (Intel TDX DCAP quoting library, sgx_report2_body_v1_5_t).
    const BODY: usize = 48 + 6;
    let mut quote = packaged("tdx/v5-td15ex-uptodate/quote.bin");
    let shown = |quote: Vec<u8>| {
        let given = folder(&[("quote.bin", quote)]);
        let answer = burgrave(&testdata("")).args(["evidence", "inspect"]).arg(given.path()).output().unwrap();
        let text = String::from_utf8(answer.stdout).unwrap();
        text.lines().find(|line| line.starts_with("TD ")).map(|line| line["TD ".len()..].trim().to_owned())
    };
    assert_eq!(shown(quote.clone()), None);
    quote[BODY + 120 + 3] &= !0x10; // SEPT_VE_DISABLE
    quote[BODY + 584 + 16] = 1; // MRSERVICETD
    assert_eq!(shown(quote).as_deref(), Some("sept-ve, service-td"));
}

#[test]
fn a_hosts_certificate_table_endorses() {
    let vcek = packaged("snp/milan-v2-virtee/vcek.der");
    let table = burgrave_types::certificate_table::write(&[(burgrave_types::certificate_table::VCEK, &vcek)]);
    let report = folder(&[("report.bin", packaged("snp/milan-v2-virtee/report.bin"))]);
    let table = folder(&[("auxblob", table)]);
    let auxblob = table.path().join("auxblob");
    assert_eq!(run(report.path(), &AT).status.code(), Some(7));
    let endorsed = run(report.path(), &[&AT[..], &["--endorsements", auxblob.to_str().unwrap()]].concat());
    assert_eq!(endorsed.status.code(), Some(0), "{endorsed:?}");
}

#[test]
fn what_intels_service_answers_endorses_and_what_is_missing_is_told() {
    use burgrave_made::intel::{KEYS, td};
    let made = td(5, 3);
    let whole = made.collateral();
    let text = |member: &str| whole[member].as_str().unwrap().to_owned();
    let answer = |name: &str, member: &str| {
        format!("{{\"{name}\":{},\"signature\":\"{}\"}}", text(member), text(&format!("{member}_signature")))
            .into_bytes()
    };
    let chain = text("tcb_info_issuer_chain").replace('\n', "%0A").replace(' ', "%20");
    let mut pieces = vec![
        ("tcb.json", answer("tcbInfo", "tcb_info")),
        ("qe.json", answer("enclaveIdentity", "qe_identity")),
        ("tcb.headers", format!("HTTP/2 200\r\ntcb-info-issuer-chain: {chain}\r\n\r\n").into_bytes()),
        ("root.crl", text("root_ca_crl").into_bytes()),
        ("pck.crl", text("pck_crl").into_bytes()),
        ("notes.txt", b"fetched on Monday".to_vec()),
    ];
    let (fetched, root) = (folder(&pieces), folder(&[("root.der", KEYS.root.der().to_vec())]));
    let root = root.path().join("root.der");
    let arguments = [&AT[..], &["--root", root.to_str().unwrap()]].concat();
    let quote = folder(&[("quote.bin", made.quote())]);
    let endorsed =
        |with: &Path| run(quote.path(), &[&arguments[..], &["--endorsements", with.to_str().unwrap()]].concat());
    let accepted = endorsed(fetched.path());
    assert_eq!(accepted.status.code(), Some(0), "{accepted:?}");
    pieces.push(("quote.bin", made.quote()));
    let beside = folder(&pieces);
    assert_eq!(run(beside.path(), &arguments).status.code(), Some(0));
    // One of them is not there, or was formatted.
    std::fs::remove_file(fetched.path().join("pck.crl")).unwrap();
    let missing = endorsed(fetched.path());
    assert_eq!((missing.status.code(), json(&missing)["cause"].as_str()), (Some(7), Some("collateral.validity")));
    let told = String::from_utf8(missing.stdout).unwrap();
    assert!(
        told.contains("docs/collateral.md")
            && told.contains("Intel SGX PCK Platform CA")
            && told.contains("50806f000000")
    );
    let formatted: Value = serde_json::from_slice(&answer("tcbInfo", "tcb_info")).unwrap();
    std::fs::write(beside.path().join("tcb.json"), serde_json::to_vec_pretty(&formatted).unwrap()).unwrap();
    let formatted = run(beside.path(), &arguments);
    assert_eq!((formatted.status.code(), json(&formatted)["cause"].as_str()), (Some(7), Some("collateral.signature")));
}

#[test]
fn evidence_cannot_write_to_the_terminal() {
    let text = |text: &[u8]| [&[0x78, u8::try_from(text.len()).unwrap()], text].concat();
    let field = |name: &[u8], value: Vec<u8>| [text(name), value].concat();
    let hostile = "\u{1b}[2J\u{9b}1;1Hverdict accepted\n".as_bytes();
    let payload = [
        vec![0xa6],
        field(b"module_id", text(b"i-0-enc0")),
        field(b"timestamp", vec![1]),
        field(b"digest", text(hostile)),
        field(b"pcrs", [vec![0xa1, 0, 0x58, 48], vec![1; 48]].concat()),
        field(b"certificate", vec![0x41, 1]),
        field(b"cabundle", vec![0x81, 0x41, 1]),
    ]
    .concat();
    let payload = [vec![0x59], u16::try_from(payload.len()).unwrap().to_be_bytes().to_vec(), payload].concat();
    let document = [&[0x84, 0x44, 0xa1, 1, 0x38, 0x22, 0xa0], payload.as_slice(), &[0x58, 96], &[1; 96]].concat();
    let given = folder(&[("document.cose", document), ("\u{1b}[31m", b"?".to_vec())]);
    let verify = |more: &[&str]| burgrave(given.path()).args(["evidence", "verify", "."]).args(more).output().unwrap();
    for answer in [verify(&[]), verify(&["-o", "json"]), verify(&["--tee", "snp"])] {
        let shown = [answer.stdout, answer.stderr].concat();
        let shown = String::from_utf8(shown).unwrap();
        assert!(!shown.contains(|one: char| one.is_control() && one != '\n'), "{shown:?}");
        assert!(!shown.lines().any(|line| line.starts_with("verdict accepted")), "{shown}");
    }
    let words = String::from_utf8(verify(&[]).stdout).unwrap();
    assert!(words.contains("`\\u{1b}[2J\\u{9b}1;1Hverdict accepted\\n`"), "{words}");
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
