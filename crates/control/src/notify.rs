//! What connected instances, and whoever watches, are told of a change: what was lost, and which keys have a new version.

use std::sync::Arc;

use burgrave_types::{EnclaveUid, Operation, ResourceId, ResourceKind};

use crate::admin::active_number;
use crate::live::InstanceEntry;
use crate::view::{Touched, View};
use crate::{Control, Notice};

impl Control {
    /// Tells each instance that has a link here. Where nobody is told, the next decision holds all the same.
    pub(crate) fn tell(&self, before: &View, after: &View, touched: &Touched) {
        let linked = |entry: &&Arc<InstanceEntry>| self.is_linked(entry.record.id);
        for entry in after.instances.values().filter(linked) {
            let concerned = touched.policies || touched.enclaves.contains(&entry.record.enclave_name);
            if concerned {
                let lost = self.lost(after, entry);
                if touched.policies || !lost.is_empty() {
                    let notice = Notice::Revision { revision: after.revision, lost };
                    self.with_links(|links| links.notify(entry.record.id, notice));
                }
            }
            for resource in &touched.keys {
                self.tell_version(before, after, entry, resource);
            }
        }
    }

    /// What was allowed to the instance lately and is no longer.
    fn lost(&self, view: &View, entry: &InstanceEntry) -> Vec<(Operation, ResourceId)> {
        let allowed = |(operation, resource): &(Operation, ResourceId)| {
            view.rules.authorize(&self.request(entry, *operation, resource, None)).allowed
        };
        let lost: Vec<_> = entry.live.recent().into_iter().filter(|item| !allowed(item)).collect();
        entry.live.lost(&lost);
        lost
    }

    fn tell_version(&self, before: &View, after: &View, entry: &InstanceEntry, resource: &ResourceId) {
        let uses = entry.record.released.contains_key(resource)
            || entry.live.recent().iter().any(|(_, recent)| recent == resource);
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
