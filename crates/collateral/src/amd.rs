//! AMD's collateral: VEK certificates by chip and TCB, the authorities above them, and the roots' revocation lists.

use std::collections::BTreeMap;
use std::sync::Arc;

use burgrave_types::{EvidencePart, Tee, Timestamp};
use burgrave_verifier::snp::{Family, Report, SigningKey, VekExtensions};
use burgrave_verifier::{Certificate, Endorsements, Expected, Input, Profile, Roots, verify};

use crate::piece::CrlPiece;
use crate::{Mark, Subject};

/// Certificates of chips that are held at most: beyond, those that end first go.
const MOST_VEKS: usize = 4096;
/// Authorities that are held at most; AMD has two for each family.
const MOST_AUTHORITIES: usize = 32;

/// Bytes of a report.
const REPORT: usize = 0x4a0;

/// The family of an authority or a root, by the end of its name (`ARK-Milan`, `SEV-Genoa`, `SEV-VLEK-Turin`).
pub(crate) fn family_of_authority(name: &str) -> Option<Family> {
    Family::ALL.into_iter().find(|family| {
        name.split(',').any(|part| {
            part.trim().strip_prefix("CN=").and_then(|name| name.rsplit('-').next()) == Some(family.product())
        })
    })
}

/// The security version numbers in the order of [`VekId::svn`]; 0 where a family has none.
fn svn(tcb: &[(&'static str, u8)]) -> [u8; 5] {
    ["fmc", "bl", "tee", "snp", "ucode"]
        .map(|name| tcb.iter().find(|(component, _)| *component == name).map_or(0, |(_, number)| *number))
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
    pub(crate) families: Vec<Family>,
}

/// Reads what a report asks for; `None` where it is no report with a VEK.
pub(crate) fn asked(part: &EvidencePart) -> Option<Asked> {
    // In an Azure machine's evidence the report stands behind a header of 32 bytes.
    let bytes = match part.tee {
        Tee::Snp => part.item("report.bin").filter(|bytes| bytes.len() == REPORT)?,
        Tee::AzVtpm => part.item("hcl-report.bin")?.get(32..32 + REPORT)?,
        _ => return None,
    };
    let report = Report::read(bytes)?;
    let families = match report.version {
        2 => vec![Family::Milan, Family::Genoa],
        3 | 5 => vec![report.cpuid_family()?],
        _ => return None,
    };
    let svn = svn(&report.reported_tcb.parts(*families.first()?));
    let (vlek, chip) = match report.signing_key {
        // A masked chip id names no chip.
        SigningKey::Vcek if report.chip_id == [0; 64] => return None,
        SigningKey::Vcek => (false, report.chip_id),
        SigningKey::Vlek => (true, [0; 64]),
        SigningKey::Other(_) => return None,
    };
    Some(Asked { id: VekId { vlek, chip, svn }, families })
}

/// A verified certificate.
#[derive(Clone, Debug)]
pub(crate) struct Vek {
    pub(crate) certificate: Certificate,
    pub(crate) family: Family,
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
    /// Which VEK a certificate is, by its extensions.
    pub(crate) fn read(certificate: &Certificate) -> Option<(VekId, Family)> {
        let vek = VekExtensions::read(certificate)?;
        let mut chip = [0; 64];
        if let Some(hw_id) = &vek.hw_id {
            chip.get_mut(..hw_id.len())?.copy_from_slice(hw_id);
        }
        Some((VekId { vlek: vek.hw_id.is_none(), chip, svn: svn(&vek.tcb) }, vek.family))
    }

    /// Takes a certificate in where a root vouches for it.
    pub(crate) fn adopt(&mut self, certificate: &Certificate, roots: &Roots, now: Timestamp) -> Result<Taken, String> {
        match Self::read(certificate) {
            Some((id, family)) => self.adopt_vek(certificate, (id, family), roots, now),
            None => Ok(self.adopt_authority(certificate, roots)),
        }
    }

    fn adopt_vek(
        &mut self,
        certificate: &Certificate,
        (id, family): (VekId, Family),
        roots: &Roots,
        now: Timestamp,
    ) -> Result<Taken, String> {
        let subject = id.subject();
        if self.veks.get(&id).is_some_and(|held| held.certificate.der() == certificate.der()) {
            return Ok(Taken::Known(subject));
        }
        let part = EvidencePart::new(Tee::Snp, [("vek.der", certificate.der().to_vec())]);
        let endorsements = Endorsements {
            certificates: self.above(&certificate.issuer()).cloned().collect(),
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
        let (from, ends) = certificate.validity();
        let mark = Mark { number: crate::Number::default(), issued: from };
        if self.veks.get(&id).is_some_and(|held| held.mark.issued > mark.issued) {
            return Ok(Taken::Known(subject));
        }
        let (certificate, issuer) = (certificate.clone(), certificate.issuer());
        let vek = Vek { certificate, family, issuer, mark: mark.clone(), ends };
        if self.veks.len() >= MOST_VEKS && !self.veks.contains_key(&id) {
            let first = self.veks.iter().min_by_key(|(_, held)| held.ends).map(|(id, _)| id.clone());
            first.map(|first| self.veks.remove(&first));
        }
        self.veks.insert(id, Arc::new(vek));
        Ok(Taken::New(subject, mark))
    }

    fn adopt_authority(&mut self, certificate: &Certificate, roots: &Roots) -> Taken {
        let name = certificate.subject();
        let subject = Subject::Authority { name: name.clone() };
        if self.authorities.get(&name).is_some_and(|held| held.certificate.der() == certificate.der()) {
            return Taken::Known(subject);
        }
        let mut named = roots.amd_anchors().filter(|root| certificate.is_issued_by_name_of(root));
        let full = self.authorities.len() >= MOST_AUTHORITIES && !self.authorities.contains_key(&name);
        if full
            || certificate.is_issued_by_name_of(certificate)
            || !named.any(|root| certificate.is_pss_signed_by(root))
        {
            return Taken::Other;
        }
        let (from, ends) = certificate.validity();
        let mark = Mark { number: crate::Number::default(), issued: from };
        if self.authorities.get(&name).is_some_and(|held| held.mark.issued > mark.issued) {
            return Taken::Known(subject);
        }
        let certificate = certificate.clone();
        self.authorities.insert(name, Authority { certificate, mark: mark.clone(), ends });
        Taken::New(subject, mark)
    }

    /// Whether a root of AMD's signed a list, which names it as its issuer.
    pub(crate) fn signed_by_root(list: &CrlPiece, roots: &Roots) -> bool {
        let mut named = roots.amd_anchors().filter(|root| list.parsed.is_issued_by_name_of(root));
        list.parsed.is_whole() && named.any(|root| list.parsed.is_pss_signed_by(root))
    }

    /// Certificates of that name.
    pub(crate) fn above(&self, issuer: &str) -> impl Iterator<Item = &Certificate> {
        self.authorities.get(issuer).map(|held| &held.certificate).into_iter()
    }

    /// The certificate for a report, with what leads to its root.
    pub(crate) fn endorse(&self, asked: &Asked) -> Vec<Certificate> {
        let held = self.veks.get(&asked.id).filter(|held| asked.families.contains(&held.family));
        match held {
            Some(vek) => std::iter::once(&vek.certificate).chain(self.above(&vek.issuer)).cloned().collect(),
            // The evidence may bring the certificate itself; then only what stands above it is of use.
            None => self.authorities_of(asked).cloned().collect(),
        }
    }

    fn authorities_of(&self, asked: &Asked) -> impl Iterator<Item = &Certificate> {
        let fits = |name: &str| {
            family_of_authority(name).is_some_and(|family| asked.families.contains(&family))
                && name.contains("VLEK") == asked.id.vlek
        };
        self.authorities.iter().filter(move |(name, _)| fits(name)).map(|(_, held)| &held.certificate)
    }

    /// The families of which there is anything to keep up to date.
    pub(crate) fn families(&self) -> Vec<Family> {
        let mut families: Vec<_> = self.veks.values().map(|vek| vek.family).collect();
        families.extend(self.crls.keys().filter_map(|issuer| family_of_authority(issuer)));
        families.sort_unstable();
        families.dedup();
        families
    }
}
