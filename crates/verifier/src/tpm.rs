//! TPM 2.0: quotes over PCRs, signed by an attestation key (AK) whose TPM an endorsement key (EK) names.
//!
//! Structures and rules: TCG *TPM 2.0 Library*, parts 1 and 2; certificates: TCG *EK Credential Profile*.
//!
//! Items of a part: `quote.msg` (TPMS_ATTEST), `quote.sig` (TPMT_SIGNATURE), `pcrs.json`, `ak.pub` and `ek.pub` (TPMT_PUBLIC;
//! not TPM2B_PUBLIC). Several quotes of one AK stand beside each other under a suffix (`quote-sha256.msg`,
//! `quote-sha256.sig`, `pcrs-sha256.json`). Beside them the logs that explain the registers: `eventlog.bin`
//! ([`crate::eventlog`]), `ima.bin` and `ima.offset` ([`crate::ima`]). Certificates of EK and AK and of their issuers are found among the items and
//! endorsements by the key they certify, never by name.
//!
//! What a quote says of whose TPM it is: a certificate chain proves a genuine TPM, the registration's list of EK digests
//! ([`ek_digest`]) which one; and that the AK stands in that very TPM is proven by an AK certificate or by credential
//! activation ([`make_credential`]). Offline nobody can ask the TPM, so there an unproven AK is told and not fatal.

mod chain;
mod credential;
mod pcr;
mod structures;
mod vtpm;

use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA256, digest};
use burgrave_types::claims::{LaunchClaims, Proved, TcbClaims, TcbStatus};
use burgrave_types::{Claims, EvidencePart, Tee};
use serde_json::json;

use crate::check::{Checks, Stop};
use crate::eventlog::{Layout, Quoted};
use crate::verification::Findings;
use crate::x509::Certificate;
use crate::{Cause, Endorsements, Input, Profile, TpmTrust, eventlog, ima, policy};
use chain::Role;
pub use credential::{Credential, CredentialError, make_credential};
use pcr::PcrValues;
pub(crate) use structures::looks_like_quote;
pub use structures::{Attributes, Curve, Hash, Key, Public, Quote, Selection};
use structures::{NoQuote, Signature};
pub(crate) use vtpm::VtpmQuote;

/// The boot event log's item.
const BOOT_LOG: &str = "eventlog.bin";
const ATTEST: &str = "TPM 2.0 part 2, section 10.12.8 (TPMS_ATTEST)";
const PUBLIC: &str = "TPM 2.0 part 2, section 12.2.4 (TPMT_PUBLIC)";
const SIGNATURE: &str = "TPM 2.0 part 2, section 11.3.4 (TPMT_SIGNATURE)";
const OBJECT: &str = "TPM 2.0 part 2, section 8.3 (TPMA_OBJECT)";

/// What is known about the bond between a quote's AK and the EK beside it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum AkProof {
    /// Nobody could ask the TPM. An AK without a certificate is then told (`ak.unbound`) and not fatal.
    #[default]
    Offline,
    /// A node asks for the proof next, with a credential, and admits nobody before it has it: `ak.unbound` is told and not
    /// fatal, so that all else is known before the TPM is asked.
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
/// name algorithm, attributes, policy, parameters and unique, without the two length bytes of a TPM2B_PUBLIC).
///
/// An EK certificate covers the key alone, so a TPM that is believed by its certificate could show its key under other
/// attributes, and so under another digest. Only a list of digests ([`Endorsements::platforms`]) tells TPMs apart for good.
pub fn ek_digest(ek_public: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, ek_public).as_ref());
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
    quote: Quote,
    signature: Signature,
    values: PcrValues,
}

impl Signed<'_> {
    /// Whether the quote covers the values beside it, of which there is at least one.
    fn is_of_its_values(&self) -> bool {
        self.values.covered_by(&self.quote, &BTreeSet::new()).is_ok()
            && self.quote.pcr_digest == self.values.digest(&self.quote, self.signature.hash)
    }
}

/// Decodes without judging.
pub(crate) fn inspect(part: &EvidencePart, findings: &mut Findings) -> Result<(), Stop> {
    let (ak, ek) = read_keys(part, findings)?;
    let quotes = read_quotes(part, findings)?;
    describe(&ak, ek.as_ref(), part, &quotes, findings);
    // Nobody vouches for these values; but what a quote does not even cover is not shown.
    let covering: Vec<_> = quotes.iter().filter(|signed| signed.is_of_its_values()).collect();
    if let Some(claims) = &mut findings.claims {
        claims.registers = covering.iter().flat_map(|signed| signed.values.registers(&signed.quote)).collect();
    }
    let quoted: Vec<_> = covering.iter().flat_map(|signed| signed.values.for_logs(&signed.quote)).collect();
    judge_boot_log(part, &quoted, &Profile::default(), findings);
    Ok(())
}

/// Verifies all quotes of a part.
pub(crate) fn verify(input: &Input<'_>, findings: &mut Findings) -> Result<(), Stop> {
    let (ak, ek) = read_keys(input.part, findings)?;
    let quotes = read_quotes(input.part, findings)?;
    describe(&ak, ek.as_ref(), input.part, &quotes, findings);
    if let Some(claims) = &findings.claims {
        policy::judge(input.profile, claims, &mut findings.checks);
    }

    findings.checks.need(
        ("tpm.ak.attributes", Cause::AkAttributes, OBJECT),
        ak.attributes.are_of_attestation_key(),
        "fixedTPM, fixedParent, sensitiveDataOrigin, restricted and sign, not decrypt",
        format_args!("{:#010x}", ak.attributes.0),
    )?;
    let mut covered = true;
    for signed in &quotes {
        covered &= check_quote(input, &ak.key, signed, findings)?;
    }
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
    trust(input, &ak, ek.as_ref(), findings)?;
    for signed in &quotes {
        findings.checks.need_that(
            ("tpm.quote.signature", Cause::SignatureInvalid, SIGNATURE),
            signed.signature.verifies(&ak.key, signed.message),
            format_args!("a {} signature of the AK over the quote", signed.signature.scheme()),
            "a signature that does not verify",
        )?;
    }
    // Only now are the values more than their bringer's word.
    if covered && let Some(claims) = &mut findings.claims {
        claims.registers = quotes.iter().flat_map(|signed| signed.values.registers(&signed.quote)).collect();
        let quoted: Vec<_> = quotes.iter().flat_map(|signed| signed.values.for_logs(&signed.quote)).collect();
        let boot = quotes.first().map_or(0, |signed| signed.quote.reset_count);
        judge_logs(input, &quoted, boot, findings);
    }
    Ok(())
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

/// Checks one quote but for its signature; says whether it covers the values beside it.
fn check_quote(input: &Input<'_>, key: &Key, signed: &Signed<'_>, findings: &mut Findings) -> Result<bool, Stop> {
    let checks = &mut findings.checks;
    checks.need(
        ("tpm.quote.algorithm", Cause::FormatAlgorithm, SIGNATURE),
        signed.signature.algorithm(key).is_some(),
        "RSASSA, RSAPSS or ECDSA with SHA-256 or longer, as the AK's type has it",
        format_args!("{} with {}", signed.signature.scheme(), signed.signature.hash.as_str()),
    )?;
    if let Some((bytes, cause)) = input.expected.qualifying_data() {
        checks.fatal(
            ("tpm.quote.extra_data", cause, "TPM 2.0 part 2, section 10.12.8 (extraData)"),
            signed.quote.extra_data == bytes,
            hex::encode(bytes),
            hex::encode(&signed.quote.extra_data),
        );
    }
    let coverage = signed.values.covered_by(&signed.quote, &input.profile.tpm.pcrs);
    let covered = checks.fatal(
        ("tpm.pcr.selection", Cause::PcrSelection, "TPM 2.0 part 2, section 10.9.7 (TPML_PCR_SELECTION)"),
        coverage.is_ok(),
        "a quote over PCRs whose values are shown, every demanded one among them",
        coverage.as_ref().err().map_or("such a quote", String::as_str),
    );
    let unproven = signed.values.not_covered_by(&signed.quote);
    checks.record(
        ("tpm.pcr.unproven", Cause::PcrSelection, "TPM 2.0 part 2, section 10.9.7 (TPML_PCR_SELECTION)"),
        unproven.is_empty(),
        false,
        "no values beside those that are quoted; others are nobody's word and make no claim",
        if unproven.is_empty() { "none".to_owned() } else { unproven.join(", ") },
    );
    if covered {
        let found = signed.values.digest(&signed.quote, signed.signature.hash);
        checks.need(
            ("tpm.pcr.digest", Cause::PcrDigest, "TPM 2.0 part 2, section 10.12.1 (TPMS_QUOTE_INFO)"),
            signed.quote.pcr_digest == found,
            format_args!("{} (quote)", hex::encode(&signed.quote.pcr_digest)),
            format_args!("{} (values)", hex::encode(&found)),
        )?;
    }
    Ok(covered)
}

/// Whether AK and EK are ones to believe, and whether they stand in one TPM.
fn trust(input: &Input<'_>, ak: &Public, ek: Option<&Public>, findings: &mut Findings) -> Result<(), Stop> {
    let known = Endorsements::beside(input.part).and(input.endorsements);
    let ek_bytes = input.part.item("ek.pub").unwrap_or_default();
    let listed = ek.is_some()
        && input.profile.tpm.trust == TpmTrust::Listed
        && input.endorsements.platforms.iter().any(|platform| *platform == ek_digest(ek_bytes));

    let ak_certified = chain::verify_key(Role::Attestation, ak, &known, input, true, findings)?.is_some();
    if let Some(ek) = ek {
        findings.checks.need(
            ("tpm.ek.attributes", Cause::AkAttributes, OBJECT),
            ek.attributes.are_of_endorsement_key(),
            "fixedTPM, fixedParent, sensitiveDataOrigin, restricted and decrypt, not sign",
            format_args!("{:#010x}", ek.attributes.0),
        )?;
    }
    let ek_certificate = match ek {
        Some(ek) => chain::verify_key(Role::Endorsement, ek, &known, input, !listed, findings)?,
        None => None,
    };
    let ek_certified = ek_certificate.is_some();
    if let Some(claims) = &mut findings.claims {
        claims.product = ek_certificate.and_then(Certificate::tpm_manufacturer);
    }
    findings.checks.need(
        ("tpm.trust", Cause::ChainUntrusted, "TCG EK Credential Profile, section 3"),
        ak_certified || ek_certified || listed,
        "a certificate of the EK or AK that chains to a root, or an EK that the registration lists",
        match (ek_certified, ak_certified, listed) {
            (true, ..) => "a certificate of the EK",
            (_, true, _) => "a certificate of the AK",
            (_, _, true) => "a listed EK",
            _ => "none",
        },
    )?;
    let activated = match (&input.endorsements.ak_proof, ek) {
        (AkProof::Activated { ak_name, ek_digest: digest }, Some(_)) => {
            *ak_name == ak.name() && *digest == ek_digest(ek_bytes)
        }
        _ => false,
    };
    let found = match &input.endorsements.ak_proof {
        _ if activated => "such a credential",
        _ if ak_certified && ek.is_none() => "an AK certificate",
        AkProof::Activated { .. } => "a credential for another AK or EK",
        AkProof::Offline => "no proof; offline nobody can ask the TPM",
        AkProof::Pending => "no proof yet; the TPM is asked next",
        AkProof::None => "no proof",
    };
    // An AK certificate vouches for the AK alone: where an EK is shown, only its own TPM can say that both are its.
    findings.checks.record(
        ("tpm.ak.bound", Cause::AkUnbound, "TPM 2.0 part 1, section 24 (credential protection)"),
        activated || (ak_certified && ek.is_none()),
        !matches!(input.endorsements.ak_proof, AkProof::Offline | AkProof::Pending),
        "a credential that the EK's TPM opened for this AK; without an EK, an AK certificate",
        found,
    );
    Ok(())
}

fn read_keys(part: &EvidencePart, findings: &mut Findings) -> Result<(Public, Option<Public>), Stop> {
    let Some(ak) = part.item("ak.pub").and_then(Public::read) else {
        let found = if part.item("ak.pub").is_some() { "something else" } else { "no such item" };
        let rule = ("tpm.ak.public", Cause::FormatMalformed, PUBLIC);
        return Err(findings.checks.stop(rule, "a TPMT_PUBLIC of an RSA, P-256 or P-384 key in `ak.pub`", found));
    };
    let ek = match part.item("ek.pub") {
        None => None,
        Some(bytes) => {
            let ek = Public::read(bytes);
            let rule = ("tpm.ek.public", Cause::FormatMalformed, PUBLIC);
            let expected = "a TPMT_PUBLIC of an RSA, P-256 or P-384 key in `ek.pub`";
            Some(ek.ok_or_else(|| findings.checks.stop(rule, expected, "something else"))?)
        }
    };
    Ok((ak, ek))
}

fn read_quotes<'a>(part: &'a EvidencePart, findings: &mut Findings) -> Result<Vec<Signed<'a>>, Stop> {
    let checks = &mut findings.checks;
    let mut quotes = Vec::new();
    for suffix in quote_items(part) {
        let item = |name: String| part.item(&name).unwrap_or_default();
        let message = item(format!("quote{suffix}.msg"));
        let quote = read_quote(message, checks)?;
        let signature = Signature::read(item(format!("quote{suffix}.sig"))).ok_or_else(|| {
            let rule = ("tpm.quote.signature_format", Cause::FormatMalformed, SIGNATURE);
            checks.stop(rule, "a TPMT_SIGNATURE: RSASSA, RSAPSS or ECDSA", "something else, or no such item")
        })?;
        let bank = suffix.strip_prefix('-').and_then(Hash::from_name);
        let values = PcrValues::read(item(format!("pcrs{suffix}.json")), bank).ok_or_else(|| {
            let rule = ("tpm.pcr.values", Cause::FormatMalformed, "evidence format, pcrs.json");
            checks.stop(rule, "PCR values by bank and index, in hexadecimal", "something else, or no such item")
        })?;
        quotes.push(Signed { message, quote, signature, values });
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
        checks.stop(rule, "magic 0xff544347, type 0x8018 (quote), and its fields to the end", error)
    })
}

fn describe(ak: &Public, ek: Option<&Public>, part: &EvidencePart, quotes: &[Signed<'_>], findings: &mut Findings) {
    let ek_digest = ek.and(part.item("ek.pub")).map(ek_digest);
    findings.raw = json!({
        "ak_name": hex::encode(ak.name()),
        "ak_attributes": format!("{:#010x}", ak.attributes.0),
        "ek_digest": ek_digest.map(hex::encode),
        "quotes": quotes.iter().map(describe_quote).collect::<Vec<_>>(),
    });
    let mut tcb = TcbClaims::new(TcbStatus::VendorManaged);
    let first = quotes.first();
    tcb.svn.extend(first.map(|signed| ("firmware".to_owned(), signed.quote.firmware_version)));
    findings.claims = Some(Claims {
        tee: Tee::Tpm,
        product: None,
        platform_id: ek_digest.map(|digest| digest.as_slice().into()),
        tcb,
        debug: None,
        migratable: None,
        privilege: None,
        // Which PCRs mean what is the registration's to say: its reference values name registers.
        launch: LaunchClaims::default(),
        registers: std::collections::BTreeMap::new(),
        config: None,
        binding: first.map(|signed| signed.quote.extra_data.as_slice().into()),
        boot: None,
        proved: BTreeSet::from([Proved::Boot]),
    });
}

fn describe_quote(signed: &Signed<'_>) -> serde_json::Value {
    let selections = signed.quote.selections.iter();
    json!({
        "selection": selections.map(|one| json!({ "bank": one.bank.as_str(), "pcrs": one.pcrs })).collect::<Vec<_>>(),
        "pcr_digest": hex::encode(&signed.quote.pcr_digest),
        "extra_data": hex::encode(&signed.quote.extra_data),
        "qualified_signer": hex::encode(&signed.quote.qualified_signer),
        "clock": signed.quote.clock,
        "reset_count": signed.quote.reset_count,
        "restart_count": signed.quote.restart_count,
        "safe": signed.quote.safe,
        "firmware_version": format!("{:#x}", signed.quote.firmware_version),
        "scheme": signed.signature.scheme(),
        "hash": signed.signature.hash.as_str(),
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
