//! The ledger over a real store and a real token.

mod behaviour;
mod crash;
mod tamper;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use burgrave_hsm::{SoftwareToken, Token, Unlock};
use burgrave_identity::{Genesis, GenesisBody, IdentityKey, OperatorSignature};
use burgrave_keyring::Keyring;
use burgrave_seal::SystemRandom;
use burgrave_store::{RedbStore, Store};
use burgrave_types::{Clock, DomainClass, NodeId, Timestamp};
use tempfile::TempDir;

use crate::{Ledger, LedgerError, Record, RecordPath, Unsealed};

/// A clock that stands where it is put.
struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.0.load(Ordering::Relaxed))
    }
}

/// A node's folder: token and store.
struct Place {
    folder: TempDir,
    clock: Arc<TestClock>,
}

impl Place {
    fn new() -> Self {
        let clock = Arc::new(TestClock(AtomicI64::new(1_772_323_200_000)));
        Self { folder: tempfile::tempdir().unwrap(), clock }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn store(&self) -> Arc<dyn Store> {
        store(self.path())
    }

    async fn create(&self) -> Ledger {
        create(self.path(), &self.clock).await
    }

    async fn open(&self) -> Result<Ledger, LedgerError> {
        open_on(self.store(), self.path(), &self.clock).await
    }
}

fn store(folder: &Path) -> Arc<dyn Store> {
    Arc::new(RedbStore::open(&folder.join("store.redb")).unwrap())
}

async fn create(folder: &Path, clock: &Arc<TestClock>) -> Ledger {
    let token = SoftwareToken::create(&folder.join("token"), DomainClass::Dev, &Unlock::KeyFile).unwrap();
    let keyring = Arc::new(Keyring::create(Token::from(token)).await.unwrap());
    let genesis = genesis(&keyring).await;
    Ledger::create(store(folder), keyring, genesis, clock.clone(), Arc::new(SystemRandom)).await.unwrap()
}

async fn open_on(store: Arc<dyn Store>, folder: &Path, clock: &Arc<TestClock>) -> Result<Ledger, LedgerError> {
    let unsealed = Ledger::read_unsealed(store, None).await?;
    let keyring = open_keyring(folder, &unsealed).await;
    Ledger::open(unsealed, keyring, clock.clone(), Arc::new(SystemRandom)).await
}

async fn open_keyring(folder: &Path, unsealed: &Unsealed) -> Arc<Keyring> {
    let token = SoftwareToken::open(&folder.join("token"), &Unlock::KeyFile).unwrap();
    Arc::new(Keyring::open(Token::from(token), unsealed.wrapped_keys()).await.unwrap())
}

/// A genesis record of this keyring's node, signed by an operator of its own.
async fn genesis(keyring: &Keyring) -> Genesis {
    let operator = IdentityKey::generate().unwrap();
    let body = GenesisBody {
        trust_domain: "example.org".parse().unwrap(),
        class: DomainClass::Dev,
        operators: vec![operator.spki().to_vec()],
        quorum: 1,
        node_id: NodeId::from_bytes([1; 16]),
        node_identity: keyring.public_keys().node_identity.clone(),
        issuing_ca: keyring.public_keys().issuing_ca.clone(),
        head_signing: keyring.public_keys().head_signing.clone(),
        created: Timestamp::from_unix_secs(1_772_323_000),
    };
    let signed = body.encode();
    Genesis {
        operator_signatures: vec![OperatorSignature { operator: 0, signature: operator.sign_der(&signed).unwrap() }],
        node_signature: keyring.sign_as_node(&signed).await.unwrap(),
        body,
    }
}

fn path(text: &str) -> RecordPath {
    text.parse().unwrap()
}

/// What a ledger holds, as path and body.
async fn contents(ledger: &Ledger) -> Vec<(String, Vec<u8>)> {
    let crate::FeedItem::Snapshot { records, .. } = ledger.subscribe().next().await.unwrap() else {
        panic!("a feed begins with a snapshot")
    };
    records.iter().map(|record: &Arc<Record>| (record.path.to_string(), record.body.to_vec())).collect()
}
