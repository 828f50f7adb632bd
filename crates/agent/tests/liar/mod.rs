//! A node that speaks frames by hand, for what no honest one does: it has its domain's keys, and may lie in everything else.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use burgrave_agent::local::FileConfig;
use burgrave_agent::{Agent, AgentConfig};
use burgrave_attester::{Attester, AttesterError, BindingData, SimulatedAttester};
use burgrave_identity::tls::{
    ALPN_LINK, CredentialSlot, LinkClientVerifier, LinkPeer, hybrid_only_provider, server_config,
};
use burgrave_identity::{
    CertificateDer, CertificateTemplate, DomainTrust, Genesis, GenesisBody, IdentityKey, OperatorSignature, Profile,
    TrustChain, spki_hash,
};
use burgrave_protocol::frame::{Decoder, Frame, FrameType};
use burgrave_protocol::message::{self, Assembler, MAX_MESSAGE};
use burgrave_protocol::wire::{self, request::Operation};
use burgrave_seal::SystemRandom;
use burgrave_seal::hpke::{self, SealedInfo, SealedKind};
use burgrave_types::{Clock, DomainClass, Evidence, InstanceId, NodeId, SpiffeId, SystemClock, Tee};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The enclave that the agents here attest as.
pub(crate) const ENCLAVE: &str = "payments/api";

pub(crate) struct Liar {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    genesis: Genesis,
    ca: EcdsaKeyPair,
    root: CertificateDer<'static>,
    trust: DomainTrust,
}

impl Liar {
    pub(crate) async fn new() -> Self {
        let (operator, node) = (IdentityKey::generate().unwrap(), IdentityKey::generate().unwrap());
        let ca = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap();
        let body = GenesisBody {
            trust_domain: "test.example".parse().unwrap(),
            class: DomainClass::Dev,
            operators: vec![operator.spki().to_vec()],
            quorum: 1,
            node_id: NodeId::from_bytes([7; 16]),
            node_identity: node.spki().to_vec(),
            issuing_ca: spki(&ca),
            head_signing: IdentityKey::generate().unwrap().spki().to_vec(),
            created: SystemClock.now(),
        };
        let signature = operator.sign_der(&body.encode()).unwrap();
        let node_signature = node.sign_der(&body.encode()).unwrap();
        let operator_signatures = vec![OperatorSignature { operator: 0, signature }];
        let genesis = Genesis { body, operator_signatures, node_signature };
        let root = issue(&ca, Profile::IssuingCa { trust_chain: TrustChain::new(genesis.clone()) }, spki(&ca));
        let trust = DomainTrust::from_chain(&root, &genesis.hash()).unwrap();

        let tls = IdentityKey::generate().unwrap();
        let id = SpiffeId::node(trust.trust_domain(), genesis.body.node_id);
        let profile = Profile::Node { id, dns_names: vec!["localhost".to_owned()], ip_addresses: Vec::new() };
        let chain = vec![issue(&ca, profile, tls.spki().to_vec()), root.clone()];
        let verifier = LinkClientVerifier::new(trust.clone(), Arc::new(SystemClock));
        let credential = CredentialSlot::new(chain, &tls).unwrap();
        let config = server_config(hybrid_only_provider(), verifier, credential, &[ALPN_LINK]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, acceptor: TlsAcceptor::from(Arc::new(config)), genesis, ca, root, trust }
    }

    /// An agent that is started for this domain and this node.
    pub(crate) fn agent(&self, attester: impl Attester + 'static) -> Agent {
        let config = AgentConfig {
            nodes: vec![format!("tcp://{}", self.listener.local_addr().unwrap()).parse().unwrap()],
            genesis: self.genesis.hash(),
            enclave: ENCLAVE.parse().unwrap(),
            attester: Box::new(attester),
        };
        Agent::start(config, Arc::new(SystemClock), Arc::new(SystemRandom)).unwrap()
    }

    /// The configuration of an agent for this domain and this node, as its file says it, to which `more` is added.
    pub(crate) fn configuration(&self, more: &str) -> FileConfig {
        let (genesis, node) = (self.genesis.hash(), self.listener.local_addr().unwrap());
        let text = format!("genesis = \"{genesis}\"\nenclave = \"{ENCLAVE}\"\nnodes = [\"tcp://{node}\"]\n{more}");
        FileConfig::parse(&text).unwrap()
    }

    /// The agent's next connection, after HELLO; at this revision.
    pub(crate) async fn welcome(&self, revision: u64) -> Connection<'_> {
        let mut connection = self.connection().await;
        assert_eq!(connection.frame().await.unwrap().kind, FrameType::Hello);
        let limits = wire::Limits { requests: 64, channels: 64, message: MAX_MESSAGE as u32, window: 262_144 };
        let ack = wire::HelloAck { version: 1, revision, limits: Some(limits), ..wire::HelloAck::default() };
        connection.send(FrameType::Hello, 0, prost::Message::encode_to_vec(&ack)).await;
        connection
    }

    async fn connection(&self) -> Connection<'_> {
        within(async {
            let (stream, _) = self.listener.accept().await.unwrap();
            let tls = self.acceptor.accept(stream).await.unwrap();
            let verifier = LinkClientVerifier::new(self.trust.clone(), Arc::new(SystemClock));
            let peer = verifier.classify(tls.get_ref().1.peer_certificates().unwrap()).unwrap();
            let spki = match peer {
                LinkPeer::Unattested { spki } => spki,
                LinkPeer::Svid(identity) => identity.spki,
            };
            Connection { liar: self, tls, decoder: Decoder::new(), assembler: Assembler::new(MAX_MESSAGE), spki }
        })
        .await
    }
}

pub(crate) struct Connection<'a> {
    liar: &'a Liar,
    tls: TlsStream<TcpStream>,
    decoder: Decoder,
    assembler: Assembler,
    /// The agent's identity key.
    spki: Vec<u8>,
}

impl Connection<'_> {
    /// The next frame; `None` at the end of the connection.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        within(async {
            loop {
                if let Some(frame) = self.decoder.next_frame().unwrap() {
                    return Some(frame);
                }
                if !matches!(self.tls.read_buf(self.decoder.buffer_mut()).await, Ok(1..)) {
                    return None;
                }
            }
        })
        .await
    }

    pub(crate) async fn send(&mut self, kind: FrameType, stream: u32, payload: impl Into<Vec<u8>>) {
        self.tls.write_all(&Frame::new(kind, stream, payload.into()).encode()).await.unwrap();
        self.tls.flush().await.unwrap();
    }

    pub(crate) async fn push(&mut self, notice: wire::push::Notice) {
        self.send(FrameType::Push, 0, prost::Message::encode_to_vec(&wire::Push { notice: Some(notice) })).await;
    }

    /// The next request.
    pub(crate) async fn request(&mut self) -> (u32, Operation) {
        loop {
            let frame = self.frame().await.expect("a request");
            assert_eq!(frame.kind, FrameType::Request, "{frame:?}");
            if let Some(whole) = self.assembler.push(frame.stream, &frame.payload).unwrap() {
                let request: wire::Request = message::decode("Request", &whole).unwrap();
                return (frame.stream, request.operation.unwrap());
            }
        }
    }

    pub(crate) async fn respond(&mut self, stream: u32, response: impl Into<wire::Response>) {
        for frame in message::frames(FrameType::Response, stream, &response.into()).unwrap() {
            self.tls.write_all(&frame).await.unwrap();
        }
        self.tls.flush().await.unwrap();
    }

    /// The agent's evidence, for which it may have to ask for a challenge first.
    pub(crate) async fn evidence(&mut self) -> (u32, wire::Attest) {
        loop {
            match self.request().await {
                (stream, Operation::Challenge(_)) => self.respond(stream, challenge()).await,
                (stream, Operation::Attest(attest)) => return (stream, attest),
                (_, other) => panic!("another request: {other:?}"),
            }
        }
    }

    /// Takes the agent's evidence: it is an instance of `enclave`, with this instance key, if one is given.
    pub(crate) async fn admit(&mut self, instance: InstanceId, enclave: &str, key: Option<[u8; 32]>) {
        let (stream, attest) = self.evidence().await;
        let own = spki_hash(&self.spki);
        let sealed = key.map(|key| {
            let kind = SealedKind::InstanceKey;
            let info =
                SealedInfo { kind, id: instance.as_bytes(), sender: own, receiver: own, digest: &[], version: 1 };
            let recipient = attest.sealing_key.as_slice().try_into().unwrap();
            hpke::seal(&recipient, None, &info.encode(), &[], &key, &SystemRandom).unwrap().to_bytes()
        });
        let id = format!("spiffe://{}/{enclave}", self.liar.trust.trust_domain()).parse().unwrap();
        let svid = issue(&self.liar.ca, Profile::Enclave { id }, self.spki.clone());
        let attested = wire::Attested {
            instance: instance.as_bytes().to_vec(),
            svid: vec![svid.to_vec(), self.liar.root.to_vec()],
            until: (SystemClock.now() + Duration::from_secs(3600)).unix_millis(),
            interval: 1_800_000,
            sealed_instance_key: sealed.unwrap_or_default(),
            revision: 7,
            ..wire::Attested::default()
        };
        self.respond(stream, attested).await;
    }

    /// The reason with which the agent ends the connection.
    pub(crate) async fn goodbye(&mut self) -> burgrave_types::Problem {
        loop {
            let frame = self.frame().await.expect("a reason");
            if frame.kind == FrameType::GoAway {
                return message::decode::<wire::Problem>("reason", &frame.payload).unwrap().into();
            }
        }
    }
}

/// A challenge that no node would check.
pub(crate) fn challenge() -> wire::Challenge {
    let expires = (SystemClock.now() + Duration::from_secs(60)).unix_millis();
    wire::Challenge { nonce: vec![1; 32], expires, pcrs: Vec::new() }
}

/// A TEE that writes down what it is told.
#[derive(Clone, Default)]
pub(crate) struct Told(Arc<Mutex<Vec<&'static str>>>);

impl Told {
    pub(crate) fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn add(&self, what: &'static str) {
        self.0.lock().unwrap().push(what);
    }
}

impl Attester for Told {
    fn tee(&self) -> Tee {
        Tee::Simulated
    }

    fn evidence(&mut self, binding: &BindingData) -> Result<Evidence, AttesterError> {
        self.add("evidence");
        SimulatedAttester::of_code("payments-api-1.0").evidence(binding)
    }

    fn log_taken(&mut self) {
        self.add("taken");
    }

    fn log_forgotten(&mut self) {
        self.add("forgotten");
    }
}

/// Awaits, with a bound far beyond what anything here takes.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("it took too long")
}

fn spki(ca: &EcdsaKeyPair) -> Vec<u8> {
    let der: PublicKeyX509Der<'_> = ca.public_key().as_der().unwrap();
    der.as_ref().to_vec()
}

fn issue(ca: &EcdsaKeyPair, profile: Profile, subject_spki: Vec<u8>) -> CertificateDer<'static> {
    let now = SystemClock.now();
    let template = CertificateTemplate {
        profile,
        class: DomainClass::Dev,
        subject_spki,
        issuer_spki: spki(ca),
        not_before: now - Duration::from_secs(60),
        not_after: now + Duration::from_secs(86_400),
    };
    let tbs = template.to_be_signed(&SystemRandom).unwrap();
    let signature = ca.sign(&aws_lc_rs::rand::SystemRandom::new(), tbs.bytes()).unwrap();
    tbs.assemble(signature.as_ref()).unwrap()
}
