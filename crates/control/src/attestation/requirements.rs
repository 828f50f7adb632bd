//! What a registration demands beyond its releases, as the verifier takes it: at one time, and at the times to come.

use std::collections::BTreeSet;

use burgrave_types::api::{Requirements, RunTimeRequirement, Shortfall};
use burgrave_types::claims::{HexBytes, TcbStatus, TdAttribute};
use burgrave_types::{Claims, Concession, Tee, Timestamp};
use burgrave_verifier::{Check, FileDigest, FileKey, Profile, RunTimeProfile, Verdict, Verification};

/// PCRs of a TPM (TCG PC Client Platform TPM Profile, section 4.6).
pub(crate) const MOST_PCRS: u8 = 24;

/// The profile that the requirements come to at a time. What a registration does not speak of is as strict as can be.
pub(super) fn profile(requirements: &Requirements, at: Timestamp) -> Profile {
    let mut profile = Profile {
        allow_debug: requirements.allow_debug,
        allow_migration: requirements.allow_migration,
        max_vmpl: requirements.max_privilege,
        // What cannot be read was refused at registration; should it stand there all the same, nothing may be loaded.
        run_time: requirements.run_time.as_ref().map(|run_time| run_time_profile(run_time).unwrap_or_default()),
        ..Profile::default()
    };
    profile.tdx.allow.clone_from(&requirements.allow_td_attributes);
    profile.tdx.allow_service_td = requirements.allow_service_td;
    profile.snp.require_crl = requirements.snp_crl;
    profile.tpm.pcrs.clone_from(&requirements.pcrs);
    profile.boot_log.required = requirements.boot_log;
    if let Some(unexplained) = &requirements.boot_log_unexplained {
        profile.boot_log.unexplained.clone_from(unexplained);
    }
    let taken = requirements.tcb_accepted.iter().filter(|accepted| accepted.until.is_none_or(|until| at < until));
    profile.tcb_status.extend(taken.map(|accepted| accepted.status));
    for floor in requirements.tcb_floors.iter().filter(|floor| floor.enforced_from.is_none_or(|from| from <= at)) {
        if floor.component.is_of_dcap() {
            let minimum = u32::try_from(floor.minimum).unwrap_or(u32::MAX);
            let number = &mut profile.dcap.min_tcb_evaluation_number;
            *number = minimum.max(*number);
        } else {
            let family = profile.snp.min_tcb.entry(floor.component.product().to_owned()).or_default();
            let number = family.entry(floor.component.name().to_owned()).or_default();
            *number = floor.minimum.max(*number);
        }
    }
    profile
}

/// The allowed sets as the verifier takes them.
///
/// # Errors
/// What of them cannot be read, in words.
pub(crate) fn run_time_profile(run_time: &RunTimeRequirement) -> Result<RunTimeProfile, String> {
    let files = run_time.files.iter().map(|text| text.parse::<FileDigest>()).collect::<Result<Vec<_>, _>>();
    let keys = run_time.keys.iter().map(|text| text.parse::<FileKey>()).collect::<Result<Vec<_>, _>>();
    let (files, keys) = (files.map_err(|error| error.to_string())?, keys.map_err(|error| error.to_string())?);
    let profile = RunTimeProfile::new(files, keys);
    Ok(if run_time.allow_violations { profile.allowing_violations() } else { profile })
}

/// The profile of all that some registration may concede: what it refuses, each refuses.
pub(super) fn laxest() -> Profile {
    let mut profile = Profile {
        allow_debug: true,
        allow_migration: true,
        max_vmpl: u32::MAX,
        tcb_status: TcbStatus::ALL.iter().copied().collect(),
        ..Profile::default()
    };
    profile.tdx.allow = TdAttribute::ALL.iter().copied().collect();
    profile.tdx.allow_service_td = true;
    profile.boot_log.unexplained = logged_registers(Tee::Tpm).chain(logged_registers(Tee::Tdx)).collect();
    profile
}

/// The registers that a boot event log of that TEE can speak of, by their names without the bank.
pub(crate) fn logged_registers(tee: Tee) -> impl Iterator<Item = String> {
    let (name, count) = match tee {
        Tee::Tpm | Tee::AzVtpm => ("pcr", MOST_PCRS),
        Tee::Tdx => ("rtmr", 4),
        Tee::Snp | Tee::Sgx | Tee::Nitro | Tee::Cca | Tee::NvidiaGpu | Tee::Simulated => ("", 0),
    };
    (0..count).map(move |index| format!("{name}{index}"))
}

/// The times after `now` at which the requirements become stricter by themselves, earliest first.
fn steps(requirements: &Requirements, now: Timestamp) -> BTreeSet<Timestamp> {
    let floors = requirements.tcb_floors.iter().filter_map(|floor| floor.enforced_from);
    let ends = requirements.tcb_accepted.iter().filter_map(|accepted| accepted.until);
    floors.chain(ends).filter(|at| *at > now).collect()
}

/// When what was accepted at `now` will first be refused, if nothing changes on its platform, and for what. `verify` judges
/// the same evidence at `now` under another profile. Requirements only ever become stricter with time, so that evidence
/// which the last step takes is taken by all.
pub(super) fn shortfall(
    requirements: &Requirements,
    now: Timestamp,
    verify: impl Fn(Timestamp) -> Verification,
) -> Option<Shortfall> {
    let steps = steps(requirements, now);
    let refused = |at: Timestamp| Some((at, verify(at))).filter(|(_, judged)| judged.verdict != Verdict::Accept);
    refused(*steps.last()?)?;
    let (from, judged) = steps.into_iter().find_map(refused)?;
    let failed: Option<&Check> = judged.checks.iter().find(|check| check.fatal && !check.passed);
    let mut expected = failed.map_or_else(String::new, |check| check.expected.to_string());
    expected += &floors(requirements, from);
    Some(Shortfall { from, expected, found: failed.map_or_else(String::new, |check| check.found.to_string()) })
}

/// The floors that hold at a time, as words behind what a check expected.
pub(super) fn floors(requirements: &Requirements, at: Timestamp) -> String {
    let holding = requirements.tcb_floors.iter().filter(|floor| floor.enforced_from.is_none_or(|from| from <= at));
    let words: Vec<_> = holding.map(|floor| format!("{} {}", floor.component, floor.minimum)).collect();
    if words.is_empty() { String::new() } else { format!(", with at least {}", words.join(", ")) }
}

/// What of the claims only the requirements let pass.
pub(super) fn conceded(claims: &Claims) -> BTreeSet<Concession> {
    let found = [
        (Concession::Debug, claims.debug == Some(true)),
        (Concession::Migration, claims.migratable == Some(true)),
        (Concession::Privilege, claims.privilege.is_some_and(|level| level > 0)),
        (Concession::Tcb, !matches!(claims.tcb.status, TcbStatus::UpToDate | TcbStatus::VendorManaged)),
        (Concession::TdAttributes, claims.td.as_ref().is_some_and(|td| !td.attributes.is_empty())),
        (Concession::ServiceTd, claims.td.as_ref().is_some_and(|td| td.service_td)),
    ];
    found.into_iter().filter(|(_, found)| *found).map(|(concession, _)| concession).collect()
}

/// What names the requirements that something was verified under.
pub(super) fn fingerprint(requirements: &Requirements) -> HexBytes {
    // INVARIANT: requirements are a map with text keys and no floating numbers, which JSON always holds.
    HexBytes(burgrave_seal::sha256(&serde_json::to_vec(requirements).unwrap_or_default()).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirements() -> Requirements {
        serde_json::from_str(
            r#"{"allow_debug":true,"max_privilege":2,
                "tcb_accepted":[{"status":"hardening-needed"},
                                {"status":"out-of-date","until":"2026-02-01T00:00:00Z"}],
                "tcb_floors":[{"component":"milan.snp","minimum":22},
                              {"component":"milan.snp","minimum":24,"enforced_from":"2026-03-01T00:00:00Z"},
                              {"component":"dcap.evaluation","minimum":17,"enforced_from":"2026-03-01T00:00:00Z"}]}"#,
        )
        .unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn requirements_that_say_nothing_come_to_the_strict_profile() {
        assert_eq!(profile(&Requirements::default(), at("2026-01-01T00:00:00Z")), Profile::default());
    }

    #[test]
    fn floors_begin_and_accepted_statuses_end_at_their_times() {
        let floor = |profile: &Profile| profile.snp.min_tcb["milan"]["snp"];
        let early = profile(&requirements(), at("2026-01-31T23:59:59.999Z"));
        assert_eq!((early.allow_debug, early.allow_migration, early.max_vmpl), (true, false, 2));
        assert!(
            early.tcb_status.contains(&TcbStatus::OutOfDate) && early.tcb_status.contains(&TcbStatus::HardeningNeeded)
        );
        assert_eq!((floor(&early), early.dcap.min_tcb_evaluation_number), (22, 0));
        let later = profile(&requirements(), at("2026-02-01T00:00:00Z"));
        assert!(
            !later.tcb_status.contains(&TcbStatus::OutOfDate) && later.tcb_status.contains(&TcbStatus::HardeningNeeded)
        );
        let last = profile(&requirements(), at("2026-03-01T00:00:00Z"));
        assert_eq!((floor(&last), last.dcap.min_tcb_evaluation_number), (24, 17));
    }

    #[test]
    fn the_steps_to_come_are_told_in_order_and_past_ones_are_none() {
        let of = |now| steps(&requirements(), at(now)).into_iter().map(|at| at.to_string()).collect::<Vec<_>>();
        assert_eq!(of("2026-01-01T00:00:00Z"), ["2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"]);
        assert_eq!(of("2026-02-01T00:00:00Z"), ["2026-03-01T00:00:00Z"]);
        assert!(of("2026-03-01T00:00:00Z").is_empty());
    }
}
