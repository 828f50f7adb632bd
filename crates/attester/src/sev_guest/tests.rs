//! The attester against a stand-in that behaves as the kernel's driver does.

use std::collections::VecDeque;

use burgrave_types::certificate_table::{ARK, ASK, VCEK, write};
use proptest::prelude::*;

use super::*;

const ENOTTY: i32 = 25;
const EIO: i32 = 5;
const EINVAL: i32 = 22;

/// What the host and the firmware do with one request.
#[derive(Clone, Copy)]
enum Turn {
    Fine,
    /// The host holds more certificates than the guest gave room for.
    TooManyCertificates,
    /// Host and firmware codes in `exitinfo2`.
    Fails(u64),
    /// The firmware answers with this status.
    Status(u32),
    /// The firmware's answer has this size field.
    Size(u32),
    /// Another request's report comes back.
    Stale,
}

/// The driver: it wipes its key to the firmware after a request that failed, but for one whose certificates did not fit.
struct Driver {
    turns: VecDeque<Turn>,
    certificates: Vec<u8>,
    has_key: bool,
    vmpl: u8,
}

impl Driver {
    fn new(turns: &[Turn], certificates: Vec<u8>) -> Self {
        Self { turns: turns.iter().copied().collect(), certificates, has_key: true, vmpl: 0 }
    }

    fn fail(&mut self, errno: i32, exitinfo2: u64) -> Result<(), GuestFailure> {
        self.has_key = exitinfo2 == 1 << 32;
        Err(GuestFailure { error: io::Error::from_raw_os_error(errno), exitinfo2 })
    }

    fn answer(&mut self, request: &[u8; 96], response: &mut [u8; 4000]) -> Result<(), GuestFailure> {
        assert!(request[68..].iter().all(|byte| *byte == 0), "reserved bytes must be zero");
        let vmpl = u32::from_le_bytes(request[64..68].try_into().unwrap());
        let turn = self.turns.pop_front().expect("no more requests than this");
        if !self.has_key {
            return self.fail(ENOTTY, 0xff);
        }
        response.fill(0);
        let status = match turn {
            Turn::Fails(exitinfo2) => return self.fail(EIO, exitinfo2),
            Turn::TooManyCertificates => return self.fail(EIO, 1 << 32),
            Turn::Status(status) => status,
            _ if vmpl < u32::from(self.vmpl) => 0x16,
            _ => 0,
        };
        response[..4].copy_from_slice(&status.to_le_bytes());
        if status != 0 {
            return Ok(());
        }
        let size = if let Turn::Size(size) = turn { size } else { 1184 };
        response[4..8].copy_from_slice(&size.to_le_bytes());
        let report = &mut response[32..32 + 1184];
        report[0] = 3;
        report[0x30] = vmpl as u8;
        report[0x50..0x90].copy_from_slice(&request[..64]);
        if let Turn::Stale = turn {
            report[0x50] ^= 1;
        }
        Ok(())
    }
}

impl SevGuestDevice for Driver {
    fn report(&mut self, request: &[u8; 96], response: &mut [u8; 4000]) -> Result<(), GuestFailure> {
        self.answer(request, response)
    }

    fn extended_report(
        &mut self,
        request: &[u8; 96],
        certificates: &mut [u8],
        response: &mut [u8; 4000],
    ) -> Result<(), GuestFailure> {
        if certificates.len() > 0x4000 || !certificates.len().is_multiple_of(0x1000) {
            return Err(GuestFailure { error: io::Error::from_raw_os_error(EINVAL), exitinfo2: 0xff });
        }
        // What a request that failed leaves behind means nothing.
        certificates.fill(0xff);
        self.answer(request, response)?;
        certificates.fill(0);
        certificates[..self.certificates.len()].copy_from_slice(&self.certificates);
        Ok(())
    }
}

fn attester(turns: &[Turn]) -> SevGuestAttester {
    let certificates = write(&[(VCEK, b"chip"), (ASK, b"signer"), (ARK, b"root")]);
    SevGuestAttester::with_device(Box::new(Driver::new(turns, certificates)), "/dev/sev-guest".as_ref())
}

fn binding() -> BindingData {
    BindingData { report_data: std::array::from_fn(|n| n as u8), qualifying_data: [9; 32] }
}

fn refusal(turns: &[Turn]) -> String {
    attester(turns).evidence(&binding()).unwrap_err().to_string()
}

#[test]
fn a_request_stands_as_the_kernels_structure_has_it() {
    let bytes = request(&binding().report_data, 2);
    assert_eq!(bytes[..64], binding().report_data);
    assert_eq!(bytes[64..], [&[2, 0, 0, 0][..], &[0; 28]].concat());
}

#[test]
fn a_report_comes_with_the_hosts_certificates() {
    let evidence = attester(&[Turn::Fine]).evidence(&binding()).unwrap();
    assert_eq!(evidence.lead.tee, Tee::Snp);
    assert_eq!(evidence.lead.items.keys().collect::<Vec<_>>(), ["ark.der", "ask.der", "report.bin", "vcek.der"]);
    let report = evidence.lead.item("report.bin").unwrap();
    assert_eq!((report.len(), &report[0x50..0x90]), (1184, &binding().report_data[..]));
}

#[test]
fn more_certificates_than_fit_leave_the_report_alone() {
    let evidence = attester(&[Turn::TooManyCertificates, Turn::Fine]).evidence(&binding()).unwrap();
    assert_eq!(evidence.lead.items.keys().collect::<Vec<_>>(), ["report.bin"]);
}

#[test]
fn a_request_that_failed_is_not_tried_again() {
    // The stand-in has one turn: a second request would end the test.
    for (exitinfo2, said) in [
        (2 << 32, "the host throttles"),
        (0x8000_0000 << 32, "the host says 0x80000000"),
        (0x0b, "the firmware says 0xb"),
        (0x27, "holds no VLEK"),
        (0, "Input/output error"),
    ] {
        let said_really = refusal(&[Turn::Fails(exitinfo2)]);
        assert!(said_really.contains(said) && said_really.contains("`/dev/sev-guest`"), "{said_really}");
    }
}

#[test]
fn a_driver_that_lost_its_key_says_what_to_do() {
    let mut attester = attester(&[Turn::Fails(0x0b), Turn::Fine]);
    attester.evidence(&binding()).unwrap_err();
    let error = attester.evidence(&binding()).unwrap_err().to_string();
    assert!(error.contains("no key to the firmware any more") && error.contains("vmpck_id"), "{error}");
}

#[test]
fn a_status_of_the_firmware_is_no_report() {
    assert!(refusal(&[Turn::Status(0x16)]).contains("VMPL must not be below"));
    assert!(refusal(&[Turn::Status(0x27)]).contains("no such key"));
    assert!(refusal(&[Turn::Status(1)]).contains("the firmware says 0x1"));
}

#[test]
fn the_chosen_privilege_level_is_asked_for() {
    let driver = || Box::new(Driver { vmpl: 2, ..Driver::new(&[Turn::Fine], Vec::new()) });
    let attester = |driver| SevGuestAttester::with_device(driver, "/dev/sev-guest".as_ref());
    assert!(attester(driver()).evidence(&binding()).unwrap_err().to_string().contains("sev-guest,vmpl="));
    let evidence = attester(driver()).with_vmpl(2).unwrap().evidence(&binding()).unwrap();
    assert_eq!(evidence.lead.item("report.bin").unwrap()[0x30], 2);
    assert!(attester(driver()).with_vmpl(4).unwrap_err().to_string().contains("expected 0 to 3"));
}

#[test]
fn a_size_that_cannot_be_is_refused() {
    for size in [0, 3969, u32::MAX] {
        assert!(refusal(&[Turn::Size(size)]).contains(&format!("{size} bytes; expected 1 to 3968")));
    }
}

#[test]
fn another_requests_report_is_not_handed_on() {
    assert!(matches!(attester(&[Turn::Stale]).evidence(&binding()), Err(AttesterError::NotBound { .. })));
}

#[test]
fn a_machine_without_the_device_is_told_what_to_load() {
    let error = SevGuestAttester::open("/nowhere/dev/sev-guest".as_ref()).unwrap_err();
    assert!(error.is_absent() && error.to_string().contains("load the module sev-guest"), "{error}");
    let error = SevGuestAttester::open("/proc/self/comm".as_ref()).unwrap_err();
    assert!(!error.is_absent() && error.to_string().contains("not a character device"), "{error}");
}

proptest! {
    #[test]
    fn arbitrary_answers_never_panic(bytes: Vec<u8>, size: u32) {
        fuzz_response(&bytes);
        fuzz_response(&[&[0; 4][..], &size.to_le_bytes(), &bytes].concat());
    }
}
