//! The classic mistakes of verifiers of evidence, each as a test that an implementation with that mistake fails. Most were
//! found in deployed verifiers; a few are attacks on the platforms that only policy can answer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

#[path = "../common/mod.rs"]
mod common;

mod every;
mod intel;
mod nitro;
mod revocation;
mod roots;
mod sev;
mod trusted_platform;

use burgrave_verifier::{Cause, Expected, Input, Verdict, Verification, verify};
use common::{Case, packaged};

/// A packaged row.
fn row(id: &str) -> Case {
    let (folder, rows) = packaged();
    rows.iter().find(|row| row.id == id).unwrap_or_else(|| panic!("no row {id}")).case(&folder)
}

/// The packaged rows that are accepted, with their names.
fn accepted() -> Vec<(String, Case)> {
    let (folder, rows) = packaged();
    let rows = rows.into_iter().filter(|row| row.expect() == "accept");
    rows.map(|row| (row.id.clone(), row.case(&folder))).collect()
}

fn judge(case: &Case, expected: Expected<'_>) -> Verification {
    verify(&Input {
        part: &case.part,
        endorsements: &case.endorsements,
        roots: &case.roots,
        profile: &case.profile,
        expected,
        at: case.at,
    })
}

#[track_caller]
fn taken(what: &str, verification: &Verification) {
    assert_eq!(verification.verdict, Verdict::Accept, "{what}: {:#?}", verification.checks);
}

#[track_caller]
fn refused(what: &str, verification: &Verification, causes: &[Cause]) {
    assert_eq!(verification.verdict, Verdict::Reject, "{what}");
    assert!(causes.contains(&verification.cause.unwrap()), "{what}: {:?}", verification.cause);
}

/// The packaged rows of those names are refused, each for one of `causes`.
#[track_caller]
fn each_refused(ids: &[&str], causes: &[Cause]) {
    for id in ids {
        refused(id, &row(id).verify(), causes);
    }
}
