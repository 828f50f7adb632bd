//! Azure confidential virtual machines: a hardware report, the paravisor's runtime data and a vTPM's quote, each bound to the
//! next.
//!
//! Hardware (SEV-SNP report, or TD quote) → its report data is the hash of the runtime data → the runtime data names the
//! vTPM's attestation key → that key signed the quote → the quote carries the challenger's bytes and covers the PCRs. The
//! paravisor (HCL) makes vTPM and runtime data; it is part of what the hardware measured.
//!
//! All of this says that *a* paravisor vouches for the vTPM; that it is Azure's the launch measurement says, or its signer
//! (the ID key digest of an SEV-SNP report). A reference value that names neither matches nothing ([`crate::appraise()`]).
//! Only the paravisor runs at VMPL 0; whatever the profile takes elsewhere, a report of another level is no paravisor's.
//!
//! Layout: Microsoft, *Azure confidential VM guest attestation: report format* (HCL report in the vTPM's NV index 0x01400001);
//! the rest as in [`crate::snp`], [`crate::dcap`] and [`crate::tpm`].
//!
//! Items of a part: `hcl-report.bin`, `quote.msg` (TPMS_ATTEST), `quote.sig` (the bare RSASSA signature with SHA-256, or a
//! TPMT_SIGNATURE), `pcrs-sha256.json`; beside an SEV-SNP report `vcek.der`, beside a TD report the quote in `quote.bin` and
//! `collateral.json`; the guest's logs as in [`crate::tpm`].

mod hcl;

use std::sync::Arc;

use burgrave_types::{EvidencePart, Tee};
use serde_json::json;

use crate::check::{Checks, Stop};
use crate::tpm::VtpmQuote;
use crate::verification::Findings;
use crate::{Cause, Expected, Input, Raw, dcap, snp};
use hcl::{Hardware, HclReport, NoReport, RuntimeData};

const ITEM: &str = "hcl-report.bin";
const FORMAT: &str = "Azure confidential VM guest attestation, HCL report";

/// Decodes without judging: of an HCL report without a quote, what it says by itself.
pub(crate) fn inspect(part: &EvidencePart, findings: &mut Findings) -> Result<(), Stop> {
    let (report, runtime) = read(part, findings)?;
    match report.hardware {
        Hardware::Snp => snp::inspect(&hardware_part(part, &report, &mut findings.checks)?, findings)?,
        // A TD report is no quote: what it says stands in the quote that is made of it.
        Hardware::Tdx if part.item("quote.bin").is_none() => {}
        Hardware::Tdx => dcap::inspect(&hardware_part(part, &report, &mut findings.checks)?, findings)?,
    }
    if part.item("quote.msg").is_none() {
        describe(&report, &runtime, None, findings);
        return Ok(());
    }
    let quote = VtpmQuote::read(part, runtime.ak.clone(), findings)?;
    describe(&report, &runtime, Some(&quote), findings);
    quote.inspect(part, findings);
    Ok(())
}

/// Verifies all parts and what binds them.
pub(crate) fn verify(input: &Input<'_>, findings: &mut Findings) -> Result<(), Stop> {
    let (report, runtime) = read(input.part, findings)?;
    let hardware = hardware_part(input.part, &report, &mut findings.checks)?;
    let report_data = report_data(&report, &hardware, &mut findings.checks)?;
    let digest = report.hash.digest(report.runtime);
    let bound = report_data.split_at_checked(digest.len());
    findings.checks.need(
        ("azure.runtime.bound", Cause::BindingPart, FORMAT),
        bound.is_some_and(|(head, rest)| head == digest && rest.iter().all(|byte| *byte == 0)),
        format_args!(
            "report data {}, the {} of the runtime data, then zeros",
            hex::encode(&digest),
            report.hash.as_str()
        ),
        hex::encode(report_data),
    )?;
    let quote = VtpmQuote::read(input.part, runtime.ak.clone(), findings)?;
    let covered = quote.check(input, findings)?;

    // The challenger's bytes stand in the quote; the hardware's report data is spent on the runtime data.
    let hardware_input = Input { part: &hardware, expected: Expected::None, ..*input };
    let outcome = match report.hardware {
        Hardware::Snp => snp::verify(&hardware_input, findings),
        Hardware::Tdx => dcap::verify(&hardware_input, findings),
    };
    describe(&report, &runtime, Some(&quote), findings);
    outcome?;
    let privilege = findings.claims.as_ref().and_then(|claims| claims.privilege).unwrap_or(0);
    findings.checks.fatal(
        ("azure.paravisor.privilege", Cause::Privilege, "AMD 56860, VMPL; Azure paravisor, VMPL 0"),
        privilege == 0,
        "a report that the paravisor asked for, at VMPL 0",
        format_args!("VMPL {privilege}"),
    );
    quote.verify(findings)?;
    // Only now are the values more than their bringer's word.
    if covered && let Some(claims) = &mut findings.claims {
        quote.claim(claims);
        quote.judge_logs(input, findings);
    }
    Ok(())
}

/// Whether bytes begin as an HCL report.
pub(crate) fn looks_like_report(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HCLA")
}

/// The body of a fuzz target: reads bytes as an HCL report and as runtime data. Returns of how many of them they are one.
pub fn fuzz_decode(bytes: &[u8]) -> usize {
    [HclReport::read(bytes).is_ok(), RuntimeData::read(bytes).is_some()].into_iter().filter(|read| *read).count()
}

fn read<'a>(part: &'a EvidencePart, findings: &mut Findings) -> Result<(HclReport<'a>, RuntimeData), Stop> {
    let checks = &mut findings.checks;
    let Some(bytes) = part.item(ITEM) else {
        let rule = ("azure.hcl.present", Cause::FormatMalformed, FORMAT);
        return Err(checks.stop(rule, "the item `hcl-report.bin`", "no such item"));
    };
    let report = HclReport::read(bytes).map_err(|error| {
        let (cause, expected, found) = match error {
            NoReport::Field(name) => {
                (Cause::FormatMalformed, "an HCL report of an attestation that succeeded", format!("another {name}"))
            }
            NoReport::Length(length) => (
                Cause::FormatLength,
                "the bytes that its lengths state, at most 64 KiB of runtime data, and zeros behind",
                format!("{length} bytes, or others behind"),
            ),
            NoReport::Version(version) => (Cause::FormatVersion, "version 1 or 2", version.to_string()),
            NoReport::Type(kind) => {
                (Cause::FormatAlgorithm, "report type 2 (SEV-SNP) or 4 (TDX)", format!("report type {kind}"))
            }
            NoReport::Hash(kind) => {
                (Cause::FormatAlgorithm, "hash type 1 to 3 (SHA-256, -384, -512)", format!("hash type {kind}"))
            }
        };
        checks.stop(("azure.hcl.report", cause, FORMAT), expected, found)
    })?;
    let runtime = RuntimeData::read(report.runtime).ok_or_else(|| {
        let rule = ("azure.runtime.data", Cause::FormatMalformed, FORMAT);
        checks.stop(rule, "JSON with exactly one RSA key `HCLAkPub`", "something else")
    })?;
    Ok((report, runtime))
}

/// The hardware's evidence as a part of its own.
fn hardware_part(part: &EvidencePart, report: &HclReport<'_>, checks: &mut Checks) -> Result<EvidencePart, Stop> {
    let mut items = part.items.clone();
    items.retain(|name, _| {
        // The logs are the guest's; the paravisor below it brings none.
        let is_of_guest = matches!(name.as_str(), ITEM | "quote.msg" | "quote.sig" | "pcrs-sha256.json" | "pcrs.json");
        !is_of_guest && !matches!(name.as_str(), "eventlog.bin" | "ccel.bin" | "ima.bin" | "ima.offset")
    });
    let tee = match report.hardware {
        Hardware::Snp => {
            items.insert("report.bin".to_owned(), report.report.to_vec());
            Tee::Snp
        }
        Hardware::Tdx if items.contains_key("quote.bin") => Tee::Tdx,
        Hardware::Tdx => {
            let rule = ("azure.quote.present", Cause::FormatMalformed, FORMAT);
            return Err(checks.stop(rule, "the TD quote in the item `quote.bin` beside the TD report", "no such item"));
        }
    };
    Ok(EvidencePart { tee, items })
}

/// What the hardware's evidence carries of its maker's.
fn report_data(report: &HclReport<'_>, hardware: &EvidencePart, checks: &mut Checks) -> Result<[u8; 64], Stop> {
    // What this says of a report that can be read, its own verification says again.
    let mut seen = Checks::default();
    let read = match report.hardware {
        Hardware::Snp => snp::report_data(hardware, &mut seen),
        Hardware::Tdx => dcap::report_data(hardware, &mut seen),
    };
    if read.is_err() {
        checks.append(&seen.into_vec());
    }
    read
}

/// The hardware's claims become the machine's, with the vTPM's beside them.
fn describe(report: &HclReport<'_>, runtime: &RuntimeData, quote: Option<&VtpmQuote<'_>>, findings: &mut Findings) {
    let hardware = std::mem::take(&mut findings.raw);
    let (version, hash) = (report.version, report.hash);
    let (configuration, user_data) = (Arc::clone(&runtime.configuration), Arc::clone(&runtime.user_data));
    let quote_fields = quote.map(VtpmQuote::raw);
    findings.raw = Raw::new(move || {
        json!({
            "hcl": {
                "version": version,
                "hash": hash.as_str(),
                "configuration": *configuration,
                "user_data": *user_data,
            },
            "hardware": hardware,
            "quote": quote_fields,
        })
    });
    if let Some(claims) = &mut findings.claims {
        claims.tee = Tee::AzVtpm;
        claims.binding = quote.map(|quote| quote.extra_data().into());
    }
}
