//! What a registration demands of evidence beyond its releases.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::claims::{HexBytes, ReferenceValue, TcbStatus, TdAttribute};
use crate::name::text_serde;
use crate::{ParseError, Tee, Timestamp};

/// What a registration demands of evidence beyond the code that its releases name, and what it lets pass that is refused
/// unless it says so. The default is the strictest: no debugging, no migration, the most privileged level, a TCB that nothing
/// newer is asked of, no part beside the lead, on any platform.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Requirements {
    /// The platforms that are let in, as `platform_id` of the claims names them; none: any. For a TPM the registration
    /// lists `tpm_ek_digests` instead.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<HexBytes>,
    /// Whether an instance is taken whose host's operator can look inside.
    pub allow_debug: bool,
    /// Whether an instance is taken that a migration agent may move.
    pub allow_migration: bool,
    /// The least privileged level that may ask for evidence (SEV-SNP: VMPL 0 to 3, 0 the most privileged).
    pub max_privilege: u32,
    /// Attributes of a trust domain (TDX) that are taken beside the strict ones. Some clouds set them: `sept-ve`, where
    /// `SEPT_VE_DISABLE` is off.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub allow_td_attributes: BTreeSet<TdAttribute>,
    /// Whether a trust domain (TDX) is taken to which a service TD is bound, or may be: it can read or move the trust domain.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_service_td: bool,
    /// TCB statuses that are taken beside `up-to-date` and `vendor-managed`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tcb_accepted: Vec<AcceptedTcb>,
    /// Minimum versions of a platform's firmware.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tcb_floors: Vec<TcbFloor>,
    /// Parts of evidence that must be there beside the lead. Parts of another kind are refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<RequiredPart>,
    /// Whether a revocation list of AMD's must be at hand for evidence of SEV-SNP, also where the node does not demand one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub snp_crl: bool,
    /// PCRs (0 to 23) that a TPM's quote must cover, whatever the evidence shows. Those of the releases are covered in any case;
    /// what a boot event log says of others counts only where they are quoted.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub pcrs: BTreeSet<u8>,
    /// Whether a boot event log must explain the registers of the evidence.
    pub boot_log: bool,
    /// Registers (`pcr9`, `rtmr3`) that a boot event log need not explain, in place of those that others than firmware and boot
    /// loader extend: PCRs 10 to 13 and 15 to 23, and RTMR3. Absent: those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_log_unexplained: Option<BTreeSet<String>>,
    /// What may be loaded at run time; absent: nothing is asked. Where this stands, evidence must prove what was loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_time: Option<RunTimeRequirement>,
}

/// What may be loaded at run time. What is in neither list is refused.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RunTimeRequirement {
    /// Digests of files, `<algorithm>:<hexadecimal>`; for a trust domain those of its RTMR3's events, SHA-384.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Keys (PEM, or certificates that hold them) whose IMA signatures over a file's digest are taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// Whether files that changed while they were measured are passed over.
    pub allow_violations: bool,
}

/// A TCB status that is taken though something newer or better is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AcceptedTcb {
    /// The status: `hardening-needed`, `configuration-needed` or `out-of-date`.
    pub status: TcbStatus,
    /// When that ends; absent: it does not. No attestation that rests on it outlives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// A minimum version of a component of a platform's firmware.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TcbFloor {
    /// What it is the minimum of: `milan.snp`, `dcap.evaluation`.
    pub component: TcbComponent,
    /// The lowest number that is taken.
    pub minimum: u64,
    /// From when on it refuses; absent: at once. Until then who is below is let in, shown as below, and must attest again
    /// by that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforced_from: Option<Timestamp>,
}

/// A component of a platform's firmware, as `<product>.<component>`.
///
/// SEV-SNP: the family (`milan`, `genoa`, `turin`) and `bl`, `tee`, `snp`, `ucode` or, of Turin, `fmc`. Intel's platforms:
/// `dcap.evaluation`, the `tcbEvaluationDataNumber` of their collateral.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TcbComponent {
    product: &'static str,
    component: &'static str,
}

/// A part of evidence that must be there beside the lead.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RequiredPart {
    /// Its kind.
    pub tee: Tee,
    /// What each part of that kind must say: one of these. None: any genuine one will do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<ReferenceValue>,
}

/// What of its TCB an instance lacks that will be demanded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Shortfall {
    /// From when on that refuses it.
    pub from: Timestamp,
    /// What is demanded then.
    pub expected: String,
    /// What its evidence said.
    pub found: String,
}

impl TcbComponent {
    const ALL: [(&'static str, &'static [&'static str]); 4] = [
        ("milan", &["bl", "tee", "snp", "ucode"]),
        ("genoa", &["bl", "tee", "snp", "ucode"]),
        ("turin", &["fmc", "bl", "tee", "snp", "ucode"]),
        ("dcap", &["evaluation"]),
    ];

    /// The product that it is a part of: an SEV-SNP family, or `dcap`.
    pub const fn product(&self) -> &'static str {
        self.product
    }

    /// Its name within the product.
    pub const fn name(&self) -> &'static str {
        self.component
    }

    /// Whether it is the evaluation number of Intel's collateral.
    pub fn is_of_dcap(&self) -> bool {
        self.product == "dcap"
    }

    /// Whether evidence of `tee` can be held against it.
    pub fn is_of(&self, tee: Tee) -> bool {
        match tee {
            Tee::Snp => !self.is_of_dcap(),
            Tee::Tdx | Tee::Sgx => self.is_of_dcap(),
            Tee::AzVtpm => true,
            Tee::Nitro | Tee::Tpm | Tee::Cca | Tee::NvidiaGpu | Tee::Simulated => false,
        }
    }
}

impl fmt::Display for TcbComponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.product, self.component)
    }
}

impl FromStr for TcbComponent {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let all = Self::ALL.iter().flat_map(|(product, names)| names.iter().map(move |name| (*product, *name)));
        let mut all = all.map(|(product, component)| Self { product, component });
        let expected = "expected a family and a component of it, e.g. `milan.snp`, or `dcap.evaluation`";
        all.find(|one| text == one.to_string()).ok_or_else(|| ParseError::new("TCB component", text, expected))
    }
}

text_serde!(TcbComponent);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_that_say_nothing_are_the_strictest_and_an_unknown_one_is_an_error() {
        assert_eq!(serde_json::from_str::<Requirements>("{}").unwrap(), Requirements::default());
        let error = serde_json::from_str::<Requirements>(r#"{"alow_debug":true}"#).unwrap_err();
        assert!(error.to_string().contains("alow_debug"), "{error}");
        let floor = r#"{"component":"milan.snp","minimum":24,"from":"2026-01-01T00:00:00Z"}"#;
        assert!(serde_json::from_str::<TcbFloor>(floor).is_err());
    }

    #[test]
    fn a_floor_reads_back_and_names_a_component_that_there_is() {
        let floor = TcbFloor { component: "turin.fmc".parse().unwrap(), minimum: 1, enforced_from: None };
        let json = serde_json::to_string(&floor).unwrap();
        assert_eq!(json, r#"{"component":"turin.fmc","minimum":1}"#);
        assert_eq!(serde_json::from_str::<TcbFloor>(&json).unwrap(), floor);
        for wrong in ["milan.fmc", "milan", "naples.snp", "dcap.snp", "milan.snp.x", ""] {
            assert!(wrong.parse::<TcbComponent>().is_err(), "{wrong}");
        }
    }
}
