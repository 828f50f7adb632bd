//! What is held, how it stands, and what happens to it: for `status`, for alarms and for the audit log.

use std::fmt;
use std::time::Duration;

use burgrave_types::Timestamp;
use serde::Serialize;

use crate::{Mark, Number, Source, Subject};

/// How near its end something may come before an alarm: seven days, or the last quarter of its life where that is shorter.
const ENDING: Duration = Duration::from_secs(7 * 24 * 3600);

/// How something stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Current.
    Current,
    /// Current, and ends within seven days or in the last quarter of its life: no source has given a newer one.
    Ending,
    /// Ended: evidence that needs it is refused.
    Ended,
    /// Asked for by evidence, and not there.
    Missing,
}

impl Level {
    /// How something that was made at `issued` and ends at `ends` stands at `now`.
    pub(crate) fn of(issued: Timestamp, ends: Timestamp, now: Timestamp) -> Self {
        let warn = ENDING.min(ends.since(issued) / 4);
        if now >= ends {
            Self::Ended
        } else if now + warn >= ends {
            Self::Ending
        } else {
            Self::Current
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Current => "current",
            Self::Ending => "ending",
            Self::Ended => "ended",
            Self::Missing => "missing",
        })
    }
}

/// How one thing stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Status {
    /// What.
    pub subject: Subject,
    /// How it stands.
    pub level: Level,
    /// Its number, where its kind has one.
    pub number: Option<Number>,
    /// When it was made; absent where it is missing.
    pub issued: Option<Timestamp>,
    /// When it ends.
    pub ends: Option<Timestamp>,
    /// Which source gave it.
    pub source: Option<Source>,
    /// When a source last gave it, the same or newer.
    pub refreshed: Option<Timestamp>,
    /// What went wrong since then, and when.
    pub failed: Option<Failure>,
}

/// What went wrong at a source.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Failure {
    /// When.
    pub at: Timestamp,
    /// Which source, and what.
    pub why: String,
}

/// What happened, for the caller to log and alarm by. Each is told once, not at every look.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A source gave something new, and it counts now. Where `floor_rose`, the caller keeps the new [`crate::Floors`].
    Refreshed {
        /// What.
        subject: Subject,
        /// How new it is.
        mark: Mark,
        /// Until when it holds.
        ends: Timestamp,
        /// Who gave it.
        source: Source,
        /// Whether there is a floor to be written down.
        floor_rose: bool,
    },
    /// Something ends soon.
    Ending {
        /// What.
        subject: Subject,
        /// When.
        ends: Timestamp,
    },
    /// Something has ended.
    Ended {
        /// What.
        subject: Subject,
        /// When.
        ends: Timestamp,
    },
    /// A source gave something older than what was seen before: a stale mirror, or an attempt to hide a revocation.
    RolledBack {
        /// What.
        subject: Subject,
        /// What it gave.
        found: Mark,
        /// The lowest that is taken.
        floor: Mark,
        /// Who gave it.
        source: Source,
    },
    /// A source could not be asked, or did not answer as it should.
    SourceFailed {
        /// Which.
        source: Source,
        /// Why.
        why: String,
    },
    /// What a source gave was not taken.
    Refused {
        /// Who gave it.
        source: Source,
        /// Why.
        why: String,
    },
    /// Collateral that is held is of no use any more, e.g. since its signer was revoked.
    Unusable {
        /// What for.
        platform: String,
        /// Why.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: i64) -> Timestamp {
        Timestamp::from_unix_secs(day * 24 * 3600)
    }

    #[test]
    fn an_alarm_comes_seven_days_before_the_end_of_a_year() {
        let at = |now| Level::of(day(0), day(365), now);
        assert_eq!((at(day(357)), at(day(358)), at(day(365))), (Level::Current, Level::Ending, Level::Ended));
    }

    #[test]
    fn what_lives_a_day_is_ending_in_its_last_quarter() {
        let at = |hour: i64| Level::of(day(0), day(1), Timestamp::from_unix_secs(hour * 3600));
        assert_eq!((at(17), at(18), at(24)), (Level::Current, Level::Ending, Level::Ended));
    }

    #[test]
    fn what_never_held_has_ended() {
        assert_eq!(Level::of(day(3), day(3), day(3)), Level::Ended);
    }
}
