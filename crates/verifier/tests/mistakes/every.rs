//! Mistakes that every kind of evidence invites.

use std::time::Duration;

use burgrave_types::{EvidencePart, Tee, Timestamp};
use burgrave_verifier::{Cause, Expected, Roots, Verdict, inspect};

use super::common::Case;
use super::{accepted, each_refused, judge, refused, row, taken};
use burgrave_made::azure::Machine;
use burgrave_made::intel::td;

/// What the evidence itself is, among its items.
fn main_item(part: &EvidencePart) -> &'static str {
    match part.tee {
        Tee::Snp | Tee::NvidiaGpu => "report.bin",
        Tee::Tdx | Tee::Sgx => "quote.bin",
        Tee::Nitro => "document.cose",
        Tee::Cca => "token.cbor",
        Tee::Tpm => "quote.msg",
        other => panic!("no row of {other}"),
    }
}

fn whole() -> impl Iterator<Item = (String, Case)> {
    accepted().into_iter().filter(|(_, case)| case.part.items.contains_key(main_item(&case.part)))
}

#[test]
fn a_nonce_that_is_not_in_the_evidence_is_not_merely_logged() {
    for (id, case) in whole() {
        let nonce = judge(&case, Expected::Nonce(&[0x5a; 32]));
        refused(&id, &nonce, &[Cause::BindingNonce]);
    }
}

#[test]
fn a_key_that_is_not_in_the_evidence_gets_nothing_that_was_meant_for_the_attested_one() {
    // Relayed evidence: whole, fresh and of another link, whose keys and exporter hash to something else.
    for (id, case) in whole() {
        let binding = Expected::Binding { report_data: &[0x5a; 64], qualifying_data: &[0x5a; 32] };
        refused(&id, &judge(&case, binding), &[Cause::BindingReportData, Cause::BindingNonce]);
    }
}

#[test]
fn the_trust_root_is_never_taken_from_the_evidence() {
    each_refused(
        &[
            "snp/synthetic/forged-chain-under-vendor-root",
            "tdx/synthetic/forged-chain-under-vendor-root",
            "nitro/synthetic/own-root-in-cabundle",
        ],
        &[Cause::ChainUntrusted, Cause::ChainSignature],
    );
    for (id, case) in
        whole().filter(|(id, _)| id.contains("synthetic") || id.starts_with("tpm") || id.starts_with("cca"))
    {
        // The test's root lies among the items of most of these.
        let untrusted = Case { roots: Roots::vendor(), ..case }.verify();
        refused(&id, &untrusted, &[Cause::ChainUntrusted, Cause::ChainSignature]);
    }
}

#[test]
fn genuine_evidence_of_debug_mode_is_refused() {
    let debug = ["snp/synthetic/debug-policy", "tdx/synthetic/td-debug", "nitro/synthetic/debug-pcr0-zero"];
    each_refused(&debug, &[Cause::Debug]);
    let enclave = burgrave_made::intel::sgx().with(|made| made.body[48] = 0x07).case();
    refused("SGX", &enclave.verify(), &[Cause::Debug]);
    for id in debug {
        let mut case = row(id);
        assert_eq!(case.verify().claims.unwrap().debug, Some(true), "{id}");
        case.profile.allow_debug = true;
        taken(id, &case.verify());
    }
}

#[test]
fn evidence_is_judged_at_the_time_that_is_asked_for_and_not_by_a_clock() {
    let ends = [Cause::CertificateValidity, Cause::CrlValidity, Cause::CollateralValidity];
    for (id, case) in whole() {
        let Some(end) = case.verify().valid_until else { continue };
        let late = Case { at: end + Duration::from_secs(1), ..case.clone() };
        refused(&id, &late.verify(), &ends);
        let early = Case { at: Timestamp::from_unix_secs(1_000_000_000), ..case };
        refused(&id, &early.verify(), &ends);
    }
    each_refused(&["snp/synthetic/vek-expired", "tdx/synthetic/pck-expired", "tdx/neg-collateral-expired"], &ends);
}

#[test]
fn revocation_is_consulted_and_a_stale_foreign_or_missing_list_is_none() {
    each_refused(&["snp/synthetic/crl-revokes-ask", "tdx/synthetic/pck-revoked"], &[Cause::CertificateRevoked]);
    each_refused(
        &["snp/synthetic/crl-stale", "tdx/synthetic/crl-stale"],
        &[Cause::CrlValidity, Cause::CollateralValidity],
    );
    let foreign = td(5, 3).with(|made| made.crl_by_another = true).case();
    refused("a list of another issuer", &foreign.verify(), &[Cause::CrlSignature]);
    let mut without = td(5, 3).case();
    without.part.items.remove("collateral.json");
    refused("no lists", &without.verify(), &[Cause::CollateralValidity]);
    let mut required = row("snp/synthetic/base");
    taken("a list is not demanded", &required.verify());
    required.profile.snp.require_crl = true;
    refused("a list is demanded", &required.verify(), &[Cause::CrlValidity, Cause::CollateralValidity]);
    let mut required = row("snp/synthetic/crl-clean");
    required.profile.snp.require_crl = true;
    taken("a list that is clean", &required.verify());
}

#[test]
fn what_is_verified_is_the_bytes_that_came_and_no_re_encoding_of_them() {
    // Reserved fields and the padding of signatures, which a decoder drops: those of reports that verifiers were seen to pass.
    let case = row("snp/milan-v2-virtee");
    for at in [0x3a, 0x3d, 0x182, 0x185, 0x1e2, 0x1e5, 0x1f2, 0x1f5, 0x2a0 + 48, 0x2a0 + 71, 0x2e8 + 48, 0x330, 0x49f] {
        let altered = case.with("report.bin", |bytes| bytes[at] ^= 1).verify();
        assert_eq!((altered.verdict, altered.authentic), (Verdict::Reject, false), "byte {at:#x}");
    }
}

#[test]
fn evidence_is_not_its_own_name() {
    // One quote in two encodings is one attestation: what no signature covers must not make it another.
    let case = row("tdx/v4-b0c06f-uptodate");
    let padded = case.with("quote.bin", |bytes| bytes.extend([0; 500]));
    assert_ne!(padded.part, case.part);
    let (one, other) = (case.verify(), padded.verify());
    taken("with more padding", &other);
    assert_eq!(one.claims, other.claims);
    // What it carries there nobody reads; genuine quotes do, and it is told.
    let carrying = case.with("quote.bin", |bytes| *bytes.last_mut().unwrap() = 1).verify();
    taken("bytes behind the quote", &carrying);
    assert_eq!((&one.claims, &one.raw), (&carrying.claims, &carrying.raw));
    assert!(carrying.checks.iter().any(|check| check.name == "dcap.quote.padding" && !check.passed));
    let ends = ["snp/synthetic/trailing-bytes", "nitro/synthetic/trailing-bytes"];
    each_refused(&ends, &[Cause::FormatLength, Cause::FormatMalformed]);
}

#[test]
fn versions_algorithms_and_types_that_are_not_known_are_refused() {
    let known = [Cause::FormatVersion, Cause::FormatAlgorithm, Cause::FormatMalformed];
    each_refused(&["snp/synthetic/version-1", "nitro/synthetic/alg-es256"], &known);
    let snp = row("snp/synthetic/base");
    for (what, at, value) in [("version", 0, 200), ("signature algorithm", 0x34, 9)] {
        refused(what, &snp.with("report.bin", |bytes| bytes[at] = value).verify(), &known);
    }
    let tdx = row("tdx/synthetic/base");
    for (what, at, value) in [("version", 0, 6), ("key type", 2, 3), ("TEE", 4, 0x82)] {
        refused(what, &tdx.with("quote.bin", |bytes| bytes[at] = value).verify(), &known);
    }
    let hcl = Machine { kind: 3, ..Machine::new() };
    refused("hardware", &hcl.verify(), &known);
    let hcl = Machine { version: 3, ..Machine::new() };
    refused("HCL version", &hcl.verify(), &known);
}

#[test]
fn edge_values_of_signatures_are_refused() {
    each_refused(&["snp/synthetic/sig-zero"], &[Cause::SignatureInvalid]);
    // r + n and s + n, which fit into the 72 bytes that a report has for each.
    const ORDER: &str =
        "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973";
    let order: Vec<u8> = hex::decode(ORDER).unwrap().into_iter().rev().collect();
    for at in [0x2a0, 0x2e8] {
        let shifted = row("snp/synthetic/base").with("report.bin", |bytes| {
            let mut carry = 0;
            for (place, byte) in bytes[at..at + 72].iter_mut().enumerate() {
                let sum = u16::from(*byte) + u16::from(order.get(place).copied().unwrap_or(0)) + carry;
                (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
            }
        });
        refused("a number above the order", &shifted.verify(), &[Cause::SignatureInvalid, Cause::FormatMalformed]);
    }
    // DER where the fixed form belongs, and zeros.
    let nitro = row("nitro/synthetic/base");
    let length = nitro.part.items["document.cose"].len();
    for signature in [vec![0; 96], [&[0x30, 0x5e, 0x02, 0x2d], &[1; 92][..]].concat()] {
        let altered = nitro.with("document.cose", |bytes| bytes[length - 96..].copy_from_slice(&signature));
        refused("Nitro", &altered.verify(), &[Cause::SignatureInvalid]);
    }
    let quote = row("tdx/synthetic/base");
    for other_than_zero in [0, 0xff] {
        let altered = quote.with("quote.bin", |bytes| bytes[636..700].fill(other_than_zero));
        refused("TDX", &altered.verify(), &[Cause::SignatureInvalid]);
    }
}

#[test]
fn evidence_that_is_cut_anywhere_is_refused_without_panic() {
    for (id, case) in whole() {
        let item = main_item(&case.part);
        let length = case.part.items[item].len();
        let behind = match case.part.tee {
            // Zeros that may stand behind a quote may be fewer, too.
            Tee::Tdx => length - case.part.items[item].iter().rposition(|byte| *byte != 0).unwrap() - 1,
            _ => 0,
        };
        for end in (0..length - behind).step_by(1 + length / 200) {
            let cut = case.with(item, |bytes| bytes.truncate(end));
            let _ = inspect(&cut.part);
            assert_eq!(cut.verify().verdict, Verdict::Reject, "{id} cut at {end}");
        }
    }
}

#[test]
fn no_conclusion_outlives_what_it_stands_on() {
    for (id, case) in whole().filter(|(_, case)| case.part.tee != Tee::Cca) {
        let verification = case.verify();
        let end = verification.valid_until.unwrap_or_else(|| panic!("{id} would be believed for ever"));
        taken(&id, &Case { at: Timestamp::from_unix_secs(end.unix_secs() - 1), ..case.clone() }.verify());
    }
}

#[test]
fn parts_that_are_not_bound_to_each_other_do_not_stand_together() {
    // A vTPM's quote beside the report of other hardware, and beside the runtime data of another machine.
    let own = Machine::new();
    taken("bound", &own.verify());
    let mut report_of_another = Machine::new();
    report_of_another.report_data = Some([7; 64]);
    refused("a report of another machine", &report_of_another.verify(), &[Cause::BindingPart]);
    let mut quote_of_another = Machine::new();
    quote_of_another.signer = Some(aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap());
    refused("a quote of another vTPM", &quote_of_another.verify(), &[Cause::SignatureInvalid]);
}

#[test]
fn a_platform_whose_keys_leaked_is_kept_out_by_its_name() {
    // Nothing tells a forged quote from a true one once a platform's key was extracted.
    for id in ["snp/synthetic/base", "tdx/synthetic/base"] {
        let mut case = row(id);
        let platform = case.verify().claims.unwrap().platform_id.unwrap();
        case.endorsements.platforms = vec![vec![1; 64]];
        let unlisted = case.verify();
        refused(id, &unlisted, &[Cause::PlatformUnlisted]);
        assert!(unlisted.authentic, "{id}");
        case.endorsements.platforms.push(platform.0);
        taken(id, &case.verify());
    }
}
