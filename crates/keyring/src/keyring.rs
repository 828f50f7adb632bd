//! The keyring: a token, the domain's keys loaded into it, and what is derived from them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use burgrave_hsm::{
    Capabilities, Hsm, HsmError, KeyAttributes, KeyCheckValue, KeyHandle, KeyId, KeyPurpose, Token, TokenSerial,
};
use burgrave_types::{DomainClass, EnclaveUid, GenesisHash, KeyUid, Secret, SpkiHash, Timestamp};
use zeroize::Zeroizing;

use crate::cache::{Cache, Owner};
use crate::context::{Derivation, Source};
use crate::{EnclaveKeyInput, KeyringError, WrappedKeys};

/// The version of every key of a domain: rotation makes more of them.
const FIRST: u32 = 1;

/// A domain's keys, in reach of one node.
///
/// Calls that name no cost make one HMAC or one signature in the token. Dropping a future early loses nothing but its
/// result.
#[derive(Debug)]
pub struct Keyring {
    token: Token,
    derivation: KeyHandle,
    state: KeyHandle,
    channel: KeyHandle,
    node_identity: KeyHandle,
    issuing_ca: KeyHandle,
    head_signing: KeyHandle,
    public: PublicKeys,
    wrapped: WrappedKeys,
    cache: Mutex<Cache>,
}

/// The public keys of a node's HSM, as SubjectPublicKeyInfo in DER.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublicKeys {
    /// Who the node is: ECDSA P-256.
    pub node_identity: Vec<u8>,
    /// Signs certificates: ECDSA P-384.
    pub issuing_ca: Vec<u8>,
    /// Signs heads and checkpoints: ECDSA P-256.
    pub head_signing: Vec<u8>,
}

impl Keyring {
    /// Derived keys that are cached at most.
    pub const CACHE_KEYS: usize = 10_000;
    /// How long a derived key is cached, if nothing else is said.
    pub const CACHE_TIME: Duration = Duration::from_secs(300);
    /// How long a derived key may be cached at most.
    pub const CACHE_TIME_MAX: Duration = Duration::from_secs(3600);

    /// Makes a new domain's keys in an empty token: the root, the three keys wrapped under it, and the node's own
    /// signing keys.
    ///
    /// The caller stores [`Keyring::wrapped_keys`] before it uses anything derived: without them the domain's keys are
    /// gone with this process, and the token is of no use.
    ///
    /// # Errors
    /// [`KeyringError::TokenInUse`] for a token that has a root; [`KeyringError::Hsm`].
    pub async fn create(token: Token) -> Result<Self, KeyringError> {
        let root_id = KeyId::new(KeyPurpose::DomainRoot, FIRST);
        let root = match token.generate_key(root_id, KeyAttributes::TOKEN).await {
            Err(HsmError::KeyExists(_)) => return Err(KeyringError::TokenInUse),
            made => made?,
        };
        for purpose in SIGNING {
            token.generate_key(KeyId::new(purpose, FIRST), KeyAttributes::TOKEN).await?;
        }
        let mut wrapped = Vec::new();
        for purpose in WRAPPED {
            let key = token.generate_key(KeyId::new(purpose, FIRST), KeyAttributes::SESSION_EXTRACTABLE).await?;
            wrapped.push(token.wrap_key(&root, &key).await?);
            // From here on it lives as every later start will have it: unwrapped, and not to leave again.
            token.destroy_key(&key).await?;
        }
        Self::open(token, &WrappedKeys::new(wrapped)).await
    }

    /// Loads a domain's keys into the token that has its root, and holds each against its check value.
    ///
    /// # Errors
    /// [`KeyringError::WrongRoot`], [`KeyringError::CheckValue`], [`KeyringError::Missing`],
    /// [`KeyringError::Unexpected`] where token and stored keys do not fit together; [`KeyringError::Hsm`] where the
    /// token lacks one of its own keys or fails.
    pub async fn open(token: Token, wrapped: &WrappedKeys) -> Result<Self, KeyringError> {
        if let Some(other) = wrapped.keys().iter().find(|wrapped| wrapped.key.version != FIRST) {
            return Err(KeyringError::Unexpected(other.key));
        }
        let derivation = load(&token, wrapped, KeyPurpose::Derivation).await?;
        let state = load(&token, wrapped, KeyPurpose::StateKey).await?;
        let channel = load(&token, wrapped, KeyPurpose::ChannelKey).await?;
        let node_identity = token.find_key(KeyId::new(KeyPurpose::NodeIdentity, FIRST)).await?;
        let issuing_ca = token.find_key(KeyId::new(KeyPurpose::IssuingCa, FIRST)).await?;
        let head_signing = token.find_key(KeyId::new(KeyPurpose::HeadSigning, FIRST)).await?;
        let public = PublicKeys {
            node_identity: token.public_key(&node_identity).await?,
            issuing_ca: token.public_key(&issuing_ca).await?,
            head_signing: token.public_key(&head_signing).await?,
        };
        let cache = Mutex::new(Cache::new(Self::CACHE_KEYS, Self::CACHE_TIME));
        let wrapped = wrapped.clone();
        Ok(Self { token, derivation, state, channel, node_identity, issuing_ca, head_signing, public, wrapped, cache })
    }

    /// Caches derived keys for `time` ([`Keyring::CACHE_TIME_MAX`] at most; zero caches nothing).
    #[must_use]
    pub fn with_cache_time(self, time: Duration) -> Self {
        self.cache().set_time(time.min(Self::CACHE_TIME_MAX));
        self
    }

    /// The domain's keys as they are stored.
    pub fn wrapped_keys(&self) -> &WrappedKeys {
        &self.wrapped
    }

    /// The public keys of this node's HSM.
    pub fn public_keys(&self) -> &PublicKeys {
        &self.public
    }

    /// The token's serial.
    pub fn serial(&self) -> TokenSerial {
        self.token.serial()
    }

    /// The class of domain that the token was made for.
    pub fn class(&self) -> DomainClass {
        self.token.class()
    }

    /// What the token can do.
    pub fn capabilities(&self) -> &Capabilities {
        self.token.capabilities()
    }

    /// Signs a certificate's TBSCertificate (DER) with the issuing CA: ECDSA P-384 over SHA-384, in DER.
    ///
    /// # Errors
    /// [`KeyringError::Hsm`].
    pub async fn sign_certificate(&self, tbs: &[u8]) -> Result<Vec<u8>, KeyringError> {
        let digest = digest::digest(&digest::SHA384, tbs);
        Ok(self.token.sign(&self.issuing_ca, digest.as_ref()).await?)
    }

    /// Signs a head's canonical bytes: ECDSA P-256 over SHA-256, in DER.
    ///
    /// # Errors
    /// [`KeyringError::Hsm`].
    pub async fn sign_head(&self, bytes: &[u8]) -> Result<Vec<u8>, KeyringError> {
        let digest = digest::digest(&digest::SHA256, bytes);
        Ok(self.token.sign(&self.head_signing, digest.as_ref()).await?)
    }

    /// Signs `bytes` as this node: ECDSA P-256 over SHA-256, in DER.
    ///
    /// # Errors
    /// [`KeyringError::Hsm`].
    pub async fn sign_as_node(&self, bytes: &[u8]) -> Result<Vec<u8>, KeyringError> {
        let digest = digest::digest(&digest::SHA256, bytes);
        Ok(self.token.sign(&self.node_identity, digest.as_ref()).await?)
    }

    /// The key of an enclave in a keyspace: different for every enclave, the same for one enclave at every start and
    /// every node of the domain. Cached. Whether the enclave may have it is the caller's to decide, each time.
    ///
    /// # Errors
    /// [`KeyringError::NoSigner`]; [`KeyringError::Hsm`].
    pub async fn enclave_key(
        &self,
        domain: &GenesisHash,
        input: &EnclaveKeyInput,
        now: Timestamp,
    ) -> Result<Secret<[u8; 32]>, KeyringError> {
        let derivation = Derivation::enclave_key(domain, input)?;
        self.cached(&derivation, Owner::Enclave(input.enclave), now).await
    }

    /// A named key, which is shared by whom policy lets use it. Cached.
    ///
    /// # Errors
    /// [`KeyringError::Hsm`].
    pub async fn named_key(
        &self,
        domain: &GenesisHash,
        uid: KeyUid,
        version: u32,
        now: Timestamp,
    ) -> Result<Secret<[u8; 32]>, KeyringError> {
        self.cached(&Derivation::named_key(domain, uid, version), Owner::Key(uid), now).await
    }

    /// The key that binds what is sealed to one instance, known by the hash of its identity key. Not cached.
    ///
    /// # Errors
    /// [`KeyringError::Hsm`].
    pub async fn instance_key(&self, domain: &GenesisHash, spki: &SpkiHash) -> Result<Secret<[u8; 32]>, KeyringError> {
        self.derive(&Derivation::instance_key(domain, spki)).await
    }

    /// The key that channel secrets between two enclaves come from; the same whichever of them is named first. Cached.
    ///
    /// # Errors
    /// [`KeyringError::Hsm`].
    pub async fn pair_key(
        &self,
        domain: &GenesisHash,
        a: EnclaveUid,
        b: EnclaveUid,
        epoch: u64,
        now: Timestamp,
    ) -> Result<Secret<[u8; 32]>, KeyringError> {
        self.cached(&Derivation::pair_key(domain, a, b, epoch), Owner::Pair(a, b), now).await
    }

    /// The key that the ledger seals its records of an epoch under. Not cached: the ledger holds it.
    ///
    /// # Errors
    /// [`KeyringError::Hsm`].
    pub async fn record_key(&self, domain: &GenesisHash, epoch: u64) -> Result<Secret<[u8; 32]>, KeyringError> {
        self.derive(&Derivation::record_key(domain, epoch)).await
    }

    /// A key for the MAC over a node's attestation challenges, drawn from the token's randomness: asked for once at a
    /// node's start, so that a challenge holds at this node alone, and is void after a restart, which forgets the
    /// challenges used up.
    ///
    /// # Errors
    /// [`KeyringError::Hsm`].
    pub async fn challenge_key(&self) -> Result<Secret<[u8; 32]>, KeyringError> {
        let mut key = Zeroizing::new([0; 32]);
        self.token.random(&mut *key).await?;
        Ok(Secret::new(*key))
    }

    /// Drops the cached keys of an enclave, and of every pair that it is in, at once.
    pub fn forget_enclave(&self, uid: EnclaveUid) {
        self.cache().forget(|owner| owner.involves(uid));
    }

    /// Drops the cached versions of a named key at once.
    pub fn forget_key(&self, uid: KeyUid) {
        self.cache().forget(|owner| owner == Owner::Key(uid));
    }

    /// Drops every cached key at once.
    pub fn forget_all(&self) {
        self.cache().forget(|_| true);
    }

    /// Whether the token works ([`Hsm::health`]) and still has the domain's keys, by their check values.
    ///
    /// # Errors
    /// [`KeyringError::Hsm`]; [`KeyringError::CheckValue`].
    pub async fn health(&self) -> Result<(), KeyringError> {
        self.token.health().await?;
        for handle in [&self.derivation, &self.state, &self.channel] {
            let id = handle.id();
            let mac = self.token.mac(handle, &KeyCheckValue::input(id)).await?;
            let expected = self.wrapped.key(id).map(|wrapped| wrapped.check);
            if expected != Some(KeyCheckValue::from_mac(&mac)) {
                return Err(KeyringError::CheckValue(id));
            }
        }
        Ok(())
    }

    async fn cached(
        &self,
        derivation: &Derivation,
        owner: Owner,
        now: Timestamp,
    ) -> Result<Secret<[u8; 32]>, KeyringError> {
        let found = self.cache().get(&derivation.context, now);
        let ticket = match found {
            Ok(key) => return Ok(key),
            Err(ticket) => ticket,
        };
        let key = self.derive(derivation).await?;
        self.cache().insert(ticket, &derivation.context, owner, key.clone(), now);
        Ok(key)
    }

    async fn derive(&self, derivation: &Derivation) -> Result<Secret<[u8; 32]>, KeyringError> {
        let handle = match derivation.from {
            Source::Derivation => &self.derivation,
            Source::State => &self.state,
            Source::Channel => &self.channel,
        };
        Ok(self.token.mac(handle, &derivation.input()).await?)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // A cache that a panic left half changed holds right keys under their contexts all the same.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const SIGNING: [KeyPurpose; 3] = [KeyPurpose::NodeIdentity, KeyPurpose::IssuingCa, KeyPurpose::HeadSigning];
const WRAPPED: [KeyPurpose; 3] = [KeyPurpose::Derivation, KeyPurpose::StateKey, KeyPurpose::ChannelKey];

/// Unwraps the domain's key of this purpose into the token.
async fn load(token: &Token, wrapped: &WrappedKeys, purpose: KeyPurpose) -> Result<KeyHandle, KeyringError> {
    let key = wrapped.key(KeyId::new(purpose, FIRST)).ok_or(KeyringError::Missing(purpose))?;
    let root = token.find_key(key.wrapping_key).await?;
    Ok(token.unwrap_key(&root, key).await?)
}

#[cfg(test)]
mod tests {
    use burgrave_hsm::{SoftwareToken, Unlock};

    use super::*;
    use crate::IdentityInput;

    const DOMAIN: GenesisHash = GenesisHash::from_bytes([7; 32]);
    const NOW: Timestamp = Timestamp::from_unix_secs(1_800_000_000);

    async fn keyring(dir: &tempfile::TempDir) -> Keyring {
        let path = dir.path().join("token");
        let token = SoftwareToken::create(&path, DomainClass::Dev, &Unlock::KeyFile).unwrap();
        Keyring::create(token.into()).await.unwrap()
    }

    fn input(number: u8) -> EnclaveKeyInput {
        EnclaveKeyInput {
            enclave: EnclaveUid::from_bytes([number; 16]),
            identity: IdentityInput::Name,
            keyspace: "payments/storage".parse().unwrap(),
            version: 1,
        }
    }

    fn kept(keyring: &Keyring) -> usize {
        keyring.cache().len()
    }

    #[tokio::test]
    async fn what_is_forgotten_is_dropped_at_once_and_derived_anew_on_request() {
        let dir = tempfile::tempdir().unwrap();
        let keyring = keyring(&dir).await;
        let (one, two) = (input(1).enclave, input(2).enclave);
        let named = KeyUid::from_bytes([9; 16]);
        let key = keyring.enclave_key(&DOMAIN, &input(1), NOW).await.unwrap();
        keyring.enclave_key(&DOMAIN, &input(2), NOW).await.unwrap();
        keyring.pair_key(&DOMAIN, one, two, 1, NOW).await.unwrap();
        keyring.named_key(&DOMAIN, named, 1, NOW).await.unwrap();
        assert_eq!(kept(&keyring), 4);

        keyring.forget_enclave(one);
        assert_eq!(kept(&keyring), 2, "the enclave's key and its pair's are gone, the other enclave's is not");
        keyring.forget_key(named);
        assert_eq!(kept(&keyring), 1);
        keyring.forget_all();
        assert_eq!(kept(&keyring), 0);
        assert_eq!(keyring.enclave_key(&DOMAIN, &input(1), NOW).await.unwrap(), key);
    }

    #[tokio::test]
    async fn the_cache_answers_in_the_place_of_the_token_for_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let keyring = keyring(&dir).await;
        let key = keyring.enclave_key(&DOMAIN, &input(1), NOW).await.unwrap();
        // Without the token's key only the cache can answer.
        keyring.token.destroy_key(&keyring.derivation).await.unwrap();
        let almost = NOW + (Keyring::CACHE_TIME - Duration::from_millis(1));
        assert_eq!(keyring.enclave_key(&DOMAIN, &input(1), almost).await.unwrap(), key);
        assert!(keyring.enclave_key(&DOMAIN, &input(1), NOW + Keyring::CACHE_TIME).await.is_err());
        assert!(keyring.health().await.is_err());
    }

    #[tokio::test]
    async fn no_cache_time_keeps_no_key() {
        let dir = tempfile::tempdir().unwrap();
        let keyring = keyring(&dir).await.with_cache_time(Duration::ZERO);
        keyring.enclave_key(&DOMAIN, &input(1), NOW).await.unwrap();
        assert_eq!(kept(&keyring), 0);
    }

    #[tokio::test]
    async fn every_challenge_key_is_new() {
        let dir = tempfile::tempdir().unwrap();
        let keyring = keyring(&dir).await;
        assert_ne!(keyring.challenge_key().await.unwrap(), keyring.challenge_key().await.unwrap());
    }
}
