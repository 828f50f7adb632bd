//! What a TD or an enclave may be allowed to do, bit by bit.

use serde::{Deserialize, Serialize};

use super::quote::{EnclaveReport, TdReport};
use crate::Cause;
use crate::TdxProfile;
use crate::check::Checks;

const TD: &str = "Intel TDX Module ABI 1.5, ATTRIBUTES";
const ENCLAVE: &str = "Intel SDM, volume 3D, ATTRIBUTES";

/// Bits 0 to 7 are those of a TD under debug: with any of them it is untrusted.
const UNDER_DEBUG: u64 = 0xff;
/// Further defences, which take nothing away: instruction-count based single-step defence, linear address space separation.
const DEFENCES: u64 = 1 << 16 | 1 << 27;
const SERVTD_EXT: u64 = 1 << 17;
const SEPT_VE_DISABLE: u64 = 1 << 28;
const MIGRATABLE: u64 = 1 << 29;

/// Something about a TD's attributes that the strict profile refuses and another may take.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TdAttribute {
    /// `SEPT_VE_DISABLE` is off: the host can make the TD take an exception on access to its own memory.
    SeptVe,
    /// The TD may use supervisor protection keys.
    Pks,
    /// The TD may use Key Locker.
    KeyLocker,
    /// The TD may be a provisioning agent of TDX Connect.
    ProvisioningAgent,
    /// The TD may use performance monitoring.
    Perfmon,
}

impl TdAttribute {
    const BITS: [(Self, u64); 4] = [
        (Self::Pks, 1 << 30),
        (Self::KeyLocker, 1 << 31),
        (Self::ProvisioningAgent, 1 << 62),
        (Self::Perfmon, 1 << 63),
    ];
}

pub(super) fn is_td_debug(report: &TdReport) -> bool {
    report.td_attributes & UNDER_DEBUG != 0
}

pub(super) fn is_td_migratable(report: &TdReport) -> bool {
    report.td_attributes & MIGRATABLE != 0
}

/// Debug and migration are judged with the claims, where they stand for every TEE.
pub(super) fn judge_td(report: &TdReport, profile: &TdxProfile, checks: &mut Checks) {
    let bits = report.td_attributes;
    let (mut allowed, mut demanded) =
        (UNDER_DEBUG | DEFENCES | SERVTD_EXT | SEPT_VE_DISABLE | MIGRATABLE, SEPT_VE_DISABLE);
    for (attribute, bit) in TdAttribute::BITS {
        if profile.allow.contains(&attribute) {
            allowed |= bit;
        }
    }
    if profile.allow.contains(&TdAttribute::SeptVe) {
        demanded = 0;
    }
    checks.fatal(
        ("tdx.attributes", Cause::TdAttributes, TD),
        bits & !allowed == 0 && bits & demanded == demanded,
        format_args!("none but {allowed:#x}, and all of {demanded:#x} (profile, tdx.allow)"),
        format_args!("{bits:#x}"),
    );
    let bound = report.has_service_td() || bits & SERVTD_EXT != 0;
    checks.fatal(
        ("tdx.service_td", Cause::ServiceTd, "Intel TDX Module ABI 1.5, SERVTD_HASH; profile, tdx.allow_service_td"),
        profile.allow_service_td || !bound,
        "no service TD, which could read or move the TD",
        if bound { "one is bound, or may be" } else { "none" },
    );
    if let Some(extension) = &report.extension {
        checks.fatal(
            ("tdx.partition", Cause::Privilege, "Intel TDX Module ABI 1.5, VM index"),
            extension.vm_id == 0,
            "VM 0: an unpartitioned TD, or the L1 of a partitioned one",
            extension.vm_id,
        );
    }
}

/// An enclave must be initialised and in 64-bit mode.
pub(super) fn judge_enclave(report: &EnclaveReport, checks: &mut Checks) {
    let (initialised, mode_64) = (1, 1 << 2);
    let flags = report.flags();
    checks.fatal(
        ("sgx.attributes", Cause::TdAttributes, ENCLAVE),
        flags & (initialised | mode_64) == initialised | mode_64,
        "INIT and MODE64BIT",
        format_args!("{flags:#x}"),
    );
}
