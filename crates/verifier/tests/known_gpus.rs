//! A GPU whose chain was read before gets the answers that a new one gets, whatever has changed since.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod common;

use burgrave_verifier::{Cause, Endorsements, Roots, Verdict, Verification};
use common::{Case, packaged};

const END: &str = "-----END CERTIFICATE-----\n";

/// The case, judged with and without memory of the chain; both answers are one.
#[track_caller]
fn judged(case: &Case) -> Verification {
    let fresh = Case { roots: case.roots.forgetting(), ..case.clone() }.verify();
    let known = case.verify();
    assert_eq!(known, fresh);
    known
}

/// A case whose GPU is known, since its evidence was accepted.
fn known() -> Case {
    let (folder, rows) = packaged();
    let mut case = rows.iter().find(|row| row.id == "nvidia-gpu/hopper-sample").unwrap().case(&folder);
    case.roots = case.roots.forgetting();
    for _ in 0..2 {
        assert_eq!(judged(&case).verdict, Verdict::Accept);
    }
    case
}

/// The case with the certificates that `choose` leaves, the leaf first.
fn with_chain(case: &Case, choose: impl FnOnce(&mut Vec<String>)) -> Case {
    case.with("chain.pem", |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap().replace('\r', "");
        let mut blocks: Vec<_> = text.split_inclusive(END).map(str::to_owned).collect();
        choose(&mut blocks);
        *bytes = blocks.concat().into_bytes();
    })
}

#[test]
fn a_known_gpu_is_refused_for_what_changed_in_its_report() {
    let case = known();
    let unsigned = case.with("report.bin", |bytes| *bytes.last_mut().unwrap() ^= 1);
    assert_eq!(judged(&unsigned).cause, Some(Cause::SignatureInvalid));
    let replayed = Case { nonce: Some(vec![8; 32]), ..case.clone() };
    assert_eq!(judged(&replayed).cause, Some(Cause::BindingNonce));
    assert_eq!(judged(&case).verdict, Verdict::Accept);
}

#[test]
fn another_chain_beside_a_known_gpu_is_read_anew() {
    let case = known();
    let without_root = with_chain(&case, |blocks| drop(blocks.pop()));
    let padded = case.with("chain.pem", |bytes| bytes.extend([b'\n'; 3]));
    for whole in [&without_root, &padded, &case, &without_root] {
        assert_eq!(judged(whole).verdict, Verdict::Accept);
    }
    let without_leaf = with_chain(&case, |blocks| drop(blocks.remove(0)));
    assert_eq!(judged(&without_leaf).verdict, Verdict::Reject);
    let mut without = case.clone();
    without.part.items.remove("chain.pem");
    assert_eq!(judged(&without).cause, Some(Cause::ChainUntrusted));
    // It comes from the caller instead, leaf first.
    let mut endorsed = Case { endorsements: Endorsements::default(), ..without };
    assert!(endorsed.endorsements.add(&case.part.items["chain.pem"]));
    for _ in 0..2 {
        assert_eq!(judged(&endorsed).verdict, Verdict::Accept);
    }
}

#[test]
fn a_known_gpu_counts_only_under_its_root_and_while_it_is_valid() {
    let case = known();
    for at in ["2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"] {
        let away = Case { at: at.parse().unwrap(), ..case.clone() };
        assert!(matches!(judged(&away).cause, Some(Cause::CertificateValidity) | None), "{at}");
    }
    let (folder, rows) = packaged();
    let other = rows.iter().find(|row| row.id == "tpm/swtpm-ecc").unwrap().case(&folder);
    let elsewhere = Case { roots: Roots::only(other.roots.gpu_anchors().map(|root| root.der())).unwrap(), ..case };
    for _ in 0..2 {
        assert_eq!(judged(&elsewhere).cause, Some(Cause::ChainUntrusted));
    }
}
