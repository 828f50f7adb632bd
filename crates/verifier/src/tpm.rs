//! TPM 2.0: quotes over PCRs, signed by an attestation key (AK) whose TPM an endorsement key (EK) names.
//!
//! Structures and rules: TCG *TPM 2.0 Library*, parts 1 and 2; certificates: TCG *EK Credential Profile*.
//!
//! Items of a part: `quote.msg` (TPMS_ATTEST), `quote.sig` (TPMT_SIGNATURE), `pcrs.json` (or `pcrs.yaml`, what `tpm2_pcrread`
//! prints), `ak.pub` and `ek.pub` (TPMT_PUBLIC, or TPM2B_PUBLIC, which is the same behind its length). Several quotes of one AK stand beside each other under a suffix (`quote-sha256.msg`,
//! `quote-sha256.sig`, `pcrs-sha256.json`). Beside them the logs that explain the registers: `eventlog.bin`
//! ([`crate::eventlog`]), `ima.bin` and `ima.offset` ([`crate::ima`]). Certificates of EK and AK and of their issuers are found among the other
//! items and endorsements by the key they certify, never by name.
//!
//! What a quote says of whose TPM it is: a certificate chain proves a genuine TPM, the registration's list of EK digests
//! ([`ek_digest`]) which one; and that the AK stands in that very TPM is proven by an AK certificate or by credential
//! activation ([`make_credential`]). Offline nobody can ask the TPM. There an unproven AK is told and not fatal, unless the
//! profile demands the proof; certificates of EKs are public, so that such a quote may be of anybody's key:
//! [`crate::Verification::unproven`] says so, and the claims name neither TPM nor maker.
//!
//! A TPM whose evidence was accepted is remembered in [`crate::Roots`]: verification then costs the signature of the quote.

mod bridge;
mod chain;
mod credential;
mod known;
mod pcr;
mod signature;
mod structures;
mod told;
mod trust;
mod vtpm;

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use burgrave_types::claims::Proved;
use burgrave_types::{EvidencePart, Registers};

use crate::check::{Checks, Stop};
use crate::eventlog::{Layout, Quoted};
use crate::text::hex_text;
use crate::verification::Findings;
use crate::{Cause, Input, Profile, Text, eventlog, ima, policy};
pub use credential::{Credential, CredentialError, make_credential};
pub(crate) use known::KnownTpms;
use known::{CertifiedKeys, Keys, KnownTpm};
use pcr::{Covered, Values, selects, unproven};
use signature::{Signature, VerifyingKey};
pub(crate) use structures::looks_like_quote;
pub use structures::{Attributes, Curve, Hash, Key, Public, Quote, Selection};
use structures::{NoQuote, public_area};
use told::{Told, describe, describe_alone};
use trust::trust;
pub(crate) use vtpm::VtpmQuote;

/// The items of the attestation key's and the endorsement key's public areas.
const AK: &str = "ak.pub";
const EK: &str = "ek.pub";
/// The boot event log's item.
const BOOT_LOG: &str = "eventlog.bin";
const ATTEST: &str = "TPM 2.0 part 2, section 10.12.12 (TPMS_ATTEST)";
const PUBLIC: &str = "TPM 2.0 part 2, section 12.2.4 (TPMT_PUBLIC)";
const SIGNATURE: &str = "TPM 2.0 part 2, section 11.3.4 (TPMT_SIGNATURE)";
const OBJECT: &str = "TPM 2.0 part 2, section 8.3 (TPMA_OBJECT)";

/// What is known about the bond between a quote's AK and the EK beside it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum AkProof {
    /// Nobody could ask the TPM. An AK without a certificate is then told (`ak.unbound`) and not fatal, unless the profile
    /// demands the proof or the platform must be one of a list, which an unproven key cannot be shown to be of.
    #[default]
    Offline,
    /// A node asks for the proof next, with a credential, and admits nobody before it has it: `ak.unbound` is told and not
    /// fatal, so that all else is known before the TPM is asked. The claims name the TPM that will be.
    Pending,
    /// There is no proof and none will be asked for: `ak.unbound` is fatal.
    None,
    /// The TPM with this EK opened a credential that was made for the AK of this name.
    Activated {
        /// [`Public::name`] of the AK.
        ak_name: Vec<u8>,
        /// [`ek_digest`] of the EK.
        ek_digest: [u8; 32],
    },
}

/// The digest by which a registration lists a TPM: SHA-256 over the EK's `TPMT_PUBLIC` exactly as `ek.pub` holds it (type,
/// name algorithm, attributes, policy, parameters and unique; the two length bytes of a TPM2B_PUBLIC are left out).
///
/// An EK certificate covers the key alone, so a TPM that is believed by its certificate could show its key under other
/// attributes, and so under another digest. Only a list of digests ([`crate::Endorsements::platforms`]) tells TPMs apart for good.
pub fn ek_digest(ek_public: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, public_area(ek_public)).as_ref());
    out
}

/// How often the TPM was reset and restarted, as the part's quotes say: a change means that the machine booted anew and that
/// the AK must be proven again. `None` where no quote can be read or two disagree. Unverified, like [`crate::inspect`].
pub fn boot_counts(part: &EvidencePart) -> Option<(u32, u32)> {
    let mut counts = quote_items(part).map(|suffix| {
        let quote = Quote::read(part.item(&format!("quote{suffix}.msg"))?).ok()?;
        Some((quote.reset_count, quote.restart_count))
    });
    let first = counts.next()??;
    counts.all(|other| other == Some(first)).then_some(first)
}

/// Whether an item's name is that of a quote.
pub(crate) fn is_quote_item(name: &str) -> bool {
    suffix(name).is_some()
}

/// A quote with its signature and values, read and not yet believed.
struct Signed<'a> {
    message: &'a [u8],
    quote: Arc<Quote>,
    signature: Signature<'a>,
    values: Arc<Values>,
    /// Whether it is known what the quote covers of the values.
    is_known: bool,
}

impl Signed<'_> {
    /// What the quote covers of the values, where that is known.
    fn covered(&self) -> Option<&Covered> {
        self.values.known().filter(|_| self.is_known)
    }

    /// Whether the quote covers the values beside it, of which there is at least one.
    fn is_of_its_values(&self) -> bool {
        self.values.values.covered_by(&self.quote, &BTreeSet::new()).is_ok()
            && self.quote.pcr_digest == self.values.values.digest(&self.quote, self.signature.hash)
    }

    /// The quoted values as registers.
    fn registers(&self) -> Registers {
        match self.covered() {
            Some(covered) => covered.registers.clone(),
            None => self.values.values.registers(&self.quote),
        }
    }

    /// The quoted values, as event logs number registers.
    fn for_logs(&self) -> Vec<Quoted> {
        self.values.values.for_logs(&self.quote)
    }
}

/// Decodes without judging: of a quote without the key that signed it, what it says by itself.
pub(crate) fn inspect(part: &EvidencePart, findings: &mut Findings) -> Result<(), Stop> {
    if let (None, Some(message)) = (part.item(AK), part.item("quote.msg")) {
        describe_alone(read_quote(message, &mut findings.checks)?, findings);
        return Ok(());
    }
    let keys = read_keys(part, None, findings)?;
    let quotes = read_quotes(part, &[], findings)?;
    describe(&keys, &quotes, findings);
    // Nobody vouches for these values; but what a quote does not even cover is not shown.
    let covering: Vec<_> = quotes.iter().filter(|signed| signed.is_of_its_values()).collect();
    if let Some(claims) = &mut findings.claims {
        claims.platform_id = keys.ek_digest.map(|digest| digest.as_slice().into());
        claims.registers = covering.iter().flat_map(|signed| signed.registers()).collect();
        claims.proved.extend((!claims.registers.is_empty()).then_some(Proved::Boot));
    }
    let quoted: Vec<_> = covering.iter().flat_map(|signed| signed.for_logs()).collect();
    judge_boot_log(part, &quoted, &Profile::default(), findings);
    Ok(())
}

/// Verifies all quotes of a part.
pub(crate) fn verify(input: &Input<'_>, findings: &mut Findings) -> Result<(), Stop> {
    let known = input.part.item(AK).and_then(|ak| input.roots.known_tpms().find(ak));
    let known = known.as_deref();
    let keys = read_keys(input.part, known, findings)?;
    let quotes = read_quotes(input.part, known.map_or(&[], |known| &known.values), findings)?;
    describe(&keys, &quotes, findings);
    if let Some(claims) = &findings.claims {
        policy::judge(input.profile, claims, &mut findings.checks);
    }

    findings.checks.need(
        ("tpm.ak.attributes", Cause::AkAttributes, OBJECT),
        keys.ak.attributes.are_of_attestation_key(),
        "fixedTPM, fixedParent, sensitiveDataOrigin, restricted and sign, not decrypt",
        &keys.attributes[0],
    )?;
    let mut covered = true;
    for signed in &quotes {
        covered &= check_quote(input, &keys.ak.key, signed, findings)?;
    }
    check_banks(input, quotes.iter(), findings);
    let same_boot = quotes.windows(2).all(|pair| match pair {
        [one, other] => {
            (one.quote.reset_count, one.quote.restart_count) == (other.quote.reset_count, other.quote.restart_count)
        }
        _ => true,
    });
    findings.checks.need_that(
        ("tpm.quotes.boot", Cause::QuoteStructure, "TPM 2.0 part 2, section 10.11.1 (TPMS_CLOCK_INFO)"),
        same_boot,
        "the same reset and restart count in every quote",
        "quotes of different boots",
    )?;
    let certified = trust(input, &keys, known, findings)?;
    for signed in &quotes {
        check_signature(signed, &keys.verifying, findings)?;
    }
    // Only now are the values more than their bringer's word.
    if covered && let Some(claims) = &mut findings.claims {
        claims.registers = match quotes.as_slice() {
            [signed] => signed.registers(),
            several => several.iter().flat_map(Signed::registers).collect(),
        };
        claims.proved.extend((!claims.registers.is_empty()).then_some(Proved::Boot));
        if let (Some(certified), None) = (certified, findings.checks.first_cause()) {
            remember(input, known, keys, certified, &quotes);
        }
        if input.part.item(BOOT_LOG).is_some() || input.part.item(ima::ITEM).is_some() {
            let quoted: Vec<_> = quotes.iter().flat_map(Signed::for_logs).collect();
            let boot = quotes.first().map_or(0, |signed| signed.quote.reset_count);
            judge_logs(input, &quoted, boot, findings);
        }
    }
    Ok(())
}

/// Remembers a TPM with all that was verified of it, unless that is known.
fn remember(
    input: &Input<'_>,
    known: Option<&KnownTpm>,
    keys: Arc<Keys>,
    certified: Arc<CertifiedKeys>,
    quotes: &[Signed<'_>],
) {
    let is_known = known.is_some_and(|known| {
        Arc::ptr_eq(&known.keys, &keys)
            && Arc::ptr_eq(&known.certified, &certified)
            && known.values.len() == quotes.len()
            && quotes.iter().all(|signed| signed.is_known)
    });
    if is_known {
        return;
    }
    let values = quotes.iter().map(|signed| {
        if signed.is_known {
            return Arc::clone(&signed.values);
        }
        Arc::new(signed.values.with_covered(&signed.quote, signed.signature.hash))
    });
    input.roots.known_tpms().remember(KnownTpm { keys, certified, values: values.collect() });
}

fn check_signature(signed: &Signed<'_>, key: &VerifyingKey, findings: &mut Findings) -> Result<(), Stop> {
    findings.checks.need_that(
        ("tpm.quote.signature", Cause::SignatureInvalid, SIGNATURE),
        signed.signature.verifies(key, signed.message),
        signed.signature.demand(),
        "a signature that does not verify",
    )
}

/// Holds the logs beside quotes, which were verified, against their values.
fn judge_logs(input: &Input<'_>, quoted: &[Quoted], reset_count: u32, findings: &mut Findings) {
    judge_boot_log(input.part, quoted, input.profile, findings);
    ima::judge(input, quoted, reset_count, findings);
}

fn judge_boot_log(part: &EvidencePart, quoted: &[Quoted], profile: &Profile, findings: &mut Findings) {
    if let Some(log) = part.item(BOOT_LOG) {
        eventlog::judge(Layout::Tpm, (BOOT_LOG, log), quoted, profile, findings);
    }
}

/// Whether demanded PCRs, which each quote has in every bank of its, are quoted in a bank that proves something.
fn check_banks<'a>(input: &Input<'_>, mut quotes: impl Iterator<Item = &'a Signed<'a>>, findings: &mut Findings) {
    if input.profile.tpm.pcrs.is_empty() {
        return;
    }
    let proves = quotes.any(|signed| signed.quote.selections.iter().any(|one| one.bank != Hash::Sha1));
    findings.checks.fatal(
        ("tpm.pcr.bank", Cause::PcrSelection, "profile, tpm.pcrs"),
        proves,
        "the demanded PCRs in a bank of SHA-256 or longer",
        if proves { "such a bank" } else { "SHA-1 alone, which proves nothing" },
    );
}

/// Checks one quote but for its signature; says whether it covers the values beside it.
fn check_quote(input: &Input<'_>, key: &Key, signed: &Signed<'_>, findings: &mut Findings) -> Result<bool, Stop> {
    let checks = &mut findings.checks;
    checks.need(
        ("tpm.quote.algorithm", Cause::FormatAlgorithm, SIGNATURE),
        signed.signature.algorithm(key).is_some(),
        "RSASSA or RSAPSS of an RSA key, ECDSA of a P-256 or P-384 key, each with SHA-256, SHA-384 or SHA-512",
        signed.signature.algorithm_name(),
    )?;
    if let Some((bytes, cause)) = input.expected.qualifying_data() {
        let (expected, passed) = (hex_text(bytes), signed.quote.extra_data == bytes);
        let found = if passed { expected.clone() } else { hex_text(&signed.quote.extra_data) };
        let rule = ("tpm.quote.extra_data", cause, "TPM 2.0 part 2, section 10.12.12 (extraData)");
        checks.fatal(rule, passed, expected, found);
    }
    let (values, hash) = (&signed.values.values, signed.signature.hash);
    let known = signed.covered();
    let coverage = match known {
        Some(_) => selects(&signed.quote, &input.profile.tpm.pcrs),
        None => values.covered_by(&signed.quote, &input.profile.tpm.pcrs),
    };
    let covered = checks.fatal(
        ("tpm.pcr.selection", Cause::PcrSelection, "TPM 2.0 part 2, section 10.9.7 (TPML_PCR_SELECTION)"),
        coverage.is_ok(),
        "a quote over PCRs whose values are shown, every demanded one among them",
        coverage.err().map_or_else(|| "such a quote".into(), Text::from),
    );
    let unproven = match known {
        Some(known) => known.unproven.clone(),
        None => unproven(&values.not_covered_by(&signed.quote)),
    };
    checks.record(
        ("tpm.pcr.unproven", Cause::PcrSelection, "TPM 2.0 part 2, section 10.9.7 (TPML_PCR_SELECTION)"),
        unproven == "none",
        false,
        "no values beside those that are quoted; others are nobody's word and make no claim",
        unproven,
    );
    if covered {
        let rule = ("tpm.pcr.digest", Cause::PcrDigest, "TPM 2.0 part 2, section 10.12.4 (TPMS_QUOTE_INFO)");
        let quoted = &signed.quote.pcr_digest;
        match known.filter(|known| known.digest == *quoted) {
            Some(known) => {
                let [of_quote, of_values] = &known.shown;
                checks.need(rule, true, of_quote, of_values)?;
            }
            None => {
                let found = values.digest(&signed.quote, hash);
                let shown = (format!("{} (quote)", hex_text(quoted)), format!("{} (values)", hex_text(&found)));
                checks.need(rule, *quoted == found, shown.0, shown.1)?;
            }
        }
    }
    Ok(covered)
}

fn read_keys(part: &EvidencePart, known: Option<&KnownTpm>, findings: &mut Findings) -> Result<Arc<Keys>, Stop> {
    let (ak, ek) = (part.item(AK), part.item(EK));
    if let Some(known) = known.filter(|known| ak.is_some_and(|ak| known.keys.are(ak, ek))) {
        return Ok(Arc::clone(&known.keys));
    }
    let Some(ak) = ak.and_then(Public::read) else {
        let found = if part.item(AK).is_some() { "something else" } else { "no such item" };
        let rule = ("tpm.ak.public", Cause::FormatMalformed, PUBLIC);
        return Err(findings.checks.stop(rule, "a TPMT_PUBLIC of an RSA, P-256 or P-384 key in `ak.pub`", found));
    };
    let ek = match ek {
        None => None,
        Some(bytes) => {
            let ek = Public::read(bytes);
            let rule = ("tpm.ek.public", Cause::FormatMalformed, PUBLIC);
            let expected = "a TPMT_PUBLIC of an RSA, P-256 or P-384 key in `ek.pub`";
            Some(ek.ok_or_else(|| findings.checks.stop(rule, expected, "something else"))?)
        }
    };
    Ok(Arc::new(Keys::new(ak, ek)))
}

fn read_quotes<'a>(
    part: &'a EvidencePart,
    known: &[Arc<Values>],
    findings: &mut Findings,
) -> Result<Vec<Signed<'a>>, Stop> {
    let checks = &mut findings.checks;
    let mut quotes = Vec::new();
    for suffix in quote_items(part) {
        let item = |kind: &'static str, name: &'static str, ending: &str| match suffix {
            "" => part.item(name),
            _ => part.item(&format!("{kind}{suffix}{ending}")),
        };
        let item = |kind, name, ending| item(kind, name, ending).unwrap_or_default();
        let message = item("quote", "quote.msg", ".msg");
        let quote = Arc::new(read_quote(message, checks)?);
        let signature = Signature::read(item("quote", "quote.sig", ".sig")).ok_or_else(|| {
            let rule = ("tpm.quote.signature_format", Cause::FormatMalformed, SIGNATURE);
            checks.stop(rule, "a TPMT_SIGNATURE: RSASSA, RSAPSS or ECDSA", "something else, or no such item")
        })?;
        let bank = suffix.strip_prefix('-').and_then(Hash::from_name);
        let [json, yaml] = [item("pcrs", "pcrs.json", ".json"), item("pcrs", "pcrs.yaml", ".yaml")];
        let json = if json.is_empty() { yaml } else { json };
        let values = match known.iter().find(|known| known.are(json, bank)) {
            Some(known) => Arc::clone(known),
            None => Arc::new(Values::read(json, bank).ok_or_else(|| {
                let rule = ("tpm.pcr.values", Cause::FormatMalformed, "evidence format, pcrs.json");
                let expected = "PCR values by bank and index in hexadecimal, as JSON or as `tpm2_pcrread` prints them";
                checks.stop(rule, expected, "something else, or no such item")
            })?),
        };
        let is_known = values.covered(&quote, signature.hash).is_some();
        quotes.push(Signed { message, quote, signature, values, is_known });
    }
    if quotes.is_empty() {
        let rule = ("tpm.quote.present", Cause::FormatMalformed, ATTEST);
        return Err(checks.stop(rule, "the items `quote.msg`, `quote.sig` and `pcrs.json`", "no `quote.msg`"));
    }
    Ok(quotes)
}

fn read_quote(message: &[u8], checks: &mut Checks) -> Result<Quote, Stop> {
    Quote::read(message).map_err(|error| {
        let cause = match error {
            NoQuote::Malformed => Cause::FormatMalformed,
            NoQuote::Magic(_) | NoQuote::Type(_) => Cause::QuoteStructure,
        };
        let rule = ("tpm.quote.structure", cause, ATTEST);
        checks.stop(rule, "magic 0xff544347, type 0x8018 (quote), and its fields to the end", error.to_string())
    })
}

/// The suffixes of the part's quotes: empty for `quote.msg`, `-sha256` for `quote-sha256.msg`.
fn quote_items(part: &EvidencePart) -> impl Iterator<Item = &str> {
    part.items.keys().filter_map(|name| suffix(name))
}

fn suffix(name: &str) -> Option<&str> {
    let suffix = name.strip_prefix("quote")?.strip_suffix(".msg")?;
    (suffix.is_empty() || suffix.starts_with('-')).then_some(suffix)
}
