//! What every store must do: one suite, run on each.
//!
//! [`run`] panics, naming the behaviour, where a store does not conform.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a suite for tests: it fails by panicking"
)]

use std::future::Future;
use std::sync::Arc;

use crate::{Change, Commit, Event, Expect, KeyRange, Store, StoreError, Transaction, Watch, WatchError, limits};

/// Runs the suite; `fresh` makes an empty store, another one at each call.
pub async fn run<F: Future<Output = Arc<dyn Store>>>(fresh: impl Fn() -> F) {
    a_record_knows_what_made_and_what_changed_it(fresh().await).await;
    a_transaction_is_all_or_nothing(fresh().await).await;
    conditions_hold_as_said(fresh().await).await;
    what_changes_nothing_has_no_revision(fresh().await).await;
    a_range_is_ordered_bounded_and_goes_on(fresh().await).await;
    bounds_are_kept(fresh().await).await;
    of_concurrent_swaps_one_wins(fresh().await).await;
    a_watch_gives_past_and_coming_changes_in_order(fresh().await).await;
    a_watch_resumes_where_another_ended(fresh().await).await;
    a_watch_from_the_future_is_refused(fresh().await).await;
}

async fn a_record_knows_what_made_and_what_changed_it(store: Arc<dyn Store>) {
    assert_eq!(store.get(b"a").await.unwrap(), None);
    let first = put(&*store, "a", "1").await;
    let second = put(&*store, "a", "2").await;
    assert!(second > first);
    let record = store.get(b"a").await.unwrap().unwrap();
    assert_eq!((record.created, record.modified, record.value.as_slice()), (first, second, b"2".as_slice()));
    committed(&*store, Transaction::new().delete("a")).await;
    assert_eq!(store.get(b"a").await.unwrap(), None);
    let third = put(&*store, "a", "3").await;
    assert_eq!(store.get(b"a").await.unwrap().unwrap().created, third, "a record made again is made anew");
}

async fn a_transaction_is_all_or_nothing(store: Arc<dyn Store>) {
    let made = put(&*store, "taken", "x").await;
    let transaction = Transaction::new().expect("taken", Expect::Absent).put("other", "y").delete("taken");
    let ended = store.commit(transaction).await.unwrap();
    assert_eq!(ended, Commit::Conflict { key: b"taken".to_vec(), found: Some(made) });
    assert_eq!(store.get(b"other").await.unwrap(), None);
    assert!(store.get(b"taken").await.unwrap().is_some());

    let both = committed(&*store, Transaction::new().put("left", "1").put("right", "2").delete("taken")).await;
    for key in ["left", "right"] {
        assert_eq!(store.get(key.as_bytes()).await.unwrap().unwrap().modified, both);
    }
    assert_eq!(store.get(b"taken").await.unwrap(), None);
}

async fn conditions_hold_as_said(store: Arc<dyn Store>) {
    let made = put(&*store, "a", "1").await;
    let cases = [
        ("a", Expect::Absent, false),
        ("a", Expect::Present, true),
        ("a", Expect::Revision(made), true),
        ("a", Expect::Revision(made + 1), false),
        ("b", Expect::Absent, true),
        ("b", Expect::Present, false),
        ("b", Expect::Revision(made), false),
    ];
    for (key, expect, holds) in cases {
        let ended = store.commit(Transaction::new().expect(key, expect)).await.unwrap();
        assert_eq!(matches!(ended, Commit::Committed { .. }), holds, "{expect:?} of `{key}`: {ended:?}");
    }
}

async fn what_changes_nothing_has_no_revision(store: Arc<dyn Store>) {
    let before = put(&*store, "a", "1").await;
    assert_eq!(committed(&*store, Transaction::new()).await, before);
    assert_eq!(committed(&*store, Transaction::new().delete("absent")).await, before);
    let mut watch = store.watch(before).await.unwrap();
    let next = put(&*store, "b", "2").await;
    assert_eq!(watch.next().await.unwrap(), event(next, &[("b", Some("2"))]), "the empty ones give no event");
}

async fn a_range_is_ordered_bounded_and_goes_on(store: Arc<dyn Store>) {
    for key in ["k/3", "k/1", "j", "k/2", "l", "k"] {
        put(&*store, key, key).await;
    }
    let last = put(&*store, "k/4", "k/4").await;
    let page = store.range(KeyRange::prefix("k/"), 3).await.unwrap();
    assert_eq!(page.revision, last);
    assert_eq!(keys(&page), ["k/1", "k/2", "k/3"]);
    let page = store.range(page.rest.unwrap(), 3).await.unwrap();
    assert_eq!((keys(&page), page.rest), (vec!["k/4".to_owned()], None));

    let range = |start: &str, end: &str| KeyRange { start: start.into(), end: Some(end.into()) };
    let page = store.range(range("j", "k/2"), 10).await.unwrap();
    assert_eq!((keys(&page), page.rest), (vec!["j".to_owned(), "k".to_owned(), "k/1".to_owned()], None));
    let page = store.range(range("z", "a"), 10).await.unwrap();
    assert_eq!((page.records, page.rest), (vec![], None));
    let all = store.range(KeyRange { start: vec![], end: None }, usize::MAX).await.unwrap();
    assert_eq!(all.records.len(), 7);
}

async fn bounds_are_kept(store: Arc<dyn Store>) {
    let longest = vec![b'k'; limits::KEY_BYTES];
    committed(&*store, Transaction::new().put(longest.clone(), vec![0; limits::VALUE_BYTES])).await;
    assert_eq!(store.get(&longest).await.unwrap().unwrap().value.len(), limits::VALUE_BYTES);

    let too_long = [longest.as_slice(), b"k"].concat();
    let many = (0..=limits::OPERATIONS).fold(Transaction::new(), |t, n| t.delete(n.to_string()));
    let large = (0..=limits::TRANSACTION_BYTES / limits::VALUE_BYTES)
        .fold(Transaction::new(), |t, n| t.put(n.to_string(), vec![0; limits::VALUE_BYTES]));
    for transaction in [
        Transaction::new().put(too_long.clone(), "v"),
        Transaction::new().expect(too_long, Expect::Absent),
        Transaction::new().put("v", vec![0; limits::VALUE_BYTES + 1]),
        many,
        large,
    ] {
        assert!(matches!(store.commit(transaction).await, Err(StoreError::Limit { .. })));
    }
    assert!(matches!(store.commit(Transaction::new().put("", "v")).await, Err(StoreError::EmptyKey)));
    let twice = Transaction::new().put("a", "v").delete("a");
    assert!(matches!(store.commit(twice).await, Err(StoreError::PutAndDeleted { .. })));
}

async fn of_concurrent_swaps_one_wins(store: Arc<dyn Store>) {
    const WRITERS: usize = 8;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            loop {
                let found = store.get(b"count").await.unwrap();
                let (expect, count) = match found {
                    Some(record) => (Expect::Revision(record.modified), record.value[0]),
                    None => (Expect::Absent, 0),
                };
                let swap = Transaction::new().expect("count", expect).put("count", [count + 1]);
                if matches!(store.commit(swap).await.unwrap(), Commit::Committed { .. }) {
                    break;
                }
            }
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    assert_eq!(usize::from(store.get(b"count").await.unwrap().unwrap().value[0]), WRITERS);
}

async fn a_watch_gives_past_and_coming_changes_in_order(store: Arc<dyn Store>) {
    let first = committed(&*store, Transaction::new().put("a", "1").put("b", "1")).await;
    let second = committed(&*store, Transaction::new().put("c", "2").delete("a")).await;
    let mut watch = store.watch(0).await.unwrap();
    assert_eq!(watch.next().await.unwrap(), event(first, &[("a", Some("1")), ("b", Some("1"))]));
    assert_eq!(watch.next().await.unwrap(), event(second, &[("a", None), ("c", Some("2"))]));

    let waiting = tokio::spawn(async move { watch.next().await });
    let third = put(&*store, "d", "3").await;
    assert_eq!(waiting.await.unwrap().unwrap(), event(third, &[("d", Some("3"))]));
}

async fn a_watch_resumes_where_another_ended(store: Arc<dyn Store>) {
    let first = put(&*store, "a", "1").await;
    let second = put(&*store, "a", "2").await;
    let third = put(&*store, "a", "3").await;
    let mut watch: Watch = store.watch(first).await.unwrap();
    assert_eq!(watch.next().await.unwrap().revision, second);
    drop(watch);
    let mut watch = store.watch(second).await.unwrap();
    assert_eq!(watch.next().await.unwrap().revision, third);
}

async fn a_watch_from_the_future_is_refused(store: Arc<dyn Store>) {
    let current = put(&*store, "a", "1").await;
    let error = store.watch(current + 1).await.unwrap_err();
    assert!(matches!(error, WatchError::Future { .. }), "{error}");
}

async fn put(store: &dyn Store, key: &str, value: &str) -> u64 {
    committed(store, Transaction::new().put(key, value)).await
}

async fn committed(store: &dyn Store, transaction: Transaction) -> u64 {
    match store.commit(transaction).await.unwrap() {
        Commit::Committed { revision } => revision,
        conflict => panic!("a transaction that should hold ended in {conflict:?}"),
    }
}

fn event(revision: u64, changes: &[(&str, Option<&str>)]) -> Event {
    let change = |&(key, value): &(&str, Option<&str>)| match value {
        Some(value) => Change::Put { key: key.into(), value: value.into() },
        None => Change::Delete { key: key.into() },
    };
    Event { revision, changes: changes.iter().map(change).collect() }
}

fn keys(page: &crate::Page) -> Vec<String> {
    page.records.iter().map(|record| String::from_utf8(record.key.clone()).unwrap()).collect()
}
