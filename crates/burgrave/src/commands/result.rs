//! `burgrave evidence result`: a node's word on an attestation, checked by whoever is shown it.

use std::path::{Path, PathBuf};

use burgrave_identity::{Anchor, AttestationResult, RefusedResult, ResultCause, ResultSummary, WantedResult};
use burgrave_types::api::KeySet;
use burgrave_types::{Clock, EnclaveName, GenesisHash, Problem, ProblemCode, SystemClock, Timestamp};
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::{Outcome, read, read_text};
use crate::output::{Facts, Failure, Output, Tone, age, deadline, list};

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
    /// Take a result that warns: of what is genuine, with weaknesses that its registration concedes, such as a platform out of date
    #[arg(long)]
    accept_warnings: bool,
    /// The time to judge at (RFC 3339); now where it is not given
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
}

/// What came of it. `claims` are believed only where `cause` is absent.
#[derive(Serialize)]
struct Judged {
    verdict: &'static str,
    /// Why it is not taken.
    cause: Option<ResultCause>,
    detail: Option<String>,
    claims: Option<Value>,
    #[serde(skip)]
    summary: Option<ResultSummary>,
}

/// Checks a result.
pub(crate) fn run(arguments: &Arguments, genesis: Option<GenesisHash>, output: &Output) -> Outcome {
    let token = read_text(&arguments.path)?;
    let at = arguments.at.unwrap_or_else(|| SystemClock.now());
    let keys = arguments.keys.as_deref().map(key_set).transpose()?;
    let anchor = match (&keys, &genesis) {
        (Some(keys), _) => Anchor::Keys(keys),
        (None, Some(genesis)) => Anchor::Genesis(genesis),
        (None, None) => return Err(untrusted().into()),
    };
    let wanted = WantedResult { enclave: arguments.enclave.as_ref(), warnings: arguments.accept_warnings };
    let judged = match AttestationResult::verify(token.trim(), anchor, wanted, at) {
        Ok(AttestationResult { summary, claims }) => {
            Judged { verdict: "accept", cause: None, detail: None, claims: Some(claims), summary: Some(summary) }
        }
        Err(RefusedResult { cause, detail, summary, claims }) => Judged {
            verdict: "reject",
            cause: Some(cause),
            detail: Some(detail),
            claims,
            summary: summary.map(|summary| *summary),
        },
    };
    output.show(&judged, |judged| Ok(describe(judged, output)))?;
    if judged.cause.is_none() { Ok(()) } else { Err(Failure::Quiet(ProblemCode::AttestationRejected.exit_code())) }
}

fn describe(judged: &Judged, output: &Output) -> String {
    let verdict = match judged.cause {
        None => output.tone(Tone::Good, "holds"),
        Some(cause) => output.tone(Tone::Bad, &format!("is refused ({cause})")),
    };
    let facts = Facts::new(output).fact("result", verdict).maybe("because", judged.detail.as_ref());
    let Some(summary) = &judged.summary else { return facts.finish() };
    let tees = summary.statuses.iter().map(|(tee, status)| format!("{tee} {status}"));
    facts
        .fact("enclave", &summary.enclave)
        .maybe("release", summary.release.as_ref())
        .fact("instance", &summary.instance)
        .fact("TEE", list(tees))
        .fact("proved", list(summary.proved.iter()))
        .fact("domain", summary.genesis)
        .fact("verified", age(output.now(), summary.verified))
        .fact("ends", deadline(output.now(), summary.ends))
        .finish()
}

fn key_set(path: &Path) -> Result<KeySet, Problem> {
    serde_json::from_slice(&read(path)?).map_err(|error| {
        let detail = format!("`{}` is not a JSON Web Key set: {error}", path.display());
        Problem::new(ProblemCode::RequestInvalid, detail).with_fix("fetch it: `burgrave domain keys`")
    })
}

fn untrusted() -> Problem {
    Problem::new(ProblemCode::RequestInvalid, "it is not said whose word counts")
        .with_fix("add `--genesis HASH`, the domain's name, or `--keys FILE`, the key set that it publishes")
}
