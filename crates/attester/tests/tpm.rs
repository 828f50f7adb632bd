//! The TPM attester against a live TPM: the emulator `swtpm`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

use burgrave_attester::swtpm::Swtpm;
use burgrave_attester::{
    Attester, AttesterError, AttesterSpec, BindingData, EkKind, EventLogs, TpmAttester, Transport,
};

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

/// A TPM that gives these answers, one to each command, whatever the command; how many commands came.
fn pretended(answers: Vec<Vec<u8>>) -> (tempfile::TempDir, TpmAttester, JoinHandle<usize>) {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("s")).unwrap();
    let attester = TpmAttester::new(Transport::UnixSocket(dir.path().join("s")));
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut count = 0;
        for answer in answers {
            let mut header = [0; 10];
            if stream.read_exact(&mut header).is_err() {
                break;
            }
            let length = u32::from_be_bytes(header[2..6].try_into().unwrap()) as usize;
            stream.read_exact(&mut vec![0; length - header.len()]).unwrap();
            stream.write_all(&answer).unwrap();
            count += 1;
        }
        count
    });
    (dir, attester, thread)
}

fn code(code: u16) -> Vec<u8> {
    [&[0x80, 0x01, 0, 0, 0, 10, 0, 0][..], &code.to_be_bytes()].concat()
}

#[test]
fn a_busy_tpm_is_asked_again_and_one_that_refuses_is_not() {
    let success = [&[0x80, 0x02, 0, 0, 0, 19, 0, 0, 0, 0, 0, 0, 0, 0][..], &[0; 5]].concat();
    let (_dir, mut attester, thread) = pretended(vec![code(0x922), code(0x90a), success]);
    attester.extend_pcr(16, &[1; 32]).unwrap();
    drop(attester);
    assert_eq!(thread.join().unwrap(), 3);

    let (_dir, mut attester, thread) = pretended(vec![code(0x921), code(0)]);
    let error = attester.extend_pcr(16, &[1; 32]).unwrap_err();
    assert!(error.to_string().starts_with("the TPM refused TPM2_PCR_Extend: code 0x921, it is locked out"), "{error}");
    drop(attester);
    assert_eq!(thread.join().unwrap(), 1);
}

#[test]
fn an_answer_that_claims_another_length_is_refused() {
    for claimed in [0u32, 9, 4097, u32::MAX] {
        let answer = [&[0x80, 0x01][..], &claimed.to_be_bytes(), &[0; 4]].concat();
        let (_dir, mut attester, thread) = pretended(vec![answer]);
        let error = attester.extend_pcr(16, &[1; 32]).unwrap_err();
        assert!(error.to_string().contains(&format!("it has {claimed} bytes; expected 10 to 4096")), "{error}");
        thread.join().unwrap();
    }
}

#[test]
fn pcr_values_beside_those_asked_for_are_refused() {
    // One value for a selection of two; then a value for a PCR that was not asked for.
    let answer = |bits: u8, values: &[u8]| {
        let mut body = vec![0, 0, 0, 1, 0, 0, 0, 1, 0, 0x0b, 3, bits, 0, 0, 0, 0, 0, values.len() as u8];
        for value in values {
            body.extend([0, 32]);
            body.extend([*value; 32]);
        }
        let length = u32::try_from(body.len() + 10).unwrap().to_be_bytes();
        [&[0x80, 0x01][..], &length, &[0; 4], &body].concat()
    };
    for (answers, why) in [
        (vec![answer(0b11, &[1])], "another number of PCR values than it selects"),
        (vec![answer(0b10, &[1])], "holds none of the PCRs asked for"),
    ] {
        let (_dir, attester, thread) = pretended(answers);
        let error = attester.with_pcrs([0]).unwrap().read_pcrs().unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        thread.join().unwrap();
    }
}

#[test]
fn the_kernels_logs_come_with_the_quote_that_they_explain() {
    let root = tempfile::tempdir().unwrap();
    let security = root.path().join("sys/kernel/security");
    let entry = [&10u32.to_le_bytes()[..], &[1; 20], &[6, 0, 0, 0], b"ima-ng", &[2, 0, 0, 0, 5, 5]].concat();
    for (path, content) in
        [("tpm0/binary_bios_measurements", &b"boot"[..]), ("ima/binary_runtime_measurements", &entry)]
    {
        let path = security.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let (_dir, emulator) = emulator();
    let attester = || TpmAttester::new(emulator.transport()).with_logs(EventLogs::new(root.path()));

    let without = attester().evidence(&binding(1)).unwrap();
    assert_eq!((without.lead.item("eventlog.bin"), without.lead.item("ima.bin")), (Some(&b"boot"[..]), None));

    let mut attester = attester().with_pcrs([0, 10]).unwrap();
    let mut show = || {
        let evidence = attester.evidence(&binding(1)).unwrap();
        let item = |name: &str| evidence.lead.item(name).unwrap().to_vec();
        assert_eq!(item("eventlog.bin"), b"boot");
        let shown = (item("ima.offset"), item("ima.bin"));
        attester.log_taken();
        shown
    };
    assert_eq!(show(), (b"0".to_vec(), entry.clone()));
    assert_eq!(show(), (entry.len().to_string().into_bytes(), Vec::new()));
    attester.log_forgotten();
    let evidence = attester.evidence(&binding(1)).unwrap();
    assert_eq!(evidence.lead.item("ima.bin"), Some(entry.as_slice()));
}

#[test]
fn a_tpm_is_chosen_by_its_text() {
    let (_dir, emulator) = emulator();
    let text = format!("tpm:unix:{},pcrs=0+23,ek=ecc", emulator.socket().display());
    let mut attester = text.parse::<AttesterSpec>().unwrap().open().unwrap();
    let evidence = attester.evidence(&binding(1)).unwrap();
    let pcrs = String::from_utf8(evidence.lead.item("pcrs.json").unwrap().to_vec()).unwrap();
    assert!(pcrs.contains("\"0\"") && pcrs.contains("\"23\"") && !pcrs.contains("\"7\""), "{pcrs}");
    // TPM_ALG_ECC.
    assert_eq!(evidence.lead.item("ek.pub").unwrap()[..2], [0, 0x23]);
}
