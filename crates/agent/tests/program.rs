//! The program: what it says, how it starts without a node, and how it ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// The program as a child, which does not outlive the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_burgrave-agent"));
    command.env_remove("BURGRAVE_GENESIS").env_remove("BURGRAVE_LOG");
    command
}

fn output(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asks for the status, once the program listens.
fn status(child: &mut Child, socket: &Path) -> serde_json::Value {
    loop {
        if let Ok(mut stream) = UnixStream::connect(socket) {
            stream.write_all(b"GET /v1/status HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            return serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        }
        if let Some(ended) = child.try_wait().unwrap() {
            panic!("the agent ended: {ended}");
        }
        std::thread::yield_now();
    }
}

#[test]
fn help_says_what_it_does_and_how_to_start() {
    let help = text(&output(&["run", "--help"]).stdout);
    for word in ["--config", "--genesis", "--enclave", "--node", "--attester", "--part", "burgrave-agent run --config"]
    {
        assert!(help.contains(word), "no `{word}` in:\n{help}");
    }
}

#[test]
fn a_faulty_configuration_is_a_usage_error_that_names_the_fault() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.toml");
    std::fs::write(&path, "genesis = \"00\"\n").unwrap();
    let refused = output(&["run", "--config", path.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2));
    let said = text(&refused.stderr);
    assert!(said.contains("genesis hash") && said.contains("64 hexadecimal digits"), "{said}");
    assert!(refused.stdout.is_empty());
}

#[test]
fn a_command_for_a_part_that_cannot_be_run_is_told_before_anything_begins() {
    let genesis = format!("--genesis={}", "01".repeat(32));
    let rest = ["--enclave=payments/api", "--node=unix:/nowhere/link.sock", "--attester=simulated:api-1"];
    let with = |part: &str| output(&[&["run", &genesis, part], &rest[..]].concat());
    let missing = with("--part=nvidia-gpu:/nowhere/nvattest --nonce {nonce}");
    assert_eq!(missing.status.code(), Some(1));
    let said = text(&missing.stderr);
    assert!(said.contains("`/nowhere/nvattest --nonce {nonce}`: it cannot be started"), "{said}");
    let faulty = with("--part=nvidia-gpu:/nowhere/nvattest");
    assert_eq!(faulty.status.code(), Some(2));
    assert!(text(&faulty.stderr).contains("expected `{nonce}` among its arguments"), "{faulty:?}");
}

#[test]
fn without_a_node_it_runs_says_why_it_is_not_attested_and_ends_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    let missing = folder.path().join("link.sock");
    let arguments = [
        "run".to_owned(),
        format!("--genesis={}", "01".repeat(32)),
        "--enclave=payments/api".to_owned(),
        format!("--node=unix:{}", missing.display()),
        "--attester=simulated:api-1".to_owned(),
        format!("--socket={}", socket.display()),
    ];
    let child = program().args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut child = Program(child);
    let mut standing = status(&mut child.0, &socket);
    while standing["problem"].is_null() {
        standing = status(&mut child.0, &socket);
    }
    assert_eq!(standing["state"], "connecting");
    assert!(standing["problem"]["detail"].as_str().unwrap().contains(missing.to_str().unwrap()), "{standing}");

    let told = Command::new("kill").args(["-TERM", &child.0.id().to_string()]).status().unwrap();
    assert!(told.success());
    assert!(child.0.wait().unwrap().success());
    assert!(!socket.exists());
}
