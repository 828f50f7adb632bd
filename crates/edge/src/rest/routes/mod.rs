//! The routes of `/v1`, by what they speak of.

mod channels;
mod decisions;
mod enclaves;
mod instances;
mod keys;
mod node;
mod policies;

use burgrave_types::api::Page;
use serde::Deserialize;
use utoipa::ToSchema;

use super::table::Table;

/// All routes.
pub(super) fn table() -> Table {
    let groups = [
        node::routes,
        enclaves::routes,
        instances::routes,
        policies::routes,
        keys::routes,
        channels::routes,
        decisions::routes,
    ];
    groups.into_iter().fold(Table::default(), |table, group| group(table))
}

/// Which part of a list is wanted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    /// The `next` of the page before; absent from the start.
    page_token: Option<String>,
    /// Items at most: 100 where it is absent, 1000 in any case.
    #[serde(default)]
    limit: usize,
}

impl PageQuery {
    fn page(self) -> Page {
        page(self.page_token, self.limit)
    }
}

fn page(page_token: Option<String>, limit: usize) -> Page {
    Page { after: page_token, limit }
}
