//! The local API: HTTP/1.1 with JSON on a Unix socket.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use burgrave_types::{Operation, Problem, ProblemCode, ResourceId};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::config::{OWNER_ALONE, bind_unix};
use crate::Agent;

/// Bytes of a request's body, at most: 1 MiB of plaintext in base64, associated data, and what stands around them.
const MAX_BODY: usize = 3 * 1024 * 1024;
/// Connections, at most.
const CONNECTIONS: usize = 256;
/// The mode of the socket's file where other uids are let in.
const EVERYBODY: u32 = 0o666;
/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(10);

/// The local API of an agent, bound to its socket; the socket's file goes when it is dropped.
pub struct LocalServer {
    agent: Agent,
    listener: UnixListener,
    path: PathBuf,
    allowed: Vec<u32>,
    slots: Arc<Semaphore>,
}

impl LocalServer {
    /// Binds the socket; connections are taken from this process's uid and from `allow_uids`. Without the latter, the
    /// socket's file is for its owner alone (0600); with them anybody may connect, and the kernel's word on the uid decides.
    /// Within a tokio runtime.
    ///
    /// # Errors
    /// What the system says.
    pub fn bind(agent: Agent, path: &Path, allow_uids: Vec<u32>) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;

        let listener = bind_unix(path, if allow_uids.is_empty() { OWNER_ALONE } else { EVERYBODY })?;
        // The file was made by this process: its owner is this process's uid.
        let own = std::fs::metadata(path)?.uid();
        let allowed = allow_uids.into_iter().chain([own]).collect();
        Ok(Self { agent, listener, path: path.to_owned(), allowed, slots: Arc::new(Semaphore::new(CONNECTIONS)) })
    }

    /// Serves until the future is dropped.
    pub async fn serve(&self) {
        loop {
            let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) if self.lets_in(&stream) => {
                    let agent = self.agent.clone();
                    tokio::spawn(async move {
                        let served = hyper::server::conn::http1::Builder::new()
                            .timer(TokioTimer::new())
                            .header_read_timeout(HEAD)
                            .serve_connection(
                                TokioIo::new(stream),
                                service_fn(move |request| respond(agent.clone(), request)),
                            );
                        if let Err(error) = served.await {
                            tracing::debug!(%error, "a local connection ended");
                        }
                        drop(slot);
                    });
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "accepting a local connection failed");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    fn lets_in(&self, stream: &UnixStream) -> bool {
        match stream.peer_cred() {
            Ok(peer) if self.allowed.contains(&peer.uid()) => true,
            Ok(peer) => {
                tracing::warn!(uid = peer.uid(), "a local connection was refused: its uid is not in `allow_uids`");
                false
            }
            Err(error) => {
                tracing::warn!(%error, "a local connection was refused: its uid is not known");
                false
            }
        }
    }
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Encrypt {
    resource: ResourceId,
    plaintext: Base64,
    #[serde(default)]
    aad: Base64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decrypt {
    ciphertext: Base64,
    #[serde(default)]
    aad: Base64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Derive {
    resource: ResourceId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Evaluate {
    operation: Operation,
    resource: ResourceId,
}

#[derive(Serialize)]
struct Encrypted {
    ciphertext: Base64,
}

#[derive(Serialize)]
struct Decrypted {
    plaintext: Base64,
}

#[derive(Serialize)]
struct Derived {
    key: Base64,
}

/// Bytes that stand as base64 in JSON; wiped when dropped.
#[derive(Default)]
struct Base64(Zeroizing<Vec<u8>>);

impl Base64 {
    fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }
}

impl Serialize for Base64 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(STANDARD.encode(&*self.0)))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text.as_bytes()).map_err(|_| {
            serde::de::Error::custom("expected base64 (RFC 4648 section 4, with padding), e.g. `aGVsbG8=`")
        })?;
        Ok(Self(Zeroizing::new(bytes)))
    }
}

async fn respond(agent: Agent, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let expected = match path.as_str() {
        "/v1/status" => Method::GET,
        "/v1/encrypt" | "/v1/decrypt" | "/v1/derive" | "/v1/evaluate" => Method::POST,
        _ => {
            let detail = format!("there is no `{}` here", path.chars().take(128).collect::<String>());
            let problem = Problem::new(ProblemCode::NotFound, detail)
                .with_fix("ask for /v1/status, /v1/encrypt, /v1/decrypt, /v1/derive or /v1/evaluate");
            return Ok(document(&problem));
        }
    };
    if request.method() != expected {
        let problem = Problem::new(ProblemCode::RequestInvalid, format!("`{path}` takes {expected} alone"));
        let mut response = document(&problem);
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        let allow = if expected == Method::GET { "GET" } else { "POST" };
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
        return Ok(response);
    }
    Ok(answer(&agent, &path, request.into_body()).await.unwrap_or_else(|problem| document(&problem)))
}

async fn answer(agent: &Agent, path: &str, body: Incoming) -> Result<Response<Full<Bytes>>, Problem> {
    if path == "/v1/status" {
        return json(&agent.status());
    }
    let body = Limited::new(body, MAX_BODY).collect().await.map_err(|error| {
        let detail = format!("the body cannot be read: {error}");
        Problem::new(ProblemCode::RequestInvalid, detail).with_fix(format!("send at most {MAX_BODY} bytes"))
    })?;
    let body = Zeroizing::new(Vec::from(body.to_bytes()));
    match path {
        "/v1/encrypt" => {
            let asked: Encrypt = read(&body)?;
            let ciphertext = agent.encrypt(&asked.resource, &asked.aad.0, &asked.plaintext.0).await?;
            json(&Encrypted { ciphertext: Base64::new(&ciphertext) })
        }
        "/v1/decrypt" => {
            let asked: Decrypt = read(&body)?;
            let plaintext = agent.decrypt(&asked.ciphertext.0, &asked.aad.0).await?;
            json(&Decrypted { plaintext: Base64::new(plaintext.expose()) })
        }
        "/v1/derive" => {
            let asked: Derive = read(&body)?;
            let key = agent.derive(&asked.resource).await?;
            json(&Derived { key: Base64::new(key.expose()) })
        }
        _ => {
            let asked: Evaluate = read(&body)?;
            json(&agent.evaluate(asked.operation, &asked.resource).await?)
        }
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        Problem::new(ProblemCode::RequestInvalid, format!("the body is not what this takes: {error}"))
            .with_fix("send JSON as the agent's documentation shows it")
    })
}

fn json(value: &impl Serialize) -> Result<Response<Full<Bytes>>, Problem> {
    let body = serde_json::to_vec(value)
        .map_err(|error| Problem::new(ProblemCode::Internal, format!("the answer cannot be written: {error}")))?;
    Ok(response(StatusCode::OK, "application/json", body))
}

/// A problem document (RFC 9457): the problem's fields, and `type`, `title` and `status`.
fn document(problem: &Problem) -> Response<Full<Bytes>> {
    #[derive(Serialize)]
    struct Document<'a> {
        r#type: String,
        title: &'a str,
        status: u16,
        #[serde(flatten)]
        problem: &'a Problem,
    }
    let (code, status) = (problem.code, problem.code.status());
    let document = Document { r#type: format!("urn:burgrave:error:{code}"), title: code.title(), status, problem };
    let body = serde_json::to_vec(&document).unwrap_or_default();
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response(status, "application/problem+json", body)
}

fn response(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use burgrave_attester::SimulatedAttester;
    use burgrave_seal::SystemRandom;
    use burgrave_types::{GenesisHash, SystemClock};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::AgentConfig;

    fn agent(folder: &Path) -> Agent {
        let config = AgentConfig {
            nodes: vec![format!("unix:{}", folder.join("link.sock").display()).parse().unwrap()],
            genesis: GenesisHash::from_bytes([1; 32]),
            enclave: "payments/api".parse().unwrap(),
            attester: Box::new(SimulatedAttester::of_code("a")),
        };
        Agent::start(config, Arc::new(SystemClock), Arc::new(SystemRandom)).unwrap()
    }

    async fn asked(path: &Path) -> Vec<u8> {
        let mut stream = UnixStream::connect(path).await.unwrap();
        // Who is not let in may find the connection closed before the request is written.
        let _ = stream.write_all(b"GET /v1/status HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn a_uid_that_is_not_named_gets_no_answer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let mut server = LocalServer::bind(agent(folder.path()), &path, Vec::new()).unwrap();
        let own = std::mem::take(&mut server.allowed);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        tokio::select! {
            () = server.serve() => panic!("it stopped serving"),
            answer = asked(&path) => assert!(answer.is_empty()),
        }
        drop(server);
        let server = LocalServer::bind(agent(folder.path()), &path, own).unwrap();
        assert_eq!(mode(&path), 0o666);
        tokio::select! {
            () = server.serve() => panic!("it stopped serving"),
            answer = asked(&path) => assert!(answer.starts_with(b"HTTP/1.1 200")),
        }
    }
}
