//! The report: an SPDM request for measurements, and the signed response.

use std::collections::BTreeMap;

use crate::reader::Reader;

/// SPDM 1.1, in the header of every message.
const VERSION: u8 = 0x11;
const GET_MEASUREMENTS: u8 = 0xe0;
const MEASUREMENTS: u8 = 0x60;
/// Bytes of a request that asks for a signature.
const REQUEST: usize = 37;
/// Bytes of an ECDSA P-384 signature.
pub(super) const SIGNATURE: usize = 96;
/// More bytes than this no report has.
pub(super) const LONGEST: usize = 64 * 1024;

/// A measurement as the device states it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measurement<'a> {
    /// What was measured, and bit 7: whether the value is raw bytes instead of their digest.
    pub(super) kind: u8,
    pub(super) value: &'a [u8],
}

/// A report, read where it stands.
#[derive(Debug)]
pub(super) struct Report<'a> {
    /// The challenger's bytes, in the request.
    pub(super) nonce: [u8; 32],
    /// By SPDM index.
    pub(super) measurements: BTreeMap<u8, Measurement<'a>>,
    /// The device's own fields, by type.
    pub(super) opaque: BTreeMap<u16, &'a [u8]>,
    /// What the signature covers: request and response.
    pub(super) signed: &'a [u8],
    pub(super) signature: &'a [u8],
}

/// What opaque data begins with since Rubin: `NVDAOD`, a profile, a version and two bytes that are kept free.
const OPAQUE_HEAD: &[u8] = b"NVDAOD";
/// The profile and the major version of such data that are read.
const OPAQUE_FORM: (u16, u8) = (0, 2);

/// Why bytes are no report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoReport {
    /// Of another SPDM version.
    Version(u8),
    /// A message of another kind, or a request that asked for no signature.
    Message,
    /// Measurement blocks that do not parse, or stand twice.
    Measurements,
    /// Opaque data that does not parse, or stands twice.
    Opaque,
    /// Opaque data of another profile and major version.
    OpaqueVersion(u16, u8),
    /// Fewer or more bytes than its lengths say.
    Length,
}

impl<'a> Report<'a> {
    /// Reads a report, with nothing after it.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, NoReport> {
        let mut reader = Reader::new(bytes);
        let [version, code, wants_signature, _] = reader.array().ok_or(NoReport::Length)?;
        expect(version, code, GET_MEASUREMENTS)?;
        if wants_signature & 1 == 0 {
            return Err(NoReport::Message);
        }
        let nonce = reader.array().ok_or(NoReport::Length)?;
        reader.u8().ok_or(NoReport::Length)?; // slot of the certificate chain
        let [version, code, _, _] = reader.array().ok_or(NoReport::Length)?;
        expect(version, code, MEASUREMENTS)?;
        let blocks = reader.u8().ok_or(NoReport::Length)?;
        let length = reader.array::<3>().ok_or(NoReport::Length)?;
        let length = length.iter().rev().fold(0, |sum, byte| (sum << 8) | usize::from(*byte));
        let record = reader.take(length).ok_or(NoReport::Length)?;
        let measurements = measurements(record, blocks).ok_or(NoReport::Measurements)?;
        reader.take(32).ok_or(NoReport::Length)?; // the device's nonce
        let length = reader.u16_le().ok_or(NoReport::Length)?;
        let opaque = reader.take(usize::from(length)).ok_or(NoReport::Length)?;
        let opaque = fields(opaque)?;
        let signature = reader.take(SIGNATURE).and_then(|signature| reader.end(signature)).ok_or(NoReport::Length)?;
        let signed = bytes.get(..bytes.len() - SIGNATURE).ok_or(NoReport::Length)?;
        Ok(Self { nonce, measurements, opaque, signed, signature })
    }
}

/// Whether bytes begin as a report.
pub(super) fn looks_like_report(bytes: &[u8]) -> bool {
    bytes.starts_with(&[VERSION, GET_MEASUREMENTS])
        && bytes.get(REQUEST..REQUEST + 2) == Some([VERSION, MEASUREMENTS].as_slice())
}

fn expect(version: u8, code: u8, expected: u8) -> Result<(), NoReport> {
    if version != VERSION {
        return Err(NoReport::Version(version));
    }
    if code == expected { Ok(()) } else { Err(NoReport::Message) }
}

/// Measurement blocks of DMTF's form (DSP0274 1.1, section "Measurement block").
fn measurements(record: &[u8], blocks: u8) -> Option<BTreeMap<u8, Measurement<'_>>> {
    let mut reader = Reader::new(record);
    let mut out = BTreeMap::new();
    for _ in 0..blocks {
        let index = reader.u8()?;
        let is_dmtf = reader.u8()? == 1;
        let size = reader.u16_le()?;
        let mut block = Reader::new(reader.take(usize::from(size))?);
        let kind = block.u8()?;
        let length = block.u16_le()?;
        let value = block.take(usize::from(length))?;
        let measurement = block.end(Measurement { kind, value })?;
        if !is_dmtf || out.insert(index, measurement).is_some() {
            return None;
        }
    }
    reader.end(out)
}

/// Type, length and value, one after another; behind a header each type is followed by its value's type.
fn fields(opaque: &[u8]) -> Result<BTreeMap<u16, &[u8]>, NoReport> {
    let Some(headed) = opaque.strip_prefix(OPAQUE_HEAD) else {
        return values(opaque, false).ok_or(NoReport::Opaque);
    };
    let mut reader = Reader::new(headed);
    let profile = reader.u16_le().ok_or(NoReport::Opaque)?;
    let [major, _minor, _, _] = reader.array().ok_or(NoReport::Opaque)?;
    if (profile, major) != OPAQUE_FORM {
        return Err(NoReport::OpaqueVersion(profile, major));
    }
    values(reader.rest(), true).ok_or(NoReport::Opaque)
}

fn values(opaque: &[u8], typed: bool) -> Option<BTreeMap<u16, &[u8]>> {
    let mut rest = opaque;
    let mut out = BTreeMap::new();
    while !rest.is_empty() {
        let mut reader = Reader::new(rest);
        let kind = reader.u16_le()?;
        if typed {
            reader.u16_le()?;
        }
        let length = reader.u16_le()?;
        let value = reader.take(usize::from(length))?;
        if out.insert(kind, value).is_some() {
            return None;
        }
        rest = reader.rest();
    }
    Some(out)
}
