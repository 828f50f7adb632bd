//! Lists, whole: page after page.

use burgrave_types::Problem;
use burgrave_types::api::{Page, Paged};

/// Items of a page that is asked for.
const LIMIT: usize = 1000;

/// All items, by asking for pages until there is no next one. What changes meanwhile may be there or not.
pub(crate) async fn all<T>(mut ask: impl AsyncFnMut(Page) -> Result<Paged<T>, Problem>) -> Result<Vec<T>, Problem> {
    let mut items = Vec::new();
    let mut page = Page { after: None, limit: LIMIT };
    loop {
        let paged = ask(page).await?;
        items.extend(paged.items);
        match paged.next {
            Some(next) => page = Page { after: Some(next), limit: LIMIT },
            None => return Ok(items),
        }
    }
}
