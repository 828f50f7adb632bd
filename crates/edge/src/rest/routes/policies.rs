//! Policies and simple rules.

use burgrave_types::PolicyId;
use burgrave_types::api::{NewPolicy, NewRule, PolicyView};
use http::Method;
use serde::Deserialize;
use utoipa::ToSchema;

use super::PageQuery;
use crate::rest::answer::{Created, Done, Listed, Versioned};
use crate::rest::auth::Admin;
use crate::rest::extract::{Asked, At, Body, IfMatch};
use crate::rest::problem::Refusal;
use crate::rest::table::Table;

pub(super) fn routes(table: Table) -> Table {
    let one = "/v1/policies/{id}";
    table
        .route(Method::GET, "/v1/policies", "listPolicies", "The policies, by id.", list)
        .route(
            Method::POST,
            "/v1/policies",
            "createPolicy",
            "Stores a policy. When this is answered, decisions are made under it.",
            create,
        )
        .route(
            Method::POST,
            "/v1/policies/validate",
            "validatePolicy",
            "Says what is wrong with a policy, and stores nothing.",
            validate,
        )
        .route(Method::GET, one, "showPolicy", "One policy.", show)
        .route(
            Method::PUT,
            one,
            "replacePolicy",
            "Replaces a policy. When this is answered, the new one holds.",
            replace,
        )
        .route(
            Method::DELETE,
            one,
            "deletePolicy",
            "Deletes a policy. When this is answered, what only it allowed is denied.",
            delete,
        )
        .route(
            Method::POST,
            "/v1/rules",
            "createRule",
            "Stores a simple rule as the policy that says the same; the same rule twice is one policy.",
            create_rule,
        )
}

/// A policy's id.
#[derive(Deserialize, ToSchema)]
struct PolicyPath {
    /// The policy.
    id: PolicyId,
}

async fn list(admin: Admin, Asked(query): Asked<PageQuery>) -> Result<Listed<PolicyView>, Refusal> {
    Ok(Listed(admin.control().policies(&admin.identity, &query.page()).await?))
}

async fn create(admin: Admin, Body(policy): Body<NewPolicy>) -> Result<Created<PolicyView>, Refusal> {
    Ok(Created(admin.control().create_policy(&admin.identity, policy).await?))
}

async fn validate(admin: Admin, Body(policy): Body<NewPolicy>) -> Result<Done, Refusal> {
    admin.control().validate_policy(&admin.identity, &policy).await?;
    Ok(Done)
}

async fn show(admin: Admin, At(path): At<PolicyPath>) -> Result<Versioned<PolicyView>, Refusal> {
    Ok(Versioned(admin.control().policy(&admin.identity, path.id).await?))
}

async fn replace(
    admin: Admin,
    At(path): At<PolicyPath>,
    IfMatch(revision): IfMatch,
    Body(policy): Body<NewPolicy>,
) -> Result<Versioned<PolicyView>, Refusal> {
    Ok(Versioned(admin.control().put_policy(&admin.identity, path.id, revision, policy).await?))
}

async fn delete(admin: Admin, At(path): At<PolicyPath>, IfMatch(revision): IfMatch) -> Result<Done, Refusal> {
    admin.control().delete_policy(&admin.identity, path.id, revision).await?;
    Ok(Done)
}

async fn create_rule(admin: Admin, Body(rule): Body<NewRule>) -> Result<Created<PolicyView>, Refusal> {
    Ok(Created(admin.control().create_rule(&admin.identity, rule).await?))
}
