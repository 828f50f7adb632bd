//! Claims about the boot, from registers that a log was proven to explain.
//!
//! Whoever got hold of the machine after it was booted can extend registers and write the log anew: an entry of the boot may
//! then bear another type or other data, as long as its digest stays where it is, and entries may follow. Each claim here
//! says why that does not help; what cannot be said so is no claim.

use burgrave_types::claims::{BootClaims, HexBytes};

use super::grub::Command;
use super::names::{self, Variable};
use super::{Event, EventLog, Layout};
use crate::tpm::Hash;

/// `EFI_GLOBAL_VARIABLE`, 8be4df61-93ca-11d2-aa0d-00e098032b8c.
const GLOBAL: [u8; 16] =
    [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];
/// What ends the firmware's own measurements in a register (PFP, section 3.3.2.2): after success, or after an error.
const SEPARATORS: [[u8; 4]; 3] = [[0; 4], [0xff; 4], [1, 0, 0, 0]];
/// Bytes of the longest text that a boot loader measures and that is looked at.
const LONGEST_TEXT: usize = 16 * 1024;
/// More programs than any boot starts.
const MOST_IMAGES: usize = 64;
/// The longest action that the profile defines has half as many characters.
const LONGEST_ACTION: usize = 80;

/// The claims of a log in `bank`; `proven` says which registers, by the log's numbers, it was proven to explain.
pub(super) fn claims(log: &EventLog<'_>, bank: Hash, proven: impl Fn(u32) -> bool) -> BootClaims {
    let (policy, programs, loader) = match log.layout {
        Layout::Tpm => (7, 4, Some(8)),
        // RTMR2 holds a boot loader's commands and files in one: which of its events is the command line cannot be told.
        Layout::Td => (1, 2, None),
    };
    BootClaims {
        secure_boot: proven(policy).then(|| secure_boot(log, bank, policy)).flatten(),
        kernel_command_line: loader.filter(|loader| proven(*loader)).and_then(|loader| command_line(log, bank, loader)),
        images: if proven(programs) { images(log, bank, programs) } else { Vec::new() },
    }
}

/// The variable `SecureBoot`, where the firmware measured it once. What stands before a separator's digest is the firmware's:
/// the separator is measured before anything else is started, and its digest cannot be given another meaning.
fn secure_boot(log: &EventLog<'_>, bank: Hash, register: u32) -> Option<bool> {
    let is_end = |event: &&Event<'_>| SEPARATORS.iter().any(|value| event.is_digest_of(bank, value));
    let mut events = log.of_register(register);
    let of_firmware: Vec<_> = events.by_ref().take_while(|event| !is_end(event)).collect();
    let values: Vec<_> = of_firmware
        .into_iter()
        .filter(|event| event.kind == names::VARIABLE_DRIVER_CONFIG && event.is_digest_of(bank, event.data))
        .filter_map(|event| Variable::read(event.data))
        .filter(|variable| variable.vendor == GLOBAL && variable.name == "SecureBoot")
        .map(|variable| variable.data)
        .collect();
    match values.as_slice() {
        [[0]] => Some(false),
        [[1]] => Some(true),
        _ => None,
    }
}

/// GRUB's `kernel_cmdline`: the word of the boot loader that `images` name. Each event of the register must be a text of its
/// that the digest covers. The digest leaves out the word in front, so that a line could pass for a command and the other way
/// round; so there must be one command `linux`, one line, and both must say the same. Beside it only such commands may stand
/// as neither start something else nor alter what was loaded.
fn command_line(log: &EventLog<'_>, bank: Hash, register: u32) -> Option<String> {
    let (mut lines, mut commands) = (Vec::new(), Vec::new());
    for event in log.of_register(register) {
        if SEPARATORS.iter().any(|value| event.is_digest_of(bank, value)) {
            continue;
        }
        if event.data.len() > LONGEST_TEXT || event.kind != names::IPL {
            return None;
        }
        let text = event.data.strip_suffix(b"\0").unwrap_or(event.data);
        let (label, text) = std::str::from_utf8(text).ok()?.split_once(": ")?;
        if !event.is_digest_of(bank, text.as_bytes()) {
            return None;
        }
        match (label, Command::of(text)) {
            ("kernel_cmdline", _) => lines.push(text),
            ("grub_cmd", Command::Linux(arguments)) => commands.push(arguments),
            ("grub_cmd", Command::Beside) => {}
            _ => return None,
        }
    }
    // GRUB quotes in the line what it does not in the command.
    let bare = |text: &str| text.replace(['"', '\'', '\\'], "");
    match (lines.as_slice(), commands.as_slice()) {
        ([line], [command]) if bare(line) == bare(command) => Some((*line).to_owned()),
        _ => None,
    }
}

/// The digests of what was started: every event of the register but those whose digest is that of a separator, a short text
/// or a partition table, none of which is a program.
fn images(log: &EventLog<'_>, bank: Hash, register: u32) -> Vec<HexBytes> {
    let is_text =
        |data: &[u8]| data.len() <= LONGEST_ACTION && data.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    let is_no_program = |event: &&Event<'_>| {
        let data = event.data;
        let known = SEPARATORS.iter().any(|value| value == data) || data.starts_with(b"EFI PART") || is_text(data);
        known && event.is_digest_of(bank, data)
    };
    let digests =
        log.of_register(register).filter(|event| !is_no_program(event)).filter_map(|event| event.digest(bank));
    let images: Vec<HexBytes> = digests.map(HexBytes::from).collect();
    if images.len() > MOST_IMAGES { Vec::new() } else { images }
}
