//! Admission: policy, certificate, attestation result, record; in this order, so that nothing is given out that is not
//! allowed, and nothing is recorded that was not given.

use burgrave_audit::{Attestation, Durability, Kind, Outcome};
use burgrave_identity::{CertificateDer, CertificateTemplate, Profile};
use burgrave_policy::CandidateFacts;
use burgrave_seal::hpke::{self, SealedInfo, SealedKind};
use burgrave_seal::sha256;
use burgrave_types::{
    DomainClass, EnclaveUid, InstanceId, Problem, ProblemCode, ResultDigest, Revision, Standing, Timestamp,
};
use burgrave_verifier::{ResultInputs, attestation_result};

use super::lifetime;
use super::refuse;
use super::requirements::fingerprint;
use super::verify::{Admission, runs};
use crate::authorizer::standing_problem;
use crate::commit::Change;
use crate::live::InstanceEntry;
use crate::records::{EnclaveRecord, Entry, InstanceRecord, RecordedStanding, Stored};
use crate::signer::Signer;
use crate::view::View;
use crate::{Attested, Control, LinkBinding};

/// Who verified, in an attestation result.
const VERIFIER: &str = concat!("burgrave ", env!("CARGO_PKG_VERSION"));

/// Fresh instances of an enclave, at most: whoever has the code can start it as often as they like. Those that are stale or
/// were ended do not count, so that a flood of starts is over when their deadlines are.
const MAX_INSTANCES: usize = 10_000;

impl Control {
    /// Admits or renews an instance whose evidence was taken. Where that is refused, it is recorded.
    pub(super) async fn admit(&self, admission: Admission, link: &LinkBinding) -> Result<Attested, Problem> {
        let admitted = self.admit_verified(&admission, link).await;
        admitted.map_err(|problem| {
            let refusal = refuse::Refusal {
                checks: admission.checks.clone(),
                claims: Some(Box::new(admission.claims.clone())),
                parts: admission.parts.iter().map(refuse::taken).collect(),
                ..problem.into()
            };
            self.refused((&admission).into(), refusal)
        })
    }

    async fn admit_verified(&self, admission: &Admission, link: &LinkBinding) -> Result<Attested, Problem> {
        let view = self.view()?;
        let enclave = self.still_admits(&view, admission)?;
        // Before anything is written for it, and before the HSM is asked.
        if admission.instance.is_none() && !has_room(&view, admission.enclave, self.now()) {
            return Err(too_many(&admission.enclave_name));
        }
        if self.refusals().is_full(admission.instance, ProblemCode::PolicyDenied.as_str()) {
            self.denied_unheard(&view, &candidate(admission))?;
        }
        self.rule_candidate(&view, &candidate(admission))?.or_denied()?;

        let signer = self.durable_signer().await?;
        let at = admission.verified_at;
        let instance = admission.instance.unwrap_or_else(|| InstanceId::random(self.random()));
        let interval = std::time::Duration::from_secs(enclave.record.reattest_every_secs);
        let ends = at + lifetime(enclave.record.reattest_every_secs);
        let until = admission.valid_until.map_or(ends, |end| end.min(ends));
        let result = self.sign_result(&signer, admission, instance, (at, until))?;
        let digest = ResultDigest::from_bytes(sha256(result.as_bytes()));
        let svid = self.issue_svid(admission, link, at, until).await?;
        let sealed_instance_key = match admission.renews {
            true => None,
            false => Some(self.seal_instance_key(admission, instance).await?),
        };
        // A TPM had a minute to prove its key, and ledger and HSM may have been slow: what the evidence rests on may be over.
        if until <= self.now() {
            return Err(refuse::over(until));
        }
        self.record_attestation(admission, instance, digest, until)?;
        let revision = self.record_instance(admission, instance, digest, until).await?;
        let view = self.view()?;
        let entry = view.instance(instance).ok_or_else(crate::authorizer::not_attested)?;
        entry.live.set_result(digest);
        entry.live.attested(at, until);
        // Whatever ended it in the meantime, ended it.
        match view.standing(entry, self.now()) {
            Standing::Fresh { .. } => {}
            standing => return Err(standing_problem(entry, standing)),
        }
        let what = if admission.instance.is_some() { "instance.renewed" } else { "instance.attested" };
        let mut detail = format!("{}@{}", admission.enclave_name, admission.release);
        if !admission.parts.is_empty() {
            let parts: Vec<_> = admission.parts.iter().map(in_words).collect();
            detail = format!("{detail}, with {}", parts.join(", "));
        }
        self.happened(what, &instance.to_string(), &detail);
        Ok(Attested {
            instance,
            svid_chain: svid.into_iter().map(|certificate| certificate.to_vec()).collect(),
            attestation_result: result,
            until,
            interval,
            sealed_instance_key,
            revision,
        })
    }

    /// The registration, where it still lets in what was verified under it.
    fn still_admits<'a>(&self, view: &'a View, admission: &Admission) -> Result<&'a Entry<EnclaveRecord>, Problem> {
        let refused = || refuse::enclave(&admission.enclave_name, self.class() == DomainClass::Dev);
        let enclave = view.enclave_of(admission.enclave).ok_or_else(refused)?;
        let release = enclave.record.releases.get(&admission.release).ok_or_else(refused)?;
        let instance = admission.instance.and_then(|id| view.instance(id)).map(AsRef::as_ref);
        let runs = runs(instance, &admission.release);
        if enclave.record.revoked.is_some() || !release.accepts(runs, self.now()) {
            return Err(refused());
        }
        if fingerprint(&enclave.record.requirements) != admission.requirements {
            return Err(refuse::changed(&admission.enclave_name));
        }
        if let Some(platform) = admission.claims.platform_id.as_ref().filter(|platform| enclave.record.bars(platform)) {
            return Err(refuse::barred(&admission.enclave_name, platform));
        }
        // The list may have been shortened since the evidence was verified: a ticket lives for a minute.
        if let Some(tpm) = admission.tpm.as_ref().filter(|tpm| !enclave.record.lists(&tpm.ek_digest)) {
            return Err(refuse::unlisted(&tpm.ek_digest));
        }
        if let Some(id) = admission.instance {
            let entry = view.instance(id).ok_or_else(crate::authorizer::not_attested)?;
            if let standing @ Standing::Revoked { .. } = view.standing(entry, self.now()) {
                return Err(standing_problem(entry, standing));
            }
        }
        Ok(enclave)
    }

    /// Puts the instance on record, where this is its first attestation or something changed.
    async fn record_instance(
        &self,
        admission: &Admission,
        instance: InstanceId,
        digest: ResultDigest,
        until: Timestamp,
    ) -> Result<Revision, Problem> {
        let changer = format!("attestation of {}", admission.enclave_name);
        let (committed, ()) = self
            .change(&changer, |view| {
                let enclave = self.still_admits(view, admission)?;
                // Between the decision and this change the HSM was asked twice, and a policy may have been narrowed by a call
                // that has returned.
                self.still_permits(view, &candidate(admission))?;
                let before = view.instance(instance);
                let record = InstanceRecord {
                    schema: 1,
                    id: instance,
                    enclave: admission.enclave,
                    enclave_name: admission.enclave_name.clone(),
                    release: admission.release.clone(),
                    reference: admission.reference,
                    spki_hash: admission.spki_hash,
                    sealing_key: admission.sealing_key.clone(),
                    platform_id: admission.claims.platform_id.clone(),
                    claims: admission.claims.clone(),
                    parts: admission.parts.clone(),
                    conceded: admission.conceded.clone(),
                    shortfall: admission.shortfall.clone(),
                    tpm: admission.tpm.clone(),
                    first_attested_at: before.map_or(admission.verified_at, |entry| entry.record.first_attested_at),
                    attested_at: admission.verified_at,
                    until,
                    result: digest,
                    standing: RecordedStanding::Attested,
                    released: before.map(|entry| entry.record.released.clone()).unwrap_or_default(),
                };
                let change = match before {
                    None if view.instance_of_key(&admission.spki_hash).is_some() => {
                        return Err(refuse::renewal("its identity key became another instance's meanwhile"));
                    }
                    None if !has_room(view, admission.enclave, self.now()) => {
                        return Err(too_many(&admission.enclave_name));
                    }
                    None => Change::new().create(&record),
                    Some(entry) => {
                        // A mere renewal is not recorded: all but its times and its result is as it was.
                        let old = &entry.record;
                        let mut renewed = record.clone();
                        (renewed.attested_at, renewed.until, renewed.result) = (old.attested_at, old.until, old.result);
                        if renewed == *old {
                            return Ok((Change::new(), ()));
                        }
                        Change::new().update(&record, entry.revision)
                    }
                };
                Ok((change.rest_on(enclave.record.path(), enclave.revision), ()))
            })
            .await?;
        Ok(committed.revision)
    }

    fn sign_result(
        &self,
        signer: &Signer,
        admission: &Admission,
        instance: InstanceId,
        (at, until): (Timestamp, Timestamp),
    ) -> Result<String, Problem> {
        let payload = attestation_result(&ResultInputs {
            verifier: VERIFIER,
            genesis: self.trust().genesis_hash(),
            enclave: &admission.enclave_name.spiffe_id(self.trust().trust_domain()),
            release: admission.release.as_str(),
            reference: admission.reference,
            instance,
            nonce: admission.nonce.as_bytes(),
            evidence: admission.evidence,
            claims: &admission.claims,
            parts: &admission.parts,
            at,
            ends: until.min(signer.until),
        });
        signer.sign_result(&payload).map_err(|error| internal(&error))
    }

    async fn issue_svid(
        &self,
        admission: &Admission,
        link: &LinkBinding,
        at: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<CertificateDer<'static>>, Problem> {
        let template = CertificateTemplate {
            profile: Profile::Enclave { id: admission.enclave_name.spiffe_id(self.trust().trust_domain()) },
            class: self.class(),
            subject_spki: link.identity_spki.clone(),
            issuer_spki: self.trust().ca_spki().to_vec(),
            not_before: at - crate::signer::CLOCK_SKEW,
            not_after: until,
        };
        crate::signer::issue(self.parts(), &template).await.map_err(|error| {
            tracing::error!(%error, "a certificate could not be issued");
            Problem::new(ProblemCode::Unavailable, format!("the certificate could not be issued: {error}"))
                .with_fix("the identity key must be ECDSA P-256; else see `burgrave status` for the HSM's health")
        })
    }

    async fn seal_instance_key(&self, admission: &Admission, instance: InstanceId) -> Result<Vec<u8>, Problem> {
        let key = self.keyring().instance_key(&self.trust().genesis_hash(), &admission.spki_hash).await;
        let key = key.map_err(|error| hsm_problem(&error))?;
        let info = SealedInfo {
            kind: SealedKind::InstanceKey,
            id: instance.as_bytes(),
            sender: admission.spki_hash,
            receiver: admission.spki_hash,
            digest: &[],
            version: 1,
        };
        let recipient = sealing_key(admission.sealing_key.as_bytes())?;
        let sealed = hpke::seal(&recipient, None, &info.encode(), &[], key.expose(), self.random());
        Ok(sealed.map_err(|error| sealing_problem(&error))?.to_bytes())
    }

    fn record_attestation(
        &self,
        admission: &Admission,
        instance: InstanceId,
        digest: ResultDigest,
        until: Timestamp,
    ) -> Result<(), Problem> {
        let event = Attestation {
            enclave: admission.enclave_name.clone(),
            instance: Some(instance),
            tee: admission.claims.tee,
            outcome: Outcome::Accepted,
            cause: None,
            checks: admission.checks.clone(),
            evidence: admission.evidence,
            result: Some(digest),
            claims: Some(admission.claims.clone()),
            parts: admission.parts.iter().map(refuse::taken).collect(),
            valid_until: Some(until),
        };
        self.record(Kind::Attestation(Box::new(event)), Durability::Durable)
    }
}

/// Somebody who is to be admitted, as policies see them.
fn candidate(admission: &Admission) -> CandidateFacts {
    CandidateFacts {
        enclave: admission.enclave_name.clone(),
        release: Some(admission.release.to_string()),
        groups: Vec::new(),
        claims: admission.claims.clone(),
        conceded: admission.conceded.clone(),
    }
}

/// A part beside the lead in a few words: what it is, and which.
fn in_words(part: &burgrave_types::Claims) -> String {
    let name = part.product.as_deref().map_or_else(String::new, |product| format!(" {product}"));
    let platform = part.platform_id.as_ref().map_or_else(String::new, |id| format!(" {:.16}", id.to_string()));
    format!("{}{name}{platform}", part.tee)
}

/// Whether one more instance of the enclave may come.
fn has_room(view: &View, enclave: EnclaveUid, now: Timestamp) -> bool {
    let fresh = |entry: &&std::sync::Arc<InstanceEntry>| matches!(view.standing(entry, now), Standing::Fresh { .. });
    view.instances_of(enclave).filter(fresh).count() < MAX_INSTANCES
}

fn too_many(enclave: &burgrave_types::EnclaveName) -> Problem {
    let detail = format!("`{enclave}` has {MAX_INSTANCES} fresh instances, as many as an enclave may");
    Problem::new(ProblemCode::Limit, detail).with_fix(format!(
        "try again when some have missed their deadline; an administrator sees who starts so many with `burgrave instance \
         list --enclave {enclave} --standing fresh`, and ends them with `burgrave instance revoke` or, all at once, by \
         revoking their release"
    ))
}

/// A sealing key as it is recorded.
pub(crate) fn sealing_key(bytes: &[u8]) -> Result<[u8; 32], Problem> {
    bytes.try_into().map_err(|_| Problem::new(ProblemCode::Internal, "a sealing key on record does not have 32 bytes"))
}

/// The HSM did not answer.
pub(crate) fn hsm_problem(error: &burgrave_keyring::KeyringError) -> Problem {
    tracing::error!(%error, "the HSM did not serve a key");
    Problem::new(ProblemCode::Unavailable, "the node's HSM did not answer").with_fix("try again, or ask another node")
}

/// Nothing can be sealed to the key that was attested.
pub(crate) fn sealing_problem(error: &hpke::HpkeError) -> Problem {
    Problem::new(ProblemCode::RequestInvalid, format!("nothing can be sealed to the attested key: {error}"))
        .with_fix("attest with an X25519 public key")
}

fn internal(error: &dyn std::error::Error) -> Problem {
    tracing::error!(%error, "an attestation result could not be signed");
    Problem::new(ProblemCode::Internal, "the attestation result could not be signed").with_fix("try again")
}

#[cfg(test)]
mod tests {
    use burgrave_types::{HeadHash, KeyIdentity, ReferenceDigest, ReleaseState, SpkiHash, Tee};

    use super::*;
    use crate::records::{Release, encode};
    use crate::view::RecordChange;

    const NOW: Timestamp = Timestamp::from_unix_secs(1_000_000);

    fn enclave() -> EnclaveRecord {
        let reference = serde_json::from_value(serde_json::json!({ "tee": "simulated", "measurement": "aa" })).unwrap();
        let release = Release {
            reference,
            state: ReleaseState::Active,
            origin: String::new(),
            log: Default::default(),
            valid_until: None,
            history: Vec::new(),
        };
        EnclaveRecord {
            schema: 1,
            uid: EnclaveUid::from_bytes([1; 16]),
            name: "payments/api".parse().unwrap(),
            tee: Tee::Simulated,
            key_identity: KeyIdentity::Name,
            reattest_every_secs: 60,
            releases: [("v1".parse().unwrap(), release)].into(),
            tpm_ek_digests: Vec::new(),
            requirements: Default::default(),
            attest_anew: Vec::new(),
            barred_platforms: Vec::new(),
            revoked: None,
            created: NOW,
            created_by: "root".to_owned(),
        }
    }

    fn instance(number: usize, standing: RecordedStanding, until: Timestamp) -> InstanceRecord {
        let claims = serde_json::json!({
            "tee": "simulated", "tcb": { "status": "up-to-date" }, "launch": {}, "proved": ["launch"],
        });
        let (enclave, mut id) = (enclave(), [0; 16]);
        id[..8].copy_from_slice(&number.to_be_bytes());
        InstanceRecord {
            schema: 1,
            id: InstanceId::from_bytes(id),
            enclave: enclave.uid,
            enclave_name: enclave.name,
            release: "v1".parse().unwrap(),
            reference: ReferenceDigest::from_bytes([0; 32]),
            spki_hash: SpkiHash::from_bytes(sha256(&id)),
            sealing_key: burgrave_types::claims::HexBytes(Vec::new()),
            platform_id: None,
            claims: serde_json::from_value(claims).unwrap(),
            parts: Vec::new(),
            conceded: Default::default(),
            shortfall: None,
            tpm: None,
            first_attested_at: NOW,
            attested_at: NOW,
            until,
            result: ResultDigest::from_bytes([0; 32]),
            standing,
            released: Default::default(),
        }
    }

    #[test]
    fn ten_thousand_instances_that_are_gone_lock_nobody_out() {
        let records = (0..MAX_INSTANCES).map(|number| match number % 3 {
            0 => instance(number, RecordedStanding::Stale { since: NOW }, NOW),
            1 => instance(number, RecordedStanding::Revoked { at: NOW, reason: String::new() }, NOW + lifetime(60)),
            // Fresh still, for a while.
            _ => instance(number, RecordedStanding::Attested, NOW + lifetime(60)),
        });
        let mut written = vec![(enclave().path(), encode(&enclave()))];
        written.extend(records.map(|record| (record.path(), encode(&record))));
        fn changes(written: &[(String, Vec<u8>)], revision: Revision) -> impl Iterator<Item = RecordChange<'_>> {
            written.iter().map(move |(path, body)| RecordChange { path, body: Some(body), revision })
        }
        let at = |revision| (revision, HeadHash::from_bytes([0; 32]), NOW);
        let (view, _) = View::empty().unwrap().next(at(Revision(1)), changes(&written, Revision(1))).unwrap();
        assert!(has_room(&view, enclave().uid, NOW));
        let more: Vec<_> = (0..MAX_INSTANCES)
            .map(|number| instance(number, RecordedStanding::Attested, NOW + lifetime(60)))
            .map(|record| (record.path(), encode(&record)))
            .collect();
        let (full, _) = view.next(at(Revision(2)), changes(&more, Revision(2))).unwrap();
        assert!(!has_room(&full, enclave().uid, NOW));
        assert!(has_room(&full, enclave().uid, NOW + lifetime(60)));
    }
}
