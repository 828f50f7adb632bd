//! AMD SEV-SNP: attestation reports signed by a chip's VCEK or a cloud's VLEK.
//!
//! Layout and meaning: AMD publication 56860 (*SEV Secure Nested Paging Firmware ABI Specification*), section
//! `MSG_REPORT_REQ`; certificates and their extensions: AMD publication 57230 (*VCEK Certificate and KDS Interface
//! Specification*); VLEK: publication 58369.
//!
//! Items of a part: `report.bin` (1184 bytes), `vcek.der`, `vlek.der` or `vek.der`; any other certificate or revocation list
//! among the items is taken as an endorsement. A part without a report shows a certificate alone, which is judged only
//! where nothing is expected of a report; it makes no claims.

mod chain;
mod known;
mod platform;
mod report;

use std::collections::BTreeSet;
use std::sync::Arc;

use burgrave_types::claims::{LaunchClaims, Proved, TcbClaims, TcbStatus};
use burgrave_types::{Claims, EvidencePart, Registers, Tee};
use serde_json::json;

use crate::check::{Checks, Stop};
use crate::text::hex_text;
use crate::verification::Findings;
use crate::{Cause, Endorsement, Endorsements, Expected, Input, Raw, policy};
pub use chain::VekExtensions;
pub(crate) use chain::is_vek;
use chain::{Chain, Vek};
pub(crate) use known::KnownPlatforms;
pub use platform::PlatformFeature;
pub use report::{Family, Report, SigningKey, Tcb};
pub(crate) use report::{before_table, in_response, looks_like_report};

const ABI: &str = "AMD 56860, MSG_REPORT_REQ";
const KDS: &str = "AMD 57230, certificate extensions";
const REPORT: &str = "report.bin";

/// Decodes without judging.
pub(crate) fn inspect(part: &EvidencePart, findings: &mut Findings) -> Result<(), Stop> {
    let report = read_report(part.item(REPORT).unwrap_or_default(), &mut findings.checks)?;
    let vek = chain::find_leaf(part, [&Endorsements::beside(part)], Some(&report));
    let family = vek.and_then(|certificate| chain::family_of(&certificate)).or(report.cpuid_family());
    findings.raw = raw(&report, family).into();
    findings.claims = Some(claims(&report, family, None, TcbStatus::UpToDate));
    Ok(())
}

/// The report data of a part, unverified.
pub(crate) fn report_data(part: &EvidencePart, checks: &mut Checks) -> Result<[u8; 64], Stop> {
    read_report(part.item(REPORT).unwrap_or_default(), checks).map(|report| report.report_data)
}

/// Verifies a report, or a certificate alone.
pub(crate) fn verify(input: &Input<'_>, findings: &mut Findings) -> Result<(), Stop> {
    let Some(bytes) = input.part.item(REPORT) else {
        // What is neither certificate nor list may be the report, under another name: then the certificate alone says nothing.
        let is_evidence = |bytes: &Vec<u8>| matches!(Endorsement::read(bytes), Endorsement::Other);
        let other = input.part.items.iter().find(|(_, bytes)| is_evidence(bytes)).map(|(name, _)| name);
        let fatal = input.expected != Expected::None || other.is_some();
        let rule = ("snp.report.present", Cause::FormatMalformed, ABI);
        let expected = "the item `report.bin`, which alone can be bound to anything";
        let found = match other {
            Some(name) => format!("no such item, and `{name}` is neither a report nor a certificate"),
            None => "no such item: the certificate alone is judged".to_owned(),
        };
        findings.checks.record(rule, false, fatal, expected, found);
        if fatal {
            return Err(Stop);
        }
        return chain::verify(input, findings);
    };
    let report = read_report(bytes, &mut findings.checks)?;
    let outcome = match input.roots.known_platforms().find(&report, input.part) {
        Some(known) => judge(input, &report, bytes, &known.vek, &known.beside, Some(&known.chain), findings).map(drop),
        None => judge_anew(input, &report, bytes, findings),
    };
    if findings.claims.is_none() {
        let family = report.cpuid_family();
        if findings.raw.is_null() {
            findings.raw = raw(&report, family).into();
        }
        findings.claims = Some(claims(&report, family, None, TcbStatus::UpToDate));
    }
    outcome
}

/// Reads what stands beside a report, and remembers it when all of it holds.
fn judge_anew(input: &Input<'_>, report: &Report, bytes: &[u8], findings: &mut Findings) -> Result<(), Stop> {
    let beside = Endorsements::beside(input.part);
    let Some(leaf) = chain::find_leaf(input.part, [&beside, input.endorsements], Some(report)) else {
        let unread = chain::unread_leaf(input.part);
        let cause = if unread.is_some() { Cause::FormatMalformed } else { Cause::ChainUntrusted };
        return Err(findings.checks.stop(
            ("snp.vek.present", cause, "AMD 57230, VCEK; AMD 58369, VLEK"),
            format!("a {} certificate beside the report", report.signing_key),
            unread.map_or_else(|| "none".to_owned(), |name| format!("none: `{name}` is no certificate (DER or PEM)")),
        ));
    };
    let vek = chain::read_leaf(leaf, findings)?;
    let chain = judge(input, report, bytes, &vek, &beside, None, findings)?;
    input.roots.known_platforms().remember(report, input.part, beside, vek, chain);
    Ok(())
}

/// Judges a report with a VEK certificate that has been read. Returns the chain above it, which is `known` where that counts.
fn judge(
    input: &Input<'_>,
    report: &Report,
    bytes: &[u8],
    vek: &Vek,
    beside: &Endorsements,
    known: Option<&Arc<Chain>>,
    findings: &mut Findings,
) -> Result<Arc<Chain>, Stop> {
    let family = vek.family;
    let fields = report.clone();
    findings.raw = Raw::new(move || raw(&fields, Some(family)));
    report_fits_certificate(report, vek, findings)?;
    let status = tcb_status(input, report, family);
    let claims = claims(report, Some(family), vek.csp_id.as_deref(), status);
    policy::judge(input.profile, &claims, &mut findings.checks);
    platform::judge(&input.profile.snp, report, &mut findings.checks);
    findings.claims = Some(claims);
    binding(input.expected, report, findings);

    let chain = chain::verify_leaf(input, vek, [beside, input.endorsements], known, findings)?;
    findings.checks.need_that(
        ("snp.report.signature", Cause::SignatureInvalid, "AMD 56860, attestation report signature"),
        report.is_signed_by(&vek.key, bytes),
        "an ECDSA P-384 signature of the certificate's key over bytes 0 to 0x29f",
        "a signature that does not verify",
    )?;
    Ok(chain)
}

fn read_report(bytes: &[u8], checks: &mut Checks) -> Result<Report, Stop> {
    checks.need(
        ("snp.report.length", Cause::FormatLength, ABI),
        bytes.len() == report::LENGTH,
        format_args!("{} bytes", report::LENGTH),
        format_args!("{} bytes", bytes.len()),
    )?;
    let malformed = ("snp.report.fields", Cause::FormatMalformed, ABI);
    let Some(report) = Report::read(bytes) else {
        return Err(checks.stop(malformed, "the fields of a report", "something else"));
    };
    checks.need(
        ("snp.report.version", Cause::FormatVersion, ABI),
        matches!(report.version, 2..=5),
        "2 to 5",
        report.version,
    )?;
    checks.need(
        ("snp.report.algorithm", Cause::FormatAlgorithm, "AMD 56860, signature algorithms"),
        report.signature_algorithm == 1,
        "1 (ECDSA P-384 with SHA-384)",
        report.signature_algorithm,
    )?;
    checks.need_that(
        ("snp.report.signature_padding", Cause::FormatMalformed, "AMD 56860, ECDSA P-384 signature format"),
        report.is_signature_padding_zero(bytes),
        "zeros wherever neither r nor s stands",
        "something else",
    )?;
    Ok(report)
}

/// The report and the certificate speak of the same chip, TCB and kind of key.
fn report_fits_certificate(report: &Report, vek: &Vek, findings: &mut Findings) -> Result<(), Stop> {
    let checks = &mut findings.checks;
    checks.need(
        ("snp.vek.kind", Cause::CertificateKind, "AMD 56860, SIGNING_KEY"),
        report.signing_key == vek.kind,
        format_args!("a {} certificate, as the report says", report.signing_key),
        vek.kind.to_string(),
    )?;
    if let Some(family) = report.cpuid_family() {
        checks.need(
            ("snp.vek.family", Cause::CertificateExtension, "AMD 56860, CPUID_FAM_ID; AMD 57230, productName"),
            family == vek.family,
            family.as_str(),
            vek.family.as_str(),
        )?;
    }
    if let Some(hw_id) = &vek.hw_id {
        checks.need(
            ("snp.chip", Cause::ChipMismatch, KDS),
            report.is_of_chip(hw_id),
            format_args!("CHIP_ID {}, as in the certificate", hex_text(hw_id)),
            hex_text(report.chip_id),
        )?;
    }
    let reported = report.reported_tcb.parts(vek.family);
    checks.need(
        ("snp.tcb.certificate", Cause::TcbMismatch, "AMD 57230, TCB extensions"),
        reported == vek.tcb,
        format_args!("{} (certificate)", show(&vek.tcb)),
        format_args!("{} (report)", show(&reported)),
    )?;
    let (committed, current) = (report.committed_tcb.parts(vek.family), report.current_tcb.parts(vek.family));
    checks.need(
        ("snp.tcb.order", Cause::TcbMismatch, "AMD 56860, TCB_VERSION"),
        at_most(&reported, &committed) && at_most(&committed, &current),
        "reported ≤ committed ≤ current, in every component",
        format_args!("{}; {}; {}", show(&reported), show(&committed), show(&current)),
    )
}

/// How the report's TCBs stand against the profile's floor for its family: the reported one, below which neither the committed
/// nor the current one is, and the one that the guest was launched under, which an update of the firmware since does not mend.
fn tcb_status(input: &Input<'_>, report: &Report, family: Family) -> TcbStatus {
    let Some(floor) = input.profile.snp.min_tcb.get(family.as_str()) else { return TcbStatus::UpToDate };
    let holds = |tcb: &Tcb| {
        let parts = tcb.parts(family);
        floor.iter().all(|(component, minimum)| {
            parts.iter().any(|(name, svn)| name == component && u64::from(*svn) >= *minimum)
        })
    };
    if holds(&report.reported_tcb) && holds(&report.launch_tcb) { TcbStatus::UpToDate } else { TcbStatus::OutOfDate }
}

fn binding(expected: Expected<'_>, report: &Report, findings: &mut Findings) {
    let Some((bytes, cause)) = expected.report_data() else { return };
    let carried = report.report_data.split_at_checked(bytes.len());
    let passed = carried.is_some_and(|(head, rest)| head == bytes && rest.iter().all(|byte| *byte == 0));
    findings.checks.fatal(
        ("snp.report_data", cause, "AMD 56860, REPORT_DATA"),
        passed,
        format_args!("{}, then zeros to 64 bytes", hex_text(bytes)),
        hex_text(report.report_data),
    );
}

fn claims(report: &Report, family: Option<Family>, csp_id: Option<&[u8]>, status: TcbStatus) -> Claims {
    let platform = if report.chip_id.iter().any(|byte| *byte != 0) { Some(&report.chip_id[..]) } else { csp_id };
    let svn = family.map(|family| report.reported_tcb.parts(family)).unwrap_or_default();
    // The firmware verifies the ID block's signature at launch; without an ID block the digest is zero.
    let signer = Some(report.id_key_digest).filter(|digest| digest.iter().any(|byte| *byte != 0));
    let product_id = signer.map(|_| format!("{}/{}", hex_text(report.family_id), hex_text(report.image_id)));
    Claims {
        tee: Tee::Snp,
        product: family.map(|family| family.as_str().to_owned()),
        platform_id: platform.map(Into::into),
        tcb: TcbClaims {
            status,
            svn: svn.into_iter().map(|(name, svn)| (name.to_owned(), u64::from(svn))).collect(),
            advisories: Vec::new(),
        },
        debug: Some(report.policy.debug()),
        migratable: Some(report.policy.migration_agent()),
        privilege: Some(report.vmpl),
        launch: LaunchClaims {
            measurement: Some(report.measurement.as_slice().into()),
            signer: signer.map(|digest| digest.as_slice().into()),
            product_id,
            svn: Some(u64::from(report.guest_svn)),
        },
        registers: Registers::default(),
        config: Some(report.host_data.as_slice().into()),
        binding: Some(report.report_data.as_slice().into()),
        boot: None,
        td: None,
        proved: BTreeSet::from([Proved::Launch]),
    }
}

fn raw(report: &Report, family: Option<Family>) -> serde_json::Value {
    let tcb = |tcb: &Tcb| match family {
        Some(family) => json!(tcb.parts(family).into_iter().collect::<std::collections::BTreeMap<_, _>>()),
        None => json!(hex_text(tcb.0)),
    };
    json!({
        "version": report.version,
        "family": family.map(Family::as_str),
        "guest_svn": report.guest_svn,
        "policy": report.policy.to_string(),
        "family_id": hex_text(report.family_id),
        "image_id": hex_text(report.image_id),
        "vmpl": report.vmpl,
        "platform_info": format!("{:#x}", report.platform_info),
        "platform_features": PlatformFeature::of(report.platform_info).map(PlatformFeature::as_str).collect::<Vec<_>>(),
        "launch_mitigations": format!("{:#x}", report.launch_mitigations),
        "current_mitigations": format!("{:#x}", report.current_mitigations),
        "signing_key": report.signing_key.to_string(),
        "report_data": hex_text(report.report_data),
        "measurement": hex_text(report.measurement),
        "host_data": hex_text(report.host_data),
        "id_key_digest": hex_text(report.id_key_digest),
        "author_key_digest": hex_text(report.author_key_digest),
        "report_id": hex_text(report.report_id),
        "chip_id": hex_text(report.chip_id),
        "reported_tcb": tcb(&report.reported_tcb),
        "committed_tcb": tcb(&report.committed_tcb),
        "current_tcb": tcb(&report.current_tcb),
        "launch_tcb": tcb(&report.launch_tcb),
    })
}

fn at_most(lower: &[(&str, u8)], upper: &[(&str, u8)]) -> bool {
    lower.iter().zip(upper).all(|(lower, upper)| lower.1 <= upper.1)
}

fn show(parts: &[(&str, u8)]) -> String {
    parts.iter().map(|(name, svn)| format!("{name} {svn}")).collect::<Vec<_>>().join(", ")
}
