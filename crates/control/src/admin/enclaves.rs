//! Registrations.

use std::collections::BTreeMap;
use std::sync::Arc;

use burgrave_policy::Resource;
use burgrave_types::{Concession, EnclaveName, EnclaveUid, Problem, ProblemCode, Revision};

use super::{check, if_match, no_enclave, of_enclave, page};
use crate::commit::Change;
use crate::live::InstanceEntry;
use crate::records::{EnclaveRecord, Entry, PlatformBar, changed};
use crate::revocation::{Ending, ended};
use crate::view::View;
use crate::{
    AdminIdentity, Control, EnclaveChange, EnclaveView, NewEnclave, Page, Paged, PlatformBarView, ReleaseView, Revoked,
};

impl Control {
    /// Registers an enclave.
    ///
    /// # Errors
    /// `policy.denied`, `already-exists`, `request.invalid` (what is wrong stands in `errors`): an empty reference value,
    /// another TEE in a release, `simulated` in a production domain, `signer` identity where no hardware proves a signer.
    pub async fn create_enclave(&self, admin: &AdminIdentity, new: NewEnclave) -> Result<EnclaveView, Problem> {
        self.admin(&*self.view()?, admin, of_enclave(&new.name)?)?;
        check::enclave(&new, self.class(), self.now())?;
        let (now, by) = (self.now(), admin.name.to_string());
        let record = EnclaveRecord {
            schema: 1,
            uid: EnclaveUid::random(self.random()),
            name: new.name,
            tee: new.tee,
            key_identity: new.key_identity,
            reattest_every_secs: new.reattest_every_secs,
            releases: new.releases.into_iter().map(|release| super::releases::made(release, now, &by)).collect(),
            tpm_ek_digests: new.tpm_ek_digests,
            requirements: new.requirements,
            attest_anew: Vec::new(),
            barred_platforms: Vec::new(),
            revoked: None,
            created: now,
            created_by: by,
        };
        let concedes = conceding(&record);
        let (committed, ()) = self
            .change(&format!("{}{concedes}", admin.name), |view| {
                if view.enclaves.contains_key(&record.name) {
                    let detail = format!("there is an enclave `{}` already", record.name);
                    return Err(Problem::new(ProblemCode::AlreadyExists, detail).with_fix(format!(
                        "see it with `burgrave enclave show {}`, or take another name",
                        record.name
                    )));
                }
                Ok((Change::new().create(&record), ()))
            })
            .await?;
        self.happened("enclave.created", &record.name.to_string(), &format!("registered by {}{concedes}", admin.name));
        Ok(self.show_enclave(&Entry { record, revision: committed.revision }))
    }

    /// The enclaves, by name.
    ///
    /// # Errors
    /// `policy.denied`.
    pub async fn enclaves(&self, admin: &AdminIdentity, wanted: &Page) -> Result<Paged<EnclaveView>, Problem> {
        let view = self.view()?;
        self.admin(&view, admin, Resource::Domain)?;
        let all = view.enclaves.values();
        Ok(page(all, wanted, view.revision, |entry| entry.record.name.to_string(), |entry| self.show_enclave(entry)))
    }

    /// One enclave.
    ///
    /// # Errors
    /// `policy.denied`, `not-found`.
    pub async fn enclave(&self, admin: &AdminIdentity, name: &EnclaveName) -> Result<EnclaveView, Problem> {
        let view = self.view()?;
        self.admin(&view, admin, of_enclave(name)?)?;
        Ok(self.show_enclave(registered(&view, name)?))
    }

    /// Changes an enclave. `if_match` is the revision that the change is based on.
    ///
    /// # Errors
    /// `policy.denied`, `not-found`, `precondition.required`, `conflict`, `request.invalid`.
    pub async fn update_enclave(
        &self,
        admin: &AdminIdentity,
        name: &EnclaveName,
        based_on: Option<Revision>,
        change: EnclaveChange,
    ) -> Result<EnclaveView, Problem> {
        let view = self.view()?;
        self.admin(&view, admin, of_enclave(name)?)?;
        let now = self.now();
        let mut changer = admin.name.to_string();
        if let (Some(requirements), Some(entry)) = (&change.requirements, view.enclaves.get(name)) {
            let record = EnclaveRecord { requirements: requirements.clone(), ..entry.record.clone() };
            changer += &conceding(&record);
        }
        let (committed, (record, stricter)) = self
            .change(&changer, |view| {
                let entry = registered(view, name)?;
                if_match(&format!("the enclave `{name}`"), entry.revision, based_on)?;
                check::change(entry.record.tee, self.class(), &change)?;
                let mut record = entry.record.clone();
                if let Some(secs) = change.reattest_every_secs {
                    record.reattest_every_secs = secs;
                }
                record.barred_platforms.retain(|bar| !change.lift_platforms.contains(&bar.platform));
                let mut ending = Ending::new(now, "its platform is no longer on the enclave's list");
                if let Some(digests) = &change.tpm_ek_digests {
                    record.tpm_ek_digests = digests.clone();
                    for instance in view.instances_of(record.uid) {
                        let listed = instance.record.tpm.as_ref().is_none_or(|tpm| digests.contains(&tpm.ek_digest));
                        if !listed {
                            ending.instance(instance);
                        }
                    }
                }
                let mut stricter = false;
                if let Some(requirements) = &change.requirements {
                    let before = &entry.record;
                    (record.attest_anew, stricter) =
                        changed(&before.attest_anew, &before.requirements, requirements, now);
                    record.requirements = requirements.clone();
                    let gone = |instance: &&Arc<InstanceEntry>| !record.lets_in(instance.record.platform_id.as_ref());
                    view.instances_of(record.uid).filter(gone).for_each(|instance| ending.instance(instance));
                }
                let written = ending.take_change(view).update(&record, entry.revision);
                Ok((written, (record, stricter)))
            })
            .await?;
        self.happened("enclave.changed", &name.to_string(), &format!("by {changer}"));
        if stricter {
            self.view()?.instances_of(record.uid).for_each(|instance| {
                self.ask_to_attest(instance);
            });
        }
        Ok(self.show_enclave(&Entry { record, revision: committed.revision }))
    }

    /// Deletes an enclave: its instances end, and its keys can never be derived again. The name is free then.
    ///
    /// # Errors
    /// `policy.denied`, `not-found`, `precondition.required`, `conflict`.
    pub async fn delete_enclave(
        &self,
        admin: &AdminIdentity,
        name: &EnclaveName,
        based_on: Option<Revision>,
    ) -> Result<Revoked, Problem> {
        self.admin(&*self.view()?, admin, of_enclave(name)?)?;
        let now = self.now();
        let (committed, ending) = self
            .change(admin.name.as_str(), |view| {
                let entry = registered(view, name)?;
                if_match(&format!("the enclave `{name}`"), entry.revision, based_on)?;
                let mut ending = Ending::new(now, "its enclave was deleted");
                let mut change = Change::new().delete(entry);
                for instance in view.instances_of(entry.record.uid) {
                    ending.gone(instance);
                    change.delete_at(crate::records::Stored::path(&instance.record), instance.revision);
                }
                for key in view.enclave_keys.values().filter(|key| key.record.enclave == entry.record.uid) {
                    change = change.delete(key);
                }
                Ok((ending.take_change_of_deleted(view, change), ending))
            })
            .await?;
        self.happened("enclave.deleted", &name.to_string(), &format!("by {}", admin.name));
        Ok(ended(ending, committed))
    }

    /// What is shown of a registration.
    pub(crate) fn show_enclave(&self, entry: &Entry<EnclaveRecord>) -> EnclaveView {
        let record = &entry.record;
        EnclaveView {
            uid: record.uid,
            name: record.name.clone(),
            spiffe_id: record.name.spiffe_id(self.trust().trust_domain()),
            tee: record.tee,
            key_identity: record.key_identity,
            reattest_every_secs: record.reattest_every_secs,
            releases: show_releases(&record.releases),
            tpm_ek_digests: record.tpm_ek_digests.clone(),
            requirements: record.requirements.clone(),
            barred_platforms: record.barred_platforms.iter().map(show_bar).collect(),
            revoked: record.revoked,
            created: record.created,
            created_by: record.created_by.clone(),
            revision: entry.revision,
        }
    }
}

/// The registration of that name.
pub(crate) fn registered<'a>(view: &'a View, name: &EnclaveName) -> Result<&'a Entry<EnclaveRecord>, Problem> {
    view.enclaves.get(name).map(AsRef::as_ref).ok_or_else(|| no_enclave(name))
}

/// What a registration lets pass, for the record of who said so.
fn conceding(record: &EnclaveRecord) -> String {
    let requirements = &record.requirements;
    let mut conceded = Vec::new();
    conceded.extend(requirements.allow_debug.then(|| Concession::Debug.to_string()));
    conceded.extend(requirements.allow_migration.then(|| Concession::Migration.to_string()));
    conceded.extend((requirements.max_privilege > 0).then(|| format!("VMPL {}", requirements.max_privilege)));
    let attributes = requirements.allow_td_attributes.iter();
    conceded.extend(attributes.map(|attribute| format!("TD attribute {attribute}")));
    conceded.extend(requirements.allow_service_td.then(|| "a service TD".to_owned()));
    conceded.extend(requirements.tcb_accepted.iter().map(|accepted| match accepted.until {
        Some(until) => format!("TCB {} until {until}", accepted.status),
        None => format!("TCB {}", accepted.status),
    }));
    if conceded.is_empty() {
        String::new()
    } else {
        format!(", conceding {} to `{}`", conceded.join(", "), record.name)
    }
}

fn show_releases(releases: &BTreeMap<burgrave_types::Segment, crate::records::Release>) -> Vec<ReleaseView> {
    let show = |(name, release): (&burgrave_types::Segment, &crate::records::Release)| ReleaseView {
        name: name.clone(),
        reference: release.reference.clone(),
        digest: release.digest(),
        state: release.state,
        origin: release.origin.clone(),
        valid_until: release.valid_until,
        history: release.history.iter().map(|step| (step.at, step.state, step.by.clone())).collect(),
    };
    releases.iter().map(show).collect()
}

fn show_bar(bar: &PlatformBar) -> PlatformBarView {
    PlatformBarView { platform: bar.platform.clone(), since: bar.since, reason: bar.reason.clone() }
}
