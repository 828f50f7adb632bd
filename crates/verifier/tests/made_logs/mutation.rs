//! Whatever bytes a log has: nothing panics, and no mutation of an accepted log says something else.

use burgrave_types::claims::{BootClaims, Proved};
use burgrave_verifier::{RunTimeProfile, Verdict, eventlog, ima};
use proptest::collection::vec;
use proptest::prelude::*;

use super::AT;

/// Flips a bit, cuts the end off, or puts bytes in.
fn mutated(mut bytes: Vec<u8>, how: &[(u8, usize, Vec<u8>)]) -> Vec<u8> {
    for (kind, at, insert) in how {
        let at = at % bytes.len().max(1);
        match kind {
            0 => bytes.truncate(at),
            1 => drop(bytes.splice(at..at, insert.iter().copied())),
            bit => bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << (bit % 8)),
        }
    }
    bytes
}

fn mutations() -> impl Strategy<Value = Vec<(u8, usize, Vec<u8>)>> {
    vec((0u8..16, any::<usize>(), vec(any::<u8>(), 1..40)), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_logs_never_panic(bytes in vec(any::<u8>(), 0..600)) {
        let _ = (eventlog::fuzz_decode(&bytes), ima::fuzz_decode(&bytes));
    }

    #[test]
    fn a_mutated_boot_log_claims_no_more_than_the_true_one(how in mutations()) {
        let log = super::boot::Log::of_machine(1, "/vmlinuz quiet");
        let bytes = mutated(log.bytes.clone(), &how);
        let _ = eventlog::fuzz_decode(&bytes);
        let mut machine = super::machine(log.pcrs.clone());
        machine.set("eventlog.bin", bytes);
        let verification = machine.verify(AT);
        // A log that is left with digests of no quoted bank explains nothing, claims nothing and refuses nobody.
        if verification.verdict == Verdict::Accept
            && let Some(claims) = verification.claims.unwrap().boot
        {
            let truth = log.claims();
            let BootClaims { secure_boot, kernel_command_line, images } = claims;
            prop_assert!(secure_boot.is_none() || secure_boot == truth.secure_boot);
            prop_assert!(kernel_command_line.is_none() || kernel_command_line == truth.kernel_command_line);
            prop_assert!(truth.images.iter().all(|image| images.contains(image)));
        }
    }

    #[test]
    fn a_mutated_run_time_log_proves_nothing(how in mutations()) {
        let log = super::ima::Log::new().file("/usr/bin/init", b"init").file("/usr/bin/app", b"app");
        let bytes = mutated(log.bytes.clone(), &how);
        let _ = ima::fuzz_decode(&bytes);
        let is_same = bytes == log.bytes;
        let mut machine = log.shown_from(0);
        machine.set("ima.bin", bytes);
        let files = [b"init".as_slice(), b"app"].map(super::ima::file_digest);
        machine.profile.run_time = Some(RunTimeProfile::new(files, []));
        let verification = machine.verify(AT);
        let proved = verification.claims.unwrap().proved.contains(&Proved::Runtime);
        // Behind what was quoted, whole entries may follow.
        prop_assert!(is_same || !proved || machine.part().item("ima.bin").unwrap().starts_with(&log.bytes));
    }
}
