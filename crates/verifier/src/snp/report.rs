//! The attestation report's layout (AMD 56860, table "ATTESTATION_REPORT structure").

use std::fmt;

use aws_lc_rs::signature::ParsedPublicKey;
use burgrave_types::certificate_table;

use crate::reader::Reader;

/// Bytes of a report.
pub(super) const LENGTH: usize = 0x4a0;
/// Bytes that the signature covers.
const SIGNED: usize = 0x2a0;
/// Bytes of r and of s in a report, little endian and padded with zeros.
const SCALAR: usize = 72;
/// Bytes of a P-384 scalar.
const P384: usize = 48;

/// The kernel's buffer for the firmware's answer (`struct snp_report_resp`).
const LONGEST_RESPONSE: usize = 4000;

/// Whether bytes have the length and version of a report.
pub(crate) fn looks_like_report(bytes: &[u8]) -> bool {
    bytes.len() == LENGTH && matches!(bytes.first_chunk::<4>(), Some([1..=9, 0, 0, 0]))
}

/// The report within the firmware's answer, as `SNP_GET_REPORT` gives it (AMD 56860, table "MSG_REPORT_RSP"): status, size, 24
/// bytes of zeros, the report, and zeros behind it where the whole buffer was written down.
pub(crate) fn in_response(bytes: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(bytes);
    let (status, size, reserved) = (reader.u32_le()?, reader.u32_le()?, reader.array::<24>()?);
    let report = reader.take(LENGTH)?;
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let fits = status == 0 && usize::try_from(size) == Ok(LENGTH) && is_zero(&reserved) && is_zero(reader.rest());
    (fits && bytes.len() <= LONGEST_RESPONSE && looks_like_report(report)).then_some(report)
}

/// The report and the host's certificate table behind it, as tools write an extended report down.
pub(crate) fn before_table(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (report, table) = bytes.split_at_checked(LENGTH)?;
    let holds_certificates = || certificate_table::read(table).is_ok_and(|rows| !rows.is_empty());
    (looks_like_report(report) && holds_certificates()).then_some((report, table))
}

/// A family of processors that share a root key and a layout of TCB versions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Family {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004 and 8004.
    Genoa,
    /// EPYC 9005.
    Turin,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// The name, as profiles and claims use it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Milan => "milan",
            Self::Genoa => "genoa",
            Self::Turin => "turin",
        }
    }

    /// The name, as AMD writes it in certificates and in the paths of its service.
    pub const fn product(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// The family of a certificate's `productName` extension, e.g. `Milan-B0`.
    pub(super) fn of_product(name: &str) -> Option<Self> {
        let name = name.split('-').next()?;
        Self::ALL.into_iter().find(|family| family.product() == name)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which key signed a report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SigningKey {
    /// The chip's own.
    Vcek,
    /// One that the cloud was lent.
    Vlek,
    /// None, or one that is not known.
    Other(u8),
}

impl fmt::Display for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vcek => f.write_str("VCEK"),
            Self::Vlek => f.write_str("VLEK"),
            Self::Other(value) => write!(f, "unknown signing key {value}"),
        }
    }
}

/// A `TCB_VERSION`, whose meaning depends on the family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tcb(pub [u8; 8]);

impl Tcb {
    /// The security version numbers by component.
    pub fn parts(self, family: Family) -> Vec<(&'static str, u8)> {
        let [b0, b1, b2, b3, _, _, b6, b7] = self.0;
        match family {
            Family::Milan | Family::Genoa => vec![("bl", b0), ("tee", b1), ("snp", b6), ("ucode", b7)],
            Family::Turin => vec![("fmc", b0), ("bl", b1), ("tee", b2), ("snp", b3), ("ucode", b7)],
        }
    }
}

/// The guest's policy bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy(pub u64);

impl Policy {
    pub(super) const fn migration_agent(self) -> bool {
        self.0 & (1 << 18) != 0
    }

    pub(super) const fn debug(self) -> bool {
        self.0 & (1 << 19) != 0
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A report's fields; the ABI's names in lower case.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names are the ABI's own, whose table says what each means")]
pub struct Report {
    pub version: u32,
    pub guest_svn: u32,
    pub policy: Policy,
    pub family_id: [u8; 16],
    pub image_id: [u8; 16],
    pub vmpl: u32,
    pub signature_algorithm: u32,
    pub current_tcb: Tcb,
    pub platform_info: u64,
    pub signing_key: SigningKey,
    pub report_data: [u8; 64],
    pub measurement: [u8; 48],
    pub host_data: [u8; 32],
    pub id_key_digest: [u8; 48],
    pub author_key_digest: [u8; 48],
    pub report_id: [u8; 32],
    pub reported_tcb: Tcb,
    /// Family, model and stepping; zero before version 3.
    pub cpuid: [u8; 3],
    pub chip_id: [u8; 64],
    pub committed_tcb: Tcb,
    pub launch_tcb: Tcb,
    /// The mitigations that the firmware had verified when the guest was launched, a bit each; zero before version 5.
    pub launch_mitigations: u64,
    /// Those of now.
    pub current_mitigations: u64,
}

impl Report {
    /// Reads the fields at their offsets, of 1184 bytes or more. Nothing is believed yet: [`crate::verify`] judges.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let version = reader.u32_le()?; // 0x000
        let guest_svn = reader.u32_le()?; // 0x004
        let policy = Policy(reader.u64_le()?); // 0x008
        let family_id = reader.array()?; // 0x010
        let image_id = reader.array()?; // 0x020
        let vmpl = reader.u32_le()?; // 0x030
        let signature_algorithm = reader.u32_le()?; // 0x034
        let current_tcb = Tcb(reader.array()?); // 0x038
        let platform_info = reader.u64_le()?; // 0x040
        let flags = reader.u32_le()?; // 0x048
        reader.take(4)?; // 0x04c reserved
        let report_data = reader.array()?; // 0x050
        let measurement = reader.array()?; // 0x090
        let host_data = reader.array()?; // 0x0c0
        let id_key_digest = reader.array()?; // 0x0e0
        let author_key_digest = reader.array()?; // 0x110
        let report_id = reader.array()?; // 0x140
        reader.take(32)?; // 0x160 report id of the migration agent
        let reported_tcb = Tcb(reader.array()?); // 0x180
        let cpuid = reader.array()?; // 0x188
        reader.take(21)?; // 0x18b reserved
        let chip_id = reader.array()?; // 0x1a0
        let committed_tcb = Tcb(reader.array()?); // 0x1e0
        reader.take(8)?; // 0x1e8 firmware builds
        let launch_tcb = Tcb(reader.array()?); // 0x1f0
        let mitigations = [reader.u64_le()?, reader.u64_le()?]; // 0x1f8 LAUNCH_MIT_VECTOR, 0x200 CURRENT_MIT_VECTOR
        let [launch_mitigations, current_mitigations] = if version >= 5 { mitigations } else { [0; 2] };
        let signing_key = match (flags >> 2) & 7 {
            0 => SigningKey::Vcek,
            1 => SigningKey::Vlek,
            other => SigningKey::Other(u8::try_from(other).unwrap_or(u8::MAX)),
        };
        Some(Self {
            version,
            guest_svn,
            policy,
            family_id,
            image_id,
            vmpl,
            signature_algorithm,
            current_tcb,
            platform_info,
            signing_key,
            report_data,
            measurement,
            host_data,
            id_key_digest,
            author_key_digest,
            report_id,
            reported_tcb,
            cpuid,
            chip_id,
            committed_tcb,
            launch_tcb,
            launch_mitigations,
            current_mitigations,
        })
    }

    /// The family, by the CPUID fields that reports have from version 3 on.
    pub fn cpuid_family(&self) -> Option<Family> {
        let [family, model, _] = self.cpuid;
        match (self.version, family, model) {
            (0..3, ..) => None,
            (_, 0x19, 0x00..=0x0f) => Some(Family::Milan),
            (_, 0x19, 0x10..=0x1f | 0xa0..=0xaf) => Some(Family::Genoa),
            (_, 0x1a, 0x00..=0x1f) => Some(Family::Turin),
            _ => None,
        }
    }

    /// Whether CHIP_ID is the certificate's hwID, which is shorter on Turin and followed by zeros in the report.
    pub(super) fn is_of_chip(&self, hw_id: &[u8]) -> bool {
        self.chip_id
            .split_at_checked(hw_id.len())
            .is_some_and(|(id, rest)| !id.is_empty() && id == hw_id && rest.iter().all(|byte| *byte == 0))
    }

    /// Whether the bytes outside the signed area and outside r and s are zero.
    pub(super) fn is_signature_padding_zero(&self, bytes: &[u8]) -> bool {
        let mut reader = Reader::new(bytes);
        let mut zero = |skip: usize, length: usize| {
            reader.take(skip).and(reader.take(length)).is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0))
        };
        zero(SIGNED + P384, SCALAR - P384) && zero(P384, SCALAR - P384) && zero(0, LENGTH - SIGNED - 2 * SCALAR)
    }

    /// Whether `key` (of ECDSA P-384 with SHA-384, r and s in the curve's width) signed the report as it came.
    pub(super) fn is_signed_by(&self, key: &ParsedPublicKey, bytes: &[u8]) -> bool {
        let mut reader = Reader::new(bytes);
        let (Some(signed), Some(r), Some(s)) = (reader.take(SIGNED), reader.take(SCALAR), reader.take(SCALAR)) else {
            return false;
        };
        let mut signature = [0; 2 * P384];
        let big_endian = r.iter().take(P384).rev().chain(s.iter().take(P384).rev());
        signature.iter_mut().zip(big_endian).for_each(|(to, from)| *to = *from);
        key.verify_sig(signed, &signature).is_ok()
    }
}
