//! The agent's local faces: HTTP on a Unix socket, forwarded ports.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod common;

use std::path::Path;

use burgrave_agent::Agent;
use burgrave_agent::local::{LocalAddress, LocalServer, accept_to, forward};
use common::{World, within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

const API: &str = "payments/api";
const LEDGER: &str = "payments/ledger";

/// Sends one request and reads status and body.
async fn ask(socket: &Path, method: &str, path: &str, body: &str) -> (u16, Value) {
    within(async {
        let mut stream = UnixStream::connect(socket).await.unwrap();
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap())
    })
    .await
}

fn served(agent: &Agent, socket: &Path) {
    let server = LocalServer::bind(agent.clone(), socket, Vec::new()).unwrap();
    tokio::spawn(async move { server.serve().await });
}

#[tokio::test]
async fn a_program_encrypts_decrypts_and_asks_over_the_socket() {
    let world = World::new().await;
    let agent = world.attested(API, "api-1").await;
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    served(&agent, &socket);

    let (status, standing) = ask(&socket, "GET", "/v1/status", "").await;
    assert_eq!((status, standing["state"].as_str().unwrap()), (200, "attested"));
    assert_eq!(standing["enclave"], API);

    let body = json!({"resource": "keyspace/payments/storage", "plaintext": "aGVsbG8=", "aad": "cm93"});
    let (status, encrypted) = ask(&socket, "POST", "/v1/encrypt", &body.to_string()).await;
    assert_eq!(status, 200, "{encrypted}");
    let body = json!({"ciphertext": encrypted["ciphertext"], "aad": "cm93"});
    let (status, decrypted) = ask(&socket, "POST", "/v1/decrypt", &body.to_string()).await;
    assert_eq!((status, decrypted["plaintext"].as_str()), (200, Some("aGVsbG8=")));

    let (_, derived) = ask(&socket, "POST", "/v1/derive", r#"{"resource":"keyspace/payments/storage"}"#).await;
    assert_eq!(derived["key"].as_str().unwrap().len(), 44);
    let body = json!({"operation": "encrypt", "resource": "keyspace/payments/storage"}).to_string();
    let (_, verdict) = ask(&socket, "POST", "/v1/evaluate", &body).await;
    assert_eq!(verdict["allowed"], true);
}

#[tokio::test]
async fn what_the_socket_refuses_is_a_problem_document() {
    let world = World::new().await;
    let agent = world.attested(API, "api-1").await;
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    served(&agent, &socket);
    let cases = [
        ("GET", "/v1/nothing", "", 404, "not-found"),
        ("GET", "/v1/encrypt", "", 405, "request.invalid"),
        ("POST", "/v1/encrypt", "{", 400, "request.invalid"),
        ("POST", "/v1/encrypt", r#"{"resource":"key/a/b","plaintext":"!"}"#, 400, "request.invalid"),
        ("POST", "/v1/derive", r#"{"resource":"key/a/b","extra":1}"#, 400, "request.invalid"),
        ("POST", "/v1/decrypt", r#"{"ciphertext":"aGVsbG8="}"#, 422, "ciphertext.invalid"),
    ];
    for (method, path, body, expected, code) in cases {
        let (status, problem) = ask(&socket, method, path, body).await;
        assert_eq!((status, problem["code"].as_str().unwrap()), (expected, code), "{method} {path} {body}: {problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
    }
    agent.stop();
    let body = r#"{"resource":"keyspace/payments/storage"}"#;
    let (status, problem) = ask(&socket, "POST", "/v1/derive", body).await;
    assert_eq!((status, problem["code"].as_str()), (503, Some("unavailable")));
}

#[tokio::test]
async fn a_forwarded_connection_reaches_the_peers_local_service_and_back() {
    let world = World::new().await;
    let (api, ledger) = (world.attested(API, "api-1").await, world.attested(LEDGER, "ledger-1").await);
    world.allow_channel(API, LEDGER).await;
    let folder = tempfile::tempdir().unwrap();
    let (near, far) = (folder.path().join("near.sock"), folder.path().join("far.sock"));

    // The service beside the ledger answers with what it got, in capitals, once its client has said all.
    let service = UnixListener::bind(&far).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = service.accept().await {
            let mut asked = String::new();
            stream.read_to_string(&mut asked).await.unwrap();
            stream.write_all(asked.to_uppercase().as_bytes()).await.unwrap();
        }
    });
    tokio::spawn(accept_to(ledger, LocalAddress::Unix(far)));
    let listener = LocalAddress::Unix(near.clone()).bind().await.unwrap();
    tokio::spawn(forward(api, listener, LEDGER.parse().unwrap()));

    for word in ["transfer", "balance"] {
        let answered = within(async {
            let mut stream = UnixStream::connect(&near).await.unwrap();
            stream.write_all(word.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        });
        assert_eq!(answered.await, word.to_uppercase());
    }
    let relayed = world.tap.0.lock().unwrap();
    assert!(!relayed.windows(8).any(|window| window.eq_ignore_ascii_case(b"transfer")));
}
