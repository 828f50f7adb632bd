//! What the kernel offers and no safe crate does: the only crate with `unsafe` code.
//!
//! Two devices of confidential guests, each a type that opens the device and speaks its `ioctl`: [`SevGuest`] and [`Nsm`].
//! Requests and answers are plain bytes of bounded length; what they mean is the caller's (`burgrave-attester`).
//!
//! ```no_run
//! use burgrave_sys::Nsm;
//!
//! let mut answer = vec![0; Nsm::MAX_RESPONSE];
//! let length = Nsm::open("/dev/nsm".as_ref())?.exchange(b"\x69GetRandom", &mut answer)?;
//! assert!(length <= answer.len());
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Threat notes: the kernel is given addresses of memory that the caller lent for exactly the call's time, with its exact
//! length. A length that comes back is never believed beyond the memory that was lent. A device is opened by its path, and the
//! path is configuration: whoever writes it can make this process call another driver with these numbers, so only character
//! devices are opened.

mod nsm;
mod sev_guest;

pub use nsm::Nsm;
pub use sev_guest::{GuestFailure, SevGuest};

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Opens a character device for reading and writing.
fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    if file.metadata()?.file_type().is_char_device() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a character device"))
    }
}

/// The address of memory, as the kernel's structures hold it.
fn address(memory: *const u8) -> u64 {
    memory.expose_provenance() as u64
}
