//! When what is fetched: arithmetic on a clock that is given, so that every case can be tried.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use burgrave_types::{Random, Timestamp};

use crate::Want;

/// How often sources are asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// How often what is held is asked for again.
    pub interval: Duration,
    /// How often what ends soon is asked for again.
    pub ending: Duration,
    /// How long after a first failure; each further one doubles it, up to `interval`.
    pub retry: Duration,
    /// How often folders are looked at.
    pub folders: Duration,
    /// Wants of evidence that are fetched at once before the rate holds them back.
    pub burst: u32,
    /// And how long each further one waits.
    pub each: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(6 * 3600),
            ending: Duration::from_secs(1800),
            retry: Duration::from_secs(30),
            folders: Duration::from_secs(60),
            burst: 16,
            each: Duration::from_secs(1),
        }
    }
}

/// How a fetch went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Went {
    Well,
    /// Well, and what came ends soon all the same.
    Ending,
    Badly,
    /// Nobody has it: asking soon again is of no use.
    Absent,
}

#[derive(Clone, Copy, Debug)]
struct Job {
    due: Timestamp,
    failures: u32,
}

/// The plan.
#[derive(Debug)]
pub(crate) struct Schedule {
    pace: Pace,
    jobs: BTreeMap<Want, Job>,
    /// Wants that may be fetched at once, in thousandths.
    tokens: u64,
    counted: Timestamp,
    folders: Timestamp,
}

impl Schedule {
    pub(crate) fn new(pace: Pace, now: Timestamp) -> Self {
        let tokens = u64::from(pace.burst) * 1000;
        Self { pace, jobs: BTreeMap::new(), tokens, counted: now, folders: now }
    }

    /// Whether folders are to be looked at now.
    pub(crate) fn folders_due(&mut self, now: Timestamp) -> bool {
        // A clock that was set back must not put off anything for long.
        let due = now >= self.folders || self.folders.since(now) > self.pace.folders;
        if due {
            self.folders = now + self.pace.folders;
        }
        due
    }

    /// What is to be fetched now: of what is wanted as much as the rate allows, and what is kept and due.
    pub(crate) fn due(&mut self, wanted: &[Want], kept: &[Want], now: Timestamp) -> Vec<Want> {
        self.refill(now);
        let all: BTreeSet<&Want> = wanted.iter().chain(kept).collect();
        self.jobs.retain(|want, _| all.contains(want));
        let mut due = Vec::new();
        for want in wanted {
            if self.jobs.get(want).is_some_and(|job| job.due > now && job.failures > 0) {
                continue;
            }
            let Some(left) = self.tokens.checked_sub(1000) else { break };
            self.tokens = left;
            due.push(want.clone());
        }
        for want in kept {
            let is_due =
                self.jobs.get(want).is_none_or(|job| job.due <= now || job.due.since(now) > self.pace.interval);
            if is_due && !due.contains(want) {
                due.push(want.clone());
            }
        }
        due
    }

    /// Notes how a fetch went. Times are spread, so that many nodes do not ask at once.
    pub(crate) fn done(&mut self, want: &Want, went: Went, now: Timestamp, random: &dyn Random) {
        let failures = match went {
            Went::Well | Went::Ending => 0,
            Went::Badly | Went::Absent => self.jobs.get(want).map_or(0, |job| job.failures).saturating_add(1),
        };
        let wait = match went {
            Went::Well => self.pace.interval,
            Went::Ending => self.pace.ending.min(self.pace.interval),
            Went::Badly => {
                let doubled = self.pace.retry.saturating_mul(1 << failures.saturating_sub(1).min(16));
                doubled.min(self.pace.interval)
            }
            Went::Absent => self.pace.interval.min(Duration::from_secs(3600)),
        };
        self.jobs.insert(want.clone(), Job { due: now + spread(wait, random), failures });
    }

    /// How long nothing is to be done, unless something is wanted anew.
    pub(crate) fn rest(&self, waiting: bool, now: Timestamp) -> Duration {
        let jobs = self.jobs.values().map(|job| job.due.since(now)).min();
        let rest = jobs.into_iter().fold(self.folders.since(now), Duration::min);
        if waiting && self.tokens < 1000 { rest.min(self.pace.each) } else { rest }
    }

    fn refill(&mut self, now: Timestamp) {
        let each = self.pace.each.as_millis().max(1);
        let gained = now.since(self.counted).as_millis().saturating_mul(1000) / each;
        let gained = u64::try_from(gained).unwrap_or(u64::MAX);
        self.tokens = self.tokens.saturating_add(gained).min(u64::from(self.pace.burst) * 1000);
        self.counted = self.counted.max(now);
    }
}

/// Between three quarters of a time and the whole of it.
fn spread(wait: Duration, random: &dyn Random) -> Duration {
    let mut bytes = [0; 2];
    random.fill(&mut bytes);
    let part = f64::from(u16::from_be_bytes(bytes)) / f64::from(u16::MAX);
    wait.mul_f64(0.75 + part / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burgrave_verifier::snp::Family;

    struct Fixed(u8);

    impl Random for Fixed {
        fn fill(&self, out: &mut [u8]) {
            out.fill(self.0);
        }
    }

    const LIST: Want = Want::AmdCrl(Family::Milan);

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_unix_secs(secs)
    }

    fn veks(count: u8) -> Vec<Want> {
        (0..count)
            .map(|chip| Want::Vek {
                id: crate::VekId { vlek: false, chip: [chip; 64], svn: [0; 5] },
                families: Vec::new(),
            })
            .collect()
    }

    #[test]
    fn what_is_held_is_asked_for_again_after_the_interval() {
        let mut plan = Schedule::new(Pace::default(), at(0));
        assert_eq!(plan.due(&[], &[LIST], at(0)), [LIST]);
        plan.done(&LIST, Went::Well, at(0), &Fixed(0xff));
        assert_eq!(plan.due(&[], &[LIST], at(6 * 3600 - 1)), []);
        assert_eq!(plan.due(&[], &[LIST], at(6 * 3600)), [LIST]);
    }

    #[test]
    fn what_ends_soon_is_asked_for_sooner() {
        let mut plan = Schedule::new(Pace::default(), at(0));
        plan.done(&LIST, Went::Ending, at(0), &Fixed(0xff));
        assert_eq!(plan.due(&[], &[LIST], at(1799)), []);
        assert_eq!(plan.due(&[], &[LIST], at(1800)), [LIST]);
    }

    #[test]
    fn failures_wait_twice_as_long_each_time_and_never_longer_than_the_interval() {
        let mut plan = Schedule::new(Pace::default(), at(0));
        assert!(plan.folders_due(at(0)) && !plan.folders_due(at(59)));
        for (failure, wait) in [(1, 30), (2, 60), (3, 120), (4, 240)] {
            plan.done(&LIST, Went::Badly, at(0), &Fixed(0xff));
            assert_eq!(plan.rest(false, at(0)), Duration::from_secs(wait.min(60)), "failure {failure}");
            assert_eq!(plan.due(&[], &[LIST], at(wait as i64 - 1)), [], "failure {failure}");
            assert_eq!(plan.due(&[], &[LIST], at(wait as i64)), [LIST], "failure {failure}");
        }
        (0..40).for_each(|_| plan.done(&LIST, Went::Badly, at(0), &Fixed(0xff)));
        assert_eq!(plan.due(&[], &[LIST], at(6 * 3600)), [LIST]);
    }

    #[test]
    fn times_are_spread_over_a_quarter() {
        for (random, wait) in [(0, 4.5), (0xff, 6.0)] {
            let mut plan = Schedule::new(Pace::default(), at(0));
            plan.done(&LIST, Went::Well, at(0), &Fixed(random));
            let wait = (wait * 3600.0) as i64;
            assert_eq!(plan.due(&[], &[LIST], at(wait - 1)), []);
            assert_eq!(plan.due(&[], &[LIST], at(wait)), [LIST]);
        }
    }

    #[test]
    fn a_flood_of_wants_is_fetched_at_the_rate_and_no_faster() {
        let mut plan = Schedule::new(Pace::default(), at(0));
        let mut wanted = veks(100);
        assert!(plan.folders_due(at(0)));
        let first = plan.due(&wanted, &[], at(0));
        assert_eq!(first.len(), 16);
        wanted.retain(|want| !first.contains(want));
        assert_eq!(plan.rest(true, at(0)), Duration::from_secs(1));
        assert_eq!(plan.due(&wanted, &[], at(0)).len(), 0);
        assert_eq!(plan.due(&wanted, &[], at(3)).len(), 3);
        // What is kept is not held back by it.
        assert_eq!(plan.due(&wanted, &[LIST], at(3)), [LIST]);
    }

    #[test]
    fn a_clock_that_is_set_back_puts_nothing_off() {
        let mut plan = Schedule::new(Pace::default(), at(1_000_000));
        assert!(plan.folders_due(at(1_000_000)));
        plan.done(&LIST, Went::Well, at(1_000_000), &Fixed(0xff));
        assert!(plan.folders_due(at(5)));
        assert_eq!(plan.due(&[], &[LIST], at(5)), [LIST]);
    }

    #[test]
    fn what_nobody_has_is_not_asked_for_again_within_the_hour() {
        let mut plan = Schedule::new(Pace::default(), at(0));
        let wanted = veks(1);
        plan.done(&wanted[0], Went::Absent, at(0), &Fixed(0xff));
        assert_eq!(plan.due(&wanted, &[], at(3599)).len(), 0);
        assert_eq!(plan.due(&wanted, &[], at(3600)).len(), 1);
    }
}
