//! The attestation result as an EAR: claims of an EAT (RFC 9711) in the profile of `draft-ietf-rats-ear`.

use burgrave_types::claims::{Proved, TcbStatus};
use burgrave_types::{Claims, EvidenceDigest, GenesisHash, InstanceId, ReferenceDigest, SpiffeId, Tee, Timestamp};
use serde_json::{Value, json};

/// The `eat_profile` of these results.
pub const EAT_PROFILE: &str = "tag:github.com,2023:veraison/ear";

/// What a result is about: evidence that was verified, was taken, and belongs to a release.
#[derive(Clone, Copy, Debug)]
pub struct ResultInputs<'a> {
    /// Who verified: the node's name and the software's, for people.
    pub verifier: &'a str,
    /// The trust domain in which the result counts.
    pub genesis: GenesisHash,
    /// The enclave that was appraised.
    pub enclave: &'a SpiffeId,
    /// The release that its claims are those of.
    pub release: &'a str,
    /// The digest of the reference value that matched.
    pub reference: ReferenceDigest,
    /// The instance.
    pub instance: InstanceId,
    /// The nonce of the challenge.
    pub nonce: &'a [u8],
    /// The digest of the evidence as received.
    pub evidence: EvidenceDigest,
    /// What the lead said.
    pub claims: &'a Claims,
    /// What the parts beside the lead said, in their order.
    pub parts: &'a [Claims],
    /// When it was verified.
    pub at: Timestamp,
    /// When the result ends: no later than the collateral under it.
    pub ends: Timestamp,
}

/// The claims of the result, to be signed by the caller.
///
/// The trustworthiness vectors follow AR4SI (`draft-ietf-rats-ar4si`), and `ear.status` is the worst tier of its vector
/// (`draft-ietf-rats-ear`, EAR appraisal claims). So a result affirms only what is as the strict profile wants it: what a
/// registration concedes, say an outdated platform or debugging, is taken by its own domain and told to others as a warning or as
/// contraindicated.
pub fn attestation_result(inputs: &ResultInputs<'_>) -> Value {
    let policy = format!("{}#{}", inputs.enclave, inputs.release);
    let lead = Vector { executables: executables(inputs.claims), ..Vector::of(inputs.claims) };
    let mut submods = serde_json::Map::new();
    submods.insert(inputs.claims.tee.to_string(), lead.submodule(&policy));
    for (number, part) in (1..).zip(inputs.parts) {
        let mut submodule = Vector::of(part).submodule(&policy);
        if let Some(members) = submodule.as_object_mut() {
            members.insert("burgrave.claims".to_owned(), json!(part));
        }
        submods.insert(format!("part{number}.{}", part.tee), submodule);
    }
    json!({
        "eat_profile": EAT_PROFILE,
        "iat": inputs.at.unix_secs(),
        "exp": inputs.ends.unix_secs(),
        "eat_nonce": hex::encode(inputs.nonce),
        "ear.verifier-id": { "developer": "burgrave", "build": inputs.verifier },
        "submods": submods,
        "burgrave": {
            "enclave": inputs.enclave.to_string(),
            "instance": inputs.instance.to_string(),
            "release": inputs.release,
            "reference": inputs.reference.to_string(),
            "genesis": inputs.genesis.to_string(),
            "evidence": inputs.evidence.to_string(),
            "claims": inputs.claims,
            "proved": inputs.claims.proved,
            "valid_until": inputs.ends.to_string(),
        },
    })
}

/// A trustworthiness vector: of AR4SI's facets those that evidence speaks of. A value up to 31 affirms, up to 95 warns, beyond it
/// contraindicates; 0 says nothing.
struct Vector {
    instance_identity: u8,
    configuration: u8,
    executables: u8,
    hardware: u8,
}

impl Vector {
    fn of(claims: &Claims) -> Self {
        Self {
            instance_identity: if claims.platform_id.is_some() { 2 } else { 0 },
            configuration: configuration(claims),
            executables: 0,
            hardware: hardware(claims),
        }
    }

    fn submodule(&self, policy: &str) -> Value {
        let worst = self.instance_identity.max(self.configuration).max(self.executables).max(self.hardware);
        let status = match worst {
            0 => "none",
            1..32 => "affirming",
            32..96 => "warning",
            96.. => "contraindicated",
        };
        json!({
            "ear.status": status,
            "ear.trustworthiness-vector": {
                "instance-identity": self.instance_identity,
                "configuration": self.configuration,
                "executables": self.executables,
                "hardware": self.hardware,
            },
            "ear.appraisal-policy-id": policy,
        })
    }
}

/// 2: only approved code was loaded, after the boot too; 3: it was approved as it was launched or booted.
fn executables(claims: &Claims) -> u8 {
    if claims.proved.contains(&Proved::Runtime) { 2 } else { 3 }
}

/// 2: genuine; 32: genuine, with known vulnerabilities; 96: it should not be relied on. Of what only pretends to be hardware nothing
/// is said.
fn hardware(claims: &Claims) -> u8 {
    match claims.tcb.status {
        _ if claims.tee == Tee::Simulated => 0,
        TcbStatus::UpToDate | TcbStatus::VendorManaged | TcbStatus::ConfigurationNeeded => 2,
        TcbStatus::HardeningNeeded | TcbStatus::OutOfDate => 32,
        TcbStatus::Revoked => 96,
    }
}

/// 2: as the strict profile wants it; 32: with known weaknesses; 96: open to whoever runs the host.
fn configuration(claims: &Claims) -> u8 {
    let strict = claims.td.clone().unwrap_or_default() == Default::default();
    if claims.debug == Some(true) {
        96
    } else if !strict || claims.migratable == Some(true) || claims.tcb.status == TcbStatus::ConfigurationNeeded {
        32
    } else {
        2
    }
}

#[cfg(test)]
mod tests {
    use serde_json::from_value;

    use super::*;

    fn claims(tee: &str, status: &str) -> Claims {
        from_value(json!({
            "tee": tee, "platform_id": "01", "tcb": { "status": status }, "debug": false, "launch": { "measurement": "aa" },
            "proved": ["launch"],
        }))
        .unwrap()
    }

    fn result(claims: &Claims, parts: &[Claims]) -> Value {
        let enclave = "spiffe://example.org/payments/api".parse().unwrap();
        attestation_result(&ResultInputs {
            verifier: "node-1",
            genesis: GenesisHash::from_bytes([1; 32]),
            enclave: &enclave,
            release: "v1",
            reference: ReferenceDigest::from_bytes([5; 32]),
            instance: InstanceId::from_bytes([2; 16]),
            nonce: &[3; 32],
            evidence: EvidenceDigest::from_bytes([4; 32]),
            claims,
            parts,
            at: Timestamp::from_unix_secs(100),
            ends: Timestamp::from_unix_secs(500),
        })
    }

    /// Status, configuration and hardware of the only submodule.
    fn told(claims: &Claims) -> (String, u64, u64) {
        let result = result(claims, &[]);
        let submodule = &result["submods"][claims.tee.to_string()];
        let facet = |name: &str| submodule["ear.trustworthiness-vector"][name].as_u64().unwrap();
        (submodule["ear.status"].as_str().unwrap().to_owned(), facet("configuration"), facet("hardware"))
    }

    #[test]
    fn a_result_affirms_what_is_as_the_strict_profile_wants_it() {
        let claims = claims("snp", "up-to-date");
        let result = result(&claims, &[]);
        assert_eq!(told(&claims), ("affirming".to_owned(), 2, 2));
        assert_eq!(result["submods"]["snp"]["ear.trustworthiness-vector"]["executables"], 3);
        assert_eq!((result["iat"].as_i64(), result["exp"].as_i64()), (Some(100), Some(500)));
        assert_eq!(result["burgrave"]["release"], "v1");
    }

    #[test]
    fn a_result_never_affirms_what_a_registration_only_concedes() {
        for (status, configuration, hardware) in
            [("hardening-needed", 2, 32), ("configuration-needed", 32, 2), ("out-of-date", 2, 32)]
        {
            assert_eq!(told(&claims("tdx", status)), ("warning".to_owned(), configuration, hardware), "{status}");
        }
        assert_eq!(told(&claims("tdx", "revoked")), ("contraindicated".to_owned(), 2, 96));
        let debug = Claims { debug: Some(true), ..claims("snp", "up-to-date") };
        assert_eq!(told(&debug), ("contraindicated".to_owned(), 96, 2));
        let migratable = Claims { migratable: Some(true), ..claims("snp", "up-to-date") };
        assert_eq!(told(&migratable), ("warning".to_owned(), 32, 2));
        let td = from_value(json!({ "service_td": true })).unwrap();
        assert_eq!(told(&Claims { td: Some(td), ..claims("tdx", "up-to-date") }), ("warning".to_owned(), 32, 2));
    }

    #[test]
    fn a_part_is_told_of_by_what_it_said_itself() {
        let result = result(&claims("snp", "up-to-date"), &[claims("nvidia-gpu", "out-of-date")]);
        assert_eq!(result["submods"]["snp"]["ear.status"], "affirming");
        assert_eq!(result["submods"]["part1.nvidia-gpu"]["ear.status"], "warning");
    }

    #[test]
    fn nothing_is_said_of_hardware_that_is_only_pretended() {
        assert_eq!(told(&claims("simulated", "up-to-date")), ("affirming".to_owned(), 2, 0));
    }
}
