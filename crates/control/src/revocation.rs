//! Ending access, at once.
//!
//! One transaction ends the standing of instances, bars the platform of one that was taken over from the enclave, with all
//! instances on it, and begins a new version of every key that was released to them. When the call returns, the view has it: nothing is granted to them any more, their
//! channels are cut and their links are ended. What a released key still opens is listed.

use std::collections::{BTreeMap, BTreeSet};

use burgrave_types::claims::HexBytes;
use burgrave_types::{
    EnclaveName, EnclaveUid, InstanceId, Problem, ProblemCode, ReleaseState, ResourceId, ResourceKind, Revision,
    Segment, Timestamp,
};

use crate::admin::of_enclave;
use crate::commit::{Change, Committed};
use crate::live::InstanceEntry;
use crate::records::{
    EnclaveKeyRecord, EnclaveRecord, Entry, InstanceRecord, KeyRecord, KeyVersion, KeyVersionState, RecordedStanding,
    rotate,
};
use crate::view::{Touched, View};
use crate::{AdminIdentity, Advice, Control, Notice, Residual, Revoked, Rotation};

impl Control {
    /// Ends one instance and bars its platform from the enclave, which ends whatever else of the enclave runs there. The
    /// platform of an instance that has ended already is barred all the same.
    ///
    /// When this returns, no decision, key, grant or certificate is given to them, their channels are cut and their links are
    /// ended; every key that was released to them has a new version.
    ///
    /// # Errors
    /// `policy.denied`, `not-found`, `unavailable`.
    pub async fn revoke_instance(
        &self,
        admin: &AdminIdentity,
        instance: InstanceId,
        reason: &str,
    ) -> Result<Revoked, Problem> {
        self.administered(&*self.view()?, admin, instance)?;
        let now = self.now();
        let (committed, ending) = self
            .change(admin.name.as_str(), |view| {
                let entry = view.instance(instance).ok_or_else(crate::authorizer::not_attested)?;
                let mut ending = Ending::new(now, reason);
                ending.instance(entry);
                let platform = entry.record.platform_id.as_ref();
                let beside = view.instances_of(entry.record.enclave).filter(|other| {
                    other.record.id != instance && platform.is_some() && other.record.platform_id.as_ref() == platform
                });
                beside.for_each(|other| ending.instance(other));
                let change = ending.take_change(view);
                let change = match (platform, view.enclave_of(entry.record.enclave)) {
                    (Some(platform), Some(enclave)) => ending.bar(change, enclave, platform),
                    (None, _) => {
                        ending.no_platform(entry);
                        change
                    }
                    (Some(_), None) => change,
                };
                Ok((change, ending))
            })
            .await?;
        Ok(ended(ending, committed))
    }

    /// Ends an enclave: all its instances, and every attestation to come. The name can be deleted and registered again;
    /// that is then another enclave with other keys.
    ///
    /// # Errors
    /// As [`Control::revoke_instance`].
    pub async fn revoke_enclave(
        &self,
        admin: &AdminIdentity,
        enclave: &EnclaveName,
        reason: &str,
    ) -> Result<Revoked, Problem> {
        self.admin(&*self.view()?, admin, of_enclave(enclave)?)?;
        let now = self.now();
        let (committed, ending) = self
            .change(admin.name.as_str(), |view| {
                let entry = crate::admin::registered(view, enclave)?;
                let mut ending = Ending::new(now, reason);
                view.instances_of(entry.record.uid).for_each(|instance| ending.instance(instance));
                let mut record = entry.record.clone();
                record.revoked.get_or_insert(now);
                Ok((ending.take_change(view).update(&record, entry.revision), ending))
            })
            .await?;
        Ok(ended(ending, committed))
    }

    /// Ends a release: the instances that run it, and every attestation of it to come.
    ///
    /// # Errors
    /// As [`Control::revoke_instance`].
    pub async fn revoke_release(
        &self,
        admin: &AdminIdentity,
        enclave: &EnclaveName,
        release: &Segment,
        reason: &str,
    ) -> Result<Revoked, Problem> {
        self.admin(&*self.view()?, admin, of_enclave(enclave)?)?;
        let now = self.now();
        let (committed, ending) = self
            .change(admin.name.as_str(), |view| {
                let entry = crate::admin::registered(view, enclave)?;
                let mut record = entry.record.clone();
                let found = record.releases.get_mut(release);
                let found = found.ok_or_else(|| crate::admin::no_release(enclave, release))?;
                if found.state != ReleaseState::Revoked {
                    found.step(ReleaseState::Revoked, now, admin.name.as_str());
                }
                let mut ending = Ending::new(now, reason);
                let running = view.instances_of(record.uid).filter(|instance| instance.record.release == *release);
                running.for_each(|instance| ending.instance(instance));
                Ok((ending.take_change(view).update(&record, entry.revision), ending))
            })
            .await?;
        Ok(ended(ending, committed))
    }

    /// Tells instances whose access a change ended, and ends their links.
    pub(crate) fn end_links(&self, before: &View, after: &View, touched: &Touched) {
        for id in &touched.instances {
            let reason = match after.instance(*id).map(|entry| &entry.record.standing) {
                Some(RecordedStanding::Revoked { reason, .. }) => reason.clone(),
                None if before.instance(*id).is_some_and(|entry| after.enclave_of(entry.record.enclave).is_none()) => {
                    "its enclave was deleted".to_owned()
                }
                // Still there, or gone for so long that its record was dropped.
                _ => continue,
            };
            let problem =
                Problem::new(ProblemCode::Revoked, format!("the access of instance `{id}` was ended: {reason}"))
                    .with_fix("a new instance must attest, on a platform and of a release that are let in");
            self.with_links(|links| {
                links.notify(*id, Notice::Revoked { reason: problem.clone() });
                links.disconnect(*id, &problem);
            });
            self.happened("instance.revoked", &id.to_string(), &reason);
        }
    }
}

/// What a revocation did.
pub(crate) fn ended(ending: Ending, committed: Committed) -> Revoked {
    Revoked {
        revision: committed.revision,
        channels: committed.cut,
        rotated: ending.rotated,
        barred_platforms: ending.barred,
        residual: ending.residual,
        advice: ending.advice,
        instances: ending.instances,
    }
}

/// The end of some instances' access: what is written for it and what is told of it.
#[derive(Default)]
pub(crate) struct Ending {
    at: Timestamp,
    reason: String,
    instances: Vec<InstanceId>,
    standings: Vec<(InstanceRecord, Revision)>,
    held: BTreeMap<HeldKey, Held>,
    rotated: Vec<Rotation>,
    residual: Vec<Residual>,
    barred: Vec<HexBytes>,
    advice: Vec<Advice>,
}

/// A key that instances were given: an enclave's in a keyspace, or a named one.
type HeldKey = (ResourceId, Option<EnclaveUid>);

/// Which versions of it, and who.
#[derive(Default)]
struct Held {
    versions: BTreeSet<u32>,
    by: BTreeSet<InstanceId>,
}

impl Ending {
    /// Nothing is ended yet; what will be, ends `at` that time for that reason.
    pub(crate) fn new(at: Timestamp, reason: &str) -> Self {
        Self { at, reason: reason.to_owned(), ..Self::default() }
    }

    /// Ends an instance.
    pub(crate) fn instance(&mut self, entry: &InstanceEntry) {
        if matches!(entry.record.standing, RecordedStanding::Revoked { .. }) {
            return;
        }
        let record = InstanceRecord {
            standing: RecordedStanding::Revoked { at: self.at, reason: self.reason.clone() },
            ..entry.record.clone()
        };
        self.standings.push((record, entry.revision));
        self.gone(entry);
    }

    /// Says what else helps against an instance whose evidence names no platform.
    fn no_platform(&mut self, entry: &InstanceEntry) {
        self.advice.push(Advice {
            detail: format!("the evidence of `{}` names no platform, so none could be barred", entry.record.id),
            fix: format!(
                "to keep the same code from coming back, revoke its release: `burgrave enclave revoke {} --release {}`",
                entry.record.enclave_name, entry.record.release
            ),
        });
    }

    /// An instance whose record goes as a whole.
    pub(crate) fn gone(&mut self, entry: &InstanceEntry) {
        self.instances.push(entry.record.id);
        for resource in entry.record.released.keys() {
            self.holds(entry, resource);
        }
    }

    /// A key that an instance was given and shall have no longer.
    pub(crate) fn holds(&mut self, entry: &InstanceEntry, resource: &ResourceId) {
        let enclave = (resource.kind == ResourceKind::Keyspace).then_some(entry.record.enclave);
        let held = self.held.entry((resource.clone(), enclave)).or_default();
        held.versions.extend(entry.record.released.get(resource).into_iter().flatten());
        held.by.insert(entry.record.id);
    }

    /// The change that ends them: standings and rotations.
    pub(crate) fn take_change(&mut self, view: &View) -> Change {
        let standings = std::mem::take(&mut self.standings);
        let change =
            standings.iter().fold(Change::new(), |change, (record, revision)| change.update(record, *revision));
        self.rotate(view, change)
    }

    /// The change that begins new versions of the named keys that they were given, where their enclave goes with all its own
    /// keys.
    pub(crate) fn take_change_of_deleted(&mut self, view: &View, change: Change) -> Change {
        let (own, named) = std::mem::take(&mut self.held).into_iter().partition(|((_, enclave), _)| enclave.is_some());
        self.held = named;
        for ((resource, uid), held) in own {
            let enclave = uid.and_then(|uid| view.enclave_of(uid)).map(|enclave| enclave.record.name.clone());
            self.leaves(resource, enclave, held);
        }
        self.rotate(view, change)
    }

    /// Adds a new version of each key that they were given.
    fn rotate(&mut self, view: &View, mut change: Change) -> Change {
        for ((resource, enclave), held) in std::mem::take(&mut self.held) {
            match enclave {
                Some(uid) => {
                    let Some(entry) = view.enclave_keys.get(&(uid, resource.name.clone())) else { continue };
                    let mut record: EnclaveKeyRecord = entry.record.clone();
                    let enclave = Some(record.enclave_name.clone());
                    self.rotate_one(&mut record.versions, resource, enclave, held);
                    change = change.update(&record, entry.revision);
                }
                None => {
                    let Some(entry) = view.keys.get(&resource) else { continue };
                    let mut record: KeyRecord = entry.record.clone();
                    self.rotate_one(&mut record.versions, resource, None, held);
                    change = change.update(&record, entry.revision);
                }
            }
        }
        change
    }

    /// The change that rotates those keys whose active version somebody was given who shall have it no longer.
    pub(crate) fn rotate_exposed(&mut self, view: &View) -> Change {
        self.held.retain(|(resource, enclave), held| {
            let versions = match enclave {
                Some(uid) => view.enclave_keys.get(&(*uid, resource.name.clone())).map(|key| &key.record.versions),
                None => view.keys.get(resource).map(|key| &key.record.versions),
            };
            let active = versions.and_then(|versions| crate::records::active(versions));
            active.is_some_and(|active| held.versions.contains(&active.version))
        });
        self.rotate(view, Change::new())
    }

    /// Bars a platform from the enclave.
    fn bar(&mut self, change: Change, enclave: &Entry<EnclaveRecord>, platform: &HexBytes) -> Change {
        let mut record = enclave.record.clone();
        if !record.bar(platform, self.at, &self.reason) {
            return change;
        }
        self.barred.push(platform.clone());
        change.update(&record, enclave.revision)
    }

    fn rotate_one(
        &mut self,
        versions: &mut Vec<KeyVersion>,
        resource: ResourceId,
        enclave: Option<EnclaveName>,
        held: Held,
    ) {
        let exposed = |version: &KeyVersion| held.versions.contains(&version.version);
        let active_is_exposed =
            versions.iter().any(|version| version.state == KeyVersionState::Active && exposed(version));
        for version in versions.iter_mut().filter(|version| exposed(version)) {
            if version.state == KeyVersionState::Deactivated {
                (version.state, version.since) = (KeyVersionState::Compromised, self.at);
            }
        }
        if active_is_exposed {
            let version = rotate(versions, KeyVersionState::Compromised, self.at);
            self.rotated.push(Rotation { resource: resource.clone(), enclave: enclave.clone(), version });
        }
        self.leaves(resource, enclave, held);
    }

    /// Takes note of what stays readable to who was given the key.
    fn leaves(&mut self, resource: ResourceId, enclave: Option<EnclaveName>, held: Held) {
        let (versions, held_by) = (held.versions.into_iter().collect(), held.by.into_iter().collect());
        self.residual.push(Residual { resource, enclave, versions, held_by });
    }
}
