//! What a registration demands beyond its releases: as arguments, and as it is shown.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use burgrave_types::api::{
    AcceptedTcb, RequiredPart, Requirements, RunTimeRequirement, Shortfall, TcbComponent, TcbFloor,
};
use burgrave_types::claims::{HexBytes, ReferenceValue, TcbStatus, TdAttribute};
use burgrave_types::{Concession, ParseError, Problem, ProblemCode, Tee, Timestamp};
use clap::Args;

use super::enclave::seconds;
use crate::output::{Facts, Output, Tone, deadline, list};

const HEADING: &str = "What is demanded beyond the code";

/// What is demanded of evidence beyond the code that it names.
#[derive(Debug, Default, Args)]
pub(crate) struct RequirementArgs {
    /// A platform that is let in, as `burgrave evidence inspect` and `instance show` name it (chip id, PPID); may be given
    /// several times: these and no others
    #[arg(long = "platform", value_name = "HEX", help_heading = HEADING)]
    platforms: Vec<HexBytes>,
    /// Let in any platform
    #[arg(long, conflicts_with = "platforms", help_heading = HEADING)]
    any_platform: bool,
    /// Take an instance whose host can look inside. Whoever runs it can then read all that it holds
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = HEADING)]
    allow_debug: Option<bool>,
    /// Take an instance that a migration agent may move
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = HEADING)]
    allow_migration: Option<bool>,
    /// The least privileged VMPL (0 to 3) that may ask for evidence of SEV-SNP; 0 unless given
    #[arg(long, value_name = "LEVEL", help_heading = HEADING)]
    max_vmpl: Option<u32>,
    /// An attribute of a trust domain (TDX) to take, as some clouds set it: `sept-ve` (SEPT_VE_DISABLE off), `pks`,
    /// `key-locker`, `provisioning-agent`, `perfmon`; may be given several times
    #[arg(long = "allow-td", value_name = "ATTRIBUTE", help_heading = HEADING)]
    allow_td: Vec<TdAttribute>,
    /// An attribute of a trust domain to take no longer
    #[arg(long = "refuse-td", value_name = "ATTRIBUTE", help_heading = HEADING)]
    refuse_td: Vec<TdAttribute>,
    /// Take a trust domain (TDX) to which a service TD is bound. Whoever made that one can then read or move it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = HEADING)]
    allow_service_td: Option<bool>,
    /// A TCB status to take, for good or for a time: `hardening-needed`, `configuration-needed`, `out-of-date:14d`
    #[arg(long, value_name = "STATUS[:SPAN]", value_parser = accepted, help_heading = HEADING)]
    accept_tcb: Vec<(TcbStatus, Option<u64>)>,
    /// A TCB status to take no longer
    #[arg(long, value_name = "STATUS", help_heading = HEADING)]
    refuse_tcb: Vec<TcbStatus>,
    /// A minimum of the platform's firmware: `milan.snp=24`, `dcap.evaluation=17`. It replaces the one of the same
    /// component, with `--grace` once it holds
    #[arg(long, value_name = "COMPONENT=NUMBER", value_parser = floor, help_heading = HEADING)]
    tcb_floor: Vec<(TcbComponent, u64)>,
    /// How long who is below these floors is still let in, and shown as such: `14d`
    #[arg(long, value_name = "SPAN", value_parser = seconds, requires = "tcb_floor", help_heading = HEADING)]
    grace: Option<u64>,
    /// A component that has no floor any longer: `milan.snp`
    #[arg(long, value_name = "COMPONENT", help_heading = HEADING)]
    drop_floor: Vec<TcbComponent>,
    /// A part that must be there beside the CPU's evidence: `nvidia-gpu`, or with what it must say
    /// `nvidia-gpu:measurement=00ff…,measurement3=00ff…`; several of one kind are alternatives
    #[arg(long = "with", value_name = "TEE[:NAME=HEX,…]", value_parser = part, help_heading = HEADING)]
    with: Vec<(Tee, Option<ReferenceValue>)>,
    /// Demand that a revocation list of AMD's is at hand for evidence of SEV-SNP
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = HEADING)]
    snp_crl: Option<bool>,
    /// PCRs that a TPM's quote must cover beside those of the releases, all of them: `0,2,4,7`; `none`
    #[arg(long, value_name = "NUMBERS", value_parser = pcrs, help_heading = HEADING)]
    pcrs: Option<Pcrs>,
    /// Demand a boot event log that explains the evidence's registers
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = HEADING)]
    boot_log: Option<bool>,
    /// Registers that a boot event log need not explain, all of them: `pcr9,pcr10`, `rtmr3`; `none`; `default` for those that
    /// others than firmware and boot loader extend
    #[arg(long, value_name = "REGISTERS", value_parser = unexplained, help_heading = HEADING)]
    unexplained: Option<Unexplained>,
    /// Demand proof of what was loaded since the boot, and that it is allowed: a TOML file with `files` (`sha256:00ff…`),
    /// `keys` (PEM) and `allow_violations`; docs/measured-boot.md
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    run_time: Option<PathBuf>,
    /// Ask nothing of what is loaded since the boot
    #[arg(long, conflicts_with = "run_time", help_heading = HEADING)]
    any_run_time: bool,
    /// A part that need not be there any longer
    #[arg(long, value_name = "TEE", help_heading = HEADING)]
    without: Vec<Tee>,
}

/// PCRs.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Pcrs(BTreeSet<u8>);

/// Registers, where it is not those that go without saying.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Unexplained(Option<BTreeSet<String>>);

impl RequirementArgs {
    /// The requirements that come of `before`; none where nothing is said.
    ///
    /// # Errors
    /// Where the file of what may be loaded cannot be read.
    pub(crate) fn change(&self, before: &Requirements, now: Timestamp) -> Result<Option<Requirements>, Problem> {
        let mut after = before.clone();
        if self.any_platform || !self.platforms.is_empty() {
            after.platforms.clone_from(&self.platforms);
        }
        after.allow_debug = self.allow_debug.unwrap_or(after.allow_debug);
        after.allow_migration = self.allow_migration.unwrap_or(after.allow_migration);
        after.max_privilege = self.max_vmpl.unwrap_or(after.max_privilege);
        after.allow_td_attributes.extend(&self.allow_td);
        after.allow_td_attributes.retain(|attribute| !self.refuse_td.contains(attribute));
        after.allow_service_td = self.allow_service_td.unwrap_or(after.allow_service_td);
        let in_time = |span: u64| now + Duration::from_secs(span);
        let said = |status| self.accept_tcb.iter().any(|(of, _)| *of == status);
        after.tcb_accepted.retain(|one| !self.refuse_tcb.contains(&one.status) && !said(one.status));
        let accepted = self.accept_tcb.iter();
        after
            .tcb_accepted
            .extend(accepted.map(|(status, span)| AcceptedTcb { status: *status, until: span.map(in_time) }));
        after.tcb_floors.retain(|floor| !self.drop_floor.contains(&floor.component));
        let enforced_from = self.grace.map(in_time);
        for (component, minimum) in &self.tcb_floor {
            // A lower floor that holds already stands until the higher one does.
            after.tcb_floors.retain(|old| {
                let holds = old.enforced_from.is_none_or(|from| from <= now);
                old.component != *component || (holds && enforced_from.is_some() && old.minimum < *minimum)
            });
            after.tcb_floors.push(TcbFloor { component: component.clone(), minimum: *minimum, enforced_from });
        }
        after
            .parts
            .retain(|part| !self.without.contains(&part.tee) && !self.with.iter().any(|(tee, _)| *tee == part.tee));
        for (tee, reference) in &self.with {
            match after.parts.iter_mut().find(|part| part.tee == *tee) {
                Some(part) => part.references.extend(reference.clone()),
                None => after.parts.push(RequiredPart { tee: *tee, references: reference.iter().cloned().collect() }),
            }
        }
        after.snp_crl = self.snp_crl.unwrap_or(after.snp_crl);
        if let Some(Pcrs(pcrs)) = &self.pcrs {
            after.pcrs.clone_from(pcrs);
        }
        after.boot_log = self.boot_log.unwrap_or(after.boot_log);
        if let Some(Unexplained(registers)) = &self.unexplained {
            after.boot_log_unexplained.clone_from(registers);
        }
        match &self.run_time {
            Some(path) => after.run_time = Some(run_time(path)?),
            None if self.any_run_time => after.run_time = None,
            None => {}
        }
        let said_something = self.any_platform || after != *before;
        Ok(said_something.then_some(after))
    }
}

/// Requirements as facts: what is let pass in the tone of a warning.
pub(crate) fn facts<'a>(facts: Facts<'a>, requirements: &Requirements, output: &Output) -> Facts<'a> {
    let now = output.now();
    let warning = |text: &str| output.tone(Tone::Warning, text);
    let accepted = requirements.tcb_accepted.iter().map(|accepted| match accepted.until {
        Some(until) => format!("{} ({})", accepted.status, deadline(now, until)),
        None => accepted.status.to_string(),
    });
    let floors = requirements.tcb_floors.iter().map(|floor| match floor.enforced_from.filter(|from| *from > now) {
        Some(from) => format!("{} {} from {from} on ({})", floor.component, floor.minimum, deadline(now, from)),
        None => format!("{} {}", floor.component, floor.minimum),
    });
    let parts = requirements.parts.iter().map(|part| match part.references.as_slice() {
        [] => format!("{} (any)", part.tee),
        references => format!("{}: {}", part.tee, references.iter().map(describe).collect::<Vec<_>>().join(" or ")),
    });
    let some = |pcrs: &BTreeSet<u8>| Some(list(pcrs)).filter(|_| !pcrs.is_empty());
    let attributes = Some(&requirements.allow_td_attributes).filter(|all| !all.is_empty()).map(list);
    let unexplained = requirements.boot_log_unexplained.as_ref();
    let unexplained = unexplained.map(|all| if all.is_empty() { "nothing".to_owned() } else { warning(&list(all)) });
    facts
        .maybe("platforms let in", Some(list(&requirements.platforms)).filter(|_| !requirements.platforms.is_empty()))
        .maybe("debugging", requirements.allow_debug.then(|| warning("taken: its host can look inside")))
        .maybe("migration", requirements.allow_migration.then(|| warning("taken: an agent may move it")))
        .maybe(
            "privilege",
            (requirements.max_privilege > 0).then(|| warning(&format!("VMPL {} taken", requirements.max_privilege))),
        )
        .maybe("TD attributes taken", attributes.map(|text| warning(&text)))
        .maybe("service TD", requirements.allow_service_td.then(|| warning("taken: it can read or move the TD")))
        .maybe("TCB taken besides", some_lines(accepted).map(|text| warning(&text)))
        .maybe("TCB at least", some_lines(floors))
        .maybe("parts beside it", some_lines(parts))
        .maybe("AMD's revocation list", requirements.snp_crl.then_some("demanded"))
        .maybe("PCRs quoted", some(&requirements.pcrs))
        .maybe("boot event log", requirements.boot_log.then_some("demanded"))
        .maybe("it need not explain", unexplained)
        .maybe("loaded at run time", requirements.run_time.as_ref().map(|run_time| allowed(run_time, output)))
}

/// What of an instance's claims only its registration lets pass.
pub(crate) fn conceded(conceded: impl IntoIterator<Item = Concession>, output: &Output) -> Option<String> {
    let words = list(conceded);
    (words != "-").then(|| output.tone(Tone::Warning, &words))
}

/// What will refuse an instance.
pub(crate) fn shortfall(shortfall: &Shortfall, output: &Output) -> String {
    let Shortfall { from, expected, found } = shortfall;
    let words = format!("below the floor enforced from {from} ({}): {found}", deadline(output.now(), *from));
    output.tone(Tone::Warning, &words) + &format!("\nexpected {expected}")
}

/// What may be loaded, counted.
fn allowed(run_time: &RunTimeRequirement, output: &Output) -> String {
    let words = format!("{} files and what {} keys signed", run_time.files.len(), run_time.keys.len());
    match run_time.allow_violations {
        true => format!("{words}; {}", output.tone(Tone::Warning, "files that change while they are measured pass")),
        false => words,
    }
}

/// Reads what may be loaded.
fn run_time(path: &Path) -> Result<RunTimeRequirement, Problem> {
    toml::from_str(&super::read_text(path)?).map_err(|error| {
        let detail = format!("`{}` does not say what may be loaded: {error}", path.display());
        Problem::new(ProblemCode::RequestInvalid, detail)
            .with_fix("docs/measured-boot.md shows such a file (`[run_time]`)")
    })
}

/// A reference value in a line.
fn describe(reference: &ReferenceValue) -> String {
    let values = [("measurement", &reference.measurement), ("config", &reference.config)];
    let values = values.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?)));
    let registers = reference.registers.iter().map(|(name, value)| format!("{name} {value}"));
    list(values.chain(registers))
}

fn some_lines(lines: impl Iterator<Item = String>) -> Option<String> {
    let lines: Vec<_> = lines.collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn accepted(text: &str) -> Result<(TcbStatus, Option<u64>), String> {
    let (status, span) = match text.split_once(':') {
        Some((status, span)) => (status, Some(seconds(span)?)),
        None => (text, None),
    };
    Ok((status.parse().map_err(|error: ParseError| error.to_string())?, span))
}

fn floor(text: &str) -> Result<(TcbComponent, u64), String> {
    let expected = "expected a component and a number, e.g. `milan.snp=24`";
    let (component, number) = text.split_once('=').ok_or(expected)?;
    let component = component.parse().map_err(|error: ParseError| error.to_string())?;
    Ok((component, number.parse().map_err(|_| expected)?))
}

fn pcrs(text: &str) -> Result<Pcrs, String> {
    if text == "none" {
        return Ok(Pcrs(BTreeSet::new()));
    }
    let numbers = text.split(',').map(|number| number.trim().parse::<u8>().ok().filter(|number| *number < 24));
    let numbers = numbers.collect::<Option<_>>().ok_or("expected numbers from 0 to 23, e.g. `0,2,4,7`, or `none`")?;
    Ok(Pcrs(numbers))
}

fn unexplained(text: &str) -> Result<Unexplained, String> {
    let expected = "expected registers, e.g. `pcr9,pcr10` or `rtmr3`, `none` or `default`";
    match text {
        "default" => return Ok(Unexplained(None)),
        "none" => return Ok(Unexplained(Some(BTreeSet::new()))),
        _ => {}
    }
    let is_register = |name: &str| {
        let number = name.strip_prefix("pcr").or_else(|| name.strip_prefix("rtmr"));
        number.is_some_and(|number| number.parse::<u8>().is_ok_and(|value| value.to_string() == number))
    };
    let names: BTreeSet<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    if names.iter().all(|name| is_register(name)) { Ok(Unexplained(Some(names))) } else { Err(expected.to_owned()) }
}

fn part(text: &str) -> Result<(Tee, Option<ReferenceValue>), String> {
    let words = |error: ParseError| error.to_string();
    let Some((tee, values)) = text.split_once(':') else { return Ok((text.parse().map_err(words)?, None)) };
    let tee = tee.parse().map_err(words)?;
    let mut reference = ReferenceValue {
        tee,
        measurement: None,
        signer: None,
        product_id: None,
        min_svn: None,
        registers: [].into(),
        config: None,
    };
    for value in values.split(',') {
        let (name, hex) = value.split_once('=').ok_or("expected `NAME=HEX`, e.g. `measurement3=00ff…`")?;
        let hex = Some(hex.parse::<HexBytes>().map_err(words)?);
        let before = match name {
            "measurement" => std::mem::replace(&mut reference.measurement, hex),
            "config" => std::mem::replace(&mut reference.config, hex),
            register => hex.and_then(|hex| reference.registers.insert(register.to_owned(), hex)),
        };
        if before.is_some() {
            return Err(format!("`{name}` stands there twice"));
        }
    }
    Ok((tee, Some(reference)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        requirements: RequirementArgs,
    }

    const NOW: Timestamp = Timestamp::from_unix_secs(1000);

    fn change(before: &Requirements, line: &[&str]) -> Option<Requirements> {
        let line = Line::try_parse_from(["enclave"].iter().chain(line)).unwrap();
        line.requirements.change(before, NOW).unwrap()
    }

    #[test]
    fn what_is_not_said_stays_and_what_is_said_replaces() {
        assert_eq!(change(&Requirements::default(), &[]), None);
        let line = ["--platform", "aa", "--allow-debug", "--max-vmpl", "2", "--accept-tcb", "out-of-date:1h"];
        let made = change(&Requirements::default(), &line).unwrap();
        assert!(made.allow_debug && !made.allow_migration);
        assert_eq!((made.platforms.len(), made.max_privilege), (1, 2));
        assert_eq!(made.tcb_accepted[0].until, Some(NOW + Duration::from_secs(3600)));
        let line = ["--allow-debug=false", "--refuse-tcb", "out-of-date", "--any-platform", "--max-vmpl", "0"];
        assert_eq!(change(&made, &line), Some(Requirements::default()));
    }

    #[test]
    fn a_raised_floor_with_grace_leaves_the_lower_one_until_it_holds() {
        let first = change(&Requirements::default(), &["--tcb-floor", "milan.snp=22"]).unwrap();
        let raised = change(&first, &["--tcb-floor", "milan.snp=24", "--grace", "14d"]).unwrap();
        let floors: Vec<_> = raised.tcb_floors.iter().map(|floor| (floor.minimum, floor.enforced_from)).collect();
        assert_eq!(floors, [(22, None), (24, Some(NOW + Duration::from_secs(14 * 86_400)))]);
        assert_eq!(change(&raised, &["--tcb-floor", "milan.snp=25"]).unwrap().tcb_floors.len(), 1);
        assert!(change(&raised, &["--drop-floor", "milan.snp"]).unwrap().tcb_floors.is_empty());
        for wrong in [["--tcb-floor", "milan.snp"], ["--tcb-floor", "naples.snp=1"], ["--grace", "1d"]] {
            assert!(Line::try_parse_from(["enclave"].iter().chain(&wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_taken_of_a_trust_domain_is_added_and_taken_back_word_by_word() {
        let line = ["--allow-td", "sept-ve", "--allow-td", "perfmon", "--allow-service-td"];
        let made = change(&Requirements::default(), &line).unwrap();
        assert_eq!(made.allow_td_attributes, [TdAttribute::SeptVe, TdAttribute::Perfmon].into());
        assert!(made.allow_service_td);
        let less = change(&made, &["--refuse-td", "perfmon", "--allow-service-td=false"]).unwrap();
        assert_eq!((less.allow_td_attributes, less.allow_service_td), ([TdAttribute::SeptVe].into(), false));
        assert!(Line::try_parse_from(["enclave", "--allow-td", "debug"]).is_err());
    }

    #[test]
    fn pcrs_and_registers_are_said_as_a_whole_and_can_be_taken_back() {
        let made = change(&Requirements::default(), &["--pcrs", "0,2, 7", "--unexplained", "pcr9,pcr10", "--snp-crl"])
            .unwrap();
        assert_eq!((made.pcrs.clone(), made.snp_crl), ([0, 2, 7].into(), true));
        assert_eq!(made.boot_log_unexplained, Some(["pcr9", "pcr10"].map(str::to_owned).into()));
        assert_eq!(change(&made, &["--unexplained", "none"]).unwrap().boot_log_unexplained, Some([].into()));
        let line = ["--pcrs", "none", "--unexplained", "default", "--snp-crl=false"];
        assert_eq!(change(&made, &line), Some(Requirements::default()));
        for wrong in [["--pcrs", "24"], ["--pcrs", ""], ["--unexplained", "pcr"], ["--unexplained", "pcr07"]] {
            assert!(Line::try_parse_from(["enclave"].iter().chain(&wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn parts_of_one_kind_are_alternatives() {
        let line = ["--with", "nvidia-gpu:measurement=aa,measurement3=bb", "--with", "nvidia-gpu:config=cc"];
        let made = change(&Requirements::default(), &line).unwrap();
        assert_eq!((made.parts.len(), made.parts[0].references.len()), (1, 2));
        assert_eq!(made.parts[0].references[0].registers["measurement3"], HexBytes(vec![0xbb]));
        assert!(change(&made, &["--with", "nvidia-gpu"]).unwrap().parts[0].references.is_empty());
        assert!(change(&made, &["--without", "nvidia-gpu"]).unwrap().parts.is_empty());
        for wrong in [
            "gpu",
            "nvidia-gpu:",
            "nvidia-gpu:measurement",
            "nvidia-gpu:measurement=a",
            "nvidia-gpu:config=a0,config=a0",
        ] {
            assert!(part(wrong).is_err(), "{wrong}");
        }
    }
}
