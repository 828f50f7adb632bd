//! What the requirements of a registration may be.

use std::collections::BTreeSet;

use burgrave_types::api::{RequiredPart, Requirements, RunTimeRequirement};
use burgrave_types::claims::TcbStatus;
use burgrave_types::{DomainClass, Tee};

use super::check::Faults;
use crate::attestation::{MOST_PCRS, logged_registers};

/// Entries of one list, at most: each floor or end of a status that is to come costs a verification more.
const MOST: usize = 32;
/// Files and keys that may be loaded, at most: the whole registration is one record.
const MOST_FILES: usize = 10_000;
/// Platforms that are listed, at most.
const MOST_PLATFORMS: usize = 10_000;

/// Checks requirements for a registration of `tee`; they stand at `at` in the input.
pub(super) fn check(faults: &mut Faults, at: &str, tee: Tee, class: DomainClass, requirements: &Requirements) {
    let Requirements { platforms, allow_debug, allow_migration, max_privilege, .. } = requirements;
    let Requirements { tcb_accepted, tcb_floors, parts, boot_log, run_time, .. } = requirements;
    let Requirements { allow_td_attributes, allow_service_td, snp_crl, pcrs, boot_log_unexplained, .. } = requirements;
    faults.check(tee != Tee::Tpm || platforms.is_empty(), &format!("{at}/platforms"), || {
        "a TPM is known by its endorsement key: list it in `tpm_ek_digests`".to_owned()
    });
    faults.check(platforms.len() <= MOST_PLATFORMS, &format!("{at}/platforms"), || {
        format!("expected at most {MOST_PLATFORMS} platforms, found {}", platforms.len())
    });
    faults.check(platforms.iter().all(|id| !id.as_bytes().is_empty()), &format!("{at}/platforms"), || {
        "a platform's name is not empty".to_owned()
    });
    let can_debug =
        matches!(tee, Tee::Snp | Tee::Tdx | Tee::Sgx | Tee::Nitro | Tee::AzVtpm | Tee::Cca | Tee::Simulated);
    faults.check(!allow_debug || can_debug, &format!("{at}/allow_debug"), || {
        format!("a `{tee}` enclave has no debug mode that could be conceded")
    });
    let can_migrate = matches!(tee, Tee::Snp | Tee::Tdx | Tee::AzVtpm | Tee::Simulated);
    faults.check(!allow_migration || can_migrate, &format!("{at}/allow_migration"), || {
        format!("a `{tee}` enclave has no migration agent that could be conceded")
    });
    let has_levels = matches!(tee, Tee::Snp | Tee::AzVtpm);
    faults.check(*max_privilege == 0 || has_levels, &format!("{at}/max_privilege"), || {
        format!("a `{tee}` enclave has no privilege levels")
    });
    faults.check(*max_privilege <= 3, &format!("{at}/max_privilege"), || {
        format!("SEV-SNP has the VMPLs 0 to 3, found {max_privilege}")
    });
    // An Azure machine may stand on TDX.
    let is_td = matches!(tee, Tee::Tdx | Tee::AzVtpm);
    faults.check(allow_td_attributes.is_empty() || is_td, &format!("{at}/allow_td_attributes"), || {
        format!("a `{tee}` enclave is no trust domain of TDX: it has no TD attributes that could be conceded")
    });
    faults.check(!allow_service_td || is_td, &format!("{at}/allow_service_td"), || {
        format!("a `{tee}` enclave is no trust domain of TDX: no service TD can be bound to it")
    });
    faults.check(!snp_crl || matches!(tee, Tee::Snp | Tee::AzVtpm), &format!("{at}/snp_crl"), || {
        format!("evidence of `{tee}` does not rest on AMD's certificates")
    });
    let has_pcrs = matches!(tee, Tee::Tpm | Tee::AzVtpm);
    faults.check(pcrs.is_empty() || has_pcrs, &format!("{at}/pcrs"), || {
        format!("evidence of `{tee}` has no quote of a TPM")
    });
    faults.check(pcrs.iter().all(|pcr| *pcr < MOST_PCRS), &format!("{at}/pcrs"), || {
        format!("a TPM has the PCRs 0 to {}, found {pcrs:?}", MOST_PCRS - 1)
    });
    if let Some(unexplained) = boot_log_unexplained {
        let known: BTreeSet<String> = logged_registers(tee).collect();
        faults.check(unexplained.is_subset(&known), &format!("{at}/boot_log_unexplained"), || {
            let strange: Vec<_> = unexplained.difference(&known).map(String::as_str).collect();
            format!("no boot event log of `{tee}` speaks of `{}`", strange.join("`, `"))
        });
    }
    for (name, count) in
        [("tcb_accepted", tcb_accepted.len()), ("tcb_floors", tcb_floors.len()), ("parts", parts.len())]
    {
        faults.check(count <= MOST, &format!("{at}/{name}"), || format!("expected at most {MOST}, found {count}"));
    }
    for (index, accepted) in tcb_accepted.iter().enumerate() {
        faults.check(accepted.status != TcbStatus::Revoked, &format!("{at}/tcb_accepted/{index}/status"), || {
            "what its vendor revoked is never taken".to_owned()
        });
        let twice = tcb_accepted.iter().take(index).any(|other| other.status == accepted.status);
        faults.check(!twice, &format!("{at}/tcb_accepted/{index}/status"), || {
            format!("`{}` stands there twice", accepted.status)
        });
    }
    for (index, floor) in tcb_floors.iter().enumerate() {
        faults.check(floor.component.is_of(tee), &format!("{at}/tcb_floors/{index}/component"), || {
            format!("evidence of `{tee}` says nothing of `{}`", floor.component)
        });
        faults.check(u32::try_from(floor.minimum).is_ok(), &format!("{at}/tcb_floors/{index}/minimum"), || {
            format!("expected a version number, found {}", floor.minimum)
        });
    }
    let has_log = matches!(tee, Tee::Tpm | Tee::AzVtpm | Tee::Tdx);
    faults.check(!boot_log || has_log, &format!("{at}/boot_log"), || {
        format!("evidence of `{tee}` has no boot event log")
    });
    if let Some(run_time) = run_time {
        faults.check(has_log, &format!("{at}/run_time"), || format!("evidence of `{tee}` has no run-time log"));
        self::run_time(faults, &format!("{at}/run_time"), run_time);
    }
    for (index, part) in parts.iter().enumerate() {
        let twice = parts.iter().take(index).any(|other| other.tee == part.tee);
        faults.check(!twice, &format!("{at}/parts/{index}/tee"), || format!("`{}` stands there twice", part.tee));
        self::part(faults, &format!("{at}/parts/{index}"), tee, class, part);
    }
}

fn run_time(faults: &mut Faults, at: &str, run_time: &RunTimeRequirement) {
    let count = run_time.files.len() + run_time.keys.len();
    faults.check(count <= MOST_FILES, at, || format!("expected at most {MOST_FILES} files and keys, found {count}"));
    match crate::attestation::run_time_profile(run_time) {
        Ok(profile) => faults.check(!profile.allows_nothing(), at, || {
            "it allows no file and no key, and so would refuse every machine".to_owned()
        }),
        Err(why) => faults.check(false, at, || why),
    }
}

fn part(faults: &mut Faults, at: &str, lead: Tee, class: DomainClass, part: &RequiredPart) {
    let RequiredPart { tee, references } = part;
    // Who owns a TPM, only a second round shows, which only the lead takes.
    let beside = matches!(tee, Tee::NvidiaGpu) || (*tee == Tee::Simulated && class == DomainClass::Dev);
    faults.check(beside && !matches!(lead, Tee::Tpm), &format!("{at}/tee"), || {
        format!("`{tee}` evidence is not taken as a part beside `{lead}`; expected `nvidia-gpu` beside a CPU's TEE")
    });
    faults.check(references.len() <= MOST, &format!("{at}/references"), || {
        format!("expected at most {MOST}, found {}", references.len())
    });
    for (index, reference) in references.iter().enumerate() {
        faults.check(reference.tee == *tee, &format!("{at}/references/{index}/tee"), || {
            format!("the value is for `{}`, the part is `{tee}`", reference.tee)
        });
        faults.check(reference.names_code(), &format!("{at}/references/{index}"), || {
            "it says nothing of the part, and so would let in any".to_owned()
        });
    }
}
