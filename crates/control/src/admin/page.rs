//! Lists in parts: each page says where the next begins.

use burgrave_types::Revision;

use crate::{Page, Paged};

const DEFAULT: usize = 100;
const MOST: usize = 1000;

/// The page of `items` in the order of their keys, which are texts: ids and names sort otherwise by themselves.
pub(crate) fn page<T, V>(
    items: impl Iterator<Item = T>,
    wanted: &Page,
    revision: Revision,
    key: impl Fn(&T) -> String,
    show: impl Fn(T) -> V,
) -> Paged<V> {
    let limit = match wanted.limit {
        0 => DEFAULT,
        limit => limit.min(MOST),
    };
    let keyed = items.map(|item| (key(&item), item));
    let mut rest: Vec<(String, T)> =
        keyed.filter(|(key, _)| wanted.after.as_ref().is_none_or(|after| key > after)).collect();
    rest.sort_by(|(a, _), (b, _)| a.cmp(b));
    let more = rest.len() > limit;
    rest.truncate(limit);
    let next = if more { rest.last().map(|(key, _)| key.clone()) } else { None };
    Paged { items: rest.into_iter().map(|(_, item)| show(item)).collect(), next, revision }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_together_are_the_list() {
        let all: Vec<String> = (10..35).rev().map(|n| n.to_string()).collect();
        let (mut found, mut wanted) = (Vec::new(), Page { after: None, limit: 10 });
        loop {
            let part = page(all.iter(), &wanted, Revision(1), |item| (*item).clone(), Clone::clone);
            found.extend(part.items);
            match part.next {
                Some(next) => wanted.after = Some(next),
                None => break,
            }
        }
        let mut sorted = all.clone();
        sorted.sort();
        assert_eq!(found, sorted);
    }
}
