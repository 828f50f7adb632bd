//! The `ioctl` of `/dev/nsm` (Linux `uapi/linux/nsm.h`).

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

/// `struct nsm_iovec`.
#[repr(C)]
struct Buffer {
    addr: u64,
    len: u64,
}

/// `struct nsm_raw`.
#[repr(C)]
struct Raw {
    request: Buffer,
    response: Buffer,
}

const IOCTL_RAW: Opcode = opcode::read_write::<Raw>(0x0a, 0);

// What a C compiler makes of the kernel's header.
const _: () = assert!(size_of::<Raw>() == 32 && IOCTL_RAW == 0xc020_0a00);

/// The device of the Nitro Secure Module.
#[derive(Debug)]
pub struct Nsm(File);

impl Nsm {
    /// The longest request that the driver takes (`NSM_REQUEST_MAX_SIZE`).
    pub const MAX_REQUEST: usize = 0x1000;

    /// The longest answer that it gives (`NSM_RESPONSE_MAX_SIZE`).
    pub const MAX_RESPONSE: usize = 0x3000;

    /// Opens the device.
    ///
    /// # Errors
    /// What the system says; also for what is not a character device.
    pub fn open(path: &Path) -> io::Result<Self> {
        crate::open(path).map(Self)
    }

    /// `NSM_IOCTL_RAW`: sends a request in CBOR and returns how many bytes of `response` the answer fills. An answer that does
    /// not fit is cut. Blocks for milliseconds, and up to two minutes where the module does not answer.
    ///
    /// # Errors
    /// What the system says, e.g. `EMSGSIZE` for a request over [`Nsm::MAX_REQUEST`].
    pub fn exchange(&mut self, request: &[u8], response: &mut [u8]) -> io::Result<usize> {
        let room = response.len();
        let mut raw = Raw {
            request: Buffer { addr: crate::address(request.as_ptr()), len: request.len() as u64 },
            response: Buffer { addr: crate::address(response.as_mut_ptr()), len: room as u64 },
        };
        #[expect(unsafe_code, reason = "no safe crate offers this ioctl")]
        // SAFETY: the number is that of NSM_IOCTL_RAW, whose argument is this structure. The driver reads `request.len` bytes
        // at `request.addr` and writes at most `response.len` at `response.addr`: exactly the slices borrowed here, shared and
        // exclusive, for longer than the call. It keeps neither address.
        unsafe { ioctl(&self.0, Updater::<IOCTL_RAW, _>::new(&mut raw)) }?;
        Ok(usize::try_from(raw.response.len).map_or(room, |length| length.min(room)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_nsm_device_does_not_know_the_request() {
        let mut response = [7; 32];
        let error = Nsm::open("/dev/null".as_ref()).unwrap().exchange(b"\xf6", &mut response).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(25));
        assert_eq!(response, [7; 32]);
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        assert_eq!(Nsm::open("/dev/no-such-device".as_ref()).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
