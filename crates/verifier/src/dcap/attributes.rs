//! What a TD or an enclave may be allowed to do, bit by bit.

use burgrave_types::claims::{TdAttribute, TdClaims};

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

/// The flags of an enclave that have a meaning: INIT, DEBUG, MODE64BIT, PROVISIONKEY, EINITTOKEN_KEY, CET, KSS, AEXNOTIFY.
const FLAGS: u64 = 0b100_1111_0111;

/// What a TD may use, by the bit that says so.
const BITS: [(TdAttribute, u64); 4] = [
    (TdAttribute::Pks, 1 << 30),
    (TdAttribute::KeyLocker, 1 << 31),
    (TdAttribute::ProvisioningAgent, 1 << 62),
    (TdAttribute::Perfmon, 1 << 63),
];

pub(super) fn is_td_debug(report: &TdReport) -> bool {
    report.td_attributes & UNDER_DEBUG != 0
}

pub(super) fn is_td_migratable(report: &TdReport) -> bool {
    report.td_attributes & MIGRATABLE != 0
}

/// What the strict profile refuses of it, debug and migration apart. A bit that no profile takes is none of them.
pub(super) fn td_claims(report: &TdReport) -> TdClaims {
    let bits = report.td_attributes;
    let used = BITS.iter().filter(|(_, bit)| bits & bit != 0).map(|(attribute, _)| *attribute);
    let sept_ve = (bits & SEPT_VE_DISABLE == 0).then_some(TdAttribute::SeptVe);
    TdClaims { attributes: used.chain(sept_ve).collect(), service_td: is_service_td_bound(report) }
}

/// Whether a service TD is bound, or may be.
fn is_service_td_bound(report: &TdReport) -> bool {
    report.has_service_td() || report.td_attributes & SERVTD_EXT != 0
}

/// Debug and migration are judged with the claims, where they stand for every TEE.
pub(super) fn judge_td(report: &TdReport, profile: &TdxProfile, checks: &mut Checks) {
    let bits = report.td_attributes;
    let (mut allowed, mut demanded) =
        (UNDER_DEBUG | DEFENCES | SERVTD_EXT | SEPT_VE_DISABLE | MIGRATABLE, SEPT_VE_DISABLE);
    for (attribute, bit) in BITS {
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
    let bound = is_service_td_bound(report);
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
        flags & (initialised | mode_64) == initialised | mode_64 && flags & !FLAGS == 0,
        format_args!("INIT and MODE64BIT, and none but {FLAGS:#x}"),
        format_args!("{flags:#x}"),
    );
}
