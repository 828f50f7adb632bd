//! The parts of evidence beside the lead: each verified over a nonce of its own, and only such as the registration asks for.
//!
//! That they belong to the lead, its report data shows, which covers their digests; that they are fresh, the nonce, which
//! is derived from the challenge ([`burgrave_seal::binding::part_nonce`]).

use burgrave_audit::{Check as AuditedCheck, Outcome, Part};
use burgrave_seal::binding::part_nonce;
use burgrave_types::api::RequiredPart;
use burgrave_types::{Claims, DomainClass, EvidencePart, Problem, ProblemCode, Tee, Timestamp};
use burgrave_verifier::tpm::AkProof;
use burgrave_verifier::{Appraisal, Cause, Endorsements, Expected, Profile, Verdict, Verification, appraise};

use super::refuse::{self, Refusal};
use super::requirements::profile;
use crate::records::EnclaveRecord;
use crate::{AttestRequest, Control};

/// What the parts said, in their order.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) claims: Vec<Claims>,
    pub(super) checks: Vec<AuditedCheck>,
    /// When the first of the certificates and lists under them ends.
    pub(super) valid_until: Option<Timestamp>,
}

impl Control {
    /// Verifies all parts but the lead.
    pub(super) fn verify_parts(
        &self,
        request: &AttestRequest,
        enclave: &EnclaveRecord,
        now: Timestamp,
    ) -> Result<Parts, Refusal> {
        let (wanted, found) = (&enclave.requirements.parts, &request.evidence.others);
        if let Some(missing) = wanted.iter().find(|wanted| !found.iter().any(|part| part.tee == wanted.tee)) {
            return Err(missing_part(enclave, missing.tee).into());
        }
        let mut parts = Parts::default();
        for (index, part) in found.iter().enumerate() {
            let Some(wanted) = wanted.iter().find(|wanted| wanted.tee == part.tee) else {
                return Err(unasked(enclave, index, part.tee).into());
            };
            let verification = self.verify_part(request, enclave, part, now);
            parts.checks.extend(named(index, &verification));
            let claims = match &verification.claims {
                Some(claims) if verification.verdict == Verdict::Accept => claims,
                _ => return Err(parts.refused(index, &verification, wanted)),
            };
            if let Some(platform) = claims.platform_id.as_ref().filter(|platform| enclave.bars(platform)) {
                return Err(parts.unfit(refuse::barred(&enclave.name, platform), claims));
            }
            if parts.claims.iter().any(|other| other.tee == claims.tee && other.platform_id == claims.platform_id) {
                return Err(parts.unfit(twice(index, claims), claims));
            }
            if let Err(problem) = appraised(enclave, index, wanted, claims) {
                return Err(parts.unfit(problem, claims));
            }
            parts.valid_until = parts.valid_until.into_iter().chain(verification.valid_until).min();
            parts.claims.push(lasting(claims.clone(), wanted));
        }
        Ok(parts)
    }

    fn verify_part(
        &self,
        request: &AttestRequest,
        enclave: &EnclaveRecord,
        part: &EvidencePart,
        now: Timestamp,
    ) -> Verification {
        let mut profile =
            Profile { allow_simulated: self.class() == DomainClass::Dev, ..profile(&enclave.requirements, now) };
        // What was booted and loaded is the lead's to prove: a device has neither log.
        (profile.boot_log.required, profile.run_time) = (false, None);
        let nonce = part_nonce(&request.nonce, part.tee);
        // Nobody is offline here: a key that is not proven is refused.
        let endorsements = Endorsements { ak_proof: AkProof::None, ..Endorsements::default() };
        self.endorser().judge(part, endorsements, profile, Expected::Nonce(&nonce), now)
    }
}

impl Parts {
    /// The refusal of a part that was not verified.
    fn refused(self, index: usize, verification: &Verification, wanted: &RequiredPart) -> Refusal {
        let refusal = refuse::verification(verification);
        // A part over another nonce is one of another evidence.
        let cause = match verification.cause {
            Some(Cause::BindingNonce) => Cause::BindingPart.as_str(),
            Some(cause) => cause.as_str(),
            None => Cause::FormatMalformed.as_str(),
        };
        let detail = format!("part {index} of the evidence: {}", refusal.problem.detail);
        let problem = Problem { detail, ..*refusal.problem }.with_cause(cause);
        self.ending(problem, verification.tee, refusal.claims.map(|claims| lasting(*claims, wanted)))
    }

    /// The refusal of a part that is genuine, and is not taken: all that it says goes on record.
    fn unfit(self, problem: Problem, claims: &Claims) -> Refusal {
        self.ending(problem, claims.tee, Some(claims.clone()))
    }

    /// The refusal of the whole for the last part that was looked at.
    fn ending(self, problem: Problem, tee: Tee, claims: Option<Claims>) -> Refusal {
        let last = Part { tee, outcome: Outcome::Rejected, cause: Some(refuse::cause(&problem)), claims };
        let parts = self.claims.iter().map(refuse::taken).chain([last]).collect();
        Refusal { problem: Box::new(problem), checks: self.checks, claims: None, parts }
    }
}

/// Whether the part is one that the registration takes.
fn appraised(enclave: &EnclaveRecord, index: usize, wanted: &RequiredPart, claims: &Claims) -> Result<(), Problem> {
    if wanted.references.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = (1..=wanted.references.len()).map(|number| format!("value {number}")).collect();
    let references = names.iter().map(String::as_str).zip(&wanted.references);
    let Appraisal::Unmatched { differences } = appraise(claims, references) else { return Ok(()) };
    let differences: Vec<String> = differences
        .iter()
        .map(|one| format!("{} ({}): expected {}, found {}", one.claim, one.release, one.expected, one.found))
        .collect();
    let detail = format!(
        "part {index} of the evidence, `{}`, is none that `{}` takes; nearest: {}",
        wanted.tee,
        enclave.name,
        differences.join("; ")
    );
    Err(Problem::new(ProblemCode::AttestationRejected, detail).with_cause(Cause::MeasurementUnknown.as_str()).with_fix(
        format!(
            "run the firmware that is registered, or register this one: `burgrave enclave update {} --with …`",
            enclave.name
        ),
    ))
}

/// What is kept of a part's claims: not the nonce, and of the registers those that a reference value names.
fn lasting(mut claims: Claims, wanted: &RequiredPart) -> Claims {
    claims.binding = None;
    claims.registers.retain(|name, _| wanted.references.iter().any(|reference| reference.registers.contains_key(name)));
    claims
}

/// The checks of a part under names that tell which.
fn named(index: usize, verification: &Verification) -> Vec<AuditedCheck> {
    let checks = refuse::audited(&verification.checks).into_iter();
    checks.map(|check| AuditedCheck { name: format!("parts.{index}.{}", check.name), ..check }).collect()
}

fn missing_part(enclave: &EnclaveRecord, tee: Tee) -> Problem {
    let detail = format!("`{}` asks for a part `{tee}` beside the lead, the evidence has none", enclave.name);
    Problem::new(ProblemCode::AttestationRejected, detail)
        .with_cause("part.missing")
        .with_fix("run it where that device is, or register the enclave without it")
}

/// One device that passes for two.
fn twice(index: usize, claims: &Claims) -> Problem {
    let device = claims.platform_id.as_ref().map_or_else(|| "without a name".to_owned(), ToString::to_string);
    let detail =
        format!("part {index} of the evidence is the `{}` {device} again, which is a part already", claims.tee);
    Problem::new(ProblemCode::AttestationRejected, detail)
        .with_cause("part.twice")
        .with_fix("let each device stand in the evidence once")
}

fn unasked(enclave: &EnclaveRecord, index: usize, tee: Tee) -> Problem {
    let detail = format!("part {index} of the evidence is `{tee}`, which `{}` does not ask for", enclave.name);
    Problem::new(ProblemCode::AttestationRejected, detail).with_cause("part.unasked").with_fix(format!(
        "attest without it, or register the enclave with it: `burgrave enclave update {} --with {tee}`",
        enclave.name
    ))
}
