//! Refusals: each says what failed, what was expected and what was found.

use std::collections::BTreeSet;

use burgrave_audit::{Attestation, Check as AuditedCheck, Durability, Kind, Outcome, Part};
use burgrave_types::api::Shortfall;
use burgrave_types::evidence::EvidenceError;
use burgrave_types::{Concession, EnclaveName, EvidenceDigest, InstanceId, Problem, ProblemCode, Tee};
use burgrave_verifier::{Cause, Check, Difference, Verification};

use super::verify::Admission;
use crate::challenge::ChallengeError;
use crate::{AttestRequest, Control};

/// Bytes of what a check expected or found that go on record.
const LONGEST_TEXT: usize = 4096;

/// Evidence that was not taken, with what the record says of it.
pub(super) struct Refusal {
    pub(super) problem: Box<Problem>,
    pub(super) checks: Vec<AuditedCheck>,
    pub(super) claims: Option<Box<burgrave_types::Claims>>,
    /// The parts beside the lead, as far as they were judged.
    pub(super) parts: Vec<Part>,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), checks: Vec::new(), claims: None, parts: Vec::new() }
    }
}

/// Whose evidence it was, as the record says it.
#[derive(Clone)]
pub(super) struct Bearer {
    enclave: EnclaveName,
    /// The instance that has the identity key of the link, whatever the caller says that it renews.
    instance: Option<InstanceId>,
    tee: Tee,
    evidence: EvidenceDigest,
}

impl From<&Admission> for Bearer {
    fn from(admission: &Admission) -> Self {
        Self {
            enclave: admission.enclave_name.clone(),
            instance: admission.instance,
            tee: admission.claims.tee,
            evidence: admission.evidence,
        }
    }
}

impl Control {
    /// Who bears a request's evidence.
    pub(super) fn bearer(&self, request: &AttestRequest) -> Bearer {
        let key = burgrave_identity::spki_hash(&request.link.identity_spki);
        Bearer {
            enclave: request.enclave.clone(),
            instance: self.last_view().instance_of_key(&key).map(|entry| entry.record.id),
            tee: request.evidence.lead.tee,
            evidence: EvidenceDigest::from_bytes(burgrave_seal::sha256(&request.evidence.encode())),
        }
    }

    /// Records a refusal, as one of many where there were many, and gives what the caller is told.
    pub(super) fn refused(&self, bearer: Bearer, refusal: Refusal) -> Problem {
        let cause = cause(&refusal.problem);
        if !self.refusals().count(self.now(), bearer.instance, &cause, true) {
            return *refusal.problem;
        }
        let event = Attestation {
            enclave: bearer.enclave.clone(),
            instance: bearer.instance,
            tee: bearer.tee,
            outcome: Outcome::Rejected,
            cause: Some(cause),
            checks: refusal.checks,
            evidence: bearer.evidence,
            result: None,
            claims: refusal.claims.map(|claims| *claims),
            parts: refusal.parts,
            valid_until: None,
        };
        // Refusing needs no record; a flood of refusals must not cost a disk write each.
        let _ = self.record(Kind::Attestation(Box::new(event)), Durability::Batched);
        self.happened("attestation.rejected", &bearer.enclave.to_string(), &refusal.problem.detail);
        *refusal.problem
    }
}

/// The stable code by which a refusal is on record.
pub(super) fn cause(problem: &Problem) -> String {
    problem.cause.clone().unwrap_or_else(|| problem.code.to_string())
}

/// The nonce is not taken.
pub(super) fn challenge(error: ChallengeError) -> Problem {
    Problem::new(ProblemCode::ChallengeInvalid, error.to_string())
        .with_cause(error.cause())
        .with_fix("ask this node for a new challenge over this link and answer that one")
}

/// The evidence cannot be read.
pub(super) fn unreadable(error: &EvidenceError) -> Problem {
    Problem::new(ProblemCode::AttestationRejected, error.to_string())
        .with_cause("format.evidence")
        .with_fix("send evidence as `docs/link-protocol.md` has it; an agent of this release does so by itself")
}

/// Verification refused the evidence.
pub(super) fn verification(verification: &Verification) -> Refusal {
    let failed = verification.checks.iter().find(|check| check.fatal && !check.passed);
    let cause = verification.cause.map_or("format.malformed", |cause| cause.as_str());
    let detail = match failed {
        Some(check) => format!(
            "the {} evidence was refused: {} ({}): expected {}, found {}",
            verification.tee, cause, check.name, check.expected, check.found
        ),
        None => format!("the {} evidence was refused: {cause}", verification.tee),
    };
    let left_out = verification.checks.iter().find(|check| check.name == "collateral.floor");
    let detail = match left_out {
        Some(check) => format!("{detail}; what it brought was left out: {}", check.found),
        None => detail,
    };
    let fix = match cause {
        "simulated.refused" => "run in a real TEE; simulated enclaves are for dev domains",
        "debug" => "launch the enclave with debugging off, or concede debugging in its registration",
        "binding.report_data" | "binding.nonce" => {
            "evidence must be made for this domain, enclave, challenge, link and keys: let the agent make it anew"
        }
        "migration" => "launch the enclave without a migration agent, or concede migration in its registration",
        "td.attributes" => &td_attributes(verification.claims.as_ref()),
        "service_td" => {
            "launch the TD without a service TD; where the cloud binds one, an administrator may concede it: `burgrave enclave update … --allow-service-td`"
        }
        "pcr.selection" => {
            "quote all PCRs that the challenge names; `burgrave enclave show` tells which the registration demands (`--pcrs`)"
        }
        "log.replay" => {
            "send the boot event log of this boot; where others than firmware and boot loader extend the register, an administrator may leave it out: `burgrave enclave update … --unexplained`"
        }
        "privilege" => "attest from a more privileged level, or raise the level that the registration takes",
        "collateral.validity" | "crl.validity" | "chain.untrusted" => {
            "attest again shortly: what was missing is fetched where the node has a source; `burgrave status` shows what it holds"
        }
        "log.gap" => "send the run-time log from its start; an agent does so by itself",
        "log.incomplete" => "send the rest of the run-time log; an agent does so by itself",
        "log.absent" => {
            "send the boot event log and the run-time log (docs/measured-boot.md), or demand them no more: `burgrave enclave update`"
        }
        "runtime.unlisted" => "run what is allowed, or allow it: `burgrave enclave update --run-time FILE`",
        "tcb.status" => "update the platform's firmware; `burgrave enclave show` tells what the registration demands",
        "platform.unlisted" => "an administrator lists the platform in the registration, if it is yours",
        _ => "`burgrave evidence verify` shows each check for evidence in a folder",
    };
    Refusal {
        problem: Problem::new(ProblemCode::AttestationRejected, detail).with_cause(cause).with_fix(fix).into(),
        checks: audited(&verification.checks),
        claims: verification.claims.clone().filter(|_| verification.authentic).map(Box::new),
        parts: Vec::new(),
    }
}

/// What to do about attributes of a TD, naming those that a registration can concede.
fn td_attributes(claims: Option<&burgrave_types::Claims>) -> String {
    let attributes: Vec<_> =
        claims.and_then(|claims| claims.td.as_ref()).iter().flat_map(|td| &td.attributes).collect();
    if attributes.is_empty() {
        return "launch it with attributes that an enclave may have; no registration concedes others".to_owned();
    }
    let words: Vec<_> = attributes.iter().map(|attribute| attribute.as_str()).collect();
    let flags: Vec<_> = words.iter().map(|word| format!("--allow-td {word}")).collect();
    format!(
        "launch the TD without {}; where the cloud sets it, an administrator may concede it: `burgrave enclave update … {}`",
        words.join(", "),
        flags.join(" ")
    )
}

/// Verification refused what the registration does not let pass; `floors` says which versions it wants.
pub(super) fn demanded(verification: &Verification, floors: &str) -> Refusal {
    let mut refusal = self::verification(verification);
    if verification.cause == Some(Cause::TcbStatus) {
        refusal.problem.detail += &format!("; the registration wants what is up to date{floors}");
    }
    refusal
}

/// No release has these claims.
pub(super) fn appraisal(enclave: &EnclaveName, verification: &Verification, differences: &[Difference]) -> Refusal {
    let detail = match differences.first() {
        Some(first) => {
            let all: Vec<String> = differences.iter().map(ToString::to_string).collect();
            format!("no release of `{enclave}` has these claims; nearest is `{}`: {}", first.release, all.join("; "))
        }
        None => format!("`{enclave}` has no release that takes this attestation"),
    };
    let mut checks = audited(&verification.checks);
    checks.extend(differences.iter().map(|one| AuditedCheck {
        name: format!("release.{}.{}", one.release, one.claim),
        passed: false,
        expected: Some(one.expected.clone()),
        found: Some(one.found.clone()),
    }));
    let fix = format!("run a released build, or register this one: `burgrave enclave release add {enclave} …`");
    Refusal {
        problem: Box::new(
            Problem::new(ProblemCode::AttestationRejected, detail).with_cause("measurement.unknown").with_fix(fix),
        ),
        checks,
        claims: verification.claims.clone().map(Box::new),
        parts: Vec::new(),
    }
}

/// The enclave is not let in: unknown, or revoked; which, is not told.
pub(super) fn enclave(name: &EnclaveName, in_dev: bool) -> Problem {
    let fix = if in_dev {
        format!("register it with `burgrave enclave create {name} …`, or look whether it was revoked")
    } else {
        "check the enclave's name with an administrator of the domain".to_owned()
    };
    Problem::new(ProblemCode::AttestationRejected, format!("`{name}` is not let in as an enclave of this domain"))
        .with_cause("enclave.rejected")
        .with_fix(fix)
}

/// The TPM is not on the registration's list.
pub(super) fn unlisted(found: &impl std::fmt::Display) -> Problem {
    let detail = format!(
        "the evidence was refused: platform.unlisted: expected an endorsement key that the registration lists, found the \
         one with digest `{found}`"
    );
    Problem::new(ProblemCode::AttestationRejected, detail)
        .with_cause("platform.unlisted")
        .with_fix("an administrator lists the TPM in the registration, if it is yours")
}

/// The platform is barred from the enclave.
pub(super) fn barred(name: &EnclaveName, platform: &impl std::fmt::Display) -> Problem {
    Problem::new(ProblemCode::AttestationRejected, format!("the platform `{platform}` is barred from `{name}`"))
        .with_cause("platform.barred")
        .with_fix(
            "an administrator lifts the bar when the platform can be trusted again, or run it on another platform",
        )
}

/// The registration demands something else than what the evidence was held against.
pub(super) fn changed(name: &EnclaveName) -> Problem {
    let detail = format!("what `{name}` demands of its evidence changed while this attestation was under way");
    Problem::new(ProblemCode::AttestationRejected, detail)
        .with_cause("registration.changed")
        .with_fix("attest again; an agent does so by itself")
}

/// What was verified holds no longer.
pub(super) fn over(ended: burgrave_types::Timestamp) -> Problem {
    let detail = format!("what the evidence rests on ended at {ended}, while this attestation was under way");
    Problem::new(ProblemCode::AttestationRejected, detail)
        .with_cause("verification.over")
        .with_fix("attest again, with certificates and collateral that are valid; an agent does so by itself")
}

/// The renewal does not fit the instance.
pub(super) fn renewal(reason: &str) -> Problem {
    Problem::new(ProblemCode::NotAttested, format!("this renews no instance: {reason}"))
        .with_cause("renewal.mismatch")
        .with_fix("attest as a new instance")
}

/// The TPM did not prove its attestation key.
pub(super) fn activation(reason: impl std::fmt::Display) -> Problem {
    Problem::new(ProblemCode::AttestationRejected, format!("the TPM did not prove its attestation key: {reason}"))
        .with_cause("tpm.activation")
        .with_fix("attest anew; the attestation key must stand in the TPM of the endorsement key beside it")
}

/// What will refuse evidence that was taken, as the record has it: a check that failed and did not refuse.
pub(super) fn coming(shortfall: &Shortfall) -> AuditedCheck {
    AuditedCheck {
        name: "requirements.coming".to_owned(),
        passed: false,
        expected: Some(format!("from {} on: {}", shortfall.from, shortfall.expected)),
        found: Some(shortfall.found.clone()),
    }
}

/// What only the registration let pass, as the record has it.
pub(super) fn conceded(conceded: &BTreeSet<Concession>) -> Option<AuditedCheck> {
    let all: Vec<_> = conceded.iter().map(|one| one.as_str()).collect();
    (!all.is_empty()).then(|| AuditedCheck {
        name: "requirements.conceded".to_owned(),
        passed: true,
        expected: Some("nothing that is refused unless the registration lets it pass".to_owned()),
        found: Some(format!("conceded by the registration: {}", all.join(", "))),
    })
}

/// A part beside the lead that was taken, as the record has it.
pub(super) fn taken(claims: &burgrave_types::Claims) -> Part {
    Part { tee: claims.tee, outcome: Outcome::Accepted, cause: None, claims: Some(claims.clone()) }
}

/// Checks as the record has them. What evidence says is cut to a length that cannot keep a refusal off the record.
pub(super) fn audited(checks: &[Check]) -> Vec<AuditedCheck> {
    let text = |text: &dyn std::fmt::Display| {
        let mut text = text.to_string();
        if text.len() > LONGEST_TEXT {
            text.truncate(text.floor_char_boundary(LONGEST_TEXT));
            text.push('…');
        }
        Some(text)
    };
    let one = |check: &Check| AuditedCheck {
        name: check.name.to_owned(),
        passed: check.passed,
        expected: text(&check.expected),
        found: text(&check.found),
    };
    checks.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_check_found_is_cut_before_it_can_keep_a_refusal_off_the_record() {
        let check = Check {
            name: "log.format",
            passed: false,
            fatal: true,
            cause: Cause::FormatMalformed,
            expected: "a log".into(),
            found: "é".repeat(LONGEST_TEXT).into(),
            reference: "",
        };
        let [cut] = audited(&[check]).try_into().unwrap();
        let found = cut.found.unwrap();
        assert!(found.len() <= LONGEST_TEXT + '…'.len_utf8() && found.ends_with("é…"), "{}", found.len());
        assert_eq!(cut.expected.as_deref(), Some("a log"));
    }
}
