//! Decisions: those that fell, why, and how one would fall.

use burgrave_types::api::{AuthorizeRequest, Can, DecisionFilter, DecisionSubject, DecisionView, Why};
use burgrave_types::{DecisionId, EnclaveName, Operation};
use http::Method;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::rest::answer::{All, Shown};
use crate::rest::auth::Admin;
use crate::rest::extract::{Asked, At, Body};
use crate::rest::problem::Refusal;
use crate::rest::table::Table;

pub(super) fn routes(table: Table) -> Table {
    table
        .route(Method::GET, "/v1/decisions", "listDecisions", "The latest decisions of this node, newest first.", list)
        .route(Method::GET, "/v1/decisions/{id}", "explainDecision", "Why a decision fell as it did.", why)
        .route(
            Method::POST,
            "/v1/authorize",
            "authorize",
            "How a decision would fall now. Nothing is granted by it.",
            authorize,
        )
}

/// A decision's id.
#[derive(Deserialize, ToSchema)]
struct DecisionPath {
    /// The decision.
    id: DecisionId,
}

/// Which decisions are wanted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DecisionQuery {
    /// Of this enclave alone.
    enclave: Option<EnclaveName>,
    /// Asked for by one of these alone.
    subject: Option<DecisionSubject>,
    /// Allowed or denied alone.
    allowed: Option<bool>,
    /// Of this operation alone.
    operation: Option<Operation>,
    /// At most: 100 where it is absent.
    #[serde(default)]
    limit: usize,
}

async fn list(admin: Admin, Asked(query): Asked<DecisionQuery>) -> Result<All<DecisionView>, Refusal> {
    let DecisionQuery { enclave, subject, allowed, operation, limit } = query;
    let filter = DecisionFilter { enclave, subject, allowed, operation, limit };
    Ok(All(admin.control().decisions(&admin.identity, &filter).await?))
}

async fn why(admin: Admin, At(path): At<DecisionPath>) -> Result<Shown<Why>, Refusal> {
    Ok(Shown(admin.control().why(&admin.identity, path.id).await?))
}

async fn authorize(admin: Admin, Body(ask): Body<AuthorizeRequest>) -> Result<Shown<Can>, Refusal> {
    let control = admin.control();
    let peer = ask.peer.as_ref();
    Ok(Shown(control.can(&admin.identity, &ask.subject, ask.operation, &ask.resource, peer).await?))
}
