//! Holds a log against the registers that the evidence vouches for.

use std::collections::BTreeMap;

use burgrave_types::claims::{HexBytes, Proved};

use super::{EventLog, Layout, MeasuredEvent, MeasuredLog, MeasuredRegister, boot, names};
use crate::tpm::Hash;
use crate::verification::Findings;
use crate::{Cause, FileDigest, Profile};

/// The register that run-time events of a trust domain extend.
const RUN_TIME: &str = "rtmr3";
const PROFILE: &str = "TCG PC Client Platform Firmware Profile, section 10";
/// Registers that are named when several do not fit.
const MOST_NAMED: usize = 8;

/// A register that the evidence vouches for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Quoted {
    pub(crate) bank: Hash,
    /// As logs number registers.
    pub(crate) index: u32,
    pub(crate) value: HexBytes,
}

/// Replays the log in `item` against `quoted`. Only signatures that were verified may vouch for that, unless nobody is to
/// believe what comes out. What it explains
/// becomes claims; what it should explain and does not is a reason to refuse.
pub(crate) fn judge(
    layout: Layout,
    (item, bytes): (&str, &[u8]),
    quoted: &[Quoted],
    profile: &Profile,
    findings: &mut Findings,
) {
    let log = match EventLog::read(layout, bytes) {
        Ok(log) => log,
        Err(error) => {
            let rule = ("log.format", Cause::FormatMalformed, PROFILE);
            findings.checks.fatal(rule, false, format_args!("a boot event log in `{item}`"), error.to_string());
            return;
        }
    };
    let quoted: Vec<&Quoted> = quoted.iter().filter(|quoted| log.banks().contains(&quoted.bank)).collect();
    if quoted.is_empty() {
        let banks: Vec<_> = log.banks().iter().map(|bank| bank.as_str()).collect();
        findings.checks.record(
            ("log.bank", Cause::LogReplay, PROFILE),
            false,
            false,
            "a boot event log with digests of a bank that is quoted; without, it explains nothing",
            format_args!("digests of {}", banks.join(", ")),
        );
        return;
    }
    let replayed: BTreeMap<Hash, _> = log.banks().iter().map(|bank| (*bank, log.replay(*bank))).collect();
    let compared = quoted.iter().filter_map(|quoted| Compared::new(&log, &replayed, quoted));
    let is_open = |compared: &Compared<'_>| profile.boot_log.unexplained.contains(compared.plain_name());
    // A log that has nothing on a register that it need not explain says nothing about it.
    let compared: Vec<_> = compared.filter(|one| one.events > 0 || !is_open(one)).collect();
    for (name, fatal, expected) in [
        ("log.replay", true, "a boot event log that gives each register as quoted"),
        ("log.replay.open", false, "as well for registers that grow after the boot; others make no claim"),
    ] {
        let differ: Vec<_> = compared.iter().filter(|one| !one.fits() && is_open(one) != fatal).collect();
        let found = match differ.as_slice() {
            [] => "such a log".to_owned(),
            [first, ..] => {
                let names: Vec<_> = differ.iter().take(MOST_NAMED).map(|one| one.name.as_str()).collect();
                let more = if differ.len() > MOST_NAMED { ", …" } else { "" };
                format!(
                    "{}{more} otherwise: {} is quoted as {}, the log's {} events give {}",
                    names.join(", "),
                    first.name,
                    first.quoted.value,
                    first.events,
                    hex::encode(&first.replayed),
                )
            }
        };
        findings.checks.record((name, Cause::LogReplay, PROFILE), differ.is_empty(), fatal, expected, found);
    }
    findings.log = measured(&log, &compared);
    // SHA-1 digests prove nothing. Of the others one bank is enough, and the shortest is what others publish.
    let bank = compared.iter().map(|one| one.quoted.bank).filter(|bank| *bank != Hash::Sha1).min();
    if let (Some(bank), Some(claims)) = (bank, &mut findings.claims) {
        let proven =
            |index| compared.iter().any(|one| one.fits() && one.quoted.bank == bank && one.quoted.index == index);
        let boot = boot::claims(&log, bank, proven);
        claims.boot = (!boot.is_empty()).then_some(boot);
    }
}

/// Appraises the events that extended the register which is a trust domain's to extend while it runs, RTMR3: each event's
/// digest must be allowed.
pub(crate) fn judge_run_time(profile: &Profile, findings: &mut Findings) {
    let Some(run_time) = &profile.run_time else { return };
    let Some(register) = findings.log.0.get(RUN_TIME).filter(|register| register.proven) else { return };
    let is_allowed = |event: &&MeasuredEvent| {
        let digest = FileDigest::new(Hash::Sha384, event.digest.as_bytes());
        digest.is_some_and(|digest| run_time.allows(&digest, &[]))
    };
    let refused = register.events.iter().enumerate().find(|(_, event)| !is_allowed(event));
    let allowed = findings.checks.fatal(
        ("log.allowed", Cause::RuntimeUnlisted, "profile, run_time"),
        refused.is_none(),
        "only run-time events whose digest is allowed",
        match refused {
            None => format!("{} such events", register.events.len()),
            Some((number, event)) => {
                format!("event {number} of {RUN_TIME}: {} {} {}", event.kind, event.text, event.digest)
            }
        },
    );
    if let (true, Some(claims)) = (allowed, &mut findings.claims) {
        claims.proved.insert(Proved::Runtime);
    }
}

/// A quoted register beside what the log gives for it.
struct Compared<'a> {
    quoted: &'a Quoted,
    name: String,
    events: usize,
    replayed: Vec<u8>,
}

impl<'a> Compared<'a> {
    fn new(log: &EventLog<'_>, replayed: &BTreeMap<Hash, BTreeMap<u32, Vec<u8>>>, quoted: &'a Quoted) -> Option<Self> {
        let name = log.layout.register_name(quoted.bank, quoted.index)?;
        let events = log.of_register(quoted.index).count();
        let replayed = match replayed.get(&quoted.bank).and_then(|bank| bank.get(&quoted.index)) {
            Some(value) => value.clone(),
            None if events == 0 => log.initial(quoted.bank, quoted.index),
            // An event without a digest of this bank: nothing that could be equal.
            None => Vec::new(),
        };
        Some(Self { quoted, name, events, replayed })
    }

    fn fits(&self) -> bool {
        self.quoted.value.as_bytes() == self.replayed
    }

    /// The name without its bank.
    fn plain_name(&self) -> &str {
        self.name.split_once(':').map_or(&self.name, |(_, plain)| plain)
    }
}

fn measured(log: &EventLog<'_>, compared: &[Compared<'_>]) -> MeasuredLog {
    let of_use = compared.iter().filter(|one| one.quoted.bank != Hash::Sha1);
    let registers = of_use.map(|one| {
        let events = log.of_register(one.quoted.index).filter_map(|event| {
            let digest = event.digest(one.quoted.bank)?.into();
            Some(MeasuredEvent { kind: names::kind(event.kind), text: names::describe(event), digest })
        });
        (one.name.clone(), MeasuredRegister { proven: one.fits(), events: events.collect() })
    });
    let registers: BTreeMap<_, _> = registers.filter(|(_, register)| !register.events.is_empty()).collect();
    MeasuredLog(registers)
}
