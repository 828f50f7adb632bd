//! The attestation result as an EAR: claims of an EAT (RFC 9711) in the profile of `draft-ietf-rats-ear`.

use burgrave_types::{Claims, EvidenceDigest, GenesisHash, InstanceId, SpiffeId, Timestamp};
use serde_json::{Value, json};

use crate::{Appraisal, Cause, Verdict, Verification};

/// The `eat_profile` of these results.
pub const EAT_PROFILE: &str = "tag:github.com,2023:veraison/ear";

/// What a result says beside what verification and appraisal found.
#[derive(Clone, Copy, Debug)]
pub struct ResultInputs<'a> {
    /// Who verified: the node's name and the software's, for people.
    pub verifier: &'a str,
    /// The trust domain in which the result counts.
    pub genesis: GenesisHash,
    /// The enclave that was appraised.
    pub enclave: &'a SpiffeId,
    /// The instance.
    pub instance: InstanceId,
    /// The nonce of the challenge.
    pub nonce: &'a [u8],
    /// The digest of the evidence as received.
    pub evidence: EvidenceDigest,
    /// When it was verified.
    pub at: Timestamp,
    /// When the result ends at the latest, by the caller's rules; collateral may end it earlier.
    pub not_after: Timestamp,
    /// What the parts beside the lead said, in their order: parts that were verified and taken.
    pub parts: &'a [Claims],
}

/// The claims of the result, to be signed by the caller.
///
/// `ear.status` is `affirming` only when the verdict is accept, nothing is left unproven and a release matched. The trustworthiness vector follows
/// AR4SI (`draft-ietf-rats-ar4si`): 2 affirms, 32 warns, 96 and more contraindicates, 0 says nothing.
pub fn attestation_result(verification: &Verification, appraisal: &Appraisal, inputs: &ResultInputs<'_>) -> Value {
    let expires = verification.valid_until.map_or(inputs.not_after, |until| until.min(inputs.not_after));
    let (release, reference) = match appraisal {
        Appraisal::Matched { release, digest } => (Some(release.as_str()), Some(digest.to_string())),
        Appraisal::Unmatched { .. } => (None, None),
    };
    let accepted = verification.verdict == Verdict::Accept;
    let proven = verification.unproven.is_empty();
    let affirming = accepted && proven && release.is_some() && expires > inputs.at;
    let status = if affirming { "affirming" } else { "contraindicated" };
    let mut submods = serde_json::Map::new();
    let policy = release.map_or_else(|| inputs.enclave.to_string(), |release| format!("{}#{release}", inputs.enclave));
    submods.insert(
        verification.tee.to_string(),
        json!({
            "ear.status": status,
            "ear.trustworthiness-vector": vector(verification, release.is_some()),
            "ear.appraisal-policy-id": policy,
        }),
    );
    for (number, part) in (1..).zip(inputs.parts) {
        let known = if affirming && part.platform_id.is_some() { 2 } else { 0 };
        let hardware = if affirming { 2 } else { 0 };
        submods.insert(
            format!("part{number}.{}", part.tee),
            json!({
                "ear.status": status,
                "ear.trustworthiness-vector": { "instance-identity": known, "hardware": hardware },
                "ear.appraisal-policy-id": policy,
                "burgrave.claims": part,
            }),
        );
    }
    json!({
        "eat_profile": EAT_PROFILE,
        "iat": inputs.at.unix_secs(),
        "exp": expires.unix_secs(),
        "eat_nonce": hex::encode(inputs.nonce),
        "ear.verifier-id": { "developer": "burgrave", "build": inputs.verifier },
        "submods": submods,
        "burgrave": {
            "enclave": inputs.enclave.to_string(),
            "instance": inputs.instance.to_string(),
            "release": release,
            "reference": reference,
            "genesis": inputs.genesis.to_string(),
            "evidence": inputs.evidence.to_string(),
            "claims": verification.claims,
            "proved": verification.claims.as_ref().map(|claims| &claims.proved),
            "cause": verification
                .cause
                .or_else(|| verification.unproven.first().copied())
                .or_else(|| release.is_none().then_some(Cause::MeasurementUnknown)),
            "valid_until": expires.to_string(),
        },
    })
}

/// The AR4SI facets that the checks speak of.
fn vector(verification: &Verification, matched: bool) -> Value {
    let debug = verification.claims.as_ref().and_then(|claims| claims.debug);
    let tcb_failed =
        verification.checks.iter().any(|check| check.cause == Cause::TcbStatus && check.fatal && !check.passed);
    let hardware = match (verification.authentic && verification.unproven.is_empty(), tcb_failed) {
        (false, _) => 97,
        (true, true) => 96,
        (true, false) => 2,
    };
    let platform = verification.claims.as_ref().is_some_and(|claims| claims.platform_id.is_some());
    json!({
        "instance-identity": if verification.authentic && platform { 2 } else { 0 },
        "configuration": if debug == Some(true) { 96 } else if verification.authentic { 2 } else { 0 },
        "executables": if verification.authentic && matched { 3 } else { 33 },
        "hardware": hardware,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use burgrave_types::claims::{LaunchClaims, TcbClaims, TcbStatus};
    use burgrave_types::{ReferenceDigest, Tee};

    use super::*;

    fn verification() -> Verification {
        Verification {
            verdict: Verdict::Accept,
            authentic: true,
            unproven: Vec::new(),
            cause: None,
            tee: Tee::Snp,
            claims: Some(Claims {
                tee: Tee::Snp,
                product: None,
                platform_id: Some(burgrave_types::claims::HexBytes(vec![1])),
                tcb: TcbClaims::new(TcbStatus::UpToDate),
                debug: Some(false),
                migratable: None,
                privilege: None,
                launch: LaunchClaims::default(),
                registers: std::collections::BTreeMap::new(),
                config: None,
                binding: None,
                boot: None,
                td: None,
                proved: BTreeSet::new(),
            }),
            raw: Value::Null.into(),
            valid_until: Some(Timestamp::from_unix_secs(500)),
            checks: Vec::new(),
            log: Default::default(),
            ima: None,
        }
    }

    fn result(verification: &Verification, appraisal: &Appraisal) -> Value {
        let enclave = "spiffe://example.org/payments/api".parse().unwrap();
        attestation_result(
            verification,
            appraisal,
            &ResultInputs {
                verifier: "node-1",
                genesis: GenesisHash::from_bytes([1; 32]),
                enclave: &enclave,
                instance: InstanceId::from_bytes([2; 16]),
                nonce: &[3; 32],
                evidence: EvidenceDigest::from_bytes([4; 32]),
                at: Timestamp::from_unix_secs(100),
                not_after: Timestamp::from_unix_secs(1000),
                parts: verification.claims.as_slice(),
            },
        )
    }

    fn matched() -> Appraisal {
        Appraisal::Matched { release: "v1".to_owned(), digest: ReferenceDigest::from_bytes([5; 32]) }
    }

    #[test]
    fn a_result_affirms_what_was_accepted_and_ends_with_its_collateral() {
        let result = result(&verification(), &matched());
        assert_eq!(result["submods"]["snp"]["ear.status"], "affirming");
        assert_eq!(result["submods"]["snp"]["ear.trustworthiness-vector"]["executables"], 3);
        assert_eq!((result["iat"].as_i64(), result["exp"].as_i64()), (Some(100), Some(500)));
        assert_eq!(result["burgrave"]["release"], "v1");
        assert_eq!(result["submods"]["part1.snp"]["ear.status"], "affirming");
    }

    #[test]
    fn a_result_affirms_nothing_that_rests_on_what_nobody_proved() {
        let open = Verification { unproven: vec![Cause::AkUnbound], ..verification() };
        let result = result(&open, &matched());
        assert_eq!(result["submods"]["snp"]["ear.status"], "contraindicated");
        assert_eq!(result["submods"]["snp"]["ear.trustworthiness-vector"]["hardware"], 97);
        assert_eq!(result["burgrave"]["cause"], "ak.unbound");
    }

    #[test]
    fn a_result_affirms_nothing_that_was_refused_or_matched_no_release() {
        let unmatched = result(&verification(), &Appraisal::Unmatched { differences: Vec::new() });
        assert_eq!(unmatched["submods"]["snp"]["ear.status"], "contraindicated");
        assert_eq!(unmatched["burgrave"]["cause"], "measurement.unknown");
        let refused = Verification { verdict: Verdict::Reject, cause: Some(Cause::Debug), ..verification() };
        let result = result(&refused, &matched());
        for submodule in ["snp", "part1.snp"] {
            assert_eq!(result["submods"][submodule]["ear.status"], "contraindicated");
        }
    }
}
