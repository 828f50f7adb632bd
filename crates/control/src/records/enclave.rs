//! Registrations.

use std::collections::BTreeMap;

use burgrave_types::api::Requirements;
use burgrave_types::claims::{HexBytes, ReferenceValue};
use burgrave_types::{EnclaveName, EnclaveUid, KeyIdentity, ReferenceDigest, ReleaseState, Segment, Tee, Timestamp};
use burgrave_verifier::ReferenceLog;
use serde::{Deserialize, Serialize};

use super::{AttestAnew, Stored};

/// A registered enclave.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnclaveRecord {
    pub(crate) schema: u32,
    pub(crate) uid: EnclaveUid,
    pub(crate) name: EnclaveName,
    pub(crate) tee: Tee,
    pub(crate) key_identity: KeyIdentity,
    pub(crate) reattest_every_secs: u64,
    pub(crate) releases: BTreeMap<Segment, Release>,
    pub(crate) tpm_ek_digests: Vec<HexBytes>,
    /// What it demands beyond its releases.
    #[serde(default)]
    pub(crate) requirements: Requirements,
    /// Deadlines for who attested before its demands became stricter.
    #[serde(default)]
    pub(crate) attest_anew: Vec<AttestAnew>,
    pub(crate) barred_platforms: Vec<PlatformBar>,
    /// Set when its access was ended as a whole; never unset.
    pub(crate) revoked: Option<Timestamp>,
    pub(crate) created: Timestamp,
    pub(crate) created_by: String,
}

/// A set of reference values.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Release {
    pub(crate) reference: ReferenceValue,
    pub(crate) state: ReleaseState,
    pub(crate) origin: String,
    /// The events behind its registers, where they are known.
    #[serde(default)]
    pub(crate) log: ReferenceLog,
    /// When it ends by itself.
    #[serde(default)]
    pub(crate) valid_until: Option<Timestamp>,
    pub(crate) history: Vec<ReleaseStep>,
}

/// A step in a release's life.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReleaseStep {
    pub(crate) at: Timestamp,
    pub(crate) state: ReleaseState,
    pub(crate) by: String,
}

/// A platform that is kept out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlatformBar {
    pub(crate) platform: HexBytes,
    pub(crate) since: Timestamp,
    pub(crate) reason: String,
}

impl Stored for EnclaveRecord {
    const KIND: &'static str = "enclave";

    fn path(&self) -> String {
        Self::path_of(&self.name)
    }
}

impl EnclaveRecord {
    /// Where the registration of that name stands.
    pub(crate) fn path_of(name: &EnclaveName) -> String {
        format!("{}/{name}", Self::KIND)
    }

    /// Whether the registration lists the TPM with this endorsement key.
    pub(crate) fn lists(&self, ek_digest: &HexBytes) -> bool {
        self.tpm_ek_digests.contains(ek_digest)
    }

    /// Whether its list of platforms, if it has one, lets the platform in.
    pub(crate) fn lets_in(&self, platform: Option<&HexBytes>) -> bool {
        let listed = &self.requirements.platforms;
        listed.is_empty() || platform.is_some_and(|platform| listed.contains(platform))
    }

    /// Whether the platform is kept out.
    pub(crate) fn bars(&self, platform: &HexBytes) -> bool {
        self.barred_since(platform).is_some()
    }

    /// Since when the platform is kept out, if it is.
    pub(crate) fn barred_since(&self, platform: &HexBytes) -> Option<Timestamp> {
        self.barred_platforms.iter().find(|bar| bar.platform == *platform).map(|bar| bar.since)
    }

    /// Keeps a platform out; says whether that is new.
    pub(crate) fn bar(&mut self, platform: &HexBytes, since: Timestamp, reason: &str) -> bool {
        if self.bars(platform) {
            return false;
        }
        self.barred_platforms.push(PlatformBar { platform: platform.clone(), since, reason: reason.to_owned() });
        true
    }
}

impl Release {
    /// Whether evidence that matches is taken at `now`: of a first attestation while it is active, of a renewal while it is
    /// deprecated as well; never after its end.
    pub(crate) fn accepts(&self, renewal: bool, now: Timestamp) -> bool {
        let by_state = match self.state {
            ReleaseState::Active => true,
            ReleaseState::Deprecated => renewal,
            ReleaseState::Provisional | ReleaseState::Revoked => false,
        };
        by_state && self.valid_until.is_none_or(|until| now < until)
    }

    /// Moves it to `state`, on the record.
    pub(crate) fn step(&mut self, state: ReleaseState, at: Timestamp, by: &str) {
        self.state = state;
        self.history.push(ReleaseStep { at, state, by: by.to_owned() });
    }

    /// The digest that names the reference value.
    pub(crate) fn digest(&self) -> ReferenceDigest {
        burgrave_verifier::reference_digest(&self.reference)
    }
}
