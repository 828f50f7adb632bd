//! Chains that come whole and in order, from a pinned root down to the key that signed (Nitro, NVIDIA): RFC 5280, section 6.1,
//! over ECDSA.
//!
//! The signatures of a path are checked once and then known ([`KnownPaths`]); whether it is valid *now* is asked each time, so
//! that a known path gives the same answer as a new one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, ParsedPublicKey};
use burgrave_types::Timestamp;
use x509_cert::ext::pkix::KeyUsages;

use crate::check::Stop;
use crate::lists;
use crate::trust::Vendor;
use crate::verification::Findings;
use crate::x509::{Certificate, Crl, EC_PUBLIC_KEY, SECP384R1};
use crate::{Cause, Endorsements, Input, Text};

/// Longer paths no vendor has.
const LONGEST: usize = 16;
const USAGE: &str = "RFC 5280, sections 4.2.1.3 and 4.2.1.9";
const REVOCATION: &str = "RFC 5280, section 6.3";
const CONSTRAINTS: &str = "authorities that may sign certificates at this depth, then a P-384 signing key that is none; no \
                           unknown critical extension";
/// More paths than this are not remembered.
const REMEMBERED: usize = 4096;

/// How a TEE's module names the checks of its chain, and where the chain is defined.
pub(crate) struct Rules {
    /// Whose pinned roots anchor it.
    pub(crate) vendor: Vendor,
    pub(crate) chain: &'static str,
    pub(crate) constraints: &'static str,
    pub(crate) validity: &'static str,
    pub(crate) revocation: &'static str,
    pub(crate) reference: &'static str,
}

/// A path whose names, constraints and signatures hold, up to a certificate that came from the roots.
#[derive(Debug)]
pub(crate) struct Path {
    /// The P-384 key at its end.
    key: ParsedPublicKey,
    /// The subject of the certificate at its end.
    pub(crate) subject: Text,
    /// The first instant at which all of it is valid.
    from: Timestamp,
    /// The last one.
    until: Timestamp,
    /// What is told where no list is at hand: whose lists speak of certificates on it, as these say.
    listing: Text,
}

impl Path {
    /// Whether all of it is valid at an instant.
    pub(crate) fn is_valid_at(&self, at: Timestamp) -> bool {
        self.from <= at && at <= self.until
    }

    /// Whether the key at its end signed `message`: ECDSA with SHA-384, r and s in the curve's width.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(message, signature).is_ok()
    }
}

/// Paths by the SHA-256 of all their certificates, the root's included: what such a digest names never changes.
#[derive(Debug, Default)]
pub(crate) struct KnownPaths(Mutex<HashMap<[u8; 32], Arc<Path>>>);

impl KnownPaths {
    fn find(&self, digest: &[u8; 32]) -> Option<Arc<Path>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    /// Remembers a path. A full memory begins anew, which costs a few signatures and nothing else.
    fn remember(&self, digest: [u8; 32], path: Arc<Path>) {
        let mut paths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if paths.len() >= REMEMBERED {
            paths.clear();
        }
        paths.insert(digest, path);
    }
}

/// Verifies `chain` (DER, root first, the signing key's certificate last). Its first certificate must be one of the roots,
/// byte for byte.
pub(crate) fn verify(
    chain: &[&[u8]],
    rules: &Rules,
    input: &Input<'_>,
    findings: &mut Findings,
) -> Result<Arc<Path>, Stop> {
    const EXPECTED: &str = "certificates that each sign the next, the first a pinned root";
    let anchored =
        chain.first().is_some_and(|root| input.roots.anchors_of(rules.vendor).any(|anchor| anchor.der() == *root));
    if !anchored || chain.len() > LONGEST {
        let root = chain.first().and_then(|root| Certificate::from_der(root));
        let found = root.map_or_else(
            || "no certificate at its head".to_owned(),
            |root| format!("`{}`, which is not a pinned root's certificate", root.subject()),
        );
        return Err(findings.checks.stop((rules.chain, Cause::ChainUntrusted, rules.reference), EXPECTED, found));
    }
    let digest = digest_of(chain);
    let known = input.roots.known_paths().find(&digest);
    let (path, new) = match known {
        Some(path) => {
            let rule = (rules.constraints, Cause::ChainConstraint, USAGE);
            findings.checks.record(rule, true, true, CONSTRAINTS, "as expected");
            (path, None)
        }
        None => read(chain, rules, findings).map(|(path, certificates)| (Arc::new(path), Some(certificates)))?,
    };
    findings.checks.need(
        (rules.validity, Cause::CertificateValidity, "RFC 5280, section 4.1.2.5"),
        path.is_valid_at(input.at),
        format_args!("{} within the validity of every certificate of the chain", input.at),
        format_args!("{} to {}", path.from, path.until),
    )?;
    if let Some(certificates) = new {
        let unsigned = certificates.windows(2).find_map(|pair| match pair {
            [issuer, subject] if !subject.is_ecdsa_signed_by(issuer) => Some(subject),
            _ => None,
        });
        if let Some(unsigned) = unsigned {
            let found = format!("`{}`, which `{}` did not sign", unsigned.subject(), unsigned.issuer());
            return Err(findings.checks.stop((rules.chain, Cause::ChainSignature, rules.reference), EXPECTED, found));
        }
        input.roots.known_paths().remember(digest, Arc::clone(&path));
    }
    findings.checks.record((rules.chain, Cause::ChainUntrusted, rules.reference), true, true, EXPECTED, &path.subject);
    findings.ends(path.until);
    revocation(chain, &path, rules, input, findings)?;
    Ok(path)
}

/// Asks the lists at hand of every authority on the path. A list that is at hand counts and must be current; without one
/// nothing is refused, but told.
fn revocation(
    chain: &[&[u8]],
    path: &Path,
    rules: &Rules,
    input: &Input<'_>,
    findings: &mut Findings,
) -> Result<(), Stop> {
    // What stands alone in its part is the evidence itself.
    let alone = input.part.items.len() == 1;
    let beside = if alone { Vec::new() } else { Endorsements::lists_beside(input.part) };
    let sources = [input.endorsements.crls.as_slice(), &beside];
    let mut silent = |found: Text| {
        let rule = (rules.revocation, Cause::CollateralValidity, REVOCATION);
        findings.checks.record(rule, false, false, "a list at hand of every authority that publishes one", found);
    };
    if sources.iter().all(|lists| lists.is_empty()) {
        silent(path.listing.clone());
        return Ok(());
    }
    let names = lists::Rules {
        signature: rules.revocation,
        validity: rules.revocation,
        revoked: rules.revocation,
        reference: REVOCATION,
        signed: Crl::is_ecdsa_signed_by,
    };
    let certificates: Vec<_> = chain.iter().filter_map(|der| Certificate::from_der(der)).collect();
    let has_list = |issuer: &Certificate| !lists::of_issuer(sources, issuer).is_empty();
    let unasked = listing(certificates.windows(2).filter(|pair| pair.first().is_some_and(|issuer| !has_list(issuer))));
    let asks_any = certificates.iter().any(has_list);
    if !unasked.is_empty() || !asks_any {
        silent(none_of(&unasked));
    }
    for (depth, issuer) in certificates.iter().enumerate() {
        // An authority's list speaks of what it issued: of its own certificate only where that is its own.
        let below = certificates.get(depth + usize::from(depth > 0)..).unwrap_or_default();
        for list in lists::of_issuer(sources, issuer) {
            let issued = below.iter().filter(|one| one.is_issued_by_name_of(issuer));
            lists::ask(list, issuer, issued, &names, input, findings)?;
        }
    }
    Ok(())
}

/// Of pairs of issuer and subject, the issuers whose lists their subjects name (CRL distribution points).
fn listing<'a>(pairs: impl Iterator<Item = &'a [Certificate]>) -> Vec<String> {
    let listed = pairs.filter_map(|pair| match pair {
        [issuer, subject] if !subject.distribution_points().is_empty() => Some(format!("`{}`", issuer.subject())),
        _ => None,
    });
    listed.collect()
}

fn none_of(issuers: &[String]) -> Text {
    if issuers.is_empty() {
        return "none, and the certificates name none".into();
    }
    format!("none of {}", issuers.join(", ")).into()
}

/// Reads the certificates and checks all but signatures and time.
fn read(chain: &[&[u8]], rules: &Rules, findings: &mut Findings) -> Result<(Path, Vec<Certificate>), Stop> {
    let checks = &mut findings.checks;
    let parsed: Option<Vec<_>> = chain.iter().map(|der| Certificate::from_der(der)).collect();
    let malformed = (rules.chain, Cause::FormatMalformed, rules.reference);
    let Some(certificates) = parsed else {
        return Err(checks.stop(malformed, "certificates in DER", "something else among them"));
    };
    let Some((leaf, authorities)) = certificates.split_last() else {
        return Err(checks.stop(malformed, "certificates", "none"));
    };
    let stray = certificates.windows(2).find_map(|pair| match pair {
        [issuer, subject] if !subject.is_issued_by_name_of(issuer) => Some(subject),
        _ => None,
    });
    if let Some(stray) = stray {
        let found = format!("`{}`, whose issuer `{}` does not stand before it", stray.subject(), stray.issuer());
        let rule = (rules.chain, Cause::ChainUntrusted, rules.reference);
        return Err(checks.stop(rule, "certificates that each name the one before as issuer", found));
    }
    // Beneath the authority at `index` stand the authorities after it.
    let below = |index: usize| u8::try_from(authorities.len() - 1 - index).unwrap_or(u8::MAX);
    let misplaced = authorities
        .iter()
        .enumerate()
        .find(|(index, authority)| !authority.is_authority(below(*index)))
        .map(|(_, it)| it);
    let may_sign = !leaf.claims_authority()
        && leaf.allows(KeyUsages::DigitalSignature)
        && leaf.key_algorithm() == (EC_PUBLIC_KEY, Some(SECP384R1));
    let key = if may_sign { ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, leaf.key()).ok() } else { None };
    let misplaced =
        misplaced.or_else(|| certificates.iter().find(|certificate| certificate.has_unknown_critical_extension()));
    let rule = (rules.constraints, Cause::ChainConstraint, USAGE);
    let key = match (misplaced, key) {
        (None, Some(key)) => key,
        (misplaced, _) => return Err(checks.stop(rule, CONSTRAINTS, misplaced.unwrap_or(leaf).subject())),
    };
    checks.record(rule, true, true, CONSTRAINTS, "as expected");
    let validity = certificates.iter().map(Certificate::validity);
    let (from, until) = validity.fold(
        (Timestamp::from_unix_secs(i64::MIN / 1000), Timestamp::from_unix_secs(i64::MAX / 1000)),
        |(from, until), (first, last)| (from.max(first), until.min(last)),
    );
    let listing = none_of(&listing(certificates.windows(2))).shared();
    Ok((Path { key, subject: Text::from(leaf.subject()).shared(), from, until, listing }, certificates))
}

fn digest_of(chain: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for der in chain {
        context.update(&u64::try_from(der.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(der);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}
