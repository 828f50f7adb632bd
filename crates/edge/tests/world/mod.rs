//! A whole node behind its REST door, on loopback: software token, ledger, services, TLS.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use burgrave_audit::MemoryAudit;
use burgrave_control::{Control, Endorser, Parts};
use burgrave_edge::rest::{AdminToken, RestLimits, RestParts, RestServer, TokenHash};
use burgrave_hsm::{SoftwareToken, Token, Unlock};
use burgrave_identity::tls::{self, CredentialSlot, NodeVerifier};
use burgrave_identity::{
    CertificateDer, CertificateTemplate, DomainTrust, Genesis, GenesisBody, IdentityKey, OperatorSignature, Profile,
    TrustChain,
};
use burgrave_keyring::Keyring;
use burgrave_ledger::Ledger;
use burgrave_seal::SystemRandom;
use burgrave_store::RedbStore;
use burgrave_types::{Clock, DomainClass, NodeId, Secret, SpiffeId, SystemClock, Timestamp};
use burgrave_verifier::Roots;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// The token of an administrator with the role `admin`.
pub(crate) const OPS: &str = "bgt_ops";
/// The token of somebody who is known and has no role.
pub(crate) const NOBODY: &str = "bgt_nobody";

/// The system's time, and as much later as a test likes.
#[derive(Default)]
pub(crate) struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        SystemClock.now() + Duration::from_millis(self.0.load(Ordering::SeqCst).unsigned_abs())
    }
}

impl TestClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

/// A chain and the key of its leaf.
pub(crate) type Identity = (Vec<CertificateDer<'static>>, IdentityKey);

pub(crate) struct World {
    pub(crate) control: Arc<Control>,
    pub(crate) server: Arc<RestServer>,
    pub(crate) address: SocketAddr,
    pub(crate) trust: DomainTrust,
    pub(crate) clock: Arc<TestClock>,
    keyring: Arc<Keyring>,
    serving: tokio::task::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with_limits(RestLimits::default()).await
    }

    pub(crate) async fn with_limits(limits: RestLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock::default());
        let token = SoftwareToken::create(&folder.path().join("token"), DomainClass::Dev, &Unlock::KeyFile).unwrap();
        let keyring = Arc::new(Keyring::create(Token::from(token)).await.unwrap());
        let genesis = genesis(&keyring, clock.now()).await;
        let store = Arc::new(RedbStore::open(&folder.path().join("store.redb")).unwrap());
        let random = Arc::new(SystemRandom);
        let ledger =
            Ledger::create(store, keyring.clone(), genesis.clone(), clock.clone(), random.clone()).await.unwrap();
        let trust = trust(&genesis, &keyring, clock.now()).await;
        let parts = Parts {
            node: genesis.body.node_id,
            ledger: Arc::new(ledger),
            keyring: keyring.clone(),
            trust: trust.clone(),
            audit: Arc::new(MemoryAudit::default()),
            clock: clock.clone(),
            random,
            endorser: Endorser::new(Roots::vendor()),
        };
        let control = Control::start(parts).await.unwrap();
        let id = SpiffeId::node(trust.trust_domain(), genesis.body.node_id);
        let addresses = vec!["127.0.0.1".parse().unwrap()];
        let node = Profile::Node { id, dns_names: vec!["localhost".into()], ip_addresses: addresses };
        let (chain, key) = issue(&keyring, &trust, node, clock.now()).await;
        let token = |token: &str, name: &str, roles: &[&str]| AdminToken {
            name: name.parse().unwrap(),
            roles: roles.iter().map(ToString::to_string).collect(),
            hash: TokenHash::of(&Secret::new(token.to_owned())),
        };
        let server = RestServer::new(RestParts {
            control: control.clone(),
            trust: trust.clone(),
            credential: CredentialSlot::new(chain, &key).unwrap(),
            clock: clock.clone(),
            tokens: vec![token(OPS, "ops", &["admin"]), token(NOBODY, "nobody", &[])],
            limits,
        })
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = server.clone();
        let serving = tokio::spawn(async move { served.serve(&listener).await });
        Self { control, server, address, trust, clock, keyring, serving, _folder: folder }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// A client certificate of this profile, valid for an hour.
    pub(crate) async fn issue(&self, profile: Profile) -> Identity {
        issue(&self.keyring, &self.trust, profile, self.clock.now()).await
    }

    /// An administrator's client certificate.
    pub(crate) async fn admin(&self, name: &str) -> Identity {
        self.issue(Profile::Admin { id: SpiffeId::admin(self.trust.trust_domain(), &name.parse().unwrap()) }).await
    }

    /// A TLS connection with this certificate, or none.
    pub(crate) async fn tls(&self, identity: Option<&Identity>, alpn: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
        let slot = identity.map(|(chain, key)| CredentialSlot::new(chain.clone(), key).unwrap());
        let verifier = NodeVerifier::new(self.trust.genesis_hash(), self.clock.clone());
        let config = tls::client_config(tls::provider(), verifier, slot, &[alpn]).unwrap();
        let stream = TcpStream::connect(self.address).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
    }

    /// An HTTP/1.1 connection with this certificate, or none.
    pub(crate) async fn connect(&self, identity: Option<&Identity>) -> Caller {
        let stream = self.tls(identity, b"http/1.1").await.unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Caller(sender)
    }

    /// One request on a connection of its own, with this token.
    pub(crate) async fn ask(&self, token: Option<&str>, method: &str, path: &str, body: Option<Value>) -> Reply {
        let mut headers = Vec::new();
        let token = token.map(|token| format!("Bearer {token}"));
        headers.extend(token.as_deref().map(|token| ("authorization", token)));
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        if !body.is_empty() {
            headers.push(("content-type", "application/json"));
        }
        self.connect(None).await.send(method, path, &headers, &body).await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// One connection, asked one thing after the other.
pub(crate) struct Caller(SendRequest<Full<Bytes>>);

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Caller {
    pub(crate) async fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        within(async {
            let mut request =
                Request::builder().method(method.parse::<Method>().unwrap()).uri(path).header("host", "localhost");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let request = request.body(Full::from(body.to_owned())).unwrap();
            let response = self.0.send_request(request).await.unwrap();
            let (status, headers) = (response.status(), response.headers().clone());
            let body = response.into_body().collect().await.unwrap().to_bytes();
            Reply { status, headers, body: String::from_utf8(body.to_vec()).unwrap() }
        })
        .await
    }
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no `{name}` in {self:?}")).to_str().unwrap()
    }

    /// The problem that it is, of this status and code.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{self:?}");
        assert_eq!(problem["type"], format!("/docs/errors#{code}"), "{self:?}");
        assert_eq!(problem["status"], status, "{self:?}");
        problem
    }
}

/// Does not wait for ever.
pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), work).await.expect("it took too long")
}

async fn issue(keyring: &Keyring, trust: &DomainTrust, profile: Profile, now: Timestamp) -> Identity {
    let key = IdentityKey::generate().unwrap();
    let template = CertificateTemplate {
        profile,
        class: trust.class(),
        subject_spki: key.spki().to_vec(),
        issuer_spki: trust.ca_spki().to_vec(),
        not_before: now - HOUR,
        not_after: now + HOUR,
    };
    let tbs = template.to_be_signed(&SystemRandom).unwrap();
    let signature = keyring.sign_certificate(tbs.bytes()).await.unwrap();
    (vec![tbs.assemble(&signature).unwrap(), trust.root_certificate().clone()], key)
}

async fn trust(genesis: &Genesis, keyring: &Keyring, now: Timestamp) -> DomainTrust {
    let template = CertificateTemplate {
        profile: Profile::IssuingCa { trust_chain: TrustChain::new(genesis.clone()) },
        class: genesis.body.class,
        subject_spki: genesis.body.issuing_ca.clone(),
        issuer_spki: genesis.body.issuing_ca.clone(),
        not_before: now - HOUR,
        not_after: now + 1000 * HOUR,
    };
    let tbs = template.to_be_signed(&SystemRandom).unwrap();
    let signature = keyring.sign_certificate(tbs.bytes()).await.unwrap();
    DomainTrust::from_chain(&tbs.assemble(&signature).unwrap(), &genesis.hash()).unwrap()
}

async fn genesis(keyring: &Keyring, now: Timestamp) -> Genesis {
    let operator = IdentityKey::generate().unwrap();
    let keys = keyring.public_keys();
    let body = GenesisBody {
        trust_domain: "example.org".parse().unwrap(),
        class: DomainClass::Dev,
        operators: vec![operator.spki().to_vec()],
        quorum: 1,
        node_id: NodeId::random(&SystemRandom),
        node_identity: keys.node_identity.clone(),
        issuing_ca: keys.issuing_ca.clone(),
        head_signing: keys.head_signing.clone(),
        created: now - HOUR,
    };
    let signed = body.encode();
    let operator_signatures = vec![OperatorSignature { operator: 0, signature: operator.sign_der(&signed).unwrap() }];
    let node_signature = keyring.sign_as_node(&signed).await.unwrap();
    Genesis { body, operator_signatures, node_signature }
}
