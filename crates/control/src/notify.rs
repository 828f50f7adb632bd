//! What connected instances are told of a change: what they lost, and which keys have a new version.

use std::sync::Arc;

use burgrave_types::{Operation, ResourceId, ResourceKind};

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
        if !uses {
            return;
        }
        let version = |view: &View| {
            if resource.kind == ResourceKind::Keyspace {
                let own = view.enclave_keys.get(&(entry.record.enclave, resource.name.clone()))?;
                return active_number(&own.record.versions);
            }
            active_number(&view.keys.get(resource)?.record.versions)
        };
        if let (Some(old), Some(version)) = (version(before), version(after))
            && old != version
        {
            let notice = Notice::KeyVersion { resource: resource.clone(), version };
            self.with_links(|links| links.notify(entry.record.id, notice));
        }
    }
}
