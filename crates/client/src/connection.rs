//! One HTTP/1.1 connection to a node, made anew when it is gone.

use std::sync::Arc;
use std::time::Duration;

use burgrave_identity::CertificateDer;
use burgrave_identity::tls::{self, CredentialSlot, NodeVerifier};
use burgrave_types::{Problem, ProblemCode, Secret, SystemClock};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

use crate::{Credential, Server};

/// An answer's body, at most: 64 MiB.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// A connection to one server, with the credential that it logs in with.
pub(crate) struct Connection {
    server: Server,
    connector: TlsConnector,
    verifier: Arc<NodeVerifier>,
    token: Option<Secret<String>>,
    open: Mutex<Option<SendRequest<Full<Bytes>>>>,
    timeout: Duration,
}

/// A request: what is asked, in the parts that routes differ in.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) if_match: Option<burgrave_types::Revision>,
    pub(crate) last_event: Option<&'a str>,
}

impl Connection {
    pub(crate) fn new(server: Server, credential: Credential) -> Result<Self, Problem> {
        let verifier = NodeVerifier::new(server.genesis, Arc::new(SystemClock));
        let internal = |error: burgrave_identity::IdentityError| {
            Problem::new(ProblemCode::Unauthenticated, format!("the credential cannot be used: {error}"))
        };
        let (slot, token) = match credential {
            Credential::None => (None, None),
            Credential::Token(token) => (None, Some(token)),
            Credential::Certificate { chain, key } => (Some(CredentialSlot::new(chain, &key).map_err(internal)?), None),
        };
        let config = tls::client_config(tls::provider(), verifier.clone(), slot, &[b"http/1.1"]).map_err(internal)?;
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self { server, connector, verifier, token, open: Mutex::new(None), timeout: Duration::from_secs(30) })
    }

    /// Sets how long a call may take in all.
    pub(crate) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Asks, and reads the whole answer as JSON; where there is nothing to say (204), `null`.
    pub(crate) async fn json<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, Problem> {
        let work = async {
            let response = self.send(&call).await?;
            let nothing = response.status() == StatusCode::NO_CONTENT;
            let body = self.body(response).await?;
            let json: &[u8] = if nothing { b"null" } else { &body };
            serde_json::from_slice(json).map_err(|error| {
                Problem::new(
                    ProblemCode::Protocol,
                    format!("`{}` answered `{}` with what is not its answer: {error}", self.server.url, call.path),
                )
                .with_fix("compare the versions of this command and the node: `burgrave status`")
            })
        };
        tokio::time::timeout(self.timeout, work).await.map_err(|_| self.timed_out())?
    }

    /// Asks, and gives the answer's body as it comes.
    pub(crate) async fn stream(&self, call: Call<'_>) -> Result<Incoming, Problem> {
        let response =
            tokio::time::timeout(self.timeout, self.send_alone(&call)).await.map_err(|_| self.timed_out())??;
        Ok(response.into_body())
    }

    /// The chain that the node shows: verified against the genesis hash, or a problem.
    pub(crate) async fn peer(
        &self,
    ) -> Result<(burgrave_identity::DomainTrust, burgrave_identity::VerifiedIdentity), Problem> {
        let (_, chain) = self.tls().await?;
        self.verifier.identify(&chain).map_err(|error| self.refused(&error))
    }

    /// Sends on the open connection; where that was closed in the meantime, on a new one.
    async fn send(&self, call: &Call<'_>) -> Result<Response<Incoming>, Problem> {
        let mut open = self.open.lock().await;
        if let Some(sender) = open.as_mut().filter(|sender| !sender.is_closed()) {
            match sender.ready().await {
                // A request that was taken is not sent twice: it may have changed something.
                Ok(()) => return self.accept(sender.send_request(self.request(call)?).await).await,
                Err(_) => *open = None,
            }
        }
        let mut sender = self.open().await?;
        let answer = sender.send_request(self.request(call)?).await;
        *open = Some(sender);
        self.accept(answer).await
    }

    /// Sends on a connection of its own, for an answer that does not end.
    async fn send_alone(&self, call: &Call<'_>) -> Result<Response<Incoming>, Problem> {
        let mut sender = self.open().await?;
        let answer = sender.send_request(self.request(call)?).await;
        self.accept(answer).await
    }

    async fn accept(&self, answer: Result<Response<Incoming>, hyper::Error>) -> Result<Response<Incoming>, Problem> {
        let response = answer.map_err(|error| self.unreachable(&format!("the connection broke: {error}")))?;
        if response.status().is_success() { Ok(response) } else { Err(self.problem(response).await) }
    }

    fn request(&self, call: &Call<'_>) -> Result<Request<Full<Bytes>>, Problem> {
        let mut builder = Request::builder()
            .method(&call.method)
            .uri(&call.path)
            .header(header::HOST, self.server.url.authority())
            .header(header::ACCEPT, "application/json");
        if let Some(token) = &self.token {
            builder = builder.header(header::AUTHORIZATION, format!("Bearer {}", token.expose()));
        }
        if call.body.is_some() {
            builder = builder.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(revision) = call.if_match {
            builder = builder.header(header::IF_MATCH, format!("\"{revision}\""));
        }
        if let Some(id) = call.last_event {
            builder = builder.header("last-event-id", id);
        }
        builder
            .body(Full::from(call.body.clone().unwrap_or_default()))
            .map_err(|_| Problem::new(ProblemCode::RequestInvalid, format!("`{}` cannot be asked for", call.path)))
    }

    async fn open(&self) -> Result<SendRequest<Full<Bytes>>, Problem> {
        let (stream, _) = self.tls().await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.unreachable(&format!("it does not speak HTTP/1.1: {error}")))?;
        // Ends with the sender, or when the node closes the connection.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn tls(&self) -> Result<(tokio_rustls::client::TlsStream<TcpStream>, Vec<CertificateDer<'static>>), Problem> {
        let (host, port) = self.server.url.host_and_port();
        let stream = TcpStream::connect((host, port)).await.map_err(|error| self.unreachable(&error.to_string()))?;
        // The name is not checked (the domain is), and an address is as good as a name.
        let name = ServerName::try_from(host.to_owned()).map_err(|_| self.unreachable("its host is no DNS name"))?;
        let stream = self.connector.connect(name, stream).await.map_err(|error| match tls::refusal(&error) {
            Some(refusal) => self.refused(refusal),
            None => self.unreachable(&format!("the TLS handshake failed: {error}")),
        })?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        Ok((stream, chain))
    }

    async fn body(&self, response: Response<Incoming>) -> Result<Bytes, Problem> {
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        Ok(body.map_err(|error| self.unreachable(&format!("the answer broke off: {error}")))?.to_bytes())
    }

    /// The problem document of an answer, or the best account of an answer that has none.
    async fn problem(&self, response: Response<Incoming>) -> Problem {
        let status = response.status();
        let body = match self.body(response).await {
            Ok(body) => body,
            Err(problem) => return problem,
        };
        serde_json::from_slice(&body).unwrap_or_else(|_| {
            let code = match status {
                StatusCode::UNAUTHORIZED => ProblemCode::Unauthenticated,
                StatusCode::NOT_FOUND => ProblemCode::NotFound,
                status if status.is_client_error() => ProblemCode::RequestInvalid,
                _ => ProblemCode::Unavailable,
            };
            Problem::new(code, format!("`{}` answered {status} without saying why", self.server.url))
        })
    }

    fn refused(&self, refusal: &burgrave_identity::IdentityError) -> Problem {
        let genesis = self.server.genesis;
        Problem::new(ProblemCode::WrongDomain, format!("`{}` did not prove to belong to genesis `{genesis}`: {refusal}", self.server.url))
            .with_fix("nothing was sent to it; check the address, and the hash with whoever runs the domain (`burgrave domain show`)")
    }

    fn unreachable(&self, why: &str) -> Problem {
        Problem::new(ProblemCode::Unavailable, format!("the node at `{}` cannot be asked: {why}", self.server.url))
            .with_fix("check that it runs, and the address in `burgrave context show`")
    }

    fn timed_out(&self) -> Problem {
        let seconds = self.timeout.as_secs();
        Problem::new(
            ProblemCode::Unavailable,
            format!("the node at `{}` did not answer within {seconds} s", self.server.url),
        )
        .with_fix("a change may have been made all the same: look before you repeat it")
    }
}
