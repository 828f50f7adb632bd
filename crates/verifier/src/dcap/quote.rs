//! The quote's layout: versions 3, 4 and 5, little endian throughout.
//!
//! Version 3 (SGX): *Intel SGX ECDSA Quote Library API*, appendix A. Versions 4 and 5: *Intel TDX DCAP Quoting Library API*,
//! appendix A. TD report bodies: *Intel TDX Module ABI*, `TDREPORT_STRUCT`; enclave reports: *Intel SDM*, volume 3D, `REPORT`.

use std::sync::Arc;

use crate::reader::Reader;

/// No honest quote comes near this many bytes, padding and certificates included.
pub(crate) const MOST: usize = 64 * 1024;
const HEADER: usize = 48;
const ENCLAVE_REPORT: usize = 384;
const TD_REPORT_1_0: usize = 584;
const TD_REPORT_1_5: usize = 648;
/// As 1.5, with the fields of service TDs and of migration behind it.
const TD_REPORT_1_5_EX: usize = 885;

/// The vendor of the quoting enclave whose format this is: Intel.
const QE_VENDOR: [u8; 16] =
    [0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07];
/// ECDSA over P-256 with SHA-256.
const ECDSA_P256: u16 = 2;
const TEE_SGX: u32 = 0;
const TEE_TDX: u32 = 0x81;
/// Certification data: a PEM chain of the PCK certificate.
const PCK_CHAIN: u16 = 5;
/// Certification data: the quoting enclave's report with its own certification data.
const QE_REPORT: u16 = 6;

/// Whether bytes begin like a quote.
pub(crate) fn looks_like_quote(bytes: &[u8]) -> Option<Kind> {
    let mut reader = Reader::new(bytes);
    let (version, _, tee) = (reader.u16_le()?, reader.u16_le()?, reader.u32_le()?);
    let known = (3..=5).contains(&version) && bytes.get(12..28) == Some(&QE_VENDOR);
    match tee {
        _ if !known => None,
        TEE_SGX => Some(Kind::Enclave),
        TEE_TDX => Some(Kind::Td),
        _ => None,
    }
}

/// What a quote speaks of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Enclave,
    Td,
}

/// Why bytes are not a quote that is taken: what was expected and what was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum NotTaken {
    /// More bytes than a quote ever has.
    Long(usize),
    /// The bytes end before the named field does, or a counted field does not end with what it holds.
    Field(&'static str),
    /// A version that is not known.
    Version(u16),
    /// Something that is known but not taken: its name, what is taken, what was found.
    Algorithm(&'static str, &'static str, String),
}

/// A quote, read and not yet believed. Borrows the bytes that signatures cover.
#[derive(Debug)]
pub(crate) struct Quote<'a> {
    pub(crate) version: u16,
    /// The caller's 20 bytes of the header.
    pub(crate) user_data: [u8; 20],
    pub(crate) body: Body,
    /// Header and body as they came: what the attestation key signed.
    pub(crate) signed: &'a [u8],
    pub(crate) signature: &'a [u8; 64],
    /// The attestation key: x and y.
    pub(crate) attestation_key: &'a [u8; 64],
    /// The quoting enclave's report as it came: what the PCK signed.
    pub(crate) qe_report_bytes: &'a [u8],
    pub(crate) qe_report: EnclaveReport,
    pub(crate) qe_report_signature: &'a [u8; 64],
    pub(crate) qe_authentication_data: &'a [u8],
    /// The PCK certificate's chain in PEM.
    pub(crate) pck_chain: &'a [u8],
    /// What stands behind the quote. Buffers of fixed size are padded with zeros.
    pub(crate) trailing: &'a [u8],
}

/// What was measured.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Enclave(Arc<EnclaveReport>),
    Td(Arc<TdReport>),
}

impl Body {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Enclave(_) => Kind::Enclave,
            Self::Td(_) => Kind::Td,
        }
    }

    pub(crate) fn report_data(&self) -> &[u8; 64] {
        match self {
            Self::Enclave(report) => &report.report_data,
            Self::Td(report) => &report.report_data,
        }
    }
}

/// An enclave's report: of the quoted enclave or of the quoting one.
#[derive(Clone, Debug)]
pub(crate) struct EnclaveReport {
    pub(crate) cpu_svn: [u8; 16],
    pub(crate) misc_select: [u8; 4],
    pub(crate) isv_ext_product_id: [u8; 16],
    /// FLAGS, then XFRM.
    pub(crate) attributes: [u8; 16],
    pub(crate) mr_enclave: [u8; 32],
    pub(crate) mr_signer: [u8; 32],
    pub(crate) config_id: [u8; 64],
    pub(crate) isv_product_id: u16,
    pub(crate) isv_svn: u16,
    pub(crate) config_svn: u16,
    pub(crate) isv_family_id: [u8; 16],
    pub(crate) report_data: [u8; 64],
}

impl EnclaveReport {
    pub(crate) fn flags(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.attributes;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// The host may look into the enclave (FLAGS bit 1).
    pub(crate) fn is_debug(&self) -> bool {
        self.flags() & 0b10 != 0
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let cpu_svn = reader.array()?;
        let misc_select = reader.array()?;
        reader.take(12)?;
        let isv_ext_product_id = reader.array()?;
        let attributes = reader.array()?;
        let mr_enclave = reader.array()?;
        reader.take(32)?;
        let mr_signer = reader.array()?;
        reader.take(32)?;
        let config_id = reader.array()?;
        let (isv_product_id, isv_svn, config_svn) = (reader.u16_le()?, reader.u16_le()?, reader.u16_le()?);
        reader.take(42)?;
        let (isv_family_id, report_data) = (reader.array()?, reader.array()?);
        reader.end(Self {
            cpu_svn,
            misc_select,
            isv_ext_product_id,
            attributes,
            mr_enclave,
            mr_signer,
            config_id,
            isv_product_id,
            isv_svn,
            config_svn,
            isv_family_id,
            report_data,
        })
    }
}

/// A trust domain's report.
#[derive(Debug)]
pub(crate) struct TdReport {
    /// The TCB at the TD's launch: module SVN, module version, then the platform's components.
    pub(crate) tee_tcb_svn: [u8; 16],
    pub(crate) mr_seam: [u8; 48],
    pub(crate) mr_signer_seam: [u8; 48],
    pub(crate) seam_attributes: [u8; 8],
    pub(crate) td_attributes: u64,
    pub(crate) xfam: [u8; 8],
    pub(crate) mr_td: [u8; 48],
    pub(crate) mr_config_id: [u8; 48],
    pub(crate) mr_owner: [u8; 48],
    pub(crate) mr_owner_config: [u8; 48],
    pub(crate) rtmrs: [[u8; 48]; 4],
    pub(crate) report_data: [u8; 64],
    /// From 1.5 on: the TCB now, after an update that preserved the TD.
    pub(crate) tee_tcb_svn_2: Option<[u8; 16]>,
    /// From 1.5 on: the hash over bound service TDs; zero where there is none.
    pub(crate) mr_service_td: Option<[u8; 48]>,
    /// Only in 1.5ex: the fields behind those, as they came.
    pub(crate) extension: Option<Extension>,
}

/// Which fields a TD report has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Layout {
    V1_0,
    V1_5,
    V1_5Ex,
}

/// What 1.5ex adds (`sgx_report2_body_v1_5_ex_t`).
#[derive(Debug)]
pub(crate) struct Extension {
    /// 0 for an unpartitioned TD or the L1 of a partitioned one.
    pub(crate) vm_id: u8,
    pub(crate) td_id: [u8; 32],
    pub(crate) device_info: [u8; 48],
    pub(crate) initial_service_td: [u8; 48],
    pub(crate) current_service_td: [u8; 48],
}

impl TdReport {
    /// The generation of the TDX module that launched the TD, by the major SVN that Intel's releases of it state: 0 in 1.0, 1 in 1.5, 3
    /// in 2.0. How much of it a quote shows is another thing: every module gives quotes of version 4.
    pub(crate) fn product(&self) -> &'static str {
        let [_, major, ..] = self.tee_tcb_svn;
        match major {
            0 => "tdx-1.0",
            1 => "tdx-1.5",
            3 => "tdx-2.0",
            _ => "tdx",
        }
    }

    /// A service TD is or was bound, or may be: it can read or move the TD.
    pub(crate) fn has_service_td(&self) -> bool {
        let extension = self.extension.as_ref();
        let hashes = [
            self.mr_service_td,
            extension.map(|extension| extension.initial_service_td),
            extension.map(|extension| extension.current_service_td),
        ];
        hashes.iter().flatten().any(|hash| hash.iter().any(|byte| *byte != 0))
    }

    fn read(bytes: &[u8], layout: Layout) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let mut report = Self {
            tee_tcb_svn: reader.array()?,
            mr_seam: reader.array()?,
            mr_signer_seam: reader.array()?,
            seam_attributes: reader.array()?,
            td_attributes: reader.u64_le()?,
            xfam: reader.array()?,
            mr_td: reader.array()?,
            mr_config_id: reader.array()?,
            mr_owner: reader.array()?,
            mr_owner_config: reader.array()?,
            rtmrs: [reader.array()?, reader.array()?, reader.array()?, reader.array()?],
            report_data: reader.array()?,
            tee_tcb_svn_2: None,
            mr_service_td: None,
            extension: None,
        };
        if layout != Layout::V1_0 {
            report.tee_tcb_svn_2 = Some(reader.array()?);
            report.mr_service_td = Some(reader.array()?);
        }
        if layout == Layout::V1_5Ex {
            let (vm_id, td_id, device_info) = (reader.u8()?, reader.array()?, reader.array()?);
            let initial_service_td = reader.array()?;
            // Attributes of the first service TD; CPUSVN, TEE_TCB_SVN and FMSPC of the platform that launched the TD.
            reader.take(8 + 16 + 16 + 12)?;
            let current_service_td = reader.array()?;
            reader.take(8)?;
            report.extension = Some(Extension { vm_id, td_id, device_info, initial_service_td, current_service_td });
        }
        reader.end(report)
    }
}

impl<'a> Quote<'a> {
    /// Reads a quote. Every length that it states is held to the bytes there are.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, NotTaken> {
        if bytes.len() > MOST {
            return Err(NotTaken::Long(bytes.len()));
        }
        let mut reader = Reader::new(bytes);
        let header = reader.take(HEADER).ok_or(NotTaken::Field("header"))?;
        let (version, tee, user_data) = read_header(header)?;
        let (kind, length, before) = body_shape(version, tee, &mut reader)?;
        let body_bytes = reader.take(length).ok_or(NotTaken::Field("body"))?;
        let body = match kind {
            BodyKind::Enclave => EnclaveReport::read(body_bytes).map(|report| Body::Enclave(Arc::new(report))),
            BodyKind::Td(layout) => TdReport::read(body_bytes, layout).map(|report| Body::Td(Arc::new(report))),
        };
        let body = body.ok_or(NotTaken::Field("body"))?;
        let signed = bytes.get(..HEADER + before + length).ok_or(NotTaken::Field("body"))?;
        let section = counted(&mut reader).ok_or(NotTaken::Field("signature data"))?;
        let trailing = reader.rest();

        let mut section = Reader::new(section);
        let signature = section.array_ref().ok_or(NotTaken::Field("signature"))?;
        let attestation_key = section.array_ref().ok_or(NotTaken::Field("attestation key"))?;
        let mut certification = section;
        if version > 3 {
            certification = Reader::new(certification_data(&mut section, QE_REPORT)?);
            section.end(()).ok_or(NotTaken::Field("signature data"))?;
        }
        let qe_report_bytes = certification.take(ENCLAVE_REPORT).ok_or(NotTaken::Field("QE report"))?;
        let qe_report = EnclaveReport::read(qe_report_bytes).ok_or(NotTaken::Field("QE report"))?;
        let qe_report_signature = certification.array_ref().ok_or(NotTaken::Field("QE report signature"))?;
        let length = certification.u16_le().ok_or(NotTaken::Field("QE authentication data"))?;
        let qe_authentication_data =
            certification.take(usize::from(length)).ok_or(NotTaken::Field("QE authentication data"))?;
        let pck_chain = certification_data(&mut certification, PCK_CHAIN)?;
        certification.end(()).ok_or(NotTaken::Field("certification data"))?;
        Ok(Self {
            version,
            user_data,
            body,
            signed,
            signature,
            attestation_key,
            qe_report_bytes,
            qe_report,
            qe_report_signature,
            qe_authentication_data,
            pck_chain,
            trailing,
        })
    }
}

fn read_header(header: &[u8]) -> Result<(u16, u32, [u8; 20]), NotTaken> {
    let mut reader = Reader::new(header);
    let short = NotTaken::Field("header");
    let (Some(version), Some(key), Some(tee)) = (reader.u16_le(), reader.u16_le(), reader.u32_le()) else {
        return Err(short);
    };
    if !(3..=5).contains(&version) {
        return Err(NotTaken::Version(version));
    }
    if key != ECDSA_P256 {
        return Err(NotTaken::Algorithm("attestation key type", "2 (ECDSA P-256)", key.to_string()));
    }
    // Versions 4 and 5 reserve these; version 3 keeps the SVNs of QE and PCE here.
    let (Some(_), Some(vendor), Some(user_data)) = (reader.take(4), reader.array::<16>(), reader.array()) else {
        return Err(short);
    };
    if vendor != QE_VENDOR {
        let expected = "939a7233f79c4ca9940a0db3957f0607 (Intel)";
        return Err(NotTaken::Algorithm("QE vendor", expected, hex::encode(vendor)));
    }
    Ok((version, tee, user_data))
}

#[derive(Clone, Copy)]
enum BodyKind {
    Enclave,
    Td(Layout),
}

/// What the body is, its length, and the bytes between it and the header. Enclaves are quoted in every version, TDs from 4 on;
/// version 5 says the body's type and length.
fn body_shape(version: u16, tee: u32, reader: &mut Reader<'_>) -> Result<(BodyKind, usize, usize), NotTaken> {
    match (version, tee) {
        (3 | 4, TEE_SGX) => Ok((BodyKind::Enclave, ENCLAVE_REPORT, 0)),
        (4, TEE_TDX) => Ok((BodyKind::Td(Layout::V1_0), TD_REPORT_1_0, 0)),
        (5, TEE_SGX | TEE_TDX) => {
            let short = NotTaken::Field("body descriptor");
            let (Some(kind), Some(stated)) = (reader.u16_le(), reader.u32_le()) else { return Err(short) };
            let (body, length) = match (tee, kind) {
                (TEE_SGX, 1) => (BodyKind::Enclave, ENCLAVE_REPORT),
                (TEE_TDX, 2) => (BodyKind::Td(Layout::V1_0), TD_REPORT_1_0),
                (TEE_TDX, 3) => (BodyKind::Td(Layout::V1_5), TD_REPORT_1_5),
                (TEE_TDX, 4) => (BodyKind::Td(Layout::V1_5Ex), TD_REPORT_1_5_EX),
                _ => {
                    let expected = if tee == TEE_SGX { "1 (SGX)" } else { "2, 3 or 4 (TDX)" };
                    return Err(NotTaken::Algorithm("body type", expected, kind.to_string()));
                }
            };
            if usize::try_from(stated) != Ok(length) {
                return Err(short);
            }
            Ok((body, length, 6))
        }
        _ => {
            let expected = if version == 3 { "0 (SGX) in version 3" } else { "0 (SGX) or 0x81 (TDX)" };
            Err(NotTaken::Algorithm("TEE type", expected, format!("{tee:#x}")))
        }
    }
}

fn certification_data<'a>(reader: &mut Reader<'a>, kind: u16) -> Result<&'a [u8], NotTaken> {
    let found = reader.u16_le().ok_or(NotTaken::Field("certification data"))?;
    if found != kind {
        let expected = if kind == PCK_CHAIN { "5 (PCK certificate chain)" } else { "6 (QE report)" };
        return Err(NotTaken::Algorithm("certification data type", expected, found.to_string()));
    }
    counted(reader).ok_or(NotTaken::Field("certification data"))
}

fn counted<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let length = reader.u32_le()?;
    reader.take(usize::try_from(length).ok()?)
}
