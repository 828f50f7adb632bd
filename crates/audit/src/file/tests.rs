//! The log over crashes, refusals and searches.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use burgrave_types::{Revision, Timestamp};
use tempfile::TempDir;

use super::*;
use crate::{Decision, Lifecycle, LifecycleStep};

const CHILD_LOG: &str = "BURGRAVE_AUDIT_TEST_CHILD";

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_secs(43_200)
    }
}

fn folder_and_path() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    (folder, path)
}

fn open(path: &Path) -> FileAudit {
    FileAudit::open(path, NodeId::from_bytes([1; 16]), Arc::new(Noon)).unwrap()
}

fn started(detail: &str) -> Event {
    let lifecycle = Lifecycle { step: LifecycleStep::Started, detail: detail.to_owned() };
    Event::new(Noon.now(), NodeId::from_bytes([1; 16]), Kind::Lifecycle(lifecycle))
}

fn decision(number: u8) -> Event {
    let decision = Decision {
        id: DecisionId::from_bytes([number; 16]),
        principal: "admin root".to_owned(),
        enclave: None,
        operation: burgrave_types::Operation::Administer,
        resource: "enclave/payments/api".to_owned(),
        peer: None,
        allowed: true,
        reason: "allowed by `root`".to_owned(),
        determining: vec!["root".to_owned()],
        errors: Vec::new(),
        near_misses: Vec::new(),
        policy_revision: Revision(3),
        claims: None,
        conceded: [].into(),
        attestation_age_secs: None,
        fresh_until: None,
        valid_until: None,
    };
    Event::new(Noon.now(), NodeId::from_bytes([1; 16]), Kind::Decision(Box::new(decision)))
}

fn lines(path: &Path) -> Vec<Event> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| Event::from_line(line.as_bytes()).unwrap()).collect()
}

fn log_steps(path: &Path) -> Vec<LogEvent> {
    let log = |event: Event| if let Kind::Log(log) = event.kind { Some(log) } else { None };
    lines(path).into_iter().filter_map(log).collect()
}

#[test]
fn a_durable_event_is_in_the_file_when_record_returns() {
    let (_folder, path) = folder_and_path();
    let audit = open(&path);
    audit.record(&decision(1), Durability::Batched).unwrap();
    audit.record(&started("now"), Durability::Durable).unwrap();
    assert_eq!(lines(&path), [decision(1), started("now")], "the batched one goes before it");
}

#[test]
fn a_batched_event_reaches_the_file_within_its_second() {
    let (_folder, path) = folder_and_path();
    let audit = open(&path);
    audit.record(&decision(1), Durability::Batched).unwrap();
    let begun = Instant::now();
    while lines(&path).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the batch was never flushed");
        std::thread::yield_now();
    }
    assert_eq!(lines(&path), [decision(1)]);
}

#[test]
fn a_log_closed_in_order_reopens_without_a_gap() {
    let (_folder, path) = folder_and_path();
    let audit = open(&path);
    audit.record(&decision(1), Durability::Batched).unwrap();
    drop(audit);
    drop(open(&path));
    let closed = LogEvent { step: LogStep::Closed, cut_bytes: None };
    assert_eq!(log_steps(&path), [closed.clone(), closed]);
    assert_eq!(lines(&path)[0], decision(1));
}

#[test]
fn a_torn_last_line_is_cut_off_and_the_gap_recorded() {
    let (_folder, path) = folder_and_path();
    let audit = open(&path);
    audit.record(&decision(1), Durability::Durable).unwrap();
    drop(audit);
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"schema\":\"burg").unwrap();

    drop(open(&path));
    let gap = LogEvent { step: LogStep::Gap, cut_bytes: Some(15) };
    assert_eq!(log_steps(&path)[1], gap);
    assert_eq!(lines(&path)[0], decision(1));
}

#[test]
fn a_decision_is_found_again_after_a_restart_and_the_newest_come_first() {
    let (_folder, path) = folder_and_path();
    let audit = open(&path);
    for number in 0..=255 {
        // Some lines longer than what is read at a time.
        let detail = if number % 64 == 3 { "x".repeat(200_000) } else { number.to_string() };
        audit.record(&started(&detail), Durability::Batched).unwrap();
        audit.record(&decision(number), Durability::Batched).unwrap();
    }
    assert_eq!(audit.find_decision(DecisionId::from_bytes([255; 16])).unwrap(), Some(decision(255)), "not yet flushed");
    drop(audit);
    let audit = open(&path);
    for number in [0, 2, 3, 77, 255] {
        assert_eq!(audit.find_decision(DecisionId::from_bytes([number; 16])).unwrap(), Some(decision(number)));
    }
    let is_decision = |event: &Event| event.decision_id().is_some();
    assert_eq!(audit.latest(2, &is_decision).unwrap(), [decision(255), decision(254)]);
    assert_eq!(audit.latest(usize::MAX, &is_decision).unwrap().len(), 256);
    drop(audit);
    std::fs::write(&path, b"").unwrap();
    assert_eq!(open(&path).find_decision(DecisionId::from_bytes([0; 16])).unwrap(), None);
}

#[test]
fn a_second_writer_and_a_wider_mode_are_refused() {
    let (_folder, path) = folder_and_path();
    let audit = open(&path);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    let again = || FileAudit::open(&path, NodeId::from_bytes([1; 16]), Arc::new(Noon)).unwrap_err();
    assert!(matches!(again(), AuditError::InUse { .. }));
    drop(audit);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(again().to_string().contains("chmod 600"), "{}", again());
}

#[test]
fn what_cannot_be_written_is_refused_and_what_is_too_large_too() {
    // A device that is always full takes the place of a full disk.
    let full = OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
    let shared = Shared { path: "/dev/full".into(), file: full, state: Mutex::default(), wake: Condvar::new() };
    let error = shared.record("{}", Durability::Durable).unwrap_err();
    assert!(error.to_string().contains("nothing is granted until it can"), "{error}");
    let error = shared.record("{}", Durability::Batched).unwrap_err();
    assert!(matches!(error, AuditError::File { .. }), "a batched event is refused as well once writing fails");
    assert!(shared.lock().pending.is_empty(), "a refused event is not written later");

    let (_folder, path) = folder_and_path();
    let error = open(&path).record(&started(&"x".repeat(Event::MAX_LINE)), Durability::Batched).unwrap_err();
    assert!(matches!(error, AuditError::TooLarge { .. }), "{error}");
}

/// Records durable events until it is killed. Does nothing unless started as the child of
/// `durable_events_survive_kill_9`.
#[test]
fn child_that_records_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD_LOG) else { return };
    let audit = open(Path::new(&path));
    for n in 0u64.. {
        audit.record(&started(&n.to_string()), Durability::Durable).unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "recorded {n}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn durable_events_survive_kill_9() {
    let (_folder, path) = folder_and_path();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "file::tests::child_that_records_until_it_is_killed", "--nocapture"])
        .env(CHILD_LOG, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let number = |line: String| line.split_once("recorded ").map(|(_, n)| n.parse::<u64>().unwrap());
    let mut last = None;
    while last.is_none_or(|n| n < 40) {
        last = number(output.next().expect("the child goes on").unwrap()).or(last);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for line in output {
        last = line.ok().and_then(number).or(last);
    }
    drop(open(&path));
    let events = lines(&path);
    for n in 0..=last.unwrap() {
        assert!(events.contains(&started(&n.to_string())), "event {n} is lost");
    }
    assert_eq!(log_steps(&path)[0].step, LogStep::Gap, "the log says that it was not closed");
}
