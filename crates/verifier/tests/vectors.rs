//! Every row of the evidence vectors gives the verdict, the authenticity and a cause that it should.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod common;

use std::io::Write;
use std::path::Path;

use burgrave_types::Tee;
use burgrave_verifier::{Cause, Verdict, Verification};
use common::{Row, collection, packaged};
use serde_json::Value;

#[test]
fn every_packaged_row_is_judged_as_it_should() {
    let (folder, rows) = packaged();
    assert!(rows.len() >= 59, "only {} rows", rows.len());
    judge(&folder, &rows);
}

#[test]
fn every_row_of_the_whole_collection_is_judged_as_it_should() {
    let Some((folder, rows)) = collection() else {
        // Not `eprintln!`, whose output the test runner keeps to itself when a test passes.
        let said = writeln!(std::io::stderr(), "skipped: no evidence vectors at BURGRAVE_VECTORS or ../shared/vectors");
        said.unwrap();
        return;
    };
    assert!(rows.len() >= 97, "only {} rows", rows.len());
    judge(&folder, &rows);
}

#[test]
fn the_packaged_files_are_the_ones_whose_digests_are_known() {
    let (folder, rows) = packaged();
    for row in rows {
        for (name, digest) in row.files() {
            let bytes = std::fs::read(folder.join(&row.id).join(&name)).unwrap();
            let found = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
            assert_eq!(hex::encode(found), digest, "{}/{name}", row.id);
        }
    }
}

fn judge(folder: &Path, rows: &[Row]) {
    let mut wrong = Vec::new();
    for row in rows.iter().filter(|row| matches!(row.expect(), "accept" | "reject")) {
        let verification = row.case(folder).verify();
        let verdict = if row.expect() == "accept" { Verdict::Accept } else { Verdict::Reject };
        let causes = row.causes();
        let cause_fits = match verification.cause {
            None => causes.is_empty(),
            Some(cause) => causes.contains(&cause),
        };
        if verification.verdict != verdict || verification.authentic != row.authentic() || !cause_fits {
            let failed: Vec<_> = verification.checks.iter().filter(|check| !check.passed).collect();
            wrong.push(format!(
                "{}: {:?} authentic {} cause {:?}, expected {} authentic {} among {causes:?}; {failed:#?}",
                row.id,
                verification.verdict,
                verification.authentic,
                verification.cause.map(Cause::as_str),
                row.expect(),
                row.authentic(),
            ));
        }
        if verification.verdict == Verdict::Accept {
            wrong.extend(differing_claims(row, &verification));
        }
        assert_eq!(verification.cause.is_none(), verification.verdict == Verdict::Accept, "{}", row.id);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the verifier decoded is what the manifest's own reader, an independent one, did.
fn differing_claims(row: &Row, verification: &Verification) -> Vec<String> {
    let (raw, stated) = (&verification.raw, row.claims());
    let pairs: &[(&str, &str)] = match verification.tee {
        Tee::Snp => &[
            ("version", "/version"),
            ("policy", "/policy"),
            ("vmpl", "/vmpl"),
            ("guest_svn", "/guest_svn"),
            ("plat_info", "/platform_info"),
            ("signing_key", "/signing_key"),
            ("report_data", "/report_data"),
            ("measurement", "/measurement"),
            ("host_data", "/host_data"),
            ("id_key", "/id_key_digest"),
            ("author_key", "/author_key_digest"),
            ("report_id", "/report_id"),
            ("chip_id", "/chip_id"),
            ("product", "/family"),
            ("vek_tcb", "/reported_tcb"),
        ],
        Tee::Tdx | Tee::Sgx => &[
            ("version", "/version"),
            ("mrseam", "/report/mrseam"),
            ("tcb_svn", "/report/tee_tcb_svn"),
            ("tcb_svn2", "/report/tee_tcb_svn2"),
            ("mrservicetd", "/report/mrservicetd"),
            ("tdattr", "/report/tdattributes"),
            ("xfam", "/report/xfam"),
            ("mrtd", "/report/mrtd"),
            ("mrconfigid", "/report/mrconfigid"),
            ("mrowner", "/report/mrowner"),
            ("rtmr", "/report/rtmrs"),
            ("report_data", "/report/reportdata"),
            ("cpusvn", "/report/cpusvn"),
            ("attributes", "/report/attributes"),
            ("mrenclave", "/report/mrenclave"),
            ("mrsigner", "/report/mrsigner"),
            ("prodid", "/report/isvprodid"),
            ("svn", "/report/isvsvn"),
            ("qe_isvsvn", "/qe_report/isvsvn"),
            ("fmspc", "/fmspc"),
            ("pck_svns", "/sgx_components"),
            ("pcesvn", "/pcesvn"),
            ("tcb_status", "/tcb_status"),
        ],
        Tee::Nitro => &[
            ("module_id", "/module_id"),
            ("timestamp_ms", "/timestamp_ms"),
            ("digest", "/digest"),
            ("nonce", "/nonce"),
            ("user_data", "/user_data"),
            ("public_key", "/public_key"),
        ],
        Tee::Cca => &[("/platform/265", "/platform/profile"), ("/platform/2395", "/platform/lifecycle")],
        Tee::NvidiaGpu => &[("nonce", "/nonce")],
        Tee::AzVtpm => &[("nonce", "/quote/extra_data"), ("pcr_digest", "/quote/pcr_digest")],
        _ => &[
            ("nonce", "/quotes/0/extra_data"),
            ("pcr_digest", "/quotes/0/pcr_digest"),
            ("reset", "/quotes/0/reset_count"),
            ("restart", "/quotes/0/restart_count"),
        ],
    };
    let has_report = verification.claims.is_some();
    // The manifest nests some claims; those are named by pointer.
    let value = |name: &str| if name.starts_with('/') { stated.pointer(name) } else { stated.get(name) };
    let pairs = pairs.iter().filter(|_| has_report).filter_map(|(name, pointer)| Some((name, value(name)?, pointer)));
    let compared = pairs
        .filter(|(_, stated, _)| !stated.is_null())
        .map(|(name, stated, pointer)| (name, stated, raw.pointer(pointer).unwrap_or(&Value::Null)));
    compared
        // What is absent the manifest of some TEEs states as an empty text.
        .filter(|(_, stated, found)| stated != found && !(found.is_null() && **stated == ""))
        .map(|(name, stated, found)| format!("{}: {name} is {stated}, found {found}", row.id))
        .collect()
}
