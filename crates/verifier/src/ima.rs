//! The run-time log of Linux's integrity measurement architecture (IMA): what was loaded since boot, replayed against PCR 10
//! and appraised against allowed sets.
//!
//! Layout: Linux, `Documentation/security/IMA-templates.rst` and `security/integrity/ima/`. The log comes in pieces: `ima.bin`
//! holds whole entries, `ima.offset` the number of bytes of the log before them (none where it is absent). What was replayed before is an
//! [`ImaState`], which the caller keeps for the instance and gives back
//! ([`Endorsements::ima`](crate::Endorsements::ima), [`Verification::ima`](crate::Verification::ima)).
//!
//! A piece may end before the quoted value is reached (there is more to send) or behind it (it was read after the quote). In
//! both cases the state goes on from the piece's end, and no later piece can be replayed from it unless all that came before
//! was true. An entry that is not allowed yields no state: it is found again each time.
//!
//! A log refuses evidence only where the profile demands proof of the run time; otherwise what is wrong with it is told, and it
//! makes no claim.

mod entry;
mod state;

use aws_lc_rs::digest::{Context, SHA256, SHA384, SHA512};
use burgrave_types::claims::Proved;

use crate::eventlog::Quoted;
use crate::run_time::fuzz_signature;
use crate::tpm::Hash;
use crate::verification::Findings;
use crate::{Cause, Input, RunTimeProfile};
use entry::{AGGREGATE, Entry};
pub use state::ImaState;
use state::Standing;

pub(crate) const ITEM: &str = "ima.bin";
pub(crate) const OFFSET_ITEM: &str = "ima.offset";
/// The PCR that IMA extends.
const PCR: u32 = 10;
/// The most that a piece may have.
const MOST_BYTES: usize = 2 * 1024 * 1024;
/// A piece that is longer than this was cut by the bound on it: the longest entry is 64 KiB.
const FULL_PIECE: usize = MOST_BYTES - 64 * 1024;
const TEMPLATES: &str = "Linux IMA-templates.rst, binary_runtime_measurements";

/// A whole log in pieces that [`crate::verify`] takes, one after another: `ima.offset` of each is what the ones before it have.
pub(crate) fn pieces(log: &[u8]) -> Vec<&[u8]> {
    Entry::cut(log, MOST_BYTES)
}

/// Replays and appraises the part's piece of the log, if there is one. Only signatures that were verified may vouch for
/// `quoted`, which must be of one boot, that of `reset_count`.
pub(crate) fn judge(input: &Input<'_>, quoted: &[Quoted], reset_count: u32, findings: &mut Findings) {
    let Some(piece) = input.part.item(ITEM) else { return };
    let demanded = input.profile.run_time.as_ref();
    let registers: Vec<&Quoted> =
        quoted.iter().filter(|quoted| quoted.index == PCR && quoted.bank != Hash::Sha1).collect();
    if registers.is_empty() {
        let rule = ("ima.quoted", Cause::PcrSelection, TEMPLATES);
        let expected = "a quote over PCR 10 beside its log";
        findings.checks.record(rule, false, demanded.is_some(), expected, "none, but of SHA-1");
        return;
    }
    let Some(mut state) = starting_point(input, reset_count, &registers, findings) else { return };
    let first = state.entries();
    let checks = &mut findings.checks;
    let entries = match Entry::read_all(piece, MOST_BYTES) {
        Ok(entries) => entries,
        Err((cause, found)) => {
            let expected = "whole entries of `binary_runtime_measurements`, whose template digests are SHA-1 (not of \
                            `binary_runtime_measurements_sha256` or the like), at most 2 MiB";
            checks.record(("ima.format", cause, TEMPLATES), false, demanded.is_some(), expected, found);
            return;
        }
    };
    let standing = match state.replay(&entries, piece.len(), &registers) {
        Ok(standing) => standing,
        Err(found) => {
            let expected = "entries of PCR 10, each with the digest of its data";
            let rule = ("ima.entry", Cause::LogReplay, TEMPLATES);
            checks.record(rule, false, demanded.is_some(), expected, found);
            return;
        }
    };
    let is_apart = standing == Standing::Apart;
    let is_cut = is_apart && piece.len() > FULL_PIECE;
    checks.record(
        ("ima.replay", if is_cut { Cause::LogIncomplete } else { Cause::LogReplay }, TEMPLATES),
        !is_apart,
        demanded.is_some(),
        "a log that gives PCR 10 as quoted",
        match (is_apart, is_cut) {
            (true, true) => format!("{state} gives another value: send the rest"),
            (true, false) => format!("{state} gives another value"),
            (false, _) => state.to_string(),
        },
    );
    if is_apart && !is_cut {
        return;
    }
    aggregate(&entries, first, quoted, findings);
    let Some(profile) = demanded else {
        findings.ima = Some(state);
        return;
    };
    if standing == Standing::ReachedBySha1 {
        let rule = ("ima.bank", Cause::LogAbsent, TEMPLATES);
        let expected = "a kernel that extends each bank by digests of its own algorithm (Linux 5.8)";
        findings.checks.fatal(rule, false, expected, "SHA-1 digests, padded");
        return;
    }
    if !appraise(profile, &entries, first, quoted, findings) {
        return;
    }
    if let Standing::Reached { files } = standing {
        // Every kernel writes an entry of the boot, also one that was started without a policy and measures nothing, or under one
        // of its own data alone. What stands behind the quoted value anybody may have written.
        let measures = findings.checks.fatal(
            ("ima.measured", Cause::LogAbsent, "Linux, Documentation/ABI/testing/ima_policy"),
            files > 0,
            "a kernel that measures what it loads: an entry of a file before the quoted value",
            format_args!("{files} such entries"),
        );
        if let (true, Some(claims)) = (measures, &mut findings.claims) {
            claims.proved.insert(Proved::Runtime);
        }
    }
    findings.ima = Some(state);
}

/// Where the part's piece of the log begins: at nothing, or at what is known of the log before it.
fn starting_point(
    input: &Input<'_>,
    reset_count: u32,
    registers: &[&Quoted],
    findings: &mut Findings,
) -> Option<ImaState> {
    let demanded = input.profile.run_time.as_ref();
    // A log as the kernel shows it is one from its start.
    let offset = input.part.item(OFFSET_ITEM).unwrap_or(b"0").trim_ascii();
    let Some(offset) = std::str::from_utf8(offset).ok().and_then(|offset| offset.parse::<u64>().ok()) else {
        let rule = ("ima.offset", Cause::FormatMalformed, "evidence format, ima.offset");
        let expected = "the bytes of the log before `ima.bin`, in decimal digits; without this item, none";
        findings.checks.record(rule, false, demanded.is_some(), expected, "something else");
        return None;
    };
    let appraised_under = demanded.map_or([0; 32], RunTimeProfile::id);
    if offset == 0 {
        return Some(ImaState::new(reset_count, appraised_under, registers.iter().map(|one| one.bank)));
    }
    let known = input.endorsements.ima.as_ref();
    if let Some(state) = known.filter(|state| state.continues(offset, reset_count, appraised_under, registers)) {
        return Some(state.clone());
    }
    findings.checks.record(
        ("ima.offset", Cause::LogGap, TEMPLATES),
        false,
        demanded.is_some(),
        "a log from its start (offset 0): send it anew from there",
        match known {
            None => format!("one from byte {offset}, of which nothing is known before"),
            Some(known) => format!("one from byte {offset}; known is {known}"),
        },
    );
    None
}

/// Whether everything that was loaded is allowed; the first that is not is named.
fn appraise(
    profile: &RunTimeProfile,
    entries: &[Entry<'_>],
    first: u64,
    quoted: &[Quoted],
    findings: &mut Findings,
) -> bool {
    let aggregates = aggregates(quoted);
    let is_allowed = |(number, entry): &(u64, &Entry<'_>)| {
        if entry.is_violation() {
            return profile.allows_violations();
        }
        let Some(file) = entry.file() else { return false };
        let is_aggregate = || *number == 0 || aggregates.iter().any(|known| Some(known) == file.digest.as_ref());
        let is_boot = file.name == AGGREGATE && is_aggregate();
        is_boot || file.digest.is_some_and(|digest| profile.allows(&digest, file.signature))
    };
    let refused = (first..).zip(entries).find(|numbered| !is_allowed(numbered));
    findings.checks.fatal(
        ("ima.allowed", Cause::RuntimeUnlisted, "profile, run_time"),
        refused.is_none(),
        "only files whose digest is allowed, or signed by a key that is",
        refused.map_or_else(
            || format!("{} such entries", entries.len()),
            |(number, entry)| format!("entry {number}: {}", entry.describe()),
        ),
    )
}

/// Tells where the first entry says something else of the boot than the quote. Who extends PCRs 0 to 9 later makes them
/// differ, so it does not refuse: that the entry is the kernel's own PCR 10 says.
fn aggregate(entries: &[Entry<'_>], first: u64, quoted: &[Quoted], findings: &mut Findings) {
    let known = aggregates(quoted);
    let entry = entries.first().filter(|_| first == 0).and_then(Entry::file).filter(|file| file.name == AGGREGATE);
    let Some(digest) = entry.and_then(|file| file.digest) else { return };
    if known.is_empty() {
        return;
    }
    findings.checks.record(
        ("ima.boot_aggregate", Cause::LogReplay, "Linux, ima_calc_boot_aggregate"),
        known.contains(&digest),
        false,
        "the digest of the boot's PCRs in the log's first entry",
        digest.to_string(),
    );
}

/// What the kernel may have computed over the boot's PCRs: those of one bank, 0 to 9 (Linux 5.8) or 0 to 7.
fn aggregates(quoted: &[Quoted]) -> Vec<crate::FileDigest> {
    let mut out = Vec::new();
    for (bank, algorithm) in [(Hash::Sha256, &SHA256), (Hash::Sha384, &SHA384), (Hash::Sha512, &SHA512)] {
        for last in [7, 9] {
            let mut context = Context::new(algorithm);
            let values = (0..=last).map(|index| quoted.iter().find(|one| (one.bank, one.index) == (bank, index)));
            let whole = values.map(|one| one.map(|one| context.update(one.value.as_bytes()))).collect::<Option<()>>();
            out.extend(whole.and_then(|()| crate::FileDigest::new(bank, context.finish().as_ref())));
        }
    }
    out
}

/// The body of a fuzz target: reads bytes as entries of the log and replays them, and as a file's signature. Returns how many
/// entries there are.
pub fn fuzz_decode(bytes: &[u8]) -> usize {
    let _ = fuzz_signature(bytes);
    let Ok(entries) = Entry::read_all(bytes, MOST_BYTES) else { return 0 };
    let mut state = ImaState::new(0, [0; 32], [Hash::Sha256, Hash::Sha384]);
    let _ = state.replay(&entries, bytes.len(), &[]);
    entries.iter().filter(|entry| entry.file().is_some() || !entry.describe().is_empty()).count()
}
