//! Named keys and keyspaces.

use burgrave_policy::Resource;
use burgrave_types::{EnclaveName, KeyUid, Problem, ProblemCode, ResourceId, ResourceKind, Revision};

use super::enclaves::registered;
use super::{if_match, not_found, page};
use crate::commit::Change;
use crate::records::{EnclaveKeyRecord, Entry, KeyRecord, KeyVersion, KeyVersionState, active, rotate};
use crate::view::View;
use crate::{AdminIdentity, Control, KeyVersionView, KeyView, NewKey, Page, Paged};

impl Control {
    /// Makes a named key or a keyspace.
    ///
    /// # Errors
    /// `policy.denied`, `already-exists`, `request.invalid` for a resource that is neither, or whose name has more parts than
    /// namespace and name.
    pub async fn create_key(&self, admin: &AdminIdentity, new: NewKey) -> Result<KeyView, Problem> {
        let resource = new.resource;
        self.admin(&*self.view()?, admin, of_key(&resource)?)?;
        if resource.name.parts().len() != 1 {
            let detail = format!("`{resource}` has more parts than a key's name has: namespace and name");
            let kind = resource.kind;
            return Err(Problem::new(ProblemCode::RequestInvalid, detail)
                .with_fix(format!("name it `{kind}/<namespace>/<name>`; a name may have `-`, `_` and `.` in it")));
        }
        let now = self.now();
        let versions = if resource.kind == ResourceKind::Key { vec![KeyVersion::first(now)] } else { Vec::new() };
        let uid = KeyUid::random(self.random());
        let record = KeyRecord { schema: 1, uid, resource, versions, created: now, created_by: admin.name.to_string() };
        let (committed, ()) = self
            .change(admin.name.as_str(), |view| {
                if view.keys.contains_key(&record.resource) {
                    let detail = format!("there is a `{}` already", record.resource);
                    return Err(Problem::new(ProblemCode::AlreadyExists, detail).with_fix(format!(
                        "see it with `burgrave key show {}`, or take another name",
                        record.resource
                    )));
                }
                Ok((Change::new().create(&record), ()))
            })
            .await?;
        self.happened("key.created", &record.resource.to_string(), &format!("by {}", admin.name));
        Ok(show(&*self.view()?, &Entry { record, revision: committed.revision }))
    }

    /// The keys and keyspaces, by name.
    ///
    /// # Errors
    /// `policy.denied`.
    pub async fn keys(&self, admin: &AdminIdentity, wanted: &Page) -> Result<Paged<KeyView>, Problem> {
        let view = self.view()?;
        self.admin(&view, admin, Resource::Domain)?;
        let all = view.keys.values();
        Ok(page(all, wanted, view.revision, |entry| entry.record.resource.to_string(), |entry| show(&view, entry)))
    }

    /// One key or keyspace.
    ///
    /// # Errors
    /// `policy.denied`, `not-found`.
    pub async fn key(&self, admin: &AdminIdentity, resource: &ResourceId) -> Result<KeyView, Problem> {
        let view = self.view()?;
        self.admin(&view, admin, of_key(resource)?)?;
        Ok(show(&view, made(&view, resource)?))
    }

    /// The versions of every enclave's key in a keyspace (or of a named key).
    ///
    /// # Errors
    /// `policy.denied`, `not-found`.
    pub async fn key_versions(
        &self,
        admin: &AdminIdentity,
        resource: &ResourceId,
    ) -> Result<Vec<KeyVersionView>, Problem> {
        let view = self.view()?;
        self.admin(&view, admin, of_key(resource)?)?;
        let entry = made(&view, resource)?;
        if !entry.record.is_keyspace() {
            return Ok(show(&view, entry).versions);
        }
        let own = view.enclave_keys.values().filter(|key| key.record.keyspace == resource.name);
        Ok(own.flat_map(|key| show_versions(&view, resource, Some(&key.record), &key.record.versions)).collect())
    }

    /// Begins a new version: of a named key, or of one enclave's key in a keyspace. The old one only decrypts from then on.
    ///
    /// # Errors
    /// `policy.denied`, `not-found`, `request.invalid` where `enclave` is missing for a keyspace or given for a named key.
    pub async fn rotate_key(
        &self,
        admin: &AdminIdentity,
        resource: &ResourceId,
        enclave: Option<&EnclaveName>,
    ) -> Result<KeyVersionView, Problem> {
        self.admin(&*self.view()?, admin, of_key(resource)?)?;
        let now = self.now();
        let (_, version) = self
            .change(admin.name.as_str(), |view| {
                let entry = made(view, resource)?;
                match (entry.record.is_keyspace(), enclave) {
                    (false, None) => {
                        let mut record = entry.record.clone();
                        let version = rotate(&mut record.versions, KeyVersionState::Deactivated, now);
                        Ok((Change::new().update(&record, entry.revision), version))
                    }
                    (true, Some(name)) => {
                        let uid = registered(view, name)?.record.uid;
                        let own = view.enclave_keys.get(&(uid, resource.name.clone())).ok_or_else(|| unused(resource, name))?;
                        let mut record = own.record.clone();
                        let version = rotate(&mut record.versions, KeyVersionState::Deactivated, now);
                        Ok((Change::new().update(&record, own.revision), version))
                    }
                    (true, None) => Err(Problem::new(
                        ProblemCode::RequestInvalid,
                        format!("each enclave has a key of its own in `{resource}`: it must be said whose begins a new version"),
                    )
                    .with_fix(format!("`burgrave key rotate {resource} --enclave <namespace>/<name>`"))),
                    (false, Some(_)) => Err(Problem::new(
                        ProblemCode::RequestInvalid,
                        format!("`{resource}` is one key for all who may use it, no enclave has its own"),
                    )
                    .with_fix(format!("`burgrave key rotate {resource}`"))),
                }
            })
            .await?;
        let state = KeyVersionState::Active.as_str().to_owned();
        Ok(KeyVersionView { enclave: enclave.cloned(), version, state, since: now, released_to: Vec::new() })
    }

    /// Deletes a named key or a keyspace: what was encrypted under it can never be read again.
    ///
    /// # Errors
    /// `policy.denied`, `not-found`, `precondition.required`, `conflict`.
    pub async fn delete_key(
        &self,
        admin: &AdminIdentity,
        resource: &ResourceId,
        based_on: Option<Revision>,
    ) -> Result<Revision, Problem> {
        self.admin(&*self.view()?, admin, of_key(resource)?)?;
        let now = self.now();
        let (committed, ()) = self
            .change(admin.name.as_str(), |view| {
                let entry = made(view, resource)?;
                if_match(&format!("`{resource}`"), entry.revision, based_on)?;
                let mut change = Change::new().delete(entry);
                if entry.record.is_keyspace() {
                    // An enclave's key is derived from the keyspace's name, so its versions stay on record as destroyed: a
                    // keyspace made again under the name goes on after them.
                    for own in view.enclave_keys.values().filter(|own| own.record.keyspace == resource.name) {
                        let mut record = own.record.clone();
                        for version in &mut record.versions {
                            (version.state, version.since) = (KeyVersionState::Destroyed, now);
                        }
                        change = change.update(&record, own.revision);
                    }
                }
                Ok((change, ()))
            })
            .await?;
        self.happened("key.deleted", &resource.to_string(), &format!("by {}", admin.name));
        Ok(committed.revision)
    }
}

/// A key or keyspace, as what is administered.
fn of_key(resource: &ResourceId) -> Result<Resource, Problem> {
    if matches!(resource.kind, ResourceKind::Key | ResourceKind::Keyspace) {
        return Ok(resource.clone().into());
    }
    Err(Problem::new(ProblemCode::RequestInvalid, format!("`{resource}` is neither a key nor a keyspace"))
        .with_fix("name it `key/<namespace>/<name>` or `keyspace/<namespace>/<name>`"))
}

fn made<'a>(view: &'a View, resource: &ResourceId) -> Result<&'a Entry<KeyRecord>, Problem> {
    view.keys.get(resource).map(AsRef::as_ref).ok_or_else(|| not_found("key", resource, "burgrave key list"))
}

fn unused(resource: &ResourceId, name: &EnclaveName) -> Problem {
    Problem::new(ProblemCode::NotFound, format!("`{name}` has no key in `{resource}`: it never used it"))
        .with_fix("its first use makes version 1")
}

fn show(view: &View, entry: &Entry<KeyRecord>) -> KeyView {
    let record = &entry.record;
    KeyView {
        resource: record.resource.clone(),
        uid: record.uid,
        versions: show_versions(view, &record.resource, None, &record.versions),
        created: record.created,
        created_by: record.created_by.clone(),
        revision: entry.revision,
    }
}

fn show_versions(
    view: &View,
    resource: &ResourceId,
    own: Option<&EnclaveKeyRecord>,
    versions: &[KeyVersion],
) -> Vec<KeyVersionView> {
    let holders = |version: u32| {
        let of_it = view.instances.values().filter(|entry| own.is_none_or(|own| own.enclave == entry.record.enclave));
        let holds = |versions: &std::collections::BTreeSet<u32>| versions.contains(&version);
        of_it
            .filter(|entry| entry.record.released.get(resource).is_some_and(holds))
            .map(|entry| entry.record.id)
            .collect()
    };
    let show = |version: &KeyVersion| KeyVersionView {
        enclave: own.map(|own| own.enclave_name.clone()),
        version: version.version,
        state: version.state.as_str().to_owned(),
        since: version.since,
        released_to: holders(version.version),
    };
    versions.iter().map(show).collect()
}

/// The version that is written under.
pub(crate) fn active_number(versions: &[KeyVersion]) -> Option<u32> {
    active(versions).map(|version| version.version)
}
