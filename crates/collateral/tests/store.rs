//! What is kept, what is refused, and what evidence is judged with.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod common;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use burgrave_collateral::{Event, Floors, Level, OfferError, Source, Subject};
use burgrave_made::intel::{KEYS, Revoked, now, sgx, td};
use burgrave_made::packaged;
use burgrave_types::EvidencePart;
use burgrave_types::Tee;
use burgrave_verifier::{Cause, Expected, Input, Profile, Roots, Verdict, verify};
use common::{Ear, bare, json, judge, level, made_roots, made_store, numbered, of_kind, time, with_collateral};

const OPERATOR: Source = Source::Operator;

#[test]
fn evidence_passes_by_collateral_that_is_held_and_not_without() {
    let (store, _) = made_store();
    for made in [sgx(), td(4, 2)] {
        let refused = judge(&store, &bare(&made), &made_roots(), now());
        assert_eq!((refused.verdict, refused.cause), (Verdict::Reject, Some(Cause::CollateralValidity)));
        let offered = store.offer(&json(&made.collateral()), &OPERATOR, now()).unwrap();
        assert!(offered.kept.len() >= 2, "{offered:?}");
        let passed = judge(&store, &bare(&made), &made_roots(), now());
        assert_eq!(passed.verdict, Verdict::Accept, "{:?}", passed.cause);
    }
    assert!(store.status(now()).iter().all(|status| status.level == Level::Current || status.level == Level::Missing));
}

#[test]
fn the_same_again_is_known_and_newer_takes_its_place() {
    let (store, ear) = made_store();
    let made = td(4, 2);
    store.offer(&json(&made.collateral()), &OPERATOR, now()).unwrap();
    ear.take();
    let again = store.offer(&json(&made.collateral()), &OPERATOR, now()).unwrap();
    assert!(again.kept.is_empty() && again.known.len() == 4, "{again:?}");
    assert_eq!(ear.take(), []);
    let newer = store.offer(&json(&numbered(&made, 19).collateral()), &OPERATOR, now()).unwrap();
    assert_eq!((newer.kept.len(), newer.known.len()), (2, 2), "TCB info and identity are new, the lists are not");
    assert!(matches!(ear.take().as_slice(), [Event::Refreshed { floor_rose: true, .. }, Event::Refreshed { .. }]));
}

#[test]
fn older_collateral_is_refused_from_every_source_and_the_error_says_both_numbers() {
    let (store, ear) = made_store();
    let made = td(4, 2);
    store.offer(&json(&made.collateral()), &OPERATOR, now()).unwrap();
    ear.take();
    let sources = [
        OPERATOR,
        Source::Directory("/srv/collateral".into()),
        Source::Service("https://pccs.example.com".to_owned()),
        Source::Evidence,
    ];
    for source in sources {
        let error = store.offer(&json(&numbered(&made, 17).collateral()), &source, now()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("number 17") && text.contains("number 18") && text.contains(&source.to_string()),
            "{text}"
        );
        let older_list = made.with(|made| made.crl_number = 299);
        let error = store.offer(&json(&older_list.collateral()), &source, now()).unwrap_err();
        assert!(error.to_string().contains("number 299") && error.to_string().contains("number 300"), "{error}");
        let told = ear.take();
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(told.iter().all(|event| matches!(event, Event::RolledBack { .. })));
        // An attempt that is repeated is not told again.
        store.offer(&json(&older_list.collateral()), &source, now()).unwrap_err();
        assert_eq!(ear.take(), []);
    }
    assert_eq!(judge(&store, &bare(&made), &made_roots(), now()).verdict, Verdict::Accept);
}

#[test]
fn floors_hold_over_a_restart_and_reject_what_a_fresh_store_would_take() {
    let (store, _) = made_store();
    store.offer(&json(&td(4, 2).collateral()), &OPERATOR, now()).unwrap();
    let kept: Floors = serde_json::from_str(&serde_json::to_string(&store.floors()).unwrap()).unwrap();
    let older = json(&numbered(&td(4, 2), 17).collateral());
    let (fresh, _) = made_store();
    fresh.offer(&older, &OPERATOR, now()).unwrap();
    let restarted = Ear::default().store(made_roots(), kept);
    assert!(matches!(restarted.offer(&older, &OPERATOR, now()), Err(OfferError::RolledBack(_))));
    restarted.offer(&json(&td(4, 2).collateral()), &OPERATOR, now()).unwrap();
}

#[test]
fn floors_that_rose_elsewhere_end_what_is_below_them() {
    let (store, _) = made_store();
    let made = td(4, 2);
    store.offer(&json(&made.collateral()), &OPERATOR, now()).unwrap();
    let (other, _) = made_store();
    other.offer(&json(&numbered(&made, 19).collateral()), &OPERATOR, now()).unwrap();
    store.raise(&other.floors());
    let refused = judge(&store, &bare(&made), &made_roots(), now());
    assert_eq!((refused.verdict, refused.cause), (Verdict::Reject, Some(Cause::CollateralValidity)));
    store.offer(&json(&numbered(&made, 19).collateral()), &OPERATOR, now()).unwrap();
    assert_eq!(judge(&store, &bare(&made), &made_roots(), now()).verdict, Verdict::Accept);
}

#[test]
fn what_no_root_vouches_for_is_not_kept_and_moves_no_floor() {
    let broken = [
        td(4, 2).with(|made| made.edited_after = true),
        td(4, 2).with(|made| made.crl_by_another = true),
        td(4, 2).with(|made| made.signer_name = "Somebody Else"),
        td(4, 2).with(|made| made.signer_is_authority = true),
    ];
    for made in broken {
        let (store, _) = made_store();
        let error = store.offer(&json(&made.collateral()), &OPERATOR, now()).unwrap_err();
        assert!(matches!(error, OfferError::Unverified { .. }), "{error}");
        let refused = judge(&store, &bare(&made), &made_roots(), now());
        assert_eq!(refused.cause, Some(Cause::CollateralValidity));
        assert!(store.floors().get(&Subject::TcbInfo { tee: Tee::Tdx, fmspc: [0x50, 0x80, 0x6f, 0, 0, 0] }).is_none());
    }
    let under_vendor = Ear::default().store(Roots::vendor(), Floors::default());
    under_vendor.offer(&json(&td(4, 2).collateral()), &OPERATOR, now()).unwrap_err();
    assert_eq!(under_vendor.floors(), Floors::default());
}

#[test]
fn a_forged_piece_among_genuine_ones_spoils_nothing_but_itself() {
    let (store, _) = made_store();
    let made = td(4, 2);
    store.offer(&json(&made.collateral()), &OPERATOR, now()).unwrap();
    let mut mixed = numbered(&made, 19).collateral();
    mixed["tcb_info"] = mixed["tcb_info"].as_str().unwrap().replace("OutOfDate", "UpToDate").into();
    let forged = numbered(&made, 19).with(|made| made.edited_after = true);
    let error = store.offer(&json(&forged.collateral()), &OPERATOR, now()).unwrap_err();
    assert!(error.to_string().contains("the TCB info for tdx"), "{error}");
    let identity = Subject::QeIdentity { tee: Tee::Tdx };
    assert_eq!(store.floors().get(&identity).unwrap().number, 19.into(), "the genuine identity was taken");
    let info = Subject::TcbInfo { tee: Tee::Tdx, fmspc: [0x50, 0x80, 0x6f, 0, 0, 0] };
    assert_eq!(store.floors().get(&info).unwrap().number, 18.into(), "the forged TCB info was not");
    assert_eq!(judge(&store, &bare(&made), &made_roots(), now()).verdict, Verdict::Accept);
}

#[test]
fn a_revocation_counts_for_every_platform_whichever_it_came_with() {
    let (store, _) = made_store();
    let (one, two) = (td(4, 2), of_kind(&td(4, 2), [0x90, 0xc0, 0x6f, 0, 0, 0]));
    for made in [&one, &two] {
        store.offer(&json(&made.collateral()), &OPERATOR, now()).unwrap();
        assert_eq!(judge(&store, &bare(made), &made_roots(), now()).verdict, Verdict::Accept);
    }
    let revoking = two.with(|made| (made.crl_number, made.revoked) = (301, Revoked::Pck));
    store.offer(&json(&revoking.collateral()), &OPERATOR, now()).unwrap();
    for made in [&one, &two] {
        let refused = judge(&store, &bare(made), &made_roots(), now());
        assert_eq!(refused.cause, Some(Cause::CertificateRevoked));
    }
}

#[test]
fn a_list_that_revokes_the_signer_is_taken_and_what_the_signer_signed_counts_no_more() {
    let (store, ear) = made_store();
    let made = td(4, 2);
    store.offer(&json(&made.collateral()), &OPERATOR, now()).unwrap();
    assert_eq!(judge(&store, &bare(&made), &made_roots(), now()).verdict, Verdict::Accept);
    ear.take();
    let revoking = made.with(|made| (made.crl_number, made.revoked) = (301, Revoked::Signer));
    let list = hex::decode(revoking.collateral()["root_ca_crl"].as_str().unwrap()).unwrap();
    store.offer(&list, &OPERATOR, now()).unwrap();
    let refused = judge(&store, &bare(&made), &made_roots(), now());
    assert_eq!((refused.verdict, refused.cause), (Verdict::Reject, Some(Cause::CollateralValidity)));
    assert!(ear.take().iter().any(|event| matches!(event, Event::Unusable { why, .. } if why.contains("revoked"))));
}

#[test]
fn what_has_ended_makes_nothing_pass() {
    let (store, _) = made_store();
    let made = td(4, 2);
    store.offer(&json(&made.collateral()), &OPERATOR, now()).unwrap();
    let last = time("2026-03-21T23:59:59Z");
    assert_eq!(judge(&store, &bare(&made), &made_roots(), last).verdict, Verdict::Accept);
    let after = time("2026-03-22T00:00:00Z");
    let refused = judge(&store, &bare(&made), &made_roots(), after);
    assert_eq!((refused.verdict, refused.cause), (Verdict::Reject, Some(Cause::CollateralValidity)));
    let found = refused.checks.iter().find(|check| !check.passed).unwrap();
    assert!(found.found.contains("2026-03-22"), "it says when it ended: {found:?}");
    let subject = Subject::QeIdentity { tee: Tee::Tdx };
    assert_eq!(level(&store.status(after), &subject), Some(Level::Ended));
}

#[test]
fn what_ended_long_ago_or_is_not_in_force_yet_is_refused() {
    let (store, _) = made_store();
    let collateral = json(&td(4, 2).collateral());
    let late = time("2026-04-30T00:00:00Z");
    assert!(matches!(store.offer(&collateral, &OPERATOR, late), Err(OfferError::Stale { .. })));
    let early = time("2026-02-19T00:00:00Z");
    assert!(matches!(store.offer(&collateral, &OPERATOR, early), Err(OfferError::Early { .. })));
    let (soon, _) = made_store();
    soon.offer(&collateral, &OPERATOR, time("2026-04-01T00:00:00Z")).unwrap();
}

#[test]
fn alarms_come_once_before_the_end_and_once_at_it() {
    let (store, ear) = made_store();
    store.offer(&json(&td(4, 2).collateral()), &OPERATOR, now()).unwrap();
    ear.take();
    let at = |text: &str| {
        store.alarm(time(text));
        ear.take()
    };
    assert_eq!(at("2026-03-14T23:59:59Z"), []);
    let ending = at("2026-03-15T00:00:00Z");
    assert!(ending.len() == 2 && ending.iter().all(|event| matches!(event, Event::Ending { .. })), "{ending:?}");
    assert_eq!(at("2026-03-16T00:00:00Z"), []);
    let ended = at("2026-03-22T00:00:00Z");
    assert!(ended.len() == 2 && ended.iter().all(|event| matches!(event, Event::Ended { .. })), "{ended:?}");
    assert_eq!(at("2026-03-23T00:00:00Z"), []);
    // The lists live a year.
    assert_eq!(at("2026-12-26T00:00:00Z").len(), 2);
}

#[test]
fn garbage_is_refused_whatever_it_looks_like() {
    let (store, _) = made_store();
    for junk in
        [&b""[..], b"{}", b"{\"tcbInfo\":{},\"signature\":\"\"}", b"\x30\x82\xff\xff", b"abcdef", b"-----BEGIN X-----"]
    {
        assert_eq!(store.offer(junk, &OPERATOR, now()), Err(OfferError::Unreadable), "{junk:?}");
    }
    let long = vec![b' '; burgrave_collateral::MOST + 1];
    assert_eq!(store.offer(&long, &OPERATOR, now()), Err(OfferError::Long { found: long.len() }));
    let whole = json(&td(4, 2).collateral());
    for at in (0..whole.len()).step_by(97) {
        let mut cut = whole.clone();
        cut.truncate(at);
        store.offer(&cut, &OPERATOR, now()).unwrap_err();
    }
    assert_eq!(store.floors(), Floors::default());
}

#[test]
fn collateral_in_single_files_is_put_together() {
    let (store, _) = made_store();
    let made = td(4, 2);
    let collateral = made.collateral();
    let text = |name: &str| collateral[name].as_str().unwrap().to_owned();
    let answer = |member: &str, name: &str| {
        format!("{{\"{member}\":{},\"signature\":\"{}\"}}", text(name), text(&format!("{name}_signature"))).into_bytes()
    };
    // As `curl -D` writes them.
    let headers = |header: &str, name: &str| {
        let chain = text(name).replace('\n', "%0A").replace(' ', "%20").replace('=', "%3D");
        format!("HTTP/2 200 \r\ncontent-type: text/plain\r\n{header}: {chain}\r\n\r\n").into_bytes()
    };
    let files = [
        answer("tcbInfo", "tcb_info"),
        answer("enclaveIdentity", "qe_identity"),
        headers("tcb-info-issuer-chain", "tcb_info_issuer_chain"),
        headers("SGX-PCK-CRL-Issuer-Chain", "pck_crl_issuer_chain"),
        hex::decode(text("pck_crl")).unwrap(),
        text("root_ca_crl").into_bytes(),
    ];
    let (offered, errors) = store.offer_all(files.iter().map(Vec::as_slice), &OPERATOR, now());
    assert!(errors.is_empty() && offered.kept.len() == 4, "{offered:?} {errors:?}");
    assert_eq!(judge(&store, &bare(&made), &made_roots(), now()).verdict, Verdict::Accept);

    let (store, _) = made_store();
    let (_, errors) = store.offer_all(files[..5].iter().map(Vec::as_slice), &OPERATOR, now());
    assert!(
        errors.iter().any(|error| error.to_string().contains("Intel SGX Root CA")),
        "what is missing is named: {errors:?}"
    );
}

#[test]
fn intel_numbers_every_list_alike_so_the_date_tells_them_apart() {
    let ear = Ear::default();
    let store = ear.store(Roots::vendor(), Floors::default());
    let june = packaged("tdx/v4-b0c06f-uptodate/collateral.json");
    let february = packaged("tdx/v5-no-tcb-level/collateral.json");
    let at = time("2026-02-20T00:00:00Z");
    store.offer(&june, &OPERATOR, time("2025-06-20T00:00:00Z")).unwrap();
    store.offer(&february, &OPERATOR, at).unwrap();
    let (_, errors) = store.offer_all([&june[..]], &OPERATOR, at);
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    let text = texts.iter().find(|text| text.contains("PCK Platform CA")).unwrap();
    assert!(text.contains("number 1 of 2025-06-19") && text.contains("number 1 of 2026-02-18"), "{text}");
}

#[test]
fn evidence_that_brings_collateral_is_judged_by_it_and_accepted_serves_others() {
    let (store, _) = made_store();
    let made = td(4, 2);
    let passed = judge(&store, &with_collateral(&made, &made), &made_roots(), now());
    assert_eq!(passed.verdict, Verdict::Accept);
    assert_eq!(store.floors(), Floors::default(), "no floor moved");
    assert_eq!(judge(&store, &bare(&made), &made_roots(), now()).verdict, Verdict::Accept);
    let status = store.status(now());
    assert!(status.iter().all(|status| status.source == Some(Source::Evidence)), "{status:?}");
}

#[test]
fn what_genuine_evidence_of_a_stranger_brings_serves_nobody_else() {
    let (store, _) = made_store();
    let made = td(4, 2);
    let part = with_collateral(&made, &made);
    let supply = store.supply(&part, now());
    let roots = made_roots();
    let verification = verify(&Input {
        part: &supply.part,
        endorsements: &supply.endorsements,
        roots: &roots,
        profile: &Profile::default(),
        expected: Expected::None,
        at: now(),
    });
    assert_eq!(verification.verdict, Verdict::Accept);
    store.judged(&part, &verification, now());
    assert!(store.status(now()).is_empty());
    assert_eq!(judge(&store, &bare(&made), &roots, now()).cause, Some(Cause::CollateralValidity));
    store.admitted(&part, now());
    assert_eq!(judge(&store, &bare(&made), &roots, now()).verdict, Verdict::Accept);
}

#[test]
fn evidence_below_a_floor_is_refused_although_it_would_pass_by_what_it_brings() {
    let (older, newer) = (numbered(&td(4, 2), 17), td(4, 2));
    let (fresh, _) = made_store();
    let part = with_collateral(&older, &older);
    assert_eq!(judge(&fresh, &part, &made_roots(), now()).verdict, Verdict::Accept, "nothing newer is known");
    let (seen, _) = made_store();
    seen.offer(&json(&newer.collateral()), &OPERATOR, now()).unwrap();
    let restarted = Ear::default().store(made_roots(), seen.floors());
    let supply = restarted.supply(&part, now());
    assert!(supply.left_out[0].to_string().contains("number 17"), "{:?}", supply.left_out);
    let refused = judge(&restarted, &part, &made_roots(), now());
    assert_eq!((refused.verdict, refused.cause), (Verdict::Reject, Some(Cause::CollateralValidity)));
}

#[test]
fn collateral_below_a_floor_gets_nowhere_in_any_form() {
    let (older, newer) = (numbered(&td(4, 2), 17), td(4, 2));
    let (seen, _) = made_store();
    seen.offer(&json(&newer.collateral()), &OPERATOR, now()).unwrap();
    let whole = older.collateral();
    let mut beside_an_answer = whole.clone();
    beside_an_answer["tcbInfo"] = serde_json::from_str(newer.collateral()["tcb_info"].as_str().unwrap()).unwrap();
    beside_an_answer["signature"] = "00".into();
    let mut in_one_line = whole.clone();
    for chain in ["pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain"] {
        in_one_line[chain] = whole[chain].as_str().unwrap().replace('\n', "").into();
    }
    let mut in_base64 = whole.clone();
    in_base64["pck_crl"] = STANDARD.encode(hex::decode(whole["pck_crl"].as_str().unwrap()).unwrap()).into();
    for form in [beside_an_answer, in_one_line, in_base64] {
        let part = EvidencePart::new(older.tee, [("quote.bin", older.quote()), ("collateral.json", json(&form))]);
        let (fresh, _) = made_store();
        assert_eq!(
            judge(&fresh, &part, &made_roots(), now()).verdict,
            Verdict::Accept,
            "nothing newer is known: {form}"
        );
        let restarted = Ear::default().store(made_roots(), seen.floors());
        assert_eq!(restarted.supply(&part, now()).left_out.len(), 1, "{form}");
        let refused = judge(&restarted, &part, &made_roots(), now());
        assert_eq!((refused.verdict, refused.cause), (Verdict::Reject, Some(Cause::CollateralValidity)), "{form}");
    }
    // Pieces beside a quote are no collateral of its own.
    let pieces = [("quote.bin", older.quote()), ("tcb.json", json(&whole))];
    let part = EvidencePart::new(older.tee, pieces);
    let (fresh, _) = made_store();
    assert_eq!(judge(&fresh, &part, &made_roots(), now()).verdict, Verdict::Reject);
}

#[test]
fn nobody_locks_others_out_by_bringing_what_the_vendor_published_early() {
    let (store, _) = made_store();
    let (early, standard) = (numbered(&td(4, 2), 19), td(4, 2));
    let stranger = with_collateral(&early, &early);
    assert_eq!(judge(&store, &stranger, &made_roots(), now()).verdict, Verdict::Accept);
    let offered = store.offer(&json(&standard.collateral()), &OPERATOR, now()).unwrap();
    assert!(!offered.kept.is_empty(), "a source takes the place of evidence");
    assert_eq!(judge(&store, &bare(&standard), &made_roots(), now()).verdict, Verdict::Accept);
    assert_eq!(judge(&store, &stranger, &made_roots(), now()).verdict, Verdict::Accept);
    let info = Subject::TcbInfo { tee: Tee::Tdx, fmspc: [0x50, 0x80, 0x6f, 0, 0, 0] };
    assert_eq!(store.floors().get(&info).unwrap().number, 18.into());
}

#[test]
fn refused_evidence_leaves_nothing_behind_but_a_want() {
    let (store, _) = made_store();
    let made = td(4, 2).with(|made| made.body[120] = 1);
    let refused = judge(&store, &with_collateral(&made, &made), &made_roots(), now());
    assert_eq!(refused.cause, Some(Cause::Debug));
    assert!(store.status(now()).is_empty(), "{:?}", store.status(now()));
}

#[test]
fn of_several_the_newest_that_is_genuine_counts_and_those_beside_it_raise_no_alarm() {
    let (store, ear) = made_store();
    let made = td(4, 2);
    let collateral = |number: u32| json(&numbered(&made, number).collateral());
    let forged = json(&numbered(&made, 21).with(|made| made.edited_after = true).collateral());
    let files = [collateral(17), forged, collateral(19), collateral(18)];
    let (_, errors) = store.offer_all(files.iter().map(Vec::as_slice), &OPERATOR, now());
    assert!(
        !errors.is_empty() && errors.iter().all(|error| matches!(error, OfferError::Unverified { .. })),
        "{errors:?}"
    );
    let info = Subject::TcbInfo { tee: Tee::Tdx, fmspc: [0x50, 0x80, 0x6f, 0, 0, 0] };
    assert_eq!(store.floors().get(&info).unwrap().number, 19.into());
    assert!(!ear.take().iter().any(|event| matches!(event, Event::RolledBack { .. })));
    assert_eq!(judge(&store, &bare(&made), &made_roots(), now()).verdict, Verdict::Accept);
}

#[test]
fn altered_collateral_is_refused_or_says_the_same() {
    let made = td(4, 2);
    let genuine = json(&made.collateral());
    for at in (0..genuine.len()).step_by(61) {
        let (store, _) = made_store();
        let mut altered = genuine.clone();
        altered[at] ^= 1;
        drop(store.offer(&altered, &OPERATOR, now()));
        // What was kept is genuine: its floors are those that the genuine whole sets.
        for floor in Vec::from(store.floors()) {
            assert!(
                ["12", "012c"].contains(&serde_json::to_value(&floor.mark.number).unwrap().as_str().unwrap()),
                "{at}: {floor:?}"
            );
        }
        let verification = judge(&store, &bare(&made), &made_roots(), now());
        assert!(
            verification.verdict == Verdict::Accept || verification.cause == Some(Cause::CollateralValidity),
            "{at}"
        );
    }
}

#[test]
fn embedded_collateral_that_is_too_long_to_remember_is_judged_all_the_same() {
    let (store, _) = made_store();
    let made = td(4, 2).with(|made| made.tcb_info["padding"] = " ".repeat(70_000).into());
    let part = with_collateral(&td(4, 2), &made);
    assert_eq!(judge(&store, &part, &made_roots(), now()).verdict, Verdict::Accept);
    let older = with_collateral(&made, &numbered(&made, 17));
    store.offer(&json(&td(4, 2).collateral()), &OPERATOR, now()).unwrap();
    assert_eq!(store.supply(&older, now()).left_out.len(), 1);
}

#[test]
fn what_is_held_counts_where_the_evidence_brings_something_that_is_no_whole() {
    let (store, _) = made_store();
    let made = td(4, 2);
    store.offer(&json(&made.collateral()), &OPERATOR, now()).unwrap();
    let answer = format!("{{\"tcbInfo\":{},\"signature\":\"00\"}}", made.tcb_info);
    for embedded in [b"{}".to_vec(), b"\xff".to_vec(), answer.into_bytes()] {
        let part = EvidencePart::new(made.tee, [("quote.bin", made.quote()), ("collateral.json", embedded)]);
        assert_eq!(judge(&store, &part, &made_roots(), now()).verdict, Verdict::Accept);
    }
}

#[test]
fn an_authority_that_only_bears_the_name_takes_nobodys_place() {
    let (store, _) = made_store();
    let made = td(4, 2);
    store.offer(&json(&made.collateral()), &OPERATOR, now()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Intel SGX PCK Platform CA");
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "Test");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
    let forged = params.signed_by(&key, &KEYS.other_root).unwrap().pem();
    store.offer(forged.as_bytes(), &OPERATOR, now()).unwrap_err();
    let mut newer = numbered(&made, 19).collateral();
    newer["pck_crl_issuer_chain"] = forged.into();
    drop(store.offer(&json(&newer), &OPERATOR, now()));
    assert_eq!(judge(&store, &bare(&made), &made_roots(), now()).verdict, Verdict::Accept);
}
