//! Every TDX and SGX quote, recorded or made: dcap-qvl says of it what we say.

use std::path::{Path, PathBuf};

use burgrave_made::intel::{Case, KEYS, Made, Revoked, sgx, td};
use burgrave_types::claims::TcbStatus;
use burgrave_types::{Tee, Timestamp};
use burgrave_verifier::{Roots, Verdict, Verification};
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::verify::QuoteVerifier;
use serde_json::Value;

/// The other verifier's answer: a status, or why not.
fn other(quote: &[u8], collateral: &[u8], root: Option<Vec<u8>>, at: Timestamp) -> Result<String, String> {
    let collateral: QuoteCollateralV3 = serde_json::from_slice(collateral).map_err(|error| error.to_string())?;
    let verifier = root.map_or_else(QuoteVerifier::<dcap_qvl::configs::DefaultConfig>::new_prod, QuoteVerifier::new);
    let report = verifier.verify(quote, &collateral, at.unix_secs() as u64).map_err(|error| format!("{error:#}"))?;
    Ok(report.status)
}

/// Ours under a profile that leaves the status to the relying party, as the other does.
fn agree(id: &str, ours: &Verification, theirs: &Result<String, String>) {
    let failed: Vec<_> = ours.checks.iter().filter(|check| !check.passed).collect();
    match theirs {
        Ok(status) => {
            assert_eq!(ours.verdict, Verdict::Accept, "{id}: they say {status}; {failed:#?}");
            let relaunch = status.starts_with("TDRelaunchAdvised")
                && ours.raw["tcb_status"].as_str().unwrap().starts_with("OutOfDate");
            assert!(relaunch || ours.raw["tcb_status"] == **status, "{id}: {status}, {}", ours.raw["tcb_status"]);
        }
        Err(reason) => assert_eq!(ours.verdict, Verdict::Reject, "{id}: they say {reason}"),
    }
}

fn all() -> std::collections::BTreeSet<TcbStatus> {
    TcbStatus::ALL.iter().copied().collect()
}

/// Every TDX and SGX row of a folder with its arguments.
fn recorded(folder: &Path) -> Vec<(String, Case, Option<Vec<u8>>)> {
    let manifest = std::fs::read(folder.join("manifest.json")).unwrap();
    let manifest: Vec<Value> = serde_json::from_slice(&manifest).unwrap();
    let rows = manifest.iter().filter(|row| (row["tee"] == "tdx" || row["tee"] == "sgx") && row["args"].is_array());
    let judged = rows.map(|row| {
        let id = row["id"].as_str().unwrap();
        let read = |name: &str| std::fs::read(folder.join(id).join(name));
        let tee: Tee = row["tee"].as_str().unwrap().parse().unwrap();
        let mut case = Case::of(tee, read("quote.bin").unwrap(), Some(read("collateral.json").unwrap()));
        let root = read("test-root.der").ok();
        case.roots = root.as_ref().map_or_else(Roots::vendor, |root| Roots::only([root]).unwrap());
        case.report_data = None;
        case.at = Timestamp::from_unix_secs(row["verify_at"].as_i64().unwrap());
        (id.to_owned(), case, root)
    });
    judged.collect()
}

#[test]
fn every_recorded_quote_is_judged_alike() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata");
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/vectors");
    let collection = std::env::var_os("BURGRAVE_VECTORS").map_or_else(beside, PathBuf::from);
    let folders = [own, collection];
    let rows =
        folders.iter().filter(|folder| folder.join("manifest.json").exists()).flat_map(|folder| recorded(folder));
    let mut compared = 0;
    for (id, mut case, root) in rows {
        let theirs = other(&case.part.items["quote.bin"], &case.part.items["collateral.json"], root, case.at);
        case.profile.tcb_status = all();
        agree(&id, &case.verify(), &theirs);
        compared += 1;
    }
    assert!(compared >= 20, "{compared}");
    println!("{compared} recorded quotes are judged alike");
}

/// What is changed of a platform before it is signed.
type Change = (&'static str, fn(&mut Made));

const CHANGES: [Change; 21] = [
    ("nothing", |_| ()),
    ("early microcode", |made| made.extension.components[0] = 6),
    ("no level", |made| made.extension.components[0] = 0),
    ("PCE", |made| made.extension.pce_svn = 12),
    ("an old quoting enclave", |made| made.qe_report[258] = 7),
    ("an unlisted quoting enclave", |made| made.qe_report[258] = 5),
    ("another quoting enclave", |made| made.qe_report[128] ^= 1),
    ("a debugged quoting enclave", |made| made.qe_report[48] = 0x13),
    ("a key that is not bound", |made| made.qe_report_data = Some(vec![1; 32])),
    ("hardening", |made| made.tcb_info["tcbLevels"][0]["tcbStatus"] = "SWHardeningNeeded".into()),
    ("both", |made| made.tcb_info["tcbLevels"][0]["tcbStatus"] = "ConfigurationAndSWHardeningNeeded".into()),
    ("configuration, and an old quoting enclave", |made| {
        made.tcb_info["tcbLevels"][0]["tcbStatus"] = "ConfigurationNeeded".into();
        made.qe_report[258] = 7;
    }),
    ("a revoked level", |made| made.tcb_info["tcbLevels"][0]["tcbStatus"] = "Revoked".into()),
    ("a revoked quoting enclave", |made| made.qe_identity["tcbLevels"][0]["tcbStatus"] = "Revoked".into()),
    ("a revoked PCK", |made| made.revoked = Revoked::Pck),
    ("a revoked authority", |made| made.revoked = Revoked::Authority),
    ("a revoked signer", |made| made.revoked = Revoked::Signer),
    ("another FMSPC", |made| made.tcb_info["fmspc"] = "50806F000001".into()),
    ("expired TCB info", |made| made.tcb_info["nextUpdate"] = "2026-02-28T00:00:00Z".into()),
    ("edited", |made| made.edited_after = true),
    ("an expired PCK", |made| made.pck_until = 2026),
];

const OF_TDS: [Change; 9] = [
    ("debug", |made| made.body[120] = 1),
    ("profiling", |made| made.body[120] = 0x20),
    ("SEPT_VE_DISABLE off", |made| made.body[123] = 0),
    ("migratable", |made| made.body[123] = 0x30),
    ("a forged module", |made| made.body[64] = 1),
    ("an unlisted module", |made| made.body[1] = 2),
    ("a module below its levels", |made| made.body[0] = 2),
    ("an old module", |made| made.body[0] = 4),
    ("a TDX component", |made| made.body[2] = 3),
];

fn judge_made(what: &str, made: &Made) {
    let mut case = made.case();
    case.profile.tcb_status = all();
    let root = KEYS.root.der().to_vec();
    let theirs = other(&case.part.items["quote.bin"], &case.part.items["collateral.json"], Some(root), case.at);
    agree(what, &case.verify(), &theirs);
}

#[test]
fn every_made_quote_is_judged_alike() {
    let enclave = [("SGX".to_owned(), sgx())];
    let tds =
        [(4, 2), (5, 2), (5, 3), (5, 4)].map(|(version, body)| (format!("TD {version}/{body}"), td(version, body)));
    for (layout, made) in enclave.into_iter().chain(tds) {
        let own: &[Change] = if made.tee == Tee::Tdx { &OF_TDS } else { &[] };
        for (what, change) in CHANGES.iter().chain(own) {
            judge_made(&format!("{layout}: {what}"), &made.with(change));
        }
    }
    judge_made("debugged enclave", &sgx().with(|made| made.body[48] = 7));
    for body in [3, 4] {
        let made = td(5, body);
        judge_made("service TD", &made.with(|made| made.body[600] = 1));
        judge_made("relaunch", &made.with(|made| (made.body[0], made.body[2]) = (4, 4)));
        judge_made("an unlisted module now", &made.with(|made| made.body[585] = 2));
    }
}
