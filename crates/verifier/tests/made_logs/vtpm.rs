//! The boot event log beside the quote of an Azure machine.

use super::boot::{Log, VARIABLE, secure_boot};
use super::{cause, found};
use burgrave_made::azure::{Machine, NONCE, judge};
use burgrave_verifier::Expected;

#[test]
fn a_vtpms_log_is_held_against_the_quote_that_the_paravisor_vouches_for() {
    // The machine quotes PCRs 0 to 2.
    let log = Log::new().event(0, 8, b"firmware", b"firmware").event(1, VARIABLE, &secure_boot(1), &secure_boot(1));
    let mut machine = Machine::new();
    machine.pcrs = [0, 1, 2].map(|pcr| log.pcrs.get(&pcr).cloned().unwrap_or(vec![0; 32]).try_into().unwrap()).into();
    let mut part = machine.part();
    part.items.insert("eventlog.bin".to_owned(), log.bytes.clone());
    let verification = judge(&part, Expected::Nonce(NONCE));
    assert_eq!(cause(&verification), "none", "{:#?}", verification.checks);
    assert_eq!(verification.log.0.keys().collect::<Vec<_>>(), ["pcr0", "pcr1"]);
    assert!(verification.log.proves_any());

    let longer = log.event(2, 8, b"option ROM", b"option ROM");
    part.items.insert("eventlog.bin".to_owned(), longer.bytes);
    let verification = judge(&part, Expected::Nonce(NONCE));
    assert_eq!(cause(&verification), "log.replay");
    assert!(found(&verification, "log.replay").starts_with("pcr2 otherwise"));
}
