//! Records as they are stored: sealed under the record key of their epoch, bound to their place.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use burgrave_keyring::{Keyring, KeyringError};
use burgrave_seal::envelope::{self, Envelope, EnvelopeHeader};
use burgrave_types::encoding::{DecodeError, Decoder, Encoder};
use burgrave_types::{GenesisHash, Random, Revision, Secret};

use crate::{Record, RecordPath, TransactError};

/// The format of a stored record, and the schema in its associated data.
const FORMAT: &str = "burgrave-record-v1";

/// What the envelope says of its key; which epoch's record key it is stands beside it.
const KEY_NAME: &str = "state-key/record";
const KEY_VERSION: u32 = 1;

/// Seals and opens records of one domain.
pub(crate) struct Sealer {
    keyring: Arc<Keyring>,
    domain: GenesisHash,
    random: Arc<dyn Random>,
    /// Record keys by epoch.
    keys: Mutex<BTreeMap<u64, Secret<[u8; 32]>>>,
}

/// A stored record's fields.
pub(crate) struct Sealed<'a> {
    epoch: u64,
    revision: Revision,
    version: u64,
    envelope: &'a [u8],
}

impl<'a> Sealed<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        if decoder.text()? != FORMAT {
            return Err(DecodeError::Value("record format that this release knows"));
        }
        let sealed = Self {
            epoch: decoder.u64()?,
            revision: Revision(decoder.u64()?),
            version: decoder.u64()?,
            envelope: decoder.bytes()?,
        };
        decoder.finish()?;
        Ok(sealed)
    }
}

impl Sealer {
    pub(crate) fn new(keyring: Arc<Keyring>, domain: GenesisHash, random: Arc<dyn Random>) -> Self {
        Self { keyring, domain, random, keys: Mutex::default() }
    }

    pub(crate) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The bytes to store for a record that is written in `epoch`.
    pub(crate) async fn seal(&self, epoch: u64, record: &Record) -> Result<Vec<u8>, TransactError> {
        let key = self.key(epoch).await?;
        let header = EnvelopeHeader { key: KEY_NAME.to_owned(), version: KEY_VERSION };
        let context = self.context(epoch, &record.path, record.revision, record.version);
        let envelope = envelope::seal(&key, &header, &context, &record.body, &*self.random)?;
        let fields = Encoder::new().text(FORMAT).u64(epoch).u64(record.revision.0).u64(record.version);
        Ok(fields.bytes(&envelope).finish())
    }

    /// The record in `value`, where it opens in this place.
    pub(crate) async fn open(&self, path: &RecordPath, value: &[u8]) -> Result<Option<Record>, KeyringError> {
        let Ok(Sealed { epoch, revision, version, envelope }) = Sealed::decode(value) else { return Ok(None) };
        let key = self.key(epoch).await?;
        let context = self.context(epoch, path, revision, version);
        let body = Envelope::parse(envelope).and_then(|envelope| envelope::open(&key, &envelope, &context));
        Ok(body.ok().map(|body| Record {
            path: path.clone(),
            revision,
            version,
            body: body.expose().as_slice().into(),
        }))
    }

    /// What a record's ciphertext is bound to: a record of another domain, epoch, place, time or schema does not open.
    fn context(&self, epoch: u64, path: &RecordPath, revision: Revision, version: u64) -> Vec<u8> {
        let fields = Encoder::new().text(FORMAT).bytes(self.domain.as_bytes()).u64(epoch);
        fields.text(&path.to_string()).u64(revision.0).u64(version).finish()
    }

    async fn key(&self, epoch: u64) -> Result<Secret<[u8; 32]>, KeyringError> {
        let known = self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(&epoch).cloned();
        if let Some(key) = known {
            return Ok(key);
        }
        let key = self.keyring.record_key(&self.domain, epoch).await?;
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(epoch, key.clone());
        Ok(key)
    }
}
