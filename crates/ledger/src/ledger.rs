//! The ledger itself: made, opened, changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burgrave_identity::Genesis;
use burgrave_keyring::{Keyring, WrappedKeys};
use burgrave_store::{Commit, Expect as StoreExpect, Store, Transaction};
use burgrave_types::{Clock, GenesisHash, HeadHash, Random, Revision, Timestamp};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::chain::{self, Expected, Tip, record_digest};
use crate::follow::{follow, record_path};
use crate::head::{Changes, changes_digest};
use crate::layout::{self, GENESIS, Link, POINTER, RECORD, Stored, WRAPPED_KEYS, key};
use crate::sealing::Sealer;
use crate::state::State;
use crate::{Applied, Change, Expect, Feed, Fence, Head, LedgerError, Record, SignedHead, Tampering, TransactError};

/// The epoch of a new domain.
const FIRST_EPOCH: u64 = 1;

/// How often a change is tried again that others came before.
const ATTEMPTS: usize = 64;

/// A domain's records, open for reading, following and changing.
///
/// It follows its store in a task of its own, so it must be opened within a tokio runtime. It reads and writes nothing
/// after it is closed or dropped.
pub struct Ledger {
    shared: Arc<Shared>,
    /// One change at a time: those of one node do not compete.
    writer: tokio::sync::Mutex<()>,
    follower: Option<JoinHandle<()>>,
}

/// What the ledger and its follower share.
pub(crate) struct Shared {
    store: Arc<dyn Store>,
    pub(crate) genesis: Genesis,
    pub(crate) sealer: Sealer,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// The store revision up to which the store was followed.
    pub(crate) progress: watch::Sender<u64>,
}

/// What can be read of a ledger before its keys are open, verified: the chain, the genesis record, the wrapped keys, and
/// that every record is the one that was signed.
pub struct Unsealed {
    store: Arc<dyn Store>,
    genesis: Genesis,
    wrapped_keys: WrappedKeys,
    tip: Tip,
    expected: Expected,
    stored: Stored,
}

impl Unsealed {
    /// The genesis record.
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// The keys below the root, for [`Keyring::open`].
    pub fn wrapped_keys(&self) -> &WrappedKeys {
        &self.wrapped_keys
    }

    /// The current head.
    pub fn head(&self) -> &SignedHead {
        &self.tip.head
    }
}

impl std::fmt::Debug for Unsealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Unsealed({} at head {})", self.genesis.hash(), self.tip.hash)
    }
}

impl Ledger {
    /// Makes the ledger of a new domain in a store that holds none: genesis and wrapped keys under a first signed head.
    ///
    /// Side effects: one HSM signature, one transaction of the store.
    ///
    /// # Errors
    /// [`LedgerError::DomainExists`]; [`LedgerError::Genesis`] and [`LedgerError::HeadKey`] for a genesis record that does
    /// not hold or is of another token.
    pub async fn create(
        store: Arc<dyn Store>,
        keyring: Arc<Keyring>,
        genesis: Genesis,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, LedgerError> {
        check_genesis(&genesis, &keyring)?;
        if !layout::read_all(&*store).await?.values.is_empty() {
            return Err(LedgerError::DomainExists);
        }
        let values = [(GENESIS, genesis.encode()), (WRAPPED_KEYS, keyring.wrapped_keys().encode())];
        let changes: Changes =
            values.iter().map(|(place, value)| ((*place).to_owned(), Some(record_digest(value)))).collect();
        let head = Head {
            domain: genesis.hash(),
            epoch: FIRST_EPOCH,
            revision: Revision(1),
            previous: HeadHash::from_bytes([0; 32]),
            changes: changes_digest(&changes),
            changer: "genesis".to_owned(),
            time: clock.now().max(genesis.body.created),
        };
        let signature = keyring.sign_head(&head.encode()).await?;
        let link = Link { head: SignedHead { head, signature }, changes };
        let mut transaction = Transaction::new().expect(key(GENESIS), StoreExpect::Absent);
        for (place, value) in values {
            transaction = transaction.put(key(place), value);
        }
        let transaction = with_link(transaction, &link).expect(key(POINTER), StoreExpect::Absent);
        if let Commit::Conflict { .. } = store.commit(transaction).await? {
            return Err(LedgerError::DomainExists);
        }
        let unsealed = Self::read_unsealed(store, Some(genesis.hash())).await?;
        Self::open(unsealed, keyring, clock, random).await
    }

    /// Reads the ledger in `store` and verifies all that can be verified without its keys. With `expected`, it must be
    /// that domain's.
    ///
    /// # Errors
    /// [`LedgerError::NoDomain`], [`LedgerError::WrongDomain`]; [`LedgerError::Tampered`] and [`LedgerError::Genesis`]
    /// where the store does not hold what was signed.
    pub async fn read_unsealed(store: Arc<dyn Store>, expected: Option<GenesisHash>) -> Result<Unsealed, LedgerError> {
        let stored = layout::read_all(&*store).await?;
        if stored.values.is_empty() {
            return Err(LedgerError::NoDomain);
        }
        let missing = |place: &str| Tampering::Withheld { place: place.to_owned(), revision: Revision(1) };
        let genesis = stored.values.get(GENESIS).ok_or_else(|| missing(GENESIS))?;
        let genesis = Genesis::decode(genesis).map_err(LedgerError::Genesis)?;
        genesis.verify().map_err(LedgerError::Genesis)?;
        let found = genesis.hash();
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(LedgerError::WrongDomain { expected, found });
        }
        let (tip, expected) = chain::verify(found, &genesis.body.head_signing, &stored.values)?;
        let unsigned = |place: &str| Tampering::Unsigned { place: place.to_owned() };
        for place in [GENESIS, WRAPPED_KEYS] {
            expected.get(place).ok_or_else(|| unsigned(place))?;
        }
        let wrapped_keys = stored.values.get(WRAPPED_KEYS).ok_or_else(|| missing(WRAPPED_KEYS))?;
        let wrapped_keys = WrappedKeys::decode(wrapped_keys)?;
        Ok(Unsealed { store, genesis, wrapped_keys, tip, expected, stored })
    }

    /// Opens every record and begins to follow the store.
    ///
    /// # Errors
    /// [`LedgerError::HeadKey`] where the keyring's token is another than the genesis record names;
    /// [`LedgerError::Tampered`] where a record does not open.
    pub async fn open(
        unsealed: Unsealed,
        keyring: Arc<Keyring>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, LedgerError> {
        let Unsealed { store, genesis, tip, expected, stored, .. } = unsealed;
        check_genesis(&genesis, &keyring)?;
        let sealer = Sealer::new(keyring, genesis.hash(), random);
        let mut records = BTreeMap::new();
        for (place, (revision, _)) in expected.iter().filter(|(place, _)| place.starts_with(RECORD)) {
            let path = record_path(place)?;
            let value = stored.values.get(place).map(Vec::as_slice).unwrap_or_default();
            let record = sealer.open(&path, value).await?.filter(|record| record.revision == *revision);
            let record = record.ok_or_else(|| Tampering::Unreadable(path.clone()))?;
            records.insert(path, Arc::new(record));
        }
        let watch = store.watch(stored.store_revision).await?;
        let state = Mutex::new(State::new(tip, stored.pointer_modified, records));
        let progress = watch::Sender::new(stored.store_revision);
        let shared = Arc::new(Shared { store, genesis, sealer, clock, state, progress });
        let follower = Some(tokio::spawn(follow(Arc::clone(&shared), watch)));
        Ok(Self { shared, writer: tokio::sync::Mutex::new(()), follower })
    }

    /// The genesis record.
    pub fn genesis(&self) -> &Genesis {
        &self.shared.genesis
    }

    /// The current head.
    pub fn head(&self) -> SignedHead {
        self.shared.state().tip.head.clone()
    }

    /// The ledger's wall-clock time: the node's, but never before that of the highest verified head.
    pub fn time(&self) -> Timestamp {
        self.shared.clock.now().max(self.shared.state().tip.head.head.time)
    }

    /// Whether the ledger serves.
    ///
    /// # Errors
    /// [`Fence`]: why it does not.
    pub fn health(&self) -> Result<(), Fence> {
        self.shared.state().fence.clone().map_or(Ok(()), Err)
    }

    /// All records now, then each change in order.
    pub fn subscribe(&self) -> Feed {
        self.shared.state().subscribe()
    }

    /// Makes a group of changes, all or none, under one signed head. When this returns the change is durable, verified,
    /// and in every [`Feed`].
    ///
    /// Not cancellation safe: a call that is dropped may still make the change. Side effects: one HSM signature (more
    /// where another node's change comes first), one transaction of the store.
    ///
    /// # Errors
    /// [`TransactError`]; after [`TransactError::Store`] the change may have been made, after the others not.
    pub async fn transact(&self, change: Change) -> Result<Applied, TransactError> {
        check_change(&change)?;
        let _one_at_a_time = self.writer.lock().await;
        for _ in 0..ATTEMPTS {
            let (transaction, applied) = self.prepare(&change).await?;
            match self.shared.store.commit(transaction).await? {
                Commit::Committed { revision } => {
                    self.shared.followed(revision).await.map_err(TransactError::Fenced)?;
                    return Ok(applied);
                }
                // Another change came first: decide anew once it is known.
                Commit::Conflict { found, .. } => {
                    self.shared.followed(found.unwrap_or(0)).await.map_err(TransactError::Fenced)?;
                }
            }
        }
        Err(TransactError::Contention)
    }

    /// Stops following and lets go of the store.
    pub async fn close(mut self) {
        if let Some(follower) = self.follower.take() {
            follower.abort();
            // It ends by the abort or has ended: either is the end.
            let _ = follower.await;
        }
    }

    /// The store's transaction for a change on the current head.
    async fn prepare(&self, change: &Change) -> Result<(Transaction, Applied), TransactError> {
        let shared = &self.shared;
        let (tip, pointer_modified, puts) = {
            let state = shared.state();
            if let Some(fence) = &state.fence {
                return Err(TransactError::Fenced(fence.clone()));
            }
            check_conditions(&state, change)?;
            (state.tip.clone(), state.pointer_modified, next_records(&state, change))
        };
        let Head { domain, epoch, revision, time, .. } = tip.head.head;
        let mut transaction = Transaction::new().expect(key(POINTER), StoreExpect::Revision(pointer_modified));
        let mut changes = Changes::new();
        for record in &puts {
            let place = layout::record_place(&record.path);
            let value = shared.sealer.seal(epoch, record).await?;
            transaction = transaction.put(key(&place), value.as_slice());
            changes.insert(place, Some(record_digest(&value)));
        }
        for path in &change.deletes {
            let place = layout::record_place(path);
            transaction = transaction.delete(key(&place));
            changes.insert(place, None);
        }
        let head = Head {
            domain,
            epoch,
            revision: revision.next(),
            previous: tip.hash,
            changes: changes_digest(&changes),
            changer: change.changer.chars().take(Change::MAX_CHANGER).collect(),
            time: shared.clock.now().max(time),
        };
        let signature = shared.sealer.keyring().sign_head(&head.encode()).await?;
        let link = Link { head: SignedHead { head, signature }, changes };
        let applied = Applied { revision: link.head.head.revision, head: link.head.hash() };
        Ok((with_link(transaction, &link), applied))
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if let Some(follower) = &self.follower {
            follower.abort();
        }
        self.shared.state().fence(Fence::Closed);
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.shared.state();
        write!(f, "Ledger({} at revision {})", self.shared.genesis.hash(), state.tip.head.head.revision)
    }
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // INVARIANT: no code that holds the lock can panic between two writes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the store was followed up to `revision`.
    async fn followed(&self, revision: u64) -> Result<(), Fence> {
        let mut progress = self.progress.subscribe();
        loop {
            if *progress.borrow_and_update() >= revision {
                return Ok(());
            }
            if let Some(fence) = &self.state().fence {
                return Err(fence.clone());
            }
            progress.changed().await.map_err(|_| Fence::Closed)?;
        }
    }
}

fn check_genesis(genesis: &Genesis, keyring: &Keyring) -> Result<(), LedgerError> {
    genesis.verify().map_err(LedgerError::Genesis)?;
    if genesis.body.head_signing == keyring.public_keys().head_signing { Ok(()) } else { Err(LedgerError::HeadKey) }
}

/// Adds a link of the chain and the pointer to it.
fn with_link(transaction: Transaction, link: &Link) -> Transaction {
    let revision = link.head.head.revision;
    transaction
        .put(key(&layout::chain_place(revision)), link.encode())
        .put(key(POINTER), layout::pointer(revision, link.head.hash()))
}

/// Refuses a change that changes nothing or names a record twice among its writes.
fn check_change(change: &Change) -> Result<(), TransactError> {
    if change.puts.is_empty() && change.deletes.is_empty() {
        return Err(TransactError::Empty);
    }
    let mut named = BTreeSet::new();
    match change.puts.iter().map(|(path, _)| path).chain(&change.deletes).find(|path| !named.insert(*path)) {
        Some(path) => Err(TransactError::Contradiction(path.clone())),
        None => Ok(()),
    }
}

fn check_conditions(state: &State, change: &Change) -> Result<(), TransactError> {
    let deleted = change.deletes.iter().map(|path| (path, Expect::Present));
    for (path, expected) in change.conditions.iter().map(|(path, expect)| (path, *expect)).chain(deleted) {
        let found = state.revision_of(path);
        if !expected.holds(found) {
            return Err(TransactError::Conflict { path: path.clone(), expected, found });
        }
    }
    Ok(())
}

/// The records that a change writes, as they will be.
fn next_records(state: &State, change: &Change) -> Vec<Record> {
    let revision = state.tip.head.head.revision.next();
    let next = |(path, body): &(crate::RecordPath, Vec<u8>)| Record {
        path: path.clone(),
        revision,
        version: state.records.get(path).map_or(0, |record| record.version) + 1,
        body: body.as_slice().into(),
    };
    change.puts.iter().map(next).collect()
}
