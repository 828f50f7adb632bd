//! `burgrave evidence`: evidence of any TEE, judged offline.

mod bring;

use std::path::{Path, PathBuf};

use burgrave_types::claims::{HexBytes, TdClaims};
use burgrave_types::{Claims, Clock, EvidencePart, Problem, ProblemCode, SystemClock, Tee, Timestamp};
use burgrave_verifier::files::{self, Brought, Origin};
use burgrave_verifier::tpm::{AkProof, ek_digest};
use burgrave_verifier::{
    Cause, Check, Endorsements, Expected, Input, Inspected, Profile, ReferenceLog, Roots, TpmProfile, TpmTrust,
    Verdict, Verification, inspect, verify, verify_whole,
};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Outcome, read, read_text};
use crate::args::ServerArgs;
use crate::output::{Facts, Failure, Output, Tone, age, by_number, list, one_line};

/// What can be done with evidence.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Judge evidence: exit code 0 accepted, 7 rejected, 2 where it cannot be read or is not recognised
    ///
    /// PATH is a file of evidence, or a folder that holds evidence and what endorses it under their usual names: `report.bin` and
    /// `vcek.der` (SEV-SNP); `quote.bin` and `collateral.json` (TDX, SGX); `document.cose` (Nitro); `quote.msg`, `quote.sig`, `ak.pub`,
    /// `pcrs.json`, and the logs `eventlog.bin` and `ima.bin` (TPM 2.0); `hcl-report.bin` beside a quote (Azure); `token.cbor`, with
    /// `--root` for the platform's key (Arm CCA); `report.bin` and `chain.pem` (NVIDIA GPU).
    ///
    /// Where the usual name of the evidence itself is not there, the one file of its shape is taken, whatever it is called. It may be
    /// hexadecimal or base64 text or stand within JSON; a SEV-SNP report may have the host's certificate table behind it or beside it,
    /// as configfs-tsm's `outblob` and `auxblob` are.
    Verify(Verify),
    /// Show what evidence says, without judging it: nothing of it is to be believed
    Inspect(Source),
    /// Attest to a node from here, and print its signed result; for trying out a TEE and a registration
    Attest(super::attest::Instance),
    /// Check a node's signed result of an attestation: exit code 0 where it holds, 7 where it does not
    ///
    /// For whoever is shown a result (EAR, a JSON Web Token) by an enclave and wants to know whether to believe it. With
    /// `--genesis` the certificates in the result must lead to that domain; with `--keys` it must be signed by one of these.
    Result(super::result::Arguments),
}

/// Where the evidence is.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// The file or folder
    path: PathBuf,
    /// The TEE that it comes from; recognised by names and shapes where it is not given
    #[arg(long)]
    tee: Option<Tee>,
}

/// How to judge.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    source: Source,
    /// A certificate, revocation list, host's certificate table, `collateral.json` or piece of Intel's collateral (docs/collateral.md),
    /// or a folder of them, beside those in PATH
    #[arg(long, value_name = "PATH")]
    endorsements: Vec<PathBuf>,
    /// A root certificate to trust instead of the vendors' that are built in; for Arm CCA a JSON list of platforms' keys
    #[arg(long, value_name = "FILE")]
    root: Vec<PathBuf>,
    /// The time to judge at (RFC 3339); now where it is not given
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// The report data that the evidence must carry, hexadecimal
    #[arg(long, value_name = "HEX", conflicts_with = "nonce")]
    report_data: Option<HexBytes>,
    /// The nonce that the evidence must carry, hexadecimal
    #[arg(long, value_name = "HEX")]
    nonce: Option<HexBytes>,
    /// A platform that is let in, as the claims name it (of a TPM: its endorsement key's digest); any where none is given
    #[arg(long, value_name = "HEX")]
    platform: Vec<HexBytes>,
    /// What to demand beyond being authentic (TOML); the strict profile where it is not given
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
}

/// Does what was asked.
pub(crate) async fn run(command: Command, server: &ServerArgs, output: &Output) -> Outcome {
    match command {
        Command::Attest(instance) => super::attest::run(&instance, server, output).await,
        Command::Result(arguments) => super::result::run(&arguments, server.genesis, output),
        Command::Verify(arguments) => judge(&arguments, output),
        Command::Inspect(source) => {
            let brought = source.brought()?;
            let found = inspected(&brought.part)?;
            let found = Found { found, origins: brought.origins, unused: brought.unused };
            output.show(&found, |found| Ok(describe(found, output)))
        }
    }
}

/// What evidence at this place says, unverified, and the events behind its registers, where they were proven to be those.
pub(crate) fn claims_of(
    path: &Path,
    tee: Option<Tee>,
    now: Timestamp,
) -> Result<(Option<Claims>, ReferenceLog), Problem> {
    let part = Source { path: path.to_owned(), tee }.brought()?.part;
    let read = inspected(&part)?;
    // A TPM's registers make no claim until they were held against what it quoted. Whose the TPM is, the registration says;
    // that the key is that TPM's, it proves to the node when it attests.
    let listed = part.item("ek.pub").map(|ek| ek_digest(ek).to_vec());
    let tpm = TpmProfile { trust: TpmTrust::Listed, ..TpmProfile::default() };
    let verification = verify(&Input {
        part: &part,
        endorsements: &Endorsements {
            platforms: listed.into_iter().collect(),
            ak_proof: AkProof::Pending,
            ..Endorsements::default()
        },
        roots: &Roots::vendor(),
        profile: &Profile { tpm, ..Profile::default() },
        expected: Expected::None,
        at: now,
    });
    let log = verification.log.reference();
    Ok((verification.claims.filter(|claims| !claims.registers.is_empty()).or(read.claims), log))
}

fn inspected(part: &EvidencePart) -> Result<Inspected, Problem> {
    inspect(part).map_err(|check| {
        let Check { name, cause, expected, found, .. } = &*check;
        let detail = format!("this cannot be read as `{}` evidence: {name} expected {expected}, found {found}", part.tee);
        Problem::new(ProblemCode::RequestInvalid, detail)
            .with_cause(cause.as_str())
            .with_fix("give each file its item's name (`burgrave evidence verify --help` lists them), or another TEE with `--tee`")
    })
}

fn judge(arguments: &Verify, output: &Output) -> Outcome {
    let Brought { part, origins, unused } = arguments.source.brought()?;
    let roots = match arguments.root.as_slice() {
        [] => Roots::vendor(),
        files => {
            let files = files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
            Roots::only(files).map_err(|_| {
                unusable(
                    "a `--root`",
                    "it holds neither certificates (DER or PEM) nor keys or firmware of Arm CCA platforms (JSON)",
                )
            })?
        }
    };
    let profile = match &arguments.profile {
        None => Profile::default(),
        Some(file) => toml::from_str(&read_text(file)?)
            .map_err(|error| unusable(&format!("the profile `{}`", file.display()), &error.to_string()))?,
    };
    let expected = match (&arguments.report_data, &arguments.nonce) {
        (Some(data), _) => Expected::ReportData(data.as_bytes()),
        (None, Some(nonce)) => Expected::Nonce(nonce.as_bytes()),
        (None, None) => Expected::None,
    };
    let mut endorsements = bring::endorsements(&arguments.endorsements)?;
    endorsements.add_pieces_beside(&part);
    endorsements.platforms = arguments.platform.iter().map(|platform| platform.as_bytes().to_vec()).collect();
    let at = arguments.at.unwrap_or_else(|| SystemClock.now());
    let input = Input { part: &part, endorsements: &endorsements, roots: &roots, profile: &profile, expected, at };
    let found = Found { found: verify_whole(&input), origins, unused };
    output.show(&found, |found| Ok(report(found, at, output)))?;
    match found.found.verdict {
        Verdict::Accept => Ok(()),
        Verdict::Reject => Err(Failure::Quiet(ProblemCode::AttestationRejected.exit_code())),
    }
}

impl Source {
    /// Reads the evidence.
    fn brought(&self) -> Result<Brought, Problem> {
        files::part(bring::named_files(&self.path)?, self.tee).map_err(|error| {
            let detail = format!("`{}` cannot be judged: {error}", self.path.display());
            Problem::new(ProblemCode::RequestInvalid, detail).with_fix(error.fix())
        })
    }
}

fn unusable(what: &str, why: &str) -> Problem {
    Problem::new(ProblemCode::RequestInvalid, format!("{what} cannot be used: {why}"))
        .with_fix("name another; `burgrave evidence verify --help` says what is expected")
}

/// What was found in evidence, and where its items come from that are no file of their own name.
#[derive(Debug, Serialize)]
struct Found<T> {
    #[serde(flatten)]
    found: T,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    origins: Vec<Origin>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unused: Vec<String>,
}

impl<T> Found<T> {
    /// What was taken for what, as facts.
    fn read<'a>(&self, facts: Facts<'a>) -> Facts<'a> {
        let facts = self.origins.iter().fold(facts, |facts, origin| facts.fact("read", one_line(&origin.to_string())));
        let unused = list(self.unused.iter().map(|name| format!("`{name}`")));
        facts.maybe("not used", Some(one_line(&unused)).filter(|_| !self.unused.is_empty()))
    }
}

fn report(found: &Found<Verification>, at: Timestamp, output: &Output) -> String {
    let verification = &found.found;
    let unproven = verification.unproven.first();
    let verdict = match (verification.verdict, verification.cause) {
        (Verdict::Accept, _) => match unproven {
            Some(cause) => output.tone(Tone::Warning, &format!("accepted, but {} ({cause})", left_open(*cause))),
            None => output.tone(Tone::Good, "accepted"),
        },
        (Verdict::Reject, cause) => {
            output.tone(Tone::Bad, &format!("rejected: {}", cause.map_or("unknown", |cause| cause.as_str())))
        }
    };
    let until = verification
        .valid_until
        .map(|until| if until > at { format!("{until}") } else { format!("{until} ({})", age(at, until)) });
    let facts = Facts::new(output)
        .fact("verdict", verdict)
        .fact(
            "authentic",
            match (verification.authentic, unproven) {
                (true, Some(cause)) => format!("not proven ({cause})"),
                (true, None) => "yes".to_owned(),
                (false, _) => "no".to_owned(),
            },
        )
        .fact("judged at", at)
        .maybe("valid until", until)
        .fact("TEE", verification.tee);
    let facts = found.read(facts);
    let facts = match &verification.claims {
        Some(claims) if is_tcb_judged(verification) => claim_facts(facts, claims),
        Some(claims) => facts_of(facts, claims, "not judged"),
        None => facts,
    };
    let checks: String = verification.checks.iter().map(|check| line(check, output)).collect();
    let advice = verification.cause.and_then(|cause| advice(cause, verification.tee));
    let advice = advice.map(|advice| format!("\nfix: {advice}\n")).unwrap_or_default();
    format!("{}\n{checks}{advice}", facts.finish())
}

/// What nobody proved, for people.
fn left_open(cause: Cause) -> &'static str {
    match cause {
        Cause::AkUnbound => "nobody proved that the key which signed stands in the TPM that is shown",
        _ => "something is left unproven",
    }
}

/// Whether it came to the point where the TCB was compared: before that the claims' status is a mere place.
fn is_tcb_judged(verification: &Verification) -> bool {
    verification.checks.iter().any(|check| check.name == "policy.tcb")
}

fn line(check: &Check, output: &Output) -> String {
    if check.passed {
        return format!("{} {}\n", output.tone(Tone::Good, "✓"), check.name);
    }
    let mark = if check.fatal { output.tone(Tone::Bad, "✗") } else { output.tone(Tone::Warning, "!") };
    let Check { name, cause, reference, .. } = check;
    let (expected, found) = (one_line(&check.expected), one_line(&check.found));
    format!("{mark} {name} ({cause})\n    expected {expected}\n    found    {found}\n    by       {reference}\n")
}

/// What to do about a refusal whose check does not say so itself.
fn advice(cause: Cause, tee: Tee) -> Option<&'static str> {
    match (cause, tee) {
        (Cause::CertificateValidity, Tee::Nitro) => {
            Some("a Nitro document's certificate lives three hours: `--at TIME` judges at the time it was made")
        }
        (Cause::CertificateValidity | Cause::CrlValidity | Cause::CollateralValidity, _) => Some(
            "`--at TIME` judges at another time; `--endorsements PATH` brings collateral and lists that are missing or newer \
             (docs/collateral.md says where they come from)",
        ),
        (Cause::ChainUntrusted, Tee::Snp | Tee::AzVtpm) => Some(
            "`--endorsements PATH` brings certificates that are missing: docs/collateral.md says where AMD's come from, and `--root` \
             names other roots",
        ),
        (Cause::ChainUntrusted, _) => Some("`--root FILE` names a root to trust instead of those that are built in"),
        _ => None,
    }
}

fn describe(found: &Found<Inspected>, output: &Output) -> String {
    let inspected = &found.found;
    let facts = found.read(Facts::new(output).fact("TEE", inspected.tee));
    let facts = match &inspected.claims {
        // Nothing was compared with anything, whatever the claims have in the status' place.
        Some(claims) => facts_of(facts, claims, "not judged"),
        None => facts,
    };
    let raw = serde_json::to_string_pretty(&inspected.raw).unwrap_or_default();
    format!("{}\nNot verified: `burgrave evidence verify` judges it.\n\n{raw}\n", facts.finish())
}

/// A platform's id, with the text that it is where it is one: a cloud's name in a VLEK, an instance of Nitro's.
fn platform(id: &HexBytes) -> String {
    let text = std::str::from_utf8(id.as_bytes()).ok().filter(|text| text.chars().all(|one| one.is_ascii_graphic()));
    text.filter(|text| !text.is_empty()).map_or_else(|| id.to_string(), |text| format!("{id} (`{text}`)"))
}

/// Claims as facts.
pub(crate) fn claim_facts<'a>(facts: Facts<'a>, claims: &Claims) -> Facts<'a> {
    facts_of(facts, claims, claims.tcb.status.as_str())
}

fn facts_of<'a>(facts: Facts<'a>, claims: &Claims, status: &str) -> Facts<'a> {
    let svn = claims.tcb.svn.iter().map(|(name, svn)| format!("{name} {svn}"));
    let facts = facts
        .maybe("product", claims.product.as_deref().map(one_line))
        .maybe("platform", claims.platform_id.as_ref().map(platform))
        .fact("TCB", format!("{status} ({})", list(svn)))
        .maybe("debug", claims.debug)
        .maybe("migratable", claims.migratable)
        .maybe("privilege", claims.privilege)
        .maybe("TD", claims.td.as_ref().filter(|td| **td != TdClaims::default()).map(td_words))
        .maybe("measurement", claims.launch.measurement.as_ref())
        .maybe("signer", claims.launch.signer.as_ref())
        .maybe("product id", claims.launch.product_id.as_deref().map(one_line))
        .maybe("svn", claims.launch.svn)
        .maybe("config", claims.config.as_ref())
        .maybe("binding", claims.binding.as_ref())
        .maybe("secure boot", claims.boot.as_ref().and_then(|boot| boot.secure_boot))
        .maybe("command line", claims.boot.as_ref().and_then(|boot| boot.kernel_command_line.as_deref()).map(one_line))
        .fact("proved", list(claims.proved.iter()));
    let mut registers: Vec<_> = claims.registers.iter().collect();
    registers.sort_by(|(one, _), (other, _)| by_number(one).cmp(&by_number(other)));
    registers.into_iter().fold(facts, |facts, (name, value)| facts.fact(name, value))
}

/// What a trust domain may do beyond the strict profile.
fn td_words(td: &TdClaims) -> String {
    let service = td.service_td.then(|| "service-td".to_owned());
    list(td.attributes.iter().map(ToString::to_string).chain(service))
}
