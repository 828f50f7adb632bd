//! Everything that requests read, in memory, as of one revision.
//!
//! A [`View`] never changes; a change in the ledger makes the next one, which is swapped in whole. So a reader never waits
//! and never sees half a transaction. A record that cannot be read is an error, and the node then stops serving rather
//! than go on without, say, a forbid.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use burgrave_policy::{PolicyError, PolicySnapshot, Tier};
use burgrave_types::{
    EnclaveName, EnclaveUid, HeadHash, InstanceId, NodeId, PolicyId, ReleaseState, ResourceId, ResourceName, Revision,
    SpkiHash, Standing, Timestamp,
};

use crate::live::{InstanceEntry, Live};
use crate::records::{
    CollateralFloorsRecord, EnclaveKeyRecord, EnclaveRecord, Entry, InstanceRecord, KeyRecord, PolicyRecord,
    RecordError, RecordedStanding, SigningKeysRecord, Stored, deadline, decode,
};

/// The state of the domain at one revision.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) revision: Revision,
    pub(crate) head: HeadHash,
    /// The time of the head: the node's own never goes before it.
    pub(crate) time: Timestamp,
    pub(crate) enclaves: BTreeMap<EnclaveName, Arc<Entry<EnclaveRecord>>>,
    pub(crate) instances: BTreeMap<InstanceId, Arc<InstanceEntry>>,
    pub(crate) policies: BTreeMap<PolicyId, Arc<Entry<PolicyRecord>>>,
    pub(crate) keys: BTreeMap<ResourceId, Arc<Entry<KeyRecord>>>,
    pub(crate) enclave_keys: BTreeMap<(EnclaveUid, ResourceName), Arc<Entry<EnclaveKeyRecord>>>,
    pub(crate) signing_keys: BTreeMap<NodeId, Arc<Entry<SigningKeysRecord>>>,
    pub(crate) collateral_floors: Option<Arc<Entry<CollateralFloorsRecord>>>,
    pub(crate) rules: Arc<PolicySnapshot>,
    names: HashMap<EnclaveUid, EnclaveName>,
    by_key: HashMap<SpkiHash, InstanceId>,
}

/// One record's change, as the ledger tells it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordChange<'a> {
    pub(crate) path: &'a str,
    /// The new content; `None` where the record is gone.
    pub(crate) body: Option<&'a [u8]>,
    pub(crate) revision: Revision,
}

/// What a step from one view to the next concerned.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Touched {
    pub(crate) policies: bool,
    pub(crate) enclaves: BTreeSet<EnclaveName>,
    pub(crate) instances: BTreeSet<InstanceId>,
    pub(crate) keys: BTreeSet<ResourceId>,
}

/// Why a change could not be taken into the view.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// A record cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The policies do not stand together.
    #[error("the stored policies are not valid: {0}")]
    Policy(#[from] PolicyError),
    /// A kind of record that this node does not know.
    #[error("the record `{0}` is of a kind that this node does not know: a newer node wrote it")]
    Kind(String),
}

impl View {
    /// The view of a ledger without records: the standing policies alone.
    pub(crate) fn empty() -> Result<Self, ViewError> {
        Ok(Self {
            revision: Revision(0),
            head: HeadHash::from_bytes([0; 32]),
            time: Timestamp::from_unix_millis(i64::MIN),
            enclaves: BTreeMap::new(),
            instances: BTreeMap::new(),
            policies: BTreeMap::new(),
            keys: BTreeMap::new(),
            enclave_keys: BTreeMap::new(),
            signing_keys: BTreeMap::new(),
            collateral_floors: None,
            rules: Arc::new(PolicySnapshot::build([])?),
            names: HashMap::new(),
            by_key: HashMap::new(),
        })
    }

    /// The view after these changes, and what they concerned.
    pub(crate) fn next<'a>(
        &self,
        (revision, head, time): (Revision, HeadHash, Timestamp),
        changes: impl IntoIterator<Item = RecordChange<'a>>,
    ) -> Result<(Self, Touched), ViewError> {
        let mut next = Self { revision, head, time, ..self.clone() };
        let mut touched = Touched::default();
        let mut policies = (Vec::new(), Vec::new());
        for change in changes {
            match change.path.split('/').next() {
                Some(EnclaveRecord::KIND) => next.take_enclave(change, &mut touched)?,
                Some(InstanceRecord::KIND) => next.take_instance(change, &mut touched)?,
                Some(PolicyRecord::KIND) => next.take_policy(change, &mut policies)?,
                Some(EnclaveKeyRecord::KIND) if EnclaveKeyRecord::is_at(change.path) => {
                    next.take_enclave_key(change, &mut touched)?;
                }
                Some(KeyRecord::KIND | KeyRecord::KEYSPACE_KIND) => next.take_key(change, &mut touched)?,
                Some(CollateralFloorsRecord::KIND) => next.take_collateral_floors(change)?,
                Some(SigningKeysRecord::KIND) => next.take_signing_keys(change)?,
                _ => return Err(ViewError::Kind(change.path.to_owned())),
            }
        }
        let (puts, deletes) = policies;
        touched.policies = !puts.is_empty() || !deletes.is_empty();
        if touched.policies {
            next.rules = Arc::new(self.rules.with_change(puts, deletes)?);
        }
        Ok((next, touched))
    }

    /// The instance of that id.
    pub(crate) fn instance(&self, id: InstanceId) -> Option<&Arc<InstanceEntry>> {
        self.instances.get(&id)
    }

    /// The instance that has this identity key.
    pub(crate) fn instance_of_key(&self, key: &SpkiHash) -> Option<&Arc<InstanceEntry>> {
        self.instances.get(self.by_key.get(key)?)
    }

    /// The registration of that id.
    pub(crate) fn enclave_of(&self, uid: EnclaveUid) -> Option<&Arc<Entry<EnclaveRecord>>> {
        self.enclaves.get(self.names.get(&uid)?)
    }

    /// The instances of a registration.
    pub(crate) fn instances_of(&self, uid: EnclaveUid) -> impl Iterator<Item = &Arc<InstanceEntry>> {
        self.instances.values().filter(move |entry| entry.record.enclave == uid)
    }

    /// How an instance stands at `now`: by its record, its registration, its platform, its release and its deadline,
    /// whichever is worst.
    pub(crate) fn standing(&self, entry: &InstanceEntry, now: Timestamp) -> Standing {
        let record = &entry.record;
        if let RecordedStanding::Revoked { at, .. } = record.standing {
            return Standing::Revoked { at };
        }
        let Some(enclave) = self.enclave_of(record.enclave) else {
            return Standing::Revoked { at: record.attested_at };
        };
        if let Some(at) = enclave.record.revoked {
            return Standing::Revoked { at };
        }
        // What runs on a barred platform is granted nothing, whatever its own record says.
        if let Some(at) = record.platform_id.as_ref().and_then(|platform| enclave.record.barred_since(platform)) {
            return Standing::Revoked { at };
        }
        let release_ends = match enclave.record.releases.get(&record.release) {
            Some(release) if release.state != ReleaseState::Revoked => release.valid_until,
            release => {
                let at = release.and_then(|release| release.history.last()).map_or(record.attested_at, |step| step.at);
                return Standing::Revoked { at };
            }
        };
        if let RecordedStanding::Stale { since } = record.standing {
            return Standing::Stale { since };
        }
        let attested_at = entry.live.attested_at();
        let until = deadline(&enclave.record.attest_anew, attested_at, entry.live.until());
        let until = release_ends.map_or(until, |end| end.min(until));
        if now < until { Standing::Fresh { until } } else { Standing::Stale { since: until } }
    }

    /// Whether the instance was given a version of a key that a revocation would yet have to mark as compromised.
    pub(crate) fn holds_live_key(&self, entry: &InstanceEntry) -> bool {
        entry.record.released.iter().any(|(resource, held)| {
            let own = (entry.record.enclave, resource.name.clone());
            let versions = match resource.kind {
                burgrave_types::ResourceKind::Keyspace => self.enclave_keys.get(&own).map(|key| &key.record.versions),
                _ => self.keys.get(resource).map(|key| &key.record.versions),
            };
            versions.is_some_and(|all| all.iter().any(|one| held.contains(&one.version) && one.state.is_live()))
        })
    }

    fn take_enclave(&mut self, change: RecordChange<'_>, touched: &mut Touched) -> Result<(), ViewError> {
        match change.body {
            Some(body) => {
                let record: EnclaveRecord = decode(change.path, body)?;
                touched.enclaves.insert(record.name.clone());
                if let Some(before) = self.enclaves.get(&record.name) {
                    self.names.remove(&before.record.uid);
                }
                self.names.insert(record.uid, record.name.clone());
                self.enclaves.insert(record.name.clone(), Arc::new(Entry { record, revision: change.revision }));
            }
            None => {
                let gone = self.enclaves.iter().find(|(_, entry)| entry.record.path() == change.path);
                if let Some((name, uid)) = gone.map(|(name, entry)| (name.clone(), entry.record.uid)) {
                    self.enclaves.remove(&name);
                    self.names.remove(&uid);
                    touched.enclaves.insert(name);
                }
            }
        }
        Ok(())
    }

    fn take_instance(&mut self, change: RecordChange<'_>, touched: &mut Touched) -> Result<(), ViewError> {
        match change.body {
            Some(body) => {
                let record: InstanceRecord = decode(change.path, body)?;
                touched.instances.insert(record.id);
                let live = match self.instances.get(&record.id) {
                    Some(before) => Arc::clone(&before.live),
                    None => Arc::new(Live::default()),
                };
                live.attested(record.attested_at, record.until);
                self.by_key.insert(record.spki_hash, record.id);
                self.instances.insert(record.id, Arc::new(InstanceEntry::new(record, change.revision, live)));
            }
            None => {
                let id = change.path.rsplit('/').next().and_then(|id| id.parse::<InstanceId>().ok());
                if let Some((id, entry)) = id.and_then(|id| Some((id, self.instances.remove(&id)?))) {
                    self.by_key.remove(&entry.record.spki_hash);
                    touched.instances.insert(id);
                }
            }
        }
        Ok(())
    }

    fn take_policy(
        &mut self,
        change: RecordChange<'_>,
        (puts, deletes): &mut (Vec<burgrave_policy::PolicyRecord>, Vec<PolicyId>),
    ) -> Result<(), ViewError> {
        match change.body {
            Some(body) => {
                let record: PolicyRecord = decode(change.path, body)?;
                puts.push(as_policy(&record));
                self.policies.insert(record.id, Arc::new(Entry { record, revision: change.revision }));
            }
            None => {
                if let Some(id) = change.path.rsplit('/').next().and_then(|id| id.parse().ok()) {
                    self.policies.remove(&id);
                    deletes.push(id);
                }
            }
        }
        Ok(())
    }

    fn take_key(&mut self, change: RecordChange<'_>, touched: &mut Touched) -> Result<(), ViewError> {
        match change.body {
            Some(body) => {
                let record: KeyRecord = decode(change.path, body)?;
                touched.keys.insert(record.resource.clone());
                self.keys.insert(record.resource.clone(), Arc::new(Entry { record, revision: change.revision }));
            }
            None => {
                if let Ok(resource) = change.path.parse::<ResourceId>() {
                    self.keys.remove(&resource);
                    touched.keys.insert(resource);
                }
            }
        }
        Ok(())
    }

    fn take_enclave_key(&mut self, change: RecordChange<'_>, touched: &mut Touched) -> Result<(), ViewError> {
        match change.body {
            Some(body) => {
                let record: EnclaveKeyRecord = decode(change.path, body)?;
                touched.keys.insert(record.keyspace_resource());
                let key = (record.enclave, record.keyspace.clone());
                self.enclave_keys.insert(key, Arc::new(Entry { record, revision: change.revision }));
            }
            None => self.enclave_keys.retain(|_, entry| entry.record.path() != change.path),
        }
        Ok(())
    }

    fn take_collateral_floors(&mut self, change: RecordChange<'_>) -> Result<(), ViewError> {
        let read = |body| decode::<CollateralFloorsRecord>(change.path, body);
        let record = change.body.map(read).transpose()?;
        self.collateral_floors = record.map(|record| Arc::new(Entry { record, revision: change.revision }));
        Ok(())
    }

    fn take_signing_keys(&mut self, change: RecordChange<'_>) -> Result<(), ViewError> {
        match change.body {
            Some(body) => {
                let record: SigningKeysRecord = decode(change.path, body)?;
                self.signing_keys.insert(record.node, Arc::new(Entry { record, revision: change.revision }));
            }
            None => self.signing_keys.retain(|_, entry| entry.record.path() != change.path),
        }
        Ok(())
    }
}

/// A stored policy as the engine takes it.
pub(crate) fn as_policy(record: &PolicyRecord) -> burgrave_policy::PolicyRecord {
    burgrave_policy::PolicyRecord {
        id: record.id,
        tier: record.namespace.clone().map_or(Tier::Domain, Tier::Namespace),
        name: record.name.clone(),
        text: record.text.clone(),
    }
}
