//! Named keys and keyspaces.

use burgrave_types::api::{KeyVersionView, KeyView, NewKey, RotateRequest};
use burgrave_types::{ResourceId, ResourceKind, ResourceName, Segment};
use http::Method;
use serde::Deserialize;
use utoipa::ToSchema;

use super::PageQuery;
use crate::rest::answer::{All, Created, Done, Listed, Shown, Versioned};
use crate::rest::auth::Admin;
use crate::rest::extract::{Asked, At, Body, IfMatch};
use crate::rest::problem::Refusal;
use crate::rest::table::Table;

pub(super) fn routes(table: Table) -> Table {
    let one = "/v1/keys/{kind}/{namespace}/{name}";
    table
        .route(Method::GET, "/v1/keys", "listKeys", "The named keys and keyspaces, by name.", list)
        .route(Method::POST, "/v1/keys", "createKey", "Makes a named key or a keyspace.", create)
        .route(Method::GET, one, "showKey", "One named key or keyspace.", show)
        .route(
            Method::GET,
            "/v1/keys/{kind}/{namespace}/{name}/versions",
            "listKeyVersions",
            "The versions; of a keyspace, those of each enclave's key.",
            versions,
        )
        .route(
            Method::POST,
            "/v1/keys/{kind}/{namespace}/{name}/rotate",
            "rotateKey",
            "Begins a new version; the one before only decrypts from then on.",
            rotate,
        )
        .route(
            Method::DELETE,
            one,
            "deleteKey",
            "Deletes it: what was written under it can never be read again.",
            delete,
        )
}

/// A key's name.
#[derive(Deserialize, ToSchema)]
struct KeyPath {
    /// `key` or `keyspace`.
    kind: ResourceKind,
    /// Its namespace.
    namespace: Segment,
    /// Its name in the namespace.
    name: Segment,
}

impl KeyPath {
    fn resource(self) -> ResourceId {
        ResourceId { kind: self.kind, name: ResourceName::new(self.namespace, self.name) }
    }
}

async fn list(admin: Admin, Asked(query): Asked<PageQuery>) -> Result<Listed<KeyView>, Refusal> {
    Ok(Listed(admin.control().keys(&admin.identity, &query.page()).await?))
}

async fn create(admin: Admin, Body(new): Body<NewKey>) -> Result<Created<KeyView>, Refusal> {
    Ok(Created(admin.control().create_key(&admin.identity, new).await?))
}

async fn show(admin: Admin, At(path): At<KeyPath>) -> Result<Versioned<KeyView>, Refusal> {
    Ok(Versioned(admin.control().key(&admin.identity, &path.resource()).await?))
}

async fn versions(admin: Admin, At(path): At<KeyPath>) -> Result<All<KeyVersionView>, Refusal> {
    Ok(All(admin.control().key_versions(&admin.identity, &path.resource()).await?))
}

async fn rotate(
    admin: Admin,
    At(path): At<KeyPath>,
    Body(request): Body<RotateRequest>,
) -> Result<Shown<KeyVersionView>, Refusal> {
    let control = admin.control();
    Ok(Shown(control.rotate_key(&admin.identity, &path.resource(), request.enclave.as_ref()).await?))
}

async fn delete(admin: Admin, At(path): At<KeyPath>, IfMatch(revision): IfMatch) -> Result<Done, Refusal> {
    admin.control().delete_key(&admin.identity, &path.resource(), revision).await?;
    Ok(Done)
}
