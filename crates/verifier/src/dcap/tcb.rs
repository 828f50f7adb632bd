//! TCB info and enclave identities as Intel signs them, and what they say of a platform (*Intel PCS API*, version 4).

use std::collections::BTreeSet;

use burgrave_types::Timestamp;
use burgrave_types::claims::TcbStatus;
use serde::{Deserialize, Deserializer, Serialize};

use super::quote::{EnclaveReport, TdReport};

/// A status in Intel's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Status {
    UpToDate,
    #[serde(rename = "SWHardeningNeeded")]
    SwHardeningNeeded,
    ConfigurationNeeded,
    #[serde(rename = "ConfigurationAndSWHardeningNeeded")]
    ConfigurationAndSwHardeningNeeded,
    OutOfDate,
    OutOfDateConfigurationNeeded,
    Revoked,
    /// A word that is not known here: as bad as revoked where a platform's level bears it, and nothing to the others.
    #[serde(other)]
    Unknown,
}

impl Status {
    /// Out of date, configuration needed, software hardening needed; `None` where revoked.
    const fn parts(self) -> Option<(bool, bool, bool)> {
        match self {
            Self::UpToDate => Some((false, false, false)),
            Self::SwHardeningNeeded => Some((false, false, true)),
            Self::ConfigurationNeeded => Some((false, true, false)),
            Self::ConfigurationAndSwHardeningNeeded => Some((false, true, true)),
            Self::OutOfDate => Some((true, false, false)),
            Self::OutOfDateConfigurationNeeded => Some((true, true, false)),
            Self::Revoked | Self::Unknown => None,
        }
    }

    /// The status of a whole of which `self` and `other` are parts: whatever either lacks, it lacks.
    pub(crate) const fn and(self, other: Self) -> Self {
        let (Some(one), Some(two)) = (self.parts(), other.parts()) else { return Self::Revoked };
        match (one.0 || two.0, one.1 || two.1, one.2 || two.2) {
            (true, false, _) => Self::OutOfDate,
            (true, true, _) => Self::OutOfDateConfigurationNeeded,
            (false, true, true) => Self::ConfigurationAndSwHardeningNeeded,
            (false, true, false) => Self::ConfigurationNeeded,
            (false, false, true) => Self::SwHardeningNeeded,
            (false, false, false) => Self::UpToDate,
        }
    }

    /// The two things that are needed, where there are two.
    pub(crate) const fn both(self) -> Option<[TcbStatus; 2]> {
        match self {
            Self::ConfigurationAndSwHardeningNeeded => {
                Some([TcbStatus::ConfigurationNeeded, TcbStatus::HardeningNeeded])
            }
            Self::OutOfDateConfigurationNeeded => Some([TcbStatus::OutOfDate, TcbStatus::ConfigurationNeeded]),
            _ => None,
        }
    }

    /// In the words that are the same for every TEE; where two things are needed, the graver one.
    pub(crate) const fn normalised(self) -> TcbStatus {
        match self {
            Self::UpToDate => TcbStatus::UpToDate,
            Self::SwHardeningNeeded => TcbStatus::HardeningNeeded,
            Self::ConfigurationNeeded | Self::ConfigurationAndSwHardeningNeeded => TcbStatus::ConfigurationNeeded,
            Self::OutOfDate | Self::OutOfDateConfigurationNeeded => TcbStatus::OutOfDate,
            Self::Revoked | Self::Unknown => TcbStatus::Revoked,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::UpToDate => "UpToDate",
            Self::SwHardeningNeeded => "SWHardeningNeeded",
            Self::ConfigurationNeeded => "ConfigurationNeeded",
            Self::ConfigurationAndSwHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            Self::OutOfDate => "OutOfDate",
            Self::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
            Self::Revoked => "Revoked",
            Self::Unknown => "one that is not known",
        }
    }
}

/// What a level says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Standing {
    pub(crate) status: Status,
    pub(crate) advisories: BTreeSet<String>,
}

impl Standing {
    /// Of a platform that no level fits, or that nothing is known of.
    pub(crate) fn unknown() -> Self {
        Self { status: Status::OutOfDate, advisories: BTreeSet::new() }
    }

    pub(crate) fn and(mut self, status: Status, advisories: &[String]) -> Self {
        self.status = self.status.and(status);
        self.advisories.extend(advisories.iter().cloned());
        self
    }
}

/// Bytes of a fixed number, in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hex<const N: usize>(pub(crate) [u8; N]);

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let mut bytes = [0; N];
        hex::decode_to_slice(text.as_bytes(), &mut bytes).map_err(serde::de::Error::custom)?;
        Ok(Self(bytes))
    }
}

/// TCB info, version 3. Members that are not read here are covered by the signature and left alone.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TcbInfo {
    pub(crate) id: String,
    pub(crate) version: u32,
    pub(crate) issue_date: Timestamp,
    pub(crate) next_update: Timestamp,
    pub(crate) fmspc: Hex<6>,
    pub(crate) pce_id: Hex<2>,
    pub(crate) tcb_type: u32,
    pub(crate) tcb_evaluation_data_number: u32,
    tdx_module: Option<Module>,
    #[serde(default)]
    tdx_module_identities: Vec<ModuleIdentity>,
    tcb_levels: Vec<Level<PlatformTcb>>,
}

/// An enclave identity, version 2: of a quoting enclave.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EnclaveIdentity {
    pub(crate) id: String,
    pub(crate) version: u32,
    pub(crate) issue_date: Timestamp,
    pub(crate) next_update: Timestamp,
    pub(crate) tcb_evaluation_data_number: u32,
    #[serde(rename = "miscselect")]
    misc_select: Hex<4>,
    #[serde(rename = "miscselectMask")]
    misc_select_mask: Hex<4>,
    attributes: Hex<16>,
    attributes_mask: Hex<16>,
    mrsigner: Hex<32>,
    isvprodid: u16,
    tcb_levels: Vec<Level<IsvSvn<u16>>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Module {
    mrsigner: Hex<48>,
    attributes: Hex<8>,
    attributes_mask: Hex<8>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ModuleIdentity {
    id: String,
    #[serde(flatten)]
    module: Module,
    tcb_levels: Vec<Level<IsvSvn<u8>>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Level<T> {
    tcb: T,
    tcb_status: Status,
    #[serde(rename = "advisoryIDs", default)]
    advisories: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct IsvSvn<T> {
    isvsvn: T,
}

#[derive(Clone, Debug, Deserialize)]
struct PlatformTcb {
    sgxtcbcomponents: [Component; 16],
    pcesvn: u16,
    tdxtcbcomponents: Option<[Component; 16]>,
}

#[derive(Clone, Debug, Deserialize)]
struct Component {
    svn: u8,
}

/// The security version numbers of a platform, as its PCK certificate has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PlatformSvn {
    pub(crate) components: [u8; 16],
    pub(crate) pce: u16,
}

/// Why TCB info says nothing good of a platform.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Unknown {
    /// The TDX module is not one of Intel's: what was expected, what was found.
    Module(String, String),
    /// No level is at or below the platform's numbers.
    NoLevel,
}

impl TcbInfo {
    /// The level of an SGX platform.
    pub(crate) fn of_platform(&self, svn: &PlatformSvn) -> Result<Standing, Unknown> {
        self.level(svn, None)
    }

    /// The level of a TD: platform and module, at launch and (from TDX 1.5 on) now.
    pub(crate) fn of_td(&self, svn: &PlatformSvn, report: &TdReport) -> Result<Standing, Unknown> {
        let launched = self.of_td_at(svn, report, &report.tee_tcb_svn)?;
        match report.tee_tcb_svn_2 {
            None => Ok(launched),
            Some(now) => {
                let now = self.of_td_at(svn, report, &now)?;
                let advisories: Vec<_> = now.advisories.into_iter().collect();
                Ok(launched.and(now.status, &advisories))
            }
        }
    }

    fn of_td_at(&self, svn: &PlatformSvn, report: &TdReport, tee_tcb_svn: &[u8; 16]) -> Result<Standing, Unknown> {
        let module = self.module(report, tee_tcb_svn)?;
        let platform = self.level(svn, Some(tee_tcb_svn))?;
        Ok(match module {
            Some(level) => platform.and(level.tcb_status, &level.advisories),
            None => platform,
        })
    }

    /// The level of the TDX module, once signer and attributes are Intel's. A module of version 0 has none of its own.
    fn module(&self, report: &TdReport, tee_tcb_svn: &[u8; 16]) -> Result<Option<&Level<IsvSvn<u8>>>, Unknown> {
        let [svn, version, ..] = *tee_tcb_svn;
        let id = format!("TDX_{version:02X}");
        let (module, levels) = if version == 0 {
            (self.tdx_module.as_ref(), None)
        } else {
            let identity = self.tdx_module_identities.iter().find(|identity| identity.id.eq_ignore_ascii_case(&id));
            (identity.map(|identity| &identity.module), identity.map(|identity| &identity.tcb_levels))
        };
        let Some(module) = module else {
            return Err(Unknown::Module("a module that the TCB info lists".to_owned(), format!("module `{id}`")));
        };
        if module.mrsigner.0 != report.mr_signer_seam {
            let (expected, found) = (hex::encode(module.mrsigner.0), hex::encode(report.mr_signer_seam));
            return Err(Unknown::Module(format!("MRSIGNERSEAM {expected}"), found));
        }
        if !equal_under(&report.seam_attributes, &module.attributes.0, &module.attributes_mask.0) {
            let (expected, found) = (hex::encode(module.attributes.0), hex::encode(report.seam_attributes));
            return Err(Unknown::Module(format!("SEAMATTRIBUTES {expected} under their mask"), found));
        }
        let Some(levels) = levels else { return Ok(None) };
        let level = levels.iter().find(|level| level.tcb.isvsvn <= svn);
        let lowest = levels.iter().map(|level| level.tcb.isvsvn).min().unwrap_or(0);
        let below = || Unknown::Module(format!("a `{id}` with SVN at least {lowest}"), format!("SVN {svn}"));
        level.map(Some).ok_or_else(below)
    }

    /// The first level, in Intel's order, that asks for no more than there is. Where the module has a version, its own SVN
    /// and version are judged by its identity and not here.
    fn level(&self, svn: &PlatformSvn, tee_tcb_svn: Option<&[u8; 16]>) -> Result<Standing, Unknown> {
        let reached = |level: &&Level<PlatformTcb>| {
            let sgx = level.tcb.sgxtcbcomponents.iter().zip(&svn.components).all(|(asked, had)| asked.svn <= *had);
            let tdx = tee_tcb_svn.is_none_or(|had| {
                let own = if had.get(1) == Some(&0) { 0 } else { 2 };
                let asked = level.tcb.tdxtcbcomponents.as_ref();
                asked.is_some_and(|asked| asked.iter().zip(had).skip(own).all(|(asked, had)| asked.svn <= *had))
            });
            sgx && tdx && level.tcb.pcesvn <= svn.pce
        };
        let level = self.tcb_levels.iter().find(reached).ok_or(Unknown::NoLevel)?;
        Ok(Standing { status: level.tcb_status, advisories: level.advisories.iter().cloned().collect() })
    }
}

impl EnclaveIdentity {
    /// What of a quoting enclave's report is not as this identity has it: the field, expected, found.
    pub(crate) fn difference(&self, report: &EnclaveReport) -> Option<(&'static str, String, String)> {
        let differing = |name, expected: &[u8], found: &[u8]| Some((name, hex::encode(expected), hex::encode(found)));
        if report.mr_signer != self.mrsigner.0 {
            differing("MRSIGNER", &self.mrsigner.0, &report.mr_signer)
        } else if report.isv_product_id != self.isvprodid {
            Some(("ISVPRODID", self.isvprodid.to_string(), report.isv_product_id.to_string()))
        } else if !equal_under(&report.misc_select, &self.misc_select.0, &self.misc_select_mask.0) {
            differing("MISCSELECT", &self.misc_select.0, &report.misc_select)
        } else if !equal_under(&report.attributes, &self.attributes.0, &self.attributes_mask.0) {
            differing("ATTRIBUTES", &self.attributes.0, &report.attributes)
        } else {
            None
        }
    }

    /// The level of a quoting enclave of this SVN.
    pub(crate) fn level(&self, svn: u16) -> Option<(Status, &[String])> {
        let level = self.tcb_levels.iter().find(|level| level.tcb.isvsvn <= svn)?;
        Some((level.tcb_status, &level.advisories))
    }

    /// The lowest SVN that is listed.
    pub(crate) fn lowest(&self) -> u16 {
        self.tcb_levels.iter().map(|level| level.tcb.isvsvn).min().unwrap_or(0)
    }
}

fn equal_under<const N: usize>(found: &[u8; N], expected: &[u8; N], mask: &[u8; N]) -> bool {
    found.iter().zip(expected).zip(mask).all(|((found, expected), mask)| found & mask == expected & mask)
}

#[cfg(test)]
mod tests {
    use Status::{
        ConfigurationAndSwHardeningNeeded, ConfigurationNeeded, OutOfDate, OutOfDateConfigurationNeeded, Revoked,
        SwHardeningNeeded, UpToDate,
    };

    use super::*;

    const ALL: [Status; 7] = [
        UpToDate,
        SwHardeningNeeded,
        ConfigurationNeeded,
        ConfigurationAndSwHardeningNeeded,
        OutOfDate,
        OutOfDateConfigurationNeeded,
        Revoked,
    ];

    #[test]
    fn a_whole_is_never_better_than_a_part_whatever_the_order() {
        for one in ALL {
            assert_eq!((one.and(UpToDate), one.and(one), one.and(Revoked)), (one, one, Revoked));
            for two in ALL {
                assert_eq!(one.and(two), two.and(one));
            }
        }
    }

    #[test]
    fn statuses_fold_as_intels_verifier_folds_them() {
        for (platform, part, whole) in [
            (UpToDate, OutOfDate, OutOfDate),
            (SwHardeningNeeded, OutOfDate, OutOfDate),
            (ConfigurationNeeded, OutOfDate, OutOfDateConfigurationNeeded),
            (ConfigurationAndSwHardeningNeeded, OutOfDate, OutOfDateConfigurationNeeded),
            (OutOfDate, UpToDate, OutOfDate),
            (SwHardeningNeeded, ConfigurationNeeded, ConfigurationAndSwHardeningNeeded),
        ] {
            assert_eq!(platform.and(part), whole);
        }
    }

    #[test]
    fn the_words_are_intels() {
        for status in ALL {
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
        assert_eq!(serde_json::from_str::<Status>("\"Fine\"").unwrap(), Status::Unknown);
    }
}
