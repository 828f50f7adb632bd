//! SEV-SNP reports from `/dev/sev-guest` (Linux `Documentation/virt/coco/sev-guest.rst`).
//!
//! A report is asked for together with the certificates that the host holds for the guest. A request that fails in the
//! firmware costs the guest its key to it (the driver wipes it, so that no message counter is used twice): so nothing is tried
//! twice here but what the driver is known to survive.

use std::fmt;
use std::io;
use std::path::Path;

use burgrave_sys::{GuestFailure, SevGuest};
use burgrave_types::{Evidence, EvidencePart, Tee};

use crate::bound::covers;
use crate::{Attester, AttesterError, BindingData, files, snp};

/// What asks the firmware for a report; the driver, or a test's stand-in.
pub trait SevGuestDevice: Send {
    /// `SNP_GET_REPORT`: a request as `struct snp_report_req`, a response as `struct snp_report_resp`.
    ///
    /// # Errors
    /// What the system call said, and `exitinfo2`.
    fn report(
        &mut self,
        request: &[u8; SevGuest::REPORT_REQUEST],
        response: &mut [u8; SevGuest::REPORT_RESPONSE],
    ) -> Result<(), GuestFailure>;

    /// `SNP_GET_EXT_REPORT`: the same, and the host's certificate table.
    ///
    /// # Errors
    /// As [`SevGuestDevice::report`].
    fn extended_report(
        &mut self,
        request: &[u8; SevGuest::REPORT_REQUEST],
        certificates: &mut [u8],
        response: &mut [u8; SevGuest::REPORT_RESPONSE],
    ) -> Result<(), GuestFailure>;
}

impl SevGuestDevice for SevGuest {
    fn report(
        &mut self,
        request: &[u8; SevGuest::REPORT_REQUEST],
        response: &mut [u8; SevGuest::REPORT_RESPONSE],
    ) -> Result<(), GuestFailure> {
        Self::report(self, request, response)
    }

    fn extended_report(
        &mut self,
        request: &[u8; SevGuest::REPORT_REQUEST],
        certificates: &mut [u8],
        response: &mut [u8; SevGuest::REPORT_RESPONSE],
    ) -> Result<(), GuestFailure> {
        Self::extended_report(self, request, certificates, response)
    }
}

/// Why the firmware gave no report: the host's word, the firmware's, and the system's, whichever says most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuestError {
    /// The error number of the system call (`errno`); 0 where the call succeeded and the firmware's answer refuses.
    pub errno: i32,
    /// The host's code (`SNP_GUEST_VMM_ERR_*`); 0 for none.
    pub host: u32,
    /// The firmware's code, or the status in its answer; 0 for none, 0xff where it was never asked.
    pub firmware: u32,
}

impl GuestError {
    const HOST_INVALID_LENGTH: u32 = 1;
    const HOST_BUSY: u32 = 2;
    const NEVER_ASKED: u32 = 0xff;
    const ENOTTY: i32 = 25;

    fn of(failure: &GuestFailure) -> Self {
        Self {
            errno: failure.error.raw_os_error().unwrap_or_default(),
            host: (failure.exitinfo2 >> 32) as u32,
            firmware: failure.exitinfo2 as u32,
        }
    }
}

impl fmt::Display for GuestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.host, self.firmware) {
            (Self::HOST_INVALID_LENGTH, _) => f.write_str("the host wants more room for certificates than the driver gives"),
            (Self::HOST_BUSY, _) => f.write_str("the host throttles the guest's requests; try again later"),
            (0, 0 | Self::NEVER_ASKED) if self.errno == Self::ENOTTY => f.write_str(
                "the driver has no key to the firmware any more (an earlier request failed), or it is not the SEV-SNP guest \
                 driver; restart the guest, or load sev-guest with another vmpck_id",
            ),
            (0, 0 | Self::NEVER_ASKED) => write!(f, "{}", io::Error::from_raw_os_error(self.errno)),
            (0, 0x16) => f.write_str(
                "the firmware calls a parameter invalid (code 0x16): the VMPL must not be below the guest's own; give it with \
                 `sev-guest,vmpl=<0 to 3>`",
            ),
            (0, 0x27) => f.write_str("the firmware has no such key (code 0x27): it holds no VLEK for this guest"),
            (0, firmware) => write!(f, "the firmware says {firmware:#x} (SEV-SNP Firmware ABI Specification, status codes)"),
            (host, _) => write!(f, "the host says {host:#x} to the guest's request (GHCB Standardization, 4.1.7)"),
        }
    }
}

/// An attester over the SEV-SNP guest driver.
pub struct SevGuestAttester {
    device: Box<dyn SevGuestDevice>,
    at: String,
    vmpl: u8,
}

impl SevGuestAttester {
    /// Opens the driver's device, `/dev/sev-guest` on every kernel that has one.
    ///
    /// # Errors
    /// [`AttesterError::Absent`] where it is not there, [`AttesterError::Kernel`] where it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, AttesterError> {
        match SevGuest::open(path) {
            Ok(device) => Ok(Self::with_device(Box::new(device), path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(AttesterError::Absent {
                interface: "sev-guest",
                why: format!("`{}` is not there; in a SEV-SNP guest, load the module sev-guest", path.display()),
            }),
            Err(error) => Err(files::failed("open", path, error, "it must be the SEV-SNP guest driver's device")),
        }
    }

    /// An attester over a device that is open already; `at` names it in errors.
    pub fn with_device(device: Box<dyn SevGuestDevice>, at: &Path) -> Self {
        Self { device, at: at.display().to_string(), vmpl: 0 }
    }

    /// Chooses the virtual machine privilege level that the report shows, 0 unless chosen; it cannot be below the guest's own.
    ///
    /// # Errors
    /// [`AttesterError::Argument`] for more than 3.
    pub fn with_vmpl(mut self, vmpl: u8) -> Result<Self, AttesterError> {
        self.vmpl = privilege_level(vmpl)?;
        Ok(self)
    }

    /// A report over `report_data`, and the host's certificates; without them where they do not fit into what the driver
    /// takes (it then survives the failure).
    fn report(&mut self, report_data: &[u8; 64]) -> Result<(Vec<u8>, Vec<u8>), AttesterError> {
        let refused = |at: &str, error| AttesterError::SevGuest { at: at.to_owned(), error };
        let request = request(report_data, self.vmpl);
        let mut response = Box::new([0; SevGuest::REPORT_RESPONSE]);
        let mut table = vec![0; MAX_CERTIFICATES];
        if let Err(failure) = self.device.extended_report(&request, &mut table, &mut response) {
            let error = GuestError::of(&failure);
            if error.host != GuestError::HOST_INVALID_LENGTH {
                return Err(refused(&self.at, error));
            }
            table.clear();
            response.fill(0);
            let plain = self.device.report(&request, &mut response);
            plain.map_err(|failure| refused(&self.at, GuestError::of(&failure)))?;
        }
        match status(&response) {
            0 => Ok((report_of(&response)?, table)),
            firmware => Err(refused(&self.at, GuestError { errno: 0, host: 0, firmware })),
        }
    }
}

impl fmt::Debug for SevGuestAttester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SevGuestAttester").field("at", &self.at).field("vmpl", &self.vmpl).finish_non_exhaustive()
    }
}

impl Attester for SevGuestAttester {
    fn tee(&self) -> Tee {
        Tee::Snp
    }

    fn evidence(&mut self, binding: &BindingData) -> Result<Evidence, AttesterError> {
        let (report, table) = self.report(&binding.report_data)?;
        if !covers(Tee::Snp, &report, &binding.report_data) {
            return Err(AttesterError::NotBound { tee: Tee::Snp, at: self.at.clone() });
        }
        let mut items = snp::certificates(&table)?;
        items.insert(snp::REPORT.to_owned(), report);
        Ok(Evidence::single(EvidencePart { tee: Tee::Snp, items }))
    }
}

/// The most that the driver takes (`SEV_FW_BLOB_MAX_SIZE`); it must be whole pages.
const MAX_CERTIFICATES: usize = 0x4000;

/// `struct snp_report_req`: MSG_REPORT_REQ of the firmware (SEV-SNP Firmware ABI Specification, 7.3).
fn request(report_data: &[u8; 64], vmpl: u8) -> [u8; SevGuest::REPORT_REQUEST] {
    let mut request = [0; SevGuest::REPORT_REQUEST];
    request[..64].copy_from_slice(report_data);
    request[64] = vmpl;
    request
}

/// The firmware's word in MSG_REPORT_RSP, which begins with status, size of the report and 24 reserved bytes.
fn status(response: &[u8; SevGuest::REPORT_RESPONSE]) -> u32 {
    let [s0, s1, s2, s3, ..] = *response;
    u32::from_le_bytes([s0, s1, s2, s3])
}

/// The report in MSG_REPORT_RSP.
fn report_of(response: &[u8; SevGuest::REPORT_RESPONSE]) -> Result<Vec<u8>, AttesterError> {
    let [_, _, _, _, s0, s1, s2, s3, ..] = *response;
    let size = u32::from_le_bytes([s0, s1, s2, s3]) as usize;
    let report = response.get(32..).and_then(|body| body.get(..size)).filter(|report| !report.is_empty());
    report.map(<[u8]>::to_vec).ok_or_else(|| AttesterError::Answer {
        what: "the SEV-SNP firmware's answer",
        why: format!("it says that the report has {size} bytes; expected 1 to {}", SevGuest::REPORT_RESPONSE - 32),
    })
}

/// The privilege levels of SEV-SNP, which configfs-tsm has too.
pub(crate) fn privilege_level(level: u8) -> Result<u8, AttesterError> {
    if level <= 3 {
        Ok(level)
    } else {
        let found = level.to_string();
        Err(AttesterError::Argument { what: "the privilege level", found, expected: "0 to 3" })
    }
}

/// The body of a fuzz target: reads `bytes` as the firmware's answer. It must not panic.
pub fn fuzz_response(bytes: &[u8]) {
    let mut response = [0; SevGuest::REPORT_RESPONSE];
    for (to, from) in response.iter_mut().zip(bytes) {
        *to = *from;
    }
    if let Ok(report) = report_of(&response) {
        let _ = covers(Tee::Snp, &report, &[0; 64]);
    }
}

#[cfg(test)]
mod tests;
