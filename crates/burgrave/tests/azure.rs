//! Evidence of Azure's confidential machines, as a person brings it: inspected, judged, and proposed as a release.
//!
//! The genuine parts that may be packaged are of several machines, so that as one machine's they are read and refused. What is
//! accepted is made in the test, or stands in the whole collection, where it is at hand.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use burgrave_made::amd::AUTHORITY;
use burgrave_made::azure::Machine;
use burgrave_made::packaged;
use burgrave_types::claims::HexBytes;
use common::{Serving, burgrave, exits};
use serde_json::Value;

/// What the quotes answer: the packaged one, the collection's and those that are made.
const NONCE: &str = "6368616c6c656e6765";
const SEVERAL: &str = "az-vtpm/neg-snp-parts-of-several-machines";

fn hex(bytes: &[u8]) -> String {
    HexBytes::from(bytes).to_string()
}

/// A folder of evidence in which a test may change files.
struct Folder(tempfile::TempDir);

impl Folder {
    fn of(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        files.into_iter().for_each(|(name, bytes)| folder.put(&name, &bytes));
        folder
    }

    /// The genuine parts of several machines.
    fn genuine() -> Self {
        let names = ["hcl-report.bin", "certs.pem", "quote.msg", "quote.sig", "pcrs-sha256.json"];
        Self::of(names.map(|name| (name.to_owned(), packaged(&format!("{SEVERAL}/{name}")))))
    }

    /// A machine that is made here.
    fn made() -> Self {
        let folder = Self::of(Machine::new().part().items);
        fs::write(folder.root(), &AUTHORITY.ark).unwrap();
        folder
    }

    /// The root under which the machine is made, beside the folder's evidence.
    fn root(&self) -> PathBuf {
        self.0.path().with_extension("der")
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.0.path().join(name), bytes).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.0.path().join(name)).unwrap();
    }

    fn get(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.path().join(name)).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.root());
    }
}

/// What `evidence inspect` says.
fn inspected(folder: &Path) -> Value {
    let shown = exits(0, burgrave(folder).args(["evidence", "inspect", "-o", "json"]).arg(folder));
    serde_json::from_str(&shown).unwrap()
}

/// What `evidence verify` says, over this nonce.
fn judged(folder: &Path, nonce: &str, roots: &[&Path]) -> Value {
    let mut command = burgrave(folder);
    command.args(["evidence", "verify", "--at", "2026-03-01T00:00:00Z", "--nonce", nonce, "-o", "json"]).arg(folder);
    for root in roots {
        command.arg("--root").arg(root);
    }
    let answer = command.output().unwrap();
    let judged: Value = serde_json::from_slice(&answer.stdout).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    assert_eq!(answer.status.code(), Some(if judged["verdict"] == "accept" { 0 } else { 7 }), "{answer:?}");
    judged
}

/// The cause for which evidence is refused, and the first check that failed.
fn refused(folder: &Folder, nonce: &str) -> (String, String) {
    let judged = judged(folder.0.path(), nonce, &[]);
    let failed = judged["checks"].as_array().unwrap().iter().find(|check| check["passed"] == false).unwrap();
    (judged["cause"].as_str().unwrap().to_owned(), failed["name"].as_str().unwrap().to_owned())
}

#[test]
fn a_genuine_machines_report_and_a_genuine_quote_are_shown_for_what_they_say() {
    let folder = Folder::genuine();
    let shown = inspected(folder.0.path());
    let report = &folder.get("hcl-report.bin")[32..];
    let (claims, raw) = (&shown["claims"], &shown["raw"]);
    assert_eq!((&shown["tee"], &claims["tee"]), (&"az-vtpm".into(), &"az-vtpm".into()));
    assert_eq!(claims["launch"]["measurement"], hex(&report[0x90..0xc0]));
    assert_eq!(claims["launch"]["signer"], hex(&report[0xe0..0x110]));
    assert_eq!(claims["platform_id"], hex(&report[0x1a0..0x1e0]));
    assert_eq!(claims["binding"], NONCE);
    assert_eq!(raw["hcl"]["configuration"]["vmUniqueId"], "BAEFD3E1-184B-4C4C-AB88-0BDAD260505F");
    let pcrs: Value = serde_json::from_slice(&folder.get("pcrs-sha256.json")).unwrap();
    for (index, value) in pcrs.as_object().unwrap() {
        assert_eq!(&claims["registers"][format!("pcr{index}")], value);
    }
    assert_eq!(claims["registers"].as_object().unwrap().len(), 24);
}

#[test]
fn what_is_missing_or_of_another_machine_is_named() {
    let is = |folder: &Folder, cause: &str, check: &str| {
        assert_eq!(refused(folder, NONCE), (cause.to_owned(), check.to_owned()));
    };
    let folder = Folder::genuine();
    is(&folder, "chip.mismatch", "snp.chip");
    assert_eq!(refused(&folder, "00").0, "binding.nonce");
    folder.remove("certs.pem");
    is(&folder, "chain.untrusted", "snp.vek.present");
    // The runtime data is the hash in the report, to the byte.
    let report = folder.get("hcl-report.bin");
    let at = report.windows(4).position(|window| window == b"true").unwrap();
    let mut changed = report.clone();
    changed[at..at + 4].copy_from_slice(b"null");
    folder.put("hcl-report.bin", &changed);
    is(&folder, "binding.part", "azure.runtime.bound");
    folder.put("hcl-report.bin", &report);
    let pcrs = String::from_utf8(folder.get("pcrs-sha256.json")).unwrap();
    folder.put("pcrs-sha256.json", pcrs.replacen("f3a7e99a", "f3a7e99b", 1).as_bytes());
    is(&folder, "pcr.digest", "tpm.pcr.digest");
    folder.remove("quote.msg");
    assert_eq!(refused(&folder, NONCE).0, "format.malformed");

    // A trust domain's report is no quote, and another trust domain's quote is not its own.
    let folder = Folder::genuine();
    folder.put("hcl-report.bin", &packaged("az-vtpm/az-cvm-vtpm/hcl-report-tdx.bin"));
    is(&folder, "format.malformed", "azure.quote.present");
    folder.put("quote.bin", &packaged("tdx/v4-b0c06f-uptodate/quote.bin"));
    is(&folder, "binding.part", "azure.runtime.bound");
    let shown = inspected(folder.0.path());
    assert_eq!(shown["raw"]["hcl"]["configuration"]["vmUniqueId"], "D270E56B-F668-4990-A5BC-9B624576841D");
}

#[test]
fn a_machine_whose_parts_are_bound_is_accepted_under_its_root_and_no_other() {
    let folder = Folder::made();
    let (path, root) = (folder.0.path(), folder.root());
    let accepted = judged(path, NONCE, &[&root]);
    assert_eq!((&accepted["verdict"], &accepted["authentic"]), (&"accept".into(), &true.into()), "{accepted}");
    assert_eq!(accepted["claims"]["registers"]["pcr2"], "03".repeat(32));
    assert_eq!(judged(path, "00", &[&root])["cause"], "binding.nonce");
    // Its authorities are called as AMD's are.
    assert_eq!(judged(path, NONCE, &[])["cause"], "chain.signature");
    let mut signature = folder.get("quote.sig");
    signature[7] ^= 1;
    folder.put("quote.sig", &signature);
    assert_eq!(judged(path, NONCE, &[&root])["cause"], "signature.invalid");
}

/// Registers an enclave with a release that is proposed from this evidence, and gives the release.
fn proposed(here: &Path, name: &str, evidence: &Path) -> Value {
    exits(0, burgrave(here).args(["enclave", "create", name, "--from-evidence"]).arg(evidence));
    let shown = exits(0, burgrave(here).args(["enclave", "show", name, "-o", "json"]));
    let mut shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["releases"].as_array().unwrap().len(), 1, "{shown}");
    shown["releases"][0].take()
}

/// Holds a proposed release to what the evidence says of itself.
fn proposes_what_is_shown(release: &Value, evidence: &Path) {
    let claims = inspected(evidence)["claims"].take();
    let reference = &release["reference"];
    assert_eq!((&release["state"], &reference["tee"]), (&"provisional".into(), &"az-vtpm".into()), "{release}");
    assert_eq!(reference["measurement"], claims["launch"]["measurement"], "{release}");
    let mut registers = claims["registers"].clone();
    // It grows while the machine runs.
    registers.as_object_mut().unwrap().remove("pcr10");
    assert_eq!(reference["registers"], registers, "{release}");
}

#[test]
fn evidence_proposes_the_release_that_takes_it() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let mut node = Serving::start(burgrave(here).arg("dev"));
    node.stdout_until("burgrave why");

    let (genuine, made) = (Folder::genuine(), Folder::made());
    for (name, evidence) in [("azure/genuine", &genuine), ("azure/made", &made)] {
        let release = proposed(here, name, evidence.0.path());
        proposes_what_is_shown(&release, evidence.0.path());
        let word = release["name"].as_str().unwrap();
        exits(0, burgrave(here).args(["enclave", "release", "state", name, word, "active"]));
    }
    // Evidence that cannot be read proposes nothing.
    made.remove("hcl-report.bin");
    let create = ["enclave", "create", "azure/none", "--tee", "az-vtpm", "--from-evidence"];
    let refused = exits(2, burgrave(here).args(create).arg(made.0.path()));
    assert!(refused.contains("cannot be read as `az-vtpm` evidence"), "{refused}");

    match collected("az-vtpm/snp-milan-trustee-v1") {
        Some(evidence) => proposes_what_is_shown(&proposed(here, "azure/collected", &evidence), &evidence),
        None => skipped(),
    }
    assert!(node.stop());
}

#[test]
fn a_genuine_machines_whole_evidence_is_accepted() {
    let Some(evidence) = collected("az-vtpm/snp-milan-trustee-v1") else {
        return skipped();
    };
    let accepted = judged(&evidence, NONCE, &[]);
    assert_eq!((&accepted["verdict"], &accepted["authentic"]), (&"accept".into(), &true.into()), "{accepted}");
    assert_eq!(accepted["claims"]["registers"], inspected(&evidence)["claims"]["registers"]);
    assert_eq!(judged(&evidence, "00", &[])["cause"], "binding.nonce");
}

/// Says so where a test is shown to pass, too.
fn skipped() {
    let said = writeln!(std::io::stderr(), "skipped: no evidence vectors at BURGRAVE_VECTORS or ../shared/vectors");
    said.unwrap();
}

/// A row of the whole collection, where it is at hand.
fn collected(row: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    let folder = std::env::var_os("BURGRAVE_VECTORS").map_or_else(beside, PathBuf::from);
    Some(folder.join(row)).filter(|folder| folder.exists())
}
