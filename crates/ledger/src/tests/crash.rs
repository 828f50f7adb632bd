//! Processes that die, and answers that never come.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use burgrave_store::{BoxFuture, Commit, KeyRange, Page, StoreError, Transaction, Watch, WatchError};
use tokio::sync::Notify;

use super::*;
use crate::Change;

/// Where the child of the kill test finds its ledger.
const CHILD_FOLDER: &str = "BURGRAVE_LEDGER_TEST_CHILD";

fn clock() -> Arc<TestClock> {
    Place::new().clock
}

/// Changes the ledger until it is killed, naming each acknowledged change. Does nothing unless started as the child of
/// `acknowledged_changes_survive_kill_9`.
#[tokio::test]
async fn child_that_changes_until_it_is_killed() {
    let Some(folder) = std::env::var_os(CHILD_FOLDER) else { return };
    let folder = Path::new(&folder);
    let ledger = open_on(store(folder), folder, &clock()).await.unwrap();
    for n in 0u64.. {
        let change = Change::by("child").put(path(&format!("enclave/p/{n}")), n.to_string()).put(path("key/p/k"), "k");
        ledger.transact(change).await.unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "acknowledged {n}").unwrap();
        out.flush().unwrap();
    }
}

#[tokio::test]
async fn acknowledged_changes_survive_kill_9() {
    let place = Place::new();
    place.create().await.close().await;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::crash::child_that_changes_until_it_is_killed", "--nocapture"])
        .env(CHILD_FOLDER, place.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let number = |line: String| line.split_once("acknowledged ").map(|(_, n)| n.parse::<u64>().unwrap());
    let mut last = None;
    while last.is_none_or(|n| n < 25) {
        last = number(lines.next().expect("the child goes on").unwrap()).or(last);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines {
        last = line.ok().and_then(number).or(last);
    }

    let ledger = place.open().await.unwrap();
    let contents = contents(&ledger).await;
    for n in 0..=last.unwrap() {
        assert!(contents.contains(&(format!("enclave/p/{n}"), n.to_string().into_bytes())), "change {n} is lost");
    }
    ledger.transact(Change::by("after").put(path("key/p/k"), "again")).await.unwrap();
}

/// A store whose commits are made but never answered.
struct Silent {
    store: Arc<dyn Store>,
    committed: Notify,
}

impl Store for Silent {
    fn get(&self, key: &[u8]) -> BoxFuture<'_, Result<Option<burgrave_store::Record>, StoreError>> {
        self.store.get(key)
    }

    fn range(&self, range: KeyRange, limit: usize) -> BoxFuture<'_, Result<Page, StoreError>> {
        self.store.range(range, limit)
    }

    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Commit, StoreError>> {
        Box::pin(async move {
            self.store.commit(transaction).await?;
            self.committed.notify_one();
            std::future::pending().await
        })
    }

    fn watch(&self, after: u64) -> BoxFuture<'_, Result<Watch, WatchError>> {
        self.store.watch(after)
    }
}

#[tokio::test]
async fn a_change_whose_answer_never_came_is_found_at_reopen() {
    let place = Place::new();
    place.create().await.close().await;
    let silent = Arc::new(Silent { store: place.store(), committed: Notify::new() });
    let ledger = open_on(silent.clone(), place.path(), &place.clock).await.unwrap();
    tokio::select! {
        answer = ledger.transact(Change::by("a").put(path("key/p/k"), "made")) => panic!("{answer:?}"),
        () = silent.committed.notified() => {}
    }
    ledger.close().await;
    drop(silent);
    let ledger = place.open().await.unwrap();
    assert_eq!(contents(&ledger).await, [("key/p/k".to_owned(), b"made".to_vec())]);
}

#[tokio::test]
async fn a_change_that_its_caller_gave_up_does_not_stop_the_next() {
    let place = Place::new();
    let ledger = place.create().await;
    for n in 0..20u8 {
        // Given up at whatever point it has come to.
        let change = Change::by("a").put(path("key/p/given-up"), [n]);
        let given_up =
            tokio::time::timeout(std::time::Duration::from_micros(u64::from(n) * 150), ledger.transact(change));
        let _ = given_up.await;
        ledger.transact(Change::by("b").put(path("key/p/next"), [n])).await.unwrap();
    }
    let expected = contents(&ledger).await;
    ledger.close().await;
    assert_eq!(contents(&place.open().await.unwrap()).await, expected);
}
