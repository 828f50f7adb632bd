//! Event logs made in the test, beside quotes of a TPM made in the test: what they explain, prove, and are refused for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

#[path = "../common/mod.rs"]
mod common;

mod boot;
mod ima;
mod mutation;
mod pieces;
mod td;
mod vtpm;

use burgrave_made::tpm::{Pcrs, Tpm, ek_certificate};
use burgrave_verifier::{Cause, Verification};

const AT: &str = "2026-01-01T00:00:00Z";
const SHA256: u16 = 0x0b;

/// A machine with a quote over `pcrs` of the SHA-256 bank.
fn machine(pcrs: Pcrs) -> Tpm {
    Tpm::new().with_ek(&ek_certificate()).quoted_banks("", 3, SHA256, &[(SHA256, "sha256", pcrs)])
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref().to_vec()
}

fn sha384(bytes: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA384, bytes).as_ref().to_vec()
}

fn sha1(bytes: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref().to_vec()
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap().to_le_bytes()
}

fn cause(verification: &Verification) -> &'static str {
    verification.cause.map_or("none", Cause::as_str)
}

/// What was found by the check of that name.
fn found<'a>(verification: &'a Verification, name: &str) -> &'a str {
    let check = verification.checks.iter().rfind(|check| check.name == name);
    &check.unwrap_or_else(|| panic!("no {name} in {:#?}", verification.checks)).found
}
