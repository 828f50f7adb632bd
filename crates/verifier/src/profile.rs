//! What is demanded of evidence beyond being authentic.

use std::collections::{BTreeMap, BTreeSet};

use burgrave_types::claims::{TcbStatus, TdAttribute};
use serde::{Deserialize, Serialize};

use crate::RunTimeProfile;
use crate::snp::PlatformFeature;

/// The demands. The default is the strict profile; every knob loosens it or adds a demand, and an unknown one is an error.
///
/// ```
/// use burgrave_verifier::Profile;
/// let profile: Profile = toml::from_str("max_vmpl = 1\n[snp.min_tcb.milan]\nsnp = 24")?;
/// assert!(!profile.allow_debug);
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    /// Take evidence of an instance that the host's operator can look into.
    pub allow_debug: bool,
    /// Take evidence of an instance that a migration agent may move.
    pub allow_migration: bool,
    /// Take the simulated TEE. Only a `dev` domain may set this.
    pub allow_simulated: bool,
    /// The least privileged level that may ask for evidence (SEV-SNP: VMPL, 0 is the most privileged).
    pub max_vmpl: u32,
    /// The TCB statuses that are taken.
    pub tcb_status: BTreeSet<TcbStatus>,
    /// Demands on SEV-SNP alone.
    pub snp: SnpProfile,
    /// Demands on TPMs alone.
    pub tpm: TpmProfile,
    /// Demands on Intel's platforms, TDX and SGX.
    pub dcap: DcapProfile,
    /// Demands on TDX alone.
    pub tdx: TdxProfile,
    /// Demands on boot event logs.
    pub boot_log: BootLogProfile,
    /// What may be loaded at run time. Where this stands, evidence must prove what was, and a TEE that cannot is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_time: Option<RunTimeProfile>,
}

/// Demands on SEV-SNP.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SnpProfile {
    /// By family (`milan`, `genoa`, `turin`): the lowest security version number of each named component (`bl`, `tee`,
    /// `snp`, `ucode`, `fmc`) of the reported TCB and of the one that the guest was launched under. What is below one of them
    /// is out of date.
    pub min_tcb: BTreeMap<String, BTreeMap<String, u64>>,
    /// Refuse where no revocation list of the root is at hand.
    pub require_crl: bool,
    /// What the machine must have of PLATFORM_INFO (`alias-check-complete`, `ciphertext-hiding`, `ecc`, `rapl-disabled`, `tio`, `tsme`).
    pub require_platform: BTreeSet<PlatformFeature>,
    /// What it must not have (`smt`).
    pub forbid_platform: BTreeSet<PlatformFeature>,
    /// Bits, from 0, that must be set in the mitigation vectors of a report of version 5: that of the launch, and that of now.
    pub mitigations: BTreeSet<u8>,
}

/// Demands on TPMs.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TpmProfile {
    /// What makes a TPM's key one to believe.
    pub trust: TpmTrust,
    /// PCRs that a quote must cover, whatever the evidence shows.
    pub pcrs: BTreeSet<u8>,
    /// Refuse an attestation key of which nobody proved that it is a TPM's, also offline, where nobody can ask the TPM: then
    /// only a certificate of that key proves it.
    pub require_bound: bool,
}

/// What makes a TPM's endorsement key one to believe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TpmTrust {
    /// A certificate of the endorsement key, or of the attestation key, that chains to a root.
    #[default]
    Certificate,
    /// As `certificate`, or an endorsement key that the registration lists by digest. For TPMs without a certificate.
    Listed,
}

/// Demands on Intel's platforms.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DcapProfile {
    /// The lowest `tcbEvaluationDataNumber` of TCB info and quoting enclave identity that is taken: collateral older than a
    /// TCB recovery that one cares about may still be valid.
    pub min_tcb_evaluation_number: u32,
}

/// Demands on TDX.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TdxProfile {
    /// Attributes of a TD that are taken beside the strict ones.
    pub allow: BTreeSet<TdAttribute>,
    /// Take a TD to which a service TD is bound.
    pub allow_service_td: bool,
}

/// Demands on boot event logs. A log that comes with evidence is always held against it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BootLogProfile {
    /// Refuse where no log explains a register.
    pub required: bool,
    /// Registers that a log need not explain, by their names without the bank, since others than firmware and boot loader
    /// extend them: by default PCRs 10 to 13 and 15 to 23, and RTMR3.
    pub unexplained: BTreeSet<String>,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            allow_debug: false,
            allow_migration: false,
            allow_simulated: false,
            max_vmpl: 0,
            tcb_status: BTreeSet::from([TcbStatus::UpToDate, TcbStatus::VendorManaged]),
            snp: SnpProfile::default(),
            tpm: TpmProfile::default(),
            dcap: DcapProfile::default(),
            tdx: TdxProfile::default(),
            boot_log: BootLogProfile::default(),
            run_time: None,
        }
    }
}

impl Default for BootLogProfile {
    fn default() -> Self {
        let pcrs = [10, 11, 12, 13, 15, 16, 17, 18, 19, 20, 21, 22, 23].map(|pcr| format!("pcr{pcr}"));
        Self { required: false, unexplained: pcrs.into_iter().chain(["rtmr3".to_owned()]).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_profile_of_the_documentation_is_one() {
        let sample_of = |page: &'static str| page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
        let machine = sample_of(include_str!("../../../docs/attestation.md")).unwrap();
        assert_eq!(toml::from_str::<Profile>(machine).unwrap().snp.require_platform.len(), 2);
        let sample = sample_of(include_str!("../../../docs/measured-boot.md")).unwrap();
        let profile: Profile = toml::from_str(sample).unwrap();
        assert!(profile.boot_log.required && !profile.run_time.unwrap().allows_nothing());
    }

    #[test]
    fn an_empty_profile_is_the_strict_one_and_an_unknown_knob_is_an_error() {
        assert_eq!(toml::from_str::<Profile>("").unwrap(), Profile::default());
        assert!(toml::from_str::<Profile>("alow_debug = true").unwrap_err().to_string().contains("alow_debug"));
        assert!(toml::from_str::<Profile>("[snp]\nmin_svn = 3").is_err());
    }
}
