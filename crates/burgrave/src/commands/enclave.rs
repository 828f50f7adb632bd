//! `burgrave enclave`: registrations.

use burgrave_client::Client;
use burgrave_types::api::{EnclaveChange, EnclaveView, NewEnclave, ReleaseStateChange, ReleaseView, Requirements};
use burgrave_types::claims::HexBytes;
use burgrave_types::{EnclaveName, KeyIdentity, Problem, ProblemCode, ReleaseState, Revision, Segment, Tee, Timestamp};
use clap::{Args, Subcommand};

use super::reference::ReferenceArgs;
use super::requirements::{self, RequirementArgs};
use super::{Outcome, confirm, pages, revoked};
use crate::output::{Facts, Output, Table, Tone, age, deadline, list, span};

/// What can be done with registrations.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List them
    List,
    /// Show one with its releases
    Show {
        /// Its name, `<namespace>/<name>`
        name: EnclaveName,
    },
    /// Register an enclave, with a first release where one is described
    Create(Box<Create>),
    /// Change how often it attests, what is demanded of its evidence, which platforms are let in or barred
    Update(Box<Update>),
    /// Delete it: its instances end, and what its keys protect cannot be read any more
    Delete {
        /// Its name
        name: EnclaveName,
        /// Do it unasked
        #[arg(long)]
        yes: bool,
    },
    /// End its access: of all its instances, or of one release's
    Revoke {
        /// Its name
        name: EnclaveName,
        /// Only what runs this release
        #[arg(long)]
        release: Option<Segment>,
        /// Why, for the record
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// What code may bear the name
    #[command(subcommand)]
    Release(Release),
}

/// A registration.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Its name, `<namespace>/<name>`
    name: EnclaveName,
    /// The TEE that it runs in
    #[arg(long)]
    tee: Option<Tee>,
    /// What its keys are derived from: name, signer or measurement. With `measurement`, other code has other keys
    #[arg(long, default_value = "name")]
    key_identity: KeyIdentity,
    /// How often it must attest: `30s`, `15m`, `1h`
    #[arg(long, value_name = "SPAN", default_value = "15m", value_parser = seconds)]
    reattest_every: u64,
    /// For a TPM: the SHA-256 of the public area (`ek.pub`) of an endorsement key that is let in; may be given several times
    #[arg(long = "ek", value_name = "HEX")]
    ek_digests: Vec<HexBytes>,
    /// The name of the first release
    #[arg(long, default_value = "v1")]
    release: Segment,
    #[command(flatten)]
    reference: ReferenceArgs,
    #[command(flatten)]
    requirements: RequirementArgs,
}

/// A change of a registration.
#[derive(Debug, Args)]
pub(crate) struct Update {
    /// Its name
    name: EnclaveName,
    /// How often it must attest: `30s`, `15m`, `1h`
    #[arg(long, value_name = "SPAN", value_parser = seconds)]
    reattest_every: Option<u64>,
    /// The endorsement keys that are let in from now on, all of them
    #[arg(long = "ek", value_name = "HEX")]
    ek_digests: Vec<HexBytes>,
    /// A barred platform to let in again; may be given several times
    #[arg(long = "lift", value_name = "HEX")]
    lift: Vec<HexBytes>,
    /// The revision that the change is based on; the current one where it is not given
    #[arg(long)]
    at: Option<u64>,
    #[command(flatten)]
    requirements: RequirementArgs,
}

/// What can be done with releases.
#[derive(Debug, Subcommand)]
pub(crate) enum Release {
    /// Add one
    Add {
        /// The enclave
        enclave: EnclaveName,
        /// The release's name
        release: Segment,
        #[command(flatten)]
        reference: Box<ReferenceArgs>,
    },
    /// Set its state: active (accepts attestations), deprecated (only of what runs already), revoked (none, for good)
    State {
        /// The enclave
        enclave: EnclaveName,
        /// The release
        release: Segment,
        /// The state
        state: ReleaseState,
        /// When it ends by itself: `14d` from now, or a time (RFC 3339)
        #[arg(long, value_name = "SPAN|TIME", value_parser = end)]
        until: Option<End>,
    },
}

/// Does what was asked.
pub(crate) async fn run(command: Command, client: &Client, output: &Output) -> Outcome {
    match command {
        Command::List => enclaves(client, output).await,
        Command::Show { name } => show(&client.enclave(&name).await?, output),
        Command::Create(create) => show(&client.create_enclave(&create.registration(output.now())?).await?, output),
        Command::Update(update) => {
            let before = client.enclave(&update.name).await?;
            let at = update.at.map_or(before.revision, Revision);
            let change = update.change(&before.requirements, output.now())?;
            show(&client.update_enclave(&update.name, at, &change).await?, output)
        }
        Command::Delete { name, yes } => {
            let at = client.enclave(&name).await?.revision;
            let loss = format!("What is encrypted under the keys of `{name}` can never be read again.");
            confirm(yes, &name.to_string(), &loss, output)?;
            revoked::show(&client.delete_enclave(&name, at).await?, output)
        }
        Command::Revoke { name, release: None, reason } => {
            revoked::show(&client.revoke_enclave(&name, &reason).await?, output)
        }
        Command::Revoke { name, release: Some(release), reason } => {
            revoked::show(&client.revoke_release(&name, &release, &reason).await?, output)
        }
        Command::Release(Release::Add { enclave, release, reference }) => {
            let registered = client.enclave(&enclave).await?;
            let release = reference.release(release, Some(registered.tee), output.now())?;
            show(&client.add_release(&enclave, registered.revision, &release).await?, output)
        }
        Command::Release(Release::State { enclave, release, state: ReleaseState::Revoked, .. }) => {
            revoked::show(&client.revoke_release(&enclave, &release, "").await?, output)
        }
        Command::Release(Release::State { enclave, release, state, until }) => {
            let at = client.enclave(&enclave).await?.revision;
            let change = ReleaseStateChange { state, valid_until: until.map(|until| until.after(output.now())) };
            show(&client.set_release_state(&enclave, &release, at, change).await?, output)
        }
    }
}

impl Create {
    fn registration(&self, now: Timestamp) -> Result<NewEnclave, Problem> {
        let releases = match self.reference.is_empty() {
            true => Vec::new(),
            false => vec![self.reference.release(self.release.clone(), self.tee, now)?],
        };
        let said = releases.first().map(|release| release.reference.tee);
        let tee = self.tee.or(said).ok_or_else(|| {
            Problem::new(ProblemCode::RequestInvalid, "it is not said which TEE the enclave runs in")
                .with_fix("add `--tee snp` (or tpm, tdx, …), or describe a release")
        })?;
        Ok(NewEnclave {
            name: self.name.clone(),
            tee,
            key_identity: self.key_identity,
            reattest_every_secs: self.reattest_every,
            releases,
            tpm_ek_digests: self.ek_digests.clone(),
            requirements: self.requirements.change(&Requirements::default(), now)?.unwrap_or_default(),
        })
    }
}

impl Update {
    fn change(&self, before: &Requirements, now: Timestamp) -> Result<EnclaveChange, Problem> {
        let change = EnclaveChange {
            reattest_every_secs: self.reattest_every,
            tpm_ek_digests: Some(self.ek_digests.clone()).filter(|digests| !digests.is_empty()),
            requirements: self.requirements.change(before, now)?,
            lift_platforms: self.lift.clone(),
        };
        if change == EnclaveChange::default() {
            return Err(Problem::new(ProblemCode::RequestInvalid, "nothing would change")
                .with_fix("say what: `burgrave enclave update --help` lists what there is"));
        }
        Ok(change)
    }
}

async fn enclaves(client: &Client, output: &Output) -> Outcome {
    let all = pages::all(async |page| client.enclaves(&page).await).await?;
    output.show(&all, |all| {
        if all.is_empty() {
            output.say(
                "No enclave is registered yet. The first one:\n  burgrave enclave create payments/api --tee snp --measurement HEX",
            );
            return Ok(String::new());
        }
        let mut table = Table::new(output, ["NAME", "TEE", "KEYS FROM", "ATTESTS EVERY", "RELEASES", "CREATED"]);
        for enclave in all {
            let releases = enclave.releases.iter().map(|release| format!("{} {}", release.name, release.state));
            let releases = match enclave.revoked {
                Some(at) => (format!("revoked {}", age(output.now(), at)), Some(Tone::Bad)),
                None => (list(releases), None),
            };
            table.toned([
                (enclave.name.to_string(), None),
                (enclave.tee.to_string(), (enclave.tee == Tee::Simulated).then_some(Tone::Warning)),
                (enclave.key_identity.to_string(), None),
                (span(std::time::Duration::from_secs(enclave.reattest_every_secs)), None),
                releases,
                (age(output.now(), enclave.created), None),
            ]);
        }
        Ok(table.finish())
    })
}

fn show(enclave: &EnclaveView, output: &Output) -> Outcome {
    output.show(enclave, |enclave| {
        let bars = enclave.barred_platforms.iter().map(|bar| format!("{} ({})", bar.platform, bar.reason));
        let facts = Facts::new(output)
            .fact("name", &enclave.name)
            .fact("uid", enclave.uid)
            .fact("SPIFFE id", &enclave.spiffe_id)
            .fact("TEE", enclave.tee)
            .fact("keys from", enclave.key_identity)
            .fact("attests every", span(std::time::Duration::from_secs(enclave.reattest_every_secs)))
            .maybe("revoked", enclave.revoked.map(|at| output.tone(Tone::Bad, &age(output.now(), at))))
            .fact("created", format!("{} by {}", age(output.now(), enclave.created), enclave.created_by))
            .fact("revision", enclave.revision)
            .maybe("TPMs let in", Some(list(&enclave.tpm_ek_digests)).filter(|_| enclave.tee == Tee::Tpm))
            .maybe("barred", Some(list(bars)).filter(|_| !enclave.barred_platforms.is_empty()));
        let facts = requirements::facts(facts, &enclave.requirements, output);
        let facts = enclave
            .releases
            .iter()
            .fold(facts, |facts, release| facts.fact(&format!("release {}", release.name), describe(release, output)));
        if enclave.releases.is_empty() {
            output.say(&format!(
                "No code may bear this name yet: burgrave enclave release add {} v1 --measurement HEX",
                enclave.name
            ));
        }
        Ok(facts.finish())
    })
}

fn describe(release: &ReleaseView, output: &Output) -> String {
    let reference = &release.reference;
    let mut lines = vec![format!("{}, {}, digest {}", release.state, release.origin, release.digest)];
    lines.extend(release.valid_until.map(|until| {
        let ends = format!("ends {until} ({})", deadline(output.now(), until));
        output.tone(Tone::Warning, &ends)
    }));
    lines.extend(reference.measurement.as_ref().map(|value| format!("measurement {value}")));
    lines.extend(reference.signer.as_ref().map(|value| format!("signer {value}")));
    lines.extend(reference.product_id.as_ref().map(|value| format!("product id {value}")));
    lines.extend(reference.min_svn.map(|value| format!("svn at least {value}")));
    lines.extend(reference.config.as_ref().map(|value| format!("config {value}")));
    lines.extend(reference.registers.iter().map(|(name, value)| format!("{name} {value}")));
    lines.join("\n")
}

/// When something ends, as it is said.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// So many seconds from now.
    In(u64),
    /// Then.
    At(Timestamp),
}

impl End {
    /// The time, said at `now`.
    pub(crate) fn after(self, now: Timestamp) -> Timestamp {
        match self {
            Self::In(secs) => now + std::time::Duration::from_secs(secs),
            Self::At(at) => at,
        }
    }
}

/// Reads a span of time or a time.
pub(crate) fn end(text: &str) -> Result<End, String> {
    match (seconds(text), text.parse::<Timestamp>()) {
        (Ok(secs), _) => Ok(End::In(secs)),
        (_, Ok(at)) => Ok(End::At(at)),
        _ => Err("expected a span such as `14d`, or a time such as `2026-03-01T00:00:00Z`".to_owned()),
    }
}

/// Reads `90`, `30s`, `15m`, `1h` or `1d` as seconds.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = match text.strip_prefix(digits) {
        Some("" | "s") => 1,
        Some("m") => 60,
        Some("h") => 3600,
        Some("d") => 86_400,
        _ => 0,
    };
    match digits.parse::<u64>() {
        Ok(number) if unit > 0 => Ok(number.saturating_mul(unit)),
        _ => Err("expected a number with `s`, `m`, `h` or `d`, e.g. `15m`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_are_read_in_their_units() {
        let read: Vec<_> = ["90", "30s", "15m", "1h", "2d"].map(|text| seconds(text).unwrap()).into();
        assert_eq!(read, [90, 30, 900, 3600, 172_800]);
        for bad in ["", "m", "1w", "-1s", "1.5h", "s30"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
