//! A node on loopback: software token, redb, real control, the agent link; and agents of the simulated TEE.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use burgrave_agent::{Agent, AgentConfig};
use burgrave_attester::SimulatedAttester;
use burgrave_audit::MemoryAudit;
use burgrave_control::{
    AdminIdentity, Control, Endorser, LinkDirectory, NewEnclave, NewKey, NewRelease, NewRule, Page, Parts, RuleEffect,
};
use burgrave_edge::link::{LinkHub, LinkLimits, LinkParts, LinkServer, Listener, RelayTap};
use burgrave_hsm::{SoftwareToken, Token, Unlock};
use burgrave_identity::tls::CredentialSlot;
use burgrave_identity::{
    CertificateDer, CertificateTemplate, DomainTrust, Genesis, GenesisBody, IdentityKey, OperatorSignature, Profile,
    TrustChain,
};
use burgrave_keyring::Keyring;
use burgrave_ledger::Ledger;
use burgrave_seal::SystemRandom;
use burgrave_store::RedbStore;
use burgrave_types::claims::ReferenceValue;
use burgrave_types::{
    ChannelId, Clock, DomainClass, EnclaveName, GenesisHash, InstanceId, KeyIdentity, NodeId, Operation, ReleaseState,
    ResourceId, SpiffeId, SystemClock, Tee, Timestamp,
};
use burgrave_verifier::Roots;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) const STORAGE: &str = "keyspace/payments/storage";

/// Everything is attested again this often, unless a test says otherwise, in seconds.
const INTERVAL: u64 = 300;

/// A node and what a test needs of it.
pub(crate) struct World {
    pub(crate) control: Arc<Control>,
    pub(crate) hub: Arc<LinkHub>,
    pub(crate) tap: Arc<Tap>,
    pub(crate) address: String,
    trust: DomainTrust,
    tasks: JoinSet<()>,
    folder: tempfile::TempDir,
}

/// Keeps what the node relays.
#[derive(Default)]
pub(crate) struct Tap(pub(crate) Mutex<Vec<u8>>);

impl RelayTap for Tap {
    fn relayed(&self, _channel: ChannelId, _from_initiator: bool, bytes: &[u8]) {
        self.0.lock().unwrap().extend_from_slice(bytes);
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with_limits(LinkLimits::default()).await
    }

    pub(crate) async fn with_limits(limits: LinkLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clock, random): (Arc<dyn Clock>, Arc<dyn burgrave_types::Random>) =
            (Arc::new(SystemClock), Arc::new(SystemRandom));
        let token = SoftwareToken::create(&folder.path().join("token"), DomainClass::Dev, &Unlock::KeyFile).unwrap();
        let keyring = Arc::new(Keyring::create(Token::from(token)).await.unwrap());
        let genesis = genesis(&keyring).await;
        let node = genesis.body.node_id;
        let issuer = Issuer { keyring: &keyring, class: genesis.body.class };
        let root = Profile::IssuingCa { trust_chain: TrustChain::new(genesis.clone()) };
        let root = issuer.issue(root, genesis.body.issuing_ca.clone()).await;
        let trust = DomainTrust::from_chain(&root, &genesis.hash()).unwrap();

        let id = SpiffeId::node(trust.trust_domain(), node);
        let tls = IdentityKey::generate().unwrap();
        let profile = Profile::Node { id, dns_names: vec!["localhost".to_owned()], ip_addresses: Vec::new() };
        let chain = vec![issuer.issue(profile, tls.spki().to_vec()).await, root];
        let credential = CredentialSlot::new(chain, &tls).unwrap();

        let store = Arc::new(RedbStore::open(&folder.path().join("ledger.redb")).unwrap());
        let ledger = Ledger::create(store, keyring.clone(), genesis, clock.clone(), random.clone()).await.unwrap();
        let control = Control::start(Parts {
            node,
            ledger: Arc::new(ledger),
            keyring,
            trust: trust.clone(),
            audit: Arc::new(MemoryAudit::default()),
            clock: clock.clone(),
            random,
            endorser: Endorser::new(Roots::vendor()),
        })
        .await
        .unwrap();
        let tap = Arc::new(Tap::default());
        let hub = LinkHub::with_tap(tap.clone());
        control.set_links(hub.clone());

        let parts = LinkParts {
            control: control.clone(),
            hub: hub.clone(),
            trust: trust.clone(),
            credential,
            clock,
            node,
            limits,
        };
        let server = LinkServer::new(parts).unwrap();
        let mut tasks = JoinSet::new();
        let listener = Listener::bind(&"tcp://127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.address().unwrap().to_string();
        let unix = format!("unix:{}", folder.path().join("link.sock").display()).parse().unwrap();
        for listener in [listener, Listener::bind(&unix).await.unwrap()] {
            let server = server.clone();
            tasks.spawn(async move { server.serve(&listener).await });
        }
        let ticking = control.clone();
        tasks.spawn(async move {
            let mut interval = tokio::time::interval(Duration::from_millis(100));
            loop {
                interval.tick().await;
                ticking.tick().await;
            }
        });
        let world = Self { control, hub, tap, address, trust, tasks, folder };
        world.control.create_key(&root_admin(), NewKey { resource: STORAGE.parse().unwrap() }).await.unwrap();
        world
    }

    pub(crate) fn genesis(&self) -> GenesisHash {
        self.trust.genesis_hash()
    }

    /// The address of the link on its Unix socket.
    pub(crate) fn unix_address(&self) -> String {
        format!("unix:{}", self.folder.path().join("link.sock").display())
    }

    /// Registers an enclave that runs `code`, and allows it everything on the keyspace.
    pub(crate) async fn register(&self, enclave: &str, code: &str) {
        self.register_every(enclave, code, INTERVAL).await;
    }

    pub(crate) async fn register_every(&self, enclave: &str, code: &str, secs: u64) {
        let reference = ReferenceValue {
            tee: Tee::Simulated,
            measurement: Some(SimulatedAttester::measurement_of(code)),
            signer: None,
            product_id: None,
            min_svn: None,
            registers: Default::default(),
            config: None,
        };
        let release = NewRelease {
            name: "v1".parse().unwrap(),
            reference,
            state: ReleaseState::Active,
            origin: "by hand".to_owned(),
            log: Default::default(),
            valid_until: None,
        };
        let new = NewEnclave {
            name: enclave.parse().unwrap(),
            tee: Tee::Simulated,
            key_identity: KeyIdentity::Name,
            reattest_every_secs: secs,
            releases: vec![release],
            tpm_ek_digests: Vec::new(),
            requirements: Default::default(),
        };
        self.control.create_enclave(&root_admin(), new).await.unwrap();
        self.permit(enclave, &[Operation::Encrypt, Operation::Decrypt, Operation::Derive], STORAGE, None).await;
    }

    pub(crate) async fn permit(&self, enclave: &str, operations: &[Operation], resource: &str, peer: Option<&str>) {
        let operations = operations.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let with = peer.map(|peer| format!(" peer={peer}")).unwrap_or_default();
        let rule = format!("{enclave} {operations} {resource}{with}");
        let rule = NewRule { effect: RuleEffect::Allow, rule, description: String::new() };
        self.control.create_rule(&root_admin(), rule).await.unwrap();
    }

    /// Allows channels from one enclave to another.
    pub(crate) async fn allow_channel(&self, from: &str, to: &str) {
        let receiver: EnclaveName = to.parse().unwrap();
        let channel = ResourceId::default_channel(&receiver).to_string();
        self.permit(from, &[Operation::Send], &channel, Some(to)).await;
        self.permit(to, &[Operation::Receive], &channel, Some(from)).await;
    }

    /// Takes away every stored policy whose text holds `words`.
    pub(crate) async fn forbid(&self, words: &str) {
        let admin = root_admin();
        let policies = self.control.policies(&admin, &Page::default()).await.unwrap().items;
        let mut found = 0;
        for policy in policies.iter().filter(|policy| !policy.guard && policy.text.contains(words)) {
            self.control.delete_policy(&admin, policy.id, Some(policy.revision)).await.unwrap();
            found += 1;
        }
        assert_ne!(found, 0, "no policy holds `{words}`: {policies:?}");
    }

    pub(crate) async fn revoke(&self, instance: InstanceId) {
        self.control.revoke_instance(&root_admin(), instance, "it was taken over").await.unwrap();
    }

    pub(crate) async fn open_channels(&self) -> usize {
        self.control.channels(&root_admin(), &Page::default()).await.unwrap().items.len()
    }

    pub(crate) fn is_linked(&self, instance: InstanceId) -> bool {
        self.hub.is_linked(instance)
    }

    pub(crate) fn agent(&self, enclave: &str, code: &str) -> Agent {
        Self::agent_at(&self.address, self.genesis(), enclave, code)
    }

    pub(crate) fn agent_at(address: &str, genesis: GenesisHash, enclave: &str, code: &str) -> Agent {
        Self::agent_with(address, genesis, enclave, code, Arc::new(SystemClock))
    }

    pub(crate) fn agent_with(
        address: &str,
        genesis: GenesisHash,
        enclave: &str,
        code: &str,
        clock: Arc<dyn Clock>,
    ) -> Agent {
        let config = AgentConfig {
            nodes: vec![address.parse().unwrap()],
            genesis,
            enclave: enclave.parse().unwrap(),
            attester: Box::new(SimulatedAttester::of_code(code)),
        };
        Agent::start(config, clock, Arc::new(SystemRandom)).unwrap()
    }

    /// A registered enclave's agent that is attested.
    pub(crate) async fn attested(&self, enclave: &str, code: &str) -> Agent {
        self.register(enclave, code).await;
        let agent = self.agent(enclave, code);
        within(agent.wait_attested()).await.unwrap();
        agent
    }
}

/// A network between an agent and its node, which can be down: then connections end, and new ones end at once.
pub(crate) struct Network {
    pub(crate) address: String,
    pub(crate) up: watch::Sender<bool>,
    _task: JoinSet<()>,
}

impl Network {
    pub(crate) async fn before(world: &World) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("tcp://{}", listener.local_addr().unwrap());
        let node = world.address.strip_prefix("tcp://").unwrap().to_owned();
        let (up, is_up) = watch::channel(true);
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let (mut is_up, node) = (is_up.clone(), node.clone());
                tokio::spawn(async move {
                    let relayed = async {
                        let mut far = TcpStream::connect(node).await?;
                        tokio::io::copy_bidirectional(&mut near, &mut far).await
                    };
                    tokio::select! {
                        _ = relayed => {}
                        _ = is_up.wait_for(|up| !up) => {}
                    }
                });
            }
        });
        Self { address, up, _task: task }
    }
}

/// A clock that can be ahead of the machine's.
#[derive(Default)]
pub(crate) struct Ahead(pub(crate) AtomicU64);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now() + Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

/// The administrator who may do everything.
pub(crate) fn root_admin() -> AdminIdentity {
    AdminIdentity { name: "root".parse().unwrap(), roles: vec!["admin".to_owned()] }
}

/// Awaits, with a bound far beyond what anything here takes.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("it took too long")
}

async fn genesis(keyring: &Keyring) -> Genesis {
    let (keys, operator) = (keyring.public_keys(), IdentityKey::generate().unwrap());
    let body = GenesisBody {
        trust_domain: "test.example".parse().unwrap(),
        class: DomainClass::Dev,
        operators: vec![operator.spki().to_vec()],
        quorum: 1,
        node_id: NodeId::random(&SystemRandom),
        node_identity: keys.node_identity.clone(),
        issuing_ca: keys.issuing_ca.clone(),
        head_signing: keys.head_signing.clone(),
        created: SystemClock.now(),
    };
    let signature = operator.sign_der(&body.encode()).unwrap();
    let node_signature = keyring.sign_as_node(&body.encode()).await.unwrap();
    Genesis { operator_signatures: vec![OperatorSignature { operator: 0, signature }], node_signature, body }
}

struct Issuer<'a> {
    keyring: &'a Keyring,
    class: DomainClass,
}

impl Issuer<'_> {
    async fn issue(&self, profile: Profile, subject_spki: Vec<u8>) -> CertificateDer<'static> {
        let now = SystemClock.now();
        let template = CertificateTemplate {
            profile,
            class: self.class,
            subject_spki,
            issuer_spki: self.keyring.public_keys().issuing_ca.clone(),
            not_before: now - Duration::from_secs(60),
            not_after: now + Duration::from_secs(86_400),
        };
        let tbs = template.to_be_signed(&SystemRandom).unwrap();
        tbs.assemble(&self.keyring.sign_certificate(tbs.bytes()).await.unwrap()).unwrap()
    }
}
