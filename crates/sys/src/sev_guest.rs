//! The `ioctl`s of `/dev/sev-guest` (Linux `uapi/linux/sev-guest.h`).

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

/// `struct snp_guest_request_ioctl`, its padding spelled out.
#[repr(C)]
struct GuestRequest {
    msg_version: u8,
    padding: [u8; 7],
    req_data: u64,
    resp_data: u64,
    exitinfo2: u64,
}

/// `struct snp_ext_report_req`: the report's request, then where certificates go.
#[repr(C)]
struct ExtendedRequest {
    report: [u8; SevGuest::REPORT_REQUEST],
    certs_address: u64,
    certs_len: u32,
    padding: u32,
}

const GET_REPORT: Opcode = opcode::read_write::<GuestRequest>(b'S', 0);
const GET_EXT_REPORT: Opcode = opcode::read_write::<GuestRequest>(b'S', 2);

// What a C compiler makes of the kernel's header on 64-bit machines.
const _: () = assert!(size_of::<GuestRequest>() == 32 && align_of::<GuestRequest>() == 8);
const _: () =
    assert!(size_of::<ExtendedRequest>() == 112 && std::mem::offset_of!(ExtendedRequest, certs_address) == 96);
const _: () = assert!(GET_REPORT == 0xc020_5300 && GET_EXT_REPORT == 0xc020_5302);

/// The SEV-SNP guest driver's device.
#[derive(Debug)]
pub struct SevGuest(File);

/// Why the driver gave no report.
#[derive(Debug)]
pub struct GuestFailure {
    /// What the system call said.
    pub error: io::Error,
    /// What the driver left in `exitinfo2`: the host's error code above the firmware's, 32 bits each. 0xff where the driver
    /// never got as far as asking.
    pub exitinfo2: u64,
}

impl SevGuest {
    /// Bytes of `struct snp_report_req`: user data (64), VMPL (4, little endian), reserved.
    pub const REPORT_REQUEST: usize = 96;

    /// Bytes of `struct snp_report_resp`.
    pub const REPORT_RESPONSE: usize = 4000;

    /// Opens the device.
    ///
    /// # Errors
    /// What the system says; also for what is not a character device.
    pub fn open(path: &Path) -> io::Result<Self> {
        crate::open(path).map(Self)
    }

    /// `SNP_GET_REPORT`. Blocks for milliseconds, and up to a minute where the host throttles.
    ///
    /// # Errors
    /// [`GuestFailure`]; `response` then holds nothing of meaning.
    pub fn report(
        &mut self,
        request: &[u8; Self::REPORT_REQUEST],
        response: &mut [u8; Self::REPORT_RESPONSE],
    ) -> Result<(), GuestFailure> {
        let mut call = GuestRequest::new(request.as_ptr(), response.as_mut_ptr());
        #[expect(unsafe_code, reason = "no safe crate offers this ioctl")]
        // SAFETY: the number is that of SNP_GET_REPORT, whose argument is this structure. The driver reads 96 bytes at
        // `req_data` and writes 4000 at `resp_data`: exactly the arrays borrowed here, shared and exclusive, for longer than
        // the call. It keeps neither address.
        let done = unsafe { ioctl(&self.0, Updater::<GET_REPORT, _>::new(&mut call)) };
        done.map_err(|error| GuestFailure { error: error.into(), exitinfo2: call.exitinfo2 })
    }

    /// `SNP_GET_EXT_REPORT`: a report, and the certificate table that the host holds for the guest. The driver takes tables of
    /// whole pages, 16 KiB at most. Blocks as [`SevGuest::report`].
    ///
    /// # Errors
    /// [`GuestFailure`]; neither `response` nor `certificates` then holds anything of meaning.
    pub fn extended_report(
        &mut self,
        request: &[u8; Self::REPORT_REQUEST],
        certificates: &mut [u8],
        response: &mut [u8; Self::REPORT_RESPONSE],
    ) -> Result<(), GuestFailure> {
        let mut extended = ExtendedRequest {
            report: *request,
            certs_address: crate::address(certificates.as_mut_ptr()),
            certs_len: u32::try_from(certificates.len()).unwrap_or(u32::MAX),
            padding: 0,
        };
        // The driver writes the length that it wants back into the request: so this one is lent for writing too.
        let mut call = GuestRequest::new((&raw mut extended).cast(), response.as_mut_ptr());
        #[expect(unsafe_code, reason = "no safe crate offers this ioctl")]
        // SAFETY: the number is that of SNP_GET_EXT_REPORT, whose argument is this structure. The driver reads and writes the
        // 112 bytes of `extended`, which lives until after the call; it writes at most `certs_len` bytes at `certs_address`,
        // which is no more than the slice holds (a longer one than `u32` counts is refused by the driver), and 4000 bytes at
        // `resp_data`. All are borrowed exclusively for longer than the call, and it keeps no address.
        let done = unsafe { ioctl(&self.0, Updater::<GET_EXT_REPORT, _>::new(&mut call)) };
        done.map_err(|error| GuestFailure { error: error.into(), exitinfo2: call.exitinfo2 })
    }
}

impl GuestRequest {
    fn new(request: *const u8, response: *mut u8) -> Self {
        Self {
            msg_version: 1,
            padding: [0; 7],
            req_data: crate::address(request),
            resp_data: crate::address(response),
            exitinfo2: 0xff,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_sev_guest_device_does_not_know_the_request() {
        let mut null = SevGuest::open("/dev/null".as_ref()).unwrap();
        let (mut response, mut certificates) = ([7; 4000], [7; 4096]);
        let failure = null.report(&[0; 96], &mut response).unwrap_err();
        assert_eq!((failure.error.raw_os_error(), failure.exitinfo2), (Some(25), 0xff));
        let failure = null.extended_report(&[0; 96], &mut certificates, &mut response).unwrap_err();
        assert_eq!((failure.error.raw_os_error(), failure.exitinfo2), (Some(25), 0xff));
        assert!(response.iter().chain(&certificates).all(|byte| *byte == 7));
    }

    #[test]
    fn a_plain_file_is_not_opened() {
        let error = SevGuest::open("/proc/self/comm".as_ref()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
