//! Intel TDX and SGX by DCAP: quotes that a quoting enclave signed, whose key a PCK certificate vouches for.
//!
//! Quotes: *Intel SGX ECDSA Quote Library API* and *Intel TDX DCAP Quoting Library API*, appendix A; certificates: *Intel SGX
//! PCK Certificate and CRL Profile*; collateral and the evaluation of TCB levels: *Intel PCS API*, version 4.
//!
//! Items of a part: `quote.bin`, for TDX `ccel.bin` ([`crate::eventlog`]), and `collateral.json` unless a cache or endorsements hold the platform's,
//! whole or in pieces ([`CollateralPiece`]). Collateral is mandatory: without TCB info, QE identity and both revocation lists, all current, nothing is authentic.
//!
//! Verification costs one P-256 verification, the quote by the attestation key, where
//! [`Endorsements::dcap`](crate::Endorsements::dcap) holds a [`Cache`] that knows the platform, its collateral and the quoting
//! enclave; and a second one, the quoting enclave's report by the PCK, where that has made a new key since.
//!
//! The encoding around the signed parts is not covered by any signature (PEM, the root that stands in it, bytes behind the
//! quote), so two quotes that differ may be one: never take a quote's digest for its identity.

mod assemble;
mod attributes;
mod cache;
mod chain;
mod claims;
mod collateral;
mod pck;
mod piece;
mod quote;
mod tcb;

use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use burgrave_types::{EvidencePart, Tee};

pub use cache::{Cache, RolledBack};
pub use collateral::{Collateral, CollateralError, CollateralId, CollateralNumbers, VerifiedCollateral};
pub use pck::PckCa;
pub(crate) use piece::in_percent_encoding;
pub use piece::{About, CollateralPiece, NineMembers, Statement};

use crate::check::{Checks, Stop};
use crate::eventlog::{Layout, Quoted};
use crate::text::hex_text;
use crate::tpm::Hash;
use crate::verification::Findings;
use crate::{Cause, Input, Profile, eventlog, policy};
use assemble::Pieces;
use cache::{QuotingEnclave, VerifiedPck};
use pck::Pck;
use quote::{Body, Kind, NotTaken, Quote};
use tcb::{Standing, Status, Unknown};

const FORMAT: &str = "Intel DCAP quote format, appendix A";
const LEVELS: &str = "Intel PCS API v4, TCB levels";
const QUOTE: &str = "quote.bin";
/// The item of a trust domain's event log.
const BOOT_LOG: &str = "ccel.bin";
pub(crate) const COLLATERAL: &str = "collateral.json";

/// Which TEE bytes are a quote of, by header alone.
pub(crate) fn looks_like_quote(bytes: &[u8]) -> Option<Tee> {
    quote::looks_like_quote(bytes).map(tee_of)
}

/// The body of a fuzz target: reads bytes as each of the formats that are decoded here (a quote, a chain of PCK certificates,
/// a PCK extension, collateral or pieces of it). Returns of how many of them they are one.
pub fn fuzz_decode(bytes: &[u8]) -> usize {
    let quote = Quote::read(bytes).is_ok();
    let chain = Pck::read(bytes, &mut Checks::default()).is_ok();
    let extension = pck::read_extension(bytes).is_some();
    let (whole, pieces) = (Collateral::parse(bytes).is_ok(), CollateralPiece::read(bytes));
    assert!(!whole || pieces.is_some(), "whatever is a whole is read as its pieces: floors are held against these");
    let collateral = whole || pieces.is_some();
    [quote, chain, extension, collateral].into_iter().filter(|read| *read).count()
}

/// Decodes without judging. The TCB's status is not known then, and said to be out of date.
pub(crate) fn inspect(part: &EvidencePart, findings: &mut Findings) -> Result<(), Stop> {
    let quote = read_quote(part, &mut findings.checks)?;
    let pck = Pck::read(quote.pck_chain, &mut Checks::default()).ok();
    let collateral = part.item(COLLATERAL).and_then(|json| Collateral::parse(json).ok());
    let platform = pck.as_ref().map(|pck| &pck.platform);
    findings.raw = claims::raw(&quote, pck.as_ref(), collateral.as_ref(), None);
    findings.claims = Some(claims::claims(&quote, platform, &Standing::unknown()));
    judge_boot_log(part, &quote, &Profile::default(), findings);
    Ok(())
}

/// The report data of a part, unverified.
pub(crate) fn report_data(part: &EvidencePart, checks: &mut Checks) -> Result<[u8; 64], Stop> {
    read_quote(part, checks).map(|quote| *quote.body.report_data())
}

/// Verifies a quote.
pub(crate) fn verify(input: &Input<'_>, findings: &mut Findings) -> Result<(), Stop> {
    let quote = read_quote(input.part, &mut findings.checks)?;
    let outcome = judge(input, &quote, findings);
    if findings.claims.is_none() {
        let pck = Pck::read(quote.pck_chain, &mut Checks::default()).ok();
        findings.raw = claims::raw(&quote, pck.as_ref(), None, None);
        findings.claims = Some(claims::claims(&quote, pck.as_ref().map(|pck| &pck.platform), &Standing::unknown()));
    }
    outcome
}

fn judge(input: &Input<'_>, quote: &Quote<'_>, findings: &mut Findings) -> Result<(), Stop> {
    let (pck, collateral) = vouchers(input, quote, &mut findings.checks)?;
    let windows = collateral.windows.iter().chain(&pck.windows);
    chain::hold_at(windows, input.at, findings)?;

    let standing = tcb_standing(quote, &pck.pck, collateral.get(), &mut findings.checks)?;
    let claims = claims::claims(quote, Some(&pck.pck.platform), &standing);
    findings.raw = claims::raw(quote, Some(&pck.pck), Some(collateral.get()), Some(&standing));
    let checks = &mut findings.checks;
    let (floor, number) = (input.profile.dcap.min_tcb_evaluation_number, collateral.get().evaluation_number());
    checks.fatal(
        ("dcap.tcb.evaluation", Cause::TcbStatus, "profile, dcap.min_tcb_evaluation_number"),
        number >= floor,
        format_args!("tcbEvaluationDataNumber at least {floor}"),
        number,
    );
    // The claims name one status alone, the graver one.
    if let Some([one, other]) = standing.status.both() {
        let taken = &input.profile.tcb_status;
        checks.fatal(
            ("dcap.tcb.both", Cause::TcbStatus, "profile, tcb_status"),
            taken.contains(&one) && taken.contains(&other),
            format_args!("a profile that takes both {one} and {other}"),
            "one that does not",
        );
    }
    match &quote.body {
        Body::Enclave(report) => attributes::judge_enclave(report, checks),
        Body::Td(report) => attributes::judge_td(report, &input.profile.tdx, checks),
    }
    policy::judge(input.profile, &claims, checks);
    findings.claims = Some(claims);
    checks.need(
        ("dcap.tcb.revoked", Cause::TcbStatus, LEVELS),
        !matches!(standing.status, Status::Revoked | Status::Unknown),
        "a level that Intel has not revoked",
        standing.status.as_str(),
    )?;
    binding(input.expected, quote, checks);
    signatures(quote, &pck, checks)?;
    // Nothing covers these bytes and nothing reads them: they are told, and change no verdict. Genuine quotes have some.
    let padded = quote.trailing.iter().all(|byte| *byte == 0);
    let expected = "nothing but zeros behind the signature data";
    let found = format_args!("{} bytes{}", quote.trailing.len(), if padded { "" } else { ", not all zero" });
    checks.record(("dcap.quote.padding", Cause::FormatLength, FORMAT), padded, false, expected, found);
    judge_boot_log(input.part, quote, input.profile, findings);
    eventlog::judge_run_time(input.profile, findings);
    Ok(())
}

fn judge_boot_log(part: &EvidencePart, quote: &Quote<'_>, profile: &Profile, findings: &mut Findings) {
    if let (Body::Td(report), Some(log)) = (&quote.body, part.item(BOOT_LOG)) {
        let registers = (1..).zip(&report.rtmrs);
        let quoted: Vec<_> = registers
            .map(|(index, value)| Quoted { bank: Hash::Sha384, index, value: value.as_slice().into() })
            .collect();
        eventlog::judge(Layout::Td, (BOOT_LOG, log), &quoted, profile, findings);
    }
}

fn read_quote<'a>(part: &'a EvidencePart, checks: &mut Checks) -> Result<Quote<'a>, Stop> {
    let Some(bytes) = part.item(QUOTE) else {
        let rule = ("dcap.quote.present", Cause::FormatMalformed, FORMAT);
        return Err(checks.stop(rule, "the item `quote.bin`", "no such item"));
    };
    let quote = Quote::read(bytes).map_err(|not_taken| match not_taken {
        NotTaken::Long(length) => {
            let rule = ("dcap.quote.length", Cause::FormatLength, FORMAT);
            checks.stop(rule, format_args!("at most {} bytes", quote::MOST), format_args!("{length} bytes"))
        }
        NotTaken::Field(name) => {
            let rule = ("dcap.quote.fields", Cause::FormatLength, FORMAT);
            checks.stop(rule, format_args!("the whole of {name}, of the length that is stated"), "more or fewer bytes")
        }
        NotTaken::Version(version) => {
            checks.stop(("dcap.quote.version", Cause::FormatVersion, FORMAT), "3, 4 or 5", version)
        }
        NotTaken::Algorithm(name, expected, found) => {
            let rule = ("dcap.quote.algorithm", Cause::FormatAlgorithm, FORMAT);
            checks.stop(rule, format_args!("{name} {expected}"), found)
        }
    })?;
    let tee = tee_of(quote.body.kind());
    checks.need(("dcap.quote.tee", Cause::FormatAlgorithm, FORMAT), tee == part.tee, part.tee, tee)?;
    Ok(quote)
}

fn tee_of(kind: Kind) -> Tee {
    match kind {
        Kind::Enclave => Tee::Sgx,
        Kind::Td => Tee::Tdx,
    }
}

/// The platform's certificate and Intel's word on it, both verified, from the cache where it knows them.
fn vouchers(
    input: &Input<'_>,
    quote: &Quote<'_>,
    checks: &mut Checks,
) -> Result<(Arc<VerifiedPck>, Arc<VerifiedCollateral>), Stop> {
    let (tee, cache) = (input.part.tee, input.endorsements.dcap.as_deref());
    if let Some(known) = cache.and_then(|cache| cache.platform(quote.pck_chain)) {
        let collateral = find_collateral(input, &known.pck, checks)?;
        if known.counts(&collateral, input.roots) {
            checks.append(&collateral.checks);
            collateral.fits(tee, &known.pck, checks)?;
            checks.append(&known.checks);
            return Ok((known, collateral));
        }
    }
    let pck = Pck::read(quote.pck_chain, checks)?;
    let collateral = find_collateral(input, &pck, checks)?;
    checks.append(&collateral.checks);
    collateral.fits(tee, &pck, checks)?;
    let mut own = Checks::default();
    let verified = pck.verify(input.roots, &collateral, &mut own).and_then(|verified| {
        collateral.has_not_revoked(&pck, &mut own)?;
        Ok(verified)
    });
    let own = own.into_shared();
    checks.append(&own);
    let (windows, root) = verified?;
    let pck = Arc::new(VerifiedPck {
        chain: quote.pck_chain.to_vec(),
        pck,
        checks: own,
        windows,
        root,
        crl_ids: collateral.crl_ids,
        quoting_enclave: Mutex::default(),
    });
    if let Some(cache) = cache {
        cache.keep(Arc::clone(&pck));
    }
    Ok((pck, collateral))
}

/// Collateral for a platform: what the cache holds while it is current, else what is current among the endorsements, whole or in
/// pieces, else what comes with the evidence, which hides nothing that its judge has.
fn find_collateral(input: &Input<'_>, pck: &Pck, checks: &mut Checks) -> Result<Arc<VerifiedCollateral>, Stop> {
    let id = CollateralId { tee: input.part.tee, fmspc: pck.platform.fmspc, ca: pck.ca };
    let cache = input.endorsements.dcap.as_deref();
    let held = cache.and_then(|cache| cache.get(id)).filter(|held| held.is_under(input.roots));
    if let Some(held) = &held
        && held.holds_at(input.at)
    {
        return Ok(Arc::clone(held));
    }
    let endorsed = &input.endorsements.collateral;
    let mut for_platform = endorsed.iter().filter(|collateral| collateral.id() == id).map(|one| Collateral::clone(one));
    let pieces = Pieces::new(id, pck.authority(), input.endorsements, input.roots, input.at);
    let assembled = pieces.assemble();
    let wholes = for_platform.clone().chain(assembled.clone().ok());
    let mut verified = wholes.filter_map(|collateral| collateral.verify(input.roots).ok());
    if let Some(current) = verified.find(|collateral| collateral.holds_at(input.at)) {
        return keep(current, input, checks);
    }
    let came = match input.part.item(COLLATERAL) {
        Some(json) => Some(Collateral::parse(json).map_err(|error| {
            let rule = ("dcap.collateral.format", Cause::FormatMalformed, LEVELS);
            checks.stop(rule, "the nine members of Intel's answers", error.to_string())
        })?),
        None => None,
    };
    // In pieces of which some are missing there is nothing that could be told about another platform's.
    let others = || endorsed.first().filter(|_| matches!(assembled, Err(None))).map(|one| Collateral::clone(one));
    let collateral = came.or_else(|| for_platform.next()).or_else(|| assembled.clone().ok()).or_else(others);
    let Some(collateral) = collateral else {
        // What is held and has ended says when it did.
        return held.ok_or_else(|| {
            let rule = ("dcap.collateral.present", Cause::CollateralValidity, LEVELS);
            let (fmspc, names) = (hex::encode(id.fmspc), pieces.names().join(", "));
            let expected = format_args!(
                "collateral for {}, FMSPC {fmspc}, PCK {} CA, which Intel signs in four pieces: {names}; docs/collateral.md says how to \
                 fetch them",
                id.tee, id.ca,
            );
            let none = || "none: neither with the evidence nor at hand".to_owned();
            checks.stop(rule, expected, assembled.err().flatten().unwrap_or_else(none))
        });
    };
    let collateral = collateral.verify(input.roots).map_err(|failed| {
        checks.append(&failed);
        Stop
    })?;
    keep(collateral, input, checks)
}

/// Gives collateral to the cache, where there is one.
fn keep(
    collateral: VerifiedCollateral,
    input: &Input<'_>,
    checks: &mut Checks,
) -> Result<Arc<VerifiedCollateral>, Stop> {
    let collateral = Arc::new(collateral);
    if let Some(cache) = input.endorsements.dcap.as_deref()
        && collateral.holds_at(input.at)
    {
        cache.offer(Arc::clone(&collateral)).map_err(|RolledBack| {
            let rule = (
                "dcap.collateral.floor",
                Cause::CollateralValidity,
                "Intel PCS API v4, tcbEvaluationDataNumber; RFC 5280, section 5.2.3",
            );
            checks.stop(rule, "no number below what was seen before", "older collateral")
        })?;
    }
    Ok(collateral)
}

/// The quoting enclave is Intel's, and so is the TDX module; how do they and the platform stand?
fn tcb_standing(quote: &Quote<'_>, pck: &Pck, collateral: &Collateral, checks: &mut Checks) -> Result<Standing, Stop> {
    let identity = collateral.qe_identity();
    let rule = ("dcap.qe.identity", Cause::QeIdentity, "Intel PCS API v4, enclave identity");
    if let Some((field, expected, found)) = identity.difference(&quote.qe_report) {
        return Err(checks.stop(rule, format_args!("{field} {expected}"), found));
    }
    let debug = quote.qe_report.is_debug();
    checks.need_that(rule, !debug, "Intel's quoting enclave, not in debug mode", "a debug enclave")?;
    let svn = quote.qe_report.isv_svn;
    let Some((status, advisories)) = identity.level(svn) else {
        let expected = format_args!("ISVSVN at least {}", identity.lowest());
        return Err(checks.stop(("dcap.qe.level", Cause::QeIdentity, LEVELS), expected, svn));
    };
    let info = collateral.tcb_info();
    let platform = match &quote.body {
        Body::Enclave(_) => info.of_platform(&pck.platform.svn),
        Body::Td(report) => info.of_td(&pck.platform.svn, report),
    };
    let module = ("dcap.module", Cause::ModuleIdentity, "Intel PCS API v4, TDX module identities");
    let level = ("dcap.tcb.level", Cause::TcbNoLevel, LEVELS);
    let (standing, found) = match platform {
        Err(Unknown::Module(expected, found)) => return Err(checks.stop(module, expected, found)),
        Err(Unknown::NoLevel) => (None, Standing::unknown()),
        Ok(standing) => (Some(standing.status), standing),
    };
    if let Body::Td(_) = quote.body {
        checks.need_that(module, true, "a TDX module of Intel's", "")?;
    }
    let expected = "a level whose numbers the platform reaches";
    checks.fatal(level, standing.is_some(), expected, standing.map_or("none", Status::as_str));
    Ok(found.and(status, advisories))
}

fn binding(expected: crate::Expected<'_>, quote: &Quote<'_>, checks: &mut Checks) {
    let Some((bytes, cause)) = expected.report_data() else { return };
    let carried = quote.body.report_data();
    let passed = carried
        .split_at_checked(bytes.len())
        .is_some_and(|(head, rest)| head == bytes && rest.iter().all(|byte| *byte == 0));
    checks.fatal(
        ("dcap.report_data", cause, "Intel SDM and Intel TDX Module ABI, REPORTDATA"),
        passed,
        format_args!("{}, then zeros to 64 bytes", hex_text(bytes)),
        hex_text(carried),
    );
}

/// The chain of signatures: the PCK signs the quoting enclave's report, which names the attestation key, which signs the
/// quote. What a known platform's quoting enclave showed before, byte for byte, is not verified again.
fn signatures(quote: &Quote<'_>, pck: &VerifiedPck, checks: &mut Checks) -> Result<(), Stop> {
    let known = pck.quoting_enclave(quote);
    let (is_known, expected) =
        (known.is_some(), "SHA-256 over attestation key and authentication data in the QE's report data");
    let bound = is_known || names_attestation_key(quote);
    checks.need_that(("dcap.qe.binding", Cause::QeBinding, FORMAT), bound, expected, "something else")?;
    checks.need_that(
        ("dcap.qe.signature", Cause::SignatureInvalid, FORMAT),
        is_known || pck.pck.key.verify_sig(quote.qe_report_bytes, quote.qe_report_signature).is_ok(),
        "an ECDSA P-256 signature of the PCK over the QE's report",
        "a signature that does not verify",
    )?;
    let rule = ("dcap.quote.signature", Cause::SignatureInvalid, FORMAT);
    let expected = "an ECDSA P-256 signature of the attestation key over header and body";
    let verifies = |key: &ParsedPublicKey| key.verify_sig(quote.signed, quote.signature).is_ok();
    if let Some(known) = known {
        return checks.need_that(rule, verifies(&known.key), expected, "a signature that does not verify");
    }
    let mut point = [4; 65];
    let (_, coordinates) = point.split_at_mut(1);
    coordinates.copy_from_slice(quote.attestation_key);
    let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok().filter(verifies);
    checks.need_that(rule, key.is_some(), expected, "a signature that does not verify")?;
    if let Some(key) = key {
        pck.keep(QuotingEnclave::new(quote, key));
    }
    Ok(())
}

fn names_attestation_key(quote: &Quote<'_>) -> bool {
    let mut key = Context::new(&SHA256);
    key.update(quote.attestation_key);
    key.update(quote.qe_authentication_data);
    let (named, rest) = quote.qe_report.report_data.split_at(32);
    named == key.finish().as_ref() && rest.iter().all(|byte| *byte == 0)
}
