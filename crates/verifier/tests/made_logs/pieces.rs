//! Run-time logs that come in pieces.

use burgrave_verifier::ima::ImaState;
use burgrave_verifier::{Expected, Input, Roots, RunTimeProfile, verify_whole};

use super::ima::{Log, allowing, proves_run_time};
use super::{AT, SHA256, cause, found};
use burgrave_made::tpm::{NONCE, Pcrs};

#[test]
fn the_log_goes_on_from_the_state_that_was_kept() {
    let allowed = allowing(&[b"init", b"app"]);
    let first = Log::new().file("/usr/bin/init", b"init");
    let state = first.judged(&allowed).ima.unwrap();
    // It survives being written down.
    let kept: ImaState = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
    assert_eq!(kept, state);
    let second = first.clone().file("/usr/bin/app", b"app");
    let go_on = |log: &Log, state: Option<ImaState>, allowed: &RunTimeProfile| {
        let mut machine = log.shown_from(first.bytes.len());
        machine.profile.run_time = Some(allowed.clone());
        machine.endorsements.ima = state;
        machine.verify(AT)
    };
    let verification = go_on(&second, Some(state.clone()), &allowed);
    assert_eq!(cause(&verification), "none", "{:#?}", verification.checks);
    assert!(proves_run_time(&verification));
    assert_eq!(verification.ima.unwrap().offset(), second.bytes.len() as u64);
    // Nothing new is a piece too.
    assert_eq!(cause(&go_on(&first, Some(state.clone()), &allowed)), "none");

    let evil = first.clone().file("/tmp/x", b"evil");
    let refused = go_on(&evil, Some(state.clone()), &allowed);
    assert_eq!(
        (cause(&refused), found(&refused, "ima.allowed").starts_with("entry 2: `/tmp/x`")),
        ("runtime.unlisted", true)
    );
    let other = Log::new().file("/usr/bin/inix", b"init").file("/usr/bin/app", b"app");
    assert_eq!(cause(&go_on(&other, Some(state.clone()), &allowed)), "log.replay", "another past");
    assert_eq!(cause(&go_on(&second, Some(state), &allowing(&[b"app"]))), "log.gap", "other allowed sets");
}

#[test]
fn a_gap_asks_for_the_log_from_its_start() {
    let allowed = allowing(&[b"init", b"app"]);
    let first = Log::new().file("/usr/bin/init", b"init");
    let state = first.judged(&allowed).ima.unwrap();
    let second = first.clone().file("/usr/bin/app", b"app");
    let mut machine = second.shown_from(first.bytes.len());
    machine.profile.run_time = Some(allowed);
    let unknown = machine.verify(AT);
    assert_eq!(cause(&unknown), "log.gap");
    let check = unknown.checks.iter().find(|check| check.name == "ima.offset").unwrap();
    assert!(check.expected.contains("send it anew from there") && check.found.contains("nothing is known"));

    machine.set("ima.offset", (first.bytes.len() - 1).to_string().into_bytes());
    machine.endorsements.ima = Some(state.clone());
    assert_eq!(machine.cause(), "log.gap");
    // The machine was booted anew.
    let mut pcrs = Pcrs::new();
    pcrs.insert(10, second.pcr.clone());
    machine = machine.quoted_banks("", 4, SHA256, &[(SHA256, "sha256", pcrs)]);
    machine.set("ima.offset", first.bytes.len().to_string().into_bytes());
    assert_eq!(machine.cause(), "log.gap");
    machine.set("ima.offset", b"0".to_vec());
    machine.set("ima.bin", second.bytes.clone());
    assert_eq!(machine.cause(), "none");
    machine.set("ima.offset", b"-1".to_vec());
    assert_eq!(machine.cause(), "format.malformed");
    // Where nobody asks for the log, a gap in it is told.
    machine.profile.run_time = None;
    machine.set("ima.offset", b"77".to_vec());
    let told = machine.verify(AT);
    assert_eq!((cause(&told), told.ima), ("none", None));
}

#[test]
fn what_was_logged_after_the_quote_waits_for_the_next_one() {
    let allowed = allowing(&[b"init", b"app"]);
    let quoted = Log::new().file("/usr/bin/init", b"init");
    let ahead = Log { pcr: quoted.pcr.clone(), ..quoted.clone().file("/usr/bin/app", b"app") };
    let verification = ahead.judged(&allowed);
    assert_eq!(cause(&verification), "none", "{:#?}", verification.checks);
    let state = verification.ima.unwrap();
    assert_eq!(state.offset(), ahead.bytes.len() as u64);
    // The next quote covers it; one that does not shows that it was made up.
    let next = quoted.clone().file("/usr/bin/app", b"app").file("/usr/bin/init", b"init");
    let mut machine = next.shown_from(ahead.bytes.len());
    machine.profile.run_time = Some(allowed.clone());
    machine.endorsements.ima = Some(state.clone());
    assert_eq!(machine.cause(), "none");
    let mut machine = Log { bytes: ahead.bytes.clone(), ..quoted.clone() }.shown_from(ahead.bytes.len());
    machine.profile.run_time = Some(allowed);
    machine.endorsements.ima = Some(state);
    assert_eq!(machine.cause(), "log.replay");
}

#[test]
fn a_log_of_several_pieces_goes_on_until_the_quote_is_reached() {
    let allowed = allowing(&[b"app"]);
    let path = format!("/{}", "x".repeat(60_000));
    let mut log = Log::new();
    let mut piece_end = 0;
    for _ in 0..36 {
        log = log.file(&path, b"app");
        if log.bytes.len() <= 2 * 1024 * 1024 {
            piece_end = log.bytes.len();
        }
    }
    let mut machine = log.shown_from(0);
    machine.profile.run_time = Some(allowed);
    machine.set("ima.bin", log.bytes[..piece_end].to_vec());
    let first = machine.verify(AT);
    assert_eq!((cause(&first), proves_run_time(&first)), ("log.incomplete", false));
    machine.endorsements.ima = first.ima.clone();
    machine.set("ima.bin", log.bytes[piece_end..].to_vec());
    machine.set("ima.offset", piece_end.to_string().into_bytes());
    let second = machine.verify(AT);
    assert_eq!((cause(&second), proves_run_time(&second)), ("none", true), "{:#?}", second.checks);
    machine.set("ima.bin", log.bytes.clone());
    machine.set("ima.offset", b"0".to_vec());
    assert_eq!(machine.cause(), "format.length");
}

#[test]
fn a_log_of_any_length_is_judged_offline() {
    let allowed = allowing(&[b"app"]);
    let path = format!("/{}", "x".repeat(60_000));
    let log = (0..80).fold(Log::new(), |log, _| log.file(&path, b"app"));
    let whole = |log: &Log| {
        let mut machine = log.shown_from(0);
        machine.profile.run_time = Some(allowed.clone());
        machine.set("ima.offset", b"0\n".to_vec());
        machine.endorsements.ima = None;
        verify_whole(&Input {
            part: &machine.part(),
            endorsements: &machine.endorsements,
            roots: &Roots::only([machine.maker.der()]).unwrap(),
            profile: &machine.profile,
            expected: Expected::Nonce(&NONCE),
            at: AT.parse().unwrap(),
        })
    };
    let verification = whole(&log);
    assert_eq!((cause(&verification), proves_run_time(&verification)), ("none", true), "{:#?}", verification.checks);
    assert_eq!(verification.ima.unwrap().offset(), log.bytes.len() as u64);
    // What was logged after the quote, in pieces of its own, changes nothing.
    let late = (0..80).fold(log.clone(), |log, _| log.file(&path, b"app"));
    assert_eq!(cause(&whole(&Log { pcr: log.pcr.clone(), ..late })), "none");
    // What is not allowed is refused wherever it stands, and a log that is not the quoted one as well.
    let evil = (0..40).fold(log.clone().file("/usr/bin/evil", b"evil"), |log, _| log.file(&path, b"app"));
    assert_eq!(cause(&whole(&evil)), "runtime.unlisted");
    let cut = Log { bytes: log.bytes[..log.bytes.len() - 1].to_vec(), ..log.clone() };
    assert_eq!(cause(&whole(&cut)), "format.malformed");
    let other = Log { pcr: vec![7; 32], ..log };
    assert_eq!(cause(&whole(&other)), "log.replay");
}

#[test]
fn a_log_without_its_offset_is_one_from_its_start() {
    let log = Log::new().file("/usr/bin/app", b"app");
    let with = |offset: Option<&[u8]>| {
        let mut machine = log.shown_from(0);
        machine.profile.run_time = Some(allowing(&[b"app"]));
        machine.items.retain(|(name, _)| name != "ima.offset");
        if let Some(offset) = offset {
            machine.set("ima.offset", offset.to_vec());
        }
        machine.cause()
    };
    assert_eq!(with(None), "none");
    assert_eq!(with(Some(b"0\n")), "none");
    assert_eq!(with(Some(b"1\n")), "log.gap");
    for neither in [&b""[..], b"\n", b"0x0", b"0 0", b"\xff"] {
        assert_eq!(with(Some(neither)), "format.malformed", "{neither:?}");
    }
}
