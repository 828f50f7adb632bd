//! A whole node but for its sockets.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use burgrave_audit::{AuditError, AuditSink, Durability, Event, Kind, MemoryAudit, Outcome};
use burgrave_control::{
    AdminIdentity, Control, EnclaveView, Endorser, LinkDirectory, NewEnclave, NewKey, NewRelease, NewRule, Notice,
    Parts, PolicyView, RuleEffect,
};
use burgrave_hsm::{Argon2Cost, SoftwareToken, Token, Unlock};
use burgrave_identity::{
    CertificateTemplate, DomainTrust, Genesis, GenesisBody, IdentityKey, OperatorSignature, Profile, TrustChain,
};
use burgrave_keyring::Keyring;
use burgrave_ledger::Ledger;
use burgrave_seal::SystemRandom;
use burgrave_store::{RedbStore, Store};
use burgrave_types::claims::{HexBytes, ReferenceValue};
use burgrave_types::{
    ChannelId, Clock, DecisionId, DomainClass, InstanceId, KeyIdentity, NodeId, Problem, ReleaseState, Secret, Tee,
    Timestamp,
};
use burgrave_verifier::Roots;
use tempfile::TempDir;

use burgrave_attester::SimulatedAttester;

use crate::held::HeldStore;

/// How often the test's enclaves attest.
pub(crate) const INTERVAL: u64 = 60;

pub(crate) struct ManualClock(AtomicI64);

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.0.load(Ordering::SeqCst))
    }
}

/// The edge's links, as a recorder.
#[derive(Default)]
pub(crate) struct Links {
    pub(crate) linked: Mutex<Vec<InstanceId>>,
    pub(crate) cut: Mutex<Vec<(ChannelId, Problem)>>,
    pub(crate) notices: Mutex<Vec<(InstanceId, Notice)>>,
    pub(crate) disconnected: Mutex<Vec<InstanceId>>,
    /// Why all links were ended, each time.
    pub(crate) ended: Mutex<Vec<Problem>>,
}

impl LinkDirectory for Links {
    fn is_linked(&self, instance: InstanceId) -> bool {
        self.linked.lock().unwrap().contains(&instance)
    }

    fn cut(&self, channel: ChannelId, reason: &Problem) {
        self.cut.lock().unwrap().push((channel, reason.clone()));
    }

    fn notify(&self, instance: InstanceId, notice: Notice) {
        self.notices.lock().unwrap().push((instance, notice));
    }

    fn disconnect(&self, instance: InstanceId, _: &Problem) {
        self.disconnected.lock().unwrap().push(instance);
        self.linked.lock().unwrap().retain(|linked| *linked != instance);
    }

    fn end_all(&self, reason: &Problem) {
        self.linked.lock().unwrap().clear();
        self.ended.lock().unwrap().push(reason.clone());
    }
}

/// An audit log that can be made to fail.
pub(crate) struct Audit {
    pub(crate) memory: MemoryAudit,
    /// How many events it takes yet.
    takes: AtomicI64,
    /// Done before the next attestation is recorded as accepted.
    before_accepting: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Default for Audit {
    fn default() -> Self {
        Self { memory: MemoryAudit::default(), takes: AtomicI64::new(i64::MAX), before_accepting: Mutex::default() }
    }
}

impl Audit {
    /// Makes it fail after so many events more.
    pub(crate) fn fail_after(&self, events: i64) {
        self.takes.store(events, Ordering::SeqCst);
    }

    /// Has something done in the middle of the next admission, after the decision and before the record.
    pub(crate) fn before_accepting(&self, act: impl FnOnce() + Send + 'static) {
        *self.before_accepting.lock().unwrap() = Some(Box::new(act));
    }

    /// Makes it take events again.
    pub(crate) fn repair(&self) {
        self.fail_after(i64::MAX);
    }
}

impl AuditSink for Audit {
    fn record(&self, event: &Event, durability: Durability) -> Result<(), AuditError> {
        if self.takes.fetch_sub(1, Ordering::SeqCst) <= 0 {
            return Err(AuditError::Unconfirmed { path: "audit".into(), reason: "the disk is full".to_owned() });
        }
        if matches!(&event.kind, Kind::Attestation(attestation) if attestation.outcome == Outcome::Accepted)
            && let Some(act) = self.before_accepting.lock().unwrap().take()
        {
            act();
        }
        self.memory.record(event, durability)
    }

    fn health(&self) -> Result<(), AuditError> {
        Ok(())
    }

    fn latest(&self, limit: usize, wanted: &dyn Fn(&Event) -> bool) -> Result<Vec<Event>, AuditError> {
        self.memory.latest(limit, wanted)
    }

    fn find_decision(&self, id: DecisionId) -> Result<Option<Event>, AuditError> {
        self.memory.find_decision(id)
    }
}

pub(crate) struct Node {
    folder: TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) links: Arc<Links>,
    pub(crate) trust: DomainTrust,
    pub(crate) control: Arc<Control>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) store: Arc<HeldStore>,
    pub(crate) collateral: Arc<burgrave_collateral::Store>,
    roots: Roots,
    tpm_chain: bool,
}

fn unlock() -> Unlock {
    Unlock::Passphrase(Secret::new(b"correct horse battery staple".to_vec()))
}

impl Node {
    pub(crate) async fn dev() -> Self {
        Self::new(DomainClass::Dev).await
    }

    pub(crate) async fn new(class: DomainClass) -> Self {
        Self::with(class, Timestamp::from_unix_secs(1_800_000_000), Roots::vendor()).await
    }

    /// A node that begins at that time and trusts these roots.
    pub(crate) async fn with(class: DomainClass, at: Timestamp, roots: Roots) -> Self {
        Self::made(class, at, roots, false).await
    }

    /// A node that also demands certificates of TPMs.
    pub(crate) async fn with_tpm_makers(at: Timestamp, roots: Roots) -> Self {
        Self::made(DomainClass::Production, at, roots, true).await
    }

    async fn made(class: DomainClass, at: Timestamp, roots: Roots, tpm_chain: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock(AtomicI64::new(at.unix_millis())));
        let cost = Argon2Cost::reduced(64, 1);
        let token = SoftwareToken::create_with_cost(&folder.path().join("token"), class, &unlock(), cost).unwrap();
        let keyring = Arc::new(Keyring::create(Token::from(token)).await.unwrap());
        let genesis = genesis(&keyring, class, clock.now()).await;
        let trust = trust(&keyring, &genesis, clock.now()).await;
        let random = Arc::new(SystemRandom);
        let store = HeldStore::new(store(folder.path()));
        let ledger = Ledger::create(store.clone(), Arc::clone(&keyring), genesis, clock.clone(), random);
        let ledger = Arc::new(ledger.await.unwrap());
        let (audit, links) = (Arc::new(Audit::default()), Arc::new(Links::default()));
        let (control, collateral) = start(&ledger, keyring, &trust, &audit, (&clock, &roots, tpm_chain)).await;
        control.set_links(links.clone());
        Self { folder, clock, audit, links, trust, control, ledger, store, collateral, roots, tpm_chain }
    }

    /// The same node after its process ended and began anew.
    pub(crate) async fn restart(self) -> Self {
        let Self { folder, clock, audit, trust, control, ledger, store, roots, tpm_chain, .. } = self;
        drop((control, store));
        let mut ledger = ledger;
        loop {
            match Arc::try_unwrap(ledger) {
                Ok(ledger) => break ledger.close().await,
                Err(shared) => ledger = shared,
            }
            tokio::task::yield_now().await;
        }
        let store = HeldStore::new(open_store(folder.path()).await);
        let unsealed = Ledger::read_unsealed(store.clone(), Some(trust.genesis_hash())).await.unwrap();
        let token = SoftwareToken::open(&folder.path().join("token"), &unlock()).unwrap();
        let keyring = Arc::new(Keyring::open(Token::from(token), unsealed.wrapped_keys()).await.unwrap());
        let ledger = Ledger::open(unsealed, Arc::clone(&keyring), clock.clone(), Arc::new(SystemRandom)).await.unwrap();
        let (ledger, links) = (Arc::new(ledger), Arc::new(Links::default()));
        let (control, collateral) = start(&ledger, keyring, &trust, &audit, (&clock, &roots, tpm_chain)).await;
        control.set_links(links.clone());
        Self { folder, clock, audit, links, trust, control, ledger, store, collateral, roots, tpm_chain }
    }

    pub(crate) fn advance(&self, duration: Duration) {
        self.clock.0.fetch_add(i64::try_from(duration.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Sets the clock back.
    pub(crate) fn set_back(&self, duration: Duration) {
        self.clock.0.fetch_sub(i64::try_from(duration.as_millis()).unwrap(), Ordering::SeqCst);
    }

    pub(crate) fn link(&self, instance: InstanceId) {
        self.links.linked.lock().unwrap().push(instance);
    }

    /// Registers a simulated enclave with one active release `v1` of the code named like the enclave.
    pub(crate) async fn register(&self, name: &str) -> EnclaveView {
        self.control.create_enclave(&root(), simulated(name, KeyIdentity::Name)).await.unwrap()
    }

    pub(crate) async fn allow(&self, rule: &str) -> PolicyView {
        self.rule(RuleEffect::Allow, rule).await
    }

    pub(crate) async fn rule(&self, effect: RuleEffect, rule: &str) -> PolicyView {
        let rule = NewRule { effect, rule: rule.to_owned(), description: String::new() };
        self.control.create_rule(&root(), rule).await.unwrap()
    }

    pub(crate) async fn make_key(&self, resource: &str) {
        self.control.create_key(&root(), NewKey { resource: resource.parse().unwrap() }).await.unwrap();
    }

    /// What was cut so far, and why.
    pub(crate) fn cuts(&self) -> Vec<(ChannelId, Problem)> {
        self.links.cut.lock().unwrap().clone()
    }

    pub(crate) fn notices(&self, of: InstanceId) -> Vec<Notice> {
        let all = self.links.notices.lock().unwrap();
        all.iter().filter(|(instance, _)| *instance == of).map(|(_, notice)| notice.clone()).collect()
    }
}

/// A simulated enclave's registration.
pub(crate) fn simulated(name: &str, key_identity: KeyIdentity) -> NewEnclave {
    NewEnclave {
        name: name.parse().unwrap(),
        tee: Tee::Simulated,
        key_identity,
        reattest_every_secs: INTERVAL,
        releases: vec![release("v1", name)],
        tpm_ek_digests: Vec::new(),
        requirements: Default::default(),
    }
}

/// An active release of the code `code`.
pub(crate) fn release(name: &str, code: &str) -> NewRelease {
    NewRelease {
        name: name.parse().unwrap(),
        reference: reference(code),
        state: ReleaseState::Active,
        origin: "test".into(),
        log: Default::default(),
        valid_until: None,
    }
}

pub(crate) fn reference(code: &str) -> ReferenceValue {
    ReferenceValue {
        tee: Tee::Simulated,
        measurement: Some(SimulatedAttester::measurement_of(code)),
        signer: None,
        product_id: None,
        min_svn: None,
        registers: Default::default(),
        config: None,
    }
}

pub(crate) fn root() -> AdminIdentity {
    AdminIdentity { name: "root".parse().unwrap(), roles: vec!["admin".to_owned()] }
}

pub(crate) fn hex(bytes: &[u8]) -> HexBytes {
    HexBytes(bytes.to_vec())
}

async fn start(
    ledger: &Arc<Ledger>,
    keyring: Arc<Keyring>,
    trust: &DomainTrust,
    audit: &Arc<Audit>,
    (clock, roots, tpm_chain): (&Arc<ManualClock>, &Roots, bool),
) -> (Arc<Control>, Arc<burgrave_collateral::Store>) {
    let endorser = Endorser::new(roots.clone());
    let endorser = if tpm_chain { endorser.requiring_tpm_chain() } else { endorser };
    let collateral = Arc::clone(endorser.store());
    let parts = Parts {
        node: NodeId::from_bytes([1; 16]),
        ledger: Arc::clone(ledger),
        keyring,
        trust: trust.clone(),
        audit: audit.clone(),
        clock: clock.clone(),
        random: Arc::new(SystemRandom),
        endorser,
    };
    (Control::start(parts).await.unwrap(), collateral)
}

fn store(folder: &Path) -> Arc<dyn Store> {
    Arc::new(RedbStore::open(&folder.join("store.redb")).unwrap())
}

/// The store may be let go of a moment after the last one who used it.
async fn open_store(folder: &Path) -> Arc<dyn Store> {
    loop {
        if let Ok(store) = RedbStore::open(&folder.join("store.redb")) {
            return Arc::new(store);
        }
        tokio::task::yield_now().await;
    }
}

async fn genesis(keyring: &Keyring, class: DomainClass, now: Timestamp) -> Genesis {
    let operator = IdentityKey::generate().unwrap();
    let keys = keyring.public_keys();
    let body = GenesisBody {
        trust_domain: "example.org".parse().unwrap(),
        class,
        operators: vec![operator.spki().to_vec()],
        quorum: 1,
        node_id: NodeId::from_bytes([1; 16]),
        node_identity: keys.node_identity.clone(),
        issuing_ca: keys.issuing_ca.clone(),
        head_signing: keys.head_signing.clone(),
        created: now,
    };
    let signed = body.encode();
    Genesis {
        operator_signatures: vec![OperatorSignature { operator: 0, signature: operator.sign_der(&signed).unwrap() }],
        node_signature: keyring.sign_as_node(&signed).await.unwrap(),
        body,
    }
}

async fn trust(keyring: &Keyring, genesis: &Genesis, now: Timestamp) -> DomainTrust {
    let ca = keyring.public_keys().issuing_ca.clone();
    let template = CertificateTemplate {
        profile: Profile::IssuingCa { trust_chain: TrustChain::new(genesis.clone()) },
        class: genesis.body.class,
        subject_spki: ca.clone(),
        issuer_spki: ca,
        not_before: now - Duration::from_secs(3600),
        not_after: now + Duration::from_secs(3600 * 24 * 365),
    };
    let tbs = template.to_be_signed(&SystemRandom).unwrap();
    let signature = keyring.sign_certificate(tbs.bytes()).await.unwrap();
    DomainTrust::from_chain(&tbs.assemble(&signature).unwrap(), &genesis.hash()).unwrap()
}
