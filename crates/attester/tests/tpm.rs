//! The TPM attester against a live TPM: the emulator `swtpm`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

use burgrave_attester::swtpm::Swtpm;
use burgrave_attester::{Attester, AttesterError, BindingData, EkKind, TpmAttester, Transport};

fn binding(byte: u8) -> BindingData {
    BindingData { report_data: [byte; 64], qualifying_data: [byte; 32] }
}

fn emulator() -> (tempfile::TempDir, Swtpm) {
    let dir = tempfile::tempdir().unwrap();
    let emulator = Swtpm::start(dir.path()).unwrap();
    (dir, emulator)
}

#[test]
fn the_same_tpm_has_the_same_keys_after_a_restart() {
    let (dir, emulator) = emulator();
    let mut attester = TpmAttester::new(emulator.transport());
    let first = attester.evidence(&binding(1)).unwrap();
    drop(emulator);

    let again = Swtpm::start(dir.path()).unwrap();
    let second = TpmAttester::new(again.transport()).evidence(&binding(1)).unwrap();
    for item in ["ek.pub", "ak.pub"] {
        assert_eq!(first.lead.item(item), second.lead.item(item), "{item}");
    }
    assert_ne!(first.lead.item("quote.msg"), second.lead.item("quote.msg"));
    assert_eq!(first.lead.item("ekcert-rsa.der"), None);
}

#[test]
fn extending_a_pcr_changes_it_until_the_reset() {
    let (_dir, emulator) = emulator();
    let mut attester = TpmAttester::new(emulator.transport()).with_pcrs([0, 16, 23]).unwrap();
    let before = attester.read_pcrs().unwrap();
    attester.extend_pcr(16, &[7; 32]).unwrap();
    let after = attester.read_pcrs().unwrap();
    assert_eq!(before.keys().collect::<Vec<_>>(), [&0, &16, &23]);
    assert_ne!(before[&16], after[&16]);
    assert_eq!(before[&23], after[&23]);
}

#[test]
fn many_calls_leave_no_slot_taken() {
    let (_dir, emulator) = emulator();
    let mut attester = TpmAttester::new(emulator.transport()).with_ek(EkKind::EccP256);
    for n in 0..20 {
        attester.evidence(&binding(n)).unwrap();
        let refused = attester.activate_credential(&[0, 2, 0, 0], &[0, 2, 0, 0]).unwrap_err();
        assert!(matches!(refused, AttesterError::Refused { .. }), "{refused}");
    }
}

#[test]
fn a_tpm_that_is_not_there_is_named_in_the_error() {
    let error = TpmAttester::new(Transport::Device("/nowhere/tpm0".into())).evidence(&binding(0)).unwrap_err();
    assert!(error.to_string().contains("`/nowhere/tpm0`"), "{error}");
}

#[test]
fn a_choice_of_no_pcr_or_of_one_too_high_is_refused() {
    let attester = || TpmAttester::new(Transport::Device("/nowhere/tpm0".into()));
    assert!(matches!(attester().with_pcrs([]), Err(AttesterError::Argument { .. })));
    let error = attester().with_pcrs([1, 24]).unwrap_err();
    assert_eq!(error.to_string(), "the PCR index is not valid: found 24, expected 0 to 23");
}

#[test]
fn a_manufactured_tpm_shows_its_endorsement_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let (root, issuer) = Swtpm::manufacture(dir.path()).unwrap();
    assert!(root.is_file() && issuer.is_file());
    let emulator = Swtpm::start(dir.path()).unwrap();
    let evidence = TpmAttester::new(emulator.transport()).evidence(&binding(3)).unwrap();
    let certificate = evidence.lead.item("ekcert-rsa.der").unwrap();
    let modulus = &evidence.lead.item("ek.pub").unwrap()[58..];
    assert_eq!(modulus.len(), 256);
    assert!(certificate.windows(256).any(|window| window == modulus), "the certificate is for this EK");
}
