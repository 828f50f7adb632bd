//! What the profile says of the claims, the same for every TEE. Nothing here stops: whether the evidence is authentic is
//! still to be learnt.

use burgrave_types::Claims;

use crate::check::Checks;
use crate::{Cause, Profile};

/// Holds `claims` against the profile. A claim that a TEE cannot make is not held against it.
pub(crate) fn judge(profile: &Profile, claims: &Claims, checks: &mut Checks) {
    checks.fatal(
        ("policy.debug", Cause::Debug, "profile, allow_debug"),
        profile.allow_debug || claims.debug != Some(true),
        "an instance that the host's operator cannot look into",
        match claims.debug {
            Some(true) => "debug mode",
            Some(false) => "no debug mode",
            None => "a TEE without debug mode",
        },
    );
    checks.fatal(
        ("policy.migration", Cause::Migration, "profile, allow_migration"),
        profile.allow_migration || claims.migratable != Some(true),
        "an instance that no migration agent may move",
        match claims.migratable {
            Some(true) => "a migration agent is allowed",
            Some(false) => "no migration agent is allowed",
            None => "a TEE without migration agents",
        },
    );
    if let Some(privilege) = claims.privilege {
        checks.fatal(
            ("policy.privilege", Cause::Privilege, "profile, max_vmpl"),
            privilege <= profile.max_vmpl,
            format_args!("VMPL at most {}", profile.max_vmpl),
            format_args!("VMPL {privilege}"),
        );
    }
    let taken: Vec<_> = profile.tcb_status.iter().map(|status| status.as_str()).collect();
    let svn: Vec<_> = claims.tcb.svn.iter().map(|(name, svn)| format!("{name} {svn}")).collect();
    checks.fatal(
        ("policy.tcb", Cause::TcbStatus, "profile, tcb_status and snp.min_tcb"),
        profile.tcb_status.contains(&claims.tcb.status),
        format_args!("a TCB that is {}", taken.join(" or ")),
        format_args!("{} ({})", claims.tcb.status, svn.join(", ")),
    );
}
