//! Genuine evidence, taken apart: what it was judged with comes from a store, and the verdict is the same.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod common;

use burgrave_collateral::{Floors, Pace, Pccs, Refresher, Source, Sources, Want};
use burgrave_made::packaged;
use burgrave_types::{EvidencePart, Tee};
use burgrave_verifier::{Cause, Roots, Verdict};
use common::{Ear, Hand, Longest, Service, http, judge, time};

/// Quotes, when they are judged, and how it ends.
const QUOTES: [(&str, Tee, &str, Option<Cause>); 4] = [
    ("tdx/v4-b0c06f-uptodate", Tee::Tdx, "2025-06-20T00:00:00Z", None),
    ("tdx/v5-td15ex-uptodate", Tee::Tdx, "2026-10-20T00:00:00Z", None),
    ("tdx/v5-no-tcb-level", Tee::Tdx, "2026-02-20T00:00:00Z", Some(Cause::TcbNoLevel)),
    ("sgx/v3-00a067-config-sw", Tee::Sgx, "2025-06-20T00:00:00Z", Some(Cause::TcbStatus)),
];

#[tokio::test]
async fn a_bare_quote_is_judged_by_what_a_service_gave_as_by_what_it_would_have_brought() {
    for (row, tee, at, cause) in QUOTES {
        let (roots, at) = (Roots::vendor(), time(at));
        let quote = packaged(&format!("{row}/quote.bin"));
        let json = packaged(&format!("{row}/collateral.json"));
        let bare = EvidencePart::new(tee, [("quote.bin", quote)]);
        let ear = Ear::default();
        let store = ear.store(roots.clone(), Floors::default());
        assert_eq!(judge(&store, &bare, &roots, at).cause, Some(Cause::CollateralValidity), "{row}");

        let service = Service::start().await;
        service.serve_platform(&serde_json::from_slice(&json).unwrap());
        let sources = Sources { pccs: vec![Pccs::new(http(), service.url.clone())], ..Sources::default() };
        let clock = Hand::at(at);
        Refresher::new(store.clone(), sources, Pace::default(), clock, std::sync::Arc::new(Longest)).turn().await;
        let verification = judge(&store, &bare, &roots, at);
        assert_eq!((verification.cause, verification.authentic), (cause, true), "{row}: {:?}", ear.take());
        let path = service.asked().into_iter().find(|path| path.contains("pckcrl")).unwrap();
        let ca = if tee == Tee::Sgx { "processor" } else { "platform" };
        assert!(path.contains(ca), "{row}: the authority is that of the quote's certificate: {path}");
    }
}

#[test]
fn an_azure_machine_without_its_chips_certificate_passes_by_the_one_that_is_held() {
    let Some(vectors) = common::collection() else { return };
    let read = |name: &str| std::fs::read(vectors.join("az-vtpm/snp-milan-trustee-v1").join(name)).unwrap();
    let names = ["hcl-report.bin", "quote.msg", "quote.sig", "pcrs-sha256.json"];
    let part = EvidencePart::new(Tee::AzVtpm, names.map(|name| (name, read(name))));
    let (roots, at) = (Roots::vendor(), time("2026-03-01T00:00:00Z"));
    let store = Ear::default().store(roots.clone(), Floors::default());
    assert_eq!(judge(&store, &part, &roots, at).cause, Some(Cause::ChainUntrusted));
    assert!(matches!(store.wants().as_slice(), [Want::Vek { .. }]), "{:?}", store.wants());
    store.offer(&read("vcek.der"), &Source::Operator, at).unwrap();
    let verification = judge(&store, &part, &roots, at);
    assert_eq!(verification.verdict, Verdict::Accept, "{:?}", verification.cause);
}
