//! What `nvattest collect-evidence --format json` prints: the evidence of each GPU.
//!
//! NVIDIA, *Attestation SDK*, command reference: `evidences` is a list with an entry for each device, in the driver's order;
//! beside it stand `result_code` (0 where it went well) and `result_message`. Files of serialized evidence, and older programs,
//! have the list alone. Of an entry are read `evidence` (base64: the SPDM request and its response), `certificate` (base64: the
//! device's certificates in PEM, leaf first), `nonce` (hexadecimal) and `version` (`1.0`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use burgrave_types::claims::HexBytes;
use burgrave_types::{EvidencePart, Tee};
use serde::Deserialize;
use serde_json::Value;

use super::error::{PartError, Said};

/// Bytes of a report, and of a chain of certificates, at most: NVML gives 8 KiB and 5 KiB.
const LONGEST: usize = 64 * 1024;
/// Where the nonce stands in a report: behind the header of the request (DMTF DSP0274 1.1, `GET_MEASUREMENTS`).
const NONCE_AT: std::ops::Range<usize> = 4..36;
/// How that request begins: its version, and its code.
const REQUEST: [u8; 2] = [0x11, 0xe0];

/// The evidence of a GPU.
#[derive(Debug)]
pub(super) struct Device {
    report: Vec<u8>,
    chain: Vec<u8>,
}

impl Device {
    /// A part under the names that the verifier reads.
    pub(super) fn into_part(self) -> EvidencePart {
        EvidencePart::new(Tee::NvidiaGpu, [("report.bin", self.report), ("chain.pem", self.chain)])
    }
}

/// An entry of `evidences`.
#[derive(Deserialize)]
struct Entry {
    version: Option<String>,
    nonce: Option<String>,
    evidence: String,
    certificate: String,
}

/// The devices in an answer, one at least, each of which answers `nonce`.
///
/// # Errors
/// [`PartError`] for anything else.
pub(super) fn read(json: &[u8], nonce: &[u8; 32]) -> Result<Vec<Device>, PartError> {
    let mut devices: Vec<Device> = Vec::new();
    for (number, entry) in entries(json)?.into_iter().enumerate() {
        let device = entry.device(number, nonce)?;
        if devices.iter().any(|before| before.chain == device.chain) {
            return Err(PartError::Twice { device: number });
        }
        devices.push(device);
    }
    if devices.is_empty() { Err(PartError::NoDevice) } else { Ok(devices) }
}

/// What an answer says of a failure, if it is one.
pub(super) fn message(json: &[u8]) -> Option<Said> {
    let answer: Value = serde_json::from_slice(json).ok()?;
    Some(Said::new(answer.get("result_message")?.as_str()?.as_bytes()))
}

/// The body of a fuzz target: reads bytes as an answer over the nonce that its first report names. Returns how many devices it
/// has.
pub fn fuzz_answer(bytes: &[u8]) -> usize {
    let entries = entries(bytes).unwrap_or_default();
    let report = entries.first().and_then(|entry| STANDARD.decode(&entry.evidence).ok()).unwrap_or_default();
    let nonce = report.get(NONCE_AT).and_then(|nonce| nonce.try_into().ok()).unwrap_or_default();
    let devices = read(bytes, &nonce).unwrap_or_default();
    assert!(
        devices.iter().all(|device| device.report.get(NONCE_AT) == Some(&nonce[..])),
        "a device answers another nonce"
    );
    devices.len()
}

fn entries(json: &[u8]) -> Result<Vec<Entry>, PartError> {
    // An error may quote what it found, which may be long.
    let malformed = |error: serde_json::Error| PartError::Answer(error.to_string().chars().take(200).collect());
    if json.trim_ascii_start().starts_with(b"[") {
        return serde_json::from_slice(json).map_err(malformed);
    }
    let answer: Answer = serde_json::from_slice(json).map_err(malformed)?;
    if let Some(code) = answer.result_code.filter(|code| *code != 0) {
        let said = Said::new(answer.result_message.unwrap_or_default().as_bytes());
        return Err(PartError::Reported { code, said });
    }
    answer.evidences.ok_or_else(|| PartError::Answer("it has no `evidences`".to_owned()))
}

/// The whole of it.
#[derive(Deserialize)]
struct Answer {
    result_code: Option<i64>,
    result_message: Option<String>,
    evidences: Option<Vec<Entry>>,
}

impl Entry {
    fn device(&self, number: usize, nonce: &[u8; 32]) -> Result<Device, PartError> {
        let wrong = |what: &str| PartError::Answer(format!("of device {number}, {what}"));
        if self.version.as_ref().is_some_and(|version| version != "1.0") {
            return Err(wrong("`version` is not `1.0`, which alone this release reads"));
        }
        let report = bytes(&self.evidence).ok_or_else(|| wrong("`evidence` is not base64 of 1 to 65536 bytes"))?;
        let chain = bytes(&self.certificate).ok_or_else(|| wrong("`certificate` is not base64 of 1 to 65536 bytes"))?;
        if !chain.trim_ascii_start().starts_with(b"-----BEGIN CERTIFICATE-----") {
            return Err(wrong("`certificate` does not hold certificates in PEM"));
        }
        let answered = report.get(NONCE_AT).filter(|_| report.starts_with(&REQUEST));
        let answered =
            answered.ok_or_else(|| wrong("`evidence` does not begin with an SPDM 1.1 request for measurements"))?;
        let expected = HexBytes::from(&nonce[..]).to_string();
        let other = |found: String| PartError::Nonce { device: number, expected: expected.clone(), found };
        if answered != nonce {
            return Err(other(HexBytes::from(answered).to_string()));
        }
        match &self.nonce {
            Some(stated) if !stated.eq_ignore_ascii_case(&expected) => {
                Err(other(stated.chars().filter(|one| one.is_ascii_graphic()).take(64).collect()))
            }
            _ => Ok(Device { report, chain }),
        }
    }
}

/// Base64, not empty and not too long.
fn bytes(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok().filter(|bytes| (1..=LONGEST).contains(&bytes.len()))
}
