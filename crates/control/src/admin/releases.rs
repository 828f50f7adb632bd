//! The life of releases.

use burgrave_types::api::ReleaseStateChange;
use burgrave_types::{EnclaveName, Problem, ProblemCode, ReleaseState, Revision, Segment, Timestamp};

use super::enclaves::registered;
use super::{check, if_match, of_enclave};
use crate::commit::Change;
use crate::records::{Entry, Release, ReleaseStep};
use crate::{AdminIdentity, Control, EnclaveView, NewRelease};

impl Control {
    /// Adds a release to an enclave.
    ///
    /// # Errors
    /// As [`Control::create_enclave`]; `not-found`, `precondition.required`, `conflict`.
    pub async fn add_release(
        &self,
        admin: &AdminIdentity,
        name: &EnclaveName,
        based_on: Option<Revision>,
        release: NewRelease,
    ) -> Result<EnclaveView, Problem> {
        self.admin(&*self.view()?, admin, of_enclave(name)?)?;
        let now = self.now();
        let (committed, record) = self
            .change(admin.name.as_str(), |view| {
                let entry = registered(view, name)?;
                if_match(&format!("the enclave `{name}`"), entry.revision, based_on)?;
                check::new_release(&entry.record, &release, now)?;
                let mut record = entry.record.clone();
                let (release_name, made) = made(release.clone(), now, admin.name.as_str());
                if record.releases.contains_key(&release_name) {
                    let detail = format!("`{name}` has a release `{release_name}` already");
                    return Err(Problem::new(ProblemCode::AlreadyExists, detail)
                        .with_fix("a release does not change once it is there; take another name"));
                }
                record.releases.insert(release_name, made);
                Ok((Change::new().update(&record, entry.revision), record))
            })
            .await?;
        self.happened("release.added", &format!("{name}@{}", release.name), &format!("by {}", admin.name));
        Ok(self.show_enclave(&Entry { record, revision: committed.revision }))
    }

    /// Moves a release through its life, or sets when it ends by itself. `revoked` is for good and is [`Control::revoke_release`]'s to set.
    ///
    /// # Errors
    /// `policy.denied`, `not-found`, `precondition.required`, `conflict`, `request.invalid` for a step that is not one.
    pub async fn set_release_state(
        &self,
        admin: &AdminIdentity,
        name: &EnclaveName,
        release: &Segment,
        based_on: Option<Revision>,
        change: impl Into<ReleaseStateChange>,
    ) -> Result<EnclaveView, Problem> {
        let ReleaseStateChange { state, valid_until } = change.into();
        self.admin(&*self.view()?, admin, of_enclave(name)?)?;
        let now = self.now();
        let (committed, record) = self
            .change(admin.name.as_str(), |view| {
                let entry = registered(view, name)?;
                if_match(&format!("the enclave `{name}`"), entry.revision, based_on)?;
                let mut record = entry.record.clone();
                let found = record.releases.get_mut(release).ok_or_else(|| no_release(name, release))?;
                if found.state != state || valid_until.is_none() || state == ReleaseState::Revoked {
                    step(name, release, found.state, state)?;
                }
                found.valid_until = valid_until.or(found.valid_until);
                // One that is over may be deprecated; to become active again, it needs another end.
                let goes_on = valid_until.is_some() || state == ReleaseState::Active;
                check::release_end(found.valid_until.filter(|_| goes_on), now)?;
                found.step(state, now, admin.name.as_str());
                Ok((Change::new().update(&record, entry.revision), record))
            })
            .await?;
        self.happened("release.changed", &format!("{name}@{release}"), &format!("{state}, by {}", admin.name));
        Ok(self.show_enclave(&Entry { record, revision: committed.revision }))
    }
}

/// A release as it begins.
pub(super) fn made(new: NewRelease, now: Timestamp, by: &str) -> (Segment, Release) {
    let history = vec![ReleaseStep { at: now, state: new.state, by: by.to_owned() }];
    let NewRelease { name, reference, state, origin, log, valid_until } = new;
    let log = burgrave_verifier::ReferenceLog(log);
    (name, Release { reference, state, origin, log, valid_until, history })
}

/// The problem of a release that is not there.
pub(crate) fn no_release(name: &EnclaveName, release: &Segment) -> Problem {
    super::not_found("release", format!("{name}@{release}"), &format!("burgrave enclave show {name}"))
}

/// Checks a step of a release's life.
fn step(name: &EnclaveName, release: &Segment, from: ReleaseState, to: ReleaseState) -> Result<(), Problem> {
    use ReleaseState::{Active, Deprecated, Provisional, Revoked};
    match (from, to) {
        (Provisional | Deprecated, Active) | (Active, Deprecated) => Ok(()),
        (_, Revoked) => Err(Problem::new(
            ProblemCode::RequestInvalid,
            format!("the release `{name}@{release}` is not revoked by a change of state: a revocation does more"),
        )
        .with_fix(format!("revoke it with `burgrave enclave revoke {name} --release {release}`"))),
        (from, to) => Err(Problem::new(
            ProblemCode::RequestInvalid,
            format!("the release `{name}@{release}` is {from} and cannot become {to}"),
        )
        .with_fix("a release goes from provisional to active, and between active and deprecated")),
    }
}
