//! AMD's collateral: VEK certificates by chip and TCB, the authorities above them, and the roots' revocation lists.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use burgrave_types::{EvidencePart, Tee, Timestamp};
use burgrave_verifier::{Certificate, Endorsements, Expected, Input, Profile, Roots, verify};

use crate::piece::CrlPiece;
use crate::x509::{self, CertificateFacts};
use crate::{Mark, Subject};

/// Certificates of chips that are held at most: beyond, those that end first go.
const MOST_VEKS: usize = 4096;
/// Authorities that are held at most; AMD has two for each family.
const MOST_AUTHORITIES: usize = 32;

/// Bytes of a report, and where its fields stand (AMD 56860, table "ATTESTATION_REPORT structure").
const REPORT: usize = 0x4a0;

/// A family of processors, by the name that AMD's service gives it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Product {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004 and 8004.
    Genoa,
    /// EPYC 9005.
    Turin,
}

impl Product {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// The name in the service's paths.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// The family of an authority or a root, by the end of its name (`ARK-Milan`, `SEV-Genoa`, `SEV-VLEK-Turin`).
    pub(crate) fn of_authority(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|product| {
            name.split(',').any(|part| {
                part.trim().strip_prefix("CN=").and_then(|name| name.rsplit('-').next()) == Some(product.as_str())
            })
        })
    }

    fn of_certificate(product: &str) -> Option<Self> {
        let name = product.split('-').next()?;
        Self::ALL.into_iter().find(|product| product.as_str() == name)
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which VEK a report needs, or a certificate is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VekId {
    /// The cloud's key and not the chip's.
    pub vlek: bool,
    /// The chip's id, zeros behind it; all zeros for a VLEK.
    pub chip: [u8; 64],
    /// The TCB that the key is derived for: fmc, bl, tee, snp, ucode.
    pub svn: [u8; 5],
}

impl VekId {
    /// For people.
    pub fn subject(&self) -> Subject {
        let key = if self.vlek { "VLEK" } else { "VCEK" }.to_owned();
        let chip = if self.vlek { String::new() } else { hex::encode(self.hw_id()) };
        Subject::Vek { key, chip, svn: self.svn }
    }

    /// The chip's id as certificates have it: 8 bytes on Turin, whose reports fill up with zeros.
    pub fn hw_id(&self) -> &[u8] {
        match self.chip.split_at_checked(8) {
            Some((id, rest)) if rest.iter().all(|byte| *byte == 0) => id,
            _ => &self.chip,
        }
    }
}

/// What a report says of the key that signed it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Asked {
    pub(crate) id: VekId,
    /// The families that it can be of: the one that it names, or those before reports named one.
    pub(crate) products: Vec<Product>,
}

/// Reads what a report asks for; `None` where it is no report with a VEK.
pub(crate) fn asked(part: &EvidencePart) -> Option<Asked> {
    // In an Azure machine's evidence the report stands behind a header of 32 bytes.
    let bytes = match part.tee {
        Tee::Snp => part.item("report.bin").filter(|bytes| bytes.len() == REPORT)?,
        Tee::AzVtpm => part.item("hcl-report.bin")?.get(32..32 + REPORT)?,
        _ => return None,
    };
    let field = |at: usize, length: usize| bytes.get(at..at + length);
    let version = u32::from_le_bytes(field(0, 4)?.try_into().ok()?);
    let flags = u32::from_le_bytes(field(0x48, 4)?.try_into().ok()?);
    let tcb: [u8; 8] = field(0x180, 8)?.try_into().ok()?;
    let [family, model, _]: [u8; 3] = field(0x188, 3)?.try_into().ok()?;
    let products = match (version, family, model) {
        (2, ..) => vec![Product::Milan, Product::Genoa],
        (3 | 5, 0x19, 0x00..=0x0f) => vec![Product::Milan],
        (3 | 5, 0x19, 0x10..=0x1f | 0xa0..=0xaf) => vec![Product::Genoa],
        (3 | 5, 0x1a, 0x00..=0x1f) => vec![Product::Turin],
        _ => return None,
    };
    let [b0, b1, b2, b3, _, _, b6, b7] = tcb;
    let svn = if products == [Product::Turin] { [b0, b1, b2, b3, b7] } else { [0, b0, b1, b6, b7] };
    let mut chip: [u8; 64] = field(0x1a0, 64)?.try_into().ok()?;
    let vlek = match (flags >> 2) & 7 {
        0 => false,
        1 => true,
        _ => return None,
    };
    if vlek {
        chip = [0; 64];
    } else if chip == [0; 64] {
        // A masked chip id names no chip.
        return None;
    }
    Some(Asked { id: VekId { vlek, chip, svn }, products })
}

/// A verified certificate.
#[derive(Clone, Debug)]
pub(crate) struct Vek {
    pub(crate) certificate: Certificate,
    pub(crate) product: Product,
    issuer: String,
    pub(crate) mark: Mark,
    pub(crate) ends: Timestamp,
}

/// What is held of AMD's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Amd {
    pub(crate) veks: BTreeMap<VekId, Arc<Vek>>,
    /// By subject.
    pub(crate) authorities: BTreeMap<String, Authority>,
    /// By issuer.
    pub(crate) crls: BTreeMap<String, Arc<CrlPiece>>,
}

/// An ASK or ASVK that a root signed.
#[derive(Clone, Debug)]
pub(crate) struct Authority {
    pub(crate) certificate: Certificate,
    pub(crate) mark: Mark,
    pub(crate) ends: Timestamp,
}

/// What became of a certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    New(Subject, Mark),
    Known(Subject),
    /// Not one of AMD's that is kept: a root itself, or another vendor's.
    Other,
}

impl Amd {
    /// What a certificate is, by its extensions and name.
    pub(crate) fn read(certificate: &Certificate) -> Option<(VekId, Product, CertificateFacts)> {
        let facts = x509::read_certificate(certificate.der())?;
        let vek = facts.vek.as_ref()?;
        let product = Product::of_certificate(&vek.product)?;
        let mut chip = [0; 64];
        if let Some(hw_id) = &vek.hw_id {
            chip.get_mut(..hw_id.len())?.copy_from_slice(hw_id);
        }
        let id = VekId { vlek: vek.hw_id.is_none(), chip, svn: vek.svn };
        Some((id, product, facts))
    }

    /// Takes a certificate in where a root vouches for it.
    pub(crate) fn adopt(&mut self, certificate: &Certificate, roots: &Roots, now: Timestamp) -> Result<Taken, String> {
        match Self::read(certificate) {
            Some((id, product, facts)) => self.adopt_vek(certificate, (id, product, facts), roots, now),
            None => Ok(self.adopt_authority(certificate, roots)),
        }
    }

    fn adopt_vek(
        &mut self,
        certificate: &Certificate,
        (id, product, facts): (VekId, Product, CertificateFacts),
        roots: &Roots,
        now: Timestamp,
    ) -> Result<Taken, String> {
        let subject = id.subject();
        if self.veks.get(&id).is_some_and(|held| held.certificate.der() == certificate.der()) {
            return Ok(Taken::Known(subject));
        }
        let part = EvidencePart::new(Tee::Snp, [("vek.der", certificate.der().to_vec())]);
        let endorsements = Endorsements {
            certificates: self.above(&facts.issuer).cloned().collect(),
            crls: self.crls.values().map(|list| list.parsed.clone()).collect(),
            ..Endorsements::default()
        };
        let verification = verify(&Input {
            part: &part,
            endorsements: &endorsements,
            roots,
            profile: &Profile::default(),
            expected: Expected::None,
            at: now,
        });
        if let Some(cause) = verification.cause {
            let check = verification.checks.iter().find(|check| check.fatal && !check.passed);
            let said = check.map(|check| format!(": expected {}, found {}", check.expected, check.found));
            return Err(format!("{cause}{}", said.unwrap_or_default()));
        }
        let mark = Mark { number: crate::Number::default(), issued: facts.from };
        if self.veks.get(&id).is_some_and(|held| held.mark.issued > mark.issued) {
            return Ok(Taken::Known(subject));
        }
        let vek =
            Vek { certificate: certificate.clone(), product, issuer: facts.issuer, mark: mark.clone(), ends: facts.to };
        if self.veks.len() >= MOST_VEKS && !self.veks.contains_key(&id) {
            let first = self.veks.iter().min_by_key(|(_, held)| held.ends).map(|(id, _)| id.clone());
            first.map(|first| self.veks.remove(&first));
        }
        self.veks.insert(id, Arc::new(vek));
        Ok(Taken::New(subject, mark))
    }

    fn adopt_authority(&mut self, certificate: &Certificate, roots: &Roots) -> Taken {
        let Some(facts) = x509::read_certificate(certificate.der()) else { return Taken::Other };
        let subject = Subject::Authority { name: facts.subject.clone() };
        if self.authorities.get(&facts.subject).is_some_and(|held| held.certificate.der() == certificate.der()) {
            return Taken::Known(subject);
        }
        let signed = roots
            .anchors()
            .iter()
            .any(|root| root.subject() == facts.issuer && x509::is_pss_signed(certificate.der(), root.der()));
        let full = self.authorities.len() >= MOST_AUTHORITIES && !self.authorities.contains_key(&facts.subject);
        if !signed || full || facts.subject == facts.issuer {
            return Taken::Other;
        }
        let mark = Mark { number: crate::Number::default(), issued: facts.from };
        if self.authorities.get(&facts.subject).is_some_and(|held| held.mark.issued > mark.issued) {
            return Taken::Known(subject);
        }
        let authority = Authority { certificate: certificate.clone(), mark: mark.clone(), ends: facts.to };
        self.authorities.insert(facts.subject, authority);
        Taken::New(subject, mark)
    }

    /// The root of AMD's that a list names as its issuer, where it also signed it.
    pub(crate) fn signed_by_root(list: &CrlPiece, roots: &Roots) -> bool {
        let mut named = roots.anchors().iter().filter(|root| root.subject() == list.issuer);
        named.any(|root| x509::is_pss_signed(&list.der, root.der()))
    }

    /// Certificates of that name.
    pub(crate) fn above(&self, issuer: &str) -> impl Iterator<Item = &Certificate> {
        self.authorities.get(issuer).map(|held| &held.certificate).into_iter()
    }

    /// The certificate for a report, with what leads to its root.
    pub(crate) fn endorse(&self, asked: &Asked) -> Vec<Certificate> {
        let held = self.veks.get(&asked.id).filter(|held| asked.products.contains(&held.product));
        match held {
            Some(vek) => std::iter::once(&vek.certificate).chain(self.above(&vek.issuer)).cloned().collect(),
            // The evidence may bring the certificate itself; then only what stands above it is of use.
            None => self.authorities_of(asked).cloned().collect(),
        }
    }

    fn authorities_of(&self, asked: &Asked) -> impl Iterator<Item = &Certificate> {
        let fits = |name: &str| {
            Product::of_authority(name).is_some_and(|product| asked.products.contains(&product))
                && name.contains("VLEK") == asked.id.vlek
        };
        self.authorities.iter().filter(move |(name, _)| fits(name)).map(|(_, held)| &held.certificate)
    }

    /// The families of which there is anything to keep up to date.
    pub(crate) fn products(&self) -> Vec<Product> {
        let mut products: Vec<_> = self.veks.values().map(|vek| vek.product).collect();
        products.extend(self.crls.keys().filter_map(|issuer| Product::of_authority(issuer)));
        products.sort_unstable();
        products.dedup();
        products
    }
}
