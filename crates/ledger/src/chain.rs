//! The chain of heads, and what must be in the store according to it.

use std::collections::BTreeMap;

use burgrave_seal::sha256;
use burgrave_types::{GenesisHash, HeadHash, RecordDigest, Revision};

use crate::head::changes_digest;
use crate::layout::{CHAIN, GENESIS, Link, POINTER, RECORD, WRAPPED_KEYS, chain_place, pointed_revision, pointer};
use crate::{Head, HeadFault, RecordPath, SignedHead, Tampering};

/// Where a chain ends.
#[derive(Clone, Debug)]
pub(crate) struct Tip {
    pub(crate) head: SignedHead,
    pub(crate) hash: HeadHash,
}

impl Tip {
    pub(crate) fn new(head: SignedHead) -> Self {
        let hash = head.hash();
        Self { head, hash }
    }
}

/// What was signed of a place: when it was written last, and what.
pub(crate) type Expected = BTreeMap<String, (Revision, RecordDigest)>;

/// Checks that `link` follows `tip` in the chain of `domain`; its signature is not looked at.
pub(crate) fn check_link(domain: GenesisHash, tip: Option<&Tip>, link: &Link) -> Result<(), HeadFault> {
    let head: &Head = &link.head.head;
    let revision = tip.map_or(Revision(1), |tip| tip.head.head.revision.next());
    if head.domain != domain {
        return Err(HeadFault::Domain(head.domain));
    }
    if head.revision != revision {
        return Err(HeadFault::Place(head.revision));
    }
    if head.previous != tip.map_or(HeadHash::from_bytes([0; 32]), |tip| tip.hash) {
        return Err(HeadFault::Link);
    }
    if let Some(tip) = tip {
        if head.time < tip.head.head.time {
            return Err(HeadFault::Time { found: head.time, previous: tip.head.head.time });
        }
        if head.epoch < tip.head.head.epoch {
            return Err(HeadFault::Epoch);
        }
    }
    if head.changes != changes_digest(&link.changes) {
        return Err(HeadFault::Changes);
    }
    Ok(())
}

/// Verifies the chain from genesis to its end and that the store holds what it says and nothing else.
///
/// Each head names the hash of the one before it, signature included, so the last signature vouches for them all.
pub(crate) fn verify(
    domain: GenesisHash,
    head_signing: &[u8],
    values: &BTreeMap<String, Vec<u8>>,
) -> Result<(Tip, Expected), Tampering> {
    let mut tip: Option<Tip> = None;
    let mut expected = Expected::new();
    let chain = values.range(CHAIN.to_owned()..).take_while(|(place, _)| place.starts_with(CHAIN));
    for (place, value) in chain {
        let revision = tip.as_ref().map_or(Revision(1), |tip| tip.head.head.revision.next());
        let fault = |fault| Tampering::Head { revision, fault };
        if *place != chain_place(revision) {
            return Err(fault(HeadFault::Missing));
        }
        let link = Link::decode(value).map_err(|error| fault(error.into()))?;
        check_link(domain, tip.as_ref(), &link).map_err(|broken| match &tip {
            // Where a link is broken, the signature tells which of the two heads was altered.
            Some(tip) if broken == HeadFault::Link && !tip.head.is_signed_by(head_signing) => {
                Tampering::Head { revision: tip.head.head.revision, fault: HeadFault::Signature }
            }
            _ => fault(broken),
        })?;
        for (place, digest) in link.changes {
            match digest {
                Some(digest) => expected.insert(place, (revision, digest)),
                None => expected.remove(&place),
            };
        }
        tip = Some(Tip::new(link.head));
    }
    let tip = tip.ok_or(Tampering::Head { revision: Revision(1), fault: HeadFault::Missing })?;
    let revision = tip.head.head.revision;
    if !tip.head.is_signed_by(head_signing) {
        return Err(Tampering::Head { revision, fault: HeadFault::Signature });
    }
    let found = values.get(POINTER).ok_or(Tampering::Pointer(revision))?;
    if *found != pointer(revision, tip.hash) {
        let later = pointed_revision(found).filter(|pointed| *pointed == revision.next());
        let missing = |revision| Tampering::Head { revision, fault: HeadFault::Missing };
        return Err(later.map_or(Tampering::Pointer(revision), missing));
    }
    check_contents(&expected, values)?;
    Ok((tip, expected))
}

/// Checks that what stands in the store is what was signed, no more and no less.
fn check_contents(expected: &Expected, values: &BTreeMap<String, Vec<u8>>) -> Result<(), Tampering> {
    for (place, (revision, digest)) in expected {
        let value = values.get(place);
        let value = value.ok_or_else(|| Tampering::Withheld { place: shown(place), revision: *revision })?;
        let found = record_digest(value);
        if found != *digest {
            return Err(Tampering::Replaced { place: shown(place), revision: *revision, expected: *digest, found });
        }
        if let Some(path) = place.strip_prefix(RECORD) {
            let unknown = |source| Tampering::UnknownKind { place: shown(place), source };
            path.parse::<RecordPath>().map_err(unknown)?;
        } else if place != GENESIS && place != WRAPPED_KEYS {
            return Err(Tampering::Unsigned { place: shown(place) });
        }
    }
    let known = |place: &str| expected.contains_key(place) || place.starts_with(CHAIN) || place == POINTER;
    match values.keys().find(|place| !known(place)) {
        Some(place) => Err(Tampering::Unsigned { place: shown(place) }),
        None => Ok(()),
    }
}

pub(crate) fn record_digest(value: &[u8]) -> RecordDigest {
    RecordDigest::from_bytes(sha256(value))
}

/// A place as messages name it: a record by its path.
pub(crate) fn shown(place: &str) -> String {
    place.strip_prefix(RECORD).unwrap_or(place).to_owned()
}

#[cfg(test)]
mod tests {
    use burgrave_types::Timestamp;

    use super::*;
    use crate::head::Changes;

    fn link(edit: impl FnOnce(&mut Head)) -> Link {
        let mut head = Head {
            domain: GenesisHash::from_bytes([1; 32]),
            epoch: 2,
            revision: Revision(8),
            previous: HeadHash::from_bytes([3; 32]),
            changes: changes_digest(&Changes::new()),
            changer: "admin root".to_owned(),
            time: Timestamp::from_unix_secs(50),
        };
        edit(&mut head);
        Link { head: SignedHead { head, signature: Vec::new() }, changes: Changes::new() }
    }

    #[test]
    fn a_head_that_does_not_follow_is_refused_by_what_is_wrong_with_it() {
        let tip = Tip::new(link(|_| {}).head);
        let domain = tip.head.head.domain;
        let next = |edit: &dyn Fn(&mut Head)| {
            link(|head| {
                (head.revision, head.previous) = (Revision(9), tip.hash);
                edit(head);
            })
        };
        let check = |link: &Link| check_link(domain, Some(&tip), link);
        assert_eq!(check(&next(&|_| {})), Ok(()));
        let other = GenesisHash::from_bytes([2; 32]);
        assert_eq!(check(&next(&|head| head.domain = other)), Err(HeadFault::Domain(other)));
        assert_eq!(check(&next(&|head| head.revision = Revision(10))), Err(HeadFault::Place(Revision(10))));
        assert_eq!(check(&next(&|head| head.previous = HeadHash::from_bytes([0; 32]))), Err(HeadFault::Link));
        assert_eq!(check(&next(&|head| head.epoch = 1)), Err(HeadFault::Epoch));
        let (found, previous) = (Timestamp::from_unix_secs(49), Timestamp::from_unix_secs(50));
        assert_eq!(check(&next(&|head| head.time = found)), Err(HeadFault::Time { found, previous }));
        let mut longer = next(&|_| {});
        longer.changes.insert("record/policy/p/x".to_owned(), None);
        assert_eq!(check(&longer), Err(HeadFault::Changes));
    }
}
