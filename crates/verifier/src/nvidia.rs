//! NVIDIA GPUs: an SPDM report of measurements, signed by the key of the GPU's firmware.
//!
//! Messages: DMTF DSP0274 1.1 (*Security Protocol and Data Model*), `GET_MEASUREMENTS` and `MEASUREMENTS`; the device's own
//! fields: NVIDIA, *GPU attestation report* (opaque data). The leaf certificate names the firmware it was made for (TCG DICE), and
//! the certificates above it the chip: NVIDIA's one root is that of its switches and other devices as well, which are no GPUs.
//!
//! Items of a part: `report.bin` (request, response, signature) and `chain.pem` (leaf first; with the root or without it).
//!
//! A GPU is a part beside a CPU's TEE: its nonce, 32 bytes in the request, is what binds it. Which measurements are good the
//! registration's reference values say, by register: `measurement1` is SPDM index 1.

mod chain;
mod dice;
mod report;

use std::collections::BTreeSet;

use burgrave_types::claims::{HexBytes, LaunchClaims, Proved, TcbClaims, TcbStatus};
use burgrave_types::{Claims, EvidencePart, Tee};
use serde_json::{Value, json};

use crate::check::{Checks, Stop};
use crate::path::{self, Rules};
use crate::text::hex_text;
use crate::trust::Vendor;
use crate::verification::Findings;
use crate::x509::Certificate;
use crate::{Cause, Endorsements, Input, Raw, Text, policy};
use chain::Chain;
pub(crate) use chain::KnownChains;
use dice::Layer;
use report::{LONGEST, NoReport, Report, SIGNATURE};

const REPORT: &str = "report.bin";
const SPDM: &str = "DMTF DSP0274 1.1, GET_MEASUREMENTS and MEASUREMENTS";
const CHAIN: Rules = Rules {
    vendor: Vendor::Nvidia,
    chain: "nvidia.chain",
    constraints: "nvidia.chain.constraints",
    validity: "nvidia.chain.validity",
    revocation: "nvidia.chain.revocation",
    reference: "NVIDIA device identity chain; RFC 5280, section 6.1",
};
/// Certificates of a GPU's path: the root, its family's authority, who provisioned it, its boot ROM and its firmware.
const LONGEST_PATH: usize = 5;

/// Types of opaque data that are decoded here.
mod field {
    pub(super) const DRIVER_VERSION: u16 = 3;
    pub(super) const VBIOS_VERSION: u16 = 6;
    pub(super) const PROJECT: u16 = 17;
    pub(super) const PROJECT_SKU: u16 = 18;
    pub(super) const FIRMWARE_ID: u16 = 20;
    pub(super) const CHIP: u16 = 35;
}

/// Decodes without judging.
pub(crate) fn inspect(part: &EvidencePart, findings: &mut Findings) -> Result<(), Stop> {
    let report = read_report(part, &mut findings.checks)?;
    let chain = Chain::read(part, &Endorsements::default());
    findings.raw = raw(&report).into();
    findings.claims = Some(claims(&report, &chain));
    Ok(())
}

/// Verifies a report.
pub(crate) fn verify(input: &Input<'_>, findings: &mut Findings) -> Result<(), Stop> {
    let report = read_report(input.part, &mut findings.checks)?;
    let (chain, new) = input.roots.known_chains().read(input.part, input.endorsements);
    let claims = claims(&report, &chain);
    policy::judge(input.profile, &claims, &mut findings.checks);
    let bytes = input.part.item(REPORT).unwrap_or_default().to_vec();
    findings.raw = Raw::new(move || Report::read(&bytes).as_ref().map(raw).unwrap_or_default());
    findings.claims = Some(claims);
    if let Some((bytes, cause)) = input.expected.qualifying_data() {
        findings.checks.fatal(
            ("nvidia.nonce", cause, "DMTF DSP0274 1.1, GET_MEASUREMENTS (nonce)"),
            holds(&report.nonce, bytes),
            if bytes.len() == report.nonce.len() {
                hex_text(bytes)
            } else {
                format!("{}, then zeros to 32 bytes", hex_text(bytes))
            },
            hex_text(report.nonce),
        );
    }
    if chain.ders.is_empty() {
        let rule = ("nvidia.chain", Cause::ChainUntrusted, CHAIN.reference);
        return Err(findings.checks.stop(rule, "the GPU's certificate chain, leaf first, in `chain.pem`", "none"));
    }
    // A chain may come without its root, which the roots then give.
    let above = chain
        .beneath_root
        .as_ref()
        .and_then(|first| input.roots.anchors_of(Vendor::Nvidia).find(|anchor| first.is_issued_by_name_of(anchor)));
    let ders: Vec<_> = above.map(Certificate::der).into_iter().chain(chain.ders.iter().map(Vec::as_slice)).collect();
    let path = path::verify(&ders, &CHAIN, input, findings)?;
    device(&chain, ders.len(), &mut findings.checks)?;
    findings.checks.need_that(
        ("nvidia.signature", Cause::SignatureInvalid, "DMTF DSP0274 1.1, MEASUREMENTS (signature)"),
        path.verifies(report.signed, report.signature),
        "an ECDSA P-384 signature of the certificate's key over request and response",
        "a signature that does not verify",
    )?;
    firmware(&report, &chain, &mut findings.checks)?;
    if let (Some(label), None) = (new, findings.checks.first_cause()) {
        input.roots.known_chains().remember(label, chain);
    }
    Ok(())
}

/// Whether a nonce is these bytes, then zeros.
fn holds(nonce: &[u8; 32], bytes: &[u8]) -> bool {
    nonce.split_at_checked(bytes.len()).is_some_and(|(head, rest)| head == bytes && rest.iter().all(|byte| *byte == 0))
}

/// Whether bytes begin as a report.
pub(crate) fn looks_like_report(bytes: &[u8]) -> bool {
    report::looks_like_report(bytes)
}

/// The body of a fuzz target: reads bytes as a report and as a firmware's identity. Returns of how many of them they are one.
pub fn fuzz_decode(bytes: &[u8]) -> usize {
    let read = [Report::read(bytes).is_ok(), Layer::read(bytes).is_some()];
    read.into_iter().filter(|read| *read).count()
}

fn read_report<'a>(part: &'a EvidencePart, checks: &mut Checks) -> Result<Report<'a>, Stop> {
    let Some(bytes) = part.item(REPORT) else {
        let rule = ("nvidia.report.present", Cause::FormatMalformed, SPDM);
        return Err(checks.stop(rule, "the item `report.bin`", "no such item"));
    };
    checks.need(
        ("nvidia.report.length", Cause::FormatLength, SPDM),
        (SIGNATURE..=LONGEST).contains(&bytes.len()),
        format_args!("{SIGNATURE} to {LONGEST} bytes"),
        format_args!("{} bytes", bytes.len()),
    )?;
    Report::read(bytes).map_err(|error| {
        let (cause, expected, found) = match error {
            NoReport::Version(version) => {
                (Cause::FormatVersion, "SPDM version 1.1 (0x11) in both messages", format!("{version:#04x}"))
            }
            NoReport::Message => (
                Cause::FormatMalformed,
                "GET_MEASUREMENTS that asks for a signature, then MEASUREMENTS",
                "other messages".to_owned(),
            ),
            NoReport::Measurements => (
                Cause::FormatMalformed,
                "as many measurement blocks of DMTF's form as are stated, each index once",
                "something else".to_owned(),
            ),
            NoReport::Opaque => {
                (Cause::FormatMalformed, "opaque data by type and length, each type once", "something else".to_owned())
            }
            NoReport::OpaqueVersion(profile, major) => (
                Cause::FormatVersion,
                "opaque data of profile 0, version 2",
                format!("profile {profile}, version {major}"),
            ),
            NoReport::Length => (
                Cause::FormatLength,
                "the bytes that its lengths state, then a signature of 96 bytes",
                format!("{} bytes", bytes.len()),
            ),
        };
        checks.stop(("nvidia.report", cause, SPDM), expected, found)
    })
}

/// The device is a GPU, as those say who certified it: what its firmware writes counts for nothing here. Nor does what another
/// device's boot ROM certifies, beneath which a path of such names would be longer.
fn device(chain: &Chain, length: usize, checks: &mut Checks) -> Result<(), Stop> {
    let is_gpu = chain.gpu.is_some() && length <= LONGEST_PATH;
    let found = match (&chain.gpu, &chain.name) {
        _ if is_gpu => "a GPU".into(),
        (Some(gpu), _) => format!("{gpu}, {length} certificates away").into(),
        (None, Some(name)) => name.clone().into(),
        (None, None) => Text::from("no name"),
    };
    checks.need(
        ("nvidia.device", Cause::CertificateKind, "NVIDIA device identity chain, common names"),
        is_gpu,
        "a GPU: root, family, `NVIDIA <chip> Provisioner`, `<chip>`'s BROM and its firmware, the chip such as GH100 or GB100",
        found,
    )
}

/// The leaf was made for a firmware: for the one that the report names, where it names one.
fn firmware(report: &Report<'_>, chain: &Chain, checks: &mut Checks) -> Result<(), Stop> {
    let reported = report.opaque.get(&field::FIRMWARE_ID);
    let certified = chain.firmware();
    checks.need(
        ("nvidia.firmware", Cause::CertificateExtension, "TCG DICE, DiceTcbInfo (fwids); NVIDIA opaque data, FWID"),
        certified.is_some_and(|certified| reported.is_none_or(|reported| *reported == certified)),
        reported.map_or_else(
            || "a certificate for a firmware".to_owned(),
            |reported| format!("a certificate for firmware {}", hex_text(reported)),
        ),
        certified.map_or_else(|| "one that names no firmware".to_owned(), hex_text),
    )
}

fn claims(report: &Report<'_>, chain: &Chain) -> Claims {
    let first_word = || Some(chain.name.as_ref()?.split(' ').next()?.to_owned());
    let reported = || text(report, field::CHIP).filter(|chip| !chip.is_empty());
    let firmware = chain.firmware().or_else(|| report.opaque.get(&field::FIRMWARE_ID).copied());
    let values = report.measurements.iter();
    Claims {
        tee: Tee::NvidiaGpu,
        product: chain.gpu.clone().or_else(first_word).or_else(reported),
        platform_id: chain.chip_key.clone(),
        tcb: TcbClaims::new(TcbStatus::VendorManaged),
        debug: chain.layer.as_ref().and_then(|layer| layer.debug),
        migratable: None,
        privilege: None,
        launch: LaunchClaims { measurement: firmware.map(HexBytes::from), ..LaunchClaims::default() },
        registers: values.map(|(index, one)| (format!("measurement{index}"), one.value.into())).collect(),
        config: None,
        binding: Some(report.nonce.as_slice().into()),
        boot: None,
        td: None,
        proved: BTreeSet::from([Proved::Launch]),
    }
}

fn raw(report: &Report<'_>) -> Value {
    let measurements = report
        .measurements
        .iter()
        .map(|(index, one)| (index.to_string(), json!({ "type": one.kind, "value": hex_text(one.value) })));
    let opaque = report.opaque.iter().map(|(kind, value)| (kind.to_string(), json!(hex_text(value))));
    json!({
        "nonce": hex_text(report.nonce),
        "driver_version": text(report, field::DRIVER_VERSION),
        "vbios_version": report.opaque.get(&field::VBIOS_VERSION).and_then(|bytes| vbios(bytes)),
        "project": text(report, field::PROJECT),
        "project_sku": text(report, field::PROJECT_SKU),
        "chip": text(report, field::CHIP),
        "firmware_id": report.opaque.get(&field::FIRMWARE_ID).map(hex_text),
        "measurements": measurements.collect::<serde_json::Map<_, _>>(),
        "opaque": opaque.collect::<serde_json::Map<_, _>>(),
    })
}

/// A text up to its first zero.
fn text(report: &Report<'_>, kind: u16) -> Option<String> {
    let bytes = report.opaque.get(&kind)?.split(|byte| *byte == 0).next()?;
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

/// `96.00.9F.00.01`: four bytes, little endian, and one more.
fn vbios(bytes: &[u8]) -> Option<String> {
    let [d, c, b, a, e, ..] = *bytes else { return None };
    Some([a, b, c, d, e].map(|byte| format!("{byte:02X}")).join("."))
}
