//! Reference values as arguments: what evidence must say to belong to a release.

use std::collections::BTreeMap;
use std::path::PathBuf;

use burgrave_attester::SimulatedAttester;
use burgrave_types::api::NewRelease;
use burgrave_types::claims::{HexBytes, ReferenceValue};
use burgrave_types::{Claims, Problem, ProblemCode, ReleaseState, Segment, Tee, Timestamp};
use clap::Args;

use super::enclave::{End, end};
use super::{evidence, read};

/// What evidence must say: every value that is given must be found.
#[derive(Debug, Args)]
pub(crate) struct ReferenceArgs {
    /// The launch measurement, hexadecimal
    #[arg(long, value_name = "HEX", group = "values", help_heading = HEADING)]
    measurement: Option<HexBytes>,
    /// The digest of the key that signed the code, hexadecimal
    #[arg(long, value_name = "HEX", group = "values", help_heading = HEADING)]
    signer: Option<HexBytes>,
    /// The signer's word for the product
    #[arg(long, value_name = "ID", requires = "signer", help_heading = HEADING)]
    product_id: Option<String>,
    /// The lowest security version number of the code
    #[arg(long, value_name = "NUMBER", help_heading = HEADING)]
    min_svn: Option<u64>,
    /// A register and its value, e.g. `pcr0=5f70…`; may be given several times
    #[arg(long, value_name = "NAME=HEX", value_parser = register, group = "values", help_heading = HEADING)]
    register: Vec<(String, HexBytes)>,
    /// The digest of the launcher's configuration (HOST_DATA, MRCONFIGID), hexadecimal
    #[arg(long, value_name = "HEX", group = "values", help_heading = HEADING)]
    config_digest: Option<HexBytes>,
    /// A reference value as JSON, `-` for stdin, instead of the options above
    #[arg(long, value_name = "FILE", conflicts_with = "values", help_heading = HEADING)]
    reference: Option<PathBuf>,
    /// Evidence whose values to take; the release is provisional then, until somebody activates it
    #[arg(long, value_name = "PATH", conflicts_with_all = ["values", "reference"], help_heading = HEADING)]
    from_evidence: Option<PathBuf>,
    /// The name of code that a simulated TEE pretends to run; `dev` domains only
    #[arg(long, value_name = "CODE", conflicts_with_all = ["values", "reference", "from_evidence"], help_heading = HEADING)]
    simulate: Option<String>,
    /// The state that the release begins in: provisional or active
    #[arg(long, help_heading = HEADING)]
    state: Option<ReleaseState>,
    /// When the release ends by itself: `90d` from now, or a time (RFC 3339)
    #[arg(long, value_name = "SPAN|TIME", value_parser = end, help_heading = HEADING)]
    valid_until: Option<End>,
}

const HEADING: &str = "What evidence must say";

impl ReferenceArgs {
    /// Whether nothing is said.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { measurement, signer, register, config_digest, reference, from_evidence, simulate, .. } = self;
        measurement.is_none()
            && signer.is_none()
            && register.is_empty()
            && config_digest.is_none()
            && reference.is_none()
            && from_evidence.is_none()
            && simulate.is_none()
    }

    /// The release that this describes; `tee` where the values do not say it themselves.
    pub(crate) fn release(&self, name: Segment, tee: Option<Tee>, now: Timestamp) -> Result<NewRelease, Problem> {
        let mut log = BTreeMap::new();
        let (reference, origin, state) = if let Some(file) = &self.reference {
            let reference = serde_json::from_slice(&read(file)?).map_err(|error| {
                let detail = format!("`{}` is not a reference value: {error}", file.display());
                Problem::new(ProblemCode::RequestInvalid, detail)
            })?;
            (reference, "from a file", ReleaseState::Active)
        } else if let Some(path) = &self.from_evidence {
            let (claims, events) = evidence::claims_of(path, tee, now)?;
            log = events.0;
            let claims = claims.ok_or_else(|| {
                Problem::new(
                    ProblemCode::RequestInvalid,
                    format!("`{}` says nothing of what was launched", path.display()),
                )
            })?;
            (self.of_claims(claims), "from evidence", ReleaseState::Provisional)
        } else {
            (self.values(tee)?, "by hand", ReleaseState::Active)
        };
        let valid_until = self.valid_until.map(|until| until.after(now));
        let (state, origin) = (self.state.unwrap_or(state), origin.to_owned());
        log.retain(|register, _| reference.registers.contains_key(register));
        Ok(NewRelease { name, reference, state, origin, log, valid_until })
    }

    fn values(&self, tee: Option<Tee>) -> Result<ReferenceValue, Problem> {
        let simulated = self.simulate.as_deref().map(SimulatedAttester::measurement_of);
        let tee = tee.or(simulated.as_ref().map(|_| Tee::Simulated)).ok_or_else(|| {
            Problem::new(ProblemCode::RequestInvalid, "it is not said which TEE the enclave runs in")
                .with_fix("add `--tee snp` (or tpm, tdx, …)")
        })?;
        Ok(ReferenceValue {
            tee,
            measurement: self.measurement.clone().or(simulated),
            signer: self.signer.clone(),
            product_id: self.product_id.clone(),
            min_svn: self.min_svn,
            registers: self.register.iter().cloned().collect(),
            config: self.config_digest.clone(),
        })
    }

    fn of_claims(&self, claims: Claims) -> ReferenceValue {
        // Registers that differ from instance to instance or grow while it runs would make a release of this one alone.
        let passing = match claims.tee {
            Tee::Nitro => "pcr4",
            Tee::Tpm | Tee::AzVtpm => "pcr10",
            _ => "",
        };
        let mut registers = claims.registers;
        registers.remove(passing);
        ReferenceValue {
            tee: claims.tee,
            measurement: claims.launch.measurement,
            signer: claims.launch.signer.filter(|_| claims.tee.proves_signer()),
            product_id: claims.launch.product_id,
            min_svn: self.min_svn.or(claims.launch.svn),
            registers: registers.into_iter().collect(),
            config: claims.config.filter(|digest| digest.as_bytes().iter().any(|byte| *byte != 0)),
        }
    }
}

fn register(text: &str) -> Result<(String, HexBytes), String> {
    let (name, value) = text.split_once('=').ok_or("expected `<register>=<hexadecimal>`, e.g. `pcr0=5f70…`")?;
    let value = value.parse().map_err(|error: burgrave_types::ParseError| error.to_string())?;
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use burgrave_verifier::{Appraisal, appraise};
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        reference: ReferenceArgs,
    }

    fn from_evidence(folder: &str, tee: Tee, at: &str) -> (NewRelease, Claims) {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../verifier/testdata").join(folder);
        let line = Line::try_parse_from(["release", "--from-evidence", folder.to_str().unwrap()]).unwrap();
        let now = at.parse().unwrap();
        let release = line.reference.release("v1".parse().unwrap(), Some(tee), now).unwrap();
        (release, evidence::claims_of(&folder, Some(tee), now).unwrap().0.unwrap())
    }

    #[test]
    fn a_release_proposed_from_evidence_is_provisional_and_takes_that_evidence() {
        for (folder, tee, at) in [
            ("snp/milan-v2-virtee", Tee::Snp, "2026-03-01T00:00:00Z"),
            ("snp/synthetic/base", Tee::Snp, "2026-03-01T00:00:00Z"),
            ("tdx/v4-b0c06f-uptodate", Tee::Tdx, "2025-06-20T00:00:00Z"),
            ("tdx/v5-td15ex-uptodate", Tee::Tdx, "2026-10-20T00:00:00Z"),
            ("sgx/v3-00a067-config-sw", Tee::Sgx, "2025-06-20T00:00:00Z"),
            ("nitro/prod-2025-public-key", Tee::Nitro, "2025-01-06T16:07:06Z"),
            ("cca/token-02", Tee::Cca, "2026-03-01T00:00:00Z"),
            ("tpm/swtpm-rsa", Tee::Tpm, "2026-12-01T00:00:00Z"),
            ("az-vtpm/neg-snp-parts-of-several-machines", Tee::AzVtpm, "2024-03-01T00:00:00Z"),
        ] {
            let (release, claims) = from_evidence(folder, tee, at);
            assert_eq!((release.state, release.reference.tee), (ReleaseState::Provisional, tee), "{folder}");
            assert!(release.reference.names_code(), "{folder}: {release:?}");
            assert!(release.reference.signer.is_none() || tee.proves_signer(), "{folder}: {release:?}");
            let appraisal = appraise(&claims, [("v1", &release.reference)]);
            assert!(matches!(appraisal, Appraisal::Matched { .. }), "{folder}: {appraisal:?}");
        }
    }

    #[test]
    fn registers_that_are_one_instances_own_are_not_proposed() {
        let (release, claims) = from_evidence("nitro/prod-2025-public-key", Tee::Nitro, "2025-01-06T16:07:06Z");
        assert!(claims.registers.contains_key("pcr4") && !release.reference.registers.contains_key("pcr4"));
        let (release, _) = from_evidence("tpm/swtpm-rsa", Tee::Tpm, "2026-12-01T00:00:00Z");
        assert!(release.reference.registers.contains_key("pcr0"), "{release:?}");
    }
}
