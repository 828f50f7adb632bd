//! NVIDIA's revocation lists: of the root and of the families' authorities, as GPUs' chains name them.
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
    CrlFolder, Event, Floors, GpuList, Level, OfferError, Pace, Refresher, Source, Sources, Store, Subject, Want,
};
use burgrave_made::nvidia::{FAMILY_SERIAL, Gpu, PROVISIONER_SERIAL};
use burgrave_made::pki::{Issuer, list};
use burgrave_types::{EvidencePart, Timestamp};
use burgrave_verifier::{Cause, Roots, Verdict, Verification};
use common::{Ear, Hand, Longest, Reply, Service, http, judge, level, time};

const OPERATOR: Source = Source::Operator;
const ROOT_LIST: &str = "/l1-root.crl";
const FAMILY_LIST: &str = "/l2-gh100.crl";

fn at() -> Timestamp {
    time("2026-03-01T00:00:00Z")
}

/// A GPU beneath a family's authority, a store that trusts its root, and who hears what happens there.
struct World {
    gpu: Gpu,
    part: EvidencePart,
    roots: Roots,
    store: Arc<Store>,
    ear: Ear,
}

impl World {
    fn new() -> Self {
        let gpu = Gpu::with_lists();
        let roots = Roots::only([gpu.root.der()]).unwrap();
        let ear = Ear::default();
        let store = ear.store(roots.clone(), Floors::default());
        Self { part: gpu.part(), gpu, roots, store, ear }
    }

    fn judge(&self, at: Timestamp) -> Verification {
        judge(&self.store, &self.part, &self.roots, at)
    }

    /// The root's list and the family's, of these numbers, with these certificates on them.
    fn lists(&self, number: u64, of_root: &[u64], of_family: &[u64]) -> [Vec<u8>; 2] {
        [(&self.gpu.root, of_root), (&self.gpu.between[0], of_family)]
            .map(|(issuer, serials)| made(issuer, number, serials))
    }

    fn serve(&self, service: &Service, [of_root, of_family]: [Vec<u8>; 2]) {
        service.reply(ROOT_LIST, Reply::Ok(vec![], of_root));
        service.reply(FAMILY_LIST, Reply::Ok(vec![], of_family));
    }
}

fn made(issuer: &Issuer, number: u64, serials: &[u64]) -> Vec<u8> {
    list(number, 2027, serials).signed_by(issuer).unwrap().der().to_vec()
}

fn wanted(issuer: &str, file: &str) -> Want {
    Want::GpuCrl(GpuList { issuer: issuer.to_owned(), file: file.to_owned() })
}

fn of(issuer: &str) -> Subject {
    Subject::Crl { issuer: issuer.to_owned() }
}

fn refresher(store: &Arc<Store>, service: &Service, clock: &Arc<Hand>) -> Refresher {
    let sources = Sources { gpu_crls: vec![CrlFolder::new(http(), service.url.clone())], ..Sources::default() };
    Refresher::new(Arc::clone(store), sources, Pace::default(), Arc::clone(clock) as _, Arc::new(Longest))
}

#[tokio::test]
async fn the_lists_that_a_gpus_chain_names_are_fetched_and_a_later_revocation_refuses_it() {
    let (world, service, clock) = (World::new(), Service::start().await, Hand::at(at()));
    let first = world.judge(at());
    assert_eq!(first.verdict, Verdict::Accept, "the absence of a list refuses nothing: {first:#?}");
    let both = [wanted("CN=Device Identity CA", "l1-root.crl"), wanted("CN=NVIDIA GH100 Identity", "l2-gh100.crl")];
    assert!(world.store.wants().len() == 2 && both.iter().all(|want| world.store.wants().contains(want)));

    world.serve(&service, world.lists(1, &[], &[1234]));
    let mut refresher = refresher(&world.store, &service, &clock);
    refresher.turn().await;
    assert_eq!(world.store.wants(), [], "{:?}", world.ear.take());
    let clean = world.judge(at());
    assert_eq!((clean.verdict, clean.valid_until), (Verdict::Accept, Some(time("2027-01-01T00:00:00Z"))));
    assert_eq!(service.asked().len(), 2);

    world.serve(&service, world.lists(2, &[], &[PROVISIONER_SERIAL]));
    clock.forward(Duration::from_secs(6 * 3600));
    refresher.turn().await;
    assert_eq!(world.judge(at()).cause, Some(Cause::CertificateRevoked));
}

#[test]
fn a_folder_with_the_chain_and_the_lists_serves_a_node_without_a_network() {
    let world = World::new();
    let [of_root, of_family] = world.lists(1, &[FAMILY_SERIAL], &[]);
    let chain = world.part.item("chain.pem").unwrap();
    // In any order.
    let (offered, errors) = world.store.offer_all([&of_family[..], &of_root, chain], &OPERATOR, at());
    assert!(offered.kept.len() == 3 && errors.is_empty(), "{offered:?} {errors:?}");
    assert_eq!(world.judge(at()).cause, Some(Cause::CertificateRevoked));
    assert_eq!(level(&world.store.status(at()), &of("CN=NVIDIA GH100 Identity")), Some(Level::Current));
}

#[test]
fn a_list_that_nobody_vouches_for_is_not_taken() {
    let world = World::new();
    let [of_root, of_family] = world.lists(1, &[], &[]);
    let refused = world.store.offer(&of_family, &OPERATOR, at()).unwrap_err();
    assert!(
        matches!(&refused, OfferError::Unverified { .. }) && refused.to_string().contains("NVIDIA GH100 Identity"),
        "{refused}"
    );
    for foreign in World::new().lists(9, &[], &[]) {
        world.store.offer(&foreign, &OPERATOR, at()).unwrap_err();
    }
    world.store.offer(&of_root, &OPERATOR, at()).unwrap();
    // A list of an authority further down, which no root signed.
    world.judge(at());
    world.store.offer(&made(&world.gpu.between[1], 1, &[]), &OPERATOR, at()).unwrap_err();
    world.store.offer(&of_family, &OPERATOR, at()).unwrap();
}

#[test]
fn a_list_is_never_set_back_neither_by_a_source_nor_by_the_evidence() {
    let world = World::new();
    let [old, _] = world.lists(1, &[], &[]);
    let [new, _] = world.lists(2, &[FAMILY_SERIAL], &[]);
    world.store.offer(&new, &OPERATOR, at()).unwrap();
    assert!(matches!(world.store.offer(&old, &OPERATOR, at()), Err(OfferError::RolledBack(_))));
    // Beside the evidence it is left out, and said to be.
    let mut part = world.part.clone();
    part.items.insert("old.crl".to_owned(), old);
    let supply = world.store.supply(&part, at());
    assert!(!supply.part.items.contains_key("old.crl") && supply.left_out.len() == 1);
    // Floors that were raised elsewhere let nobody through who was revoked here.
    let elsewhere = Ear::default().store(world.roots.clone(), Floors::default());
    elsewhere.offer(&world.lists(3, &[], &[])[0], &OPERATOR, at()).unwrap();
    world.store.raise(&elsewhere.floors());
    assert_eq!(world.judge(at()).cause, Some(Cause::CertificateRevoked));
}

#[tokio::test]
async fn a_list_that_has_ended_refuses_and_the_refused_gpu_has_it_fetched_again() {
    let (world, service) = (World::new(), Service::start().await);
    let (late, clock) = (time("2027-01-10T00:00:00Z"), Hand::at(time("2027-01-10T00:00:00Z")));
    world.store.offer(&world.lists(1, &[], &[])[0], &OPERATOR, at()).unwrap();
    assert_eq!(world.judge(late).cause, Some(Cause::CrlValidity), "ended is not the same as none");
    assert!(world.store.wants().contains(&wanted("CN=Device Identity CA", "l1-root.crl")));
    let mut renewed = list(2, 2028, &[]);
    renewed.this_update = rcgen::date_time_ymd(2027, 1, 5);
    service.reply(ROOT_LIST, Reply::Ok(vec![], renewed.signed_by(&*world.gpu.root).unwrap().der().to_vec()));
    refresher(&world.store, &service, &clock).turn().await;
    assert_eq!(world.judge(late).verdict, Verdict::Accept, "{:?}", world.ear.take());
}

#[test]
fn a_chain_under_another_root_teaches_nothing() {
    let world = World::new();
    let other = World::new();
    assert_eq!(judge(&world.store, &other.part, &world.roots, at()).verdict, Verdict::Reject);
    assert_eq!(world.store.wants(), []);
    assert!(world.ear.take().iter().all(|event| !matches!(event, Event::Refreshed { .. })));
}

#[tokio::test]
async fn after_a_restart_the_lists_that_were_fetched_count_at_once() {
    let (world, service, clock) = (World::new(), Service::start().await, Hand::at(at()));
    let spool = tempfile::tempdir().unwrap();
    world.judge(at());
    world.serve(&service, world.lists(1, &[], &[PROVISIONER_SERIAL]));
    refresher(&world.store, &service, &clock).with_spool(spool.path()).turn().await;
    assert_eq!(world.judge(at()).cause, Some(Cause::CertificateRevoked));

    let silent = Service::start().await;
    let restarted = Ear::default().store(world.roots.clone(), world.store.floors());
    refresher(&restarted, &silent, &clock).with_spool(spool.path()).turn().await;
    assert_eq!(judge(&restarted, &world.part, &world.roots, at()).cause, Some(Cause::CertificateRevoked));
}
