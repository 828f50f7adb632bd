//! The report of Azure's paravisor (HCL): a hardware report, and the runtime data that its report data covers.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use crate::reader::Reader;
use crate::tpm::{Hash, Key};

/// Where the hardware report begins.
const HARDWARE: usize = 32;
/// Bytes that are kept for it: an SEV-SNP report's.
const HARDWARE_BYTES: usize = 1184;
/// Bytes before the runtime data: header, hardware report, request data.
const PREFIX: usize = HARDWARE + HARDWARE_BYTES + 20;
/// More than this no runtime data has.
const LONGEST: usize = 64 * 1024;
/// The vTPM's attestation key in the runtime data.
const AK: &str = "HCLAkPub";

/// Whose hardware report it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hardware {
    /// An SEV-SNP report.
    Snp,
    /// A TD report; the quote made of it comes beside.
    Tdx,
}

/// An HCL report, read where it stands.
#[derive(Debug)]
pub(super) struct HclReport<'a> {
    pub(super) version: u32,
    pub(super) hardware: Hardware,
    /// The hardware report's bytes.
    pub(super) report: &'a [u8],
    /// The algorithm by which the report data covers the runtime data.
    pub(super) hash: Hash,
    /// The runtime data, in JSON.
    pub(super) runtime: &'a [u8],
}

/// Why bytes are no HCL report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoReport {
    /// They do not begin with its signature, or a field that is always the same is not.
    Field(&'static str),
    /// So many bytes, where its lengths say another number, or bytes behind it that are not zero.
    Length(usize),
    /// This version.
    Version(u32),
    /// This kind of hardware report.
    Type(u32),
    /// This hash algorithm.
    Hash(u32),
}

impl<'a> HclReport<'a> {
    /// Reads a report. The buffer it comes in may be longer, and is zero behind it.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, NoReport> {
        let length = NoReport::Length(bytes.len());
        let mut reader = Reader::new(bytes);
        let mut word = || reader.u32_le().ok_or(length);
        let (signature, version) = (word()?, word()?);
        let (size, request, status) = (word()?, word()?, word()?);
        let reserved = [word()?, word()?, word()?];
        if signature.to_le_bytes() != *b"HCLA" {
            return Err(NoReport::Field("signature"));
        }
        if !matches!(version, 1 | 2) {
            return Err(NoReport::Version(version));
        }
        if request != 2 || status != 0 || reserved != [0; 3] {
            return Err(NoReport::Field("request type, status or reserved bytes"));
        }
        let report = reader.take(HARDWARE_BYTES).ok_or(length)?;
        let mut word = || reader.u32_le().ok_or(length);
        let (data_size, data_version, kind, hash, runtime_size) = (word()?, word()?, word()?, word()?, word()?);
        if data_version != 1 {
            return Err(NoReport::Version(data_version));
        }
        let (hardware, used) = match kind {
            2 => (Hardware::Snp, HARDWARE_BYTES),
            4 => (Hardware::Tdx, 1024),
            other => return Err(NoReport::Type(other)),
        };
        let hash = match hash {
            1 => Hash::Sha256,
            2 => Hash::Sha384,
            3 => Hash::Sha512,
            other => return Err(NoReport::Hash(other)),
        };
        let runtime_bytes = usize::try_from(runtime_size).map_err(|_| length)?;
        let stated = |size: u32, prefix: usize| usize::try_from(size).ok() == Some(prefix + runtime_bytes);
        if runtime_bytes > LONGEST || !stated(size, PREFIX) || !stated(data_size, 20) {
            return Err(length);
        }
        let runtime = reader.take(runtime_bytes).ok_or(length)?;
        let (report, unused) = report.split_at_checked(used).ok_or(length)?;
        let behind = bytes.get(PREFIX + runtime_bytes..).ok_or(length)?;
        if unused.iter().chain(behind).any(|byte| *byte != 0) {
            return Err(length);
        }
        Ok(Self { version, hardware, report, hash, runtime })
    }
}

#[derive(Deserialize)]
struct Runtime {
    keys: Vec<Jwk>,
    #[serde(default, rename = "vm-configuration")]
    configuration: Value,
    #[serde(default, rename = "user-data")]
    user_data: Value,
}

#[derive(Deserialize)]
struct Jwk {
    kid: String,
    kty: String,
    n: Option<String>,
    e: Option<String>,
}

/// What the paravisor says of the virtual machine.
#[derive(Debug)]
pub(super) struct RuntimeData {
    /// The vTPM's attestation key.
    pub(super) ak: Key,
    /// How the machine was started.
    pub(super) configuration: Arc<Value>,
    /// What the guest put into the vTPM for the report.
    pub(super) user_data: Arc<Value>,
}

impl RuntimeData {
    /// Reads the runtime data. `None` where it is not JSON of its shape, or has not exactly one RSA key of the AK's name.
    pub(super) fn read(json: &[u8]) -> Option<Self> {
        let runtime: Runtime = serde_json::from_slice(json).ok()?;
        let mut keys = runtime.keys.iter().filter(|key| key.kid == AK);
        let (Some(jwk), None) = (keys.next(), keys.next()) else { return None };
        if jwk.kty != "RSA" {
            return None;
        }
        let number = |text: &Option<String>| {
            let bytes = URL_SAFE_NO_PAD.decode(text.as_deref()?).ok()?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            Some(bytes.get(zeros..)?.to_vec())
        };
        let (modulus, exponent) = (number(&jwk.n)?, number(&jwk.e)?);
        let exponent =
            exponent.iter().try_fold(0u32, |sum, byte| sum.checked_mul(256)?.checked_add(u32::from(*byte)))?;
        Some(Self {
            ak: Key::Rsa { modulus, exponent },
            configuration: Arc::new(runtime.configuration),
            user_data: Arc::new(runtime.user_data),
        })
    }
}
