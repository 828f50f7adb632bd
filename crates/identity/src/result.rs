//! A node's word on an attestation, read by whoever is shown it: an EAR (`draft-ietf-rats-ear`, an EAT of RFC 9711) as a
//! signed token. The node writes it; a relying party needs nothing of the node to check it but the domain's genesis hash, or
//! the key set that the domain publishes.

use std::collections::BTreeMap;
use std::fmt;

use burgrave_types::api::KeySet;
use burgrave_types::{EnclaveName, GenesisHash, SpiffeId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{IdentityError, jws};

/// A verifier's clock may be ahead of the relying party's by this, in seconds.
const SKEW_SECS: u64 = 60;

/// Whose word counts.
#[derive(Clone, Copy, Debug)]
pub enum Anchor<'a> {
    /// The domain's of this hash: the token's own certificates lead to it.
    Genesis(&'a GenesisHash),
    /// The holders' of these keys, which are trusted as they are.
    Keys(&'a KeySet),
}

/// What a relying party asks of a result beside being authentic and current. The default is the strictest, of any enclave.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// The enclave that it must be of.
    pub enclave: Option<&'a EnclaveName>,
    /// Take warnings: what is genuine, with weaknesses that the enclave's registration concedes, such as a platform that is out of
    /// date.
    pub warnings: bool,
}

/// An attestation result that is authentic, current and as it is [`Wanted`].
#[derive(Clone, PartialEq, Debug)]
pub struct AttestationResult {
    /// What of it is looked at.
    pub summary: Summary,
    /// All of its claims.
    pub claims: Value,
}

/// What a result says, in short.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// The enclave that was appraised.
    pub enclave: SpiffeId,
    /// The release that it runs; absent where none matched.
    pub release: Option<String>,
    /// The instance, as text.
    pub instance: String,
    /// The trust domain in which the result counts.
    pub genesis: GenesisHash,
    /// The `ear.status` by TEE and part.
    pub statuses: BTreeMap<String, String>,
    /// What was proved: `launch`, `boot`, `run-time`.
    pub proved: Vec<String>,
    /// When it was verified.
    pub verified: Timestamp,
    /// From when on the result holds no more.
    pub ends: Timestamp,
}

/// Why a result is not taken, as a stable code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum ResultCause {
    /// Nobody signed it whose word counts, or it is for another domain.
    #[serde(rename = "result.signature")]
    Signature,
    /// It is signed, and is not a result of this format.
    #[serde(rename = "result.format")]
    Format,
    /// It ended.
    #[serde(rename = "result.ended")]
    Ended,
    /// It was made in the future.
    #[serde(rename = "result.early")]
    Early,
    /// It does not affirm each TEE and part, or speaks of none.
    #[serde(rename = "result.status")]
    Status,
    /// It is of another enclave.
    #[serde(rename = "result.enclave")]
    Enclave,
}

impl fmt::Display for ResultCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// A result that is not taken.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("the attestation result is not taken ({cause}): {detail}")]
pub struct RefusedResult {
    /// Why.
    pub cause: ResultCause,
    /// Why, in words.
    pub detail: String,
    /// What it says in short, where it is authentic and could be read.
    pub summary: Option<Box<Summary>>,
    /// All of its claims, where it is authentic.
    pub claims: Option<Value>,
}

impl AttestationResult {
    /// Takes a result (a compact JWS, at most [`jws::MAX_BYTES`]): who signed it, whether it holds at a time, affirms all that
    /// it speaks of (or warns of it at most), and is of the enclave that is asked for.
    ///
    /// # Errors
    /// [`RefusedResult`], with the first cause in the order of [`ResultCause`].
    pub fn verify(token: &str, anchor: Anchor<'_>, wanted: Wanted<'_>, at: Timestamp) -> Result<Self, RefusedResult> {
        let verified = match anchor {
            Anchor::Keys(keys) => jws::verify_with_keys(token, jws::TYP_ATTESTATION_RESULT, keys),
            Anchor::Genesis(genesis) => verify_by_chain(token, genesis, at),
        };
        let claims = verified.map_err(|error| RefusedResult {
            cause: ResultCause::Signature,
            detail: error.to_string(),
            summary: None,
            claims: None,
        })?;
        let summary = match Summary::read(&claims) {
            Ok(summary) => summary,
            Err(detail) => {
                return Err(RefusedResult { cause: ResultCause::Format, detail, summary: None, claims: Some(claims) });
            }
        };
        let genesis = match anchor {
            Anchor::Genesis(genesis) => Some(genesis),
            Anchor::Keys(_) => None,
        };
        match summary.refusal(genesis, wanted, at) {
            None => Ok(Self { summary, claims }),
            Some((cause, detail)) => {
                Err(RefusedResult { cause, detail, summary: Some(Box::new(summary)), claims: Some(claims) })
            }
        }
    }
}

fn verify_by_chain(token: &str, genesis: &GenesisHash, at: Timestamp) -> Result<Value, IdentityError> {
    let trust = jws::trust_of(token, jws::TYP_ATTESTATION_RESULT, genesis)?;
    jws::verify(token, jws::TYP_ATTESTATION_RESULT, &trust, at).map(|(_, claims)| claims)
}

/// The claims that are looked at, as they stand in the token.
#[derive(Deserialize)]
struct Claims {
    iat: i64,
    exp: i64,
    submods: BTreeMap<String, Submodule>,
    burgrave: Ours,
}

#[derive(Deserialize)]
struct Submodule {
    #[serde(rename = "ear.status")]
    status: String,
}

#[derive(Deserialize)]
struct Ours {
    enclave: SpiffeId,
    release: Option<String>,
    instance: String,
    genesis: GenesisHash,
    #[serde(default)]
    proved: Option<Vec<String>>,
}

impl Summary {
    fn read(claims: &Value) -> Result<Self, String> {
        let Claims { iat, exp, submods, burgrave } =
            Claims::deserialize(claims).map_err(|error| format!("it is not a result of ours: {error}"))?;
        let second = |name: &str, seconds: i64| {
            // Beyond this no date can be shown (RFC 3339 has four digits for the year).
            let shown = (0..=253_402_300_799).contains(&seconds);
            if shown {
                Ok(Timestamp::from_unix_secs(seconds))
            } else {
                Err(format!("its `{name}` is no date: {seconds}"))
            }
        };
        Ok(Self {
            enclave: burgrave.enclave,
            release: burgrave.release,
            instance: burgrave.instance,
            genesis: burgrave.genesis,
            statuses: submods.into_iter().map(|(tee, part)| (tee, part.status)).collect(),
            proved: burgrave.proved.unwrap_or_default(),
            verified: second("iat", iat)?,
            ends: second("exp", exp)?,
        })
    }

    /// Whether what is authentic is also what was asked for.
    fn refusal(
        &self,
        genesis: Option<&GenesisHash>,
        wanted: Wanted<'_>,
        at: Timestamp,
    ) -> Option<(ResultCause, String)> {
        if genesis.is_some_and(|genesis| *genesis != self.genesis) {
            return Some((ResultCause::Signature, format!("it is for the domain {}", self.genesis)));
        }
        if at >= self.ends {
            return Some((ResultCause::Ended, format!("it ended at {}; ask for a new one", self.ends)));
        }
        if self.verified.unix_secs() > at.unix_secs().saturating_add_unsigned(SKEW_SECS) {
            return Some((ResultCause::Early, format!("it was made at {}, which is yet to come", self.verified)));
        }
        if self.statuses.is_empty() {
            return Some((ResultCause::Status, "it says nothing of any TEE".to_owned()));
        }
        let taken = |status: &str| status == "affirming" || wanted.warnings && status == "warning";
        if let Some((tee, status)) = self.statuses.iter().find(|(_, status)| !taken(status)) {
            return Some((ResultCause::Status, format!("expected `affirming` for {tee}, found `{status}`")));
        }
        let enclave = wanted.enclave.filter(|enclave| self.enclave.enclave().as_ref() != Some(*enclave))?;
        Some((ResultCause::Enclave, format!("expected `{enclave}`, found `{}`", self.enclave)))
    }
}

/// A fuzz target's body: the claims of a token, as if it were signed, at a time within them and for no enclave in particular.
#[doc(hidden)]
pub fn fuzz_result_claims(bytes: &[u8]) {
    let Ok(claims) = serde_json::from_slice::<Value>(bytes) else { return };
    if let Ok(summary) = Summary::read(&claims) {
        let refusal = summary.refusal(None, Wanted::default(), summary.verified);
        let affirming = summary.statuses.values().all(|status| status == "affirming") && !summary.statuses.is_empty();
        assert!(refusal.is_some() || affirming, "a result was taken that does not affirm");
        assert!(summary.refusal(None, Wanted::default(), summary.ends).is_some(), "a result was taken at its end");
    }
}

#[cfg(test)]
mod tests {
    use burgrave_types::DomainClass;
    use rustls_pki_types::CertificateDer;
    use serde_json::json;

    use super::*;
    use crate::testing::{NOW, TestDomain};
    use crate::{IdentityKey, jwk};

    fn claims(genesis: GenesisHash) -> Value {
        let now = NOW.unix_secs();
        json!({
            "iat": now, "exp": now + 100, "submods": { "snp": { "ear.status": "affirming" } },
            "burgrave": {
                "enclave": "spiffe://example.org/payments/api", "release": "v1", "instance": "inst_1",
                "genesis": genesis.to_string(), "proved": ["launch"],
            },
        })
    }

    struct Signer {
        domain: TestDomain,
        key: IdentityKey,
        chain: Vec<CertificateDer<'static>>,
    }

    impl Signer {
        fn new() -> Self {
            let domain = TestDomain::new(DomainClass::Production);
            let key = IdentityKey::generate().unwrap();
            let chain = domain.chain(domain.node_signing(), &key);
            Self { domain, key, chain }
        }

        fn genesis(&self) -> GenesisHash {
            self.domain.trust().genesis_hash()
        }

        fn claims(&self) -> Value {
            claims(self.genesis())
        }

        fn verify(
            &self,
            claims: &Value,
            enclave: Option<&str>,
            after: i64,
        ) -> Result<AttestationResult, RefusedResult> {
            let enclave = enclave.map(|name| name.parse().unwrap());
            self.verify_as(claims, Wanted { enclave: enclave.as_ref(), warnings: false }, after)
        }

        fn verify_as(
            &self,
            claims: &Value,
            wanted: Wanted<'_>,
            after: i64,
        ) -> Result<AttestationResult, RefusedResult> {
            let token = jws::sign(claims, jws::TYP_ATTESTATION_RESULT, &self.key, &self.chain).unwrap();
            let at = Timestamp::from_unix_secs(NOW.unix_secs() + after);
            let keys = KeySet { keys: vec![jwk(self.key.spki(), &[]).unwrap()] };
            let by_keys = AttestationResult::verify(&token, Anchor::Keys(&keys), wanted, at);
            let by_genesis = AttestationResult::verify(&token, Anchor::Genesis(&self.genesis()), wanted, at);
            assert_eq!(by_keys, by_genesis, "either anchor tells the same");
            by_genesis
        }

        fn cause(&self, claims: &Value, enclave: Option<&str>, after: i64) -> Option<ResultCause> {
            self.verify(claims, enclave, after).err().map(|refused| refused.cause)
        }
    }

    #[test]
    fn a_result_that_is_current_affirming_and_of_the_enclave_is_taken() {
        let signer = Signer::new();
        let result = signer.verify(&signer.claims(), Some("payments/api"), 50).unwrap();
        assert_eq!(result.summary.release.as_deref(), Some("v1"));
        assert_eq!((result.summary.verified, result.claims), (NOW, signer.claims()));
        assert_eq!(signer.cause(&signer.claims(), None, -60), None, "clocks may differ by a minute");
    }

    #[test]
    fn each_other_one_is_refused_with_its_own_cause() {
        let signer = Signer::new();
        let (good, cause) = (signer.claims(), |claims: &Value, enclave, after| signer.cause(claims, enclave, after));
        assert_eq!(cause(&good, None, 100), Some(ResultCause::Ended));
        assert_eq!(cause(&good, None, -61), Some(ResultCause::Early));
        assert_eq!(cause(&good, Some("payments/ledger"), 50), Some(ResultCause::Enclave));
        assert_eq!(cause(&good, Some("ents/api"), 50), Some(ResultCause::Enclave));
        assert_eq!(cause(&json!({}), None, 50), Some(ResultCause::Format));
        let with = |path: &str, value: Value| {
            let mut claims = signer.claims();
            *claims.pointer_mut(path).unwrap() = value;
            claims
        };
        assert_eq!(cause(&with("/submods/snp/ear.status", json!("warning")), None, 50), Some(ResultCause::Status));
        assert_eq!(cause(&with("/submods", json!({})), None, 50), Some(ResultCause::Status));
        assert_eq!(cause(&with("/exp", json!(i64::MAX)), None, 50), Some(ResultCause::Format));
        assert_eq!(cause(&with("/iat", json!("now")), None, 50), Some(ResultCause::Format));
    }

    #[test]
    fn a_warning_is_taken_by_who_takes_warnings_and_a_contraindication_by_nobody() {
        let signer = Signer::new();
        let told = |status: &str, warnings| {
            let mut claims = signer.claims();
            claims["submods"]["snp"]["ear.status"] = json!(status);
            signer.verify_as(&claims, Wanted { enclave: None, warnings }, 0).map_err(|refused| refused.cause).err()
        };
        assert_eq!((told("warning", true), told("warning", false)), (None, Some(ResultCause::Status)));
        for status in ["contraindicated", "none", "Affirming", ""] {
            assert_eq!(told(status, true), Some(ResultCause::Status), "{status}");
        }
    }

    #[test]
    fn a_result_of_another_domain_or_key_is_refused_for_its_signature() {
        let signer = Signer::new();
        let token = jws::sign(&signer.claims(), jws::TYP_ATTESTATION_RESULT, &signer.key, &signer.chain).unwrap();
        let other = Signer::new();
        let keys = KeySet { keys: vec![jwk(other.key.spki(), &[]).unwrap()] };
        for anchor in [Anchor::Genesis(&other.genesis()), Anchor::Keys(&keys)] {
            let refused = AttestationResult::verify(&token, anchor, Wanted::default(), NOW).unwrap_err();
            assert_eq!((refused.cause, refused.claims), (ResultCause::Signature, None));
        }
        let foreign = claims(GenesisHash::from_bytes([1; 32]));
        let token = jws::sign(&foreign, jws::TYP_ATTESTATION_RESULT, &signer.key, &signer.chain).unwrap();
        let refused =
            AttestationResult::verify(&token, Anchor::Genesis(&signer.genesis()), Wanted::default(), NOW).unwrap_err();
        assert_eq!(refused.cause, ResultCause::Signature);
        assert!(refused.to_string().contains("result.signature"), "{refused}");
    }
}
