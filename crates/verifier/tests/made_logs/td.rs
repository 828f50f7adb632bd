//! The event log of a trust domain.

use burgrave_types::claims::Proved;
use burgrave_verifier::{FileDigest, RunTimeProfile, Verification};

use super::boot::{NO_ACTION, PROGRAM, SEPARATOR, VARIABLE, secure_boot};
use super::{cause, found, length};
use burgrave_made::intel::{Case, td};

const TAG: u32 = 6;

/// A log of SHA-384 digests, and the RTMRs that it extends.
#[derive(Clone)]
struct Log {
    bytes: Vec<u8>,
    rtmrs: [Vec<u8>; 4],
}

fn sha384(bytes: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA384, bytes).as_ref().to_vec()
}

impl Log {
    fn new() -> Self {
        let header =
            [b"Spec ID Event03\0".as_slice(), &[0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 0x0c, 0, 48, 0, 0]].concat();
        let bytes = [&1u32.to_le_bytes()[..], &NO_ACTION.to_le_bytes(), &[0; 20], &length(&header), &header].concat();
        Self { bytes, rtmrs: [0; 4].map(|_| vec![0; 48]) }
    }

    /// An event of RTMR `rtmr`, which the log counts from 1.
    fn event(mut self, rtmr: usize, kind: u32, measured: &[u8], told: &[u8]) -> Self {
        let index = u32::try_from(rtmr).unwrap() + 1;
        let head = [index, kind, 1].map(u32::to_le_bytes).concat();
        self.bytes.extend([&head[..], &[0x0c, 0], &sha384(measured), &length(told), told].concat());
        self.rtmrs[rtmr] = sha384(&[self.rtmrs[rtmr].as_slice(), &sha384(measured)].concat());
        self
    }

    fn of_guest() -> Self {
        Self::new()
            .event(0, 0x8000_000b, b"hand-off block", b"\x09TdxTable")
            .event(0, VARIABLE, &secure_boot(1), &secure_boot(1))
            .event(0, SEPARATOR, &[0; 4], &[0; 4])
            .event(1, PROGRAM, b"grub", b"path of grub")
            .event(2, 0x0d, b"/vmlinuz", b"kernel_cmdline: /vmlinuz\0")
    }

    fn case(&self) -> Case {
        let mut case = td(5, 3).with(|made| made.body[328..520].copy_from_slice(&self.rtmrs.concat())).case();
        // What is left of the table is filled up.
        let table = [self.bytes.as_slice(), &[0xff; 64]].concat();
        case.part.items.insert("ccel.bin".to_owned(), table);
        case
    }

    fn judged(&self, allowed: &[&[u8]]) -> Verification {
        let mut case = self.case();
        let digests =
            allowed.iter().map(|content| FileDigest::new(burgrave_verifier::tpm::Hash::Sha384, &sha384(content)));
        case.profile.run_time = Some(RunTimeProfile::new(digests.flatten(), []));
        case.verify()
    }
}

#[test]
fn a_log_that_fits_its_quote_says_how_the_trust_domain_was_booted() {
    let verification = Log::of_guest().case().verify();
    assert_eq!(cause(&verification), "none", "{:#?}", verification.checks);
    let boot = verification.claims.unwrap().boot.unwrap();
    assert_eq!((boot.secure_boot, boot.kernel_command_line, boot.images.len()), (Some(true), None, 1));
    assert_eq!(verification.log.0["rtmr2"].events[0].text, "kernel_cmdline: /vmlinuz");
}

#[test]
fn registers_come_from_the_quote_and_never_from_the_log() {
    let log = Log::of_guest();
    for rtmr in 0..3 {
        let mut other = log.clone();
        other.rtmrs[rtmr] = vec![0x55; 48];
        let verification = other.case().verify();
        assert_eq!((cause(&verification), verification.authentic), ("log.replay", false));
        assert!(found(&verification, "log.replay").starts_with(&format!("rtmr{rtmr} otherwise")));
        assert_eq!(verification.claims.unwrap().registers[&format!("rtmr{rtmr}")].0, [0x55; 48]);
    }
    let mut grown = log;
    grown.rtmrs[3] = vec![0x55; 48];
    assert_eq!(cause(&grown.case().verify()), "none", "nobody asks what extended RTMR3");
}

#[test]
fn events_of_the_run_time_are_appraised_where_the_profile_asks() {
    let log = Log::of_guest().event(3, TAG, b"app", b"app").event(3, TAG, b"config", b"config");
    let proves = |verification: &Verification| verification.claims.as_ref().unwrap().proved.contains(&Proved::Runtime);
    let allowed = log.judged(&[b"app", b"config"]);
    assert_eq!((cause(&allowed), proves(&allowed)), ("none", true), "{:#?}", allowed.checks);
    let unlisted = log.judged(&[b"app"]);
    assert_eq!((cause(&unlisted), proves(&unlisted), unlisted.authentic), ("runtime.unlisted", false, true));
    assert!(found(&unlisted, "log.allowed").starts_with("event 1 of rtmr3: EV_EVENT_TAG"));
    // A register that the log does not give, and one that nothing extended.
    let mut grown = log.clone();
    grown.rtmrs[3] = vec![0x55; 48];
    assert_eq!(cause(&grown.judged(&[b"app", b"config"])), "log.absent");
    assert_eq!(cause(&Log::of_guest().judged(&[b"app"])), "log.absent");
    assert!(!proves(&log.case().verify()), "nobody asked");
}
