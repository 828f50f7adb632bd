//! One vendor's root is no other's.

use burgrave_made::{amd, azure, intel, nitro, nvidia, tpm};
use burgrave_types::EvidencePart;
use burgrave_verifier::{Cause, Endorsements, Expected, Input, Profile, Roots, verify};

/// What becomes of evidence that is good under `root`, judged by `roots`.
fn cause(part: &EvidencePart, endorsements: &Endorsements, roots: &Roots) -> Option<Cause> {
    let (profile, expected, at) = (Profile::default(), Expected::None, "2026-01-01T12:00:00Z".parse().unwrap());
    verify(&Input { part, endorsements, roots, profile: &profile, expected, at }).cause
}

#[test]
fn certificates_of_makers_of_tpms_anchor_nothing_but_tpms() {
    let (enclave, gpu, mut td) = (nitro::Maker::new(), nvidia::Gpu::new(), intel::td(4, 2));
    td.tcb_info["issueDate"] = "2025-12-20T00:00:00Z".into();
    td.qe_identity["issueDate"] = "2025-12-20T00:00:00Z".into();
    let snp = EvidencePart::new(
        burgrave_types::Tee::Snp,
        [("vek.der", amd::AUTHORITY.vek.clone()), ("ask.der", amd::AUTHORITY.ask.clone())],
    );
    let others = [
        ("Nitro", enclave.part(), enclave.root.der().to_vec()),
        ("a GPU", gpu.part(), gpu.root.der().to_vec()),
        ("SEV-SNP", snp, amd::AUTHORITY.ark.clone()),
        ("Azure", azure::Machine::new().part(), amd::AUTHORITY.ark.clone()),
        ("TDX", td.case().part, intel::KEYS.root.der().to_vec()),
    ];
    let none = Endorsements::default();
    for (what, part, root) in others {
        let as_maker = Roots::vendor().with_tpm_makers([&root]).unwrap();
        let refused = cause(&part, &none, &as_maker);
        assert!(matches!(refused, Some(Cause::ChainUntrusted | Cause::ChainSignature)), "{what}: {refused:?}");
        let named = cause(&part, &none, &Roots::only([&root]).unwrap());
        assert!(!matches!(named, Some(Cause::ChainUntrusted | Cause::ChainSignature)), "{what}: {named:?}");
    }
    let machine = tpm::Tpm::new().with_ek(&tpm::ek_certificate()).quoted("", 3, 0x000b);
    let makers = Roots::vendor().with_tpm_makers([machine.maker.der()]).unwrap();
    assert_ne!(cause(&machine.part(), &none, &makers), Some(Cause::ChainUntrusted));
}

#[test]
fn amds_roots_anchor_no_tpm() {
    let machine = tpm::Tpm::new().with_ek(&tpm::ek_certificate()).quoted("", 3, 0x000b);
    let cause = cause(&machine.part(), &Endorsements::default(), &Roots::vendor());
    assert_eq!(cause, Some(Cause::ChainUntrusted));
}

#[test]
fn what_is_no_certificate_is_no_makers_of_tpms() {
    assert!(Roots::vendor().with_tpm_makers([b"[]"]).is_err());
    assert!(Roots::vendor().with_cca_anchors([intel::KEYS.root.der()]).is_err());
}
