//! Encryption, decryption and key release for instances.
//!
//! A ciphertext says which key and version it is under (`burgrave-seal`'s envelope); a keyspace's name means the caller's
//! own key there. The caller's associated data is bound together with the domain. A key that is released is sealed in HPKE
//! PSK mode under the instance key (its id: the instance's 16 bytes), with [`SealedInfo`]: the caller's request id, the
//! instance's identity key as sender and receiver, no digest, the key's version.

use burgrave_audit::{Durability, Kind, Party, Release, Released};
use burgrave_keyring::{EnclaveKeyInput, IdentityInput};
use burgrave_seal::envelope::{self, Envelope, EnvelopeError, EnvelopeHeader};
use burgrave_seal::hpke::{self, Psk, SealedInfo, SealedKind};
use burgrave_types::encoding::Encoder;
use burgrave_types::{
    InstanceId, KeyIdentity, Operation, ParseError, Problem, ProblemCode, ResourceId, ResourceKind, Secret,
};

use crate::attestation::{hsm_problem, sealing_key, sealing_problem};
use crate::commit::Change;
use crate::live::InstanceEntry;
use crate::records::{EnclaveKeyRecord, KeyVersion, KeyVersionState, Stored, active, rotate};
use crate::view::View;
use crate::{Control, ReleasedKey};

/// Bytes that one call encrypts, at most.
const MAX_PLAINTEXT: usize = 1024 * 1024;

impl Control {
    /// Encrypts under the caller's own key in a keyspace, or under a named key; `aad` is bound to the ciphertext.
    ///
    /// # Errors
    /// `policy.denied`, `attestation.stale`, `revoked`, `request.invalid` for a resource that is no key, `not-found` for a
    /// key that policy allows but nobody made, `limit.reached` for more than 1 MiB, `unavailable`.
    pub async fn encrypt(
        &self,
        instance: InstanceId,
        resource: &ResourceId,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, Problem> {
        if plaintext.len() > MAX_PLAINTEXT {
            let detail = format!("{} bytes are more than the {MAX_PLAINTEXT} that one call encrypts", plaintext.len());
            return Err(
                Problem::new(ProblemCode::Limit, detail).with_fix("encrypt in parts, or ask for the key (`derive`)")
            );
        }
        let view = self.view()?;
        let entry = self.may_use(&view, instance, Operation::Encrypt, resource, Durability::Batched)?;
        let version = self.active_version(&view, &entry, resource).await?;
        let key = self.key_of(&entry, resource, version).await?;
        let header = EnvelopeHeader { key: resource.to_string(), version };
        envelope::seal(&key, &header, &self.bound(aad), plaintext, self.random()).map_err(envelope_problem)
    }

    /// Decrypts what [`Control::encrypt`] made. The ciphertext's header names key and version; the policy is asked
    /// before anything is opened.
    ///
    /// # Errors
    /// As [`Control::encrypt`]; `ciphertext.invalid` where it is not ours, was altered, was written by another enclave or
    /// with other `aad`; `key.state` for a version that is destroyed.
    pub async fn decrypt(
        &self,
        instance: InstanceId,
        ciphertext: &[u8],
        aad: &[u8],
    ) -> Result<Secret<Vec<u8>>, Problem> {
        let envelope = Envelope::parse(ciphertext).map_err(envelope_problem)?;
        let resource: ResourceId = envelope.key().parse().map_err(|error: ParseError| {
            Problem::new(ProblemCode::CiphertextInvalid, format!("the ciphertext names no key: {error}"))
                .with_fix("give it as it was returned by encrypt")
        })?;
        let view = self.view()?;
        let entry = self.may_use(&view, instance, Operation::Decrypt, &resource, Durability::Batched)?;
        let found = versions(&view, &entry, &resource)?.iter().find(|version| version.version == envelope.version());
        match found.map(|version| version.state) {
            Some(KeyVersionState::Active | KeyVersionState::Deactivated | KeyVersionState::Compromised) => {}
            Some(KeyVersionState::Destroyed) => {
                let detail = format!("version {} of `{resource}` is destroyed", envelope.version());
                return Err(
                    Problem::new(ProblemCode::KeyState, detail).with_fix("what it sealed cannot be read any more")
                );
            }
            None => return Err(envelope_problem(EnvelopeError::DoesNotOpen)),
        }
        let key = self.key_of(&entry, &resource, envelope.version()).await?;
        envelope::open(&key, &envelope, &self.bound(aad)).map_err(envelope_problem)
    }

    /// Releases the current key itself, sealed to the key that the instance attested (operation `derive`).
    /// `request_id` is the caller's, fresh for each request, and stands in what is sealed.
    ///
    /// # Errors
    /// As [`Control::encrypt`].
    ///
    /// Side effects: a ledger record of the release (so that a revocation rotates the key), a durable audit entry.
    pub async fn derive(
        &self,
        instance: InstanceId,
        resource: &ResourceId,
        request_id: [u8; 16],
    ) -> Result<ReleasedKey, Problem> {
        is_key(resource)?;
        let view = self.view()?;
        let entry = self.fresh_for(&view, instance, Operation::Derive, resource)?;
        let ruling = self.rule(&view, &entry, Operation::Derive, resource, None, Durability::Durable)?.or_denied()?;
        self.active_version(&view, &entry, resource).await?;
        let (_, version) = self
            .change(&format!("release to {instance}"), |view| {
                let entry = self.fresh(view, instance)?;
                // Nobody may have said no between the decision and this change.
                self.permitted(view, &entry, Operation::Derive, resource, None)?;
                let version = active(versions(view, &entry, resource)?).ok_or_else(|| no_key(resource))?.version;
                let mut record = entry.record.clone();
                if !record.released.entry(resource.clone()).or_default().insert(version) {
                    return Ok((Change::new(), version));
                }
                let (path, revision) = key_place(view, &entry, resource).ok_or_else(|| no_key(resource))?;
                Ok((Change::new().update(&record, entry.revision).rest_on(path, revision), version))
            })
            .await?;
        let view = self.view()?;
        let entry = self.fresh(&view, instance)?;
        let key = self.key_of(&entry, resource, version).await?;
        let own = entry.record.spki_hash;
        let info = SealedInfo {
            kind: SealedKind::DerivedKey,
            id: &request_id,
            sender: own,
            receiver: own,
            digest: &[],
            version,
        };
        let psk = self.instance_key(&entry).await?;
        let psk = Psk { psk: &psk, id: entry.record.id.as_bytes() };
        let recipient = sealing_key(entry.record.sealing_key.as_bytes())?;
        let sealed = hpke::seal(&recipient, Some(psk), &info.encode(), &[], key.expose(), self.random());
        let to = Party { enclave: entry.record.enclave_name.clone(), instance };
        let decision = ruling.id;
        let release =
            Release { what: Released::Key, to, resource: resource.clone(), version: version.into(), decision };
        self.record(Kind::Release(release), Durability::Durable)?;
        self.happened("key.released", &resource.to_string(), &format!("version {version} to {instance}"));
        Ok(ReleasedKey { version, sealed: sealed.map_err(|error| sealing_problem(&error))?.to_bytes() })
    }

    /// The key that an instance shares with the domain's HSMs.
    pub(crate) async fn instance_key(&self, entry: &InstanceEntry) -> Result<Secret<[u8; 32]>, Problem> {
        let key = self.keyring().instance_key(&self.trust().genesis_hash(), &entry.record.spki_hash).await;
        key.map_err(|error| hsm_problem(&error))
    }

    /// The instance, where it may do that with that key now.
    fn may_use(
        &self,
        view: &View,
        instance: InstanceId,
        operation: Operation,
        resource: &ResourceId,
        durability: Durability,
    ) -> Result<std::sync::Arc<InstanceEntry>, Problem> {
        is_key(resource)?;
        let entry = self.fresh_for(view, instance, operation, resource)?;
        self.rule(view, &entry, operation, resource, None, durability)?.or_denied()?;
        Ok(entry)
    }

    /// The version that is written under. An enclave's first use of a keyspace makes its key there.
    async fn active_version(&self, view: &View, entry: &InstanceEntry, resource: &ResourceId) -> Result<u32, Problem> {
        if let Some(version) = active(versions(view, entry, resource)?) {
            return Ok(version.version);
        }
        if resource.kind != ResourceKind::Keyspace {
            return Err(no_key(resource));
        }
        let (now, instance) = (self.now(), entry.record.id);
        let (_, version) = self
            .change(&format!("first use by {}", entry.record.enclave_name), |view| {
                let entry = self.fresh(view, instance)?;
                let keyspace = view.keys.get(resource).ok_or_else(|| no_key(resource))?;
                let (change, version) = match view.enclave_keys.get(&(entry.record.enclave, resource.name.clone())) {
                    Some(key) => match active(&key.record.versions) {
                        Some(version) => return Ok((Change::new(), version.version)),
                        // The keyspace was deleted and made again: what was there stays destroyed.
                        None => {
                            let mut record = key.record.clone();
                            let version = rotate(&mut record.versions, KeyVersionState::Deactivated, now);
                            (Change::new().update(&record, key.revision), version)
                        }
                    },
                    None => (Change::new().create(&first_key(&entry, resource, now)), 1),
                };
                Ok((change.rest_on(keyspace.record.path(), keyspace.revision), version))
            })
            .await?;
        Ok(version)
    }

    /// The key's bytes.
    async fn key_of(
        &self,
        entry: &InstanceEntry,
        resource: &ResourceId,
        version: u32,
    ) -> Result<Secret<[u8; 32]>, Problem> {
        let (view, domain, now) = (self.view()?, self.trust().genesis_hash(), self.now());
        let key = if resource.kind == ResourceKind::Keyspace {
            let (enclave, identity) = (entry.record.enclave, identity(&view, entry)?);
            let input = EnclaveKeyInput { enclave, identity, keyspace: resource.name.clone(), version };
            self.keyring().enclave_key(&domain, &input, now).await
        } else {
            let uid = view.keys.get(resource).ok_or_else(|| no_key(resource))?.record.uid;
            self.keyring().named_key(&domain, uid, version, now).await
        };
        key.map_err(|error| hsm_problem(&error))
    }

    /// The caller's associated data, bound together with the domain.
    fn bound(&self, aad: &[u8]) -> Vec<u8> {
        Encoder::new().text("burgrave-data-v1").bytes(self.trust().genesis_hash().as_bytes()).bytes(aad).finish()
    }
}

/// What the enclave's keys are bound to: the registration's choice, filled from the reference value that was matched.
fn identity(view: &View, entry: &InstanceEntry) -> Result<IdentityInput, Problem> {
    let enclave = view.enclave_of(entry.record.enclave).ok_or_else(crate::authorizer::not_attested)?;
    match enclave.record.key_identity {
        KeyIdentity::Name => Ok(IdentityInput::Name),
        KeyIdentity::Measurement => Ok(IdentityInput::Measurement(entry.record.reference)),
        KeyIdentity::Signer => {
            let reference = enclave.record.releases.get(&entry.record.release).map(|release| &release.reference);
            let signer = reference.and_then(|reference| reference.signer.clone()).ok_or_else(|| {
                let detail = format!("the release `{}` names no signer to derive keys from", entry.record.release);
                Problem::new(ProblemCode::KeyState, detail).with_fix("add a release that names its signer")
            })?;
            let product_id = reference.and_then(|reference| reference.product_id.clone());
            Ok(IdentityInput::Signer { tee: enclave.record.tee, signer, product_id })
        }
    }
}

fn first_key(entry: &InstanceEntry, resource: &ResourceId, now: burgrave_types::Timestamp) -> EnclaveKeyRecord {
    EnclaveKeyRecord {
        schema: 1,
        enclave: entry.record.enclave,
        enclave_name: entry.record.enclave_name.clone(),
        keyspace: resource.name.clone(),
        versions: vec![KeyVersion::first(now)],
    }
}

/// The versions of the key that `resource` means to this instance; none yet for a keyspace it has not used.
fn versions<'a>(view: &'a View, entry: &InstanceEntry, resource: &ResourceId) -> Result<&'a [KeyVersion], Problem> {
    let key = view.keys.get(resource).ok_or_else(|| no_key(resource))?;
    if !key.record.is_keyspace() {
        return Ok(&key.record.versions);
    }
    let own = view.enclave_keys.get(&(entry.record.enclave, resource.name.clone()));
    Ok(own.map(|own| own.record.versions.as_slice()).unwrap_or_default())
}

/// Where the versions of that key stand, and their revision.
fn key_place(view: &View, entry: &InstanceEntry, resource: &ResourceId) -> Option<(String, burgrave_types::Revision)> {
    if resource.kind == ResourceKind::Keyspace {
        let own = view.enclave_keys.get(&(entry.record.enclave, resource.name.clone()))?;
        return Some((own.record.path(), own.revision));
    }
    let key = view.keys.get(resource)?;
    Some((key.record.path(), key.revision))
}

fn is_key(resource: &ResourceId) -> Result<(), Problem> {
    if matches!(resource.kind, ResourceKind::Key | ResourceKind::Keyspace) {
        return Ok(());
    }
    Err(Problem::new(ProblemCode::RequestInvalid, format!("`{resource}` is no key"))
        .with_fix("name a `key/<namespace>/<name>` or a `keyspace/<namespace>/<name>`"))
}

fn no_key(resource: &ResourceId) -> Problem {
    Problem::new(ProblemCode::NotFound, format!("there is no `{resource}`"))
        .with_fix(format!("an administrator makes it with `burgrave key create {resource}`"))
}

fn envelope_problem(error: EnvelopeError) -> Problem {
    let code = match error {
        EnvelopeError::NotAnEnvelope(_) | EnvelopeError::Unknown { .. } | EnvelopeError::DoesNotOpen => {
            ProblemCode::CiphertextInvalid
        }
        EnvelopeError::KeyName | EnvelopeError::Crypto => ProblemCode::Internal,
    };
    let fix = "decrypt with the associated data it was encrypted with, as the enclave that encrypted it";
    Problem::new(code, error.to_string()).with_fix(fix)
}
