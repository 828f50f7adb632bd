//! A store that lies: everything that is altered, removed, swapped, moved, added or rolled back is refused by name.

use std::collections::BTreeMap;

use burgrave_store::{Commit, KeyRange, Transaction};
use burgrave_types::{HeadHash, Revision};
use proptest::prelude::*;

use super::*;
use crate::head::{Changes, changes_digest};
use crate::layout::{self, Link};
use crate::{Change, Fence, Head, HeadFault, SignedHead, Tampering, TransactError};

type Values = BTreeMap<String, Vec<u8>>;

/// A domain of some history, with what the store held after each change.
struct Domain {
    place: Place,
    history: Vec<Values>,
}

impl Domain {
    async fn new() -> Self {
        let place = Place::new();
        place.create().await.close().await;
        let store = place.store();
        let ledger = open_on(store.clone(), place.path(), &place.clock).await.unwrap();
        let mut history = vec![dump(&*store).await];
        for change in [
            Change::by("a").put(path("enclave/p/api"), "1").put(path("policy/p/x"), "forbid"),
            Change::by("b").put(path("enclave/p/api"), "2"),
            Change::by("c").put(path("enclave/p/other"), "1").put(path("key/p/k"), "k"),
            Change::by("d").put(path("policy/p/x"), "permit").delete(path("key/p/k")),
        ] {
            ledger.transact(change).await.unwrap();
            history.push(dump(&*store).await);
        }
        ledger.close().await;
        Self { place, history }
    }

    fn now(&self) -> &Values {
        self.history.last().unwrap()
    }

    /// Opens the ledger over a store that holds `values`.
    async fn open_over(&self, values: Values) -> Result<Ledger, LedgerError> {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let put =
            |transaction: Transaction, (place, value): (String, Vec<u8>)| transaction.put(layout::key(&place), value);
        store.commit(values.into_iter().fold(Transaction::new(), put)).await.unwrap();
        open_on(store, self.place.path(), &self.place.clock).await
    }
}

async fn dump(store: &dyn Store) -> Values {
    let page = store.range(KeyRange::prefix(layout::PREFIX), usize::MAX).await.unwrap();
    page.records.into_iter().map(|record| (layout::place(&record.key).unwrap(), record.value)).collect()
}

/// How an error names what stands at a place.
fn name(place: &str) -> String {
    match place.split_once('/') {
        Some(("chain", revision)) => format!("head {}", revision.parse::<u64>().unwrap()),
        Some(("record", path)) => format!("`{path}`"),
        _ if place == "head" => "the pointer to the current head".to_owned(),
        _ if place == "genesis" => "genesis".to_owned(),
        _ => format!("`{place}`"),
    }
}

#[derive(Clone, Debug)]
enum Attack {
    Flip(prop::sample::Index, prop::sample::Index, u8),
    Truncate(prop::sample::Index, prop::sample::Index),
    Remove(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Copy(prop::sample::Index, prop::sample::Index),
    RollBack(prop::sample::Index, prop::sample::Index),
}

fn attacks() -> impl Strategy<Value = Attack> {
    let any = any::<prop::sample::Index>;
    prop_oneof![
        3 => (any(), any(), 0u8..8).prop_map(|(place, at, bit)| Attack::Flip(place, at, bit)),
        1 => (any(), any()).prop_map(|(place, at)| Attack::Truncate(place, at)),
        1 => any().prop_map(Attack::Remove),
        1 => (any(), any()).prop_map(|(a, b)| Attack::Swap(a, b)),
        1 => (any(), any()).prop_map(|(a, b)| Attack::Copy(a, b)),
        1 => (any(), any()).prop_map(|(place, then)| Attack::RollBack(place, then)),
    ]
}

/// Makes the attack; gives the places of which one at least must be named.
fn attack(domain: &Domain, values: &mut Values, attack: &Attack) -> Vec<String> {
    let places: Vec<String> = values.keys().cloned().collect();
    let pick = |index: &prop::sample::Index| index.get(&places).clone();
    match attack {
        Attack::Flip(place, at, bit) => {
            let value = values.get_mut(&pick(place)).unwrap();
            let at = at.index(value.len());
            value[at] ^= 1 << bit;
            vec![pick(place)]
        }
        Attack::Truncate(place, at) => {
            let value = values.get_mut(&pick(place)).unwrap();
            value.truncate(at.index(value.len()));
            vec![pick(place)]
        }
        Attack::Remove(place) => {
            values.remove(&pick(place));
            vec![pick(place)]
        }
        Attack::Swap(a, b) => {
            let (a, b) = (pick(a), pick(b));
            let (value_a, value_b) = (values[&a].clone(), values[&b].clone());
            values.insert(a.clone(), value_b);
            values.insert(b.clone(), value_a);
            vec![a, b]
        }
        Attack::Copy(from, to) => {
            values.insert(pick(to), values[&pick(from)].clone());
            vec![pick(to)]
        }
        Attack::RollBack(place, then) => {
            let place = pick(place);
            match then.get(&domain.history).get(&place) {
                Some(old) => values.insert(place.clone(), old.clone()),
                None => values.remove(&place),
            };
            vec![place]
        }
    }
}

#[test]
fn whatever_is_altered_removed_swapped_moved_or_rolled_back_is_refused_by_name() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let domain = runtime.block_on(Domain::new());
    runtime.block_on(async {
        let untouched = domain.open_over(domain.now().clone()).await;
        untouched.expect("the untouched copy opens").close().await;
    });
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(200));
    let tested = runner.run(&attacks(), |made| {
        let mut values = domain.now().clone();
        let places = attack(&domain, &mut values, &made);
        prop_assume!(values != *domain.now());
        let error = runtime.block_on(domain.open_over(values)).map(|_| ()).expect_err("the attack went unseen");
        let message = error.to_string();
        prop_assert!(places.iter().any(|place| message.contains(&name(place))), "{places:?} not named: {message}");
        Ok(())
    });
    tested.unwrap();
}

#[tokio::test]
async fn a_record_that_no_head_covers_is_refused_by_name() {
    let domain = Domain::new().await;
    for place in ["record/enclave/p/extra", "record/key/p/k", "something/else"] {
        let mut values = domain.now().clone();
        // `key/p/k` was deleted: its old, genuinely sealed value must not come back.
        let old = domain.history[3].get(place).cloned().unwrap_or_else(|| b"extra".to_vec());
        values.insert(place.to_owned(), old);
        let error = domain.open_over(values).await.unwrap_err();
        let expected = Tampering::Unsigned { place: place.trim_start_matches("record/").to_owned() };
        assert!(matches!(&error, LedgerError::Tampered(found) if *found == expected), "{error}");
    }
}

#[tokio::test]
async fn a_chain_cut_at_its_end_does_not_fit_the_later_records() {
    let domain = Domain::new().await;
    let mut values = domain.now().clone();
    values.remove(&layout::chain_place(Revision(5)));
    values.insert("head".to_owned(), domain.history[3]["head"].clone());
    let error = domain.open_over(values).await.unwrap_err();
    assert!(error.to_string().contains("`key/p/k`, written at revision 4, is missing"), "{error}");
}

/// The limit that the threat notes state: this is what the anchor and the agents are for.
#[tokio::test]
async fn a_store_rolled_back_as_a_whole_opens_at_its_earlier_head() {
    let domain = Domain::new().await;
    let ledger = domain.open_over(domain.history[2].clone()).await.unwrap();
    assert_eq!(ledger.head().head.revision, Revision(3));
}

#[tokio::test]
async fn another_domain_s_signed_history_is_refused_where_one_is_expected() {
    let (domain, other) = (Domain::new().await, Domain::new().await);
    let expected = Ledger::read_unsealed(domain.place.store(), None).await.unwrap().genesis().hash();
    let error = Ledger::read_unsealed(other.place.store(), Some(expected)).await.unwrap_err();
    assert!(matches!(error, LedgerError::WrongDomain { .. }), "{error}");
}

/// The head that would follow `last`.
fn successor(last: &SignedHead, changes: &Changes) -> Head {
    let (revision, previous) = (last.head.revision.next(), last.hash());
    Head { revision, previous, changes: changes_digest(changes), ..last.head.clone() }
}

#[tokio::test]
async fn a_head_that_another_key_signed_is_refused_at_start_and_while_following() {
    let domain = Domain::new().await;
    let last = Link::decode(&domain.now()[&layout::chain_place(Revision(5))]).unwrap().head;
    let changes = Changes::from([("record/policy/p/x".to_owned(), None)]);
    let head = successor(&last, &changes);
    let signature = burgrave_identity::IdentityKey::generate().unwrap().sign_der(&head.encode()).unwrap();
    let link = Link { head: SignedHead { head, signature }, changes };
    let forged = Transaction::new()
        .delete("ledger/record/policy/p/x")
        .put(layout::key(&layout::chain_place(Revision(6))), link.encode())
        .put("ledger/head", layout::pointer(Revision(6), link.head.hash()));

    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let fill = |t: Transaction, (place, value): (&String, &Vec<u8>)| t.put(layout::key(place), value.as_slice());
    store.commit(domain.now().iter().fold(Transaction::new(), fill)).await.unwrap();
    let ledger = open_on(store.clone(), domain.place.path(), &domain.place.clock).await.unwrap();
    let mut feed = ledger.subscribe();
    feed.next().await.unwrap();
    store.commit(forged).await.unwrap();
    let expected = Tampering::Head { revision: Revision(6), fault: HeadFault::Signature };
    assert_eq!(feed.next().await, Err(Fence::Tampered(expected.clone())));
    ledger.close().await;

    let error = Ledger::read_unsealed(store, None).await.unwrap_err();
    assert!(matches!(&error, LedgerError::Tampered(found) if *found == expected), "{error}");
}

#[tokio::test]
async fn a_record_of_an_unknown_kind_keeps_the_ledger_shut() {
    let domain = Domain::new().await;
    // A later release, with the same HSM, writes a kind that this one does not know.
    let unsealed = Ledger::read_unsealed(domain.place.store(), None).await.unwrap();
    let token = SoftwareToken::open(&domain.place.path().join("token"), &Unlock::KeyFile).unwrap();
    let keyring = Keyring::open(Token::from(token), unsealed.wrapped_keys()).await.unwrap();
    let last = unsealed.head();
    let value = b"sealed by a later release".to_vec();
    let place = "record/quarantine/p/x".to_owned();
    let changes = Changes::from([(place.clone(), Some(crate::chain::record_digest(&value)))]);
    let head = successor(last, &changes);
    let signature = keyring.sign_head(&head.encode()).await.unwrap();
    let link = Link { head: SignedHead { head, signature }, changes };
    let mut values = domain.now().clone();
    values.insert(place, value);
    values.insert(layout::chain_place(Revision(6)), link.encode());
    values.insert("head".to_owned(), layout::pointer(Revision(6), link.head.hash()));
    let error = domain.open_over(values).await.unwrap_err();
    assert!(matches!(error, LedgerError::Tampered(Tampering::UnknownKind { .. })), "{error}");
    assert!(error.to_string().contains("`quarantine/p/x`"), "{error}");
}

#[tokio::test]
async fn what_is_forged_while_the_ledger_is_open_fences_it() {
    let domain = Domain::new().await;
    let old = domain.history[1]["record/policy/p/x"].clone();
    let forged_head = domain.now()[&layout::chain_place(Revision(5))].clone();
    let attacks = [
        ("a record put back", Transaction::new().put("ledger/record/policy/p/x", old), "`policy/p/x`"),
        ("a record taken out", Transaction::new().delete("ledger/record/policy/p/x"), "`policy/p/x`"),
        ("a head replayed", Transaction::new().put("ledger/chain/00000000000000000006", forged_head), "head 6"),
        (
            "the pointer turned",
            Transaction::new().put("ledger/head", layout::pointer(Revision(9), HeadHash::from_bytes([9; 32]))),
            "head 6",
        ),
    ];
    for (what, transaction, name) in attacks {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let fill = domain
            .now()
            .iter()
            .fold(Transaction::new(), |t, (place, value)| t.put(layout::key(place), value.as_slice()));
        store.commit(fill).await.unwrap();
        let ledger = open_on(store.clone(), domain.place.path(), &domain.place.clock).await.unwrap();
        let mut feed = ledger.subscribe();
        feed.next().await.unwrap();

        assert!(matches!(store.commit(transaction).await.unwrap(), Commit::Committed { .. }));
        let fence = feed.next().await.expect_err(what);
        assert!(matches!(&fence, Fence::Tampered(_)) && fence.to_string().contains(name), "{what}: {fence}");
        assert_eq!(ledger.health(), Err(fence.clone()));
        let refused = ledger.transact(Change::by("a").put(path("key/p/k"), "k")).await;
        assert!(matches!(refused, Err(TransactError::Fenced(_))), "{what}: {refused:?}");
        assert_eq!(ledger.subscribe().next().await, Err(fence), "a new subscriber is told as well");
        ledger.close().await;
    }
}

#[tokio::test]
async fn nothing_in_the_store_shows_what_a_record_says() {
    let place = Place::new();
    let ledger = place.create().await;
    let marker = b"a body that must not be readable";
    ledger.transact(Change::by("a").put(path("enclave/p/api"), marker.as_slice())).await.unwrap();
    ledger.close().await;
    let file = std::fs::read(place.path().join("store.redb")).unwrap();
    assert!(file.windows(13).any(|window| window == b"enclave/p/api"), "the file is the one that holds it");
    assert!(!file.windows(marker.len()).any(|window| window == marker));
}
