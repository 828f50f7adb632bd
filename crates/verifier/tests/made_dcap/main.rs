//! Platforms, quotes and collateral made in the test under a PKI of its own: each rule broken alone, and what no genuine
//! vector shows (SGX up to date, a relaunch advised, service TDs, every layout under every version).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod cache;
mod claims;
mod collateral;
mod pieces;
mod rules;
mod shape;
mod standing;

use std::sync::Arc;

use burgrave_made::intel::{Made, enclave, td};
use burgrave_verifier::dcap::Cache;
use burgrave_verifier::{Cause, Endorsements, Verdict, Verification};

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
    let enclaves = [3, 4, 5].map(|version| (format!("SGX, version {version}"), enclave(version)));
    enclaves.into_iter().chain(tds).collect()
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

/// Endorsements with an empty cache, and the cache.
fn cached() -> (Arc<Cache>, Endorsements) {
    let cache = Arc::new(Cache::new());
    (Arc::clone(&cache), Endorsements { dcap: Some(cache), ..Endorsements::default() })
}
