//! What evidence asked for and is not there: a bounded list, for the refresher to work off.

use std::collections::BTreeMap;
use std::time::Duration;

use burgrave_types::Timestamp;
use burgrave_verifier::dcap::CollateralId;

use burgrave_verifier::snp::Family;

use crate::amd::VekId;
use crate::nvidia::GpuList;
use crate::status::Failure;

/// Wants that are listed at most. Junk can fill the list, so what failed makes room for what is new.
const MOST: usize = 128;
/// How long a want is kept that nobody repeats.
const KEPT: Duration = Duration::from_secs(3600);

/// Something to fetch.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Want {
    /// All of Intel's for one kind of platform.
    Platform(CollateralId),
    /// A revocation list of NVIDIA's.
    GpuCrl(GpuList),
    /// The revocation list of AMD's root for a family.
    AmdCrl(Family),
    /// The authorities of a family, for VCEKs or for VLEKs.
    AmdChain {
        /// The family.
        family: Family,
        /// ASVK instead of ASK.
        vlek: bool,
    },
    /// The certificate of one chip at one TCB.
    Vek {
        /// Which.
        id: VekId,
        /// The families to ask for, in this order.
        families: Vec<Family>,
    },
}

/// The list.
#[derive(Debug, Default)]
pub(crate) struct Wants(BTreeMap<Want, Wanted>);

#[derive(Clone, Debug)]
struct Wanted {
    at: Timestamp,
    /// How often it was asked for: evidence that is meant comes again, made-up evidence seldom.
    times: u32,
    failed: Option<Failure>,
}

impl Wants {
    /// Lists a want; says whether it is new. Where the list is full, the oldest that failed goes, and where none failed the
    /// new one is not listed: its evidence is refused all the same, and asks again.
    pub(crate) fn note(&mut self, want: Want, now: Timestamp) -> bool {
        self.0.retain(|_, wanted| now.since(wanted.at) < KEPT);
        if let Some(wanted) = self.0.get_mut(&want) {
            wanted.at = wanted.at.max(now);
            wanted.times = wanted.times.saturating_add(1);
            return false;
        }
        if self.0.len() >= MOST {
            let failed = self.0.iter().filter(|(_, wanted)| wanted.failed.is_some());
            let Some(oldest) = failed.min_by_key(|(_, wanted)| wanted.at).map(|(want, _)| want.clone()) else {
                return false;
            };
            self.0.remove(&oldest);
        }
        self.0.insert(want, Wanted { at: now, times: 1, failed: None });
        true
    }

    pub(crate) fn remove(&mut self, want: &Want) {
        self.0.remove(want);
    }

    pub(crate) fn failed(&mut self, want: &Want, failure: Failure) {
        if let Some(wanted) = self.0.get_mut(want) {
            wanted.failed = Some(failure);
        }
    }

    /// All of them, those that were asked for most often first.
    pub(crate) fn list(&self) -> Vec<(Want, Option<Failure>)> {
        let mut all: Vec<_> = self.0.iter().collect();
        all.sort_by_key(|(_, wanted)| std::cmp::Reverse(wanted.times));
        all.into_iter().map(|(want, wanted)| (want.clone(), wanted.failed.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vek(number: u32) -> Want {
        let mut chip = [7; 64];
        chip[..4].copy_from_slice(&number.to_be_bytes());
        Want::Vek { id: VekId { vlek: false, chip, svn: [0; 5] }, families: vec![Family::Milan] }
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_unix_secs(secs)
    }

    #[test]
    fn junk_fills_the_list_and_no_more() {
        let mut wants = Wants::default();
        for number in 0..10_000 {
            wants.note(vek(number), at(1));
        }
        assert_eq!(wants.list().len(), MOST);
    }

    #[test]
    fn what_failed_makes_room_for_what_is_new() {
        let mut wants = Wants::default();
        for number in 0..128 {
            wants.note(vek(number), at(1));
        }
        assert!(!wants.note(vek(500), at(2)), "nothing has failed yet");
        wants.failed(&vek(3), Failure { at: at(3), why: "404".to_owned() });
        assert!(wants.note(vek(500), at(4)));
        assert!(!wants.list().iter().any(|(want, _)| *want == vek(3)));
    }

    #[test]
    fn what_is_asked_for_again_comes_before_what_was_made_up() {
        let mut wants = Wants::default();
        for number in 0..100 {
            wants.note(vek(number), at(1));
        }
        wants.note(vek(77), at(2));
        assert_eq!(wants.list()[0].0, vek(77));
    }

    #[test]
    fn a_want_that_nobody_repeats_is_forgotten() {
        let mut wants = Wants::default();
        assert!(wants.note(vek(1), at(0)) && !wants.note(vek(1), at(10)));
        wants.note(vek(2), at(3700));
        assert_eq!(wants.list().len(), 1);
    }
}
