//! What the profile says of the claims, the same for every TEE. Nothing here stops: whether the evidence is authentic is
//! still to be learnt.

use std::fmt::Write;

use burgrave_types::Claims;
use burgrave_types::claims::{TcbClaims, TcbStatus};

use crate::check::Checks;
use crate::{Cause, Profile, Text};

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
    checks.fatal(
        ("policy.tcb", Cause::TcbStatus, "profile, tcb_status and snp.min_tcb"),
        profile.tcb_status.contains(&claims.tcb.status),
        taken(profile),
        found(&claims.tcb),
    );
}

/// Which statuses a profile takes.
fn taken(profile: &Profile) -> Text {
    if profile.tcb_status.iter().eq(&[TcbStatus::UpToDate, TcbStatus::VendorManaged]) {
        return "a TCB that is up-to-date or vendor-managed".into(); // the strict profile's
    }
    let mut text = String::with_capacity(48);
    for status in &profile.tcb_status {
        text.push_str(if text.is_empty() { "a TCB that is " } else { " or " });
        text.push_str(status.as_str());
    }
    if text.is_empty() { "a TCB that is ".into() } else { text.into() }
}

/// The status and the numbers that it was found for.
fn found(tcb: &TcbClaims) -> Text {
    let mut text = String::with_capacity(32 + 12 * tcb.svn.len());
    text.push_str(tcb.status.as_str());
    text.push_str(" (");
    for (at, (name, svn)) in tcb.svn.iter().enumerate() {
        text.push_str(if at == 0 { "" } else { ", " });
        text.push_str(name);
        let _ = write!(text, " {svn}");
    }
    text.push(')');
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_numbers_are_told_as_they_are() {
        let mut profile = Profile::default();
        assert_eq!(taken(&profile), "a TCB that is up-to-date or vendor-managed");
        profile.tcb_status = [TcbStatus::OutOfDate, TcbStatus::Revoked].into();
        assert_eq!(taken(&profile), "a TCB that is out-of-date or revoked");
        profile.tcb_status.clear();
        assert_eq!(taken(&profile), "a TCB that is ");
        let mut tcb = TcbClaims::new(TcbStatus::OutOfDate);
        assert_eq!(found(&tcb), "out-of-date ()");
        tcb.svn = [("a", 0), ("b", 7), ("c", 1_234_567_890), ("d", u64::MAX)]
            .map(|(name, svn)| (name.to_owned(), svn))
            .into();
        assert_eq!(found(&tcb), "out-of-date (a 0, b 7, c 1234567890, d 18446744073709551615)");
    }
}
