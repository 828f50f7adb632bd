//! Registrations and their releases.

use burgrave_types::api::{
    EnclaveChange, EnclaveView, NewEnclave, NewRelease, ReleaseStateChange, RevokeRequest, Revoked,
};
use burgrave_types::{EnclaveName, Segment};
use http::Method;
use serde::Deserialize;
use utoipa::ToSchema;

use super::PageQuery;
use crate::rest::answer::{Created, Listed, Shown, Versioned};
use crate::rest::auth::Admin;
use crate::rest::extract::{Asked, At, Body, IfMatch};
use crate::rest::problem::Refusal;
use crate::rest::table::Table;

pub(super) fn routes(table: Table) -> Table {
    let (one, release) = ("/v1/enclaves/{namespace}/{name}", "/v1/enclaves/{namespace}/{name}/releases");
    table
        .route(Method::GET, "/v1/enclaves", "listEnclaves", "The enclaves, by name.", list)
        .route(Method::POST, "/v1/enclaves", "createEnclave", "Registers an enclave.", create)
        .route(Method::GET, one, "showEnclave", "One enclave.", show)
        .route(Method::PATCH, one, "updateEnclave", "Changes an enclave; what is absent stays.", update)
        .route(
            Method::DELETE,
            one,
            "deleteEnclave",
            "Deletes an enclave: its instances end, its keys are gone.",
            delete,
        )
        .route(
            Method::POST,
            "/v1/enclaves/{namespace}/{name}/revoke",
            "revokeEnclave",
            "Ends the enclave's access as a whole. When this is answered, it holds.",
            revoke,
        )
        .route(Method::POST, release, "addRelease", "Adds a release.", add_release)
        .route(
            Method::PUT,
            "/v1/enclaves/{namespace}/{name}/releases/{release}/state",
            "setReleaseState",
            "Moves a release through its life.",
            set_release_state,
        )
        .route(
            Method::POST,
            "/v1/enclaves/{namespace}/{name}/releases/{release}/revoke",
            "revokeRelease",
            "Ends the access of all instances of a release. When this is answered, it holds.",
            revoke_release,
        )
}

/// An enclave's name.
#[derive(Deserialize, ToSchema)]
struct EnclavePath {
    /// Its namespace.
    namespace: Segment,
    /// Its name in the namespace.
    name: Segment,
}

/// A release's name.
#[derive(Deserialize, ToSchema)]
struct ReleasePath {
    /// The enclave's namespace.
    namespace: Segment,
    /// The enclave's name in the namespace.
    name: Segment,
    /// The release's name.
    release: Segment,
}

impl EnclavePath {
    fn name(self) -> EnclaveName {
        EnclaveName::new(self.namespace, self.name)
    }
}

impl ReleasePath {
    fn names(self) -> (EnclaveName, Segment) {
        (EnclaveName::new(self.namespace, self.name), self.release)
    }
}

async fn list(admin: Admin, Asked(query): Asked<PageQuery>) -> Result<Listed<EnclaveView>, Refusal> {
    Ok(Listed(admin.control().enclaves(&admin.identity, &query.page()).await?))
}

async fn create(admin: Admin, Body(new): Body<NewEnclave>) -> Result<Created<EnclaveView>, Refusal> {
    Ok(Created(admin.control().create_enclave(&admin.identity, new).await?))
}

async fn show(admin: Admin, At(path): At<EnclavePath>) -> Result<Versioned<EnclaveView>, Refusal> {
    Ok(Versioned(admin.control().enclave(&admin.identity, &path.name()).await?))
}

async fn update(
    admin: Admin,
    At(path): At<EnclavePath>,
    IfMatch(revision): IfMatch,
    Body(change): Body<EnclaveChange>,
) -> Result<Versioned<EnclaveView>, Refusal> {
    Ok(Versioned(admin.control().update_enclave(&admin.identity, &path.name(), revision, change).await?))
}

async fn delete(
    admin: Admin,
    At(path): At<EnclavePath>,
    IfMatch(revision): IfMatch,
) -> Result<Shown<Revoked>, Refusal> {
    Ok(Shown(admin.control().delete_enclave(&admin.identity, &path.name(), revision).await?))
}

async fn revoke(
    admin: Admin,
    At(path): At<EnclavePath>,
    Body(request): Body<RevokeRequest>,
) -> Result<Shown<Revoked>, Refusal> {
    Ok(Shown(admin.control().revoke_enclave(&admin.identity, &path.name(), &request.reason).await?))
}

async fn add_release(
    admin: Admin,
    At(path): At<EnclavePath>,
    IfMatch(revision): IfMatch,
    Body(release): Body<NewRelease>,
) -> Result<Created<EnclaveView>, Refusal> {
    Ok(Created(admin.control().add_release(&admin.identity, &path.name(), revision, release).await?))
}

async fn set_release_state(
    admin: Admin,
    At(path): At<ReleasePath>,
    IfMatch(revision): IfMatch,
    Body(change): Body<ReleaseStateChange>,
) -> Result<Versioned<EnclaveView>, Refusal> {
    let (enclave, release) = path.names();
    let control = admin.control();
    Ok(Versioned(control.set_release_state(&admin.identity, &enclave, &release, revision, change).await?))
}

async fn revoke_release(
    admin: Admin,
    At(path): At<ReleasePath>,
    Body(request): Body<RevokeRequest>,
) -> Result<Shown<Revoked>, Refusal> {
    let (enclave, release) = path.names();
    Ok(Shown(admin.control().revoke_release(&admin.identity, &enclave, &release, &request.reason).await?))
}
