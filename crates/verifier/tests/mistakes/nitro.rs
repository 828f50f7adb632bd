//! Mistakes about AWS Nitro Enclaves.

use burgrave_verifier::{Cause, Expected};

use super::{each_refused, judge, refused, row, taken};

#[test]
fn zero_missing_and_short_registers_are_refused() {
    each_refused(&["nitro/synthetic/debug-pcr0-zero"], &[Cause::Debug]);
    each_refused(&["nitro/synthetic/pcr0-absent"], &[Cause::FormatMalformed, Cause::FormatLength]);
}

#[test]
fn a_document_without_the_nonce_that_was_asked_for_is_refused() {
    each_refused(&["nitro/synthetic/nonce-absent", "nitro/synthetic/nonce-other"], &[Cause::BindingNonce]);
    refused("no nonce", &judge(&row("nitro/synthetic/base"), Expected::Nonce(&[])), &[Cause::BindingNonce]);
}

#[test]
fn the_chain_is_held_to_its_flags_and_the_algorithm_to_the_protected_header() {
    each_refused(&["nitro/synthetic/intermediate-not-ca"], &[Cause::ChainConstraint]);
    each_refused(&["nitro/synthetic/alg-es256"], &[Cause::FormatAlgorithm]);
    each_refused(&["nitro/synthetic/cabundle-empty"], &[Cause::FormatMalformed, Cause::FormatLength]);
    each_refused(&["nitro/synthetic/sig-by-other-key"], &[Cause::SignatureInvalid]);
}

#[test]
fn a_document_is_one_with_its_tag_and_without() {
    let (bare, tagged) = (row("nitro/synthetic/base").verify(), row("nitro/synthetic/base-tag18").verify());
    taken("bare", &bare);
    taken("tagged", &tagged);
    let launch = |verification: burgrave_verifier::Verification| verification.claims.unwrap().launch;
    assert_eq!(launch(bare), launch(tagged));
}

#[test]
fn a_leaf_of_three_hours_is_judged_at_the_time_that_is_asked_for() {
    let mut case = row("nitro/prod-2025-public-key");
    let end = case.verify().valid_until.unwrap();
    case.at = end + std::time::Duration::from_secs(1);
    refused("over", &case.verify(), &[Cause::CertificateValidity]);
}

#[test]
fn an_image_that_nobody_signed_has_no_signer() {
    let claims = row("nitro/prod-2025-public-key").verify().claims.unwrap();
    assert_eq!(claims.launch.signer, None, "PCR 8 is zero");
}
