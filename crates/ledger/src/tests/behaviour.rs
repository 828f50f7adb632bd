//! What a ledger does where nobody attacks it.

use burgrave_types::{GenesisHash, Revision};

use super::*;
use crate::{Change, Expect, FeedItem, Fence, TransactError};

#[tokio::test]
async fn what_is_written_is_there_after_a_restart() {
    let place = Place::new();
    let ledger = place.create().await;
    assert_eq!(ledger.head().head.revision, Revision(1));
    let first =
        ledger.transact(Change::by("a").put(path("enclave/p/api"), "1").put(path("policy/p/x"), "x")).await.unwrap();
    let second =
        ledger.transact(Change::by("b").put(path("enclave/p/api"), "2").delete(path("policy/p/x"))).await.unwrap();
    assert_eq!((first.revision, second.revision), (Revision(2), Revision(3)));
    assert_eq!(second.head, ledger.head().hash());
    let genesis = ledger.genesis().clone();
    ledger.close().await;

    let ledger = place.open().await.unwrap();
    assert_eq!(*ledger.genesis(), genesis);
    assert_eq!(ledger.head().hash(), second.head);
    let FeedItem::Snapshot { revision, head, records } = ledger.subscribe().next().await.unwrap() else { panic!() };
    assert_eq!((revision, head), (second.revision, second.head));
    let expected =
        Record { path: path("enclave/p/api"), revision: Revision(3), version: 2, body: b"2".as_slice().into() };
    assert_eq!(records, [Arc::new(expected)]);
}

#[tokio::test]
async fn a_feed_gives_the_snapshot_and_then_each_change_in_order() {
    let place = Place::new();
    let ledger = place.create().await;
    ledger.transact(Change::by("a").put(path("key/p/old"), "old")).await.unwrap();
    let mut feed = ledger.subscribe();
    let mut applied = Vec::new();
    for n in 0..5u8 {
        applied.push(ledger.transact(Change::by(format!("admin {n}")).put(path("key/p/new"), [n])).await.unwrap());
    }
    ledger.transact(Change::by("z").delete(path("key/p/old"))).await.unwrap();

    let FeedItem::Snapshot { revision: Revision(2), records, .. } = feed.next().await.unwrap() else { panic!() };
    assert_eq!(records[0].body.as_ref(), b"old");
    for (n, expected) in (0..5u8).zip(applied) {
        let FeedItem::Applied { revision, head, changer, puts, deletes, .. } = feed.next().await.unwrap() else {
            panic!()
        };
        assert_eq!((revision, head, changer), (expected.revision, expected.head, format!("admin {n}")));
        assert_eq!((puts[0].body.as_ref(), puts[0].version, deletes), ([n].as_slice(), u64::from(n) + 1, vec![]));
    }
    let FeedItem::Applied { puts, deletes, .. } = feed.next().await.unwrap() else { panic!() };
    assert_eq!((puts, deletes), (vec![], vec![path("key/p/old")]));
    ledger.close().await;
    assert_eq!(feed.next().await, Err(Fence::Closed));
}

#[tokio::test]
async fn a_broken_condition_is_a_conflict_that_says_what_was_found() {
    let place = Place::new();
    let ledger = place.create().await;
    let made = ledger.transact(Change::by("a").put(path("enclave/p/api"), "1")).await.unwrap().revision;
    let head = ledger.head();
    let cases = [
        Change::by("b").expect(path("enclave/p/api"), Expect::Absent),
        Change::by("b").expect(path("enclave/p/api"), Expect::Revision(Revision(1))),
        Change::by("b").expect(path("enclave/p/none"), Expect::Present),
        Change::by("b").delete(path("enclave/p/none")),
    ];
    for change in cases {
        let error = ledger.transact(change.put(path("key/p/k"), "k")).await.unwrap_err();
        let TransactError::Conflict { path, found, .. } = error else { panic!("{error}") };
        assert_eq!(found, (path.name() == "p/api").then_some(made));
    }
    assert_eq!(ledger.head(), head, "a conflict changes nothing");
    let error = ledger
        .transact(
            Change::by("b").expect(path("enclave/p/api"), Expect::Revision(Revision(9))).put(path("key/p/k"), "k"),
        )
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "`enclave/p/api` is not as expected: expected a record last changed at revision 9, found a record last changed \
         at revision 2; read it again and decide anew"
    );
    let change = Change::by("b").expect(path("enclave/p/api"), Expect::Revision(made)).put(path("enclave/p/api"), "2");
    ledger.transact(change).await.unwrap();
}

#[tokio::test]
async fn a_change_that_says_nothing_or_two_things_is_refused() {
    let ledger_place = Place::new();
    let ledger = ledger_place.create().await;
    assert!(matches!(ledger.transact(Change::by("a")).await, Err(TransactError::Empty)));
    let twice = Change::by("a").put(path("key/p/k"), "1").put(path("key/p/k"), "2");
    assert!(matches!(ledger.transact(twice).await, Err(TransactError::Contradiction(_))));
    let both = Change::by("a").put(path("key/p/k"), "1").delete(path("key/p/k"));
    assert!(matches!(ledger.transact(both).await, Err(TransactError::Contradiction(_))));
}

/// Adds one to a counter, again and again until no other change comes between.
async fn add_one(ledger: &Ledger) {
    loop {
        let FeedItem::Snapshot { records, .. } = ledger.subscribe().next().await.unwrap() else { panic!() };
        let found = records.iter().find(|record| record.path == path("key/p/count"));
        let (expect, count) = match found {
            Some(record) => (Expect::Revision(record.revision), record.body[0]),
            None => (Expect::Absent, 0),
        };
        let change = Change::by("counter").expect(path("key/p/count"), expect).put(path("key/p/count"), [count + 1]);
        match ledger.transact(change).await {
            Ok(_) => return,
            Err(TransactError::Conflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_changes_are_serialised_also_between_two_nodes_of_one_store() {
    const EACH: u8 = 8;
    let place = Place::new();
    place.create().await.close().await;
    let store = place.store();
    let mut tasks = tokio::task::JoinSet::new();
    let mut ledgers = Vec::new();
    // Two nodes whose HSMs hold the same keys: one token stands for both.
    let read = || Ledger::read_unsealed(Arc::clone(&store), None);
    let keyring = open_keyring(place.path(), &read().await.unwrap()).await;
    for _ in 0..2 {
        let (clock, random) = (place.clock.clone(), Arc::new(SystemRandom));
        let ledger = Ledger::open(read().await.unwrap(), keyring.clone(), clock, random).await;
        let ledger = Arc::new(ledger.unwrap());
        for _ in 0..EACH {
            let ledger = Arc::clone(&ledger);
            tasks.spawn(async move { add_one(&ledger).await });
        }
        ledgers.push(ledger);
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    // Each node has seen its own last change; a change of its own brings it up to the other's.
    for ledger in &ledgers {
        ledger.transact(Change::by("last").put(path("key/p/last"), "")).await.unwrap();
        let counted = contents(ledger).await.into_iter().find(|(path, _)| path == "key/p/count").unwrap();
        assert_eq!(counted.1, [2 * EACH]);
    }
}

#[tokio::test]
async fn one_store_holds_one_domain_and_opens_for_it_alone() {
    let place = Place::new();
    assert!(matches!(place.open().await, Err(LedgerError::NoDomain)));
    let ledger = place.create().await;
    let hash = ledger.genesis().hash();
    ledger.close().await;

    let other = Place::new();
    let token = SoftwareToken::create(&other.path().join("token"), DomainClass::Dev, &Unlock::KeyFile).unwrap();
    let keyring = Arc::new(Keyring::create(Token::from(token)).await.unwrap());
    let record = genesis(&keyring).await;
    let again =
        Ledger::create(place.store(), keyring.clone(), record, place.clock.clone(), Arc::new(SystemRandom)).await;
    assert!(matches!(again, Err(LedgerError::DomainExists)));

    let asked = GenesisHash::from_bytes([9; 32]);
    let error = Ledger::read_unsealed(place.store(), Some(asked)).await.unwrap_err();
    assert!(matches!(error, LedgerError::WrongDomain { expected, found } if expected == asked && found == hash));

    let unsealed = Ledger::read_unsealed(place.store(), Some(hash)).await.unwrap();
    let error = Ledger::open(unsealed, keyring, place.clock.clone(), Arc::new(SystemRandom)).await.unwrap_err();
    assert!(matches!(error, LedgerError::HeadKey), "another token's keyring opened it: {error}");
}

#[tokio::test]
async fn time_never_goes_back_not_over_a_restart_either() {
    let place = Place::new();
    let ledger = place.create().await;
    ledger.transact(Change::by("a").put(path("key/p/k"), "1")).await.unwrap();
    let before = ledger.head().head.time;
    assert_eq!(before, place.clock.now());
    place.clock.0.fetch_sub(3_600_000, Ordering::Relaxed);
    assert_eq!(ledger.time(), before);
    ledger.transact(Change::by("a").put(path("key/p/k"), "2")).await.unwrap();
    assert_eq!(ledger.head().head.time, before);
    ledger.close().await;
    assert_eq!(place.open().await.unwrap().time(), before);
}
