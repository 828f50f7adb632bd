//! What is remembered of platforms: a chip attests again and again with the same certificates, whose signatures are checked
//! once.
//!
//! Only what never changes is kept. Whether certificates are valid *now*, anchored under *these* roots and on no list that is at
//! hand is asked each time, so that a known platform gets the same answer as a new one.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use burgrave_types::EvidencePart;

use super::REPORT;
use super::chain::{Chain, Vek};
use super::report::Report;
use crate::Endorsements;

/// More platforms than this are not remembered.
const PLATFORMS: usize = 4096;
/// Platforms whose certificates take more bytes than this are not remembered: VEK, ASK, ARK and a list take 7000.
const MOST_BYTES: usize = 8192;

/// Platforms by chip and TCB.
#[derive(Debug, Default)]
pub(crate) struct KnownPlatforms(Mutex<HashMap<Label, Arc<Platform>>>);

/// CHIP_ID and REPORTED_TCB, by which a platform is found before its certificates are compared.
type Label = ([u8; 64], [u8; 8]);

/// The items beside a report, read, with a VEK among them whose chain was verified.
#[derive(Debug)]
pub(super) struct Platform {
    items: BTreeMap<String, Vec<u8>>,
    pub(super) beside: Endorsements,
    pub(super) vek: Vek,
    pub(super) chain: Arc<Chain>,
}

impl KnownPlatforms {
    /// The platform of a report, where these very items were beside a report of it before.
    pub(super) fn find(&self, report: &Report, part: &EvidencePart) -> Option<Arc<Platform>> {
        let platforms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = platforms.get(&label(report))?;
        found.items.iter().eq(items(part)).then(|| Arc::clone(found))
    }

    /// Remembers a platform whose report and chain were verified. A full memory begins anew, which costs a few signatures and
    /// nothing else.
    pub(super) fn remember(
        &self,
        report: &Report,
        part: &EvidencePart,
        beside: Endorsements,
        vek: Vek,
        chain: Arc<Chain>,
    ) {
        // A VEK that came another way may come another way next time.
        let comes_along = beside.certificates.iter().any(|one| one.der() == vek.certificate.der());
        if !comes_along || items(part).map(|(_, bytes)| bytes.len()).sum::<usize>() > MOST_BYTES {
            return;
        }
        let items = items(part).map(|(name, bytes)| (name.clone(), bytes.clone())).collect();
        let platform = Arc::new(Platform { items, beside, vek, chain });
        let mut platforms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if platforms.len() >= PLATFORMS {
            platforms.clear();
        }
        platforms.insert(label(report), platform);
    }
}

/// All items but the report.
fn items(part: &EvidencePart) -> impl Iterator<Item = (&String, &Vec<u8>)> {
    part.items.iter().filter(|(name, _)| name.as_str() != REPORT)
}

fn label(report: &Report) -> Label {
    (report.chip_id, report.reported_tcb.0)
}

#[cfg(test)]
mod tests {
    use burgrave_types::Tee;

    use super::*;
    use crate::{Expected, Input, Profile, Roots, Verdict, verify};

    const REPORT_BYTES: &[u8] = include_bytes!("../../testdata/snp/milan-v2-virtee/report.bin");
    const VCEK: &[u8] = include_bytes!("../../testdata/snp/milan-v2-virtee/vcek.der");

    fn judge(part: &EvidencePart, roots: &Roots) -> Verdict {
        let (endorsements, profile) = (Endorsements::default(), Profile::default());
        let at = "2026-03-01T00:00:00Z".parse().unwrap();
        verify(&Input { part, endorsements: &endorsements, roots, profile: &profile, expected: Expected::None, at })
            .verdict
    }

    #[test]
    fn a_platform_is_known_after_it_was_accepted_and_not_before() {
        let roots = Roots::vendor().forgetting();
        let report = Report::read(REPORT_BYTES).unwrap();
        let mut part = EvidencePart::new(Tee::Snp, [(REPORT, REPORT_BYTES.to_vec()), ("vcek.der", VCEK.to_vec())]);
        let mut unsigned = part.clone();
        unsigned.items.get_mut(REPORT).unwrap()[0x90] ^= 1;
        assert_eq!(judge(&unsigned, &roots), Verdict::Reject);
        assert!(roots.known_platforms().find(&report, &part).is_none());
        assert_eq!(judge(&part, &roots), Verdict::Accept);
        assert!(roots.known_platforms().find(&report, &part).is_some());
        assert!(roots.forgetting().known_platforms().find(&report, &part).is_none());
        part.items.insert("other".to_owned(), Vec::new());
        assert!(roots.known_platforms().find(&report, &part).is_none());
    }

    #[test]
    fn what_takes_too_many_bytes_is_not_remembered() {
        let roots = Roots::vendor().forgetting();
        let report = Report::read(REPORT_BYTES).unwrap();
        let items = [(REPORT, REPORT_BYTES.to_vec()), ("vcek.der", VCEK.to_vec()), ("other", vec![0; MOST_BYTES])];
        let part = EvidencePart::new(Tee::Snp, items);
        assert_eq!(judge(&part, &roots), Verdict::Accept);
        assert!(roots.known_platforms().find(&report, &part).is_none());
    }
}
