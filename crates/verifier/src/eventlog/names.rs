//! What events are called, for people. Nothing is decided by it.

use super::Event;
use crate::reader::Reader;

/// `EV_NO_ACTION`.
pub(super) const NO_ACTION: u32 = 0x03;
/// `EV_IPL`: what a boot loader measures.
pub(super) const IPL: u32 = 0x0d;
/// `EV_EFI_VARIABLE_DRIVER_CONFIG`.
pub(super) const VARIABLE_DRIVER_CONFIG: u32 = 0x8000_0001;
/// Characters that a description has at most.
const MOST_CHARACTERS: usize = 160;

/// The types (PFP, section 10.4.1).
const TYPES: [(u32, &str); 30] = [
    (0x00, "EV_PREBOOT_CERT"),
    (0x01, "EV_POST_CODE"),
    (NO_ACTION, "EV_NO_ACTION"),
    (0x04, "EV_SEPARATOR"),
    (0x05, "EV_ACTION"),
    (0x06, "EV_EVENT_TAG"),
    (0x07, "EV_S_CRTM_CONTENTS"),
    (0x08, "EV_S_CRTM_VERSION"),
    (0x09, "EV_CPU_MICROCODE"),
    (0x0a, "EV_PLATFORM_CONFIG_FLAGS"),
    (0x0b, "EV_TABLE_OF_DEVICES"),
    (0x0c, "EV_COMPACT_HASH"),
    (IPL, "EV_IPL"),
    (0x0e, "EV_IPL_PARTITION_DATA"),
    (0x11, "EV_NONHOST_INFO"),
    (0x12, "EV_OMIT_BOOT_DEVICE_EVENTS"),
    (0x13, "EV_POST_CODE2"),
    (VARIABLE_DRIVER_CONFIG, "EV_EFI_VARIABLE_DRIVER_CONFIG"),
    (0x8000_0002, "EV_EFI_VARIABLE_BOOT"),
    (0x8000_0003, "EV_EFI_BOOT_SERVICES_APPLICATION"),
    (0x8000_0004, "EV_EFI_BOOT_SERVICES_DRIVER"),
    (0x8000_0005, "EV_EFI_RUNTIME_SERVICES_DRIVER"),
    (0x8000_0006, "EV_EFI_GPT_EVENT"),
    (0x8000_0007, "EV_EFI_ACTION"),
    (0x8000_0008, "EV_EFI_PLATFORM_FIRMWARE_BLOB"),
    (0x8000_0009, "EV_EFI_HANDOFF_TABLES"),
    (0x8000_000a, "EV_EFI_PLATFORM_FIRMWARE_BLOB2"),
    (0x8000_000b, "EV_EFI_HANDOFF_TABLES2"),
    (0x8000_000c, "EV_EFI_VARIABLE_BOOT2"),
    (0x8000_00e0, "EV_EFI_VARIABLE_AUTHORITY"),
];

/// The type's name, or its number.
pub(super) fn kind(kind: u32) -> String {
    match TYPES.iter().find(|(known, _)| *known == kind) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("{kind:#010x}"),
    }
}

/// What the event says, in a line; empty where it says nothing that is for people.
pub(super) fn describe(event: &Event<'_>) -> String {
    let text = match event.kind {
        0x8000_0001 | 0x8000_0002 | 0x8000_000c | 0x8000_00e0 => {
            Variable::read(event.data).map(|variable| variable.name)
        }
        0x8000_000a | 0x8000_000b => {
            let length = event.data.first().copied().map_or(0, usize::from);
            event.data.get(1..).and_then(|data| data.get(..length)).map(printable)
        }
        0x08 => utf16(event.data),
        0x01 | 0x05 | 0x07 | 0x0a | 0x0c | IPL | 0x8000_0007 => Some(printable(event.data)),
        _ => None,
    };
    text.unwrap_or_default().chars().take(MOST_CHARACTERS).collect()
}

/// `UEFI_VARIABLE_DATA` (PFP, section 10.2.6).
pub(super) struct Variable<'a> {
    pub(super) vendor: [u8; 16],
    pub(super) name: String,
    pub(super) data: &'a [u8],
}

impl<'a> Variable<'a> {
    /// Reads a variable, with nothing after it.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let vendor = reader.array()?;
        let characters = usize::try_from(reader.u64_le()?).ok()?;
        let length = usize::try_from(reader.u64_le()?).ok()?;
        let name = utf16(reader.take(characters.checked_mul(2)?)?)?;
        let data = reader.take(length)?;
        reader.end(Self { vendor, name, data })
    }
}

/// Text up to its first zero, what cannot be shown as dots.
fn printable(bytes: &[u8]) -> String {
    let shown = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' };
    bytes.iter().take_while(|byte| **byte != 0).take(MOST_CHARACTERS).map(shown).collect()
}

/// UTF-16, little endian, up to its first zero.
fn utf16(bytes: &[u8]) -> Option<String> {
    let units = bytes.chunks_exact(2).filter_map(|pair| Some(u16::from_le_bytes(pair.try_into().ok()?)));
    let text = String::from_utf16(&units.take_while(|unit| *unit != 0).collect::<Vec<_>>()).ok()?;
    text.chars().all(|character| !character.is_control()).then_some(text)
}
