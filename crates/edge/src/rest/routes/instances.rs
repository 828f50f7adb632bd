//! Instances.

use burgrave_types::api::{InstanceFilter, InstanceView, RevokeRequest, Revoked};
use burgrave_types::{EnclaveName, InstanceId};
use http::Method;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::rest::answer::{Done, Listed, Shown, Versioned};
use crate::rest::auth::Admin;
use crate::rest::extract::{Asked, At, Body};
use crate::rest::problem::Refusal;
use crate::rest::table::Table;

pub(super) fn routes(table: Table) -> Table {
    table
        .route(Method::GET, "/v1/instances", "listInstances", "The instances, by id.", list)
        .route(Method::GET, "/v1/instances/{id}", "showInstance", "One instance.", show)
        .route(
            Method::POST,
            "/v1/instances/{id}/revoke",
            "revokeInstance",
            "Ends the instance's access. When this is answered, it holds.",
            revoke,
        )
        .route(
            Method::POST,
            "/v1/instances/{id}/reattest",
            "reattestInstance",
            "Asks the instance for new evidence now.",
            reattest,
        )
}

/// An instance's id.
#[derive(Deserialize, ToSchema)]
struct InstancePath {
    /// The instance.
    id: InstanceId,
}

/// Which instances are wanted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct InstanceQuery {
    /// Of this enclave alone.
    enclave: Option<EnclaveName>,
    /// In this standing alone: `fresh`, `stale`, `revoked`.
    standing: Option<String>,
    /// The `next` of the page before; absent from the start.
    page_token: Option<String>,
    /// Items at most: 100 where it is absent, 1000 in any case.
    #[serde(default)]
    limit: usize,
}

async fn list(admin: Admin, Asked(query): Asked<InstanceQuery>) -> Result<Listed<InstanceView>, Refusal> {
    let filter = InstanceFilter { enclave: query.enclave, standing: query.standing };
    let page = super::page(query.page_token, query.limit);
    Ok(Listed(admin.control().instances(&admin.identity, &filter, &page).await?))
}

async fn show(admin: Admin, At(path): At<InstancePath>) -> Result<Versioned<InstanceView>, Refusal> {
    Ok(Versioned(admin.control().instance(&admin.identity, path.id).await?))
}

async fn revoke(
    admin: Admin,
    At(path): At<InstancePath>,
    Body(request): Body<RevokeRequest>,
) -> Result<Shown<Revoked>, Refusal> {
    Ok(Shown(admin.control().revoke_instance(&admin.identity, path.id, &request.reason).await?))
}

async fn reattest(admin: Admin, At(path): At<InstancePath>) -> Result<Done, Refusal> {
    admin.control().reattest(&admin.identity, path.id).await?;
    Ok(Done)
}
