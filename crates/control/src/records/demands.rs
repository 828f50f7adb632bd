//! How a registration's demands act on instances that were attested under earlier ones.

use std::time::Duration;

use burgrave_types::Timestamp;
use burgrave_types::api::{AcceptedTcb, Requirements, TcbFloor};
use serde::{Deserialize, Serialize};

/// How long an instance has at least to attest anew after the registration's demands became stricter: as long as a challenge
/// holds. Where that begins later, it has until then.
const ATTEST_WITHIN: Duration = Duration::from_secs(60);

/// Longer than this no attestation holds: the longest interval, and half of it to answer in.
const LONGEST_ATTESTATION: Duration = Duration::from_secs(86_400 * 3 / 2);

/// A deadline for whoever attested last before a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttestAnew {
    /// When the demands became stricter.
    pub(crate) since: Timestamp,
    /// By when who attested before that must have attested again.
    pub(crate) by: Timestamp,
}

/// The deadline of an attestation of that time which would hold until then.
pub(crate) fn deadline(changes: &[AttestAnew], attested_at: Timestamp, until: Timestamp) -> Timestamp {
    changes.iter().filter(|change| attested_at <= change.since).map(|change| change.by).fold(until, Timestamp::min)
}

/// The deadlines after the demands changed from `old` to `new`; whether that made them stricter.
pub(crate) fn changed(
    changes: &[AttestAnew],
    old: &Requirements,
    new: &Requirements,
    now: Timestamp,
) -> (Vec<AttestAnew>, bool) {
    // An instance that attested so long ago has no standing that could be shortened.
    let counting = changes.iter().copied().filter(|change| now < change.since + LONGEST_ATTESTATION);
    let mut kept: Vec<AttestAnew> = counting.collect();
    let stricter = stricter_from(old, new, now);
    kept.extend(stricter.map(|from| AttestAnew { since: now, by: from.max(now + ATTEST_WITHIN) }));
    (kept, stricter.is_some())
}

/// From when on `new` demands something that `old` did not; none where it never does.
fn stricter_from(old: &Requirements, new: &Requirements, now: Timestamp) -> Option<Timestamp> {
    let at_once = (old.allow_debug && !new.allow_debug)
        || (old.allow_migration && !new.allow_migration)
        || new.max_privilege < old.max_privilege
        || old.parts != new.parts
        || !old.allow_td_attributes.is_subset(&new.allow_td_attributes)
        || (old.allow_service_td && !new.allow_service_td)
        || (new.snp_crl && !old.snp_crl)
        || !new.pcrs.is_subset(&old.pcrs)
        || (new.boot_log && !old.boot_log)
        // Which registers the default names is the verifier's to know.
        || old.boot_log_unexplained != new.boot_log_unexplained
        || (old.run_time != new.run_time && new.run_time.is_some())
        || (old.platforms != new.platforms && !new.platforms.is_empty());
    let horizons = old.tcb_accepted.iter().filter_map(|was| {
        let is = new.tcb_accepted.iter().filter(|one| one.status == was.status).map(horizon).max();
        match is {
            Some(is) if is >= horizon(was) => None,
            Some(is) => Some(is),
            None => Some(now),
        }
    });
    let floors = new.tcb_floors.iter().filter_map(|is| {
        let starts = |floor: &TcbFloor| floor.enforced_from.unwrap_or(now).max(now);
        let as_strict =
            |was: &&TcbFloor| was.component == is.component && was.minimum >= is.minimum && starts(was) <= starts(is);
        if old.tcb_floors.iter().any(|was| as_strict(&was)) { None } else { Some(starts(is)) }
    });
    at_once.then_some(now).into_iter().chain(horizons).chain(floors).min()
}

/// When an accepted status ends.
fn horizon(accepted: &AcceptedTcb) -> Timestamp {
    accepted.until.unwrap_or(Timestamp::from_unix_millis(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_secs(1000);

    fn of(json: &str) -> Requirements {
        serde_json::from_str(json).unwrap()
    }

    fn from(old: &str, new: &str) -> Option<Timestamp> {
        stricter_from(&of(old), &of(new), NOW)
    }

    #[test]
    fn what_is_taken_away_is_stricter_and_what_is_conceded_is_not() {
        let floor = r#"{"tcb_floors":[{"component":"milan.snp","minimum":24}]}"#;
        let lower = r#"{"tcb_floors":[{"component":"milan.snp","minimum":23}]}"#;
        let coming =
            r#"{"tcb_floors":[{"component":"milan.snp","minimum":24,"enforced_from":"1970-01-01T01:00:00Z"}]}"#;
        let accepts = r#"{"tcb_accepted":[{"status":"out-of-date"}]}"#;
        let ends = r#"{"tcb_accepted":[{"status":"out-of-date","until":"1970-01-01T01:00:00Z"}]}"#;
        let gpu = r#"{"parts":[{"tee":"nvidia-gpu"}]}"#;
        let listed = r#"{"platforms":["00"]}"#;
        let later = Some(Timestamp::from_unix_secs(3600));
        let debug = r#"{"allow_debug":true}"#;
        for (old, new, expected) in [
            ("{}", "{}", None),
            ("{}", debug, None),
            (debug, "{}", Some(NOW)),
            (r#"{"max_privilege":1}"#, "{}", Some(NOW)),
            ("{}", floor, Some(NOW)),
            (floor, floor, None),
            (floor, lower, None),
            (lower, floor, Some(NOW)),
            ("{}", coming, later),
            (coming, floor, Some(NOW)),
            (floor, coming, None),
            ("{}", accepts, None),
            (accepts, "{}", Some(NOW)),
            (accepts, ends, later),
            (ends, accepts, None),
            ("{}", gpu, Some(NOW)),
            ("{}", listed, Some(NOW)),
            (listed, "{}", None),
            ("{}", r#"{"boot_log":true}"#, Some(NOW)),
            (r#"{"allow_td_attributes":["pks","sept-ve"]}"#, r#"{"allow_td_attributes":["pks"]}"#, Some(NOW)),
            ("{}", r#"{"allow_td_attributes":["pks"]}"#, None),
            (r#"{"allow_service_td":true}"#, "{}", Some(NOW)),
            ("{}", r#"{"allow_service_td":true}"#, None),
            ("{}", r#"{"snp_crl":true}"#, Some(NOW)),
            ("{}", r#"{"pcrs":[7]}"#, Some(NOW)),
            (r#"{"pcrs":[7]}"#, "{}", None),
            ("{}", r#"{"boot_log_unexplained":[]}"#, Some(NOW)),
            ("{}", r#"{"run_time":{"files":["sha256:00"]}}"#, Some(NOW)),
            (r#"{"run_time":{"files":["sha256:00"]}}"#, "{}", None),
        ] {
            assert_eq!(from(old, new), expected, "{old} to {new}");
        }
    }

    #[test]
    fn who_attested_before_a_change_must_attest_by_its_deadline_and_who_attested_after_it_need_not() {
        let (changes, stricter) = changed(&[], &of(r#"{"allow_debug":true}"#), &of("{}"), NOW);
        assert!(stricter);
        let until = NOW + Duration::from_secs(900);
        assert_eq!(deadline(&changes, NOW - Duration::from_secs(5), until), NOW + Duration::from_secs(60));
        assert_eq!(deadline(&changes, NOW + Duration::from_millis(1), until), until);
        let long_after = NOW + Duration::from_secs(200_000);
        assert_eq!(changed(&changes, &of("{}"), &of("{}"), long_after), (vec![], false));
    }
}
