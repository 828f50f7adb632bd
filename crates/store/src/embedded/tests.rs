//! The embedded store against the suite, a model, and kill -9.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::{Change, Expect, conformance};

/// Where the child of the kill test finds its store.
const CHILD_STORE: &str = "BURGRAVE_STORE_TEST_CHILD";

fn folder_and_path() -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    (folder, path)
}

fn revision_of(commit: Commit) -> u64 {
    match commit {
        Commit::Committed { revision } => revision,
        Commit::Conflict { .. } => panic!("{commit:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let count = std::sync::atomic::AtomicUsize::new(0);
    conformance::run(|| async {
        let name = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string();
        Arc::new(RedbStore::open(&folder.path().join(name)).unwrap()) as Arc<dyn Store>
    })
    .await;
}

#[tokio::test]
async fn a_second_opener_is_told_that_the_store_is_in_use() {
    let (_folder, path) = folder_and_path();
    let store = RedbStore::open(&path).unwrap();
    let error = RedbStore::open(&path).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    drop(store);
    RedbStore::open(&path).unwrap();
}

#[tokio::test]
async fn a_dropped_store_can_be_opened_again_though_callers_gave_up_midway() {
    let (_folder, path) = folder_and_path();
    for n in 0..30u8 {
        let store = RedbStore::open(&path).unwrap();
        let mut watch = store.watch(0).await.unwrap();
        let commit = store.commit(Transaction::new().put([n], vec![n; 10_000]));
        // Each is polled once, which starts its work, and dropped.
        tokio::select! {
            biased;
            _ = commit => {}
            _ = watch.next() => {}
            () = std::future::ready(()) => {}
        }
    }
}

#[test]
fn the_file_is_for_its_owner_alone_and_a_wider_mode_is_refused() {
    let (_folder, path) = folder_and_path();
    drop(RedbStore::open(&path).unwrap());
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = RedbStore::open(&path).unwrap_err();
    assert!(error.to_string().contains("mode 0640") && error.to_string().contains("chmod 600"), "{error}");
}

#[test]
fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let (_folder, path) = folder_and_path();
    std::fs::write(&path, b"not a database, but somebody's file").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(RedbStore::open(&path), Err(OpenError::Backend { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), b"not a database, but somebody's file");
}

#[tokio::test]
async fn a_compacted_revision_is_an_error_that_says_so() {
    let (_folder, path) = folder_and_path();
    let options = Options { retained_revisions: 3, ..Options::default() };
    let store = RedbStore::open_with(&path, options).unwrap();
    let mut slow = store.watch(0).await.unwrap();
    for n in 0u8..10 {
        store.commit(Transaction::new().put("k", [n])).await.unwrap();
    }
    let error = store.watch(6).await.unwrap_err();
    assert!(matches!(error, WatchError::Compacted { after: 6, compacted: 7 }), "{error}");
    let error = slow.next().await.unwrap_err();
    assert!(matches!(error, WatchError::Compacted { after: 0, compacted: 7 }), "{error}");
    assert_eq!(store.watch(7).await.unwrap().next().await.unwrap().revision, 8);
}

#[tokio::test]
async fn a_watch_survives_a_restart_by_its_revision_and_ends_with_its_store() {
    let (_folder, path) = folder_and_path();
    let store = RedbStore::open(&path).unwrap();
    let seen = revision_of(store.commit(Transaction::new().put("a", "1")).await.unwrap());
    let missed = revision_of(store.commit(Transaction::new().put("a", "2")).await.unwrap());
    let mut watch = store.watch(missed).await.unwrap();
    drop(store);
    assert!(matches!(watch.next().await, Err(WatchError::Closed)));
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(store.watch(seen).await.unwrap().next().await.unwrap().revision, missed);
}

/// Commits in a loop and names each acknowledged commit on stdout, until it is killed. Does nothing unless started as
/// the child of `acknowledged_commits_survive_kill_9`.
#[tokio::test]
async fn child_that_commits_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD_STORE) else { return };
    let store = RedbStore::open(Path::new(&path)).unwrap();
    for n in 0u64.. {
        let transaction = Transaction::new()
            .expect(format!("a/{n}"), Expect::Absent)
            .put(format!("a/{n}"), n.to_be_bytes())
            .put(format!("b/{n}"), vec![7; 3000]);
        assert!(matches!(store.commit(transaction).await.unwrap(), Commit::Committed { .. }));
        let mut out = std::io::stdout().lock();
        writeln!(out, "acknowledged {n}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn acknowledged_commits_survive_kill_9() {
    for acknowledged_before_kill in [1, 17, 60] {
        let (_folder, path) = folder_and_path();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "embedded::tests::child_that_commits_until_it_is_killed", "--nocapture"])
            .env(CHILD_STORE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let number = |line: String| line.split_once("acknowledged ").map(|(_, n)| n.parse::<u64>().unwrap());
        let mut last = None;
        while last.is_none_or(|n| n < acknowledged_before_kill) {
            last = number(lines.next().expect("the child goes on").unwrap()).or(last);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said before it died counts as well.
        for line in lines {
            last = line.ok().and_then(number).or(last);
        }
        let last = last.unwrap();

        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let store = RedbStore::open(&path).unwrap();
            for n in 0..=last {
                let record = store.get(format!("a/{n}").as_bytes()).await.unwrap();
                assert_eq!(record.unwrap().value, n.to_be_bytes(), "commit {n} of {last} is lost");
                assert!(store.get(format!("b/{n}").as_bytes()).await.unwrap().is_some(), "commit {n} is torn");
            }
            store.commit(Transaction::new().put("after", "restart")).await.unwrap();
        });
    }
}

#[derive(Clone, Debug)]
struct Step {
    conditions: Vec<(u8, u8)>,
    puts: Vec<(u8, Vec<u8>)>,
    deletes: Vec<u8>,
    reopen: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0u8..6;
    let step = (
        prop::collection::vec((key.clone(), 0u8..4), 0..3),
        prop::collection::vec((key.clone(), any::<Vec<u8>>()), 0..3),
        prop::collection::vec(key, 0..2),
        prop::bool::weighted(0.1),
    );
    let step = step.prop_map(|(conditions, puts, deletes, reopen)| Step { conditions, puts, deletes, reopen });
    prop::collection::vec(step, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn it_does_what_a_map_does(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (_folder, path) = folder_and_path();
        let mut store = RedbStore::open(&path).unwrap();
        // Key to (created, modified, value), the revision, and what a watch should see.
        let mut model: BTreeMap<Vec<u8>, (u64, u64, Vec<u8>)> = BTreeMap::new();
        let mut revision = 0;
        let mut events = Vec::new();
        runtime.block_on(async {
            for step in steps {
                if step.reopen {
                    drop(store);
                    store = RedbStore::open(&path).unwrap();
                }
                let mut transaction = Transaction::new();
                for (key, kind) in step.conditions {
                    let modified = model.get(&vec![key]).map_or(revision, |found| found.1);
                    let expect = match kind {
                        0 => Expect::Absent,
                        1 => Expect::Present,
                        2 => Expect::Revision(modified),
                        _ => Expect::Revision(revision),
                    };
                    transaction = transaction.expect([key], expect);
                }
                for (key, value) in step.puts {
                    transaction = transaction.put([key], value);
                }
                for key in step.deletes.into_iter().filter(|key| !transaction.puts.contains_key([*key].as_slice())).collect::<Vec<_>>() {
                    transaction = transaction.delete([key]);
                }
                let commit = store.commit(transaction.clone()).await.unwrap();

                let found = |key: &Vec<u8>| model.get(key).map(|found| found.1);
                let broken = transaction.conditions.iter().find(|(key, expect)| !expect.holds(found(key)));
                if let Some((key, _)) = broken {
                    assert_eq!(commit, Commit::Conflict { key: key.clone(), found: found(key) });
                    continue;
                }
                let mut changes = Vec::new();
                for (key, value) in transaction.puts {
                    let created = model.get(&key).map_or(revision + 1, |found| found.0);
                    model.insert(key.clone(), (created, revision + 1, value.clone()));
                    changes.push(Change::Put { key, value });
                }
                for key in transaction.deletes {
                    if model.remove(&key).is_some() {
                        changes.push(Change::Delete { key });
                    }
                }
                if !changes.is_empty() {
                    revision += 1;
                    changes.sort_by_key(|change| change.key().to_vec());
                    events.push(Event { revision, changes });
                }
                assert_eq!(commit, Commit::Committed { revision });
            }
            let page = store.range(KeyRange { start: vec![], end: None }, 100).await.unwrap();
            assert_eq!(page.revision, revision);
            let stored: BTreeMap<_, _> =
                page.records.into_iter().map(|r| (r.key, (r.created, r.modified, r.value))).collect();
            assert_eq!(stored, model);
            let mut watch = store.watch(0).await.unwrap();
            for event in events {
                assert_eq!(watch.next().await.unwrap(), event);
            }
        });
    }
}
