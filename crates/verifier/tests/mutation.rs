//! Whatever bytes come: no decoder panics, and no mutation of accepted evidence is accepted as something else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

mod common;

use std::sync::LazyLock;

use burgrave_types::claims::Tee;
use burgrave_types::{Evidence, EvidencePart};
use burgrave_verifier::{Verdict, detect, fuzz_verify, inspect};
use common::{Case, packaged};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;

static ACCEPTED: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let (folder, rows) = packaged();
    let accepted = rows.iter().filter(|row| row.expect() == "accept");
    accepted.map(|row| row.case(&folder)).collect()
});

const NAMES: [&str; 22] = [
    "report.bin",
    "vcek.der",
    "vlek.der",
    "crl.der",
    "quote.msg",
    "quote.sig",
    "pcrs.json",
    "ak.pub",
    "ek.pub",
    "quote-sha256.msg",
    "document.cose",
    "token.cbor",
    "chain.pem",
    "hcl-report.bin",
    "quote.bin",
    "collateral.json",
    "simulated.json",
    "simulated.sig",
    "eventlog.bin",
    "ccel.bin",
    "ima.bin",
    "ima.offset",
];

/// What a mutation does to an item.
#[derive(Clone, Debug)]
enum Mutation {
    Flip(usize, u8),
    Cut(usize),
    Insert(usize, Vec<u8>),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        (any::<usize>(), 0u8..8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        any::<usize>().prop_map(Mutation::Cut),
        (any::<usize>(), vec(any::<u8>(), 1..16)).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    let length = bytes.len().max(1);
    match mutation {
        Mutation::Flip(at, bit) => {
            if let Some(byte) = bytes.get_mut(at % length) {
                *byte ^= 1 << bit;
            }
        }
        Mutation::Cut(at) => bytes.truncate(at % length),
        Mutation::Insert(at, insert) => drop(bytes.splice(at % length..at % length, insert.iter().copied())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn mutated_evidence_never_panics_and_never_claims_something_else(
        which in any::<prop::sample::Index>(),
        item in any::<prop::sample::Index>(),
        mutations in vec(mutation(), 1..4),
    ) {
        let case = which.get(&ACCEPTED);
        let name = item.get(&case.part.items.keys().cloned().collect::<Vec<_>>()).clone();
        let altered = case.with(&name, |bytes| mutations.iter().for_each(|mutation| mutate(bytes, mutation)));
        let _ = inspect(&altered.part);
        let (before, after) = (case.verify(), altered.verify());
        if after.verdict == Verdict::Accept {
            // What no signature covers may vary: certificates that are not needed, an unproven EK or AK attribute.
            let (mut before, mut after) = (before.claims, after.claims);
            for claims in before.iter_mut().chain(after.iter_mut()) {
                if claims.tee == Tee::Tpm {
                    claims.platform_id = None;
                }
            }
            // Without the EK's public area nobody knows whether the firmware's number is signed as it is: then it is not claimed.
            if let (Some(before), Some(after)) = (&mut before, &after)
                && after.tee == Tee::Tpm
                && after.tcb.svn.is_empty()
            {
                before.tcb.svn.clear();
            }
            prop_assert_eq!(before, after, "{}", name);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        tee in select(Tee::ALL),
        items in btree_map(select(&NAMES[..]).prop_map(str::to_owned), vec(any::<u8>(), 0..1300), 0..8),
    ) {
        let _ = detect(&items);
        let part = EvidencePart { tee, items };
        let _ = inspect(&part);
        prop_assert!(!fuzz_verify(&Evidence::single(part).encode()));
    }
}
