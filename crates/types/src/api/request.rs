//! Bodies of requests that are more than one of the things in `admin`.

use serde::{Deserialize, Serialize};

use super::Subject;
use crate::{EnclaveName, Operation, ReleaseState, ResourceId, Timestamp};

/// Body of the `revoke` routes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RevokeRequest {
    /// Why, for the record and for whoever asks `why` later.
    #[serde(default)]
    pub reason: String,
}

/// Body of `PUT …/releases/{release}/state`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ReleaseStateChange {
    /// The state that the release shall have.
    pub state: ReleaseState,
    /// When it ends by itself; absent: as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
}

impl From<ReleaseState> for ReleaseStateChange {
    /// The state alone.
    fn from(state: ReleaseState) -> Self {
        Self { state, valid_until: None }
    }
}

/// Body of `POST …/rotate`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RotateRequest {
    /// For a keyspace: whose key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enclave: Option<EnclaveName>,
}

/// Body of `POST /v1/channels/{id}/cut`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CutRequest {
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Body of `POST /v1/authorize`: would this be allowed now?
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AuthorizeRequest {
    /// Whom the question is about.
    pub subject: Subject,
    /// To do what.
    pub operation: Operation,
    /// On what.
    pub resource: ResourceId,
    /// With whom, where the operation is `send` or `receive`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<EnclaveName>,
}
