//! Collateral that is for something else, not Intel's, broken, missing or out of its time.

use std::time::Duration;

use burgrave_verifier::Cause;
use burgrave_verifier::dcap::Collateral;

use crate::{accepted, each_refuses, refused};
use burgrave_made::intel::{Case, Revoked, now, sgx, td};

#[test]
fn collateral_for_something_else_is_refused() {
    let mismatch = Cause::CollateralMismatch;
    each_refuses(
        &td(5, 3),
        &[
            ("SGX TCB info", |made| made.tcb_info = sgx().tcb_info, mismatch, false),
            ("SGX identity", |made| made.qe_identity = sgx().qe_identity, mismatch, false),
            ("another FMSPC", |made| made.tcb_info["fmspc"] = "50806F000001".into(), mismatch, false),
            ("another PCEID", |made| made.tcb_info["pceId"] = "0001".into(), mismatch, false),
        ],
    );
    let mut other_ca = sgx().case();
    let processor = sgx().with(|made| made.authority_name = "Intel SGX PCK Processor CA");
    accepted("processor", &processor.case().verify());
    other_ca.part.items.insert("collateral.json".to_owned(), processor.collateral().to_string().into_bytes());
    refused("the list of another authority", &other_ca.verify(), mismatch, false);
}

#[test]
fn collateral_that_intel_did_not_sign_is_refused() {
    use Cause::{
        CertificateKind, CertificateRevoked, ChainUntrusted, CollateralSignature, CrlSignature, FormatMalformed,
    };
    each_refuses(
        &sgx(),
        &[
            ("edited after it was signed", |made| made.edited_after = true, CollateralSignature, false),
            ("another signer", |made| made.signer_name = "Intel SGX PCK Certificate", CertificateKind, false),
            ("a signer that is an authority", |made| made.signer_is_authority = true, CertificateKind, false),
            ("a signer beneath the PCK authority", |made| made.signer_under_authority = true, ChainUntrusted, false),
            ("a revoked signer", |made| made.revoked = Revoked::Signer, CertificateRevoked, false),
            ("a revoked authority", |made| made.revoked = Revoked::Authority, CertificateRevoked, false),
            ("a revoked PCK", |made| made.revoked = Revoked::Pck, CertificateRevoked, false),
            ("a list of another root", |made| made.crl_by_another = true, CrlSignature, false),
            ("another version", |made| made.tcb_info["version"] = 2.into(), FormatMalformed, false),
            ("another TCB type", |made| made.tcb_info["tcbType"] = 1.into(), FormatMalformed, false),
            ("another TEE", |made| made.tcb_info["id"] = "X".into(), FormatMalformed, false),
            ("another identity version", |made| made.qe_identity["version"] = 3.into(), FormatMalformed, false),
            (
                "fifteen components",
                |made| drop(made.tcb_info["tcbLevels"][0]["tcb"]["sgxtcbcomponents"].as_array_mut().unwrap().pop()),
                FormatMalformed,
                false,
            ),
        ],
    );
}

#[test]
fn a_member_that_is_missing_or_broken_is_named() {
    let whole = sgx().collateral();
    for (member, _) in whole.as_object().unwrap() {
        let mut missing = whole.clone();
        missing.as_object_mut().unwrap().remove(member);
        assert!(Collateral::parse(missing.to_string().as_bytes()).is_err(), "{member}");
        let mut broken = whole.clone();
        broken[member] = "zz".into();
        let error = Collateral::parse(broken.to_string().as_bytes()).unwrap_err().to_string();
        assert!(error.contains(member.as_str()), "{member}: {error}");
    }
    assert!(Collateral::parse(&vec![b' '; 2 << 20]).unwrap_err().to_string().contains("1 MiB"));
}

#[test]
fn what_is_out_of_its_time_is_refused_and_named() {
    use Cause::{CertificateValidity, CollateralValidity, CrlValidity};
    each_refuses(
        &td(4, 2),
        &[
            ("an expired PCK", |made| made.pck_until = 2026, CertificateValidity, false),
            (
                "TCB info of the future",
                |made| made.tcb_info["issueDate"] = "2026-03-02T00:00:00Z".into(),
                CollateralValidity,
                false,
            ),
            (
                "expired TCB info",
                |made| made.tcb_info["nextUpdate"] = "2026-03-01T00:00:00Z".into(),
                CollateralValidity,
                false,
            ),
            (
                "an expired identity",
                |made| made.qe_identity["nextUpdate"] = "2026-02-28T00:00:00Z".into(),
                CollateralValidity,
                false,
            ),
        ],
    );
    let mut late = td(4, 2).case();
    late.at = now() + Duration::from_secs(365 * 86400);
    refused("stale lists come before stale TCB info", &late.verify(), CrlValidity, false);
    let alone = td(4, 2).with(|made| made.tcb_info["nextUpdate"] = "2028-01-01T00:00:00Z".into());
    refused("a stale list", &Case { at: late.at, ..alone.case() }.verify(), CrlValidity, false);
}

#[test]
fn a_platform_without_collateral_is_refused_and_endorsements_help() {
    let made = sgx();
    let mut case = Case::of(made.tee, made.quote(), None);
    refused("no collateral", &case.verify(), Cause::CollateralValidity, false);
    assert!(case.verify().claims.is_some());
    assert!(case.endorsements.add(td(5, 3).collateral().to_string().as_bytes()));
    refused("that of TDs alone", &case.verify(), Cause::CollateralMismatch, false);
    assert!(case.endorsements.add(made.collateral().to_string().as_bytes()));
    accepted("endorsed", &case.verify());
}

#[test]
fn current_collateral_of_the_judge_counts_whatever_the_evidence_brings() {
    let made = td(5, 3);
    let stale = made.with(|made| made.tcb_info["nextUpdate"] = "2026-02-28T00:00:00Z".into());
    let mut case = made.case();
    case.part.items.insert("collateral.json".to_owned(), stale.collateral().to_string().into_bytes());
    refused("stale beside the quote", &case.verify(), Cause::CollateralValidity, false);
    assert!(case.endorsements.add(made.collateral().to_string().as_bytes()));
    accepted("current at hand", &case.verify());
    case.part.items.insert("collateral.json".to_owned(), b"{}".to_vec());
    accepted("something else beside the quote", &case.verify());
    // And what is current beside the quote hides no revocation.
    let revoking = made.with(|made| (made.revoked, made.crl_number) = (Revoked::Pck, 301));
    let mut case = made.case();
    assert!(case.endorsements.add(revoking.collateral().to_string().as_bytes()));
    refused("revoked since", &case.verify(), Cause::CertificateRevoked, false);
}
