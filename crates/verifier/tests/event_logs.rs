//! The event logs of the evidence vectors: what their replay gives, and what they say of the boot.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod common;

use std::io::Write;
use std::sync::Once;

use burgrave_types::Tee;
use burgrave_types::claims::{Claims, Proved};
use burgrave_verifier::eventlog::{EventLog, Layout};
use burgrave_verifier::tpm::Hash;
use burgrave_verifier::{Cause, Verdict, Verification};
use common::{Case, collection, logs};

static SKIPPED: Once = Once::new();

/// The case of a row of the whole collection, where it is at hand.
fn row(id: &str) -> Option<Case> {
    let Some((folder, rows)) = collection() else {
        SKIPPED.call_once(|| {
            // Not `eprintln!`, whose output the test runner keeps to itself when a test passes.
            let said =
                writeln!(std::io::stderr(), "skipped: no evidence vectors at BURGRAVE_VECTORS or ../shared/vectors");
            said.unwrap();
        });
        return None;
    };
    Some(rows.iter().find(|row| row.id == id).unwrap().case(&folder))
}

fn claims(verification: &Verification) -> &Claims {
    assert_eq!(verification.verdict, Verdict::Accept, "{:#?}", verification.checks);
    verification.claims.as_ref().unwrap()
}

#[test]
fn every_log_of_the_collection_replays_to_the_registers_that_are_known() {
    for row in logs() {
        let (folder, _) = collection().unwrap();
        let bytes = std::fs::read(folder.join(&row.id).join("eventlog.bin")).unwrap();
        let log = EventLog::read(Layout::Tpm, &bytes).unwrap();
        let stated = row.claims();
        assert_eq!(log.events().len(), usize::try_from(stated["events"].as_u64().unwrap()).unwrap(), "{}", row.id);
        let agile = stated["crypto_agile"].as_bool().unwrap();
        assert_eq!(log.banks().contains(&Hash::Sha256), agile, "{}", row.id);
        let found = log.replay(Hash::Sha256);
        let found: serde_json::Map<_, _> =
            found.iter().map(|(pcr, value)| (pcr.to_string(), hex::encode(value).into())).collect();
        // A log of SHA-1 digests has no registers of another bank.
        let expected = if agile { stated["pcrs_sha256"].as_object().unwrap().clone() } else { Default::default() };
        assert_eq!(if agile { found } else { Default::default() }, expected, "{}", row.id);
    }
}

#[test]
fn the_log_of_a_cloud_machine_explains_its_quotes_in_every_bank() {
    let Some(case) = row("tpm/gce-shielded-nonce9009") else { return };
    let verification = case.verify();
    let claims = claims(&verification);
    let boot = claims.boot.as_ref().unwrap();
    assert_eq!(boot.secure_boot, Some(true));
    assert!(boot.kernel_command_line.as_ref().unwrap().starts_with("/syslinux/vmlinuz.A init="));
    assert_eq!(boot.images.len(), 3);
    assert!(claims.proved.contains(&Proved::Boot));
    for register in ["pcr0", "pcr7", "sha384:pcr0", "sha384:pcr8"] {
        assert!(verification.log.0[register].proven, "{register}");
    }
    assert!(!verification.log.0.contains_key("pcr10"));
}

#[test]
fn the_log_of_a_trust_domain_explains_its_registers() {
    let Some(case) = row("tdx/v4-cos113-with-eventlog") else { return };
    let verification = case.verify();
    let boot = claims(&verification).boot.clone().unwrap();
    // A command line shares its register with the digests of files, so that it could be made up.
    assert_eq!((boot.secure_boot, boot.kernel_command_line, boot.images.len()), (Some(false), None, 2));
    let registers: Vec<_> =
        verification.log.0.iter().map(|(name, register)| (name.as_str(), register.proven)).collect();
    assert_eq!(registers, [("rtmr0", true), ("rtmr1", true), ("rtmr2", true)]);
    let events = &verification.log.0["rtmr2"].events;
    assert!(events.iter().any(|event| event.text.starts_with("kernel_cmdline: /syslinux/vmlinuz.A")));
}

#[test]
fn every_altered_digest_of_an_accepted_log_is_refused_and_its_register_named() {
    for (id, item, layout) in [
        ("tpm/gce-shielded-nonce9009", "eventlog.bin", Layout::Tpm),
        ("tdx/v4-cos113-with-eventlog", "ccel.bin", Layout::Td),
    ] {
        let Some(case) = row(id) else { return };
        let bytes = case.part.items[item].clone();
        let log = EventLog::read(layout, &bytes).unwrap();
        let places = log.events().iter().filter(|event| event.extends()).flat_map(|event| {
            let digests = [Hash::Sha1, Hash::Sha256, Hash::Sha384].into_iter().filter_map(|bank| event.digest(bank));
            digests.map(|digest| (event.index, digest.as_ptr() as usize - bytes.as_ptr() as usize + digest.len() / 2))
        });
        for (index, at) in places {
            let altered = case.with(item, |bytes| bytes[at] ^= 1).verify();
            assert_eq!((altered.cause, altered.authentic), (Some(Cause::LogReplay), false), "{id}, byte {at}");
            let failed = altered.checks.iter().find(|check| check.name == "log.replay").unwrap();
            let name = if layout == Layout::Td { format!("rtmr{}", index - 1) } else { format!("pcr{index}") };
            assert!(failed.found.contains(&name), "{id}: {failed:?}");
            let boot = altered.claims.unwrap().boot.unwrap_or_default();
            // An altered digest of another bank than the one that claims come from leaves these as they were.
            let is_unproven = |register: &str| altered.log.0.get(register).is_none_or(|register| !register.proven);
            let (policy, programs) = if layout == Layout::Td { ("rtmr0", "rtmr1") } else { ("pcr7", "pcr4") };
            assert_eq!(boot.secure_boot.is_none(), is_unproven(policy), "{id}, byte {at}");
            assert_eq!(boot.images.is_empty(), is_unproven(programs), "{id}, byte {at}");
        }
    }
}

#[test]
fn a_log_that_is_cut_or_lacks_or_swaps_events_is_refused() {
    let Some(case) = row("tpm/gce-shielded-nonce9009") else { return };
    assert_eq!(case.part.tee, Tee::Tpm);
    let bytes = &case.part.items["eventlog.bin"];
    let cut = case.with("eventlog.bin", |bytes| bytes.truncate(bytes.len() - 1)).verify();
    assert_eq!(cut.cause, Some(Cause::FormatMalformed));
    let log = EventLog::read(Layout::Tpm, bytes).unwrap();
    let ends: Vec<usize> = log
        .events()
        .iter()
        .map(|event| event.data.as_ptr() as usize - bytes.as_ptr() as usize + event.data.len())
        .collect();
    for pair in ends.windows(2) {
        let lacking = case.with("eventlog.bin", |bytes| drop(bytes.drain(pair[0]..pair[1]))).verify();
        assert_eq!(lacking.cause, Some(Cause::LogReplay));
    }
    for (last, triple) in ends.windows(3).enumerate() {
        let [one, other] = [&log.events()[last + 1], &log.events()[last + 2]];
        if (one.index, one.digest(Hash::Sha256)) == (other.index, other.digest(Hash::Sha256))
            || one.index != other.index
        {
            continue;
        }
        let swapped = case.with("eventlog.bin", |bytes| bytes[triple[0]..triple[2]].rotate_left(triple[1] - triple[0]));
        assert_eq!(swapped.verify().cause, Some(Cause::LogReplay), "events {} and {}", last + 1, last + 2);
    }
}

#[test]
fn the_log_of_another_boot_is_refused() {
    let Some(case) = row("tpm/gce-shielded-nonce9009") else { return };
    let (folder, _) = collection().unwrap();
    let other = std::fs::read(folder.join("eventlog/tpm-ubuntu-2404-amd-sevsnp/eventlog.bin")).unwrap();
    assert_eq!(case.with("eventlog.bin", |bytes| *bytes = other).verify().cause, Some(Cause::LogReplay));
    // Digests of SHA-1 alone are held against the quote of SHA-1.
    let old = std::fs::read(folder.join("eventlog/tpm-debian-10/eventlog.bin")).unwrap();
    assert_eq!(case.with("eventlog.bin", |bytes| *bytes = old).verify().cause, Some(Cause::LogReplay));
}
