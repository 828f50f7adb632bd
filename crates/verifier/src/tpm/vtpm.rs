//! A vTPM's quote whose key another part of the evidence vouches for: no certificate, no endorsement key.

use std::sync::Arc;

use burgrave_types::claims::Proved;
use burgrave_types::{Claims, EvidencePart};

use super::pcr::Values;
use super::signature::{Signature, VerifyingKey};
use super::structures::{Hash, Key};
use super::{
    SIGNATURE, Signed, Told, check_banks, check_quote, check_signature, judge_boot_log, judge_logs, read_quote,
};
use crate::check::Stop;
use crate::verification::Findings;
use crate::{Cause, Input, Profile, Raw};

/// A quote and the key that must have signed it, read and not yet believed.
pub(crate) struct VtpmQuote<'a> {
    signed: Signed<'a>,
    key: VerifyingKey,
}

impl<'a> VtpmQuote<'a> {
    /// Reads `quote.msg`, `quote.sig` (a TPMT_SIGNATURE, or the bare number of an RSASSA signature with SHA-256) and the
    /// SHA-256 bank's values in `pcrs-sha256.json` or `pcrs.json`.
    pub(crate) fn read(part: &'a EvidencePart, key: Key, findings: &mut Findings) -> Result<Self, Stop> {
        let checks = &mut findings.checks;
        let item = |name: &str| part.item(name).unwrap_or_default();
        let message = item("quote.msg");
        let quote = read_quote(message, checks)?;
        let signature = item("quote.sig");
        let is_bare = matches!(&key, Key::Rsa { modulus, .. } if modulus.len() == signature.len());
        let signature = if is_bare { Some(Signature::bare_rsassa(signature)) } else { Signature::read(signature) };
        let Some(signature) = signature else {
            let rule = ("tpm.quote.signature_format", Cause::FormatMalformed, SIGNATURE);
            let expected = "an RSA signature as wide as the key, or a TPMT_SIGNATURE";
            return Err(checks.stop(rule, expected, "something else, or no `quote.sig`"));
        };
        let values = ["pcrs-sha256.json", "pcrs.json"].into_iter().find_map(|name| part.item(name)).unwrap_or_default();
        let Some(values) = Values::read(values, Some(Hash::Sha256)) else {
            let rule = ("tpm.pcr.values", Cause::FormatMalformed, "evidence format, pcrs-sha256.json");
            let found = "something else, or no such item";
            return Err(checks.stop(rule, "PCR values by index, in hexadecimal", found));
        };
        let signed = Signed { message, quote: Arc::new(quote), signature, values: Arc::new(values), is_known: false };
        Ok(Self { signed, key: key.into() })
    }

    /// Checks all but the signature; says whether the quote covers the values beside it.
    pub(crate) fn check(&self, input: &Input<'_>, findings: &mut Findings) -> Result<bool, Stop> {
        let covered = check_quote(input, &self.key.key, &self.signed, findings)?;
        check_banks(input, std::iter::once(&self.signed), findings);
        Ok(covered)
    }

    /// Checks the signature.
    pub(crate) fn verify(&self, findings: &mut Findings) -> Result<(), Stop> {
        check_signature(&self.signed, &self.key, findings)
    }

    /// Claims the quoted values. Only to be called after [`VtpmQuote::check`] and [`VtpmQuote::verify`].
    pub(crate) fn claim(&self, claims: &mut Claims) {
        let registers = self.signed.registers();
        claims.proved.extend((!registers.is_empty()).then_some(Proved::Boot));
        claims.registers.extend(registers);
    }

    /// As [`VtpmQuote::claim`] and [`VtpmQuote::judge_logs`] of the boot's log, for what is believed by nobody.
    pub(crate) fn inspect(&self, part: &EvidencePart, findings: &mut Findings) {
        if !self.signed.is_of_its_values() {
            return;
        }
        if let Some(claims) = &mut findings.claims {
            self.claim(claims);
        }
        let quoted = self.signed.for_logs();
        judge_boot_log(part, &quoted, &Profile::default(), findings);
    }

    /// Holds the logs beside the quote against it. Only to be called after [`VtpmQuote::check`] and [`VtpmQuote::verify`].
    pub(crate) fn judge_logs(&self, input: &Input<'_>, findings: &mut Findings) {
        let quoted = self.signed.for_logs();
        judge_logs(input, &quoted, self.signed.quote.reset_count, findings);
    }

    /// The challenger's bytes.
    pub(crate) fn extra_data(&self) -> &[u8] {
        &self.signed.quote.extra_data
    }

    /// The quote's own fields.
    pub(crate) fn raw(&self) -> Raw {
        let told = Told::of(&self.signed);
        Raw::new(move || told.json())
    }
}
