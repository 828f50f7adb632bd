//! The refresher against folders and services: what is wanted comes, and nothing that a source does breaks what is held.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use burgrave_collateral::{
    Directory, Event, Floors, Http, Kds, Level, Pace, Pccs, Refresher, Source, Sources, Store, Subject, Want,
};
use burgrave_made::intel::{now, td};
use burgrave_made::packaged;
use burgrave_types::Tee;
use burgrave_verifier::{Cause, Verdict};
use common::{
    Ear, Hand, Longest, Reply, Service, bare, http, json, judge, level, made_roots, made_store, numbered, snp,
};

const INFO: &str = "/tdx/certification/v4/tcb?fmspc=50806f000000";

fn refresher(store: &Arc<Store>, sources: Sources, clock: &Arc<Hand>) -> Refresher {
    Refresher::new(Arc::clone(store), sources, Pace::default(), Arc::clone(clock) as _, Arc::new(Longest))
}

fn pccs(services: &[&Service]) -> Sources {
    let pccs = services.iter().map(|service| Pccs::new(http(), service.url.clone())).collect();
    Sources { pccs, ..Sources::default() }
}

fn kds(service: &Service) -> Sources {
    Sources { kds: vec![Kds::new(http(), service.url.clone())], ..Sources::default() }
}

/// A store that wants the platform of `td(4, 2)`.
fn wanting() -> (Arc<Store>, Ear) {
    let (store, ear) = made_store();
    let refused = judge(&store, &bare(&td(4, 2)), &made_roots(), now());
    assert_eq!(refused.cause, Some(Cause::CollateralValidity));
    (store, ear)
}

fn passes(store: &Store) -> bool {
    judge(store, &bare(&td(4, 2)), &made_roots(), now()).verdict == Verdict::Accept
}

#[tokio::test]
async fn what_evidence_wants_is_fetched_from_a_pccs_and_its_next_attempt_passes() {
    let service = Service::start().await;
    service.serve_platform(&td(4, 2).collateral());
    let (store, ear) = wanting();
    let mut refresher = refresher(&store, pccs(&[&service]), &Hand::at(now()));
    refresher.turn().await;
    assert!(passes(&store), "{:?}", ear.take());
    assert_eq!(store.wants(), []);
    let source = Source::Service(service.url.to_string());
    assert!(store.status(now()).iter().all(|status| status.source.as_ref() == Some(&source)));
    assert_eq!(service.asked().len(), 4);
}

#[tokio::test]
async fn what_is_held_is_refreshed_and_sooner_near_its_end() {
    let service = Service::start().await;
    service.serve_platform(&td(4, 2).collateral());
    let (store, _) = wanting();
    let clock = Hand::at(now());
    let mut refresher = refresher(&store, pccs(&[&service]), &clock);
    refresher.turn().await;
    service.asked();
    clock.forward(Duration::from_secs(6 * 3600 - 1));
    refresher.turn().await;
    assert_eq!(service.asked(), Vec::<String>::new());
    clock.forward(Duration::from_secs(1));
    refresher.turn().await;
    assert_eq!(service.asked().len(), 4);
    // 15 days on, the TCB info has a week left, and every half an hour is tried.
    clock.forward(Duration::from_secs(15 * 24 * 3600));
    refresher.turn().await;
    service.asked();
    clock.forward(Duration::from_secs(1800));
    refresher.turn().await;
    assert_eq!(service.asked().len(), 4);
}

#[tokio::test]
async fn whatever_a_service_answers_nothing_breaks_and_the_operator_is_told() {
    let whole = td(4, 2).collateral();
    let forged = td(4, 2).with(|made| made.edited_after = true).collateral();
    let text = |member: &str| whole[member].as_str().unwrap();
    let answer = format!("{{\"tcbInfo\":{},\"signature\":\"{}\"}}", text("tcb_info"), text("tcb_info_signature"));
    let answer = || answer.clone().into_bytes();
    let bad: Vec<(&str, Reply, &str)> = vec![
        ("an error", Reply::Status(500), "500"),
        ("a redirection", Reply::Status(302), "302"),
        ("no such thing", Reply::Status(404), "404"),
        ("garbage", Reply::Ok(vec![], b"<html>".to_vec()), "TCB info"),
        ("no TCB info", Reply::Ok(vec![], b"{\"tcbInfo\":{},\"signature\":\"00\"}".to_vec()), "TCB info"),
        ("no chain", Reply::Ok(vec![], answer()), "chain"),
        ("a chain that is none", Reply::Ok(vec![("TCB-Info-Issuer-Chain", "%zz".to_owned())], answer()), "chain"),
        ("too much", Reply::Endless, "1048576"),
        ("half an answer", Reply::Stall, "500ms"),
    ];
    for (what, reply, said) in bad {
        let service = Service::start().await;
        service.serve_platform(&whole);
        service.reply(INFO, reply);
        let (store, ear) = wanting();
        refresher(&store, pccs(&[&service]), &Hand::at(now())).turn().await;
        let told = ear.take();
        let [Event::SourceFailed { why, .. }] = told.as_slice() else { panic!("{what}: {told:?}") };
        assert!(why.contains(said), "{what}: {why}");
        assert!(!passes(&store), "{what}");
        let status = store.status(now());
        assert!(
            status[0].level == Level::Missing && status[0].failed.as_ref().unwrap().why.contains(said),
            "{what}: {status:?}"
        );
    }
    let service = Service::start().await;
    service.serve_platform(&forged);
    let (store, ear) = wanting();
    refresher(&store, pccs(&[&service]), &Hand::at(now())).turn().await;
    assert!(!passes(&store));
    assert!(
        ear.take()
            .iter()
            .any(|event| matches!(event, Event::Refused { why, .. } if why.contains("the TCB info for tdx")))
    );
}

#[tokio::test]
async fn a_service_that_is_not_there_is_said_to_be_so_and_the_next_one_answers() {
    let gone = Service::start().await;
    let gone = Pccs::new(http(), format!("http://127.0.0.1:1{}", gone.url.to_string().len() % 2).parse().unwrap());
    let service = Service::start().await;
    service.serve_platform(&td(4, 2).collateral());
    let (store, ear) = wanting();
    let sources = Sources { pccs: vec![gone, Pccs::new(http(), service.url.clone())], ..Sources::default() };
    refresher(&store, sources, &Hand::at(now())).turn().await;
    assert!(passes(&store));
    let told = ear.take();
    assert!(matches!(&told[0], Event::SourceFailed { why, .. } if why.contains("no connection")), "{told:?}");
}

#[tokio::test]
async fn a_mirror_that_is_set_back_changes_nothing_and_raises_an_alarm() {
    let service = Service::start().await;
    service.serve_platform(&td(4, 2).collateral());
    let (store, ear) = wanting();
    let clock = Hand::at(now());
    let mut refresher = refresher(&store, pccs(&[&service]), &clock);
    refresher.turn().await;
    ear.take();
    service.serve_platform(&numbered(&td(4, 2), 17).with(|made| made.crl_number = 299).collateral());
    clock.forward(Duration::from_secs(6 * 3600));
    refresher.turn().await;
    let told = ear.take();
    assert_eq!(told.iter().filter(|event| matches!(event, Event::RolledBack { .. })).count(), 4, "{told:?}");
    assert!(passes(&store));
    let failed = store.status(now()).into_iter().filter(|status| status.failed.is_some()).count();
    assert_eq!(failed, 4, "the status says so too");
    // Repeated attempts are not told again, and good answers end it.
    clock.forward(Duration::from_secs(6 * 3600));
    refresher.turn().await;
    assert_eq!(ear.take(), []);
    service.serve_platform(&numbered(&td(4, 2), 19).collateral());
    clock.forward(Duration::from_secs(6 * 3600));
    refresher.turn().await;
    assert!(ear.take().iter().any(|event| matches!(event, Event::Refreshed { .. })));
    assert!(store.status(now()).iter().all(|status| status.failed.is_none()));
}

#[tokio::test]
async fn a_vcek_and_its_list_are_fetched_as_amds_interface_has_them() {
    let snp = snp();
    let service = Service::start().await;
    let ear = Ear::default();
    let store = ear.store(snp.roots.clone(), Floors::default());
    let at = now();
    judge(&store, &snp.report, &snp.roots, at);
    let wants = store.wants();
    let [Want::Vek { id, .. }] = wants.as_slice() else { panic!("{wants:?}") };
    let [_, bl, tee, snp_svn, ucode] = id.svn;
    let chip = hex::encode(id.chip);
    let query = format!("blSPL={bl:02}&teeSPL={tee:02}&snpSPL={snp_svn:02}&ucodeSPL={ucode:02}");
    // Version 2 names no family: Milan does not know the chip, Genoa does. The test's authority is no pinned one.
    service.reply(&format!("/vcek/v1/Genoa/{chip}?{query}"), Reply::Ok(vec![], snp.vek.clone()));
    service.reply("/vcek/v1/Milan/cert_chain", Reply::Ok(vec![], snp.ask.clone()));
    service.reply("/vcek/v1/Milan/crl", Reply::Ok(vec![], packaged("snp/synthetic/crl-clean/crl.der")));
    store.offer(&snp.ask, &Source::Operator, at).unwrap();
    let clock = Hand::at(at);
    let mut refresher = refresher(&store, kds(&service), &clock);
    refresher.turn().await;
    let asked = service.asked();
    assert_eq!(asked[..2], [format!("/vcek/v1/Milan/{chip}?{query}"), format!("/vcek/v1/Genoa/{chip}?{query}")]);
    assert_eq!(judge(&store, &snp.report, &snp.roots, at).verdict, Verdict::Accept, "{:?}", ear.take());
    refresher.turn().await;
    assert!(service.asked().contains(&"/vcek/v1/Milan/crl".to_owned()));
    assert!(
        store
            .status(at)
            .iter()
            .any(|status| matches!(&status.subject, Subject::Crl { issuer } if issuer.contains("ARK-Milan")))
    );
}

#[tokio::test]
async fn evidence_of_chips_that_do_not_exist_makes_few_requests() {
    let snp = snp();
    let service = Service::start().await;
    let store = Ear::default().store(snp.roots.clone(), Floors::default());
    for chip in 0..1000u16 {
        let mut part = snp.report.clone();
        part.items.get_mut("report.bin").unwrap()[0x1a0..0x1a2].copy_from_slice(&chip.to_be_bytes());
        judge(&store, &part, &snp.roots, now());
    }
    assert!(store.wants().len() <= 128);
    let clock = Hand::at(now());
    let mut refresher = refresher(&store, kds(&service), &clock);
    refresher.turn().await;
    // Two families for each of sixteen.
    assert_eq!(service.asked().len(), 32);
    clock.forward(Duration::from_secs(2));
    refresher.turn().await;
    assert_eq!(service.asked().len(), 4);
}

#[tokio::test]
async fn an_air_gapped_node_lives_from_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let sources = Sources { directories: vec![Directory::new(folder.path())], ..Sources::default() };
    let (store, ear) = wanting();
    let clock = Hand::at(now());
    let mut refresher = refresher(&store, sources, &clock);
    refresher.turn().await;
    assert!(!passes(&store));
    let missing = store.status(now());
    assert!(missing[0].failed.as_ref().unwrap().why.contains("pccs_url"), "{missing:?}");

    std::fs::create_dir(folder.path().join("intel")).unwrap();
    std::fs::write(folder.path().join("intel/whatever.name"), json(&td(4, 2).collateral())).unwrap();
    std::fs::write(folder.path().join("README"), "what is here").unwrap();
    std::fs::write(folder.path().join("large.der"), vec![0; burgrave_collateral::MOST + 1]).unwrap();
    clock.forward(Duration::from_secs(60));
    refresher.turn().await;
    assert!(passes(&store));
    let told = ear.take();
    for file in ["`README`", "`large.der`"] {
        assert!(
            told.iter().any(|event| matches!(event, Event::Refused { why, .. } if why.contains(file))),
            "{file}: {told:?}"
        );
    }

    // A folder that is set back, and one that is gone.
    std::fs::write(folder.path().join("intel/whatever.name"), json(&numbered(&td(4, 2), 7).collateral())).unwrap();
    clock.forward(Duration::from_secs(60));
    refresher.turn().await;
    assert!(ear.take().iter().any(|event| matches!(event, Event::RolledBack { .. })));
    folder.close().unwrap();
    clock.forward(Duration::from_secs(60));
    refresher.turn().await;
    assert!(matches!(ear.take().as_slice(), [Event::SourceFailed { why, .. }] if why.contains("cannot be listed")));
    assert!(passes(&store));
}

#[tokio::test]
async fn alarms_come_with_the_turns() {
    let (store, ear) = made_store();
    store.offer(&json(&td(4, 2).collateral()), &Source::Operator, now()).unwrap();
    let clock = Hand::at(now());
    let mut refresher = refresher(&store, Sources::default(), &clock);
    refresher.turn().await;
    ear.take();
    clock.forward(Duration::from_secs(14 * 24 * 3600));
    refresher.turn().await;
    assert!(ear.take().iter().any(|event| matches!(event, Event::Ending { .. })));
    clock.forward(Duration::from_secs(7 * 24 * 3600));
    refresher.turn().await;
    let ended = ear.take();
    assert!(ended.iter().any(|event| matches!(event, Event::Ended { .. })));
    assert_eq!(
        level(&store.status(common::time("2026-03-22T00:00:00Z")), &Subject::QeIdentity { tee: Tee::Tdx }),
        Some(Level::Ended)
    );
}

#[tokio::test]
async fn what_is_wanted_wakes_the_refresher_at_once_and_dropping_it_ends_it() {
    let service = Service::start().await;
    service.serve_platform(&td(4, 2).collateral());
    let (told, mut hears) = tokio::sync::mpsc::unbounded_channel();
    let store = Arc::new(Store::new(made_roots(), Floors::default(), Arc::new(move |event| drop(told.send(event)))));
    let clock = Hand::at(now());
    let running = tokio::spawn(refresher(&store, pccs(&[&service]), &clock).run());
    judge(&store, &bare(&td(4, 2)), &made_roots(), now());
    let event = tokio::time::timeout(Duration::from_secs(20), hears.recv()).await.unwrap().unwrap();
    assert!(matches!(event, Event::Refreshed { .. }), "{event:?}");
    assert!(passes(&store));
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    drop(store);
    while hears.recv().await.is_some() {}
}

#[tokio::test]
async fn a_service_over_tls_is_known_by_the_authority_that_is_named() {
    let (service, authority) = Service::start_tls().await;
    service.serve_platform(&td(4, 2).collateral());
    let wait = Duration::from_secs(10);
    let (store, ear) = wanting();
    let trusting = Http::with_authorities(authority.as_bytes(), wait).unwrap();
    let sources = |http: Http| Sources { pccs: vec![Pccs::new(http, service.url.clone())], ..Sources::default() };
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap().cert.pem();
    let distrusting = Http::with_authorities(other.as_bytes(), wait).unwrap();
    refresher(&store, sources(distrusting), &Hand::at(now())).turn().await;
    assert!(matches!(ear.take().as_slice(), [Event::SourceFailed { why, .. }] if why.contains("TLS")));
    refresher(&store, sources(Http::plain(wait)), &Hand::at(now())).turn().await;
    assert!(!passes(&store));
    refresher(&store, sources(trusting), &Hand::at(now())).turn().await;
    assert!(passes(&store), "{:?}", ear.take());
}

#[tokio::test]
async fn a_service_that_gives_another_chips_certificate_has_not_answered() {
    let snp = snp();
    let service = Service::start().await;
    let ear = Ear::default();
    let store = ear.store(snp.roots.clone(), Floors::default());
    store.offer(&snp.ask, &Source::Operator, now()).unwrap();
    ear.take();
    let mut part = snp.report.clone();
    part.items.get_mut("report.bin").unwrap()[0x1a0] ^= 1;
    judge(&store, &part, &snp.roots, now());
    let wants = store.wants();
    let [Want::Vek { id, .. }] = wants.as_slice() else { panic!("{wants:?}") };
    let [_, bl, tee, snp_svn, ucode] = id.svn;
    let query = format!("blSPL={bl:02}&teeSPL={tee:02}&snpSPL={snp_svn:02}&ucodeSPL={ucode:02}");
    service.reply(&format!("/vcek/v1/Milan/{}?{query}", hex::encode(id.chip)), Reply::Ok(vec![], snp.vek.clone()));
    refresher(&store, kds(&service), &Hand::at(now())).turn().await;
    assert!(store.wants().contains(&wants[0]));
    assert!(
        ear.take()
            .iter()
            .any(|event| matches!(event, Event::SourceFailed { why, .. } if why.contains("something else")))
    );
}

#[tokio::test]
async fn without_a_service_what_is_held_from_folders_is_no_failure() {
    let (store, _) = made_store();
    store.offer(&json(&td(4, 2).collateral()), &Source::Operator, now()).unwrap();
    refresher(&store, Sources::default(), &Hand::at(now())).turn().await;
    assert!(store.status(now()).iter().all(|status| status.failed.is_none()));
}

#[tokio::test]
async fn a_folder_is_offered_again_although_nothing_in_it_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("early"), json(&td(4, 2).collateral())).unwrap();
    let (store, _) = made_store();
    let clock = Hand::at(common::time("2026-02-19T00:00:00Z"));
    let sources = Sources { directories: vec![Directory::new(folder.path())], ..Sources::default() };
    let mut refresher = refresher(&store, sources, &clock);
    refresher.turn().await;
    assert_eq!(judge(&store, &bare(&td(4, 2)), &made_roots(), now()).cause, Some(Cause::CollateralValidity));
    clock.forward(Duration::from_secs(48 * 3600));
    refresher.turn().await;
    assert!(passes(&store), "it has come into force meanwhile");
}

#[tokio::test]
async fn after_a_restart_a_node_goes_on_with_what_its_services_gave_although_they_are_away() {
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("collateral");
    let service = Service::start().await;
    service.serve_platform(&td(4, 2).collateral());
    let (store, ear) = wanting();
    let evidence = common::of_kind(&td(4, 2), [9; 6]);
    assert_eq!(
        judge(&store, &common::with_collateral(&evidence, &evidence), &made_roots(), now()).verdict,
        Verdict::Accept
    );
    let clock = Hand::at(now());
    let mut first = refresher(&store, pccs(&[&service]), &clock).with_spool(&spool);
    first.turn().await;
    assert!(passes(&store), "{:?}", ear.take());

    let (store, _) = made_store();
    let mut second = refresher(&store, Sources::default(), &clock).with_spool(&spool);
    second.turn().await;
    assert!(passes(&store));
    let gone = judge(&store, &bare(&evidence), &made_roots(), now());
    assert_eq!(gone.cause, Some(Cause::CollateralValidity), "what evidence brought is not written down");

    // A folder that was set back is below the floors.
    let newer = json(&numbered(&td(4, 2), 19).collateral());
    store.offer(&newer, &Source::Operator, now()).unwrap();
    let ear = Ear::default();
    let restarted = ear.store(made_roots(), store.floors());
    refresher(&restarted, Sources::default(), &clock).with_spool(&spool).turn().await;
    assert!(!passes(&restarted));
    assert!(ear.take().iter().any(|event| matches!(event, Event::RolledBack { .. })));
}
