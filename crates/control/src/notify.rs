//! What connected instances, and whoever watches, are told of a change: what was lost, and which keys have a new version.

use std::collections::BTreeMap;
use std::sync::Arc;

use burgrave_types::{EnclaveUid, InstanceId, Operation, Problem, ResourceId, ResourceKind, Revision};

use crate::admin::active_number;
use crate::live::InstanceEntry;
use crate::view::{Touched, View};
use crate::{Control, Notice};

impl Control {
    /// The newest ledger position that this node knows of, also where it does not serve.
    pub fn revision(&self) -> Revision {
        self.last_view().revision
    }

    /// Says that the instance has a link here now, after the edge put it into its directory. Its access may have been ended
    /// between the answer that it attested or resumed with and that moment; then the link is ended. Else it is told the
    /// ledger position, and what it may do no longer: it may not have been linked when that was changed.
    ///
    /// # Errors
    /// Why its link was ended: `attestation.required`, `attestation.stale`, `revoked`, `unavailable`.
    pub fn linked(&self, instance: InstanceId) -> Result<(), Problem> {
        let entry = self.view().and_then(|view| Ok((self.fresh(&view, instance)?, view)));
        let (entry, view) =
            entry.inspect_err(|problem| self.with_links(|links| links.disconnect(instance, problem)))?;
        let notice = Notice::Revision { revision: view.revision, lost: self.lost(None, &view, &entry) };
        self.with_links(|links| links.notify(instance, notice));
        Ok(())
    }

    /// Tells each instance that has a link here. Where nobody is told, the next decision holds all the same.
    pub(crate) fn tell(&self, before: &View, after: &View, touched: &Touched) {
        let linked = |entry: &&Arc<InstanceEntry>| self.is_linked(entry.record.id);
        let deleted = touched.keys.iter().any(|resource| !after.keys.contains_key(resource));
        for entry in after.instances.values().filter(linked) {
            let record = &entry.record;
            let concerned = touched.policies
                || deleted
                || touched.enclaves.contains(&record.enclave_name)
                || touched.instances.contains(&record.id);
            if concerned {
                let lost = self.lost(Some(before), after, entry);
                if touched.policies || !lost.is_empty() {
                    let notice = Notice::Revision { revision: after.revision, lost };
                    self.with_links(|links| links.notify(record.id, notice));
                }
            }
            for resource in &touched.keys {
                self.tell_version(before, after, entry, resource);
            }
        }
    }

    /// What the instance may do no longer, of what was allowed to it lately and of the keys that were ever given to it. Where
    /// it was told of the view `before`, keys that were lost by then are not told again.
    fn lost(&self, before: Option<&View>, view: &View, entry: &InstanceEntry) -> Vec<(Operation, ResourceId)> {
        let may = |view: &View, operation, resource: &ResourceId, peer: Option<&InstanceEntry>| {
            let is_key = matches!(resource.kind, ResourceKind::Key | ResourceKind::Keyspace);
            if is_key && !view.keys.contains_key(resource) {
                return false;
            }
            view.rules.authorize(&self.request(entry, operation, resource, peer)).allowed
        };
        let mut held: BTreeMap<(Operation, ResourceId), bool> = BTreeMap::new();
        for (operation, resource, peer) in entry.live.uses() {
            let with = peer.and_then(|peer| view.instance(peer));
            if peer.is_some() && with.is_none() {
                // A peer that is gone says nothing of another that may come.
                continue;
            }
            let allowed = may(view, operation, &resource, with.map(AsRef::as_ref));
            // With several peers, it is lost when the last one is.
            *held.entry((operation, resource)).or_default() |= allowed;
        }
        for resource in entry.record.released.keys() {
            let had = before.is_none_or(|before| may(before, Operation::Derive, resource, None));
            if had && !held.contains_key(&(Operation::Derive, resource.clone())) {
                held.insert((Operation::Derive, resource.clone()), may(view, Operation::Derive, resource, None));
            }
        }
        let lost: Vec<_> = held.into_iter().filter(|(_, allowed)| !allowed).map(|(item, _)| item).collect();
        entry.live.lost(&lost);
        lost
    }

    fn tell_version(&self, before: &View, after: &View, entry: &InstanceEntry, resource: &ResourceId) {
        let uses = entry.record.released.contains_key(resource) || entry.live.lately_used(resource);
        let owner = (resource.kind == ResourceKind::Keyspace).then_some(entry.record.enclave);
        if uses && let Some(version) = new_version(before, after, resource, owner) {
            let notice = Notice::KeyVersion { resource: resource.clone(), version };
            self.with_links(|links| links.notify(entry.record.id, notice));
        }
    }

    /// Says to whoever watches which keys have a new version.
    pub(crate) fn announce_versions(&self, before: &View, after: &View, touched: &Touched) {
        for resource in &touched.keys {
            let own = after.enclave_keys.values().filter(|key| key.record.keyspace_resource() == *resource);
            let owners = own.map(|key| (Some(key.record.enclave), format!("of {}", key.record.enclave_name)));
            for (owner, whose) in owners.chain([(None, String::new())]) {
                if let Some(version) = new_version(before, after, resource, owner) {
                    self.happened(
                        "key.rotated",
                        &resource.to_string(),
                        format!("version {version} {whose}").trim_end(),
                    );
                }
            }
        }
    }
}

/// The key's active version, where it is another than before.
fn new_version(before: &View, after: &View, resource: &ResourceId, owner: Option<EnclaveUid>) -> Option<u32> {
    let version = |view: &View| match owner {
        Some(uid) => active_number(&view.enclave_keys.get(&(uid, resource.name.clone()))?.record.versions),
        None => active_number(&view.keys.get(resource)?.record.versions),
    };
    let (old, new) = (version(before)?, version(after)?);
    (old != new).then_some(new)
}
