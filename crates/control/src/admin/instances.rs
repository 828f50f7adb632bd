//! Instances, as administrators see them.

use burgrave_policy::Resource;
use burgrave_types::{InstanceId, Problem, ProblemCode, Standing};

use super::{not_found, of_enclave, page};
use crate::live::InstanceEntry;
use crate::view::View;
use crate::{AdminIdentity, Control, InstanceFilter, InstanceView, Page, Paged};

impl Control {
    /// The instances, by id.
    ///
    /// # Errors
    /// `policy.denied`, `request.invalid` for a standing that is none.
    pub async fn instances(
        &self,
        admin: &AdminIdentity,
        filter: &InstanceFilter,
        wanted: &Page,
    ) -> Result<Paged<InstanceView>, Problem> {
        let view = self.view()?;
        match &filter.enclave {
            Some(enclave) => self.admin(&view, admin, of_enclave(enclave)?)?,
            None => self.admin(&view, admin, Resource::Domain)?,
        };
        if let Some(standing) = &filter.standing
            && !["fresh", "stale", "revoked"].contains(&standing.as_str())
        {
            let detail = format!("`{standing}` is no standing: expected fresh, stale or revoked");
            return Err(Problem::new(ProblemCode::RequestInvalid, detail).with_fix("ask again with one of them"));
        }
        let now = self.now();
        let wanted_here = |entry: &&std::sync::Arc<InstanceEntry>| {
            filter.enclave.as_ref().is_none_or(|enclave| entry.record.enclave_name == *enclave)
                && filter.standing.as_ref().is_none_or(|standing| view.standing(entry, now).as_str() == *standing)
        };
        let all = view.instances.values().filter(wanted_here);
        Ok(page(
            all,
            wanted,
            view.revision,
            |entry| entry.record.id.to_string(),
            |entry| self.show_instance(&view, entry),
        ))
    }

    /// One instance.
    ///
    /// # Errors
    /// `policy.denied`, `not-found`.
    pub async fn instance(&self, admin: &AdminIdentity, id: InstanceId) -> Result<InstanceView, Problem> {
        let view = self.view()?;
        let entry = self.administered(&view, admin, id)?;
        Ok(self.show_instance(&view, entry))
    }

    /// Asks an instance to attest again now.
    ///
    /// # Errors
    /// `policy.denied`, `not-found`, `peer.unavailable` where it has no link here.
    pub async fn reattest(&self, admin: &AdminIdentity, id: InstanceId) -> Result<(), Problem> {
        let view = self.view()?;
        let entry = self.administered(&view, admin, id)?;
        if self.ask_to_attest(entry) {
            return Ok(());
        }
        Err(Problem::new(ProblemCode::PeerUnavailable, format!("the instance `{id}` has no link at this node"))
            .with_fix("it attests by itself when it comes back after its deadline"))
    }

    /// An instance that the administrator may administer. One that is not there is told apart only to those who may see all.
    pub(crate) fn administered<'a>(
        &self,
        view: &'a View,
        admin: &AdminIdentity,
        id: InstanceId,
    ) -> Result<&'a std::sync::Arc<InstanceEntry>, Problem> {
        match view.instance(id) {
            Some(entry) => {
                self.admin(view, admin, of_enclave(&entry.record.enclave_name)?)?;
                Ok(entry)
            }
            None => {
                self.admin(view, admin, Resource::Domain)?;
                Err(not_found("instance", id, "burgrave instance list"))
            }
        }
    }

    /// What is shown of an instance.
    pub(crate) fn show_instance(&self, view: &View, entry: &InstanceEntry) -> InstanceView {
        let (record, now) = (&entry.record, self.now());
        let standing: Standing = view.standing(entry, now);
        InstanceView {
            id: record.id,
            enclave: record.enclave_name.clone(),
            enclave_uid: record.enclave,
            release: record.release.clone(),
            spki_hash: record.spki_hash,
            standing,
            first_attested_at: record.first_attested_at,
            attested_at: entry.live.attested_at(),
            age_secs: now.since(entry.live.attested_at()).as_secs(),
            claims: record.claims.clone(),
            parts: record.parts.clone(),
            conceded: record.conceded.clone(),
            shortfall: record.shortfall.clone(),
            result_digest: Some(entry.result()),
            linked: self.is_linked(record.id),
            revision: entry.revision,
        }
    }
}
