//! Revocation lists: which are asked, in what order, and what is asked of each (RFC 5280, section 6.3).

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};

use crate::check::Stop;
use crate::verification::Findings;
use crate::x509::{Certificate, Crl};
use crate::{Cause, Input};

/// More lists than this are not remembered.
const LISTS: usize = 64;

/// Every list that `issuer`'s name stands on, of all sources, each once. None is left out for another's sake: evidence that brings
/// an older list must not hide the newer one that its judge has.
pub(crate) fn of_issuer<'a>(sources: impl IntoIterator<Item = &'a [Crl]>, issuer: &Certificate) -> Vec<&'a Crl> {
    let mut found: Vec<&Crl> = Vec::new();
    for list in sources.into_iter().flatten().filter(|list| list.is_issued_by_name_of(issuer)) {
        if !found.iter().any(|seen| seen.der() == list.der()) {
            found.push(list);
        }
    }
    found
}

/// The lists, the newest first: by number, then by date. Who takes one of an issuer alone takes that.
pub(crate) fn newest_first(lists: &[Crl]) -> Vec<&Crl> {
    let newness = |list: &Crl| {
        let number = list.number();
        (number.len(), number, list.validity().0)
    };
    let mut sorted: Vec<_> = lists.iter().collect();
    sorted.sort_by_cached_key(|list| std::cmp::Reverse(newness(list)));
    sorted
}

/// How a TEE's module names the checks of a list.
pub(crate) struct Rules {
    pub(crate) signature: &'static str,
    pub(crate) validity: &'static str,
    pub(crate) revoked: &'static str,
    pub(crate) reference: &'static str,
    /// The vendor's algorithm.
    pub(crate) signed: fn(&Crl, &Certificate) -> bool,
}

/// Asks a list of `issuer` about certificates that it issued. A list that is at hand counts and must be current.
pub(crate) fn ask<'a>(
    list: &Crl,
    issuer: &Certificate,
    issued: impl IntoIterator<Item = &'a Certificate>,
    rules: &Rules,
    input: &Input<'_>,
    findings: &mut Findings,
) -> Result<(), Stop> {
    let is_signed = input.roots.known_lists().is_signed(list, issuer, rules.signed);
    findings.checks.need_that(
        (rules.signature, Cause::CrlSignature, rules.reference),
        is_signed && list.is_whole(),
        format_args!("a list signed by `{}`, of all that it revoked", issuer.subject()),
        if is_signed { "one of a part of it (a delta, some kinds or reasons alone)" } else { "another signature" },
    )?;
    let (from, next) = list.validity();
    findings.checks.need(
        (rules.validity, Cause::CrlValidity, rules.reference),
        from <= input.at && next.is_some_and(|next| input.at < next),
        format_args!("{} within thisUpdate and nextUpdate", input.at),
        next.map_or_else(|| format!("{from}, with no next update"), |next| format!("{from} to {next}")),
    )?;
    let revoked = issued.into_iter().find(|certificate| list.revokes(certificate));
    findings.checks.need(
        (rules.revoked, Cause::CertificateRevoked, rules.reference),
        revoked.is_none(),
        format_args!("no certificate of the chain on the list of `{}`", issuer.subject()),
        revoked.map_or_else(|| "none".to_owned(), Certificate::subject),
    )?;
    if let Some(next) = next {
        findings.ends(next);
    }
    Ok(())
}

/// Lists by the SHA-256 of the issuer's certificate and the list: what such a digest names never changes. Whether a list is
/// current is asked each time.
#[derive(Debug, Default)]
pub(crate) struct KnownLists(Mutex<HashSet<[u8; 32]>>);

impl KnownLists {
    /// Whether `issuer` signed `list`, by the vendor's algorithm: `signed`.
    pub(crate) fn is_signed(&self, list: &Crl, issuer: &Certificate, signed: fn(&Crl, &Certificate) -> bool) -> bool {
        let mut context = Context::new(&SHA256);
        for der in [issuer.der(), list.der()] {
            context.update(&u64::try_from(der.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(der);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&digest) {
            return true;
        }
        let signed = signed(list, issuer);
        if signed {
            let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if lists.len() >= LISTS {
                lists.clear();
            }
            lists.insert(digest);
        }
        signed
    }
}
