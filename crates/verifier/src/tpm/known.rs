//! What is remembered of TPMs: a machine attests again and again with the same keys, certificates and, mostly, PCR values.
//!
//! Whether a key is certified is remembered with all that this depended on: the certificates and lists at hand, the roots,
//! and the time between two instants at which any of them begins or ends. Where one of these is another, all of it is done anew,
//! so that a known TPM gets the same answer as a new one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use burgrave_types::{EvidencePart, Timestamp};

use super::chain::Outcome;
use super::pcr::Values;
use super::signature::VerifyingKey;
use super::structures::{Public, public_area};
use super::{AK, EK, ek_digest};
use crate::x509::{Certificate, Crl};
use crate::{Endorsements, Input, Roots, Text};

/// More TPMs than this are not remembered.
const TPMS: usize = 4096;
/// TPMs of which more bytes would have to be kept are not remembered: keys, certificates and values take 8000.
const MOST_BYTES: usize = 24 * 1024;

/// TPMs by the end of their attestation keys, which is a part of the modulus or of the point.
#[derive(Debug, Default)]
pub(crate) struct KnownTpms(Mutex<HashMap<[u8; 32], Arc<KnownTpm>>>);

/// What was learnt from evidence that was accepted.
#[derive(Debug)]
pub(super) struct KnownTpm {
    pub(super) keys: Arc<Keys>,
    pub(super) certified: Arc<CertifiedKeys>,
    pub(super) values: Vec<Arc<Values>>,
}

impl KnownTpms {
    /// The TPM with this attestation key, mostly: whether it is that very one the caller asks.
    pub(super) fn find(&self, ak: &[u8]) -> Option<Arc<KnownTpm>> {
        let label = label(ak)?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&label).cloned()
    }

    /// Remembers a TPM whose evidence was accepted. A full memory begins anew, which costs a few signatures and nothing else.
    pub(super) fn remember(&self, tpm: KnownTpm) {
        let bytes = tpm.keys.bytes() + tpm.certified.bytes() + tpm.values.iter().map(|one| one.bytes()).sum::<usize>();
        let Some(label) = label(tpm.keys.ak.bytes()).filter(|_| bytes <= MOST_BYTES) else { return };
        let mut tpms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tpms.len() >= TPMS && !tpms.contains_key(&label) {
            tpms.clear();
        }
        tpms.insert(label, Arc::new(tpm));
    }
}

fn label(ak: &[u8]) -> Option<[u8; 32]> {
    ak.last_chunk().copied()
}

/// The public areas beside a quote, read.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) ak: Public,
    pub(super) ek: Option<Public>,
    /// The AK, to verify with.
    pub(super) verifying: VerifyingKey,
    pub(super) ak_name: Vec<u8>,
    /// The attributes of AK and EK, for people.
    pub(super) attributes: [Text; 2],
    pub(super) ek_digest: Option<[u8; 32]>,
    /// The AK's qualified names in the hierarchies for which a TPM signs its numbers as they are.
    plain_names: Vec<Vec<u8>>,
}

/// `TPM_RH_ENDORSEMENT` and `TPM_RH_PLATFORM` (part 2, section 7.4).
const ENDORSEMENT: [u8; 4] = 0x4000_000bu32.to_be_bytes();
const PLATFORM: [u8; 4] = 0x4000_000cu32.to_be_bytes();

impl Keys {
    pub(super) fn new(ak: Public, ek: Option<Public>) -> Self {
        Self {
            verifying: ak.key.clone().into(),
            ak_name: ak.name(),
            attributes: [Some(&ak), ek.as_ref()]
                .map(|key| key.map_or("none".into(), |key| Text::from(format!("{:#010x}", key.attributes.0)).shared())),
            ek_digest: ek.as_ref().map(|ek| ek_digest(ek.bytes())),
            plain_names: [ENDORSEMENT, PLATFORM]
                .iter()
                .map(|hierarchy| ak.qualified_name(hierarchy))
                .chain(ek.as_ref().map(|ek| ak.qualified_name(&ek.qualified_name(&ENDORSEMENT))))
                .collect(),
            ak,
            ek,
        }
    }

    /// Whether these are the keys of such public areas, byte for byte.
    pub(super) fn are(&self, ak: &[u8], ek: Option<&[u8]>) -> bool {
        public_area(ak) == self.ak.bytes() && ek.map(public_area) == self.ek.as_ref().map(Public::bytes)
    }

    /// Whether a quote by a key of this qualified name has the TPM's numbers as they are. For keys of other hierarchies a TPM adds
    /// to reset count, restart count and firmware version what depends on the key (part 1, on attestation: obfuscation).
    pub(super) fn has_plain_numbers(&self, qualified_signer: &[u8]) -> bool {
        self.plain_names.iter().any(|name| name == qualified_signer)
    }

    fn bytes(&self) -> usize {
        self.ak.bytes().len() + self.ek.as_ref().map_or(0, |ek| ek.bytes().len())
    }
}

/// What the certificates of AK and EK come to, and on what that depends besides the keys.
#[derive(Debug)]
pub(super) struct CertifiedKeys {
    pub(super) ak: Outcome,
    pub(super) ek: Outcome,
    items: Vec<(String, Vec<u8>)>,
    endorsed: Vec<Vec<u8>>,
    anchors: Arc<Vec<Certificate>>,
    /// From this instant on and until before that one nothing begins or ends.
    between: (Timestamp, Timestamp),
}

impl CertifiedKeys {
    /// What was found with the certificates and lists `known`; `None` where it is not to be remembered.
    pub(super) fn new(ak: Outcome, ek: Outcome, known: &Endorsements, input: &Input<'_>) -> Option<Self> {
        let holds = |outcome: &Outcome| !matches!(outcome, Outcome::Refused(..));
        let is_any_certified = [&ak, &ek].into_iter().any(|outcome| matches!(outcome, Outcome::Certified(_)));
        if !holds(&ak) || !holds(&ek) || !is_any_certified {
            return None;
        }
        let anchors = Arc::clone(input.roots.tpm_anchors());
        let certificates = known.certificates.iter().chain(anchors.iter()).map(Certificate::validity);
        let lists = known.crls.iter().map(|list| {
            let (from, next) = list.validity();
            (from, next.unwrap_or(from))
        });
        let between = nothing_changes(certificates.chain(lists).flat_map(|(from, to)| [from, to]), input.at)?;
        let items = endorsing_items(input.part).map(|(name, bytes)| (name.clone(), bytes.clone())).collect();
        let endorsed = endorsed(input.endorsements).map(<[u8]>::to_vec).collect();
        Some(Self { ak, ek, items, endorsed, anchors, between })
    }

    /// Whether all that it depends on is so here.
    pub(super) fn counts(&self, input: &Input<'_>) -> bool {
        let (from, until) = self.between;
        from <= input.at
            && input.at < until
            && self.is_under(input.roots)
            && self.items.iter().map(|(name, bytes)| (name, bytes)).eq(endorsing_items(input.part))
            && self.endorsed.iter().map(Vec::as_slice).eq(endorsed(input.endorsements))
    }

    fn is_under(&self, roots: &Roots) -> bool {
        let anchors = roots.tpm_anchors();
        let same = || self.anchors.iter().map(Certificate::der).eq(anchors.iter().map(Certificate::der));
        Arc::ptr_eq(&self.anchors, anchors) || same()
    }

    fn bytes(&self) -> usize {
        let items = self.items.iter().map(|(name, bytes)| name.len() + bytes.len()).sum::<usize>();
        items + self.endorsed.iter().map(Vec::len).sum::<usize>()
    }
}

/// The stretch of time around `at` that none of these instants falls into. `None` within a second of one of them: verifiers of
/// certificates count whole seconds.
fn nothing_changes(instants: impl Iterator<Item = Timestamp>, at: Timestamp) -> Option<(Timestamp, Timestamp)> {
    const SECOND: Duration = Duration::from_secs(1);
    let (mut from, mut until) = (Timestamp::from_unix_secs(0), Timestamp::from_unix_secs(i64::MAX / 1000));
    for instant in instants {
        if at < instant {
            until = until.min(instant);
        } else {
            from = from.max(instant + SECOND);
        }
    }
    (from <= at && at < until).then_some((from, until))
}

fn endorsed(endorsements: &Endorsements) -> impl Iterator<Item = &[u8]> {
    endorsements.certificates.iter().map(Certificate::der).chain(endorsements.crls.iter().map(Crl::der))
}

/// The items among which certificates and lists are looked for: all but those whose names say that they are something else.
pub(super) fn endorsing_items(part: &EvidencePart) -> impl Iterator<Item = (&String, &Vec<u8>)> {
    part.items.iter().filter(|(name, _)| {
        let is_of_quote = [("quote", ".msg"), ("quote", ".sig"), ("pcrs", ".json")]
            .iter()
            .any(|(prefix, ending)| name.starts_with(prefix) && name.ends_with(ending));
        !is_of_quote && !matches!(name.as_str(), AK | EK | "eventlog.bin" | "ima.bin" | "ima.offset")
    })
}

#[cfg(test)]
mod tests {
    use burgrave_types::Tee;

    use super::*;
    use crate::{Expected, Profile, Verdict, verify};

    const ITEMS: [(&str, &[u8]); 7] = [
        ("ak.pub", include_bytes!("../../testdata/tpm/swtpm-ecc/ak.pub")),
        ("ek.pub", include_bytes!("../../testdata/tpm/swtpm-ecc/ek.pub")),
        ("ekcert-rsa.der", include_bytes!("../../testdata/tpm/swtpm-ecc/ekcert-rsa.der")),
        ("issuer.pem", include_bytes!("../../testdata/tpm/swtpm-ecc/issuer.pem")),
        ("pcrs.json", include_bytes!("../../testdata/tpm/swtpm-ecc/pcrs.json")),
        ("quote.msg", include_bytes!("../../testdata/tpm/swtpm-ecc/quote.msg")),
        ("quote.sig", include_bytes!("../../testdata/tpm/swtpm-ecc/quote.sig")),
    ];
    const ROOT: &[u8] = include_bytes!("../../testdata/tpm/swtpm-ecc/test-root.pem");

    fn part() -> EvidencePart {
        EvidencePart::new(Tee::Tpm, ITEMS.map(|(name, bytes)| (name, bytes.to_vec())))
    }

    fn judge(part: &EvidencePart, roots: &Roots, expected: Expected<'_>) -> Verdict {
        let (endorsements, profile) = (Endorsements::default(), Profile::default());
        let at = "2026-12-01T00:00:00Z".parse().unwrap();
        verify(&Input { part, endorsements: &endorsements, roots, profile: &profile, expected, at }).verdict
    }

    #[test]
    fn a_tpm_is_known_after_it_was_accepted_and_not_before() {
        let (roots, part) = (Roots::only([ROOT]).unwrap(), part());
        let mut unsigned = part.clone();
        *unsigned.items.get_mut("quote.sig").unwrap().last_mut().unwrap() ^= 1;
        assert_eq!(judge(&unsigned, &roots, Expected::None), Verdict::Reject);
        assert_eq!(judge(&part, &roots, Expected::Nonce(b"of another challenge")), Verdict::Reject);
        assert!(roots.known_tpms().find(part.item(AK).unwrap()).is_none());
        assert_eq!(judge(&part, &roots, Expected::None), Verdict::Accept);
        let known = roots.known_tpms().find(part.item(AK).unwrap()).unwrap();
        assert!(roots.forgetting().known_tpms().find(part.item(AK).unwrap()).is_none());
        // What is known is not remembered again.
        assert_eq!(judge(&part, &roots, Expected::None), Verdict::Accept);
        assert!(Arc::ptr_eq(&known, &roots.known_tpms().find(part.item(AK).unwrap()).unwrap()));
    }

    #[test]
    fn what_takes_too_many_bytes_is_not_remembered() {
        let (roots, mut part) = (Roots::only([ROOT]).unwrap(), part());
        part.items.insert("other".to_owned(), vec![0; MOST_BYTES]);
        assert_eq!(judge(&part, &roots, Expected::None), Verdict::Accept);
        assert!(roots.known_tpms().find(part.item(AK).unwrap()).is_none());
    }

    #[test]
    fn a_full_memory_begins_anew() {
        let (roots, mut part) = (Roots::only([ROOT]).unwrap(), part());
        assert_eq!(judge(&part, &roots, Expected::None), Verdict::Accept);
        let known = roots.known_tpms().find(part.item(AK).unwrap()).unwrap();
        let mut tpms = roots.known_tpms().0.lock().unwrap();
        tpms.extend((1..TPMS).map(|at| ([at.to_be_bytes(); 4].concat().try_into().unwrap(), Arc::clone(&known))));
        assert_eq!(tpms.len(), TPMS);
        drop(tpms);
        // One that is there takes its own place.
        part.items.insert("other".to_owned(), Vec::new());
        assert_eq!(judge(&part, &roots, Expected::None), Verdict::Accept);
        let count = || roots.known_tpms().0.lock().unwrap().len();
        assert_eq!(count(), TPMS);
        roots.known_tpms().0.lock().unwrap().insert([0xff; 32], known);
        roots.known_tpms().0.lock().unwrap().remove(&label(part.item(AK).unwrap()).unwrap());
        assert_eq!(judge(&part, &roots, Expected::None), Verdict::Accept);
        assert_eq!(count(), 1);
    }

    #[test]
    fn nothing_is_concluded_beyond_an_instant_at_which_something_changes() {
        let secs = Timestamp::from_unix_secs;
        let between = |at| nothing_changes([100, 300, 200].map(secs).into_iter(), at);
        assert_eq!(between(secs(150)), Some((secs(101), secs(200))));
        assert_eq!(between(secs(101)), Some((secs(101), secs(200))));
        assert_eq!(between(secs(50)), Some((secs(0), secs(100))));
        assert_eq!(between(secs(400)).unwrap().0, secs(301));
        for at in [100_000, 100_999, 200_000, 300_500] {
            assert_eq!(between(secs(0) + Duration::from_millis(at)), None, "{at}");
        }
    }
}
