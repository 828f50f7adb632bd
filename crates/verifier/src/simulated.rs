//! The simulated TEE: verified like any other, and refused unless the profile takes it.

use std::collections::BTreeSet;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use burgrave_types::claims::{LaunchClaims, Proved, TcbClaims, TcbStatus};
use burgrave_types::simulated::{REPORT_ITEM, SIGNATURE_ITEM, SimulatedReport, VERSION, WORTHLESS_PUBLIC_KEY};
use burgrave_types::{Claims, EvidencePart, Tee};

use crate::check::Stop;
use crate::verification::Findings;
use crate::{Cause, Input, policy};

const FORMAT: &str = "Burgrave, the simulated TEE (burgrave_types::simulated)";
/// More than this no simulated report has.
const LONGEST: usize = 64 * 1024;

/// Decodes without judging.
pub(crate) fn inspect(part: &EvidencePart, findings: &mut Findings) -> Result<(), Stop> {
    read(part, findings).map(|_| ())
}

/// Verifies a simulated report.
pub(crate) fn verify(input: &Input<'_>, findings: &mut Findings) -> Result<(), Stop> {
    let report = read(input.part, findings)?;
    let checks = &mut findings.checks;
    checks.fatal(
        ("simulated.allowed", Cause::SimulatedRefused, "profile, allow_simulated"),
        input.profile.allow_simulated,
        "evidence of a real TEE (only a `dev` domain takes the simulated one)",
        "simulated evidence, which anybody can make",
    );
    policy::judge(input.profile, &claims(&report), checks);
    if let Some((bytes, cause)) = input.expected.report_data() {
        let carried = report.report_data.as_bytes().split_at_checked(bytes.len());
        checks.fatal(
            ("simulated.report_data", cause, FORMAT),
            carried.is_some_and(|(head, rest)| head == bytes && rest.iter().all(|byte| *byte == 0)),
            format_args!("{}, then zeros to 64 bytes", hex::encode(bytes)),
            report.report_data.to_string(),
        );
    }
    let (message, signature) = (input.part.item(REPORT_ITEM), input.part.item(SIGNATURE_ITEM));
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, WORTHLESS_PUBLIC_KEY);
    let verifies = key.verify(message.unwrap_or_default(), signature.unwrap_or_default()).is_ok();
    checks.need_that(
        ("simulated.signature", Cause::SignatureInvalid, FORMAT),
        verifies,
        "an ECDSA P-256 signature of the published key over the report's bytes",
        if signature.is_some() { "a signature that does not verify" } else { "no `simulated.sig`" },
    )
}

fn read(part: &EvidencePart, findings: &mut Findings) -> Result<SimulatedReport, Stop> {
    let checks = &mut findings.checks;
    let bytes = part.item(REPORT_ITEM).unwrap_or_default();
    let rule = ("simulated.report", Cause::FormatMalformed, FORMAT);
    let expected = "a simulated report in JSON, at most 64 KiB, in the item `simulated.json`";
    if bytes.len() > LONGEST {
        return Err(checks.stop(rule, expected, format_args!("{} bytes", bytes.len())));
    }
    let report: SimulatedReport = match serde_json::from_slice(bytes) {
        Ok(report) => report,
        Err(error) => return Err(checks.stop(rule, expected, error.to_string())),
    };
    checks.need(
        ("simulated.version", Cause::FormatVersion, FORMAT),
        report.version == VERSION,
        VERSION,
        report.version,
    )?;
    checks.need(
        ("simulated.report_data.length", Cause::FormatLength, FORMAT),
        report.report_data.as_bytes().len() == 64,
        "64 bytes of report data",
        report.report_data.as_bytes().len(),
    )?;
    findings.raw = serde_json::to_value(&report).unwrap_or_default().into();
    findings.claims = Some(claims(&report));
    Ok(report)
}

fn claims(report: &SimulatedReport) -> Claims {
    Claims {
        tee: Tee::Simulated,
        product: None,
        platform_id: report.platform_id.clone(),
        tcb: TcbClaims::new(TcbStatus::UpToDate),
        debug: Some(report.debug),
        migratable: Some(false),
        privilege: Some(0),
        launch: LaunchClaims {
            measurement: Some(report.measurement.clone()),
            signer: report.signer.clone(),
            product_id: report.product_id.clone(),
            svn: report.svn,
        },
        registers: report.registers.clone().into(),
        config: report.config.clone(),
        binding: Some(report.report_data.clone()),
        boot: None,
        td: None,
        proved: BTreeSet::from([Proved::Launch]),
    }
}
