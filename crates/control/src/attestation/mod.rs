//! From evidence to an instance.
//!
//! The instance key is sealed in HPKE base mode, since nothing is shared yet, with [`burgrave_seal::hpke::SealedInfo`]: the
//! instance's id, its identity key as sender and receiver, no digest, version 1.

mod admit;
mod parts;
mod refuse;
mod requirements;
mod run_time;
mod ticket;
mod verify;

pub(crate) use admit::{hsm_problem, sealing_key, sealing_problem};
pub(crate) use requirements::{MOST_PCRS, logged_registers, run_time_profile};
pub(crate) use run_time::RunTimeLogs;

use std::time::Duration;

use burgrave_identity::{ProfileKind, VerifiedIdentity, spki_hash};
use burgrave_types::evidence::EvidenceError;
use burgrave_types::{EnclaveName, Problem, SpkiHash, Standing};

use crate::authorizer::{not_attested, standing_problem};
use crate::live::InstanceEntry;
use crate::{
    AttestRequest, AttestStep, Attested, Challenge, Control, LinkBinding, Notice, Resumed, records::RecordedStanding,
};

/// The PCRs that a TPM quotes: all, whatever the registration, so that a challenge tells nothing of it.
const PCRS: std::ops::Range<u8> = 0..MOST_PCRS;

/// How long an attestation holds, as a multiple of the interval at which it is asked for: half an interval to answer in.
pub(crate) fn lifetime(interval_secs: u64) -> Duration {
    Duration::from_millis(interval_secs.saturating_mul(1500))
}

impl Control {
    /// A challenge for a link that wants to attest as `enclave`. Nothing is kept for it, and it tells nothing of whether
    /// the enclave is registered.
    ///
    /// # Errors
    /// [`ProblemCode::Unavailable`](burgrave_types::ProblemCode::Unavailable) where the node cannot serve.
    pub fn challenge(&self, enclave: &EnclaveName, link: &LinkBinding) -> Result<Challenge, Problem> {
        self.view()?;
        Ok(self.challenge_for(enclave, &spki_hash(&link.identity_spki)))
    }

    /// Verifies evidence, appraises it, asks the policy (action `attest`) and admits the instance or renews it.
    ///
    /// # Errors
    /// `attestation.challenge` for a nonce that is expired, used, another node's, key's or enclave's;
    /// `attestation.rejected` with `cause` and what differed for refused evidence; `policy.denied`; `revoked`;
    /// `unavailable` where HSM, ledger or audit log do not serve. An unknown enclave is `attestation.rejected`, cause
    /// `enclave.rejected`, as is one that is revoked.
    ///
    /// Side effects: an HSM signature (the SVID), a ledger record for a first attestation or changed claims, a durable audit entry.
    pub async fn attest(&self, request: AttestRequest) -> Result<AttestStep, Problem> {
        let refused = |refusal| self.refused(self.bearer(&request), refusal);
        let accepted = self.verify_request(&request).map_err(refused)?;
        self.challenger().consume(accepted.challenge).map_err(|error| refused(refuse::challenge(error).into()))?;
        if accepted.must_activate {
            let step = self.ask_for_activation(&request, accepted).map_err(|problem| refused(problem.into()))?;
            return Ok(AttestStep::Activate(step));
        }
        let attested = self.admit(accepted.admission, &request.link).await?;
        // Not before: genuine evidence alone is anybody's, and what it brings would serve others.
        self.endorser().store().admitted(&request.evidence.lead, self.now());
        Ok(AttestStep::Attested(Box::new(attested)))
    }

    /// What the peer of a link is told of evidence that cannot even be read. It is counted among what was refused.
    pub fn unreadable_evidence(&self, error: &EvidenceError, link: &LinkBinding) -> Problem {
        let problem = refuse::unreadable(error);
        let known = self.last_view().instance_of_key(&spki_hash(&link.identity_spki)).map(|entry| entry.record.id);
        self.refusals().count(self.now(), known, &refuse::cause(&problem), false);
        problem
    }

    /// Ends an attestation that needed a TPM's proof: `secret` is what the TPM found in the credential of `ticket`.
    ///
    /// # Errors
    /// As [`Control::attest`]; `attestation.rejected` with cause `tpm.activation` where the secret is not the one.
    pub async fn activate(&self, ticket: &[u8], secret: &[u8], link: &LinkBinding) -> Result<Attested, Problem> {
        // Of what is no ticket, nothing is known that could stand in a line.
        let opened = self.open_ticket(ticket).inspect_err(|problem| {
            self.refusals().count(self.now(), None, &refuse::cause(problem), false);
        })?;
        if let Err(problem) = self.redeem(&opened, ticket, secret, link) {
            return Err(self.refused((&opened.admission).into(), problem.into()));
        }
        self.admit(opened.admission, link).await
    }

    /// What a peer that reconnects under its SVID still is: standing and deadline stay what they were.
    ///
    /// # Errors
    /// `attestation.required` where its key is no instance's (any more), `attestation.stale`, `revoked`.
    pub fn resume(&self, identity: &VerifiedIdentity) -> Result<Resumed, Problem> {
        let view = self.view()?;
        let entry = view.instance_of_key(&identity.spki_hash).ok_or_else(not_attested)?;
        let named = identity.spiffe_id.enclave();
        if identity.profile != ProfileKind::Enclave || named.as_ref() != Some(&entry.record.enclave_name) {
            return Err(not_attested());
        }
        if entry.record.standing == RecordedStanding::Attested {
            // An SVID lives no longer than the attestation it was issued for, so it proves a renewal that this node does
            // not remember (renewals are not recorded). It begins a clock skew before it.
            entry.live.attested(identity.not_before + crate::signer::CLOCK_SKEW, identity.not_after);
        }
        match view.standing(entry, self.now()) {
            standing @ Standing::Fresh { until } => Ok(Resumed {
                instance: entry.record.id,
                enclave: entry.record.enclave_name.clone(),
                standing,
                until,
                interval: self.interval_of(&view, entry),
                revision: view.revision,
            }),
            standing => Err(standing_problem(entry, standing)),
        }
    }

    /// Asks an instance to attest again, where it has a link here.
    pub(crate) fn ask_to_attest(&self, entry: &InstanceEntry) -> bool {
        let record = &entry.record;
        if !self.is_linked(record.id) {
            return false;
        }
        let challenge = self.challenge_for(&record.enclave_name, &record.spki_hash);
        self.with_links(|links| links.notify(record.id, Notice::Reattest { challenge }));
        true
    }

    /// How often the instance's registration wants an attestation.
    pub(crate) fn interval_of(&self, view: &crate::view::View, entry: &InstanceEntry) -> Duration {
        let enclave = view.enclave_of(entry.record.enclave);
        Duration::from_secs(enclave.map_or(0, |enclave| enclave.record.reattest_every_secs))
    }

    fn challenge_for(&self, enclave: &EnclaveName, identity: &SpkiHash) -> Challenge {
        let (nonce, expires) = self.challenger().issue(self.now(), self.random(), enclave, identity);
        Challenge { nonce, expires, pcrs: PCRS.collect() }
    }
}
