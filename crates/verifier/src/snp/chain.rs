//! From a VEK certificate up to a pinned ARK, with validity and revocation.

use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, ParsedPublicKey};
use burgrave_types::{EvidencePart, Timestamp};
use const_oid::ObjectIdentifier;
use der::Decode;
use der::asn1::Ia5StringRef;

use super::KDS;
use super::report::{Family, Report, SigningKey};
use crate::check::Stop;
use crate::lists;
use crate::verification::Findings;
use crate::x509::{Certificate, Crl, EC_PUBLIC_KEY, SECP384R1};
use crate::{Cause, Endorsement, Endorsements, Input, Text};

const CHAIN: &str = "AMD 57230, certificate chain; RFC 5280, section 6.1";
const CRL: &str = "AMD 57230, certificate revocation list; RFC 5280, section 6.3";
const LISTS: lists::Rules = lists::Rules {
    signature: "snp.crl.signature",
    validity: "snp.crl.validity",
    revoked: "snp.crl.revoked",
    reference: CRL,
    signed: Crl::is_pss_signed_by,
};
/// More certificates of one name than this are not tried.
const CANDIDATES: usize = 8;

/// AMD's arc for VEK extensions (AMD 57230, table "VCEK certificate extensions").
const fn oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}
const PRODUCT: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.2");
const BL: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.1");
const TEE: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.2");
const SNP: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.3");
const UCODE: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.8");
const FMC: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.9");
const HW_ID: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.4");
const CSP_ID: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.5");

/// What the extensions of a VCEK or VLEK certificate say, for those who look for certificates. Nobody vouches for it yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VekExtensions {
    /// `productName`.
    pub family: Family,
    /// `hwID`, the chip of a VCEK: 64 bytes, 8 on Turin. A VLEK has none.
    pub hw_id: Option<Vec<u8>>,
    /// The security version numbers by component, in the family's order.
    pub tcb: Vec<(&'static str, u8)>,
}

impl VekExtensions {
    /// Those of a certificate; `None` where it is not exactly one of the two kinds, or says less.
    pub fn read(certificate: &Certificate) -> Option<Self> {
        let hw_id = certificate.extension(HW_ID);
        let family = family_of(certificate).filter(|_| hw_id.is_some() != certificate.extension(CSP_ID).is_some())?;
        Some(Self { family, hw_id: hw_id.map(<[u8]>::to_vec), tcb: tcb_of(certificate, family)? })
    }
}

/// A VCEK or VLEK certificate whose extensions have been read; whether anybody vouches for it is another question.
#[derive(Debug)]
pub(super) struct Vek {
    pub(super) certificate: Certificate,
    pub(super) kind: SigningKey,
    pub(super) family: Family,
    pub(super) tcb: Vec<(&'static str, u8)>,
    pub(super) hw_id: Option<Vec<u8>>,
    /// `cspID`: the text, without its DER head.
    pub(super) csp_id: Option<Vec<u8>>,
    pub(super) key: ParsedPublicKey,
}

/// The certificates above a VEK, each of which signed the next, as far as they never change.
#[derive(Debug)]
pub(super) struct Chain {
    ask: Certificate,
    ark: Certificate,
    /// Subject and validity of VEK, ASK and ARK.
    links: [(Text, Timestamp, Timestamp); 3],
}

/// The endorsements among which certificates are found: those beside the report, those of the caller.
type Given<'a> = [&'a Endorsements; 2];

/// The items that a VEK certificate has, by what they are called.
const NAMES: [&str; 6] = ["vcek.der", "vlek.der", "vek.der", "vcek.pem", "vlek.pem", "vek.pem"];

/// The VEK certificate: that for the report's kind of key, chip and TCB among all certificates that are at hand, else the item
/// of that name, else any with a VEK's extensions. A stale one that was left beside the right one does no harm.
pub(super) fn find_leaf<const N: usize>(
    part: &EvidencePart,
    given: [&Endorsements; N],
    report: Option<&Report>,
) -> Option<Certificate> {
    let veks: Vec<_> = given.iter().flat_map(|given| &given.certificates).filter(|one| is_of_chip(one)).collect();
    let fitting = report.and_then(|report| veks.iter().find(|certificate| fits(certificate, report)));
    if let Some(fitting) = fitting {
        return Some((*fitting).clone());
    }
    let named = NAMES.iter().filter_map(|name| part.item(name)).find_map(|bytes| match Endorsement::read(bytes) {
        Endorsement::Certificates(certificates) => {
            let vek = certificates.iter().find(|certificate| is_of_chip(certificate));
            vek.or(certificates.first()).cloned()
        }
        _ => None,
    });
    named.or_else(|| veks.first().map(|certificate| (*certificate).clone()))
}

/// The item that should be a VEK certificate by its name and is none.
pub(super) fn unread_leaf(part: &EvidencePart) -> Option<&'static str> {
    let is_unread = |bytes: &[u8]| !matches!(Endorsement::read(bytes), Endorsement::Certificates(_));
    NAMES.into_iter().find(|name| part.item(name).is_some_and(is_unread))
}

/// Whether bytes are a VCEK or VLEK certificate, or some with one among them.
pub(crate) fn is_vek(bytes: &[u8]) -> bool {
    matches!(Endorsement::read(bytes), Endorsement::Certificates(found) if found.iter().any(is_of_chip))
}

fn is_of_chip(certificate: &Certificate) -> bool {
    certificate.extension(HW_ID).is_some() || certificate.extension(CSP_ID).is_some()
}

/// Whether a VEK certificate is for the report's kind of key, chip and TCB.
fn fits(certificate: &Certificate, report: &Report) -> bool {
    let tcb = family_of(certificate).and_then(|family| Some((family, tcb_of(certificate, family)?)));
    let same_tcb = tcb.is_some_and(|(family, tcb)| report.reported_tcb.parts(family) == tcb);
    same_tcb
        && match report.signing_key {
            SigningKey::Vcek => certificate.extension(HW_ID).is_some_and(|hw_id| report.is_of_chip(hw_id)),
            SigningKey::Vlek => certificate.extension(CSP_ID).is_some(),
            SigningKey::Other(_) => false,
        }
}

/// The family that a VEK certificate names.
pub(super) fn family_of(certificate: &Certificate) -> Option<Family> {
    let product = Ia5StringRef::from_der(certificate.extension(PRODUCT)?).ok()?;
    Family::of_product(product.as_str())
}

/// The text of an extension that is an IA5String (AMD 57230: cspID).
fn text_of(extension: &[u8]) -> Option<Vec<u8>> {
    Some(Ia5StringRef::from_der(extension).ok()?.as_bytes().to_vec())
}

/// Reads kind, family, TCB and chip of a VEK certificate.
pub(super) fn read_leaf(certificate: Certificate, findings: &mut Findings) -> Result<Vek, Stop> {
    let (hw_id, csp_id) = (certificate.extension(HW_ID), certificate.extension(CSP_ID));
    let kind = match (hw_id, csp_id) {
        (Some(_), None) => Some(SigningKey::Vcek),
        (None, Some(_)) => Some(SigningKey::Vlek),
        _ => None,
    };
    let is_key = certificate.key_algorithm() == (EC_PUBLIC_KEY, Some(SECP384R1)) && !certificate.claims_authority();
    let key = if is_key { ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, certificate.key()).ok() } else { None };
    let (Some(kind), Some(key)) = (kind, key) else {
        return Err(findings.checks.stop(
            ("snp.vek.certificate", Cause::CertificateKind, KDS),
            "a P-384 certificate with hwID (VCEK) or cspID (VLEK), which is no authority",
            certificate.subject(),
        ));
    };
    let (hw_id, csp_id) = (hw_id.map(<[u8]>::to_vec), csp_id.map(text_of));
    let extensions = family_of(&certificate).and_then(|family| Some((family, tcb_of(&certificate, family)?)));
    let (Some((family, tcb)), None | Some(Some(_))) = (extensions, &csp_id) else {
        return Err(findings.checks.stop(
            ("snp.vek.extensions", Cause::CertificateExtension, KDS),
            "productName, the TCB's security version numbers, and a cspID that is text",
            "not all of them",
        ));
    };
    let csp_id = csp_id.flatten();
    Ok(Vek { certificate, kind, family, tcb, hw_id, csp_id, key })
}

fn tcb_of(certificate: &Certificate, family: Family) -> Option<Vec<(&'static str, u8)>> {
    let names: &[(&'static str, ObjectIdentifier)] = match family {
        Family::Milan | Family::Genoa => &[("bl", BL), ("tee", TEE), ("snp", SNP), ("ucode", UCODE)],
        Family::Turin => &[("fmc", FMC), ("bl", BL), ("tee", TEE), ("snp", SNP), ("ucode", UCODE)],
    };
    names.iter().map(|(name, oid)| Some((*name, u8::from_der(certificate.extension(*oid)?).ok()?))).collect()
}

/// Finds and verifies a VEK certificate that comes without a report.
pub(super) fn verify(input: &Input<'_>, findings: &mut Findings) -> Result<(), Stop> {
    let beside = Endorsements::beside(input.part);
    let given = [&beside, input.endorsements];
    let Some(leaf) = find_leaf(input.part, given, None) else {
        return Err(findings.checks.stop(
            ("snp.vek.present", Cause::FormatMalformed, KDS),
            "a report, or a VCEK or VLEK certificate",
            "neither",
        ));
    };
    let vek = read_leaf(leaf, findings)?;
    verify_leaf(input, &vek, given, None, findings).map(drop)
}

/// Verifies that a VEK certificate chains to a pinned root, is valid and not revoked. A `known` chain counts where its
/// certificates are at hand again.
pub(super) fn verify_leaf(
    input: &Input<'_>,
    vek: &Vek,
    given: Given<'_>,
    known: Option<&Arc<Chain>>,
    findings: &mut Findings,
) -> Result<Arc<Chain>, Stop> {
    let leaf = &vek.certificate;
    let known = known.filter(|chain| chain.is_at_hand(input, given)).map(Arc::clone);
    let is_new = known.is_none();
    let checks = &mut findings.checks;
    let chain = match known.map_or_else(|| find_chain(input, leaf, given).map(Arc::new), Ok) {
        Ok(found) => {
            let [.., (subject, ..)] = &found.links;
            checks.record(("snp.chain", Cause::ChainUntrusted, CHAIN), true, true, "a pinned ARK", subject);
            found
        }
        Err((cause, found)) => {
            let expected = "VEK signed by an ASK or ASVK, which a pinned ARK signed";
            return Err(checks.stop(("snp.chain", cause, CHAIN), expected, found));
        }
    };
    checks.need_that(
        ("snp.chain.constraints", Cause::ChainConstraint, "RFC 5280, sections 4.2.1.3 and 4.2.1.9"),
        !is_new || chain.holds_constraints(leaf),
        "ARK and ASK are authorities, and no critical extension is unknown",
        "a certificate that may not stand there",
    )?;
    for (subject, from, to) in &chain.links {
        findings.checks.need(
            ("snp.chain.validity", Cause::CertificateValidity, "RFC 5280, section 4.1.2.5"),
            *from <= input.at && input.at <= *to,
            format_args!("{} within {from} to {to}", input.at),
            subject,
        )?;
        findings.ends(*to);
    }
    revocation(input, given, &chain, findings)?;
    Ok(chain)
}

impl Chain {
    fn new(leaf: &Certificate, ask: &Certificate, ark: &Certificate) -> Self {
        let links = [leaf, ask, ark].map(|certificate| {
            let (from, to) = certificate.validity();
            (Text::from(certificate.subject()).shared(), from, to)
        });
        Self { ask: ask.clone(), ark: ark.clone(), links }
    }

    fn holds_constraints(&self, leaf: &Certificate) -> bool {
        let certificates = [leaf, &self.ask, &self.ark];
        self.ark.is_authority(1)
            && self.ask.is_authority(0)
            && !certificates.iter().any(|certificate| certificate.has_unknown_critical_extension())
    }

    /// Whether the ARK is one of the roots, and the ASK among the certificates that are looked through for one.
    fn is_at_hand(&self, input: &Input<'_>, given: Given<'_>) -> bool {
        let found = |certificate: &Certificate| certificate.der() == self.ask.der();
        input.roots.amd_anchors().any(|root| root.der() == self.ark.der()) && candidates(input, given).any(found)
    }
}

/// Where an ASK is looked for.
fn candidates<'a>(input: &Input<'a>, given: Given<'a>) -> impl Iterator<Item = &'a Certificate> {
    given.into_iter().flat_map(|given| &given.certificates).chain(input.roots.intermediates())
}

/// Tries the certificates that bear the names of the chain. Roots come from `input.roots` alone.
fn find_chain(input: &Input<'_>, leaf: &Certificate, given: Given<'_>) -> Result<Chain, (Cause, String)> {
    let named = candidates(input, given).filter(|candidate| leaf.is_issued_by_name_of(candidate)).take(CANDIDATES);
    let mut failure =
        (Cause::ChainUntrusted, format!("no certificate of `{}` that a pinned root signed", leaf.issuer()));
    for ask in named {
        let mut roots = input.roots.amd_anchors().filter(|root| ask.is_issued_by_name_of(root)).take(CANDIDATES);
        let Some(ark) = roots.find(|ark| ask.is_pss_signed_by(ark)) else { continue };
        if leaf.is_pss_signed_by(ask) {
            return Ok(Chain::new(leaf, ask, ark));
        }
        failure = (Cause::ChainSignature, format!("a certificate that `{}` did not sign", ask.subject()));
    }
    Err(failure)
}

fn revocation(
    input: &Input<'_>,
    given: Given<'_>,
    Chain { ask, ark, .. }: &Chain,
    findings: &mut Findings,
) -> Result<(), Stop> {
    let lists = lists::of_issuer(given.map(|given| given.crls.as_slice()), ark);
    if input.profile.snp.require_crl {
        findings.checks.need(
            ("snp.crl.present", Cause::CollateralValidity, "profile, snp.require_crl"),
            !lists.is_empty(),
            format_args!("a revocation list of `{}`", ark.subject()),
            "none",
        )?;
    }
    for list in lists {
        // The list is the root's and speaks of what the root issued: the ASK, and itself.
        lists::ask(list, ark, [ask, ark], &LISTS, input, findings)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clouds_name_is_text_or_none() {
        assert_eq!(text_of(b"\x16\x02ab"), Some(b"ab".to_vec()));
        for odd in [&b"\x04\x02ab"[..], b"\x16\x03ab", b"\x16\x02abc", b"\x16\x01\xff", b"ab", b""] {
            assert_eq!(text_of(odd), None, "{odd:?}");
        }
    }
}
