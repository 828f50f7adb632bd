//! Channels that are open.

use burgrave_types::ChannelId;
use burgrave_types::api::{ChannelView, CutRequest};
use http::Method;
use serde::Deserialize;
use utoipa::ToSchema;

use super::PageQuery;
use crate::rest::answer::{Done, Listed};
use crate::rest::auth::Admin;
use crate::rest::extract::{Asked, At, Body};
use crate::rest::problem::Refusal;
use crate::rest::table::Table;

pub(super) fn routes(table: Table) -> Table {
    table.route(Method::GET, "/v1/channels", "listChannels", "The open channels, by id.", list).route(
        Method::POST,
        "/v1/channels/{id}/cut",
        "cutChannel",
        "Cuts a channel on both sides. When this is answered, nothing more goes through.",
        cut,
    )
}

/// A channel's id.
#[derive(Deserialize, ToSchema)]
struct ChannelPath {
    /// The channel.
    id: ChannelId,
}

async fn list(admin: Admin, Asked(query): Asked<PageQuery>) -> Result<Listed<ChannelView>, Refusal> {
    Ok(Listed(admin.control().channels(&admin.identity, &query.page()).await?))
}

async fn cut(admin: Admin, At(path): At<ChannelPath>, Body(request): Body<CutRequest>) -> Result<Done, Refusal> {
    admin.control().cut_channel(&admin.identity, path.id, &request.reason).await?;
    Ok(Done)
}
