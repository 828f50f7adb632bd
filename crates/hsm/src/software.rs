//! The software token: keys in one sealed file, worked with in this process.

mod object;
mod store;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::rand;
use burgrave_types::{DomainClass, Secret};

use self::object::Object;
use self::store::Store;
use crate::file::Entry;
use crate::{
    Argon2Cost, Capabilities, Hsm, HsmError, KeyAttributes, KeyHandle, KeyId, Mechanism, Replication, TokenError,
    TokenSerial, Unlock, WrappedKey,
};

const CAPABILITIES: Capabilities = Capabilities {
    mechanisms: &[Mechanism::HmacSha256, Mechanism::EcdsaP256, Mechanism::EcdsaP384, Mechanism::AesKeyWrap],
    replication: Replication::Wrapped,
    hardware: false,
};

/// A token that is one sealed file, open in one process at a time.
///
/// Beside the file `T` lie `T.lock` (empty; held while the token is open), `T.key` where the token opens with a key
/// file, and `T.new` for the moment of a write. All have mode 0600.
#[derive(Debug)]
pub struct SoftwareToken {
    serial: TokenSerial,
    class: DomainClass,
    capabilities: Capabilities,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    store: Store,
    objects: BTreeMap<u64, Arc<Object>>,
    next: u64,
}

impl SoftwareToken {
    /// Makes an empty token at `path`, which must be free. Blocks for about a second of key stretching, with 256 MiB.
    ///
    /// # Errors
    /// [`TokenError`]: a file is there already; a production token with a key file; the file system refuses.
    pub fn create(path: &Path, class: DomainClass, unlock: &Unlock) -> Result<Self, TokenError> {
        Self::create_with_cost(path, class, unlock, Argon2Cost::DEFAULT)
    }

    /// As [`SoftwareToken::create`], with cheaper key stretching: for tests, since guesses get cheaper with it.
    ///
    /// # Errors
    /// As [`SoftwareToken::create`].
    pub fn create_with_cost(
        path: &Path,
        class: DomainClass,
        unlock: &Unlock,
        cost: Argon2Cost,
    ) -> Result<Self, TokenError> {
        Store::create(path, class, unlock, cost).map(|store| Self::new(store, BTreeMap::new()))
    }

    /// Opens the token at `path`. Blocks as [`SoftwareToken::create`] does. Tries once.
    ///
    /// # Errors
    /// [`TokenError`]: the passphrase is wrong, the file is damaged, readable by others or in use, or the file system
    /// refuses.
    pub fn open(path: &Path, unlock: &Unlock) -> Result<Self, TokenError> {
        let (store, entries) = Store::open(path, unlock)?;
        let objects = entries.iter().map(|entry| Object::load(entry).map(Arc::new)).collect::<Result<Vec<_>, _>>();
        let objects = objects.map_err(|fault| store.damaged(fault))?;
        Ok(Self::new(store, (0..).zip(objects).collect()))
    }

    /// Its serial, drawn when it was made.
    pub fn serial(&self) -> TokenSerial {
        self.serial
    }

    /// The class of domain that it was made for.
    pub fn class(&self) -> DomainClass {
        self.class
    }

    fn new(store: Store, objects: BTreeMap<u64, Arc<Object>>) -> Self {
        let (serial, class) = (store.header().serial, store.header().class);
        let next = objects.len() as u64;
        Self { serial, class, capabilities: CAPABILITIES, state: Mutex::new(State { store, objects, next }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the map as it was before or after a whole insertion.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn object(&self, handle: &KeyHandle) -> Result<Arc<Object>, HsmError> {
        if handle.token != self.serial {
            return Err(HsmError::stale(handle));
        }
        self.state().objects.get(&handle.object).cloned().ok_or_else(|| HsmError::stale(handle))
    }

    /// Takes charge of a key; a persistent one is on disk before it can be used.
    fn insert(&self, object: Object) -> Result<KeyHandle, HsmError> {
        let id = object.id;
        let mut state = self.state();
        if state.objects.values().any(|other| other.id == id) {
            return Err(HsmError::KeyExists(id));
        }
        if let Some(entry) = object.entry()? {
            let mut entries = state.entries(None)?;
            entries.push(entry);
            state.store.write(&entries)?;
        }
        let number = state.next;
        state.next += 1;
        state.objects.insert(number, Arc::new(object));
        Ok(KeyHandle { token: self.serial, object: number, id })
    }
}

impl State {
    /// What the file should hold of the objects, but for one.
    fn entries(&self, without: Option<u64>) -> Result<Vec<Entry>, HsmError> {
        let kept = self.objects.iter().filter(|(number, _)| Some(**number) != without);
        kept.filter_map(|(_, object)| object.entry().transpose()).collect()
    }
}

impl Hsm for SoftwareToken {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Reads the file again and opens it with the key in memory, so that a file lost, altered or exchanged shows.
    async fn health(&self) -> Result<(), HsmError> {
        Ok(self.state().store.check()?)
    }

    async fn generate_key(&self, id: KeyId, attributes: KeyAttributes) -> Result<KeyHandle, HsmError> {
        self.insert(Object::generate(id, attributes)?)
    }

    async fn find_key(&self, id: KeyId) -> Result<KeyHandle, HsmError> {
        let state = self.state();
        let (number, _) = state.objects.iter().find(|(_, object)| object.id == id).ok_or(HsmError::KeyNotFound(id))?;
        Ok(KeyHandle { token: self.serial, object: *number, id })
    }

    async fn destroy_key(&self, key: &KeyHandle) -> Result<(), HsmError> {
        let object = self.object(key)?;
        let mut state = self.state();
        if object.attributes.persistent {
            let entries = state.entries(Some(key.object))?;
            state.store.write(&entries)?;
        }
        state.objects.remove(&key.object);
        Ok(())
    }

    async fn public_key(&self, key: &KeyHandle) -> Result<Vec<u8>, HsmError> {
        self.object(key)?.public_key()
    }

    async fn mac(&self, key: &KeyHandle, message: &[u8]) -> Result<Secret<[u8; 32]>, HsmError> {
        self.object(key)?.mac(message)
    }

    async fn sign(&self, key: &KeyHandle, digest: &[u8]) -> Result<Vec<u8>, HsmError> {
        self.object(key)?.sign(digest)
    }

    async fn wrap_key(&self, wrapping: &KeyHandle, key: &KeyHandle) -> Result<WrappedKey, HsmError> {
        self.object(wrapping)?.wrap(&*self.object(key)?)
    }

    async fn unwrap_key(&self, wrapping: &KeyHandle, wrapped: &WrappedKey) -> Result<KeyHandle, HsmError> {
        let object = self.object(wrapping)?.unwrap(wrapped)?;
        self.insert(object)
    }

    async fn random(&self, out: &mut [u8]) -> Result<(), HsmError> {
        rand::fill(out).map_err(|_| HsmError::Device("draw randomness"))
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::kdf::{KbkdfCtrHmacAlgorithmId, get_kbkdf_ctr_hmac_algorithm, kbkdf_ctr_hmac};

    use super::*;
    use crate::KeyPurpose;

    fn token(dir: &tempfile::TempDir) -> SoftwareToken {
        SoftwareToken::create(&dir.path().join("token"), DomainClass::Dev, &Unlock::KeyFile).unwrap()
    }

    /// What the token derives with a key of known bytes.
    async fn mac(token: &SoftwareToken, bytes: [u8; 32], input: &[u8]) -> [u8; 32] {
        let id = KeyId::new(KeyPurpose::Derivation, 1);
        let key = token.insert(Object::session(id, Secret::new(bytes))).unwrap();
        let derived = *token.mac(&key, input).await.unwrap().expose();
        token.destroy_key(&key).await.unwrap();
        derived
    }

    /// SP 800-108 in counter mode with one block is one HMAC, so that every token derives the same: held against the
    /// library's own implementation of the KDF.
    #[tokio::test]
    async fn one_mac_of_the_token_is_one_block_of_the_counter_kdf() {
        let dir = tempfile::tempdir().unwrap();
        let bytes: [u8; 32] = std::array::from_fn(|at| at as u8);
        let fixed_info = b"label\0context\0\0\x01\0";
        let mut expected = [0; 32];
        let algorithm = get_kbkdf_ctr_hmac_algorithm(KbkdfCtrHmacAlgorithmId::Sha256).unwrap();
        kbkdf_ctr_hmac(algorithm, &bytes, fixed_info, &mut expected).unwrap();
        let input = [&[0, 0, 0, 1], fixed_info.as_slice()].concat();
        assert_eq!(mac(&token(&dir), bytes, &input).await, expected);
    }

    #[tokio::test]
    async fn the_token_derives_the_published_vectors() {
        let dir = tempfile::tempdir().unwrap();
        let token = token(&dir);
        let file: serde_json::Value = serde_json::from_str(include_str!("../../seal/testdata/kdf.json")).unwrap();
        let vectors = file["vectors"].as_array().unwrap();
        assert!(!vectors.is_empty());
        for vector in vectors {
            let field = |name: &str| hex::decode(vector[name].as_str().unwrap()).unwrap();
            let key = field("key").try_into().unwrap();
            assert_eq!(mac(&token, key, &field("fixed_input")).await.as_slice(), field("derived"), "{vector}");
        }
    }
}
