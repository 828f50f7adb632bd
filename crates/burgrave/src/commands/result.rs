//! `burgrave evidence result`: a node's word on an attestation, checked by whoever is shown it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use burgrave_identity::{IdentityError, jws};
use burgrave_types::api::KeySet;
use burgrave_types::{Clock, EnclaveName, GenesisHash, Problem, ProblemCode, SpiffeId, SystemClock, Timestamp};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Outcome, read, read_text};
use crate::output::{Facts, Failure, Output, Tone, age, deadline, list};

/// A clock of the node may be ahead of ours by this, in seconds.
const SKEW_SECS: u64 = 60;

/// What is checked, and with what.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The result as the agent shows it (`GET /v1/status`), a JSON Web Token; `-` for stdin
    path: PathBuf,
    /// The key set that the domain's nodes publish (`burgrave domain keys`), instead of the domain's genesis hash
    #[arg(long, value_name = "FILE", conflicts_with = "genesis")]
    keys: Option<PathBuf>,
    /// Whose result it must be
    #[arg(long, value_name = "NAME")]
    enclave: Option<EnclaveName>,
    /// The time to judge at (RFC 3339); now where it is not given
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
}

/// The claims that are looked at; the rest is shown in the JSON.
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

/// What came of it. `claims` are believed only where `cause` is absent.
#[derive(Serialize)]
struct Judged {
    verdict: &'static str,
    /// Why it is not taken: `result.signature`, `result.ended`, `result.early`, `result.status` or `result.enclave`.
    cause: Option<&'static str>,
    detail: Option<String>,
    claims: Option<Value>,
}

/// Checks a result.
pub(crate) fn run(arguments: &Arguments, genesis: Option<GenesisHash>, output: &Output) -> Outcome {
    let token = read_text(&arguments.path)?;
    let at = arguments.at.unwrap_or_else(|| SystemClock.now());
    let verified = match (&arguments.keys, genesis) {
        (Some(path), _) => jws::verify_with_keys(token.trim(), jws::TYP_ATTESTATION_RESULT, &key_set(path)?),
        (None, Some(genesis)) => verify_by_chain(token.trim(), &genesis, at),
        (None, None) => return Err(untrusted().into()),
    };
    let judged = match verified {
        Ok(payload) => judge(payload, arguments.enclave.as_ref(), genesis, at),
        Err(error) => refused("result.signature", error.to_string(), None),
    };
    output.show(&judged, |judged| Ok(describe(judged, output)))?;
    if judged.cause.is_none() { Ok(()) } else { Err(Failure::Quiet(ProblemCode::AttestationRejected.exit_code())) }
}

fn verify_by_chain(token: &str, genesis: &GenesisHash, at: Timestamp) -> Result<Value, IdentityError> {
    let trust = jws::trust_of(token, jws::TYP_ATTESTATION_RESULT, genesis)?;
    jws::verify(token, jws::TYP_ATTESTATION_RESULT, &trust, at).map(|(_, payload)| payload)
}

/// Whether what is authentic is also what was asked for.
fn judge(payload: Value, enclave: Option<&EnclaveName>, genesis: Option<GenesisHash>, at: Timestamp) -> Judged {
    let claims: Claims = match serde_json::from_value(payload.clone()) {
        Ok(claims) => claims,
        Err(error) => {
            return refused("result.signature", format!("it is not a result of ours: {error}"), Some(payload));
        }
    };
    let now = at.unix_secs();
    let other = claims.submods.iter().find(|(_, part)| part.status != "affirming");
    let refusal = if genesis.is_some_and(|genesis| genesis != claims.burgrave.genesis) {
        Some(("result.signature", format!("it is for the domain {}", claims.burgrave.genesis)))
    } else if now >= claims.exp {
        Some(("result.ended", format!("it ended at {}; ask for a new one", Timestamp::from_unix_secs(claims.exp))))
    } else if claims.iat > now.saturating_add_unsigned(SKEW_SECS) {
        Some((
            "result.early",
            format!("it was made at {}, which is yet to come", Timestamp::from_unix_secs(claims.iat)),
        ))
    } else if claims.submods.is_empty() {
        Some(("result.status", "it says nothing of any TEE".to_owned()))
    } else if let Some((tee, part)) = other {
        Some(("result.status", format!("expected `affirming` for {tee}, found `{}`", part.status)))
    } else if let Some(wanted) = enclave.filter(|wanted| claims.burgrave.enclave.enclave().as_ref() != Some(*wanted)) {
        Some(("result.enclave", format!("expected `{wanted}`, found `{}`", claims.burgrave.enclave)))
    } else {
        None
    };
    match refusal {
        Some((cause, detail)) => refused(cause, detail, Some(payload)),
        None => Judged { verdict: "accept", cause: None, detail: None, claims: Some(payload) },
    }
}

fn refused(cause: &'static str, detail: String, claims: Option<Value>) -> Judged {
    Judged { verdict: "reject", cause: Some(cause), detail: Some(detail), claims }
}

fn describe(judged: &Judged, output: &Output) -> String {
    let verdict = match judged.cause {
        None => output.tone(Tone::Good, "holds"),
        Some(cause) => output.tone(Tone::Bad, &format!("is refused ({cause})")),
    };
    let facts = Facts::new(output).fact("result", verdict).maybe("because", judged.detail.as_ref());
    let claims = judged.claims.clone().and_then(|claims| serde_json::from_value::<Claims>(claims).ok());
    let Some(claims) = claims else { return facts.finish() };
    let tees = claims.submods.iter().map(|(tee, part)| format!("{tee} {}", part.status));
    facts
        .fact("enclave", &claims.burgrave.enclave)
        .maybe("release", claims.burgrave.release.as_ref())
        .fact("instance", &claims.burgrave.instance)
        .fact("TEE", list(tees))
        .fact("proved", list(claims.burgrave.proved.iter().flatten()))
        .fact("domain", claims.burgrave.genesis)
        .fact("verified", age(output.now(), Timestamp::from_unix_secs(claims.iat)))
        .fact("ends", deadline(output.now(), Timestamp::from_unix_secs(claims.exp)))
        .finish()
}

fn key_set(path: &std::path::Path) -> Result<KeySet, Problem> {
    serde_json::from_slice(&read(path)?).map_err(|error| {
        let detail = format!("`{}` is not a JSON Web Key set: {error}", path.display());
        Problem::new(ProblemCode::RequestInvalid, detail).with_fix("fetch it: `burgrave domain keys`")
    })
}

fn untrusted() -> Problem {
    Problem::new(ProblemCode::RequestInvalid, "it is not said whose word counts")
        .with_fix("add `--genesis HASH`, the domain's name, or `--keys FILE`, the key set that it publishes")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn payload() -> Value {
        json!({
            "iat": 100, "exp": 200, "submods": { "snp": { "ear.status": "affirming" } },
            "burgrave": {
                "enclave": "spiffe://example.org/payments/api", "release": "v1", "instance": "inst_1",
                "genesis": GenesisHash::from_bytes([1; 32]).to_string(), "proved": ["launch"],
            },
        })
    }

    fn cause(payload: Value, enclave: Option<&str>, genesis: Option<[u8; 32]>, at: i64) -> Option<&'static str> {
        let enclave = enclave.map(|name| name.parse().unwrap());
        judge(payload, enclave.as_ref(), genesis.map(GenesisHash::from_bytes), Timestamp::from_unix_secs(at)).cause
    }

    #[test]
    fn a_result_that_is_current_affirming_and_of_the_enclave_holds() {
        assert_eq!(cause(payload(), Some("payments/api"), Some([1; 32]), 150), None);
        assert_eq!(cause(payload(), None, None, 41), None);
    }

    #[test]
    fn each_other_one_is_refused_with_its_own_cause() {
        assert_eq!(cause(payload(), None, None, 200), Some("result.ended"));
        assert_eq!(cause(payload(), None, None, 39), Some("result.early"));
        assert_eq!(cause(payload(), Some("payments/ledger"), None, 150), Some("result.enclave"));
        assert_eq!(cause(payload(), Some("ents/api"), None, 150), Some("result.enclave"));
        assert_eq!(cause(payload(), None, Some([2; 32]), 150), Some("result.signature"));
        assert_eq!(cause(json!({}), None, None, 150), Some("result.signature"));
        let mut warning = payload();
        warning["submods"]["snp"]["ear.status"] = json!("warning");
        assert_eq!(cause(warning, None, None, 150), Some("result.status"));
        let mut silent = payload();
        silent["submods"] = json!({});
        assert_eq!(cause(silent, None, None, 150), Some("result.status"));
    }
}
