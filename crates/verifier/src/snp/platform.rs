//! What a report says of the machine beneath it: PLATFORM_INFO, and the mitigations that its firmware verified.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::report::Report;
use crate::check::Checks;
use crate::{Cause, SnpProfile};

const INFO: &str = "AMD 56860, PLATFORM_INFO";
const MITIGATIONS: &str = "AMD 56860, LAUNCH_MIT_VECTOR and CURRENT_MIT_VECTOR";

/// A bit of PLATFORM_INFO (AMD 56860, table "PLATFORM_INFO field").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlatformFeature {
    /// SMT_EN: cores run two threads.
    Smt,
    /// TSME_EN: all memory is encrypted, the host's too.
    Tsme,
    /// ECC_EN: memory has error correction.
    Ecc,
    /// RAPL_DIS: nobody can read the power meters.
    RaplDisabled,
    /// CIPHERTEXT_HIDING_DRAM_EN: the host cannot read the guests' ciphertext.
    CiphertextHiding,
    /// ALIAS_CHECK_COMPLETE: since the last reset no memory was found at two addresses (AMD-SB-3015, "BadRAM").
    AliasCheckComplete,
    /// TIO_EN: devices can be trusted.
    Tio,
}

impl PlatformFeature {
    /// All that are known.
    pub const ALL: [Self; 7] = [
        Self::Smt,
        Self::Tsme,
        Self::Ecc,
        Self::RaplDisabled,
        Self::CiphertextHiding,
        Self::AliasCheckComplete,
        Self::Tio,
    ];

    /// The name, as profiles use it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Smt => "smt",
            Self::Tsme => "tsme",
            Self::Ecc => "ecc",
            Self::RaplDisabled => "rapl-disabled",
            Self::CiphertextHiding => "ciphertext-hiding",
            Self::AliasCheckComplete => "alias-check-complete",
            Self::Tio => "tio",
        }
    }

    const fn mask(self) -> u64 {
        1 << match self {
            Self::Smt => 0,
            Self::Tsme => 1,
            Self::Ecc => 2,
            Self::RaplDisabled => 3,
            Self::CiphertextHiding => 4,
            Self::AliasCheckComplete => 5,
            Self::Tio => 7,
        }
    }

    /// Those that a PLATFORM_INFO has.
    pub(super) fn of(info: u64) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |feature| info & feature.mask() != 0)
    }
}

/// Holds a report against what the profile asks of the machine.
pub(super) fn judge(profile: &SnpProfile, report: &Report, checks: &mut Checks) {
    if !profile.require_platform.is_empty() || !profile.forbid_platform.is_empty() {
        let has: BTreeSet<PlatformFeature> = PlatformFeature::of(report.platform_info).collect();
        checks.fatal(
            ("snp.platform", Cause::TcbStatus, INFO),
            profile.require_platform.is_subset(&has) && profile.forbid_platform.is_disjoint(&has),
            format!("all of: {}; none of: {}", words(&profile.require_platform), words(&profile.forbid_platform)),
            words(&has),
        );
    }
    if !profile.mitigations.is_empty() {
        let asked = profile.mitigations.iter().fold(0, |mask, bit| mask | 1u64.checked_shl((*bit).into()).unwrap_or(0));
        // A bit that no vector has is never there.
        let known = profile.mitigations.iter().all(|bit| *bit < 64);
        let both = report.launch_mitigations & report.current_mitigations;
        checks.fatal(
            ("snp.mitigations", Cause::TcbStatus, MITIGATIONS),
            known && both & asked == asked,
            format!("mitigations {:?} at launch and now, in a report of version 5", profile.mitigations),
            format!(
                "{:#x} at launch, {:#x} now, version {}",
                report.launch_mitigations, report.current_mitigations, report.version
            ),
        );
    }
}

fn words(features: &BTreeSet<PlatformFeature>) -> String {
    let names: Vec<_> = features.iter().map(|feature| feature.as_str()).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(", ") }
}
