//! Named keys, keyspaces, and each enclave's key in a keyspace.

use burgrave_types::{EnclaveName, EnclaveUid, KeyUid, ResourceId, ResourceKind, ResourceName, Timestamp};
use serde::{Deserialize, Serialize};

use super::Stored;

/// A named key, or a keyspace.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyRecord {
    pub(crate) schema: u32,
    pub(crate) uid: KeyUid,
    pub(crate) resource: ResourceId,
    /// A named key's versions; a keyspace has none of its own.
    pub(crate) versions: Vec<KeyVersion>,
    pub(crate) created: Timestamp,
    pub(crate) created_by: String,
}

/// An enclave's key in a keyspace: made with its first use.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnclaveKeyRecord {
    pub(crate) schema: u32,
    pub(crate) enclave: EnclaveUid,
    pub(crate) enclave_name: EnclaveName,
    pub(crate) keyspace: ResourceName,
    pub(crate) versions: Vec<KeyVersion>,
}

/// One version of a key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyVersion {
    pub(crate) version: u32,
    pub(crate) state: KeyVersionState,
    pub(crate) since: Timestamp,
}

/// The states of SP 800-57 that a version of ours passes through.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum KeyVersionState {
    /// Encrypts and decrypts; one version of a key is in it.
    Active,
    /// Decrypts alone.
    Deactivated,
    /// Decrypts alone, and whoever was revoked may hold it.
    Compromised,
    /// Does nothing any more: its keyspace was deleted.
    Destroyed,
}

impl KeyVersionState {
    /// Whether a revocation of somebody who holds the version would yet have to mark it.
    pub(crate) const fn is_live(self) -> bool {
        matches!(self, Self::Active | Self::Deactivated)
    }

    /// The word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Deactivated => "deactivated",
            Self::Compromised => "compromised",
            Self::Destroyed => "destroyed",
        }
    }
}

impl KeyVersion {
    /// The first version of a key.
    pub(crate) fn first(since: Timestamp) -> Self {
        Self { version: 1, state: KeyVersionState::Active, since }
    }
}

/// The version that is written under.
pub(crate) fn active(versions: &[KeyVersion]) -> Option<&KeyVersion> {
    versions.iter().find(|version| version.state == KeyVersionState::Active)
}

/// Begins a new version; the one before it goes to `old`. Gives the new number.
pub(crate) fn rotate(versions: &mut Vec<KeyVersion>, old: KeyVersionState, at: Timestamp) -> u32 {
    for version in versions.iter_mut().filter(|version| version.state == KeyVersionState::Active) {
        version.state = old;
        version.since = at;
    }
    let number = versions.iter().map(|version| version.version).max().unwrap_or(0).saturating_add(1);
    versions.push(KeyVersion { version: number, ..KeyVersion::first(at) });
    number
}

impl Stored for KeyRecord {
    const KIND: &'static str = "key";

    fn path(&self) -> String {
        Self::path_of(&self.resource)
    }
}

impl KeyRecord {
    /// The kind of keyspaces' paths.
    pub(crate) const KEYSPACE_KIND: &'static str = "keyspace";

    /// Where the key or keyspace of that name stands.
    pub(crate) fn path_of(resource: &ResourceId) -> String {
        resource.to_string()
    }

    /// Whether it is a keyspace.
    pub(crate) fn is_keyspace(&self) -> bool {
        self.resource.kind == ResourceKind::Keyspace
    }
}

impl Stored for EnclaveKeyRecord {
    const KIND: &'static str = "keyspace";

    fn path(&self) -> String {
        Self::path_of(&self.keyspace, self.enclave)
    }
}

impl EnclaveKeyRecord {
    /// The keyspace.
    pub(crate) fn keyspace_resource(&self) -> ResourceId {
        ResourceId { kind: ResourceKind::Keyspace, name: self.keyspace.clone() }
    }

    /// Where that enclave's key in that keyspace stands: beside the keyspace. No name has an `@`.
    pub(crate) fn path_of(keyspace: &ResourceName, enclave: EnclaveUid) -> String {
        format!("{}/{keyspace}@{enclave}", Self::KIND)
    }

    /// Whether the path is one of these, and not a keyspace's own.
    pub(crate) fn is_at(path: &str) -> bool {
        path.contains('@')
    }
}
