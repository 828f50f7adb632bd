//! Why claims are not a release's, as far as the evidence allows to say.

use std::collections::BTreeMap;
use std::fmt;

use burgrave_types::Claims;
use burgrave_types::claims::{HexBytes, ReferenceValue};
use serde::{Deserialize, Serialize};

use super::{Appraisal, Difference, differences};
use crate::eventlog::{MeasuredEvent, MeasuredLog};

/// The digests of a release's events by register, under the names that claims have: what the release was measured as when it
/// was registered ([`MeasuredLog::reference`]). It explains; what is demanded stands in the reference value alone.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReferenceLog(pub BTreeMap<String, Vec<HexBytes>>);

/// A release that is known, whatever its state: also one that is deprecated or revoked.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Its name.
    pub release: &'a str,
    /// What it demands.
    pub reference: &'a ReferenceValue,
    /// What it was measured as.
    pub log: Option<&'a ReferenceLog>,
}

/// The first event of a register that is not as in a release's log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct EventDifference {
    /// Its number in the register, from 0.
    pub number: usize,
    /// The digest that the release's log has there; absent where it has ended.
    pub expected: Option<HexBytes>,
    /// What the evidence's log has there; absent where it has ended.
    pub found: Option<MeasuredEvent>,
}

impl Appraisal {
    /// The same, with each difference explained: `log` is what the verification of the same evidence made of its log
    /// ([`Verification::log`](crate::Verification::log)), `known` all releases of the registration.
    ///
    /// ```
    /// use burgrave_types::claims::{Claims, ReferenceValue};
    /// use burgrave_verifier::eventlog::MeasuredLog;
    /// use burgrave_verifier::{Appraisal, Known, appraise};
    ///
    /// let claims: Claims = serde_json::from_str(
    ///     r#"{"tee":"snp","tcb":{"status":"up-to-date"},"launch":{"measurement":"aa"},"proved":["launch"]}"#)?;
    /// let old: ReferenceValue = serde_json::from_str(r#"{"tee":"snp","measurement":"aa"}"#)?;
    /// let new: ReferenceValue = serde_json::from_str(r#"{"tee":"snp","measurement":"bb"}"#)?;
    /// let known = [("old", &old), ("new", &new)].map(|(release, reference)| Known { release, reference, log: None });
    /// let appraisal = appraise(&claims, [("new", &new)]).explained(&claims, &MeasuredLog::default(), known);
    /// let Appraisal::Unmatched { differences } = appraisal else { panic!() };
    /// assert_eq!(differences[0].to_string(), "measurement: expected bb, found aa, as `old` has it");
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn explained<'a>(self, claims: &Claims, log: &MeasuredLog, known: impl IntoIterator<Item = Known<'a>>) -> Self {
        let Self::Unmatched { mut differences } = self else { return self };
        let known: Vec<Known<'a>> = known.into_iter().collect();
        for difference in &mut differences {
            let others = known.iter().filter(|known| known.release != difference.release);
            let fitting = others.filter(|other| fits(claims, other, &difference.claim));
            difference.known_as = fitting.map(|other| other.release.to_owned()).collect();
            let reference = known.iter().find(|known| known.release == difference.release).and_then(|known| known.log);
            difference.event = reference.and_then(|reference| first_difference(&difference.claim, reference, log));
        }
        Self::Unmatched { differences }
    }
}

/// Whether a release names this claim, and the evidence says what it names.
fn fits(claims: &Claims, known: &Known<'_>, claim: &str) -> bool {
    let reference = known.reference;
    let names = match claim {
        "tee" => true,
        "measurement" => reference.measurement.is_some(),
        "signer" => reference.signer.is_some(),
        "product_id" => reference.product_id.is_some(),
        "config" => reference.config.is_some(),
        "svn" => reference.min_svn.is_some(),
        register => reference.registers.contains_key(register),
    };
    names && !differences(claims, known.release, reference).iter().any(|difference| difference.claim == claim)
}

/// Where a register's events depart from the release's. Events that the register does not prove are nobody's word.
fn first_difference(register: &str, reference: &ReferenceLog, log: &MeasuredLog) -> Option<EventDifference> {
    let expected = reference.0.get(register)?;
    let found = log.0.get(register).filter(|register| register.proven)?;
    let (mut expected, mut found) = (expected.iter(), found.events.iter());
    let mut number = 0;
    loop {
        match (expected.next(), found.next()) {
            (None, None) => return None,
            (Some(expected), Some(found)) if *expected == found.digest => number += 1,
            (expected, found) => {
                return Some(EventDifference { number, expected: expected.cloned(), found: found.cloned() });
            }
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.claim, self.expected, self.found)?;
        if let Some(event) = &self.event {
            write!(f, ", from {event} on")?;
        }
        for (at, release) in self.known_as.iter().enumerate() {
            write!(f, "{} `{release}`", if at == 0 { ", as" } else { " and" })?;
        }
        if self.known_as.is_empty() { Ok(()) } else { f.write_str(" has it") }
    }
}

impl fmt::Display for EventDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event {}", self.number)?;
        match &self.found {
            Some(event) if event.text.is_empty() => write!(f, " ({}, {}", event.kind, event.digest)?,
            Some(event) => write!(f, " ({} `{}`, {}", event.kind, event.text, event.digest)?,
            None => f.write_str(" (there is none")?,
        }
        match &self.expected {
            Some(digest) => write!(f, "; expected {digest})"),
            None => f.write_str("; expected none)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appraise;
    use crate::eventlog::MeasuredRegister;

    fn event(digest: u8, text: &str) -> MeasuredEvent {
        MeasuredEvent { kind: "EV_IPL".to_owned(), text: text.to_owned(), digest: HexBytes(vec![digest]) }
    }

    fn log(proven: bool, digests: &[u8]) -> MeasuredLog {
        let events = digests.iter().map(|digest| event(*digest, "grub_cmd: x")).collect();
        MeasuredLog([("pcr8".to_owned(), MeasuredRegister { proven, events })].into())
    }

    fn reference(pcr8: &str) -> ReferenceValue {
        serde_json::from_value(serde_json::json!({ "tee": "tpm", "registers": { "pcr8": pcr8 } })).unwrap()
    }

    fn explained(log: &MeasuredLog, expected: &[u8]) -> Difference {
        let claims: Claims = serde_json::from_value(serde_json::json!({
            "tee": "tpm", "tcb": {"status": "vendor-managed"}, "launch": {}, "registers": {"pcr8": "aa"}, "proved": ["boot"]
        }))
        .unwrap();
        let (new, old) = (reference("bb"), reference("aa"));
        let new_log =
            ReferenceLog([("pcr8".to_owned(), expected.iter().map(|one| HexBytes(vec![*one])).collect())].into());
        let known = [
            Known { release: "new", reference: &new, log: Some(&new_log) },
            Known { release: "old", reference: &old, log: None },
        ];
        match appraise(&claims, [("new", &new)]).explained(&claims, log, known) {
            Appraisal::Unmatched { mut differences } => differences.remove(0),
            Appraisal::Matched { .. } => panic!("matched"),
        }
    }

    #[test]
    fn a_register_is_explained_by_the_first_event_that_differs_and_the_release_that_has_it() {
        let found = explained(&log(true, &[1, 2, 3]), &[1, 9, 3]);
        assert_eq!(
            found.to_string(),
            "pcr8: expected bb, found aa, from event 1 (EV_IPL `grub_cmd: x`, 02; expected 09) on, as `old` has it"
        );
        assert_eq!((found.event.unwrap().number, found.known_as), (1, vec!["old".to_owned()]));
    }

    #[test]
    fn a_log_that_is_longer_or_shorter_differs_where_the_other_ends() {
        let longer = explained(&log(true, &[1, 2]), &[1]).event.unwrap();
        assert_eq!((longer.number, longer.expected, longer.found), (1, None, Some(event(2, "grub_cmd: x"))));
        let shorter = explained(&log(true, &[1]), &[1, 2]).event.unwrap();
        assert_eq!((shorter.number, shorter.expected, shorter.found), (1, Some(HexBytes(vec![2])), None));
        assert_eq!(explained(&log(true, &[1]), &[1]).event, None);
    }

    #[test]
    fn a_log_that_the_register_does_not_prove_explains_nothing() {
        assert_eq!(explained(&log(false, &[1, 2]), &[1]).event, None);
        assert_eq!(explained(&MeasuredLog::default(), &[1]).event, None);
    }

    #[test]
    fn a_reference_log_is_what_was_proven() {
        let reference = log(true, &[1, 2]).reference();
        assert_eq!(reference.0["pcr8"], [HexBytes(vec![1]), HexBytes(vec![2])]);
        assert!(log(false, &[1, 2]).reference().0.is_empty());
    }
}
