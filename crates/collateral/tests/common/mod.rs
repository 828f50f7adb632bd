//! What the tests share: a clock that stands still, an ear for events, a service on loopback, and platforms made under a
//! test root.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests may fail loudly, and say that they were skipped"
)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use burgrave_collateral::{BaseUrl, Event, Floors, Http, Level, Status, Store, Subject};
use burgrave_made::intel::{KEYS, Made};
use burgrave_made::packaged;
use burgrave_types::{Clock, EvidencePart, Random, Tee, Timestamp};
use burgrave_verifier::{Expected, Input, Profile, Roots, Verdict, Verification, verify};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Everything that was told, in order.
#[derive(Clone, Default)]
pub(crate) struct Ear(Arc<Mutex<Vec<Event>>>);

impl Ear {
    pub(crate) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    pub(crate) fn store(&self, roots: Roots, floors: Floors) -> Arc<Store> {
        let heard = Arc::clone(&self.0);
        Arc::new(Store::new(roots, floors, Arc::new(move |event| heard.lock().unwrap().push(event))))
    }
}

/// A store under the test root of the made platforms.
pub(crate) fn made_store() -> (Arc<Store>, Ear) {
    let ear = Ear::default();
    (ear.store(made_roots(), Floors::default()), ear)
}

pub(crate) fn made_roots() -> Roots {
    Roots::only([KEYS.root.der()]).unwrap()
}

pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn json(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// A platform of another kind than `made` makes by itself.
pub(crate) fn of_kind(made: &Made, fmspc: [u8; 6]) -> Made {
    made.with(|made| {
        made.extension.fmspc = fmspc;
        made.tcb_info["fmspc"] = hex::encode_upper(fmspc).into();
    })
}

/// The same platform with other numbers of TCB evaluation.
pub(crate) fn numbered(made: &Made, number: u32) -> Made {
    made.with(|made| {
        made.tcb_info["tcbEvaluationDataNumber"] = number.into();
        made.qe_identity["tcbEvaluationDataNumber"] = number.into();
    })
}

/// A made quote without collateral.
pub(crate) fn bare(made: &Made) -> EvidencePart {
    EvidencePart::new(made.tee, [("quote.bin", made.quote())])
}

pub(crate) fn with_collateral(made: &Made, collateral: &Made) -> EvidencePart {
    EvidencePart::new(made.tee, [("quote.bin", made.quote()), ("collateral.json", json(&collateral.collateral()))])
}

/// Judges evidence as a node does: with what the store has, which then learns from the verdict.
pub(crate) fn judge(store: &Store, part: &EvidencePart, roots: &Roots, at: Timestamp) -> Verification {
    judge_under(store, part, roots, &Profile::default(), at)
}

pub(crate) fn judge_under(
    store: &Store,
    part: &EvidencePart,
    roots: &Roots,
    profile: &Profile,
    at: Timestamp,
) -> Verification {
    let supply = store.supply(part, at);
    let (endorsements, expected) = (&supply.endorsements, Expected::None);
    let verification = verify(&Input { part: &supply.part, endorsements, roots, profile, expected, at });
    store.judged(part, &verification, at);
    if verification.verdict == Verdict::Accept {
        store.admitted(part, at);
    }
    verification
}

pub(crate) fn level(status: &[Status], subject: &Subject) -> Option<Level> {
    status.iter().find(|status| status.subject == *subject).map(|status| status.level)
}

/// The larger collection of vectors, where it is at hand.
pub(crate) fn collection() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    let folder = std::env::var_os("BURGRAVE_VECTORS").map_or_else(beside, PathBuf::from);
    let there = folder.join("manifest.json").exists();
    if !there {
        println!("skipped: no collection of vectors is at hand");
    }
    there.then_some(folder)
}

/// The parts of a synthetic SEV-SNP machine: its report alone, and what endorses it.
pub(crate) struct Snp {
    pub(crate) report: EvidencePart,
    pub(crate) vek: Vec<u8>,
    pub(crate) ask: Vec<u8>,
    pub(crate) roots: Roots,
}

pub(crate) fn snp() -> Snp {
    let file = |name: &str| packaged(&format!("snp/synthetic/base/{name}"));
    Snp {
        report: EvidencePart::new(Tee::Snp, [("report.bin", file("report.bin"))]),
        vek: file("vek.der"),
        ask: file("ask.der"),
        roots: Roots::only([file("test-ark.der")]).unwrap(),
    }
}

/// A clock that is set by hand.
pub(crate) struct Hand(Mutex<Timestamp>);

impl Hand {
    pub(crate) fn at(now: Timestamp) -> Arc<Self> {
        Arc::new(Self(Mutex::new(now)))
    }

    pub(crate) fn forward(&self, by: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = *now + by;
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// The longest waits that are drawn.
pub(crate) struct Longest;

impl Random for Longest {
    fn fill(&self, out: &mut [u8]) {
        out.fill(0xff);
    }
}

/// What a service answers.
#[derive(Clone)]
pub(crate) enum Reply {
    Ok(Vec<(&'static str, String)>, Vec<u8>),
    Status(u16),
    /// The head of an answer and nothing after it.
    Stall,
    /// Bytes without an end.
    Endless,
}

/// A service on loopback.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) url: BaseUrl,
    replies: Arc<Mutex<HashMap<String, Reply>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Service {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let service = Self { url, replies: Arc::default(), asked: Arc::default() };
        let serving = service.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let serving = serving.clone();
                tokio::spawn(async move { serving.answer(stream).await });
            }
        });
        service
    }

    /// As [`Service::start`], over TLS; also the certificate that it shows.
    pub(crate) async fn start_tls() -> (Self, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port()).parse().unwrap();
        let service = Self { url, replies: Arc::default(), asked: Arc::default() };
        let serving = service.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (serving, acceptor) = (serving.clone(), acceptor.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serving.answer(stream).await;
                    }
                });
            }
        });
        (service, made.cert.pem())
    }

    pub(crate) fn reply(&self, path: &str, reply: Reply) {
        self.replies.lock().unwrap().insert(path.to_owned(), reply);
    }

    /// Every path that was asked for since the last call.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    /// Answers as a PCCS does for one platform.
    pub(crate) fn serve_platform(&self, collateral: &Value) {
        let text = |name: &str| collateral[name].as_str().unwrap().to_owned();
        let encoded = |name: &str| text(name).bytes().map(percent).collect::<String>();
        let info: Value = serde_json::from_str(&text("tcb_info")).unwrap();
        let family = info["id"].as_str().unwrap().to_lowercase();
        let fmspc = info["fmspc"].as_str().unwrap().to_lowercase();
        let body = |member: &str, name: &str| {
            format!("{{\"{member}\":{},\"signature\":\"{}\"}}", text(name), text(&format!("{name}_signature")))
                .into_bytes()
        };
        self.reply(
            &format!("/{family}/certification/v4/tcb?fmspc={fmspc}"),
            Reply::Ok(vec![("TCB-Info-Issuer-Chain", encoded("tcb_info_issuer_chain"))], body("tcbInfo", "tcb_info")),
        );
        self.reply(
            &format!("/{family}/certification/v4/qe/identity"),
            Reply::Ok(
                vec![("SGX-Enclave-Identity-Issuer-Chain", encoded("qe_identity_issuer_chain"))],
                body("enclaveIdentity", "qe_identity"),
            ),
        );
        for ca in ["platform", "processor"] {
            self.reply(
                &format!("/sgx/certification/v4/pckcrl?ca={ca}&encoding=der"),
                Reply::Ok(
                    vec![("SGX-PCK-CRL-Issuer-Chain", encoded("pck_crl_issuer_chain"))],
                    hex::decode(text("pck_crl")).unwrap(),
                ),
            );
        }
        // As PCCS answers: in hexadecimal.
        self.reply("/sgx/certification/v4/rootcacrl", Reply::Ok(vec![], text("root_ca_crl").into_bytes()));
    }

    async fn answer<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(&self, mut stream: S) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let reply = self.replies.lock().unwrap().get(&path).cloned().unwrap_or(Reply::Status(404));
        self.asked.lock().unwrap().push(path);
        let written = match reply {
            Reply::Ok(headers, body) => {
                let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                let head = format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
                stream.write_all(&[head.as_bytes(), &body].concat()).await
            }
            Reply::Status(status) => {
                let head =
                    format!("HTTP/1.1 {status} Said\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(head.as_bytes()).await
            }
            Reply::Stall => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await.unwrap();
                std::future::pending().await
            }
            Reply::Endless => {
                let mut result = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n").await;
                while result.is_ok() {
                    result = stream.write_all(&[b' '; 65536]).await;
                }
                result
            }
        };
        // A client that hangs up early is one of the cases.
        drop(written);
        drop(stream.shutdown().await);
    }
}

fn percent(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }
}

/// A client that waits no longer than a test should.
pub(crate) fn http() -> Http {
    Http::plain(Duration::from_millis(500))
}
