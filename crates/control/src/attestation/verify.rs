//! Verification and appraisal: cheap checks first, then signatures; nothing is written.

use std::collections::BTreeSet;

use burgrave_identity::spki_hash;
use burgrave_seal::{AttestationBinding, sha256};
use burgrave_types::api::{Requirements, Shortfall};
use burgrave_types::claims::HexBytes;
use burgrave_types::{
    Claims, Concession, DomainClass, EnclaveUid, EvidenceDigest, InstanceId, Problem, ProblemCode, ReferenceDigest,
    Segment, SpkiHash, Tee, Timestamp,
};
use burgrave_verifier::tpm::{AkProof, Public, boot_counts, ek_digest};
use burgrave_verifier::{
    Appraisal, Endorsements, Expected, Known, Profile, TpmProfile, TpmTrust, Verdict, Verification, appraise,
};
use serde::{Deserialize, Serialize};

use super::refuse::{self, Refusal};
use super::requirements::{conceded, fingerprint, floors, laxest, profile, shortfall};
use crate::challenge::Open;
use crate::live::InstanceEntry;
use crate::records::{EnclaveRecord, RecordedStanding, TpmProof};
use crate::view::View;
use crate::{AttestRequest, Control};

/// Evidence that was taken.
pub(super) struct Accepted {
    pub(super) challenge: Open,
    pub(super) admission: Admission,
    /// Whether the TPM must yet prove its attestation key.
    pub(super) must_activate: bool,
    /// The endorsement key, for that.
    pub(super) ek_public: Vec<u8>,
}

/// What is known of somebody who is to be admitted; it may travel to the agent and back, under a MAC.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Admission {
    pub(super) enclave: EnclaveUid,
    pub(super) enclave_name: burgrave_types::EnclaveName,
    pub(super) nonce: HexBytes,
    pub(super) evidence: EvidenceDigest,
    /// When the evidence was verified: from then on its attestation counts, however long the rest takes.
    pub(super) verified_at: Timestamp,
    pub(super) spki_hash: SpkiHash,
    pub(super) sealing_key: HexBytes,
    /// The instance that is renewed.
    pub(super) instance: Option<InstanceId>,
    /// Whether the caller said that it renews, and so has its instance key.
    pub(super) renews: bool,
    pub(super) release: Segment,
    pub(super) reference: ReferenceDigest,
    pub(super) claims: Claims,
    /// The claims of the other parts.
    pub(super) parts: Vec<Claims>,
    /// What of the claims only the registration lets pass.
    pub(super) conceded: BTreeSet<Concession>,
    /// What will refuse it.
    pub(super) shortfall: Option<Shortfall>,
    /// The fingerprint of the requirements that it was held against.
    pub(super) requirements: HexBytes,
    pub(super) tpm: Option<TpmProof>,
    /// When certificates or collateral under the evidence end.
    pub(super) valid_until: Option<Timestamp>,
    /// What was checked, for the record.
    pub(super) checks: Vec<burgrave_audit::Check>,
}

impl Control {
    /// Verifies a request up to the point where something would change.
    pub(super) fn verify_request(&self, request: &AttestRequest) -> Result<Accepted, Refusal> {
        let (view, now) = (self.view()?, self.now());
        let spki_hash = spki_hash(&request.link.identity_spki);
        let challenge =
            self.challenger().open(now, &request.nonce, &request.enclave, &spki_hash).map_err(refuse::challenge)?;
        let enclave = view.enclaves.get(&request.enclave).map(|entry| &entry.record);
        let enclave = enclave.filter(|enclave| enclave.revoked.is_none());
        let instance = self.renewed(&view, request, enclave, &spki_hash)?;
        let tpm = tpm_proof(request);
        let known = instance.and_then(|entry| entry.record.tpm.clone());
        // The same key in the same TPM since the same boot was proven before.
        let proven = tpm.is_some() && tpm == known;
        let strictest = Requirements::default();
        let requirements = enclave.map_or(&strictest, |enclave| &enclave.requirements);
        let platforms: Vec<_> = requirements.platforms.iter().map(|platform| platform.as_bytes().to_vec()).collect();
        let under = |at| (profile(requirements, at), platforms.clone());
        let verification = self.verify_evidence(request, tpm.as_ref(), under(now), now);
        // What no registration could let pass is told to anybody; what this one demands, only below.
        if verification.verdict != Verdict::Accept {
            let by_itself = self.verify_evidence(request, tpm.as_ref(), (laxest(), Vec::new()), now);
            if by_itself.verdict != Verdict::Accept {
                return Err(refuse::verification(&by_itself));
            }
        }
        let must_activate = request.evidence.lead.tee == Tee::Tpm && !proven;
        if must_activate && tpm.is_none() {
            return Err(refuse::activation("the evidence lacks `ak.pub`, `ek.pub` or a quote that can be read").into());
        }
        // Only now: junk gets the same answer whether or not the enclave is registered, and lists the TPM.
        if let Some(tpm) = tpm.as_ref().filter(|tpm| !enclave.is_some_and(|enclave| enclave.lists(&tpm.ek_digest))) {
            return Err(refuse::unlisted(&tpm.ek_digest).into());
        }
        let Some(enclave) = enclave else {
            return Err(refuse::enclave(&request.enclave, self.class() == DomainClass::Dev).into());
        };
        // Also where it is refused: a log that was cut goes on from here.
        self.run_time_logs().set(spki_hash, verification.ima.clone());
        if verification.verdict != Verdict::Accept {
            return Err(refuse::demanded(&verification, &floors(requirements, now)));
        }
        let claims = verification.claims.clone().ok_or_else(|| refuse::verification(&verification))?;
        if let Some(platform) = claims.platform_id.as_ref().filter(|platform| enclave.bars(platform)) {
            return Err(refuse::barred(&request.enclave, platform).into());
        }
        let (release, reference, release_ends) = appraised(enclave, &verification, &claims, (instance, now))?;
        let parts = self.verify_parts(request, enclave, now).map_err(|refusal| Refusal {
            // The lead's were taken; they stand beside what was refused.
            checks: [refuse::audited(&verification.checks), refusal.checks].concat(),
            claims: Some(Box::new(lasting(claims.clone(), enclave))),
            ..refusal
        })?;
        let shortfall = shortfall(requirements, now, |at| self.verify_evidence(request, tpm.as_ref(), under(at), now));
        // What a device beside it concedes, the whole does.
        let conceded: BTreeSet<_> = std::iter::once(&claims).chain(&parts.claims).flat_map(conceded).collect();
        let mut checks = refuse::audited(&verification.checks);
        checks.extend(parts.checks);
        checks.extend(shortfall.as_ref().map(refuse::coming));
        checks.extend(refuse::conceded(&conceded));
        let admission = Admission {
            enclave: enclave.uid,
            enclave_name: enclave.name.clone(),
            nonce: HexBytes(request.nonce.clone()),
            evidence: EvidenceDigest::from_bytes(sha256(&request.evidence.encode())),
            verified_at: now,
            spki_hash,
            sealing_key: HexBytes(request.sealing_key.to_vec()),
            instance: instance.map(|entry| entry.record.id),
            renews: request.renews.is_some(),
            release,
            reference,
            claims: lasting(claims, enclave),
            parts: parts.claims,
            conceded,
            requirements: fingerprint(&enclave.requirements),
            tpm,
            valid_until: [
                verification.valid_until,
                parts.valid_until,
                release_ends,
                shortfall.as_ref().map(|coming| coming.from),
            ]
            .into_iter()
            .flatten()
            .min(),
            shortfall,
            checks,
        };
        let ek_public = request.evidence.lead.item("ek.pub").unwrap_or_default().to_vec();
        Ok(Accepted { challenge, admission, must_activate, ek_public })
    }

    /// The instance that the request renews: the one it names, or the one that has its identity key.
    fn renewed<'a>(
        &self,
        view: &'a View,
        request: &AttestRequest,
        enclave: Option<&EnclaveRecord>,
        spki_hash: &SpkiHash,
    ) -> Result<Option<&'a InstanceEntry>, Refusal> {
        let of_key = view.instance_of_key(spki_hash).map(AsRef::as_ref);
        if let Some(id) = request.renews
            && of_key.is_none_or(|entry| entry.record.id != id)
        {
            return Err(refuse::renewal(&format!("`{id}` does not have the identity key of this link")).into());
        }
        let Some(entry) = of_key else { return Ok(None) };
        if enclave.is_none_or(|enclave| enclave.uid != entry.record.enclave) {
            return Err(refuse::renewal("the identity key of this link is another enclave's").into());
        }
        if let RecordedStanding::Revoked { at, .. } = entry.record.standing {
            return Err(crate::authorizer::standing_problem(entry, burgrave_types::Standing::Revoked { at }).into());
        }
        if entry.record.sealing_key.as_bytes() != request.sealing_key {
            return Err(refuse::renewal("the sealing key is another than the instance attested first").into());
        }
        Ok(Some(entry))
    }

    /// Verifies evidence at `now` under a profile, from platforms that are listed (none: from any). Of a TPM it takes for granted
    /// that the registration lists it, which is asked next, and that it holds the attestation key, which it proves before
    /// anything is admitted (`must_activate`).
    fn verify_evidence(
        &self,
        request: &AttestRequest,
        tpm: Option<&TpmProof>,
        (profile, platforms): (Profile, Vec<Vec<u8>>),
        now: Timestamp,
    ) -> Verification {
        let other_parts: Vec<[u8; 32]> = request.evidence.others.iter().map(|part| sha256(&part.encode())).collect();
        let binding = AttestationBinding {
            genesis: self.trust().genesis_hash(),
            enclave: &request.enclave,
            nonce: &request.nonce,
            exporter: &request.link.exporter,
            identity_spki: &request.link.identity_spki,
            sealing_key: &request.sealing_key,
            other_parts: &other_parts,
        };
        let part = &request.evidence.lead;
        let endorsements = Endorsements {
            platforms: tpm.map_or(platforms, |tpm| vec![tpm.ek_digest.as_bytes().to_vec()]),
            ak_proof: ak_proof(tpm),
            ima: self.run_time_logs().get(&spki_hash(&request.link.identity_spki)),
            ..Endorsements::default()
        };
        let tpm = TpmProfile { trust: TpmTrust::Listed, ..profile.tpm };
        let profile = Profile { allow_simulated: self.class() == DomainClass::Dev, tpm, ..profile };
        let (report_data, qualifying_data) = (binding.report_data(), binding.qualifying_data());
        let expected = Expected::Binding { report_data: &report_data, qualifying_data: &qualifying_data };
        self.endorser().judge(part, endorsements, profile, expected, now)
    }
}

/// The release that the claims belong to, and when it ends. A first attestation needs one that is active; a renewal may be of
/// a deprecated one, where that is what ran before.
fn appraised(
    enclave: &EnclaveRecord,
    verification: &Verification,
    claims: &Claims,
    (instance, now): (Option<&InstanceEntry>, Timestamp),
) -> Result<(Segment, ReferenceDigest, Option<Timestamp>), Refusal> {
    let releases = enclave.releases.iter().filter(|(name, release)| release.accepts(runs(instance, name), now));
    match appraise(claims, releases.map(|(name, release)| (name.as_str(), &release.reference))) {
        Appraisal::Matched { release, digest } => {
            let release: Segment = release.parse().map_err(|error: burgrave_types::ParseError| {
                Refusal::from(Problem::new(ProblemCode::Internal, error.to_string()))
            })?;
            let ends = enclave.releases.get(&release).and_then(|release| release.valid_until);
            Ok((release, digest, ends))
        }
        unmatched => {
            let known = enclave.releases.iter().map(|(name, release)| Known {
                release: name.as_str(),
                reference: &release.reference,
                log: Some(&release.log).filter(|log| !log.0.is_empty()),
            });
            let Appraisal::Unmatched { differences } = unmatched.explained(claims, &verification.log, known) else {
                return Err(Problem::new(ProblemCode::Internal, "an appraisal changed while it was explained").into());
            };
            Err(refuse::appraisal(&enclave.name, verification, &differences))
        }
    }
}

/// Whether the instance, if it is one, ran this release when it attested last.
pub(super) fn runs(instance: Option<&InstanceEntry>, release: &Segment) -> bool {
    instance.is_some_and(|entry| entry.record.release == *release)
}

/// What is kept of claims: not the binding, which is new each time, and of the registers those that a release names, since
/// others (a log that grows) would make every renewal a change.
fn lasting(mut claims: Claims, enclave: &EnclaveRecord) -> Claims {
    claims.binding = None;
    claims
        .registers
        .retain(|name, _| enclave.releases.values().any(|release| release.reference.registers.contains_key(name)));
    claims
}

/// That the attestation key stands in the TPM.
fn ak_proof(tpm: Option<&TpmProof>) -> AkProof {
    let activated = |tpm: &TpmProof| {
        let ek_digest = tpm.ek_digest.as_bytes().try_into().ok()?;
        Some(AkProof::Activated { ak_name: tpm.ak_name.as_bytes().to_vec(), ek_digest })
    };
    tpm.and_then(activated).unwrap_or(AkProof::None)
}

/// What a TPM's evidence says of keys and boot; not verified by this.
fn tpm_proof(request: &AttestRequest) -> Option<TpmProof> {
    let part = &request.evidence.lead;
    if part.tee != Tee::Tpm {
        return None;
    }
    let ak = Public::read(part.item("ak.pub")?)?;
    let (reset_count, restart_count) = boot_counts(part)?;
    Some(TpmProof {
        ak_name: HexBytes(ak.name()),
        ek_digest: HexBytes(ek_digest(part.item("ek.pub")?).to_vec()),
        reset_count,
        restart_count,
    })
}
