//! Refused attestations on record: of each cause, the first of a minute in full and the rest as a number.
//!
//! Whoever can reach a node can have it refuse as often as they like. That must neither fill its disk nor hide what else is
//! refused: causes count apart, and so do strangers and each instance.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use burgrave_audit::{Durability, Kind, Refusals as Summary};
use burgrave_types::{InstanceId, Timestamp};

use crate::Control;

/// How long refusals are counted together.
const WINDOW: Duration = Duration::from_secs(60);

/// Refusals of one cause that have a line each, in that time.
const IN_FULL: u64 = 10;

/// The refusals of the last minute.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    since: Timestamp,
    /// Lines written, and refusals without one, by who bore the evidence and the cause.
    by_cause: BTreeMap<(Option<InstanceId>, String), (u64, u64)>,
}

impl Refusals {
    /// Counts a refusal; whether it gets a line of its own. One that there is too little to say of (`whole` is false) gets none.
    pub(crate) fn count(&self, now: Timestamp, who: Option<InstanceId>, cause: &str, whole: bool) -> bool {
        let mut counts = self.lock();
        if counts.by_cause.is_empty() {
            counts.since = now;
        }
        let (lines, more) = counts.by_cause.entry((who, cause.to_owned())).or_default();
        let writes = whole && *lines < IN_FULL;
        let counter = if writes { lines } else { more };
        *counter = counter.saturating_add(1);
        writes
    }

    /// Whether one more refusal of that cause would get no line.
    pub(crate) fn is_full(&self, who: Option<InstanceId>, cause: &str) -> bool {
        self.lock().by_cause.get(&(who, cause.to_owned())).is_some_and(|(lines, _)| *lines >= IN_FULL)
    }

    /// What had no line in the minute that is over, and begins another.
    fn due(&self, now: Timestamp) -> Vec<Summary> {
        let mut counts = self.lock();
        if counts.by_cause.is_empty() || now < counts.since + WINDOW {
            return Vec::new();
        }
        let since = counts.since;
        let over = std::mem::take(&mut counts.by_cause).into_iter().filter(|(_, (_, more))| *more > 0);
        over.map(|((instance, cause), (_, more))| Summary { cause, more, since, instance }).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control {
    /// Puts on record how many refusals had no line of their own.
    pub(crate) fn record_refusals(&self) {
        for summary in self.refusals().due(self.now()) {
            let detail = format!("{} more since {}", summary.more, summary.since);
            self.happened("attestation.rejected", &summary.cause, &detail);
            // They are refused, whether or not that can be written down.
            let _ = self.record(Kind::Refusals(summary), Durability::Batched);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_secs(1000);

    #[test]
    fn a_flood_costs_ten_lines_and_a_number_a_minute() {
        let refusals = Refusals::default();
        let lines = (0..10_000).filter(|_| refusals.count(NOW, None, "binding.nonce", true)).count();
        assert_eq!(lines, 10);
        assert!(refusals.due(NOW + WINDOW - Duration::from_millis(1)).is_empty());
        let summary = Summary { cause: "binding.nonce".to_owned(), more: 9_990, since: NOW, instance: None };
        assert_eq!(refusals.due(NOW + WINDOW), [summary]);
        assert!(refusals.due(NOW + WINDOW).is_empty());
        assert!(refusals.count(NOW + WINDOW, None, "binding.nonce", true));
    }

    #[test]
    fn a_flood_hides_neither_other_causes_nor_an_instance() {
        let refusals = Refusals::default();
        (0..1_000).for_each(|_| {
            refusals.count(NOW, None, "binding.nonce", true);
        });
        assert!(refusals.count(NOW, None, "platform.barred", true));
        assert!(refusals.count(NOW, Some(InstanceId::from_bytes([1; 16])), "binding.nonce", true));
        assert!(!refusals.count(NOW, None, "tpm.activation", false), "nothing is known of it but the cause");
        assert_eq!(refusals.due(NOW + WINDOW).iter().map(|summary| summary.more).sum::<u64>(), 991);
    }
}
