//! AWS Nitro Enclaves: attestation documents signed by the Nitro hypervisor.
//!
//! Layout and rules: AWS, *Nitro Enclaves: attestation process* (document specification, syntactical and semantical
//! validation) and *Verifying the root of trust*; envelope: RFC 9052 (`COSE_Sign1`), ES384.
//!
//! Items of a part: `document.cose`, tagged (18) or not. The document brings its whole certificate path; the root at its head
//! must be a pinned one, byte for byte. The signing certificate lives three hours, so an enclave that attests again shows the
//! same path: [`crate::Roots`] remember it, and such a document costs one signature.
//!
//! What binds: a challenger's nonce stands in `nonce`; a binding of 64 bytes ([`Expected::Binding`],
//! [`Expected::ReportData`]) in `user_data`.

mod document;

use std::collections::BTreeSet;
use std::time::Duration;

use burgrave_types::claims::{LaunchClaims, Proved, TcbClaims, TcbStatus};
use burgrave_types::{Claims, EvidencePart, Tee, Timestamp};
use serde_json::json;

use crate::check::Stop;
use crate::cose::{ES384, NoSign1, Sign1};
use crate::path::{self, Rules};
use crate::text::hex_text;
use crate::trust::Vendor;
use crate::verification::Findings;
use crate::{Cause, Expected, Input, policy};
use document::Document;

const ITEM: &str = "document.cose";
/// How far the hypervisor's clock may be ahead of the verifier's.
const SKEW: Duration = Duration::from_mins(5);
const COSE: &str = "RFC 9052, section 4.2 (COSE_Sign1)";
const PROCESS: &str = "AWS Nitro Enclaves, attestation process, section 3";
const CHAIN: Rules = Rules {
    vendor: Vendor::Aws,
    chain: "nitro.chain",
    constraints: "nitro.chain.constraints",
    validity: "nitro.chain.validity",
    revocation: "nitro.chain.revocation",
    reference: "AWS Nitro Enclaves, attestation process, section 3.2.3; RFC 5280, section 6.1",
};

/// Decodes without judging.
pub(crate) fn inspect(part: &EvidencePart, findings: &mut Findings) -> Result<(), Stop> {
    let message = read_message(part, findings)?;
    read_document(message, findings).map(|_| ())
}

/// Verifies a document.
pub(crate) fn verify(input: &Input<'_>, findings: &mut Findings) -> Result<(), Stop> {
    let message = read_message(input.part, findings)?;
    let document = read_document(message, findings)?;
    if let Some(claims) = &findings.claims {
        policy::judge(input.profile, claims, &mut findings.checks);
    }
    binding(input.expected, &document, findings);

    let chain: Vec<&[u8]> = document.cabundle.iter().copied().chain([document.certificate]).collect();
    let path = path::verify(&chain, &CHAIN, input, findings)?;
    let made = Timestamp::from_unix_millis(i64::try_from(document.timestamp).unwrap_or(i64::MAX));
    findings.checks.fatal(
        (
            "nitro.timestamp",
            Cause::CertificateValidity,
            "AWS Nitro Enclaves, attestation process, section 2 (timestamp)",
        ),
        path.is_valid_at(made) && made <= input.at + SKEW,
        "made while the certificates were valid, and not after the time of judging",
        made,
    );
    findings.checks.need_that(
        ("nitro.signature", Cause::SignatureInvalid, "RFC 9052, section 4.4; RFC 9053, section 2.1"),
        path.verifies(&message.to_be_signed(), message.signature),
        "an ECDSA P-384 signature of the certificate's key over header and document",
        "a signature that does not verify",
    )
}

/// Whether bytes begin as a signed message and name fields that only these documents have.
pub(crate) fn looks_like_document(bytes: &[u8]) -> bool {
    let message = bytes.strip_prefix(&[0xd2]).unwrap_or(bytes);
    let names = |field: &[u8]| message.windows(field.len()).any(|window| window == field);
    message.first() == Some(&0x84) && names(b"module_id") && names(b"cabundle")
}

/// The body of a fuzz target: reads bytes as an envelope and as a document. Returns of how many of them they are one.
pub fn fuzz_decode(bytes: &[u8]) -> usize {
    [Sign1::read(bytes).is_ok(), Document::read(bytes).is_ok()].into_iter().filter(|read| *read).count()
}

fn read_message<'a>(part: &'a EvidencePart, findings: &mut Findings) -> Result<Sign1<'a>, Stop> {
    let checks = &mut findings.checks;
    let Some(bytes) = part.item(ITEM) else {
        let rule = ("nitro.document.present", Cause::FormatMalformed, PROCESS);
        return Err(checks.stop(rule, "the item `document.cose`", "no such item"));
    };
    let expected = "a COSE_Sign1 with a payload of bytes, and nothing after it";
    let message = Sign1::read(bytes).map_err(|error| match error {
        NoSign1::Malformed(at) => checks.stop(
            ("nitro.cose", Cause::FormatMalformed, COSE),
            expected,
            format_args!("something else at about byte {at}"),
        ),
        NoSign1::Trailing(count) => {
            checks.stop(("nitro.cose", Cause::FormatLength, COSE), expected, format_args!("{count} more bytes"))
        }
    })?;
    checks.need(
        ("nitro.algorithm", Cause::FormatAlgorithm, "AWS Nitro Enclaves, attestation process, section 3.1"),
        message.algorithm == Some(ES384),
        "-35 (ES384) in the protected header",
        message.algorithm.map_or_else(|| "none".to_owned(), |algorithm| algorithm.to_string()),
    )?;
    checks.need_that(
        ("nitro.unprotected", Cause::FormatMalformed, "AWS Nitro Enclaves, attestation process, section 3.1"),
        message.is_unprotected_empty,
        "an empty unprotected header",
        "parameters that nobody signed",
    )?;
    Ok(message)
}

fn read_document<'a>(message: Sign1<'a>, findings: &mut Findings) -> Result<Document<'a>, Stop> {
    let document = Document::read(message.payload).map_err(|refusal| {
        findings.checks.stop(("nitro.document", refusal.cause, PROCESS), refusal.expected, refusal.found)
    })?;
    findings.raw = raw(&document).into();
    findings.claims = Some(claims(&document));
    Ok(document)
}

fn binding(expected: Expected<'_>, document: &Document<'_>, findings: &mut Findings) {
    let (field, found, bytes, cause) = match expected {
        Expected::None => return,
        Expected::Nonce(bytes) => ("nitro.nonce", document.nonce, bytes, Cause::BindingNonce),
        Expected::ReportData(bytes) => ("nitro.user_data", document.user_data, bytes, Cause::BindingReportData),
        Expected::Binding { report_data, .. } => {
            ("nitro.user_data", document.user_data, report_data.as_slice(), Cause::BindingReportData)
        }
    };
    findings.checks.fatal(
        (field, cause, "AWS Nitro Enclaves, attestation process, section 2 (nonce, user_data)"),
        found == Some(bytes),
        shown(bytes),
        found.map_or_else(|| "no such field".to_owned(), shown),
    );
}

fn shown(bytes: &[u8]) -> String {
    if bytes.is_empty() { "no bytes at all".to_owned() } else { hex_text(bytes) }
}

fn claims(document: &Document<'_>) -> Claims {
    let registers = document.pcrs.iter().map(|(index, value)| (format!("pcr{index}"), (*value).into()));
    let binding = [document.user_data, document.nonce].into_iter().flatten().find(|bytes| !bytes.is_empty());
    Claims {
        tee: Tee::Nitro,
        product: None,
        platform_id: Some(document.instance().as_bytes().into()),
        tcb: TcbClaims::new(TcbStatus::VendorManaged),
        debug: Some(document.is_debug()),
        migratable: None,
        privilege: None,
        launch: LaunchClaims {
            measurement: document.pcrs.get(&0).map(|value| (*value).into()),
            // The hypervisor verifies the image's signature at launch; of an unsigned image PCR 8 stays zero.
            signer: document.measured(8).map(Into::into),
            product_id: None,
            svn: None,
        },
        registers: registers.collect(),
        // The role that the parent instance was given.
        config: document.measured(3).map(Into::into),
        binding: binding.map(Into::into),
        boot: None,
        td: None,
        proved: BTreeSet::from([Proved::Launch]),
    }
}

fn raw(document: &Document<'_>) -> serde_json::Value {
    let pcrs = document.pcrs.iter().map(|(index, value)| (index.to_string(), json!(hex_text(value))));
    json!({
        "module_id": document.module_id,
        "timestamp_ms": document.timestamp,
        "digest": "SHA384",
        "pcrs": pcrs.collect::<serde_json::Map<_, _>>(),
        "nonce": document.nonce.map(hex_text),
        "user_data": document.user_data.map(hex_text),
        "public_key": document.public_key.map(hex_text),
        "cabundle_certificates": document.cabundle.len(),
    })
}
