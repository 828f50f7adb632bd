//! Following the store: each of its transactions is verified before it is believed.

use std::collections::BTreeMap;
use std::sync::Arc;

use burgrave_store::{Change as StoreChange, Event, Watch};

use crate::chain::{Tip, check_link, record_digest, shown};
use crate::head::Changes;
use crate::layout::{Link, POINTER, RECORD, chain_place, place, pointer};
use crate::ledger::Shared;
use crate::state::Step;
use crate::{Fence, HeadFault, RecordPath, Tampering};

/// Applies the store's transactions as they come, until the store gives what was not signed or ends.
pub(crate) async fn follow(shared: Arc<Shared>, mut watch: Watch) {
    let fence = loop {
        let event = match watch.next().await {
            Ok(event) => event,
            Err(error) => break Fence::Lost(error.to_string()),
        };
        let store_revision = event.revision;
        match verify(&shared, event).await {
            Ok(Some(step)) => shared.state().apply(step),
            Ok(None) => {}
            Err(fence) => break fence,
        }
        shared.progress.send_replace(store_revision);
    };
    shared.state().fence(fence);
    // Who waits for a revision wakes up and finds the fence.
    shared.progress.send_modify(|_| {});
}

/// The step that a transaction of the store is; `None` where it does not concern the ledger.
async fn verify(shared: &Shared, event: Event) -> Result<Option<Step>, Fence> {
    let values: BTreeMap<String, Option<Vec<u8>>> = event
        .changes
        .into_iter()
        .filter_map(|change| {
            let place = place(change.key())?;
            Some(match change {
                StoreChange::Put { value, .. } => (place, Some(value)),
                StoreChange::Delete { .. } => (place, None),
            })
        })
        .collect();
    if values.is_empty() {
        return Ok(None);
    }
    let before = shared.state().tip.clone();
    let (tip, changes) = verify_link(shared, &before, &values).map_err(Fence::Tampered)?;
    let mut step = Step { tip, pointer_modified: event.revision, puts: Vec::new(), deletes: Vec::new() };
    for (place, digest) in changes {
        let path = record_path(&place).map_err(Fence::Tampered)?;
        let Some(digest) = digest else {
            step.deletes.push(path);
            continue;
        };
        let revision = step.tip.head.head.revision;
        let value = values.get(&place).and_then(Option::as_deref).unwrap_or_default();
        let found = record_digest(value);
        if found != digest {
            let place = shown(&place);
            return Err(Fence::Tampered(Tampering::Replaced { place, revision, expected: digest, found }));
        }
        let opened = shared.sealer.open(&path, value).await.map_err(|error| Fence::Lost(error.to_string()))?;
        let record = opened.filter(|record| record.revision == revision);
        step.puts.push(Arc::new(record.ok_or(Fence::Tampered(Tampering::Unreadable(path)))?));
    }
    Ok(Some(step))
}

/// Verifies the head in a transaction, and that the transaction touches what the head says and nothing else.
fn verify_link(
    shared: &Shared,
    before: &Tip,
    values: &BTreeMap<String, Option<Vec<u8>>>,
) -> Result<(Tip, Changes), Tampering> {
    let revision = before.head.head.revision.next();
    let fault = |fault| Tampering::Head { revision, fault };
    let link_place = chain_place(revision);
    let Some(value) = values.get(&link_place).and_then(Option::as_ref) else {
        let unsigned = values.keys().find(|place| place.starts_with(RECORD));
        return Err(match unsigned {
            Some(place) => Tampering::Unsigned { place: shown(place) },
            None => fault(HeadFault::Missing),
        });
    };
    let link = Link::decode(value).map_err(|error| fault(error.into()))?;
    check_link(shared.genesis.hash(), Some(before), &link).map_err(fault)?;
    if !link.head.is_signed_by(&shared.genesis.body.head_signing) {
        return Err(fault(HeadFault::Signature));
    }
    let tip = Tip::new(link.head);
    for (place, value) in values {
        if *place == link_place {
            continue;
        }
        if place == POINTER {
            if value.as_ref() != Some(&pointer(revision, tip.hash)) {
                return Err(Tampering::Pointer(revision));
            }
        } else if link.changes.get(place).map(Option::is_some) != Some(value.is_some()) {
            return Err(Tampering::Unsigned { place: shown(place) });
        }
    }
    if !values.contains_key(POINTER) {
        return Err(Tampering::Pointer(revision));
    }
    match link.changes.keys().find(|place| !values.contains_key(*place)) {
        Some(place) => Err(Tampering::Withheld { place: shown(place), revision }),
        None => Ok((tip, link.changes)),
    }
}

/// The record at a place.
pub(crate) fn record_path(place: &str) -> Result<RecordPath, Tampering> {
    let text = place.strip_prefix(RECORD).ok_or_else(|| Tampering::Unsigned { place: place.to_owned() })?;
    text.parse().map_err(|source| Tampering::UnknownKind { place: text.to_owned(), source })
}
