//! Evidence verified per second, beside the signatures that it needs.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use burgrave_types::Tee;
use burgrave_types::claims::TcbStatus;
use burgrave_verifier::{Endorsements, Expected, Input, Profile, Roots, Verdict, dcap, verify};

use crate::bare::Signatures;
use crate::measure::{Outcome, beside, timed};
use crate::report::{Report, Row};
use crate::vectors::{Case, Collection};

/// What is measured: the row's name, the evidence, and the ratio that is asked for when all is known.
const ROWS: [(&str, &str, Option<f64>); 9] = [
    ("snp", "snp/milan-v2-virtee", TARGET),
    ("tdx", "tdx/v4-b0c06f-uptodate", TARGET),
    ("sgx", "sgx/v3-00a067-config-sw", None),
    ("nitro", "nitro/prod-2025-public-key", TARGET),
    ("tpm-ecdsa", "tpm/swtpm-ecc", TARGET),
    ("tpm-rsa", "tpm/swtpm-rsa", TARGET),
    ("azure", "az-vtpm/snp-milan-trustee-v1", None),
    ("cca", "cca/token-02", None),
    ("nvidia", "nvidia-gpu/hopper-sample", None),
];
const TARGET: Option<f64> = Some(0.9);

/// Measures the rows in whose name `pattern` stands, each for `time`.
pub(crate) fn run(collection: &Collection, pattern: &str, time: Duration) -> Result<Report> {
    let mut report = Report::default();
    for (tee, id, target) in ROWS {
        let states = [(State::Warm, target), (State::Cold, None)].map(|(state, target)| {
            let name = format!("verify/{tee}/{}", state.as_str());
            (state, name, target)
        });
        let wanted: Vec<_> = states.into_iter().filter(|(_, name, _)| name.contains(pattern)).collect();
        if wanted.is_empty() {
            continue;
        }
        let Some(case) = collection.find(id)? else {
            report.skipped.push(format!("verify/{tee}: no `{id}` at BURGRAVE_VECTORS"));
            continue;
        };
        let signatures = Signatures::of(&case)?;
        for (state, name, target) in wanted {
            let outcome = measure(&case, &signatures, state, time)?;
            let reference = signatures.describe(state == State::Warm);
            report.rows.push(row(name, id, reference, outcome, target));
        }
    }
    if report.rows.is_empty() && report.skipped.is_empty() {
        bail!("`{pattern}` stands in the name of no row; they are called e.g. verify/snp/warm");
    }
    Ok(report)
}

fn row(name: String, id: &str, reference: String, outcome: Outcome, target: Option<f64>) -> Row {
    Row {
        name,
        evidence: id.to_owned(),
        value: outcome.per_second,
        unit: "evidence per second of one core",
        reference,
        reference_value: outcome.limit_per_second,
        ratio: outcome.ratio,
        target,
        met: target.map(|target| outcome.ratio >= target),
    }
}

/// What the verifier knows beforehand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// The platform: it has attested before.
    Warm,
    /// Nothing but the roots.
    Cold,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::Cold => "cold",
        }
    }
}

fn measure(case: &Case, signatures: &Signatures, state: State, time: Duration) -> Result<Outcome> {
    let profile = profile_for(case);
    let fresh = case.roots()?;
    let known = Known::nothing(&fresh);
    let verdict = judge(case, &known, &profile);
    if let Some(cause) = verdict {
        bail!("the evidence to measure with is refused: {cause}");
    }
    Ok(match state {
        State::Warm => {
            let work = |times| timed(times, || drop(std::hint::black_box(judge(case, &known, &profile))));
            beside(Box::new(work), Box::new(signatures.warm()?), time)
        }
        State::Cold => {
            // What each verification begins with is made before the clock runs, and thrown away after.
            let work = |times| {
                let mut all: Vec<_> = (0..times).map(|_| Known::nothing(&fresh)).collect();
                let mut next = all.iter_mut();
                timed(times, || {
                    if let Some(known) = next.next() {
                        drop(std::hint::black_box(judge(case, known, &profile)));
                    }
                })
            };
            beside(Box::new(work), Box::new(signatures.cold()), time)
        }
    })
}

/// Roots and endorsements, which remember.
struct Known {
    roots: Roots,
    endorsements: Endorsements,
}

impl Known {
    fn nothing(roots: &Roots) -> Self {
        let dcap = Some(Arc::new(dcap::Cache::new()));
        Self { roots: roots.forgetting(), endorsements: Endorsements { dcap, ..Endorsements::default() } }
    }
}

/// Verifies; the cause where the evidence is refused.
fn judge(case: &Case, known: &Known, profile: &Profile) -> Option<String> {
    let verification = verify(&Input {
        part: &case.part,
        endorsements: &known.endorsements,
        roots: &known.roots,
        profile,
        expected: case.nonce.as_deref().map_or(Expected::None, Expected::Nonce),
        at: case.at,
    });
    let cause = verification.cause.map(|cause| cause.to_string());
    (verification.verdict != Verdict::Accept).then(|| cause.unwrap_or_default())
}

/// The strict profile; but the SGX platform at hand needs configuration and hardened software, as Intel says of it.
fn profile_for(case: &Case) -> Profile {
    let mut profile = Profile::default();
    if case.part.tee == Tee::Sgx {
        profile.tcb_status.extend([TcbStatus::ConfigurationNeeded, TcbStatus::HardeningNeeded]);
    }
    profile
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_evidence_that_is_at_hand_gives_a_figure_beside_a_limit() {
        let report = run(&Collection::open(None).unwrap(), "", Duration::ZERO).unwrap();
        let skipped = report.skipped.len();
        assert!(skipped <= 1, "{:?}", report.skipped);
        assert_eq!(report.rows.len(), 2 * (ROWS.len() - skipped));
        for row in report.rows {
            assert!(row.value > 0.0 && row.reference_value > 0.0 && row.ratio > 0.0, "{row:?}");
            assert!(row.reference.contains('×'), "{row:?}");
            assert_eq!(row.met, row.target.map(|target| row.ratio >= target));
        }
    }

    #[test]
    fn a_pattern_that_names_no_row_is_an_error() {
        let error = run(&Collection::open(None).unwrap(), "verify/none", Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains("verify/none"));
    }

    #[test]
    fn evidence_that_is_refused_is_not_measured() {
        let collection = Collection::open(None).unwrap();
        let mut case = collection.find("snp/milan-v2-virtee").unwrap().unwrap();
        let signatures = Signatures::of(&case).unwrap();
        case.part.items.get_mut("report.bin").unwrap()[0x50] ^= 1;
        assert!(Signatures::of(&case).is_err(), "a limit whose signature does not verify");
        assert!(measure(&case, &signatures, State::Warm, Duration::ZERO).is_err());
    }
}
